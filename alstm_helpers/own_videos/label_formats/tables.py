"""Read labels from tables: CSV, with commas, semicolons or tabs between the cells, and Label Studio's CSV and TSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.label_formats import label_studio, via
from alstm_helpers.own_videos.label_formats.annotation import (
    LABELS,
    SEPARATOR,
    Annotation,
    Found,
    Note,
    Place,
    ReadOptions,
    split_labels,
    text_of,
)

_COLUMNS = {
    "video": (
        *("video", "file", "filename", "path", "clip", "file_name", "file name", "video_name", "video name"),
        *("视频", "文件", "文件名"),
    ),
    "start": (
        *("start", "begin", "from", "start_time", "start time", "start_sec", "start (s)", "start(s)", "begin_time"),
        *("开始", "开始时间"),
    ),
    "end": (
        *("end", "stop", "to", "end_time", "end time", "end_sec", "end (s)", "end(s)", "stop_time"),
        *("结束", "结束时间"),
    ),
}
_OF_TIME = re.compile(r"(?<![a-z])(?:start|begin|end|stop|from|to|time|frame|duration|onset|offset)(?![a-z])|[时秒帧]")
_DELIMITERS = (",", ";", "\t")
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", re.ASCII)  # hours, minutes, seconds
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+):(\d+)", re.ASCII)  # hours, minutes, seconds, frames


@dataclass(frozen=True)
class _Table:
    """The rows of a table below its header, whose number is that of the first of them minus one."""

    path: Path
    delimiter: str
    header: list[str]
    rows: list[tuple[Place, list[str]]]


def read_table(path: Path, options: ReadOptions) -> Found:
    """Yield the annotation of each row.

    Raises:
        AlstmError: a column is missing, a row has too many cells or an unreadable time, or its labels are ambiguous.
    """
    text = text_of(path, options)
    if via.is_table(text):
        yield from via.read_csv(path, text, options)
        return
    table = _table(path, text, options)
    for place, row in table.rows:
        _check_width(place, row, table)
    if label_studio.is_export(table.header):
        tasks = [(place, dict(zip(table.header, map(_json, row), strict=True))) for place, row in table.rows]
        yield from label_studio.read_min(path, tasks, options)
        return
    columns, label_columns = _find_columns(table.header, options)
    if len(label_columns) > 1 and not options.columns:
        names = [table.header[index] for index in label_columns]
        problem = f"the classes are in {' or '.join(names)}, or in both"
        raise AlstmError(path, problem, f"say which: --label_columns {names[0]}, or {','.join(names)}")
    read = {*label_columns, *(index for at in columns.values() for index in at)}
    unread = [name for index, name in enumerate(table.header) if index not in read and _OF_TIME.search(name)]
    if unread:
        yield Place(path, "row 1"), Note(f"columns not read, though they may be times: {', '.join(unread)}")
    for place, row in table.rows:
        cells = {name: _only(place, name, [row[index].strip() for index in at]) for name, at in columns.items()}
        if table.delimiter != ",":  # where the comma is no delimiter, it is Excel's decimal sign
            cells |= {name: cells[name].replace(",", ".") for name in ("start", "end") if name in cells}
        yield from _annotations(place, cells, [row[index].strip() for index in label_columns], options)


def _table(path: Path, text: str, options: ReadOptions) -> _Table:
    """Split a table at the delimiter that gives it the columns it needs."""
    said, first = re.match(r"sep=([,;\t|])\n", text), 1  # Excel's way to name the delimiter
    if said:
        text, first = text[said.end() :], 2
    for delimiter in said[1] if said else _DELIMITERS:
        try:
            header, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) or [[]]
        except csv.Error as error:
            raise AlstmError(path, f"not readable as a table ({error})", "export it again") from None
        header = [name.strip() if label_studio.is_export(header) else name.strip().lower() for name in header]
        if label_studio.is_export(header) or all(_find_columns(header, options)):
            numbered = [(Place(path, f"row {n}"), row) for n, row in enumerate(rows, first + 1)]
            return _Table(path, delimiter, header, [row for row in numbered if any(cell.strip() for cell in row[1])])
    problem = f"its columns are {text.partition(chr(10))[0].lower() or 'none'}"
    labels = options.columns[0] if options.columns else "labels"
    raise AlstmError(path, problem, f"begin it with video,{labels} or video,start,end,{labels}")


def _find_columns(header: Sequence[str], options: ReadOptions) -> tuple[dict[str, list[int]], list[int]]:
    """Return where the columns are that have one of the names, and where those of labels are.

    There is none of labels, or no column at all, if the table lacks what it needs.
    """
    columns = {column: at for column, names in _COLUMNS.items() if (at := _places(header, names))}
    chosen = [name.lower() for name in options.columns]
    labels = _places(header, chosen) if chosen else _places(header, LABELS)
    return (columns if "video" in columns else {}), labels


def _only(place: Place, name: str, cells: Sequence[str]) -> str:
    """Return what the cells of columns with the same meaning say; a file may have its folder in one of them."""
    said = {cell.replace("\\", "/").rpartition("/")[2]: cell for cell in reversed(cells) if cell}
    if len(said) > 1:
        *_, other, one = said.values()
        raise place.error(f"two columns name its {name}, {one!r} and {other!r}", "keep one of these columns")
    return next(iter(said.values()), "")


def _places(header: Sequence[str], names: Sequence[str]) -> list[int]:
    return [index for index, name in enumerate(header) if name in names]


def _check_width(place: Place, row: Sequence[str], table: _Table) -> None:
    if len(row) < len(table.header):
        problem = f"of the header's {len(table.header)} cells it has {len(row)}"
        raise place.error(problem, "a cell may be empty, but write all of them")
    if len(row) > len(table.header):
        problem = f"it has {len(row)} cells, the header {len(table.header)}"
        quoted = ', in quotes: "cat;dog"' if table.delimiter == SEPARATOR else ""
        raise place.error(problem, f"several labels go into one cell, with {SEPARATOR} between{quoted}")


def _json(cell: str) -> object:
    """Return the value of a cell of Label Studio's CSV: JSON, or text as it is."""
    if not cell.lstrip().startswith(("{", "[")):
        return cell.strip()
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell.strip()


