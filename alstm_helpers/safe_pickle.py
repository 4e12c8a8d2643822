"""Pickles of plain data, read without running code; videos, weights and checkpoints are stored in them.

A pickle is a program. This reader runs it in an interpreter of its own, which knows the few names that plain arrays
need, refuses all others, and builds every array itself after checking its size and type.
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
from typing import IO, Any, ClassVar, TypeAlias

import numpy as np

from alstm_helpers.digests import Pieces, PieceSums
from alstm_helpers.errors import AlstmError, UnsafePickle, remedy_of
from alstm_helpers.files import atomic_write, require_file

# Protocol 4 is the newest that every supported Python and Paddle's own loader read; protocol 2 written
# by Python 3 inflates arrays 1.5 times and loads 20 times slower.
PROTOCOL = 4
_MAPPED = 1 << 19  # bytes; smaller files, such as those of one video, of which a batch needs a thousand, are read
_LARGE = 1 << 12  # bytes; larger values stay in the file and are not copied


def load_plain(path: str | os.PathLike[str], remedy: str) -> Any:
    """Unpickle plain data: dicts, lists, text, bytes, numbers and NumPy arrays of numbers.

    Arrays are read-only views of the file, which stays mapped as long as they live: it may be replaced meanwhile,
    but not overwritten.

    Raises:
        UnsafePickle: the file names anything else.
        AlstmError: the file is missing, damaged, or not as :func:`save_plain` wrote it; the message ends with
            ``remedy``.
    """
    value, pieces = load_plain_unchecked(path, remedy)
    pieces.check(0, pieces.size)
    return value


def load_plain_unchecked(path: str | os.PathLike[str], remedy: str) -> tuple[Any, Pieces]:
    """Unpickle plain data whose arrays may be damaged: pass each to ``check_array`` of the pieces before its use.

    So arrays that are never used are never read.
    """
    path = require_file(path, remedy)
    try:
        content = _content(path)
        if not content:
            raise AlstmError(path, "it is empty", remedy)
        pieces = Pieces(content, path, remedy)
        source = _Source(content, pieces)
        value = _finished(_Interpreter(source).load(), {})
        pieces.check_end(source.position)
    except UnsafePickle as error:
        raise UnsafePickle(path, error.problem, f"do not trust this file; {remedy}") from None
    except AlstmError:
        raise
    except OSError as error:
        raise AlstmError(path, error.strerror or str(error), remedy_of(error)) from error
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AlstmError(path, f"not a readable pickle ({reason})", remedy) from error
    return value, pieces


def save_plain(path: str | os.PathLike[str], value: object) -> None:
    """Pickle plain data, atomically, with digests (see :mod:`alstm_helpers.digests`)."""
    with atomic_write(path) as file:
        summed = _Summed(file)
        pickle.dump(value, summed, protocol=PROTOCOL)
        file.write(summed.sums.trailer())


class _Summed:
    """A file that sums up what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sums = file, PieceSums()

    def write(self, data: bytes) -> int:
        self.sums.add(data)
        return self._file.write(data)


def _content(path: Path) -> bytes | mmap.mmap:
    """Return a file's bytes, memory-mapped where that pays and a mapped file can be replaced (not on Windows).

    A mapping keeps a file descriptor as long as an array of it lives.
    """
    if sys.platform == "win32" or path.stat().st_size < _MAPPED:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Source:
    """The bytes that the interpreter reads. Large values are views: an array's bytes are not touched until used.

    Everything else is checked against the file's digests as it is read.
    """

    def __init__(self, content: bytes | mmap.mmap, pieces: Pieces) -> None:
        self._content, self._view, self._size = content, memoryview(content), pieces.size
        self._pieces, self.position = pieces, 0
        self._checked = 0  # the bytes from the last small value up to here are checked

    def read(self, size: int) -> bytes | memoryview:
        start, self.position = self.position, self.position + size
        if self.position > self._size:  # checked first, so that a wild length costs no memory
            raise pickle.UnpicklingError(f"{size} bytes announced, fewer are left")
        if size >= _LARGE:
            return self._view[start : self.position]
        if self.position > self._checked:
            self._checked = self._pieces.check(start, self.position)
        return self._content[start : self.position]

    def readline(self) -> bytes:
        start = self.position
        self.position = self._content.find(b"\n", start, self._size) + 1 or self._size
        self._checked = self._pieces.check(start, self.position)
        return self._content[start : self.position]


