"""Match videos with their labels: one job per clip to extract, and its side, training or validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alstm_helpers.data.lists import check_share, compile_group, side_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.labels import Annotation
from alstm_helpers.own_videos.media import Clip


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


def videos_by_id(videos: Iterable[Path]) -> dict[str, Path]:
    """Return the videos by their ids, which are the names of the files without suffix.

    Raises:
        AlstmError: two have the same name.
    """
    by_name: dict[str, Path] = {}
    for path in videos:
        other = by_name.setdefault(path.stem, path)
        if other != path:
            raise AlstmError(path, f"{other} has the same name", "give each video a name of its own")
    return by_name


def unlabelled_jobs(videos: Iterable[Path]) -> list[Job]:
    """Return one job per video, without labels, in the split ``infer``.

    Raises:
        AlstmError: two videos have the same name.
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
        AlstmError: two videos have the same name, a class has no index, or no video has a label.
    """
    by_name = videos_by_id(videos)
    check_share(val_share)
    pattern = compile_group(group)
    jobs = []
    for each in annotations:
        path = by_name.get(each.stem)
        if path is not None:
            labels = _indices(each, classes)
            side = side_of(each.video_id.encode(), val_share, pattern)
            jobs.append(Job(each.video_id, path, each.start or 0.0, each.end, labels, side))
    if not jobs:
        raise AlstmError("--labels", "none of the labelled videos was found", "name the folder with the videos")
    return jobs, _notes(by_name, annotations)


def _indices(annotation: Annotation, classes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the sorted indices of an annotation's classes."""
    unknown = [label for label in annotation.labels if label not in classes]
    if unknown:
        where = f"{annotation.video}: {unknown[0]}"
        raise AlstmError(where, "labels.csv has no such class", "import the labels again")
    return tuple(sorted(classes[label] for label in annotation.labels))


def _notes(by_name: Mapping[str, Path], annotations: Sequence[Annotation]) -> list[str]:
    """Return a note on labels without a video, and one on videos without labels."""
    labelled = {each.stem for each in annotations}
    absent = [each.video for each in annotations if each.stem not in by_name]
    rest = [name for name in by_name if name not in labelled]
    kinds = (("labelled, but not among the videos", absent), ("not labelled, left out", rest))
    return [f"{kind}: {len(names)}, such as {sorted(names)[0]}" for kind, names in kinds if names]
