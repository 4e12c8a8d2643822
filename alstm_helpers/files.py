"""Files: written atomically, folders claimed, and the one message for a missing file."""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Literal, overload

from alstm_helpers.digests import sealed, unsealed
from alstm_helpers.errors import OTHER_WEIGHTS, AlstmError, FolderInUse

_TEMPORARY = ".alstm.tmp"  # the end of the names of half-written files and folders; no other program's end so
_CLAIM = f".claim{_TEMPORARY}"  # locked while a run writes to the folder
_LOCK = ".alstm.lock"  # the end of the name of a file that is locked while a process changes the file beside it
_MARKS = {  # byte-order marks, UTF-32 before UTF-16, whose mark it begins with
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # no names of files on Windows
_LONGEST_NAME = 150  # bytes of a file name without suffix; file systems take 255, some of them for temporary files
_HASHED = re.compile(r"-[0-9a-f]{12}\Z")  # ends a name that is not the id itself


@overload
def atomic_write(path: str | os.PathLike[str]) -> AbstractContextManager[IO[bytes]]: ...


@overload
def atomic_write(path: str | os.PathLike[str], mode: Literal["w"]) -> AbstractContextManager[IO[str]]: ...


def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> AbstractContextManager[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its place only when the block succeeds.

    A reader, and a rerun after a crash or a full disk, sees the old file or the whole new one.

    Args:
        path: the file; missing folders above it are made.
        mode: ``"wb"`` for bytes, ``"w"`` for text in UTF-8.
    """
    return _replacing(Path(path), mode)


@contextlib.contextmanager
def _replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    newline = None if "b" in mode else "\n"  # the same bytes on every system
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    if path.exists() and not (path.is_file() or path.is_dir()):  # a folder is refused by the system
        raise AlstmError(path, "this is no regular file", "name another one")
    with naming(path, temporary):
        try:
            # Not by mkstemp, whose files only their owner can read.
            with temporary.open(mode.replace("w", "x"), encoding=encoding, newline=newline) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Name the file that is written in an error of the system: "No space left on device" does not say where.

    Args:
        path: the file.
        temporary: what is written in its place, and is gone when the error is read.
    """
    try:
        yield
    except OSError as error:
        if error.filename in (None, temporary and os.fspath(temporary)):  # others name what is gone
            error.filename = os.fspath(path)
        raise


def append(path: Path, text: str) -> None:
    """Append to a file in UTF-8, which is closed at once: it can be followed."""
    with naming(path), path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)


@contextlib.contextmanager
def claimed(*folders: Path, wait: float = 0) -> Iterator[None]:
    """Make folders, keep other runs of this package out of them, and remove what a killed run left half-written.

    Claim a folder before writing to it if other runs may write there, too; a run that finds everything done need not.
    The claim ends with the process, however the process ends. On file systems that cannot lock there is no claim.

    Args:
        folders: to claim.
        wait: seconds to wait for another run that has claimed one of them.

    Raises:
        FolderInUse: another run has claimed one of them.
        AlstmError: one of them is a file, or was removed meanwhile, with what had been written to it.
    """
    with contextlib.ExitStack() as claims:
        for folder in folders:
            claims.enter_context(_claim(folder, wait))
        _clean(folders)
        claims.callback(_clean, folders)  # of worker processes that were ended
        yield


@contextlib.contextmanager
def _claim(folder: Path, wait: float) -> Iterator[None]:
    """Lock a hidden file in a folder, which is made, and removed again if the block fails and leaves it empty."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    if not missing and not folder.is_dir():
        raise AlstmError(folder, "this is a file", "name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    remedy = "wait until it is done, or choose another folder"
    in_use = FolderInUse(folder, "another run is writing here", remedy)
    removed = AlstmError(folder, "the folder was removed while this was writing to it", "run the same command again")
    try:
        with _lock(folder / _CLAIM, wait, in_use) as is_there:
            try:
                yield
            except Exception as error:
                if is_there():
                    raise
                raise removed from error
            if not is_there():
                raise removed
    except BaseException:
        with contextlib.suppress(OSError):  # one is not empty
            for each in missing:
                each.rmdir()
        raise


@contextlib.contextmanager
def locked(path: Path, wait: float = 10) -> Iterator[None]:
    """Keep other processes from changing a file while this one reads it and writes it again; they wait meanwhile.

    What a killed process left of it half-written is removed. For files outside of claimed folders.

    Args:
        path: of the file; it need not exist.
        wait: seconds to wait for another process; by default much more than it takes to write a file.

    Raises:
        FolderInUse: another process keeps it locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    in_use = FolderInUse(path, "another process is writing it", "end that process, and try again")
    with _lock(path.with_name(f".{path.name}{_LOCK}"), wait, in_use):
        for leftover in leftovers(path.parent):
            if leftover.name.startswith(f".{path.name}."):
                _remove(leftover)
        yield


@contextlib.contextmanager
def _lock(path: Path, seconds: float, in_use: FolderInUse) -> Iterator[Callable[[], bool]]:
    """Lock a file, and remove it at the end; yield a function that tells whether it is still there.

    Args:
        path: of the file; the next one to lock it takes over that of a killed process.
        seconds: to wait for another process.
        in_use: raised when they are over.
    """
    from filelock import FileLock, Timeout

    # A soft lock, a file that means "locked" by being there, would outlive a killed process.
    lock = FileLock(path, timeout=seconds, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise in_use from None
    except (OSError, NotImplementedError):  # read-only, or a file system that cannot lock
        yield lambda: True
        return
    mine = path.stat()

    def is_there() -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(mine, path.stat())
        return False

    try:
        yield is_there
    finally:
        # Removed while it is locked, so that it is never another run's. Windows removes it when it is released.
        if is_there():
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Make a hidden folder for work inside a claimed one; it is gone afterwards, or at the next claim."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".staging.", suffix=_TEMPORARY) as name:
        yield Path(name)


def leftovers(*folders: Path) -> list[Path]:
    """Return what is half-written, and claims, of a run that was killed or that is still writing."""
    return [path for folder in folders for path in folder.glob(f".*{_TEMPORARY}")]


def _clean(folders: Iterable[Path]) -> None:
    """Remove what is half-written in claimed folders."""
    for leftover in leftovers(*folders):
        if leftover.name != _CLAIM:
            _remove(leftover)


def _remove(leftover: Path) -> None:
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write ``value`` as indented UTF-8 JSON, atomically.

    Raises:
        AlstmError: a number in it is NaN or infinity, which JSON does not know, though Python would write them.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise AlstmError(path, "a number that belongs in it is NaN or infinity", OTHER_WEIGHTS) from None
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def write_sealed(path: str | os.PathLike[str], value: Mapping[str, object]) -> None:
    """Write a JSON object with its digest, for :func:`read_sealed`."""
    write_json(path, sealed(value))


def read_sealed(path: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """Read a JSON object, and check it against its digest if it has one; return it without.

    Raises:
        AlstmError: the file is missing, is not a JSON object, or is damaged; the message ends with ``remedy``.
    """
    path = require_file(path, remedy)
    try:
        return unsealed(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, not an object, not as it was written
        raise AlstmError(path, f"not readable ({error})", remedy) from None


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV whose lines end in ``\\n`` on every system."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def recorded(path: Path) -> dict[str, Any] | None:
    """Return what :func:`write_sealed` wrote; None if it is missing or damaged, so that its work is done again."""
    try:
        return read_sealed(path, "")
    except AlstmError:
        return None


def checksum(path: Path, algorithm: str) -> str:
    """Return a file's ``md5``, ``sha256`` … in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def write_with_sum(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, and its SHA-256 in ``<name>.sha256`` beside it, where :func:`read_text` looks for it.

    A crash leaves the old text or the new one, and sums that fit it.
    """
    path = Path(path)
    before = _sum_line(path, path.read_bytes()) if path.exists() else ""
    replace_with_sums(path, text, _sums_of(path), before, _sum_line(path, text.encode()))


def replace_with_sums(path: Path, text: str, sums: Path, before: str, now: str) -> None:
    """Write a text, and its sums to a file of their own, which at no moment lacks those of what is there.

    Args:
        path: of the text.
        text: new content.
        sums: of the file with the sums.
        before, now: the sums of the old content and of the new one, in lines.
    """
    for target, content in ((sums, before + now), (path, text), (sums, now)):
        _write_text(target, content)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


def has_sum(path: Path) -> bool:
    """Tell whether :func:`write_with_sum` wrote a file, or one with its name."""
    return _sums_of(path).exists()


def _sums_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sum_line(path: Path, data: bytes) -> str:
    """Return a line as ``sha256sum`` writes it."""
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}\n"


def _check_sum(path: Path, data: bytes) -> None:
    """Require that a file is as :func:`write_with_sum` wrote it, if it did."""
    sums = _sums_of(path)
    if sums.is_file() and _sum_line(path, data).encode() not in sums.read_bytes().splitlines(keepends=True):
        remedy = f"put it back as it was; if you changed it yourself, delete {sums.name} beside it"
        raise AlstmError(path, f"it is not as it was written, its SHA-256 is not in {sums.name}", remedy)


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[object]) -> None:
    """Write one JSON object per line, atomically."""
    with atomic_write(path, "w") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_text(
    path: str | os.PathLike[str], remedy: str = "save it as UTF-8 (in Excel: CSV UTF-8)", encoding: str | None = None
) -> str:
    """Read a text file in UTF-8, or in UTF-16 or UTF-32 if it begins with their byte-order mark; lines end in ``\\n``.

    A file with a ``.sha256`` beside it is checked against that.

    Args:
        path: of the file.
        remedy: the end of the error's message.
        encoding: another encoding that the file is known to be in.

    Raises:
        AlstmError: the file is damaged, in another encoding, or not text.
    """
    data = Path(path).read_bytes()
    _check_sum(Path(path), data)
    found = encoding or next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(found)
    except UnicodeDecodeError as error:
        raise AlstmError(path, f"byte {error.start} is not {found.removesuffix('-sig').upper()}", remedy) from None
    except (LookupError, ValueError):
        raise AlstmError(path, f"{found} is not an encoding of text", "name one such as gbk or cp1252") from None
    if "\0" in text:
        raise AlstmError(path, "it is not text in UTF-8: it has zero bytes, as UTF-16 without its mark has", remedy)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def safe_name(text: str) -> str:
    """Turn a video's id, which may be anything, even a path of another system, into a file name.

    A name that is not the id itself ends with a hash of it, so that no two ids share a file.
    """
    name = re.sub(r"[^\w. @-]+", "_", text).strip("._ ") or "video"
    name = f"_{name}" if _DEVICE.match(name) else name
    if name == text and len(name.encode()) <= _LONGEST_NAME and not _HASHED.search(name):
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}-{digest}"


def cell(text: str) -> str:
    """Return the text of a CSV's cell, behind an apostrophe if a spreadsheet would run it as a formula.

    YouTube's ids, of letters, digits, - and _, stay as they are.
    """
    harmless = re.fullmatch(r"[\w-]*", text, re.ASCII) or text[0] not in "=+-@\t\r\n＝＋－＠"
    return text if harmless else f"'{text}"


def require_file(path: str | os.PathLike[str], remedy: str) -> Path:
    """Return ``path`` if it is a file.

    Raises:
        AlstmError: it is not; the message ends with ``remedy``.
    """
    path = Path(path)
    if not path.is_file():
        raise AlstmError(path, "no such file" if not path.exists() else "not a file", remedy)
    return path
