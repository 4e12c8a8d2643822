"""Labels of own videos, from what people label with, to one list of clips and one list of classes.

Read are

* CSV: ``video,labels`` (several labels a cell, with ``;`` between them, or several rows a video), with ``start,end`` in
  seconds where a label belongs to a part of the video;
* Label Studio's exports JSON and JSON-MIN: choices, taxonomies, labels of regions, and labels on the timeline;
* 精灵标注助手 (Colabeler): its JSON and its XML, one file a video, or a folder of them.

Written are ``annotations.csv``, in the first of these forms, and ``labels.csv`` (``index,name``). A class keeps its
index for ever: a later import adds classes at the end.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alstm_helpers.data.class_names import read_classes, write_classes
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, read_text, require_file
from alstm_helpers.own_videos.media import SUFFIXES

SEPARATOR = ";"
_COLUMNS = {
    "video": ("video", "file", "filename", "path", "clip", "视频"),
    "labels": ("labels", "label", "class", "classes", "标签", "类别"),
    "start": ("start", "begin", "from", "开始"),
    "end": ("end", "stop", "to", "结束"),
}
_LS_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts this before the name of an uploaded file
_LS_META = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "completed_by")


class Annotation(NamedTuple):
    """Labels of a video, or of its seconds ``start`` to ``end``; no label at all says that no class fits."""

    video: str
    labels: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    @property
    def video_id(self) -> str:
        """The name a record gets: the file's, without its suffix, and the seconds where it is a part."""
        stem = Path(self.video).stem
        return stem if self.start is None else f"{stem}@{self.start:g}-{self.end:g}"


def read_annotations(source: str | os.PathLike[str], fps: float | None = None) -> list[Annotation]:
    """The annotations of a file, or of all files in a folder; rows for the same part are one annotation.

    Args:
        source: a ``.csv``, ``.json`` or ``.xml`` file, or a folder of them.
        fps: pictures a second, where labels on a timeline are counted in pictures, as Label Studio does.

    Raises:
        AlstmError: names the file, and the row or task, and what is wrong with it.
    """
    source = Path(source)
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix.lower() in _READERS)
        if not files:
            raise AlstmError(source, "no .csv, .json or .xml file in this folder", "name the folder of the export")
    else:
        files = [require_file(source, "check the path of the export")]
    found: list[Annotation] = []
    paths: dict[str, str] = {}
    for path in files:
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise AlstmError(path, f"no format with the suffix {path.suffix or '(none)'}", "export CSV, JSON or XML")
        for where, annotation in reader(path, fps):
            found.append(_checked(path, where, annotation))
            other = paths.setdefault(found[-1].video, annotation.video)
            if other != annotation.video:
                problem = f"{other} and {annotation.video} have one name"
                raise AlstmError(f"{path}, {where}", problem, "give every video file a name of its own")
    if not found:
        raise AlstmError(source, "it labels no video", "label some, and export again")
    return _merged(found)


def _merged(found: Iterable[Annotation]) -> list[Annotation]:
    """One annotation for each part, in order; a video that has labelled parts, and no label as a whole, is those."""
    labels: dict[tuple[str, float | None, float | None], set[str]] = {}
    for each in found:
        labels.setdefault((each.video, each.start, each.end), set()).update(each.labels)
    parts = {video for video, start, _ in labels if start is not None}
    every = sorted(labels, key=lambda part: (part[0], -1.0 if part[1] is None else part[1], part[2] or 0.0))
    return [
        Annotation(video, tuple(sorted(labels[video, start, end])), start, end)
        for video, start, end in every
        if start is not None or labels[video, start, end] or video not in parts
    ]


def _checked(path: Path, where: str, annotation: Annotation) -> Annotation:
    """The annotation with tidy names, once it makes sense."""
    video = annotation.video.strip().replace("\\", "/").rpartition("/")[2]
    if not video:
        raise AlstmError(f"{path}, {where}", "it names no video", "give the name of the video file")
    labels = tuple(label for label in (name.strip() for name in annotation.labels) if label)
    for label in labels:
        if SEPARATOR in label or not label.isprintable():
            raise AlstmError(f"{path}, {where}", f"{label!r} is no name for a class", f"leave {SEPARATOR} out of it")
    start, end = annotation.start, annotation.end
    if (start is None) != (end is None):
        raise AlstmError(f"{path}, {where}", "only one of start and end is given", "give both, or neither")
    if start is not None and end is not None and not 0 <= start < end < 1e6:
        raise AlstmError(f"{path}, {where}", f"{start:g} to {end:g} s is no part of a video", "start must be below end")
    return Annotation(video, labels, start, end)


