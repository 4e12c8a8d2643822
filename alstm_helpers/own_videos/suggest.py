"""Suggest labels for videos from the names of the classes alone, in a table for a person to look over.

::

    clip.mp4 ─ CLIP's pictures ─┐
                                scores ─ suggestions.csv ─ a person ─ alstm labels import
    names ─── CLIP's sentences ─┘
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError, printable
from alstm_helpers.extras import require
from alstm_helpers.files import atomic_write, cell, claimed, csv_text, read_text, require_file
from alstm_helpers.own_videos.apart import work_apart
from alstm_helpers.own_videos.backbones import ONNX, hub_network, picture_backbone
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.feature_folder import FeatureFolder
from alstm_helpers.own_videos.inputs import PictureInput
from alstm_helpers.own_videos.jobs import Job, unlabelled_jobs
from alstm_helpers.own_videos.label_formats.locations import is_writable, video_location
from alstm_helpers.own_videos.media import read_frames
from alstm_helpers.own_videos.onnx_backbones import Backbone, check_numbers, look
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.video_files import composed, find_video_files
from alstm_helpers.own_videos.zero_shot import class_scores, clip_embedding, embed_prompts, foreign_note, read_prompts
from alstm_helpers.progress import ProgressBar, no_progress

SUGGESTIONS = "suggestions.csv"
DIGITS = 4  # decimal places of a score
# Of these the import of labels knows the first two.
_COLUMNS = ("video", "label", "score", "margin", "runner_up", "trained", "trained_score")
_PREDICT = "write it with `alstm predict VIDEOS`, whose --save_dir it is in"


@dataclass(frozen=True)
class SuggestOptions:
    """How :func:`suggest_labels` suggests.

    Args:
        classes: see :func:`alstm_helpers.own_videos.zero_shot.read_prompts`.
        features: a folder of features made with the backbone ``clip``, whose clips need not be read again.
        beside: the predictions of a trained model, ``predictions.jsonl`` or its folder.
        clip_seconds: that the work on one clip may take, see :func:`alstm_helpers.own_videos.apart.work_apart`.
    """

    classes: str
    features: str | os.PathLike[str] | None = None
    beside: str | os.PathLike[str] | None = None
    clip_seconds: float | None = None


class Best(NamedTuple):
    """The best label of a trained model, and its score."""

    label: str
    score: float


class Suggestion(NamedTuple):
    """A guess about a video.

    Args:
        video: the name of its file, as a table of labels has it.
        label: the class with the highest score.
        score: from 0 to 1; those of all classes add up to 1.
        margin: by how much the score is above the second highest.
        runner_up: the class with that.
        trained: what a trained model says, if it says something.
    """

    video: str
    label: str
    score: float
    margin: float
    runner_up: str
    trained: Best | None = None

    @property
    def is_disputed(self) -> bool:
        """Whether a trained model says another class."""
        return self.trained is not None and self.trained.label != self.label

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of its row of ``suggestions.csv``, those about a trained model last."""
        known = (self.trained.label, _text(self.trained.score)) if self.trained else ("", "")
        return self.video, self.label, _text(self.score), _text(self.margin), self.runner_up, *known

    def __str__(self) -> str:
        trained = f"; the trained model says {self.trained.label} {self.trained.score:.2f}" if self.trained else ""
        return f"{self.video}: {self.label} {self.score:.2f}, {self.margin:.2f} ahead of {self.runner_up}{trained}"


