"""Turn your own videos into features, and these into TFRecords that can be trained on.

::

    clip.mp4 ─ frames, sound ─ backbone ─ raw/ (float32) ─ projection ─ quantised ─ tf/train, tf/val ─ lists, own.yaml
                                                           └ fitted on the training clips
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alstm_helpers.data.class_names import read_classes
from alstm_helpers.data.lists import ONE_VIDEO, write_lists
from alstm_helpers.errors import AlstmError, printable
from alstm_helpers.extras import require
from alstm_helpers.ledger import LedgerRow
from alstm_helpers.own_videos.apart import work_apart
from alstm_helpers.own_videos.backbones import absolute
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.feature_folder import FeatureFolder, RawFolder, labels_and_split
from alstm_helpers.own_videos.jobs import Job, labelled_jobs, unlabelled_jobs
from alstm_helpers.own_videos.labels import read_imported
from alstm_helpers.own_videos.video_files import find_video_files
from alstm_helpers.progress import ProgressBar, no_progress

SAMPLE_SECONDS = 20_000  # that a projection is fitted on, at most


@dataclass(frozen=True)
class FeatureOptions:
    """How :func:`extract_features` makes features.

    Args:
        labels: folder that :func:`alstm_helpers.own_videos.labels.import_labels` wrote; None for videos without labels.
        like: an earlier output folder, whose backbones and projections are used: for a model that was trained on it.
        backbone, audio: see :mod:`alstm_helpers.own_videos.backbones`; the default for sound is ``logmel``, but
            ``flashdigits`` with the pictures of FlashDigits. They have no effect with ``like``.
        val_share, group: see :func:`alstm_helpers.data.lists.side_of`; by default parts of one video stay together.
        clip_seconds: that the work on one clip may take, see :func:`alstm_helpers.own_videos.apart.work_apart`.
    """

    labels: str | os.PathLike[str] | None = None
    like: str | os.PathLike[str] | None = None
    backbone: str = "flashdigits"
    audio: str | None = None
    val_share: float = 0.2
    group: str = ONE_VIDEO
    clip_seconds: float | None = None

    def extractor(self) -> Extractor:
        """Return the extractor that is asked for.

        Raises:
            AlstmError: ``like`` is not a folder of features.
        """
        audio = self.audio or ("flashdigits" if self.backbone == "flashdigits" else "logmel")
        named = Extractor(absolute(self.backbone), absolute(audio))
        extractor = named if self.like is None else Extractor.load(self.like).complete()
        if self.labels is None and not extractor.projections:
            extractor = dataclasses.replace(extractor, fitted_on="infer")
        return extractor


@dataclass(frozen=True)
class Extraction:
    """What :func:`extract_features` did; ``failed`` holds the error of each clip without features."""

    extracted: int = 0
    skipped: int = 0
    seconds: int = 0
    failed: list[AlstmError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        """Return the last line of ``alstm features``."""
        sides = ", ".join(f"{count} {split}" for split, count in sorted(self.splits.items()))
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
        AlstmError: labels and videos do not match, ``out`` has features of another backbone, or a split would have no
            clip. A clip that cannot be read is in ``failed``, and the others are extracted.
    """
    require("av")
    folder, files = FeatureFolder(Path(out)), find_video_files(videos)
    extractor = options.extractor()
    jobs, notes, classes = _plan(files, options)
    extractor = extractor.identified()  # loads the backbones, so that nothing is written if one is missing
    with folder.ledger.claimed(folder.raw.path):
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
        notes += folder.notes(whole) + _scaling_notes(extractor, labelled=classes is not None)
        extractor = extractor.fitted(lambda stream: _sample(stream, whole, folder.raw))
        folder.write(whole, extractor, classes)
    if classes is not None:
        write_lists(out)
    return Extraction(len(rows), len(done), sum(row["seconds"] for row in rows), failed, notes, splits)


class _Plan(NamedTuple):
    """The clips to extract, notes on what is left out, and class indices by name (None for clips without labels)."""

    jobs: list[Job]
    notes: list[str]
    classes: dict[str, int] | None


def _plan(files: Sequence[Path], options: FeatureOptions) -> _Plan:
    if options.labels is None:
        return _Plan(unlabelled_jobs(files), [], None)
    classes = read_classes(Path(options.labels, "labels.csv"))
    annotations = read_imported(options.labels)
    return _Plan(*labelled_jobs(files, annotations, classes, options.val_share, options.group), classes)


def _resumed(extractor: Extractor, folder: FeatureFolder, options: FeatureOptions) -> Extractor:
    """Return the extractor with the projections of an earlier run: a model may have been trained on its features.

    Raises:
        AlstmError: the earlier run used other backbones.
    """
    if not (folder.path / "features.json").exists():
        return extractor
    before = Extractor.load(folder.path)
    if not before.is_like(extractor):
        same = before.names == extractor.names
        problem = f"it has features by {before.backbone} and {before.audio}" + ", of another content then" * same
        remedy = "put the earlier network back, or pass" if same else "pass the same --backbone and --audio, or"
        raise AlstmError(folder.path, problem, f"{remedy} another --out")
    if options.like is None and before.fitted_on == extractor.fitted_on:
        return dataclasses.replace(extractor, projections=before.projections).complete()
    return extractor


def _extract_one(extractor: Extractor, raw: RawFolder, job: Job) -> LedgerRow:
    """Write the raw numbers of one clip; return its row of the manifest.

    Raises:
        AlstmError: the clip cannot be read.
    """
    about = job.path.stat()
    streams, notes = extractor.raw(job.clip)
    raw.save(job.id, streams)
    file = printable(os.fsencode(job.path.name))
    found = {"video": job.id, "file": file, "seconds": len(streams["rgb"]), "bytes": about.st_size}
    return {**found, "modified": about.st_mtime_ns, "notes": notes, **labels_and_split(job)}


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
                problem, remedy = f"{problem}; {len(failed)} failed, the first: {failed[0]}", "mend that, and run again"
            raise AlstmError(folder.path, problem, remedy)


def _scaling_notes(extractor: Extractor, *, labelled: bool) -> list[str]:
    """Return a note for each projection that would be fitted on clips without labels."""
    if labelled:
        return []
    remedy = "for a trained model pass --like its features"
    return [f"{stream}: scaled by these clips; {remedy}" for stream in extractor.unfitted]


def _sample(stream: str, jobs: Iterable[Job], raw: RawFolder) -> np.ndarray:
    """Return seconds of the clips for training (or of clips without labels), evenly spaced, float32 (N, D)."""
    chosen = [job.id for job in jobs if job.split != "val"]
    per_clip = max(1, SAMPLE_SECONDS // len(chosen))
    parts = []
    for video_id in chosen:
        values = raw.load(video_id)[stream]
        parts.append(values[np.linspace(0, len(values) - 1, min(per_clip, len(values))).astype(int)])
    return np.concatenate(parts)