Found = Iterator[tuple[str, Annotation]]  # where in the file, and what


def _read_csv(path: Path, fps: float | None) -> Found:
    rows = csv.reader(io.StringIO(read_text(path), newline=""))
    header = [name.strip().lower() for name in next(rows, [])]
    places = {
        column: next((index for index, name in enumerate(header) if name in names), None)
        for column, names in _COLUMNS.items()
    }
    if places["video"] is None or places["labels"] is None:
        problem = f"its columns are {', '.join(header) or 'none'}"
        raise AlstmError(path, problem, "begin it with video,labels or video,start,end,label")
    for number, row in enumerate(rows, 2):
        where = f"row {number}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            problem = f"it has {len(row)} cells, the header {len(header)}"
            raise AlstmError(f"{path}, {where}", problem, f"several labels go into one cell, with {SEPARATOR} between")
        cell = {column: row[place].strip() if place is not None else "" for column, place in places.items()}
        times = [_seconds(cell[key], f"{path}, {where}") for key in ("start", "end")]
        yield where, Annotation(cell["video"], tuple(cell["labels"].split(SEPARATOR)), *times)


def _seconds(text: str, where: str) -> float | None:
    """``12.5``, ``1:02:03.5`` or nothing."""
    if not text:
        return None
    try:
        total = 0.0
        for part in text.split(":"):
            total = 60 * total + float(part)
    except ValueError:
        raise AlstmError(where, f"{text!r} is no time", "write seconds, or hours:minutes:seconds") from None
    return total


def _read_json(path: Path, fps: float | None) -> Found:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise AlstmError(path, f"not readable as JSON ({error})", "export it again") from None
    if isinstance(document, dict) and "path" in document:
        yield from _colabeler("the file", document)
        return
    tasks = document if isinstance(document, list) else [document]
    for number, task in enumerate(tasks, 1):
        where = f"task {number}"
        if not isinstance(task, dict):
            raise AlstmError(f"{path}, {where}", f"it is a {type(task).__name__}", "export Label Studio's JSON")
        if "path" in task and "outputs" in task:
            yield from _colabeler(where, task)
        elif "annotations" in task or "completions" in task:
            yield from _label_studio(path, where, task, fps)
        else:
            yield from _label_studio_min(path, where, task, fps)


def _label_studio(path: Path, where: str, task: dict[str, Any], fps: float | None) -> Found:
    """A task of the export JSON; annotations of several people are put together, cancelled ones left out."""
    video = _video_of(path, where, task.get("data"))
    for annotation in task.get("annotations") or task.get("completions") or []:
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        yield where, Annotation(video, ())  # looked at, even if nothing was found
        for region in annotation.get("result") or []:
            yield from _region(path, where, video, region.get("value") or {}, fps)


def _label_studio_min(path: Path, where: str, task: dict[str, Any], fps: float | None) -> Found:
    """A task of the export JSON-MIN: the columns of the task, and beside them one a control of the project."""
    video = _video_of(path, where, task)
    yield where, Annotation(video, ())
    for key, value in task.items():
        if key in _LS_META or value == task.get("video") or (isinstance(value, str) and _is_video(value)):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from _region(path, where, video, each, fps)
            elif isinstance(each, str):
                yield where, Annotation(video, (each,))


def _region(path: Path, where: str, video: str, value: dict[str, Any], fps: float | None) -> Found:
    """One result of Label Studio: a choice for the video, or labels of a part of it."""
    kinds = ("choices", "labels", "timelinelabels", "videolabels", "rectanglelabels", "taxonomy")
    names: list[str] = []
    for kind in kinds:
        for name in value.get(kind) or []:
            names.append(str(name[-1]) if isinstance(name, list) and name else str(name))
    if not names:
        return
    ranges = value.get("ranges")
    if ranges:
        if not fps:
            problem = "its labels on the timeline are counted in pictures"
            raise AlstmError(f"{path}, {where}", problem, "say how many make a second: --fps 25")
        for part in ranges:  # pictures count from 1, and the last one belongs to it
            yield where, Annotation(video, tuple(names), (part["start"] - 1) / fps, part["end"] / fps)
    elif "sequence" not in value and isinstance(value.get("start"), int | float):
        yield where, Annotation(video, tuple(names), float(value["start"]), float(value["end"]))
    else:
        yield where, Annotation(video, tuple(names))