@dataclass(frozen=True)
class Suggested:
    """What :func:`suggest_labels` did: guesses, the least certain first, the error of each clip without, and notes."""

    suggestions: list[Suggestion] = field(default_factory=list)
    failed: list[AlstmError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """How many clips each class has."""
        return Counter(each.label for each in self.suggestions)


def suggest_labels(
    videos: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: SuggestOptions,
    *,
    workers: int = -1,
    progress: ProgressBar = no_progress,
) -> Suggested:
    """Write ``out/suggestions.csv``, which, once it has been looked over, ``alstm labels import`` reads.

    Args:
        videos: files, and folders of them.
        out: folder.
        options: which classes, and what is known.
        workers: processes, see :func:`alstm_helpers.own_videos.apart.work_apart`.
        progress: wraps the finished clips, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: classes, features or predictions cannot be used, a file of CLIP's cannot be fetched, no clip can be
            read, or there are other suggestions in ``out``. A clip that cannot be read is in ``failed``.
    """
    require("tokenizers", "av", "onnxruntime")
    jobs = unlabelled_jobs(find_video_files(videos))
    classes = read_prompts(options.classes)
    trained = _trained(Path(options.beside), jobs) if options.beside else {}
    with claimed(Path(out)):
        words = embed_prompts(classes)
        seen = _embeddings(jobs, options, workers, progress)
        if not seen.clips:
            raise AlstmError(out, f"no clip can be used, the first: {seen.failed[0]}", "fix that, and run again")
        scores = class_scores(np.stack(list(seen.clips.values())), words)
        names = [each.name for each in classes]
        found = [_suggestion(job, row, names, trained) for job, row in zip(seen.clips, scores, strict=True)]
        found.sort(key=lambda each: (not each.is_disputed, each.margin, each.video))
        _write(Path(out, SUGGESTIONS), found, beside=options.beside is not None)
    return Suggested(found, seen.failed, [*foreign_note(classes), *seen.notes])


class _Seen(NamedTuple):
    """The embedding of each clip, (D,), the errors of those without one, and notes."""

    clips: dict[Job, np.ndarray]
    failed: list[AlstmError]
    notes: list[str]


def _embeddings(jobs: Sequence[Job], options: SuggestOptions, workers: int, progress: ProgressBar) -> _Seen:
    """Return what CLIP makes of clips, in their order: from the folder of features, or from the files."""
    failed = [error for job in jobs if (error := _unnameable(job))]
    jobs = [job for job in jobs if not _unnameable(job)]
    path, takes = hub_network("clip")
    network = _Network(f"{ONNX}{path}", takes)
    found: dict[Job, np.ndarray] = {}
    if options.features is not None:
        folder = _clip_features(Path(options.features), network.backbone.sha256)
        known = {each.path: each for each in unlabelled_jobs([job.path for job in jobs], folder.ids())}
        ids = {job: known[job.path].id for job in jobs if folder.has(known[job.path])}
        found = {job: clip_embedding(folder.raw.load(name)["rgb"]) for job, name in ids.items()}
    notes: list[str] = []
    todo = [job for job in jobs if job not in found]
    with closing(work_apart(network.embedding, todo, workers=workers, seconds=options.clip_seconds)) as outcomes:
        for job, outcome in progress(outcomes, total=len(todo), desc="looking"):
            if isinstance(outcome, AlstmError):
                failed.append(outcome)
                continue
            found[job] = outcome[0]
            notes += [f"{job.id}: {note}" for note in outcome[1]]
    return _Seen({job: found[job] for job in jobs if job in found}, failed, sorted(notes))


class _Network(NamedTuple):
    """CLIP's network for pictures, by its name as a backbone and what it takes; processes load it once."""

    name: str
    takes: PictureInput

    @property
    def backbone(self) -> Backbone[Fit]:
        """The network itself."""
        return picture_backbone(self.name, self.takes)

    def embedding(self, job: Job) -> tuple[np.ndarray, list[str]]:
        """Return what it makes of a clip, and notes on the pictures there.

        Raises:
            AlstmError: the clip cannot be read.
        """
        frames = read_frames(job.clip, self.backbone.unit)
        seconds = look(self.backbone, frames)
        check_numbers(seconds, job.name, "clip")
        return clip_embedding(seconds), frames.notes


def _clip_features(path: Path, sha256: str | None) -> FeatureFolder:
    """Return a folder of features, which CLIP made.

    Raises:
        AlstmError: another backbone made them, or another version of CLIP.
    """
    made = Extractor.load(path)
    if made.backbone != "clip" or made.sha256.get("rgb") != sha256:
        problem = f"its features are by {made.backbone}, not by the network that the names are compared with"
        raise AlstmError(path, problem, "leave out --features, or make some with --backbone clip")
    return FeatureFolder(path)


def _name_in_table(job: Job) -> str:
    """Return the name of a file so that a table of labels has it, and no spreadsheet takes it for a formula."""
    name = f"{job.id}{job.path.suffix}"
    return name if cell(name) == name else f"./{name}"


def _unnameable(job: Job) -> AlstmError | None:
    """Return an error if the import of labels would not read the name of a file as it is."""
    text, name = _name_in_table(job), composed(job.path.name)
    read = video_location(text)
    if is_writable(text) and read == text.removeprefix("./") and read.rpartition("/")[2] == name:
        return None
    return AlstmError(printable(os.fsencode(job.path)), "its name cannot stand in a table of labels", "rename the file")


def _suggestion(job: Job, scores: np.ndarray, names: Sequence[str], trained: Mapping[str, Best]) -> Suggestion:
    """Return the guess that the scores of a clip, (C,), make."""
    best, second = np.argsort(-scores, kind="stable")[:2]
    score, margin = (round(float(value), DIGITS) for value in (scores[best], scores[best] - scores[second]))
    return Suggestion(_name_in_table(job), names[best], score, margin, names[second], trained.get(job.id))


def _trained(path: Path, jobs: Sequence[Job]) -> dict[str, Best]:
    """Return the best label by the id of a video that ``alstm predict`` wrote.

    Raises:
        AlstmError: the file is missing or damaged, names no classes, or has none of these clips.
    """
    path = require_file(path / "predictions.jsonl" if path.is_dir() else path, _PREDICT)
    found: dict[str, Best] = {}
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), 1):
        try:
            row = json.loads(line)
            for label in row["labels"][:1]:
                found[str(row["video"])] = Best(str(label["name"] or ""), float(label["score"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise AlstmError(f"{path}, line {number}", "it is not a prediction", _PREDICT) from None
    known = {job.id: found[printable(job.id)] for job in jobs if printable(job.id) in found}
    if not known or not all(best.label for best in known.values()):
        problem = "it names no classes" if known else "it has none of these clips"
        raise AlstmError(path, problem, "predict these clips, with a model whose INFER.class_names is set")
    return known


def _write(path: Path, suggestions: Sequence[Suggestion], *, beside: bool) -> None:
    """Write the table, with or without what a trained model says.

    Raises:
        AlstmError: there is another one, in which somebody may have corrected labels.
    """
    columns = len(_COLUMNS) if beside else _COLUMNS.index("trained")
    text = csv_text(row[:columns] for row in (_COLUMNS, *(each.row for each in suggestions)))
    if path.exists() and path.read_bytes() != text.encode():
        remedy = "import it, then move it away, or pass another --out"
        raise AlstmError(path, "there are other suggestions, which somebody may have corrected", remedy)
    with atomic_write(path, "w") as file:
        file.write(text)


def _text(value: float) -> str:
    return f"{value:.{DIGITS}f}"