def _annotations(place: Place, cells: Mapping[str, str], labels: Sequence[str], options: ReadOptions) -> Found:
    start, end = (_seconds(place, cells.get(column, ""), options.fps) for column in ("start", "end"))
    row = Annotation(cells["video"], (), start, end)
    found: list[tuple[Place, Annotation | Note]] = []
    for cell in labels:
        if options.separator is None and cell.startswith(("{", "[")):
            found += _result(place, row, cell, options)
        else:
            found.append((place, row._replace(labels=tuple(split_labels(place, cell, options.separator)))))
    if not any(isinstance(each, Note) and each.left_out for _, each in found):
        yield place, row
    yield from found


def _result(place: Place, row: Annotation, cell: str, options: ReadOptions) -> Found:
    """Yield the labels in a result, or in several, that Label Studio wrote to a cell as JSON."""
    value = _json(cell)
    if isinstance(value, str):
        remedy = f'write cat, or cat;dog; if it is the name of a class, say --separator "{SEPARATOR}"'
        raise place.error(f"{value!r} is nearly JSON", remedy)
    for item in value if isinstance(value, list) else [value]:
        for here, found in label_studio.read_result(place, row.video, item, options):
            if isinstance(found, Annotation) and found.start is None:
                found = found._replace(start=row.start, end=row.end)
            yield here, found


def _seconds(place: Place, text: str, fps: float | None) -> float | None:
    """Return the seconds of ``12.5``, ``1:02``, ``1:02:03.5`` or a timecode, None for an empty text."""
    if not text:
        return None
    if code := _TIMECODE.fullmatch(text):
        return _seconds_of_timecode(place, text, [int(part[:9]) for part in code.groups()], fps)
    found = _TIME.fullmatch(text)
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, math.nan)
    if math.isnan(seconds) or (":" in text and seconds >= 60) or (text.count(":") == 2 and minutes >= 60):
        raise place.error(f"{text!r} is not a time", "write seconds, as 62.5, or hours:minutes:seconds, as 0:01:02.5")
    return hours * 3600 + minutes * 60 + seconds


def _seconds_of_timecode(place: Place, text: str, parts: Sequence[int], fps: float | None) -> float:
    """Return the seconds of hours, minutes, seconds and frames; a second has a whole number of them, as 30 at 29.97."""
    hours, minutes, seconds, frame = parts
    if fps is None:
        raise place.error(f"{text!r} counts frames", "pass the frame rate, as in --fps 25, or write 0:00:05.5")
    if minutes >= 60 or seconds >= 60 or frame >= math.ceil(fps):
        raise place.error(f"{text!r} is not a time with {fps:g} frames per second", "check --fps")
    return (((hours * 60 + minutes) * 60 + seconds) * math.ceil(fps) + frame) / fps
