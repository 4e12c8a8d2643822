"""Which exercises are done: a file on this machine, which nothing ever sends anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from alstm_helpers.course.exercises.core import Verdict
from alstm_helpers.files import write_json
from alstm_helpers.paths import project_root


def progress_file() -> Path:
    """``ALSTM_PROGRESS``, or ``data/progress.json`` of the clone."""
    return Path(os.environ.get("ALSTM_PROGRESS") or project_root() / "data" / "progress.json")


class Progress:
    """Rows by exercise: ``status``, ``attempts``, ``hints``."""

    def __init__(self, path: Path, rows: dict[str, dict[str, Any]]) -> None:
        self.path, self.rows = path, rows

    @classmethod
    def load(cls) -> Progress:
        """What is on the disk; a file that cannot be read counts as none."""
        path = progress_file()
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            rows = {}
        return cls(path, rows if isinstance(rows, dict) else {})

    def save(self) -> None:
        """Write it; where the folder is read-only, exercises work without."""
        try:
            write_json(self.path, self.rows)
        except OSError:
            return

    def _row(self, name: str) -> dict[str, Any]:
        return self.rows.setdefault(name, {"status": "not attempted", "attempts": 0, "hints": 0})

    def note(self, name: str, verdict: Verdict) -> Progress:
        """Count an attempt; what was correct once stays so."""
        if verdict.status != "not attempted":
            row = self._row(name)
            row["attempts"] += 1
            if row["status"] != "correct":
                row["status"] = verdict.status
        return self

    def note_hint(self, name: str, number: int) -> Progress:
        """Count the hints that were shown."""
        row = self._row(name)
        row["hints"] = max(row["hints"], number)
        return self

    def hints(self, name: str) -> int:
        """Hints shown so far."""
        return int(self.rows.get(name, {}).get("hints", 0))

    def status(self, name: str) -> str:
        """``not attempted``, ``not yet``, or ``correct`` if it was answered rightly at some time."""
        return str(self.rows.get(name, {}).get("status", "not attempted"))
