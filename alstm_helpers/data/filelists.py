"""Shard files: found below a folder, and named in lists, one path per line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, read_text, require_file


def shards_below(source: str | os.PathLike[str], suffixes: Sequence[str], remedy: str) -> dict[str, Path]:
    """Return the files below ``source`` with one of ``suffixes``, by their names up to the first dot.

    If ``source`` is a file, return it, whatever its suffix.

    Raises:
        AlstmError: there is none (the message ends with ``remedy``), or two have the same name.
    """
    source = Path(source)
    if not source.exists():
        raise AlstmError(source, "no such folder", "check the path, or " + remedy)
    found: dict[str, Path] = {}
    for path in _files_below(source, suffixes):
        name = path.name.partition(".")[0]
        if name in found:
            raise AlstmError(path, f"{found[name]} would become the same {name}.pkl", "rename one of them")
        found[name] = path
    if not found:
        raise AlstmError(source, f"no *{' or *'.join(suffixes)} below it", remedy)
    return found


def _files_below(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the paths below a folder with one of ``suffixes``, sorted; of a file, the file whatever its suffix."""
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.suffix in suffixes)


def filelist_text(shards: Iterable[Path]) -> str:
    """Return the text of a list of shards: one absolute path per line."""
    return "".join(f"{shard.resolve()}\n" for shard in shards)


def write_filelist(path: str | os.PathLike[str], shards: Iterable[Path]) -> None:
    """Write a list for :func:`read_filelist`, atomically."""
    with atomic_write(path, "w") as file:
        file.write(filelist_text(shards))


def read_filelist(path: str | os.PathLike[str]) -> list[Path]:
    """Return the shard files that a list names, one per line. Relative paths start at the list's folder.

    Raises:
        AlstmError: the list is missing, empty or not UTF-8, or it names a file that is missing.
    """
    path = require_file(path, "make it with `alstm lists ROOT`, or pass --filelist")
    lines = [line.strip() for line in read_text(path, "save it as UTF-8").splitlines()]
    shards = [path.parent / line for line in lines if line]
    if not shards:
        raise AlstmError(path, "the list is empty", "convert some shards, then run `alstm lists ROOT`")
    for shard in shards:
        if not shard.is_file():
            raise AlstmError(path, f"it names {shard}, which is missing", "run `alstm lists ROOT` again")
    return shards
