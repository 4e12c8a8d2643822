"""Merge the labels of your own videos, from whatever tool, into one list of clips and one list of classes.

Input:

* CSV: ``video,labels`` (several labels per cell, separated by ``;``, or several rows per video), with ``start,end`` in
  seconds where a label belongs to a part of the video;
* Label Studio's exports JSON and JSON-MIN: choices, taxonomies, labels of regions, and labels on the timeline;
* 精灵标注助手 (Colabeler): its JSON and its XML, one file per video, or a folder of them.

Output: ``annotations.csv``, in the first of these forms, and ``labels.csv`` (``index,name``). A class keeps its index:
a later import appends new classes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from alstm_helpers.data.class_names import read_classes, write_classes
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, require_file
from alstm_helpers.own_videos.label_formats import READERS
from alstm_helpers.own_videos.label_formats.annotation import SEPARATOR, Annotation, Found, Place

__all__ = ["Annotation", "import_labels", "read_annotations"]


def read_annotations(source: str | os.PathLike[str], fps: float | None = None) -> list[Annotation]:
    """Return the annotations of a file, or of all files in a folder; rows about the same part become one annotation.

    Args:
        source: a ``.csv``, ``.json`` or ``.xml`` file, or a folder of them.
        fps: frames per second, where labels on a timeline are counted in frames, as in Label Studio.

    Raises:
        AlstmError: an export is damaged or contradictory; the message names the file and the row or task.
    """
    source = Path(source)
    found: list[Annotation] = []
    paths: dict[str, str] = {}
    for path in _files(source):
        for place, annotation in _read(path, fps):
            checked = _checked(place, annotation)
            other = paths.setdefault(checked.video, annotation.video)
            if other != annotation.video:
                problem = f"{other} and {annotation.video} have the same file name"
                raise place.error(problem, "give every video file a name of its own")
            found.append(checked)
    if not found:
        raise AlstmError(source, "it labels no video", "label some, and export again")
    return _merged(found)


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [require_file(source, "check the path of the export")]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in READERS)
    if not files:
        raise AlstmError(source, "no .csv, .json or .xml file in this folder", "name the folder of the export")
    return files


def _read(path: Path, fps: float | None) -> Found:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        problem = f"unknown format, with the suffix {path.suffix or '(none)'}"
        raise AlstmError(path, problem, "export CSV, JSON or XML")
    return reader(path, fps)


def _checked(place: Place, annotation: Annotation) -> Annotation:
    """Return the annotation with the bare name of its file and tidy labels.

    Raises:
        AlstmError: it names no video, or its labels or times are impossible.
    """
    video = annotation.video.strip().replace("\\", "/").rpartition("/")[2]
    if not video:
        raise place.error("it names no video", "give the name of the video file")
    labels = tuple(label for label in (name.strip() for name in annotation.labels) if label)
    for label in labels:
        if SEPARATOR in label or not label.isprintable():
            raise place.error(f"{label!r} is not a class name", f"use printable characters without {SEPARATOR}")
    _check_times(place, annotation.start, annotation.end)
    return annotation._replace(video=video, labels=labels)


def _check_times(place: Place, start: float | None, end: float | None) -> None:
    if start is None and end is None:
        return
    if start is None or end is None:
        raise place.error("only one of start and end is given", "give both, or neither")
    if not 0 <= start < end < 1e6:
        raise place.error(f"{start:g} to {end:g} s is not a part of a video", "start must be below end")


def _merged(found: Iterable[Annotation]) -> list[Annotation]:
    """Return one annotation per part, sorted; a whole video without labels is left out if it has labelled parts."""
    labels: dict[tuple[str, float | None, float | None], set[str]] = {}
    for each in found:
        labels.setdefault((each.video, each.start, each.end), set()).update(each.labels)
    with_parts = {video for video, start, _ in labels if start is not None}
    merged = [Annotation(video, tuple(sorted(names)), start, end) for (video, start, end), names in labels.items()]
    merged.sort(key=_position)
    return [each for each in merged if each.labels or each.start is not None or each.video not in with_parts]


def _position(annotation: Annotation) -> tuple[str, float, float]:
    """Sort by video, the whole of it before its parts."""
    start = -1.0 if annotation.start is None else annotation.start
    return annotation.video, start, annotation.end or 0.0


def import_labels(
    sources: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, fps: float | None = None
) -> tuple[list[Annotation], list[str]]:
    """Write ``out/annotations.csv`` and ``out/labels.csv``; existing classes keep their indices.

    Args:
        sources: exports, see :func:`read_annotations`.
        out: folder.
        fps: frames per second of labels on a timeline.

    Returns:
        The annotations, and the names of the new classes.

    Raises:
        AlstmError: an export cannot be used; then nothing is written.
    """
    out = Path(out)
    found = _merged(each for source in sources for each in read_annotations(source, fps))
    classes = read_classes(out / "labels.csv") if (out / "labels.csv").exists() else {}
    new = sorted({label for each in found for label in each.labels} - set(classes))
    _check_case(sources[-1], [*classes, *new])
    with atomic_write(out / "annotations.csv", "w") as file:
        _write_rows(file, found)
    write_classes(out / "labels.csv", _extended(classes, new))
    return found, new


def _check_case(source: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Refuse classes whose names differ only in upper and lower case."""
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise AlstmError(source, f"{other!r} and {name!r} differ only in case", "spell each class in one way")


def _extended(classes: Mapping[str, int], new: Sequence[str]) -> dict[str, int]:
    """Return the classes with new ones after the largest index."""
    first = max(classes.values(), default=-1) + 1
    return {**classes, **{name: index for index, name in enumerate(new, first)}}


def _write_rows(file: IO[str], found: Iterable[Annotation]) -> None:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("video", "start", "end", "labels"))
    for each in found:
        times = ["" if time is None else f"{time:g}" for time in (each.start, each.end)]
        table.writerow((each.video, *times, SEPARATOR.join(each.labels)))
