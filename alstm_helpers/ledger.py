"""What has been done in a folder: one JSON object per line, so that a rerun skips it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from alstm_helpers.digests import sealed, unsealed
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, claimed

LedgerRow: TypeAlias = dict[str, Any]  # as json.loads gives it


class Ledger:
    """The rows of a file of JSON lines, by one of their values.

    ``convert``, ``features`` and ``download`` each keep one: they claim the folder, look at the rows, append a row when
    a unit of work is done, and leave the rows sorted::

        ledger = Ledger(folder / "manifest.jsonl", "shard")
        with ledger.claimed():
            done, failed = ledger.add_all(convert(shard) for shard in to_do(ledger.rows))

    Args:
        path: the file; it need not exist.
        key: the key whose value names a row.
    """

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        self.path, self.key = Path(path), key
        self.rows: dict[str, LedgerRow] = {}
        self._text = ""
        self.read()

    def read(self) -> None:
        """Read the file again. Skip a line that a crash cut off, or that has changed: its work is done again."""
        self._text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        self.rows = {}
        for line in self._text.split("\n"):  # splitlines also splits at characters that JSON leaves in a string
            try:
                row = unsealed(json.loads(line))
                name = row[self.key]
            except (ValueError, KeyError, RecursionError):
                continue
            if isinstance(name, str):
                self.rows[name] = row

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
            if self._text and not self._text.endswith("\n"):
                self.settle()  # else the next row would continue the line that a crash cut off
            yield
            self.settle()

    def add(self, row: LedgerRow) -> None:
        """Append a row to the file at once, so that a crash loses no more than the last one."""
        self.rows[row[self.key]] = row
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(_line(row))
        self._text += _line(row)

    def add_all(
        self, outcomes: Iterable[LedgerRow | AlstmError], *, keep_going: bool = True
    ) -> tuple[list[LedgerRow], list[AlstmError]]:
        """Add the row of each unit of work as it finishes; return the rows, and the errors sorted by message.

        Args:
            outcomes: a row, or the error of a unit that failed.
            keep_going: collect errors; otherwise raise the first one.
        """
        done, failed = list[LedgerRow](), list[AlstmError]()
        for outcome in outcomes:
            if not isinstance(outcome, AlstmError):
                self.add(outcome)
                done.append(outcome)
            elif keep_going:
                failed.append(outcome)
            else:
                raise outcome
        return done, sorted(failed, key=str)

    def settle(self) -> None:
        """Rewrite the file with the rows sorted, unless it holds exactly that."""
        if not self.is_settled:
            text = self._settled_text()
            with atomic_write(self.path, "w") as file:
                file.write(text)
            self._text = text

    def _settled_text(self) -> str:
        return "".join(_line(self.rows[name]) for name in sorted(self.rows))


def _line(row: LedgerRow) -> str:
    return json.dumps(sealed(row), ensure_ascii=False) + "\n"
