"""The errors that a user can meet. Each is one sentence: where, what is wrong, what to do."""

from __future__ import annotations

import errno
import os

OTHER_WEIGHTS = "use other weights than those of a training that diverged"  # what to do about NaN
_JOINERS = "\u200c\u200d"  # the only invisible characters that spelling needs


class AlstmError(Exception):
    """A failure caused by input or environment, not by a bug.

    Args:
        where: the file, record or key at fault.
        problem: what is wrong.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str | os.PathLike[str], problem: str, remedy: str) -> None:
        self.where = _shortened(os.fspath(where), 4096)
        self.problem, self.remedy = _shortened(problem, 800), _shortened(remedy, 800)
        super().__init__(f"{self.where}: {self.problem}; {self.remedy}")

    def __reduce__(self) -> tuple[type[AlstmError], tuple[str, str, str]]:
        # Worker processes hand errors back by pickling; the default would pass the joined text.
        return type(self), (self.where, self.problem, self.remedy)


def one_line(text: str) -> str:
    """Escape line ends, and what a terminal obeys or hides, in text that may come from a hostile file."""
    return "".join(c if c.isprintable() or _is_harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _is_harmless(character: str) -> bool:
    """Tell whether a character is a space, a joiner, or one that this Python does not know yet."""
    import unicodedata  # a library of its own, which hardly any run needs

    return character in _JOINERS or unicodedata.category(character) in ("Zs", "Cn", "Co")


def _shortened(text: str, longest: int) -> str:
    return one_line(text if len(text) <= longest else text[:longest] + " …")


def printable(video_id: bytes | str) -> str:
    """Return a video's id as text, for messages and for files: whatever is not UTF-8 is escaped."""
    return video_id.decode(errors="backslashreplace") if isinstance(video_id, bytes) else video_id


_NETWORK = "check the network and the address"
_PATH = "check the path"
_PERMISSIONS = "check permissions, or choose another folder"
_SPACE = "free some space, or choose another folder"
_ANY_REMEDY = "check the path, permissions, free space and the network"
_REMEDIES = {
    getattr(errno, name): remedy
    for names, remedy in {
        "ENOSPC EDQUOT EFBIG": _SPACE,
        "EACCES EPERM EROFS": _PERMISSIONS,
        "ENOENT ENOTDIR EISDIR EEXIST ENOTEMPTY ELOOP EINVAL": _PATH,
        "ENAMETOOLONG EILSEQ": "choose shorter and simpler names",
        "EMFILE ENFILE": "raise the number of open files (ulimit -n), or use fewer workers",
        "ENOMEM EAGAIN": "close other programs, or use fewer workers",
        "EIO ENXIO ESTALE": "check the disk",
        "ECONNREFUSED ECONNRESET ECONNABORTED ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN": _NETWORK,
        "EADDRINUSE EADDRNOTAVAIL": "choose another port",
        "EBUSY ETXTBSY": "end the program that uses it",
    }.items()
    for name in names.split()
    if hasattr(errno, name)  # each system has its own
}


def remedy_of(error: OSError) -> str:
    """Return what to do about what the system says."""
    remedy = _ANY_REMEDY if error.errno is None else _REMEDIES.get(error.errno, _ANY_REMEDY)
    return f"{remedy}, then run again"


class CorruptRecord(AlstmError):
    """The bytes of a TFRecord or of a record in it are damaged or not as the format says."""


class WrongShard(AlstmError):
    """A valid TFRecord that holds something other than frame-level YouTube-8M videos."""


class NotFinite(AlstmError):
    """An output of a network is NaN or infinite: its weights are at fault, not what it was given."""


class UnsafePickle(AlstmError):
    """A pickle names something other than plain data; loading it could run code."""


class ConfigError(AlstmError):
    """A configuration file or override has an unknown key or an impossible value."""


class DeviceError(AlstmError):
    """The requested device is not available."""


class FolderInUse(AlstmError):
    """Another run of this package is writing to the folder."""
