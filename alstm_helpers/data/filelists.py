"""Shard files: found below a folder, and named in lists, one path per line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, require_file


def shards_below(source: str | os.PathLike[str], suffixes: Sequence[str], remedy: str) -> dict[str, Path]:
    """Every file below ``source`` (or ``source`` itself) with one of ``suffixes``, by its name up to the first dot.

    Raises:
        AlstmError: none is there, which ends with ``remedy``; or two have the same name.
    """
    source = Path(source)
    if not source.exists():
        raise AlstmError(source, "no such folder", "check the path, or " + remedy)
    every = sorted(source.rglob("*")) if source.is_dir() else [source]
    found: dict[str, Path] = {}
    for path in every if source.is_file() else (path for path in every if path.suffix in suffixes):
        name = path.name.partition(".")[0]
        if name in found:
            raise AlstmError(path, f"{found[name]} would become the same {name}.pkl", "rename one of them")
        found[name] = path
    if not found:
        raise AlstmError(source, f"no *{' or *'.join(suffixes)} below it", remedy)
    return found


def filelist_text(shards: Iterable[Path]) -> str:
    """What a list of these shards holds: an absolute path a line."""
    return "".join(f"{shard.resolve()}\n" for shard in shards)


def write_filelist(path: str | os.PathLike[str], shards: Iterable[Path]) -> None:
    """Write a list that :func:`read_filelist` reads, atomically."""
    with atomic_write(path, "w") as file:
        file.write(filelist_text(shards))


def read_filelist(path: str | os.PathLike[str]) -> list[Path]:
    """The shard files a list names, one a line; a line that is not absolute is taken from the list's folder.

    Raises:
        AlstmError: the list is missing or empty, or names a file that is missing.
    """
    path = require_file(path, "make it with `alstm lists ROOT`, or pass --filelist")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    shards = [path.parent / line for line in lines if line]
    if not shards:
        raise AlstmError(path, "the list is empty", "convert some shards, then run `alstm lists ROOT`")
    for shard in shards:
        if not shard.is_file():
            raise AlstmError(path, f"it names {shard}, which is missing", "run `alstm lists ROOT` again")
    return shards
