"""Record which exercises are done, in a file on this machine that is never sent anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypedDict

from alstm_helpers.course.exercises.core import Status, Verdict
from alstm_helpers.files import write_json
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
        """Read the file; one that cannot be read counts as empty."""
        path = progress_file()
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            rows = {}
        return cls(path, rows if isinstance(rows, dict) else {})

    def save(self) -> None:
        """Write the file, unless it cannot be written: exercises work without it."""
        try:
            write_json(self.path, self.rows)
        except OSError:
            return

    def _row(self, name: str) -> ExerciseRow:
        return self.rows.setdefault(name, {"status": "not attempted", "attempts": 0, "hints": 0})

    def note(self, name: str, verdict: Verdict) -> ExerciseProgress:
        """Count an attempt; an exercise that was once correct stays so."""
        if verdict.status != "not attempted":
            row = self._row(name)
            row["attempts"] += 1
            if row["status"] != "correct":
                row["status"] = verdict.status
        return self

    def note_hint(self, name: str, number: int) -> ExerciseProgress:
        """Record that hints up to a number have been shown."""
        row = self._row(name)
        row["hints"] = max(row["hints"], number)
        return self

    def hints(self, name: str) -> int:
        """Return the number of hints shown so far."""
        row = self.rows.get(name)
        return int(row.get("hints", 0)) if row else 0

    def status(self, name: str) -> Status:
        """Return ``not attempted``, ``not yet``, or ``correct`` if an answer ever was."""
        row = self.rows.get(name)
        return row.get("status", "not attempted") if row else "not attempted"
