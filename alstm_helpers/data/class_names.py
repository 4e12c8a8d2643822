"""Class names and indices (``labels.csv``, ``vocabulary.csv``), and predicted labels with names and scores."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, read_text, require_file
from alstm_helpers.metrics import best_classes

_COLUMNS = "it needs the columns index,name, with a number in index"


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
    best = best_classes(scores[None], top_k)[0].tolist()
    return [label_row(index, float(scores[index]), found, digits=digits) for index in best]


def label_row(index: int, score: float, names: Mapping[int, str], *, digits: int | None = None) -> Label:
    """Return one label with its name; round the score to ``digits`` decimal places."""
    return {"index": index, "name": names.get(index), "score": score if digits is None else round(score, digits)}


def read_class_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read class names by index from a CSV with columns ``index,name``: ``labels.csv``, or ``vocabulary.csv``.

    Rows may be in any order (YouTube-8M's ``vocabulary.csv`` is not sorted); an empty name becomes ``class N``.

    Raises:
        AlstmError: the file is missing, lists no class, lacks a column, or has a row without a number.
    """
    path = require_file(path, "set INFER.class_names to labels.csv or vocabulary.csv, or to null")
    names = {index: name.strip() or f"class {index}" for _, index, name in _rows(path)}
    if not names:
        raise AlstmError(path, "it names no class", _COLUMNS)
    return names


def read_classes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read class indices by name from a ``labels.csv``.

    Raises:
        AlstmError: the file is missing, lacks a column, has a row without a number, or a negative or repeated class.
    """
    path = require_file(path, "write it with `alstm labels import`")
    classes: dict[str, int] = {}
    for number, index, name in _rows(path):
        if index < 0 or index in classes.values() or name in classes:
            problem = f"{index},{name} is not a new index and a new name"
            raise AlstmError(f"{path}, row {number}", problem, "list each index, from 0 up, and each name once")
        classes[name] = index
    return classes


def _rows(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the number of each row (the header is row 1), its index and its name.

    Raises:
        AlstmError: not UTF-8, or a row without an index or a name.
    """
    number = 1
    try:
        for row in csv.DictReader(io.StringIO(read_text(path), newline="")):
            number += 1
            fields = {str(key).strip().lower(): value for key, value in row.items()}
            index, name = int(fields["index"]), fields["name"]
            if name is None:  # the row is too short
                raise ValueError
            yield number, index, name
    except (KeyError, TypeError, ValueError, csv.Error):
        raise AlstmError(f"{path}, row {number}", "no index or no name", _COLUMNS) from None


def write_classes(path: str | os.PathLike[str], classes: Mapping[str, int]) -> None:
    """Write ``index,name`` rows in the order of the indices, atomically."""
    with atomic_write(path, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("index", "name"))
        table.writerows((index, name) for name, index in sorted(classes.items(), key=lambda item: item[1]))
