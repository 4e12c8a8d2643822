"""What every reader of labels is told and yields: annotations and notes, each with the place that it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_text

SEPARATOR = ";"  # between the labels in a cell
_OTHER_SEPARATORS = re.compile("[;,|；，、؛،]")  # what people write between labels
LABELS = ("labels", "label", "class", "classes", "choice", "choices", "标签", "类别")  # columns of class names
ENCODING_REMEDY = "save it as UTF-8 (in Excel: CSV UTF-8), or say what it is in, such as --encoding gbk"
TABLE_REMEDY = "write its labels to a table, with the columns video,start,end,labels or video,labels"
Document: TypeAlias = dict[str, Any]  # a JSON object, as json.loads gives it


class Annotation(NamedTuple):
    """Labels of a video, or of its seconds ``start`` to ``end``; without a label it says that no class fits.

    The video is called by the name of its file, after its folders where something is known of them: ``walk/01.mp4``.
    """

    video: str
    labels: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    @property
    def stem(self) -> str:
        """The name of the file without its suffix."""
        return Path(self.video).stem

    @property
    def video_id(self) -> str:
        """The id of its record where no other video has this name: the stem, followed by the seconds of a part."""
        return self.stem + self.part

    @property
    def part(self) -> str:
        """What follows the id of the video if this is a part of it."""
        return "" if self.start is None else f"@{seconds(self.start)}-{seconds(self.end)}"


def seconds(time: float | None) -> str:
    """Return a time as text: six digits, or milliseconds where that is more; nothing for None."""
    return "" if time is None else f"{time:.9g}" if time >= 1000 else f"{time:g}"


class Note(NamedTuple):
    """Something that the user should know, though it stops nothing; ``left_out`` if a label was left out."""

    text: str
    left_out: bool = False


NO_LENGTH = Note("a part without length, left out", left_out=True)
BACKWARDS = Note("a part dragged backwards: its ends are swapped")


@dataclass(frozen=True)
class ReadOptions:
    """What a user says about exports of labels.

    Args:
        fps: frames per second, where times are counted in frames.
        separator: between the labels in a cell, which holds nothing else then; None is ``;``, but JSON is read, and
            cells with other separators are refused.
        columns: that hold class names; none is those with the usual names, and in exports those with results.
        encoding: of the files; None is UTF-8, or what a byte-order mark says.
    """

    fps: float | None = None
    separator: str | None = None
    columns: tuple[str, ...] = ()
    encoding: str | None = None


@dataclass(frozen=True)
class Place:
    """A place in a file of labels, for error messages.

    Args:
        path: of the file.
        where: the row or task in it, such as ``row 3``; empty for the file.
    """

    path: Path
    where: str

    def __str__(self) -> str:
        return f"{self.path}, {self.where}" if self.where else str(self.path)

    def at(self, field: str) -> Place:
        """Return the place of a field in this one."""
        return Place(self.path, f"{self.where}, {field}" if self.where else field)

    def error(self, problem: str, remedy: str) -> AlstmError:
        """Return an error about this place."""
        return AlstmError(str(self), problem, remedy)

    def wrong_type(self, value: object, wanted: str) -> AlstmError:
        """Return an error about a value of an export that is of another type than the tool writes."""
        found = "null" if value is None else f"of type {type(value).__name__}"
        return self.error(f"it is {found}, not {wanted}", "export it again, in full")


def text_of(path: Path, options: ReadOptions, declared: str | None = None) -> str:
    """Return the text of an export; UTF-16 is known without its mark, too, as no text has zero bytes.

    Args:
        path: of the export.
        options: what the user says of its encoding.
        declared: what the file itself says of it.

    Raises:
        AlstmError: it is not text in this encoding.
    """
    with path.open("rb") as file:
        start = file.read(2)
    unmarked = {(True, False): "utf-16-be", (False, True): "utf-16-le"}
    guess = unmarked.get((start[:1] == b"\0", start[1:] == b"\0"))
    return read_text(path, ENCODING_REMEDY, options.encoding or declared or guess)


Found: TypeAlias = Iterator[tuple[Place, Annotation | Note]]
Reader: TypeAlias = Callable[[Path, ReadOptions], Found]


def objects(place: Place, field: str, value: object) -> Iterator[tuple[Place, Document]]:
    """Yield the objects of a list, each with its place.

    Raises:
        AlstmError: it is not a list of objects.
    """
    if not isinstance(value, list):
        raise place.at(field).wrong_type(value, "a list")
    for number, item in enumerate(value):
        here = place.at(f"{field}[{number}]")
        if not isinstance(item, dict):
            raise here.wrong_type(item, "an object")
        yield here, item


def entries(place: Place, field: str, value: object) -> Iterator[tuple[Place, str, Document]]:
    """Yield the objects in an object, each with its place and its key.

    Raises:
        AlstmError: it is not an object of objects.
    """
    if not isinstance(value, dict):
        raise place.at(field).wrong_type(value, "an object")
    for key, item in value.items():
        here = place.at(f"{field} {key}")
        if not isinstance(item, dict):
            raise here.wrong_type(item, "an object")
        yield here, key, item


def split_labels(place: Place, cell: str, separator: str | None) -> list[str]:
    """Return the labels in a cell.

    Raises:
        AlstmError: it has a separator that is not the usual one; the message says both readings.
    """
    others = sorted(set(_OTHER_SEPARATORS.findall(cell)) - {SEPARATOR})
    if separator is None and others:
        parts = [part.strip() for part in re.split(f"[{''.join(others)}]", cell)]
        problem = f"{cell!r} is one class, or the {len(parts)} classes {' and '.join(map(repr, parts))}"
        raise place.error(problem, f'say which: --separator "{SEPARATOR}" for one class, "{others[0]}" for several')
    return cell.split(separator or SEPARATOR)


def class_names(place: Place, value: object) -> tuple[str, ...]:
    """Return the class names in a result: one, a list of them, or a list of paths in a tree, of which the last step.

    Raises:
        AlstmError: it is something else.
    """
    names = value if isinstance(value, list) else [value]
    last = [name[-1] if isinstance(name, list) and name else name for name in names]
    for name in last:
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise place.wrong_type(name, "a class name")
    return tuple(str(name) for name in last)
