"""Turn your own videos into features, and these into TFRecords that can be trained on.

::

    clip.mp4 ─ frames, sound ─ backbone ─ raw/ (float32) ─ projection ─ quantised ─ tf/train, tf/val ─ lists, own.yaml
                                                           └ fitted on the training clips
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from alstm_helpers.data.class_names import read_classes
from alstm_helpers.data.feature_scale import is_of_own_videos
from alstm_helpers.data.lists import ONE_VIDEO
from alstm_helpers.errors import AlstmError
from alstm_helpers.extras import require
from alstm_helpers.ledger import LedgerRow
from alstm_helpers.own_videos.apart import work_apart
from alstm_helpers.own_videos.backbones import Fields, absolute, default_sound, is_onnx, picture_input, sound_input
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.feature_folder import FeatureFolder, RawFolder, group_in
from alstm_helpers.own_videos.jobs import Division, Job, labelled_jobs, unlabelled_jobs
from alstm_helpers.own_videos.labels import read_imported
from alstm_helpers.own_videos.video_files import find_video_files, location_of
from alstm_helpers.progress import ProgressBar, no_progress

SHOWN_CLASSES = 30
MANY_MORE = 1.5  # times as many clips as the projections were fitted on are worth a note


@dataclass(frozen=True)
class FeatureOptions:
    """How :func:`extract_features` makes features.

    Args:
        labels: folder that :func:`alstm_helpers.own_videos.labels.import_labels` wrote; None for videos without labels.
        like: an earlier output folder, whose backbones and projections are used: for a model that was trained on it.
        backbone, audio: see :mod:`alstm_helpers.own_videos.backbones`; the default for sound is ``logmel``, but
            ``flashdigits`` and ``yt8m`` with the pictures of that name. They have no effect with ``like``.
        val_share, group: see :class:`alstm_helpers.own_videos.jobs.Division`; without a group, that of an earlier run.
            Clips of an earlier run keep their sides unless a share or another group is given.
        clip_seconds: that the work on one clip may take, see :func:`alstm_helpers.own_videos.apart.work_apart`.
        refit: fit the projections of an earlier run anew; models that were trained on its features no longer fit.
        pictures, sound: fields of :mod:`alstm_helpers.own_videos.inputs`, instead of those in a file beside a network.
    """

    labels: str | os.PathLike[str] | None = None
    like: str | os.PathLike[str] | None = None
    backbone: str = "flashdigits"
    audio: str | None = None
    val_share: float | None = None
    group: str | None = None
    clip_seconds: float | None = None
    refit: bool = False
    pictures: Fields = field(default_factory=dict)
    sound: Fields = field(default_factory=dict)

    def extractor(self) -> Extractor:
        """Return the extractor that is asked for.

        Raises:
            AlstmError: ``like`` is not a folder of features.
        """
        if self.like is not None:  # its scale is not of the clips here
            extractor = dataclasses.replace(Extractor.load(self.like).complete(), clips=None)
        else:
            backbone, audio = absolute(self.backbone), absolute(self.audio or default_sound(self.backbone))
            extractor = Extractor(backbone, audio)
            if is_onnx(backbone, self.pictures, "--normalisation and --pooling"):
                extractor = dataclasses.replace(extractor, pictures=picture_input(backbone, self.pictures))
            if is_onnx(audio, self.sound, "--audio_like"):
                extractor = dataclasses.replace(extractor, sound=sound_input(audio, self.sound))
        if self.labels is None and not extractor.projections:
            extractor = dataclasses.replace(extractor, fitted_on="infer")
        return extractor


@dataclass(frozen=True)
class Extraction:
    """What :func:`extract_features` did.

    ``failed`` holds the error of each clip without features; ``classes`` by name how many clips it has on each side.
    """

    extracted: int = 0
    skipped: int = 0
    seconds: int = 0
    failed: list[AlstmError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[str]] = field(default_factory=dict)

    def class_counts(self) -> str:
        """Return how many clips each class has for training and for validation, those with fewest first."""
        rows = sorted(self.classes.items(), key=lambda row: (row[1]["val"], row[1]["train"], row[0]))
        shown = [f"{name} {count['train']} + {count['val']}" for name, count in rows[:SHOWN_CLASSES]]
        more = [f"{len(rows) - len(shown)} more classes"] if len(rows) > len(shown) else []
        counts = f"clips for training + validation: {', '.join([*shown, *more])}"
        never = [name for name, count in rows if not count["train"]]
        return f"{counts}; no clip to learn {', '.join(never[:SHOWN_CLASSES])} from" if never else counts

    def summary(self) -> str:
        """Return the last line of ``alstm features``."""
        named = {"train": f"{self.splits['train']} train", "val": f"{self.splits['val']} val"}
        sides = ", ".join(named.get(side, f"{count} {side}") for side, count in sorted(self.splits.items()))
        return (
            f"extracted {self.extracted} clips, {self.seconds} seconds, {self.skipped} skipped, "
            f"{len(self.failed)} failed; {sides or 'nothing to write'}"
        )


def extract_features(
    videos: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: FeatureOptions = FeatureOptions(),
    *,
    workers: int = -1,
    progress: ProgressBar = no_progress,
) -> Extraction:
    """Turn videos into a data set for ``alstm train`` or ``alstm predict``; a rerun does only what is missing.

    Args:
        videos: files, and folders of them.
        out: folder for ``tf/train`` and ``tf/val``, the lists, ``labels.csv`` and ``own.yaml`` (a configuration to
            begin with); without labels for ``tf/infer`` and ``infer.list``. And for ``manifest.jsonl`` (one object per
            clip), ``raw/``, and what ``Extractor.save`` writes.
        options: labels, backbones and split.
        workers: processes, see :func:`alstm_helpers.own_videos.apart.work_apart`.
        progress: wraps the finished clips, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: labels and videos do not match, ``out`` has features of another backbone or of labelled clips
            where there are no labels now, or a split would have no clip. A clip that cannot be read is in ``failed``,
            and the others are extracted.
    """
    require("av")
    folder, files = FeatureFolder(Path(out)), find_video_files(videos)
    extractor = options.extractor()
    with folder.ledger.claimed(folder.raw.path, *folder.shard_folders()):
        jobs, notes, classes, group = _plan(files, options, folder)
        extractor = extractor.identified()  # loads the backbones, so that nothing is written if one is missing
        notes += extractor.provenance()
        extractor = _resumed(extractor, folder, options)
        done = {job for job in jobs if folder.has(job)}
        todo = [job for job in jobs if job not in done]
        work = partial(_extract_one, extractor.without_projections(), folder.raw)
        with closing(work_apart(work, todo, workers=workers, seconds=options.clip_seconds)) as outcomes:
            bar = progress((outcome for _, outcome in outcomes), total=len(todo), desc="extracting")
            rows, failed = folder.ledger.add_all(bar)
        new = {row["video"] for row in rows}
        whole = [job for job in sorted(jobs) if job in done or job.id in new]
        splits = Counter(job.split for job in whole)
        _require_clips(folder, splits, failed, labelled=classes is not None)
        chosen = [job.id for job in whole if job.split != "val"]
        notes += folder.notes(whole) + _scaling_notes(extractor, len(chosen), labelled=classes is not None)
        extractor = extractor.fitted(partial(folder.raw.sample, ids=chosen), len(chosen))
        notes += _constant_notes(extractor) + folder.write(whole, extractor, classes, group)
    seconds = sum(row["seconds"] for row in rows)
    return Extraction(len(rows), len(done), seconds, failed, notes, splits, _by_class(whole, classes or {}))


def _by_class(jobs: Sequence[Job], classes: Mapping[str, int]) -> dict[str, Counter[str]]:
    """Return how many clips of each class are on each side."""
    return {name: Counter(job.split for job in jobs if index in job.labels) for name, index in classes.items()}


class _Plan(NamedTuple):
    """The clips to extract, notes on what is left out, class indices by name, and by what clips are kept together.

    There are no classes for clips without labels.
    """

    jobs: list[Job]
    notes: list[str]
    classes: dict[str, int] | None
    group: str | None


def _plan(files: Sequence[Path], options: FeatureOptions, folder: FeatureFolder) -> _Plan:
    before = group_in(folder.path)
    if options.labels is None:
        if folder.sides():
            remedy = "pass their --labels again, or another --out"
            raise AlstmError(folder.path, "it has features of labelled clips", remedy)
        return _Plan(unlabelled_jobs(files, folder.ids()), [], None, before)
    classes = folder.numbered(read_classes(Path(options.labels, "labels.csv")))
    annotations = read_imported(options.labels)
    group = options.group or before
    sides = folder.sides() if options.val_share is None and group == before else {}
    division = Division(options.val_share, group or ONE_VIDEO, sides, folder.ids())
    jobs, notes = labelled_jobs(files, annotations, classes, division)
    if options.like and not group and (theirs := group_in(Path(options.like))):
        notes = [
            *notes,
            f"--group {theirs} of {options.like} does not hold here; pass it to keep related clips together",
        ]
    return _Plan(jobs, notes, classes, group)


def _resumed(extractor: Extractor, folder: FeatureFolder, options: FeatureOptions) -> Extractor:
    """Return the extractor with the projections of an earlier run: a model may have been trained on its features.

    Raises:
        AlstmError: the earlier run used other backbones.
    """
    if not is_of_own_videos(folder.path):
        return extractor
    before = Extractor.load(folder.path)
    if not before.is_like(extractor):
        problem = f"it has features by {before.backbone} and {before.audio}"
        remedy = "pass the same --backbone and --audio, or another --out"
        if before.names == extractor.names and before.inputs == extractor.inputs:
            problem = f"{problem}, of another content then"
            remedy = "put the earlier network back, or pass another --out"
        elif before.names == extractor.names:
            problem = f"{problem}, given other inputs then"
            remedy = "describe its inputs as then, see --normalisation, or pass another --out"
        raise AlstmError(folder.path, problem, remedy)
    extractor = dataclasses.replace(extractor, pictures=before.pictures, sound=before.sound)
    if options.like is None and not options.refit and before.fitted_on == extractor.fitted_on:
        return dataclasses.replace(extractor, projections=before.projections, clips=before.clips).complete()
    return extractor


def _extract_one(extractor: Extractor, raw: RawFolder, job: Job) -> LedgerRow:
    """Write the raw numbers of one clip; return its row of the manifest, which has labels and a side once all are done.

    Raises:
        AlstmError: the clip cannot be read.
    """
    about = job.path.stat()
    streams, notes, thumbnails = extractor.raw(job.clip)
    raw.save(job.id, streams, thumbnails)
    found = {"video": job.id, "file": location_of(job.path), "seconds": len(streams["rgb"]), "bytes": about.st_size}
    return {**found, "modified": about.st_mtime_ns, "notes": notes}


def _require_clips(
    folder: FeatureFolder, splits: Counter[str], failed: Sequence[AlstmError], *, labelled: bool
) -> None:
    """Refuse a data set with an empty split."""
    for split in ("train", "val") if labelled else ("infer",):
        if not splits[split]:
            problem, remedy = (
                f"no clip of {splits.total()} would go to {split}",
                "label more videos, or pass another --val_share",
            )
            if failed:
                problem, remedy = f"{problem}; {len(failed)} failed, the first: {failed[0]}", "fix that, and run again"
            raise AlstmError(folder.path, problem, remedy)


def _constant_notes(extractor: Extractor) -> list[str]:
    """Return a note if the pictures of all clips have the same numbers."""
    if extractor.clips != 1 and "rgb" in extractor.projections and extractor.projections["rgb"].is_constant:
        name = extractor.backbone
        return [f"{name} gives the same numbers for all pictures, which tell nothing: alstm backbones check {name}"]
    return []


def _scaling_notes(extractor: Extractor, clips: int, *, labelled: bool) -> list[str]:
    """Return notes on projections that would be fitted on clips without labels, or were fitted on few clips."""
    if labelled:
        anew = "--refit scales them anew; models that were trained on them then no longer fit"
        if extractor.is_whitened:
            return [f"the features are whitened, as earlier versions did, which hides what few clips show; {anew}"]
        if extractor.clips is not None and clips >= MANY_MORE * extractor.clips:
            return [f"the features are scaled by {extractor.clips} clips, and there are {clips} now; {anew}"]
        return []
    remedy = "for a trained model pass --like its features"
    return [f"{stream}: scaled by these clips; {remedy}" for stream in extractor.unfitted]