def _is_video(text: str) -> bool:
    return text.split("?")[0].lower().endswith(SUFFIXES) or text.lower().endswith(SUFFIXES)


def _video_of(path: Path, where: str, data: Any) -> str:
    """The name of a task's file, as it was before Label Studio put something in front of it."""
    values = data.values() if isinstance(data, dict) else ()
    found = next((value for value in values if isinstance(value, str) and _is_video(value)), None)
    if found is None:
        raise AlstmError(f"{path}, {where}", "it names no video file", "export a project of videos")
    name = re.split(r"[/\\=]", found.split("?")[0] if _is_video(found.split("?")[0]) else found)[-1]
    return _LS_PREFIX.sub("", name)


def _colabeler(where: str, document: dict[str, Any]) -> Found:
    """Colabeler's account of one file: ``path``, and under ``outputs`` objects with a ``name``."""
    if document.get("labeled") in (False, "false"):
        return
    objects = (document.get("outputs") or {}).get("object") or []
    items = objects if isinstance(objects, list) else objects.get("item", objects)
    items = items if isinstance(items, list) else [items]
    names = tuple(str(item["name"]) for item in items if isinstance(item, dict) and item.get("name"))
    yield where, Annotation(str(document.get("path") or ""), names)


def _read_xml(path: Path, fps: float | None) -> Found:
    from defusedxml.common import DefusedXmlException  # an XML may grow without end, or name other files
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root = fromstring(read_text(path))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AlstmError(path, f"not readable as XML ({error})", "export it again") from None
    if root.find("path") is None:
        raise AlstmError(path, "it has no path, as Colabeler's XML has", "export Colabeler's XML or JSON")
    # Colabeler's own form; the same without items; and its export as Pascal VOC.
    found = (item for place in ("outputs/object/item", "outputs/object", "object") for item in root.findall(place))
    items = [{"name": item.findtext("name")} for item in found]
    labelled = (root.findtext("labeled") or "true").strip().lower()
    document = {"path": root.findtext("path"), "labeled": labelled, "outputs": {"object": items}}
    yield from _colabeler("the file", document)


_READERS: dict[str, Callable[[Path, float | None], Found]] = {".csv": _read_csv, ".json": _read_json, ".xml": _read_xml}


def import_labels(
    sources: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, fps: float | None = None
) -> tuple[list[Annotation], list[str]]:
    """Write ``out/annotations.csv`` and ``out/labels.csv``; classes that are there keep their index.

    Args:
        sources: exports, see :func:`read_annotations`.
        out: folder.
        fps: pictures a second of labels on a timeline.

    Returns:
        the annotations, and the names of the classes that are new.

    Raises:
        AlstmError: an export cannot be used; then nothing is written.
    """
    out = Path(out)
    found = _merged(each for source in sources for each in read_annotations(source, fps))
    classes = read_classes(out / "labels.csv") if (out / "labels.csv").exists() else {}
    new = sorted({label for each in found for label in each.labels} - set(classes))
    folded: dict[str, str] = {}
    for name in [*classes, *new]:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            problem = f"{other!r} and {name!r} differ only in their case"
            raise AlstmError(str(sources[-1]), problem, "write one class in one way")
    classes |= {name: index for index, name in enumerate(new, max(classes.values(), default=-1) + 1)}
    with atomic_write(out / "annotations.csv", "w") as file:
        _write_rows(file, found)
    write_classes(out / "labels.csv", classes)
    return found, new


def _write_rows(file: Any, found: Iterable[Annotation]) -> None:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("video", "start", "end", "labels"))
    for each in found:
        times = ["" if time is None else f"{time:g}" for time in (each.start, each.end)]
        table.writerow((each.video, *times, SEPARATOR.join(each.labels)))