_State: TypeAlias = tuple[Any, ...]  # whatever the file says, checked piece by piece


class _DType:
    """A stand-in for ``numpy.dtype``: numbers of fixed size only, no objects and no structures."""

    def __init__(self, name: str | bytes, align: object = False, copy: object = True) -> None:
        name = name.decode() if isinstance(name, bytes) else name
        if not re.fullmatch(r"b1|[iu][1248]|f[248]", name):
            raise UnsafePickle("", f"it holds an array of {name}, which is not plain numbers", "")
        self.dtype = np.dtype(name)

    def set_state(self, state: _State) -> None:
        if tuple(state[2:5]) != (None, None, None):  # a sub-array, names, fields
            raise UnsafePickle("", "it holds an array of structures, which is not plain numbers", "")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A stand-in for an array, from ``numpy.core.multiarray._reconstruct`` until the whole file is read."""

    def __init__(self, *_: object) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, state: _State) -> None:
        shape, dtype, fortran, content = state[-4:]
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: object, dtype: _DType, shape: object, order: Any) -> np.ndarray:
    """Return a read-only view of ``content``, whose size must match type and shape."""
    if not isinstance(content, bytes | memoryview):
        raise UnsafePickle("", f"an array's content is a {type(content).__name__}, not bytes", "")
    if type(shape) is not tuple or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise pickle.UnpicklingError("an array's shape is not one")
    if math.prod(shape) * dtype.dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"an array of shape {shape} has {len(content)} bytes")
    array: np.ndarray = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)
    return array


def _scalar(dtype: _DType, content: object) -> object:
    """Build a NumPy number."""
    return _array(content, dtype, (), "C")[()]


def _no_bytes() -> bytes:
    """Build empty bytes, as protocol 2 written by Python 3 spells them."""
    return b""


def _new_list() -> list[object]:
    """Build the list of :func:`alstm_helpers.pickles.save_videos`; no arguments, so nothing is copied."""
    return []


def _new_dict() -> dict[object, object]:
    """Build the dict that stands for an OrderedDict, as state dicts are; dicts keep their order."""
    return {}


def _same_tuple(value: object) -> tuple[object, ...]:
    """Build ``tuple((name, array))``, as Paddle spells a tensor inside a list or a dict."""
    if type(value) is not tuple:
        raise pickle.UnpicklingError("a tuple is made from something other than a tuple")
    return value


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of _reconstruct, which does not look at it
    ("numpy", "dtype"): _DType,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "list"): _new_list,
    ("collections", "OrderedDict"): _new_dict,
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and NumPy 2
    _ALLOWED[_core + ".multiarray", "_reconstruct"] = _Array
    _ALLOWED[_core + ".multiarray", "scalar"] = _scalar
    _ALLOWED[_core + ".numeric", "_frombuffer"] = _array  # how protocol 5 spells an array
for _builtins in ("builtins", "__builtin__"):
    _ALLOWED[_builtins, "tuple"] = _same_tuple


class _Opcodes(dict[int, Any]):
    """The action of each opcode; any other opcode gets a clear message."""

    def __missing__(self, opcode: int) -> object:
        raise pickle.UnpicklingError(f"plain data needs no opcode {chr(opcode)!r}")


# No sets, no instances except by REDUCE, no extensions, no persistent ids, no buffers from outside.
_OPCODES = """
    PROTO STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT GLOBAL STACK_GLOBAL REDUCE
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
""".split()  # noqa: SIM905


class _Interpreter(pickle._Unpickler):
    """The standard library's Python unpickler, cut down to plain data: a pickle can name no code and set no state.

    The one in C is no alternative: it calls NumPy's own ``__setstate__``, which trusts its input (a forged dtype turns
    bytes into pointers), and a forged memo index makes it fill gigabytes. Here every step costs at most a small
    multiple of the bytes that ask for it, in time and in memory.
    """

    stack: list[Any]  # whatever the file says
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[object]]

    def __init__(self, source: _Source) -> None:
        super().__init__(source, encoding="bytes")  # type: ignore[arg-type]  # views; Python 2 wrote bytes
        self._encoded: dict[int, tuple[str, bytes]] = {}
        self.read, self.readline = source.read, source.readline  # type: ignore[assignment]
        self.stack, self.proto = [], 0
        self.metastack: list[list[object]] = []
        self.append = self.stack.append

    def load(self) -> object:
        """Run the program; the standard library's loop would read each byte through one more layer, for frames."""
        read, dispatch = self.read, self.dispatch
        try:
            while True:
                dispatch[read(1)[0]](self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            result: object = stop.value
            return result

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        try:
            return _ALLOWED[module, name]
        except KeyError:
            problem = f"it names {module}.{name}, which is not plain data and could run code"
            raise UnsafePickle("", problem, "") from None

    def _encode(self, text: str, encoding: str) -> bytes:
        """Encode text as latin-1, which is how protocol 2 written by Python 3 spells bytes; nothing else is allowed."""
        if encoding != "latin1":
            raise pickle.UnpicklingError("an encoding that arrays do not use")
        if id(text) not in self._encoded:  # a file may repeat the same text
            self._encoded[id(text)] = text, text.encode("latin1")
        return self._encoded[id(text)][1]

    def _inst(self) -> None:
        module, name = (self.readline()[:-1].decode() for _ in range(2))
        self.find_class(module, name)
        raise pickle.UnpicklingError(f"an instance of {name}")

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _DType | _Array):
            problem = f"it sets the state of a {type(target).__name__}, which is not plain data"
            raise UnsafePickle("", problem, "")
        target.set_state(state)

    def _put(self, items: list[object]) -> None:
        """Put keys and values into the dict on the stack; keys must be text, whose hash is cheap."""
        target = self.stack[-1]
        if type(target) is not dict or not all(type(key) in (str, bytes) for key in items[::2]):
            raise pickle.UnpicklingError("a dict whose keys are not text")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._put(items)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _setitems(self) -> None:
        self._put(self.pop_mark())

    def _extend(self, items: list[object]) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError("items of something that is not a list")
        self.stack[-1].extend(items)

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _frame(self) -> None:
        self.read(8)  # how much to read ahead from a file; nothing is read ahead here

    def _bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch: ClassVar[dict[int, Any]] = _Opcodes(
        {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _OPCODES}
    )
    dispatch |= {
        pickle.INST[0]: _inst,
        pickle.BUILD[0]: _build,
        pickle.DICT[0]: _dict,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
        pickle.FRAME[0]: _frame,
        pickle.BYTEARRAY8[0]: _bytearray8,
    }


