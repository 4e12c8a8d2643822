"""Class names and indices (``labels.csv``, ``vocabulary.csv``), and predicted labels with names and scores."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from alstm_helpers.errors import AlstmError, one_line
from alstm_helpers.files import csv_text, read_text, require_file, write_with_sum
from alstm_helpers.metrics import best_classes

_COLUMNS = "it needs the columns index,name, with a number in index"
_ONCE = "list each index, from 0 up, and each name once"
_INDEX = re.compile("[0-9]{1,7}")  # a network with ten million classes fits nowhere
_LONGEST = 200  # characters of a class name; what is longer is a comment


class Label(TypedDict):
    """One predicted label, as result files and answers spell it; ``name`` is None if it is unknown."""

    index: int
    name: str | None
    score: float


def best_labels(
    scores: np.ndarray, top_k: int, names: Mapping[int, str] | None = None, *, digits: int | None = None
) -> list[Label]:
    """Return the ``top_k`` labels with the highest scores of one video, best first.

    Args:
        scores: float (C,).
        top_k: number of labels.
        names: class names by index.
        digits: decimal places of the scores; None does not round them.
    """
    found = names or {}
    best = best_classes(scores[None], top_k).ravel().tolist()
    return [label_row(index, float(scores[index]), found, digits=digits) for index in best]


def label_row(index: int, score: float, names: Mapping[int, str], *, digits: int | None = None) -> Label:
    """Return one label with its name; round the score to ``digits`` decimal places."""
    return {"index": index, "name": names.get(index), "score": score if digits is None else round(score, digits)}


def class_name(where: str, text: str) -> str:
    """Return a class name in its one spelling: composed (NFC), with single spaces, and none around it.

    Raises:
        AlstmError: it is empty or too long, or has control characters or others that nobody sees.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(name) <= _LONGEST or one_line(name) != name:
        remedy = f"use 1 to {_LONGEST} characters that can be seen, in one line"
        raise AlstmError(where, f"{name!r} is not a class name", remedy)
    return " ".join(name.split())


def read_class_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read class names by index from a CSV with columns ``index,name``: ``labels.csv``, or ``vocabulary.csv``.

    Rows may be in any order (YouTube-8M's ``vocabulary.csv`` is not sorted); an empty name becomes ``class N``.

    Raises:
        AlstmError: the file is missing, lists no class, lacks a column, or has a row that cannot be used.
    """
    path = require_file(path, "name labels.csv or vocabulary.csv with -o INFER.class_names=…, or null")
    rows = [(where, index, name.strip() or f"class {index}") for where, index, name in _rows(path)]
    names = {index: class_name(where, name) for where, index, name in rows}
    if not names:
        raise AlstmError(path, "it names no class", _COLUMNS)
    return names


def read_classes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read class indices by name from a ``labels.csv``.

    Raises:
        AlstmError: the file is missing, lacks a column, or has a row that cannot be used or repeats a class.
    """
    path = require_file(path, "write it with `alstm labels import`")
    classes: dict[str, int] = {}
    for where, index, text in _rows(path):
        name = class_name(where, text)
        if name in classes:
            raise AlstmError(where, f"there is a class {name} already", _ONCE)
        classes[name] = index
    return classes


def _rows(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield where each row is (the header is row 1), its index and its name.

    Raises:
        AlstmError: not UTF-8, or a row without an index of its own or without a name.
    """
    seen: set[int] = set()
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise AlstmError(path, f"not readable as a table ({error})", _COLUMNS) from None
    for number, row in enumerate(rows, 2):
        where = f"{path}, row {number}"
        fields = {str(key).strip().lower(): value for key, value in row.items()}
        index, name = fields.get("index"), fields.get("name")
        if index is None or name is None:
            raise AlstmError(where, "no index or no name", _COLUMNS)
        index = index.strip()  # int() strips less
        if not _INDEX.fullmatch(index) or int(index) in seen:
            raise AlstmError(where, f"{index or 'nothing'} is not a new index", _ONCE)
        seen.add(int(index))
        yield where, int(index), name


def write_classes(path: str | os.PathLike[str], classes: Mapping[str, int]) -> None:
    """Write ``index,name`` rows in the order of the indices, atomically, and their checksum beside them."""
    rows = sorted((index, name) for name, index in classes.items())
    write_with_sum(path, csv_text([("index", "name"), *rows]))
