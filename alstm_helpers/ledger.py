"""What has been done in a folder: one JSON object per line, so that a rerun skips it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from alstm_helpers.digests import crc32c
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import append, claimed, replace_with_sums

LedgerRow: TypeAlias = dict[str, Any]  # as json.loads gives it


class Ledger:
    """The rows of a file of JSON lines, by one of their values.

    ``convert``, ``features`` and ``download`` each keep one: they claim the folder, look at the rows, append a row when
    a unit of work is done, and leave the rows sorted::

        ledger = Ledger(folder / "manifest.jsonl", "shard")
        with ledger.claimed():
            done, failed = ledger.add_all(convert(shard) for shard in to_do(ledger.rows))

    ``<name>.crc32c`` beside it has the CRC-32C of each line. A row that does not fit is not believed, and its work is
    done again; without that file, as earlier versions left it, all are.

    Args:
        path: the file; it need not exist.
        key: the key whose value names a row.
    """

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        self.path, self.key = Path(path), key
        self.rows: dict[str, LedgerRow] = {}
        self._text = self._sums = ""
        self.read()

    @property
    def _sums_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.crc32c")

    def read(self) -> None:
        """Read the files again. Skip a line that a crash cut off, even inside a character, or that has changed."""
        self._text, self._sums = (_text_of(path) for path in (self.path, self._sums_path))
        self.rows = {}
        known = set(self._sums.split()) if self._sums_path.exists() else None
        for line in self._text.split("\n"):  # splitlines also splits at characters that JSON leaves in a string
            if known is not None and _sum_of(line) not in known:
                continue
            try:
                row = json.loads(line)
                name = row[self.key]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(name, str):
                self.rows[name] = row

    @property
    def is_settled(self) -> bool:
        """Whether the file holds exactly the rows, sorted, and the sums are those of its lines."""
        text = self._settled_text()
        return self._text == text and self._sums == _sums_of(text)

    @contextmanager
    def claimed(self, *folders: Path) -> Iterator[None]:
        """Claim the file's folder, and ``folders``; read the rows again, and settle the file if the block succeeds.

        Raises:
            FolderInUse: another run has claimed one of the folders.
        """
        with claimed(self.path.parent, *folders):
            self.read()
            if self._text and not (self._text.endswith("\n") and self._sums_path.exists()):
                self.settle()  # else the next row would continue the line that a crash cut off, or have the only sum
            yield
            self.settle()

    def add(self, row: LedgerRow) -> None:
        """Append a row to the file at once, so that a crash loses no more than the last one."""
        line = _line(row)
        self.rows[row[self.key]] = row
        for path, text in ((self._sums_path, _sums_of(line)), (self.path, line)):
            append(path, text)
        self._text, self._sums = self._text + line, self._sums + _sums_of(line)

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
        if self.is_settled:
            return
        text = self._settled_text()
        sums = _sums_of(text)
        replace_with_sums(self.path, text, self._sums_path, self._sums, sums)
        self._text, self._sums = text, sums

    def _settled_text(self) -> str:
        return "".join(_line(self.rows[name]) for name in sorted(self.rows))


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _line(row: LedgerRow) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _sum_of(line: str) -> str:
    """Return the sum of a line without its end."""
    return f"{crc32c(line.encode()):08x}"


def _sums_of(text: str) -> str:
    """Return the sums of complete lines, one per line."""
    return "".join(f"{_sum_of(line)}\n" for line in text.split("\n")[:-1])
