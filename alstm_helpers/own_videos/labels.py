"""Merge the labels of your own videos, from whatever tool, into one list of clips and one list of classes.

Input:

* tables: ``video,labels`` (several labels per cell, separated by ``;``, or several rows per video), with ``start,end``
  in seconds where a label belongs to a part of the video; commas, semicolons or tabs between the cells;
* Label Studio's exports JSON, JSON-MIN, CSV and TSV: choices, taxonomies, labels of regions, and of the timeline;
* 精灵标注助手 (Colabeler): its JSON and its XML, one file per video;
* CVAT's XML; projects and CSV of VIA's video annotator; PaddleVideo's JSON of actions, ActivityNet's, lists of paths;
* a folder of such files, or of folders ``class/clip.mp4``.

Output: ``annotations.csv``, in the first of these forms, and ``labels.csv`` (``index,name``). A class keeps its index:
a later import appends new classes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alstm_helpers.data.class_names import class_name, read_classes, write_classes
from alstm_helpers.errors import AlstmError, one_line
from alstm_helpers.files import claimed, csv_text, has_sum, require_file, write_with_sum
from alstm_helpers.own_videos.label_formats import EXPORTS, READERS
from alstm_helpers.own_videos.label_formats.annotation import (
    SEPARATOR,
    Annotation,
    Found,
    Note,
    Place,
    ReadOptions,
    seconds,
)
from alstm_helpers.own_videos.label_formats.folders import read_folders
from alstm_helpers.own_videos.label_formats.locations import is_writable, shortened, video_location, video_source
from alstm_helpers.own_videos.video_files import is_video_name

__all__ = ["Annotation", "Imported", "ReadOptions", "import_labels", "merged", "read_annotations", "read_imported"]

_PATIENCE = 10  # seconds to wait for another import into the same folder


class Imported(NamedTuple):
    """What an import found: the annotations, the names of the new classes, and notes on what was odd or left out."""

    annotations: list[Annotation]
    new_classes: list[str]
    notes: list[str]


def read_annotations(source: str | os.PathLike[str], options: ReadOptions | None = None) -> list[Annotation]:
    """Return the annotations of a file, or of all files in a folder; rows about the same part become one annotation.

    Args:
        source: a table, a ``.json`` or an ``.xml`` file, a folder of them, or one of folders of clips.
        options: how to read it.

    Raises:
        AlstmError: an export is damaged, ambiguous or contradictory; the message names the file and the row or task.
    """
    return _located(source, _read_source(Path(source), options or ReadOptions())[0])


def read_imported(folder: str | os.PathLike[str]) -> list[Annotation]:
    """Return the annotations that :func:`import_labels` wrote to a folder.

    Raises:
        AlstmError: there are none, or they cannot be read.
    """
    path = require_file(Path(folder, "annotations.csv"), "write it with `alstm labels import`")
    return _read_source(path, ReadOptions(separator=SEPARATOR), str)[0]


def _read_source(
    source: Path, options: ReadOptions, location: Callable[[str], str] = video_location
) -> tuple[list[Annotation], list[str]]:
    """Return the annotations of an export, each with the location of its video, and notes."""
    found: list[Annotation] = []
    noted: dict[str, list[Place]] = {}
    names = _Names()
    for place, each in _read(source, options):
        if isinstance(each, Note):
            noted.setdefault(each.text, []).append(place)
            continue
        checked = _checked(place, each._replace(video=location(each.video)))
        names.add(place, checked.video, video_source(each.video))
        found.append(checked)
    notes = [one_line(f"{places[0]}: {text}" + _as_often(len(places))) for text, places in noted.items()]
    if not found:
        raise AlstmError(source, "it labels no video", "; ".join([*notes[:1], "label some, and export again"]))
    return merged(found), notes


class _Names:
    """What the videos of one export are called."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._ends: dict[str, str] = {}

    def add(self, place: Place, video: str, source: str) -> None:
        """Add a video, and what tells it from others.

        Raises:
            AlstmError: it cannot be told from another one: theirs are the same name, one of them without folders.
        """
        if self._sources.get(video) == source:
            return
        ends = _ends(video)
        known = [self._sources[end] for end in [video, *ends] if end in self._sources]
        if other := next(iter(known), self._ends.get(video)):
            problem = f"{other} and {source} have the same file name"
            raise place.error(problem, "give every video file a name of its own, or its folder in both places")
        self._sources[video] = source
        self._ends |= dict.fromkeys(ends, source)


def _ends(path: str) -> list[str]:
    """Return the path without its first folder, without its first two, and so on, the longest first."""
    parts = path.split("/")
    return ["/".join(parts[first:]) for first in range(1, len(parts))]


def _located(source: object, found: Iterable[Annotation]) -> list[Annotation]:
    """Return annotations with what to write of the paths of their videos.

    Raises:
        AlstmError: one gives only the end of the paths of several others.
    """
    found = list(found)
    short = shortened({each.video for each in found})
    wholes: dict[str, set[str]] = {}
    for path in set(short.values()):
        for end in _ends(path):
            wholes.setdefault(end, set()).add(path)
    longest = {end: {path for path in paths if path not in wholes} for end, paths in wholes.items()}
    for path in short.values():
        if len(several := sorted(longest.get(path, ()))) > 1:
            problem = f"{path} may be {several[0]} or {several[1]}"
            raise AlstmError(str(source), problem, "write its folder before it")
    return merged(
        each._replace(video=next(iter(longest.get(short[each.video], ())), short[each.video])) for each in found
    )


