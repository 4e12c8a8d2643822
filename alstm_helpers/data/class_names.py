"""Which class is number n: ``labels.csv`` and ``vocabulary.csv``, and labels with names and scores."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, read_text, require_file
from alstm_helpers.metrics import best_classes


class Label(TypedDict):
    """One predicted label, as files and answers spell it; ``name`` is None where no names are known."""

    index: int
    name: str | None
    score: float


def best_labels(
    scores: np.ndarray, top_k: int, names: Mapping[int, str] | None = None, *, digits: int | None = None
) -> list[Label]:
    """Return the labels with the largest scores of one video, best first.

    Args:
        scores: float (C,).
        top_k: how many labels.
        names: class names by index.
        digits: decimal places that scores are rounded to; None keeps them.
    """
    found = names or {}
    best = best_classes(scores[None], top_k)[0].tolist()
    return [label_row(index, float(scores[index]), found, digits=digits) for index in best]


def label_row(index: int, score: float, names: Mapping[int, str], *, digits: int | None = None) -> Label:
    """Return one label with its name, the score rounded to ``digits`` decimal places."""
    return {"index": index, "name": names.get(index), "score": score if digits is None else round(score, digits)}


def read_class_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Class names by index from a CSV with columns ``index,name``: ``labels.csv``, or YouTube-8M's ``vocabulary.csv``.

    Rows may stand in any order (``vocabulary.csv`` is not in index order); an empty name becomes ``class N``.

    Raises:
        AlstmError: the file is missing, lacks a column, or has a row without a number.
    """
    path = require_file(path, "set INFER.class_names to labels.csv or vocabulary.csv, or to null")
    names: dict[int, str] = {}
    remedy = "it needs the columns index,name, with a number in index"
    rows = 1  # read so far, the header's included
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for row in csv.DictReader(file):
                rows += 1
                fields = {str(key).strip().lower(): value for key, value in row.items()}
                index = int(fields["index"])
                names[index] = fields["name"].strip() or f"class {index}"
        except UnicodeDecodeError:
            raise AlstmError(path, "not in UTF-8", "save it as CSV in UTF-8") from None
        except (KeyError, ValueError, AttributeError, csv.Error):
            raise AlstmError(f"{path}, row {rows}", "no index or no name", remedy) from None
    if not names:
        raise AlstmError(path, "it names no class", remedy)
    return names


def read_classes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Class indices by name from a ``labels.csv``.

    Raises:
        AlstmError: no such columns, an index that is no number or stands there twice.
    """
    path = require_file(path, "write it with `alstm labels import`")
    classes: dict[str, int] = {}
    for number, row in enumerate(csv.DictReader(io.StringIO(read_text(path), newline="")), 2):
        try:
            index, name = int(row["index"]), row["name"]
            if index < 0 or index in classes.values() or name in classes:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            problem = "it is not a new index and a new name"
            raise AlstmError(f"{path}, row {number}", problem, "write columns index,name, each once") from None
        classes[name] = index
    return classes


def write_classes(path: str | os.PathLike[str], classes: Mapping[str, int]) -> None:
    """Write ``index,name`` rows in the order of the indices."""
    with atomic_write(path, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("index", "name"))
        table.writerows((index, name) for name, index in sorted(classes.items(), key=lambda item: item[1]))
