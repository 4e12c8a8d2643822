"""Record which exercises are done, in a file on this machine that is never sent anywhere."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypedDict, get_args

from alstm_helpers.course.exercises.core import Status, Verdict
from alstm_helpers.errors import FolderInUse
from alstm_helpers.files import locked, write_json
from alstm_helpers.paths import work_folder


class ExerciseRow(TypedDict):
    """What the file holds for an exercise."""

    status: Status
    attempts: int
    hints: int


def progress_file() -> Path:
    """Return the path in ``ALSTM_PROGRESS``, or ``data/progress.json`` of the work folder."""
    return Path(os.environ.get("ALSTM_PROGRESS") or work_folder() / "data" / "progress.json")


class ExerciseProgress:
    """Status, attempts and hints shown, by exercise."""

    def __init__(self, path: Path, rows: dict[str, ExerciseRow]) -> None:
        self.path, self.rows = path, rows

    @classmethod
    def load(cls) -> ExerciseProgress:
        """Read the file; of a damaged one, what can be read counts."""
        path = progress_file()
        with suppress(OSError):
            return cls(path, _rows_in(path)[0])
        return cls(path, {})

    @classmethod
    @contextmanager
    def changing(cls) -> Iterator[ExerciseProgress]:
        """Read the file, and write it after the block; other notebooks that want to change it wait meanwhile.

        A damaged file is kept beside it, with a warning. A file that cannot be read or written is left alone: exercises
        work without it.
        """
        path = progress_file()
        with ExitStack() as stack:
            with suppress(OSError, FolderInUse):
                stack.enter_context(locked(path))
            try:
                rows, is_whole = _rows_in(path)
            except OSError:  # it is there, and may be read again another time
                yield cls(path, {})
                return
            yield cls(path, rows)
            with suppress(OSError):
                if not is_whole:
                    aside = path.replace(path.with_name(f"{path.name}.damaged"))
                    warnings.warn(f"{path}: damaged; what can be read counts, and it is kept as {aside}", stacklevel=4)
                write_json(path, rows)

    def _row(self, name: str) -> ExerciseRow:
        return self.rows.setdefault(name, {"status": "not attempted", "attempts": 0, "hints": 0})

    def note(self, name: str, verdict: Verdict) -> None:
        """Count an attempt; an exercise that was once correct stays so."""
        if verdict.status != "not attempted":
            row = self._row(name)
            row["attempts"] += 1
            if row["status"] != "correct":
                row["status"] = verdict.status

    def note_hint(self, name: str, number: int) -> None:
        """Record that hints up to a number have been shown."""
        row = self._row(name)
        row["hints"] = max(row["hints"], number)

    def hints(self, name: str) -> int:
        """Return the number of hints shown so far."""
        row = self.rows.get(name)
        return row["hints"] if row else 0

    def status(self, name: str) -> Status:
        """Return ``not attempted``, ``not yet``, or ``correct`` if an answer ever was."""
        row = self.rows.get(name)
        return row["status"] if row else "not attempted"


def _rows_in(path: Path) -> tuple[dict[str, ExerciseRow], bool]:
    """Return the rows of a file (none if there is no file), and whether it is whole.

    Raises:
        OSError: it cannot be read, or is no regular file, such as a device.
    """
    if not path.exists():
        return {}, True
    if not path.is_file():
        raise OSError(str(path))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    rows = found if isinstance(found, dict) else {}
    good = {name: row for name, row in rows.items() if _is_row(row)}
    return good, good == found


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or row.keys() != ExerciseRow.__annotations__.keys():
        return False
    return row["status"] in get_args(Status) and type(row["attempts"]) is type(row["hints"]) is int
