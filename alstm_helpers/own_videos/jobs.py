"""Match videos with their labels: one job per clip to extract, and its side, training or validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alstm_helpers.data.lists import ONE_VIDEO, check_share, compile_group, side_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.labels import Annotation
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.video_files import composed, videos_by_id


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


def unlabelled_jobs(videos: Iterable[Path]) -> list[Job]:
    """Return one job per video, without labels, in the split ``infer``.

    Raises:
        AlstmError: two videos have the same id.
    """
    return [Job(name, path, 0.0, None, (), "infer") for name, path in videos_by_id(videos).items()]


def labelled_jobs(
    videos: Iterable[Path], annotations: Sequence[Annotation], classes: Mapping[str, int], val_share: float, group: str
) -> tuple[list[Job], list[str]]:
    """Return one job per annotation whose video is among the videos, and notes on what is left out.

    Args:
        videos: files.
        annotations: of these videos, or of more or fewer.
        classes: indices by name.
        val_share, group: see :func:`alstm_helpers.data.lists.side_of`.

    Raises:
        AlstmError: two clips have the same id, a class has no index, or no video has a label.
    """
    by_id = videos_by_id(videos)
    check_share(val_share)
    # The parts of a video are known by its id, whatever that looks like, unless an expression is given.
    pattern = None if group == ONE_VIDEO else compile_group(group)
    ids, notes = _ids_of({each.video for each in annotations}, by_id)
    jobs: dict[str, Job] = {}
    for each in annotations:
        if each.video in ids:
            video = ids[each.video]
            name = _id_of_part(video, each)
            side = side_of((name if pattern else video).encode(), val_share, pattern)
            job = Job(name, by_id[video], each.start or 0.0, each.end, _indices(each, classes), side)
            if jobs.setdefault(name, job) is not job:
                raise AlstmError(job.name, f"{jobs[name].name} has the same id, {name}", "rename one of the files")
    if not jobs:
        raise AlstmError("--labels", "none of the labelled videos was found", "name the folder with the videos")
    return list(jobs.values()), notes


def _id_of_part(video: str, part: Annotation) -> str:
    """Return the id of a video, followed by the seconds if an annotation is of a part."""
    return video + part.video_id.removeprefix(part.stem)


def _ids_of(labelled: Iterable[str], by_id: Mapping[str, Path]) -> tuple[dict[str, str], list[str]]:
    """Return the ids of the videos that labelled file names mean, as far as they are among the videos, and notes.

    A name without suffix means the video of that id. A file that is not there was perhaps converted since: it is the
    video of the same stem, if no other name means that.
    """
    names = {_key(path.name): video for video, path in by_id.items()}
    found = {name: names[_key(name)] for name in labelled if _key(name) in names}
    meant: dict[str, list[str]] = {}
    for name in sorted(set(labelled) - found.keys()):
        stem, _ = _key(name)
        meant.setdefault(composed(name) if composed(name) in by_id else stem, []).append(name)
    free = by_id.keys() - found.values()
    others = {video: names[0] for video, names in meant.items() if video in free and len(names) == 1}
    found |= {name: video for video, name in others.items()}
    converted = [
        f"{name} for {video}{by_id[video].suffix}" for video, name in others.items() if composed(name) != video
    ]
    kinds = {
        "labelled, but not among the videos": set(labelled) - found.keys(),
        "labelled by another suffix, taken as the same video": converted,
        "not labelled, left out": by_id.keys() - found.values(),
    }
    return found, [f"{kind}: {len(such)}, such as {min(such)}" for kind, such in kinds.items() if such]


def _key(name: str) -> tuple[str, str]:
    """Return what of a file name counts: the composed stem, and the suffix in lower case."""
    path = PurePosixPath(composed(name))
    return path.stem, path.suffix.lower()


def _indices(annotation: Annotation, classes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the sorted indices of an annotation's classes."""
    unknown = [label for label in annotation.labels if label not in classes]
    if unknown:
        where = f"{annotation.video}: {unknown[0]}"
        raise AlstmError(where, "labels.csv has no such class", "import the labels again")
    return tuple(sorted(classes[label] for label in annotation.labels))