_UNDER_WAY = object()


def _finished(value: object, done: dict[int, tuple[object, object]]) -> object:
    """Return ``value`` with arrays and bytes in place of their stand-ins; each object is walked once.

    Args:
        value: the interpreter's result.
        done: results by the identity of the original, which is kept alive beside them.

    Raises:
        UnsafePickle: something other than plain data is left in it.
    """
    if isinstance(value, int | float | str | bytes | np.ndarray | np.generic | None):
        return value
    if id(value) in done:
        result = done[id(value)][1]
    elif isinstance(value, dict):
        result = value
        done[id(value)] = value, result
        for key, item in value.items():
            value[key] = _finished(item, done)
    elif isinstance(value, list):
        result = value
        done[id(value)] = value, result
        value[:] = [_finished(item, done) for item in value]
    else:
        done[id(value)] = value, _UNDER_WAY
        result = _replaced(value, done)
        done[id(value)] = value, result
    if result is _UNDER_WAY:
        raise pickle.UnpicklingError("a tuple that holds itself")
    return result


def _replaced(value: object, done: dict[int, tuple[object, object]]) -> object:
    """Return the replacement of a value that cannot be changed in place."""
    if isinstance(value, memoryview):
        return value.tobytes()
    if isinstance(value, tuple):
        return tuple(_finished(item, done) for item in value)
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    raise UnsafePickle("", f"a {type(value).__name__.strip('_')} is left over, which is not plain data", "")
