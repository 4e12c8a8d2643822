"""Match videos with their labels: one job per clip to extract, and its side, training or validation."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from alstm_helpers.data.lists import ONE_VIDEO, check_share, compile_group, group_of, joined
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.labels import Annotation, merged
from alstm_helpers.own_videos.meant import videos_meant
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.sides import ALL, balanced_sides
from alstm_helpers.own_videos.video_files import videos_by_id

VAL_SHARE = 0.2


class Job(NamedTuple):
    """A clip to extract: its id, its file and seconds, its class indices, and its split."""

    id: str
    path: Path
    start: float
    end: float | None
    labels: tuple[int, ...]
    split: str

    @property
    def clip(self) -> Clip:
        """What to read."""
        return Clip(self.path, self.start, self.end)

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.clip.name


def unlabelled_jobs(videos: Iterable[Path], earlier: Mapping[str, str] = MappingProxyType({})) -> list[Job]:
    """Return one job per video, without labels, in the split ``infer``.

    Args:
        videos: files.
        earlier: their ids in an earlier run, see :func:`alstm_helpers.own_videos.video_files.videos_by_id`.

    Raises:
        AlstmError: two videos have the same id.
    """
    return [Job(name, path, 0.0, None, (), "infer") for name, path in videos_by_id(videos, earlier).items()]


@dataclass(frozen=True)
class Division:
    """How clips are divided into training and validation, see :mod:`alstm_helpers.own_videos.sides`.

    Args:
        val_share: of the clips for validation; by default ``VAL_SHARE``.
        group: a regular expression; clips in whose ids it finds the same text stay together. By default the parts of a
            video do. So do, in any case, the clips of files with the same content.
        earlier: sides by id, which clips keep.
        ids: of an earlier run, see :func:`alstm_helpers.own_videos.video_files.videos_by_id`.
    """

    val_share: float | None = None
    group: str = ONE_VIDEO
    earlier: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)


def labelled_jobs(
    videos: Iterable[Path], annotations: Sequence[Annotation], classes: Mapping[str, int], division: Division
) -> tuple[list[Job], list[str]]:
    """Return one job per annotation whose video is among the videos, and notes on what is left out, or there twice.

    Args:
        videos: files.
        annotations: of these videos, or of more or fewer.
        classes: indices by name.
        division: into training and validation.

    Raises:
        AlstmError: two clips have the same id, a label may be of several videos, a class has no index, or no video has
            a label.
    """
    by_id = videos_by_id(videos, division.ids)
    meant, notes = videos_meant({each.video for each in annotations}, by_id)
    jobs: dict[str, Job] = {}
    for each in merged(each._replace(video=meant[each.video]) for each in annotations if each.video in meant):
        name = each.video + each.part
        job = Job(name, by_id[each.video], each.start or 0.0, each.end, _indices(each, classes), "")
        if jobs.setdefault(name, job) is not job:
            raise AlstmError(job.name, f"{jobs[name].name} has the same id, {name}", "rename one of the files")
    if not jobs:
        raise AlstmError("--labels", "none of the labelled videos was found", "name the folder with the videos")
    divided, twice = _divided(list(jobs.values()), division, {path: name for name, path in by_id.items()})
    return divided, [*notes, *twice]


def _divided(jobs: Sequence[Job], division: Division, ids: Mapping[Path, str]) -> tuple[list[Job], list[str]]:
    """Return the jobs with their sides, and notes on files that are there twice; ``ids`` are those of the videos."""
    share = VAL_SHARE if division.val_share is None else division.val_share
    check_share(share)
    # The parts of a video are known by its file, whatever its id looks like, unless an expression is given.
    pattern = None if division.group == ONE_VIDEO else compile_group(division.group)
    first, notes = _same_content({job.path for job in jobs}, ids)
    if pattern is None:
        units = [ids[first[job.path]].encode() for job in jobs]
    else:
        groups = [group_of(job.id.encode(), pattern) for job in jobs]
        copied = Counter(first.values())  # the parts of a file that is there once may be of several groups
        units = joined(groups, [first[job.path] if copied[first[job.path]] > 1 else job.id for job in jobs])
    counts: dict[bytes, Counter[int]] = defaultdict(Counter)
    given: dict[bytes, str] = {}
    for unit, job in zip(units, jobs, strict=True):
        counts[unit].update([ALL, *job.labels])
        if job.id in division.earlier:
            given.setdefault(unit, division.earlier[job.id])
    sides = balanced_sides(counts, share, given)
    return [job._replace(split=sides[unit]) for unit, job in zip(units, jobs, strict=True)], notes


def _same_content(paths: Iterable[Path], ids: Mapping[Path, str]) -> tuple[dict[Path, Path], list[str]]:
    """Return the first file of the same content for each file, and notes on those that are there twice.

    Only files of the same size are read. What cannot be read, the work on it says.
    """
    first: dict[Path, Path] = {}
    seen: dict[object, Path] = {}
    sizes = {path: path.stat().st_size if path.is_file() else None for path in paths}
    often = Counter(sizes.values())
    for path, size in sorted(sizes.items()):
        first[path] = path
        if size and often[size] > 1:
            with contextlib.suppress(OSError), path.open("rb") as file:
                first[path] = seen.setdefault(hashlib.file_digest(file, "sha256").digest(), path)
    names = {path: f"{ids[path]}{path.suffix}" for path in first}
    same = [f"{names[path]} as {names[first[path]]}" for path in sorted(first) if first[path] != path]
    kind = "files with the content of another, kept on its side"
    return first, [f"{kind}: {len(same)}, such as {same[0]}"] if same else []


def _indices(annotation: Annotation, classes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the sorted indices of an annotation's classes."""
    unknown = [label for label in annotation.labels if label not in classes]
    if unknown:
        where = f"{annotation.video}: {unknown[0]}"
        raise AlstmError(where, "labels.csv has no such class", "import the labels again")
    return tuple(sorted(classes[label] for label in annotation.labels))
