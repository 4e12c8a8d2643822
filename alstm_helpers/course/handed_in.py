"""Tables of progress that a class hands in, and the one that its lecturer makes of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from alstm_helpers.course.exercises import CHAPTERS, exercises_of
from alstm_helpers.course.exercises.core import Status
from alstm_helpers.course.exercises.progress import ExerciseProgress
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, cell, csv_text, read_text, require_file

HEADER: list[object] = ["name", "exercise", "status", "attempts", "hints"]


def write_table(done: ExerciseProgress, name: str, path: Path) -> int:
    """Write a row per exercise, with the name of whoever hands it in; return the number of exercises."""
    rows: list[list[object]] = []
    for exercise in _names():
        row = done.rows.get(exercise, {"status": "not attempted", "attempts": 0, "hints": 0})
        rows.append([name, exercise, row["status"], row["attempts"], row["hints"]])
    _write(path, [HEADER, *rows])
    return len(rows)


def join_tables(handed_in: Sequence[Path], path: Path) -> int:
    """Write a row per table that was handed in: name, number of correct answers, status of each exercise.

    A table without a name gets that of its file. Return the number of tables.

    Raises:
        AlstmError: a file is not such a table.
    """
    exercises = _names()
    rows: list[list[object]] = []
    for table in handed_in:
        name, status = _read(table)
        correct = sum(status.get(exercise) == "correct" for exercise in exercises)
        rows.append([cell(name), correct, *(status.get(exercise, "") for exercise in exercises)])
    _write(path, [["name", "correct", *exercises], *rows])
    return len(rows)


def _names() -> list[str]:
    return [exercise.name for chapter in CHAPTERS for exercise in exercises_of(chapter)]


def _read(table: Path) -> tuple[str, dict[str, str]]:
    """Return the name in a table, or of its file, and the status of each exercise."""
    remedy = "have it written by alstm progress --csv"
    try:
        lines = [row for row in csv.reader(io.StringIO(read_text(require_file(table, remedy)), newline="")) if row]
    except csv.Error:  # such as a field of a megabyte
        lines = []
    header, *rows = lines or [[]]
    if header != HEADER or any(len(row) != len(HEADER) or row[2] not in get_args(Status) for row in rows):
        raise AlstmError(table, "not a table of progress", remedy)
    names = {row[0] for row in rows if row[0]}
    return min(names, default=table.stem), {row[1]: row[2] for row in rows}


def _write(path: Path, rows: list[list[object]]) -> None:
    with atomic_write(path, "w") as file:
        file.write(csv_text(rows))
