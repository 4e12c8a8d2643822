"""What has been done in a folder: one JSON object per line, so that a rerun skips it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from alstm_helpers.files import atomic_write, claimed

Row: TypeAlias = dict[str, Any]  # as json.loads gives it


class Ledger:
    """The rows of a file of JSON lines, by one of their values.

    ``convert``, ``features`` and ``download`` each keep one: they claim the folder, look at the rows, append a row when
    a unit of work is done, and leave the rows sorted::

        ledger = Ledger(folder / "manifest.jsonl", "shard")
        with ledger.claimed():
            for shard in to_do(ledger.rows):
                ledger.add(convert(shard))

    Args:
        path: the file; it need not exist.
        key: the key whose value names a row.
    """

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        self.path, self.key = Path(path), key
        self.rows: dict[str, Row] = {}
        self._text = ""
        self.read()

    def read(self) -> None:
        """Read the file again. Skip a line that a crash cut off."""
        self._text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        self.rows = {}
        for line in self._text.splitlines():
            try:
                row = json.loads(line)
                self.rows[row[self.key]] = row
            except (ValueError, KeyError, TypeError):
                continue

    @property
    def is_settled(self) -> bool:
        """Whether the file holds exactly the rows, sorted."""
        return self._text == self._settled_text()

    @contextmanager
    def claimed(self, *folders: Path) -> Iterator[None]:
        """Claim the file's folder, and ``folders``; read the rows again, and settle the file if the block succeeds.

        Raises:
            FolderInUse: another run has claimed one of the folders.
        """
        with claimed(self.path.parent, *folders):
            self.read()
            yield
            self.settle()

    def add(self, row: Row) -> None:
        """Append a row to the file at once, so that a crash loses no more than the last one."""
        self.rows[row[self.key]] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))
        self._text += _line(row)

    def settle(self) -> None:
        """Rewrite the file with the rows sorted, unless it holds exactly that."""
        if not self.is_settled:
            self._text = self._settled_text()
            with atomic_write(self.path, "w") as file:
                file.write(self._text)

    def _settled_text(self) -> str:
        return "".join(_line(self.rows[name]) for name in sorted(self.rows))


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
