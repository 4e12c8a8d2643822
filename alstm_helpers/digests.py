"""Digests of what the package writes and reads again, so that rotten bits are found when it is read.

============= ======================================================================================
pickles       CRC-32C of every piece, such as an array, in a trailer that other readers ignore
JSON objects  ``"digest"``, the CRC-32C of the object without it
manifests     CRC-32C of every line, in a file beside it
CSV           SHA-256 in a file beside it, which ``sha256sum -c`` reads, too
============= ======================================================================================

What has no digest, because another program or an earlier version wrote it, is read as it is.
"""

from __future__ import annotations

import bisect
import json
import mmap
import os
import struct
from collections.abc import Mapping

import numpy as np

from alstm_helpers.errors import AlstmError

_BEGIN, _END = b"\nALSTM-C", b"C-MTSLA\n"
_FOOT = struct.Struct(f"<QI{len(_END)}s")  # the number of pieces, CRC of the trailer up to here, the end
_KEY, _KIND = "digest", "crc32c:"


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """Return the CRC-32C of bytes."""
    import google_crc32c  # here, as a packed model reads files without it

    return int(google_crc32c.value(data))


class PieceSums:
    """The digests of the pieces in which a file is written, and the trailer that holds them.

    A pickler writes each large array at once, so that it is a piece of its own.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._sums: list[int] = []

    def add(self, piece: bytes) -> None:
        """Add the next bytes of the file."""
        self._sizes.append(len(piece))
        self._sums.append(crc32c(piece))

    def trailer(self) -> bytes:
        """Return what belongs behind the last byte."""
        count = len(self._sizes)
        body = _BEGIN + struct.pack(f"<{count}Q{count}IQ", *self._sizes, *self._sums, count)
        return body + struct.pack("<I", crc32c(body)) + _END


class Pieces:
    """The content of a file, whose pieces are checked when they are needed, each once.

    Args:
        content: the whole file.
        where, remedy: of the error.

    Attributes:
        size: of the content without its trailer, in bytes.

    Raises:
        AlstmError: the trailer is damaged.
    """

    def __init__(self, content: bytes | mmap.mmap, where: str | os.PathLike[str], remedy: str) -> None:
        self._where, self._remedy = where, remedy
        self._bytes = np.frombuffer(content, np.uint8)
        self._address = _address(self._bytes)
        self._edges, self._sums = self._read_trailer()
        self.size = self._edges[-1]
        self._unchecked = bytearray(b"\1") * len(self._sums)

    def _read_trailer(self) -> tuple[list[int], list[int]]:
        """Return where pieces begin, and the last one ends, and their sums: none where there is no trailer."""
        size = len(self._bytes)
        if size < _FOOT.size + len(_BEGIN) or self._bytes[-len(_END) :].tobytes() != _END:
            return [size], []
        count, wanted, _ = _FOOT.unpack(self._bytes[-_FOOT.size :].tobytes())
        foot = size - _FOOT.size
        content = foot - 12 * count - len(_BEGIN)
        if content < 0 or crc32c(self._bytes[content : foot + 8]) != wanted:
            raise self._damaged("the digests at its end have")
        table = self._bytes[content + len(_BEGIN) : foot].tobytes()
        sizes = np.frombuffer(table[: 8 * count], "<u8").astype(np.int64)
        return [0, *np.cumsum(sizes).tolist()], np.frombuffer(table[8 * count :], "<u4").tolist()

    def check(self, start: int, stop: int) -> int:
        """Check the pieces that hold the bytes from ``start`` to ``stop``; return where the last of them ends.

        Raises:
            AlstmError: one of them is not as it was written.
        """
        if not self._sums:
            return self.size
        piece = bisect.bisect_right(self._edges, start) - 1
        while self._edges[piece] < stop:
            if self._unchecked[piece]:
                first, last = self._edges[piece : piece + 2]
                if crc32c(self._bytes[first:last]) != self._sums[piece]:
                    raise self._damaged(f"bytes {first} to {last} have")
                self._unchecked[piece] = 0
            piece += 1
        return self._edges[piece]

    def check_array(self, array: np.ndarray) -> None:
        """Check the pieces that hold an array, if it is a contiguous view of the content."""
        if self._sums:
            start = _address(array) - self._address
            if 0 <= start < self.size:
                self.check(start, start + array.nbytes)

    def check_end(self, stop: int) -> None:
        """Check that no part of a trailer follows the content, which ends at ``stop``, where no whole one was found."""
        rest = self._bytes[stop : stop + len(_BEGIN)].tobytes()
        if not self._sums and rest and _BEGIN.startswith(rest):
            raise self._damaged("the digests at its end have")

    def _damaged(self, what: str) -> AlstmError:
        return AlstmError(self._where, f"it is damaged: {what} changed since it was written", self._remedy)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])  # much faster than array.ctypes


def sealed(value: Mapping[str, object]) -> dict[str, object]:
    """Return a JSON object with its digest as the last item."""
    return {**value, _KEY: _digest_of(value)}


def unsealed(value: object) -> dict[str, object]:
    """Return a JSON object without its digest, if it has one.

    Raises:
        ValueError: it is not an object, or not as it was written.
    """
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    content = {key: item for key, item in value.items() if key != _KEY}
    # A changed key leaves the value, which is recognised, too.
    found = [item for item in value.values() if isinstance(item, str) and item.startswith(_KIND)]
    if (found or _KEY in value) and value.get(_KEY) != _digest_of(content):
        raise ValueError("it is damaged: it has changed since it was written")
    return content


def _digest_of(value: Mapping[str, object]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))  # ASCII, so that any text has one spelling
    return f"{_KIND}{crc32c(text.encode()):08x}"