def _as_often(times: int) -> str:
    return f" ({times} times)" if times > 1 else ""


def _read(source: Path, options: ReadOptions) -> Found:
    """Yield what the files of an export say."""
    if not source.is_dir():
        yield from _read_file(require_file(source, "check the path of the export"), options)
        return
    exports = [path for path in source.glob("[!.]*") if path.suffix.lower() in EXPORTS]
    files = sorted(path for path in exports if not has_sum(path))  # not what an earlier import wrote
    if not files:
        yield from read_folders(source)
    elif len(folders := sorted({path.parent.name for path in source.glob("[!.]*/[!.]*") if is_video_name(path)})) > 1:
        text = f"its tables are read, so its folders of videos are no classes: {', '.join(folders)}"
        yield Place(source, ""), Note(text)
    for path in files:
        yield from _read_file(path, options)


def _read_file(path: Path, options: ReadOptions) -> Found:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        problem = f"unknown format, with the suffix {path.suffix or '(none)'}"
        raise AlstmError(path, problem, "export CSV, JSON or XML")
    return reader(path, options)


def _checked(place: Place, annotation: Annotation) -> Annotation:
    """Return the annotation with tidy labels.

    Raises:
        AlstmError: it names no video, or its labels or times are impossible.
    """
    video = annotation.video
    if not video.rpartition("/")[2].strip("."):
        raise place.error("it names no video", "give the name of the video file")
    if not is_writable(video):
        raise place.error(f"{video!r} is not a file name", "rename the file, without control characters")
    labels = tuple(class_name(str(place), label) for label in annotation.labels if label.strip())
    for label in labels:
        if SEPARATOR in label:
            raise place.error(f"{label!r} is not a class name", f"{SEPARATOR} separates classes: use another character")
    start, end = _times(place, annotation.start, annotation.end)
    return Annotation(video, labels, start, end)


def _times(place: Place, start: float | None, end: float | None) -> tuple[float | None, float | None]:
    """Return the times as they are written, so that what is one part then is one part now."""
    if start is None and end is None:
        return None, None
    if start is None or end is None:
        raise place.error("only one of start and end is given", "give both, or neither")
    written = float(seconds(start)), float(seconds(end))
    if not 0 <= written[0] < written[1] < 1e6:
        raise place.error(f"{seconds(start)} to {seconds(end)} s is not a part of a video", "start must be below end")
    return written


def merged(found: Iterable[Annotation]) -> list[Annotation]:
    """Return one annotation per part, sorted; a whole video without labels is left out if it has labelled parts."""
    labels: dict[tuple[str, float | None, float | None], set[str]] = {}
    for each in found:
        labels.setdefault((each.video, each.start, each.end), set()).update(each.labels)
    with_parts = {video for video, start, _ in labels if start is not None}
    parts = [Annotation(video, tuple(sorted(names)), start, end) for (video, start, end), names in labels.items()]
    parts.sort(key=_position)
    return [each for each in parts if each.labels or each.start is not None or each.video not in with_parts]


def _position(annotation: Annotation) -> tuple[str, float, float]:
    """Sort by video, the whole of it before its parts."""
    start = -1.0 if annotation.start is None else annotation.start
    return annotation.video, start, annotation.end or 0.0


def import_labels(
    sources: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], options: ReadOptions | None = None
) -> Imported:
    """Write ``out/annotations.csv`` and ``out/labels.csv``; existing classes keep their indices.

    Args:
        sources: exports, see :func:`read_annotations`.
        out: folder.
        options: how to read the exports.

    Raises:
        AlstmError: an export cannot be used; then nothing is written.
        FolderInUse: another import keeps writing to the folder.
    """
    read = [_read_source(Path(source), options or ReadOptions()) for source in sources]
    found = _located(sources[-1], [each for annotations, _ in read for each in annotations])
    labels = {label for each in found for label in each.labels}
    _check_case(sources[-1], sorted(labels))
    with claimed(Path(out), wait=_PATIENCE):
        gone = _left_out(Path(out), found)
        new = _write(Path(out), found, labels)
    return Imported(found, new, [*(note for _, notes in read for note in notes), *gone])


def _left_out(out: Path, found: Iterable[Annotation]) -> list[str]:
    """Return a note on the videos that an earlier import labelled and this one does not."""
    earlier: set[str] = set()
    with contextlib.suppress(AlstmError):  # there is none, or it is damaged and replaced now
        earlier = {each.video for each in read_imported(out)}
    gone = sorted(earlier - {each.video for each in found})
    said = "of an earlier import, and left out now: {}, such as {}; name the files of all clips each time"
    return [said.format(len(gone), gone[0])] if gone else []


def _write(out: Path, found: Iterable[Annotation], labels: set[str]) -> list[str]:
    """Write both files, the classes first, as the annotations name them; return the new classes."""
    classes = read_classes(out / "labels.csv") if (out / "labels.csv").exists() else {}
    new = sorted(labels - set(classes))
    _check_case(out / "labels.csv", [*classes, *new])
    write_classes(out / "labels.csv", _extended(classes, new))
    write_with_sum(out / "annotations.csv", csv_text(_rows_of(found)))
    return new


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


def _rows_of(found: Iterable[Annotation]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of ``annotations.csv``."""
    yield ("video", "start", "end", "labels")
    for each in found:
        yield (each.video, seconds(each.start), seconds(each.end), SEPARATOR.join(each.labels))
