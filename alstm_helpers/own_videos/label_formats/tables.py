"""Read labels from CSV tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_text
from alstm_helpers.own_videos.label_formats.annotation import SEPARATOR, Annotation, Found, Place

_COLUMNS = {
    "video": ("video", "file", "filename", "path", "clip", "视频"),
    "labels": ("labels", "label", "class", "classes", "标签", "类别"),
    "start": ("start", "begin", "from", "开始"),
    "end": ("end", "stop", "to", "结束"),
}


def read_csv(path: Path, fps: float | None) -> Found:
    """Yield the annotation of each row; ``fps`` has no effect.

    Raises:
        AlstmError: a column is missing, or a row has too many cells or an unreadable time.
    """
    rows = csv.reader(io.StringIO(read_text(path), newline=""))
    header = [name.strip().lower() for name in next(rows, [])]
    columns = _find_columns(path, header)
    for number, row in enumerate(rows, 2):
        if any(cell.strip() for cell in row):
            place = Place(path, f"row {number}")
            _check_width(place, row, header)
            yield place, _annotation(place, {name: row[index].strip() for name, index in columns.items()})


def _find_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return where the columns are, by the first of their names in the header; ``start`` and ``end`` may be missing."""
    columns: dict[str, int] = {}
    for index, name in enumerate(header):
        for column, names in _COLUMNS.items():
            if name in names:
                columns.setdefault(column, index)
    if not {"video", "labels"} <= columns.keys():
        problem = f"its columns are {', '.join(header) or 'none'}"
        raise AlstmError(path, problem, "begin it with video,labels or video,start,end,label")
    return columns


def _check_width(place: Place, row: Sequence[str], header: Sequence[str]) -> None:
    if len(row) != len(header):
        problem = f"it has {len(row)} cells, the header {len(header)}"
        raise place.error(problem, f"several labels go into one cell, with {SEPARATOR} between")


def _annotation(place: Place, cells: Mapping[str, str]) -> Annotation:
    start, end = (_seconds(place, cells.get(column, "")) for column in ("start", "end"))
    return Annotation(cells["video"], tuple(cells["labels"].split(SEPARATOR)), start, end)


def _seconds(place: Place, text: str) -> float | None:
    """Return the seconds of ``12.5`` or ``1:02:03.5``, None for an empty text."""
    if not text:
        return None
    total = 0.0
    try:
        for part in text.split(":"):
            total = 60 * total + float(part)
    except ValueError:
        raise place.error(f"{text!r} is not a time", "write seconds, or hours:minutes:seconds") from None
    return total
