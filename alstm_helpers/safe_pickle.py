"""Pickles of plain data, read without running code: what videos, weights and checkpoints are stored in.

A pickle is a program. The reader here runs it with an interpreter of its own, which knows the few names that
plain arrays need, refuses any other, and builds every array itself, with its size and type checked.
"""

from __future__ import annotations

import math
import mmap
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from alstm_helpers.errors import AlstmError, UnsafePickle
from alstm_helpers.files import atomic_write, require_file

# Protocol 4 is the newest that every supported Python and Paddle's own loader read; protocol 2 written
# by Python 3 inflates arrays 1.5 times and loads 20 times slower.
PROTOCOL = 4
_LARGE = 1 << 12  # bytes; what is larger stays where it is in the file and is not copied


def load_plain(path: str | os.PathLike[str], remedy: str) -> Any:
    """Unpickle plain data: dicts, lists, text, bytes, numbers and NumPy arrays of numbers.

    Arrays are read-only views of the file, which stays mapped as long as they live; it may be replaced
    meanwhile, but not be written over.

    Raises:
        UnsafePickle: the file names anything else.
        AlstmError: the file is missing or damaged; the message ends with ``remedy``.
    """
    path = require_file(path, remedy)
    try:
        source: Any = _Source(_content(path))
        value = _Interpreter(source, encoding="bytes").load()  # Python 2 wrote byte strings
        return _finished(value, {})
    except UnsafePickle as error:
        raise UnsafePickle(path, error.problem, "do not trust this file; " + remedy) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AlstmError(path, f"not a readable pickle ({reason})", remedy) from error


def save_plain(path: str | os.PathLike[str], value: Any) -> None:
    """Pickle plain data, atomically."""
    with atomic_write(path) as file:
        pickle.dump(value, file, protocol=PROTOCOL)


def _content(path: Path) -> bytes | mmap.mmap:
    """A file's bytes, mapped where a mapped file can still be replaced (not on Windows)."""
    if sys.platform == "win32" or path.stat().st_size == 0:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Source:
    """What the interpreter reads from. Large values are views: an array's bytes are not touched until used."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self._content, self._view, self._at, self._size = content, memoryview(content), 0, len(content)

    def read(self, size: int) -> bytes | memoryview:
        start, self._at = self._at, self._at + size
        if self._at > self._size:  # checked first, so that a wild length costs no memory
            raise pickle.UnpicklingError(f"{size} bytes announced, fewer are left")
        return self._content[start : self._at] if size < _LARGE else self._view[start : self._at]

    def readline(self) -> bytes:
        start, self._at = self._at, self._content.find(b"\n", self._at) + 1 or self._size
        return self._content[start : self._at]


class _DType:
    """Stands for ``numpy.dtype``: numbers of fixed size only, no objects and no structures."""

    def __init__(self, name: str | bytes, align: Any = False, copy: Any = True) -> None:
        name = name.decode() if isinstance(name, bytes) else name
        if not re.fullmatch(r"b1|[iu][1248]|f[248]", name):
            raise UnsafePickle("", f"it holds an array of {name}, which is not plain numbers", "")
        self.dtype = np.dtype(name)

    def set_state(self, state: Any) -> None:
        if tuple(state[2:5]) != (None, None, None):  # a sub-array, names, fields
            raise UnsafePickle("", "it holds an array of structures, which is not plain numbers", "")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for an array from ``numpy.core.multiarray._reconstruct`` on until the whole file is read."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        shape, dtype, fortran, content = state[-4:]
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: _DType, shape: Any, order: Any) -> np.ndarray:
    """A read-only view of ``content``, which must have the size that type and shape announce."""
    if not isinstance(content, bytes | bytearray | memoryview):
        raise UnsafePickle("", f"an array's content is a {type(content).__name__}, not bytes", "")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"an array of shape {tuple(shape)} has {len(content)} bytes")
    return np.frombuffer(memoryview(content).toreadonly(), dtype.dtype).reshape(shape, order=order)


def _frombuffer(content: Any, dtype: _DType, shape: Any, order: Any) -> np.ndarray:
    """How protocol 5 spells an array."""
    return _array(content, dtype, shape, order)


def _scalar(dtype: _DType, content: Any) -> Any:
    """How a NumPy number is spelt."""
    return _array(content, dtype, (), "C")[()]


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 written by Python 3 spells bytes: text to be encoded as latin-1, nothing else."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not one that arrays use")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 written by Python 3 spells empty bytes."""
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of _reconstruct, which does not look at it
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode_latin1,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "list"): list,  # save_videos writes a list this way
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and NumPy 2
    _ALLOWED[_core + ".multiarray", "_reconstruct"] = _Array
    _ALLOWED[_core + ".multiarray", "scalar"] = _scalar
    _ALLOWED[_core + ".numeric", "_frombuffer"] = _frombuffer


class _Interpreter(pickle._Unpickler):
    """The standard library's unpickler in Python, in which a pickle can name no code and set no object's state.

    That in C is no alternative: it calls NumPy's own ``__setstate__``, which trusts what it is given (a forged
    dtype makes bytes into pointers), and a forged memo index makes it fill gigabytes.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            problem = f"it names {module}.{name}, which is not plain data and could run code"
            raise UnsafePickle("", problem, "") from None

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _DType | _Array):
            problem = f"it sets the state of a {type(target).__name__}, which is not plain data"
            raise UnsafePickle("", problem, "")
        target.set_state(state)

    def _frame(self) -> None:
        self.read(8)  # how much to read ahead from a file; nothing is read ahead here

    def _bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _build,
        pickle.FRAME[0]: _frame,
        pickle.BYTEARRAY8[0]: _bytearray8,
    }


def _finished(value: Any, done: dict[int, Any]) -> Any:
    """``value`` with arrays and bytes in place of what stood for them; each container is walked once.

    Args:
        value: what the interpreter made.
        done: results by the identity of what was there before, which is kept alive beside them.
    """
    if isinstance(value, int | float | str | bytes | None):
        return value
    if isinstance(value, memoryview):
        return value.tobytes()
    if isinstance(value, _Array):
        return value.array
    if id(value) in done:
        return done[id(value)][1]
    done[id(value)] = value, value
    if isinstance(value, dict):
        items = [(_finished(key, done), _finished(item, done)) for key, item in value.items()]
        value.clear()
        value.update(items)
    elif isinstance(value, list):
        value[:] = [_finished(item, done) for item in value]
    elif isinstance(value, tuple):
        done[id(value)] = value, tuple(_finished(item, done) for item in value)
    return done[id(value)][1]
