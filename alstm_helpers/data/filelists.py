"""Shard files: found below a folder, and named in lists, one path per line."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, read_text, require_file

SUFFIXES = (".pkl", ".tfrecord")


def shards_below(source: str | os.PathLike[str], suffixes: Sequence[str], remedy: str) -> dict[str, Path]:
    """Return the files below ``source`` with one of ``suffixes``, by their names up to the first dot.

    If ``source`` is a file, return it, whatever its suffix.

    Raises:
        AlstmError: there is none (the message ends with ``remedy``), or two have the same name.
    """
    source = Path(source)
    if not source.exists():
        raise AlstmError(source, "no such folder", f"check the path, or {remedy}")
    found: dict[str, Path] = {}
    paths = [source] if source.is_file() else files_below(source, lambda path: path.suffix in suffixes)
    for path in paths:
        require_file(path, "repair or remove it")
        name = path.name.partition(".")[0]
        if name in found:
            raise AlstmError(path, f"{found[name]} would become the same {name}.pkl", "rename one of them")
        found[name] = path
    if not found:
        raise AlstmError(source, f"no *{' or *'.join(suffixes)} below it", remedy)
    return found


def files_below(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """Return the wanted paths below a folder, sorted; links to folders are followed, and no folder is entered twice.

    What is hidden is none of them: macOS keeps ``._clip.mp4`` beside ``clip.mp4``, with nothing in it. A link to
    nothing and an empty folder are among them, if wanted: they stand for files that somebody misses.

    Raises:
        AlstmError: a folder cannot be listed.
    """
    found, entered = list[Path](), {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_not_listed):
        new: dict[str, str] = {}
        for path in sorted(map(Path(parent).joinpath, folders), key=_links_last):
            new.setdefault(os.path.realpath(path), path.name)
        folders[:] = [name for real, name in new.items() if real not in entered]
        entered |= new.keys()
        here = map(Path(parent).joinpath, files) if files or folders else [Path(parent)]
        found += [path for path in here if wanted(path) and not _is_hidden(path.relative_to(folder))]
    return without_repeats(sorted(found))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _links_last(path: Path) -> tuple[bool, Path]:
    return path.is_symlink(), path


def without_repeats(paths: Iterable[Path]) -> list[Path]:
    """Return the paths in their order, but a file only once if several lead to it by the same name."""
    first: dict[tuple[str, str], Path] = {}
    for path in paths:
        first.setdefault((os.path.realpath(path), path.name), path)
    return list(first.values())


def _not_listed(error: OSError) -> None:
    remedy = "make it readable, or name other folders"
    raise AlstmError(error.filename, f"it cannot be listed ({error.strerror})", remedy) from None


def filelist_text(shards: Iterable[Path]) -> str:
    """Return the text of a list of shards: one absolute path per line.

    Raises:
        AlstmError: a path cannot be a line of UTF-8.
    """
    return "".join(f"{_line(str(own_name(shard)))}\n" for shard in shards)


def own_name(shard: Path) -> Path:
    """Return the absolute path of a shard, of which a link keeps its name.

    The suffix tells how to read it, and the blobs that DVC, git-annex and caches link to have none.
    """
    return shard.parent.resolve() / shard.name


def _line(path: str) -> str:
    encodable = not any("\ud800" <= character <= "\udfff" for character in path)  # else bytes that are not UTF-8
    if not encodable or path != path.strip() or "\n" in path or "\r" in path:
        problem = "a list cannot name it: it has a line end in it, is not UTF-8, or ends with a blank"
        raise AlstmError(path, problem, "rename the file or its folder")
    return path


def write_filelist(path: str | os.PathLike[str], shards: Iterable[Path]) -> None:
    """Write a list for :func:`read_filelist`, atomically.

    Raises:
        AlstmError: a path cannot be a line of UTF-8.
    """
    text = filelist_text(shards)
    with atomic_write(path, "w") as file:
        file.write(text)


def read_filelist(path: str | os.PathLike[str]) -> list[Path]:
    """Return the shard files that a list names, one per line. Relative paths start at the list's folder.

    Raises:
        AlstmError: the list is missing, empty or not text, is itself a shard, or names a file that is missing.
    """
    remedy = "make it with `alstm lists ROOT`, or name another with --filelist, or in `train` with -o TRAIN.filelist=…"
    path = require_file(path, remedy)
    if path.suffix in SUFFIXES:
        remedy = "pass a text file with the paths of the shards, one per line"
        raise AlstmError(path, "it is a shard itself, not a list of shards", remedy)
    lines = [line.strip() for line in read_text(path, "save it as UTF-8, one path of a shard per line").split("\n")]
    shards = [path.parent / line for line in lines if line]
    if not shards:
        raise AlstmError(path, "the list is empty", "convert some shards, then run `alstm lists ROOT`")
    for shard in shards:
        if not os.path.isfile(shard):  # noqa: PTH113 (is_file raises for names that no system takes)
            raise AlstmError(path, f"it names {shard}, which is missing", _remedy(path.parent, shard))
    return shards


def _remedy(folder: Path, shard: Path) -> str:
    """Return what helps against a missing shard of a list in ``folder``, which may have been moved with its shards."""
    moved = folder.joinpath(*shard.parts[-3:])  # such as tf/train/train0000.tfrecord
    if moved != shard and os.path.isfile(moved):  # noqa: PTH113
        return f"the folder was moved, so run `alstm lists {shlex.quote(str(folder))}`"
    return "name one file per line, without quotation marks, or run `alstm lists ROOT` again"


def fingerprint(shards: Sequence[Path]) -> str:
    """Return the SHA-256 of the shards' names and sizes, in their order; the folder may change."""
    lines = (f"{shard.name} {shard.stat().st_size}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
