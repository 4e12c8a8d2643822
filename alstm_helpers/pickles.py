"""The pickle files of chapter 3.2, in the layout of the original ``tf2pkl.py``, read without running code.

A file holds a list of dicts, one a video: ``video`` (bytes id), ``feature`` uint8 (T, 1024), ``audio``
uint8 (T, 128), ``label`` (sorted ints), ``nframes`` (min(T, 300); the arrays themselves are not cut).
Python 2 wrote the keys as bytes, Python 3 as str; PaddleVideo's splitter writes one dict a file.

A pickle is a program. The reader here runs it with the interpreter below, which knows the few names that
plain arrays need, refuses any other, and builds every array itself, with its size and type checked.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError, UnsafePickle
from alstm_helpers.files import atomic_write, require_file
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, read_videos

# Protocol 4 is the newest that every supported Python and Paddle's own loader read; protocol 2 written
# by Python 3 inflates arrays 1.5 times and loads 20 times slower.
PROTOCOL = 4
_CONVERT_AGAIN = "convert its TFRecord again with `alstm convert`"
_DISTRUST = "do not trust this file; " + _CONVERT_AGAIN
_WRITTEN_AT_ONCE = 2 << 20  # bytes; with fewer, threads spend their time waiting for each other
_PUSHED_AT_ONCE = 32 << 20  # bytes; what is on the disk early need not be waited for at the end
_LARGE = 1 << 12  # bytes; what is larger stays where it is in the file and is not copied


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
            raise UnsafePickle("", f"it holds an array of {name}, which is not plain numbers", _DISTRUST)
        self.dtype = np.dtype(name)

    def set_state(self, state: Any) -> None:
        if tuple(state[2:5]) != (None, None, None):  # a sub-array, names, fields
            raise UnsafePickle("", "it holds an array of structures, which is not plain numbers", _DISTRUST)
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
        raise UnsafePickle("", f"an array's content is a {type(content).__name__}, not bytes", _DISTRUST)
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
            raise UnsafePickle("", problem, _DISTRUST) from None

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _DType | _Array):
            problem = f"it sets the state of a {type(target).__name__}, which is not plain data"
            raise UnsafePickle("", problem, _DISTRUST)
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
        raise UnsafePickle(path, error.problem, error.remedy) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AlstmError(path, f"not a readable pickle ({reason})", remedy) from error


def _content(path: Path) -> bytes | mmap.mmap:
    """A file's bytes, mapped where a mapped file can still be replaced (not on Windows)."""
    if sys.platform == "win32" or path.stat().st_size == 0:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def save_plain(path: str | os.PathLike[str], value: Any) -> None:
    """Pickle plain data, atomically."""
    with atomic_write(path) as file:
        pickle.dump(value, file, protocol=PROTOCOL)


class Saved(NamedTuple):
    """What :func:`save_videos` wrote: videos, their frames, and the file's size and SHA-256."""

    videos: int
    frames: int
    bytes: int
    sha256: str


def save_videos(path: str | os.PathLike[str], videos: Iterable[Video], *, keys: str = "str") -> Saved:
    """Write videos in the tf2pkl layout, atomically, one at a time: only one is held in memory.

    Args:
        path: the file to write.
        videos: what to write.
        keys: ``"str"`` as Python 3 wrote them, or ``"bytes"`` for the original reader.

    Raises:
        ValueError: frames that are not uint8 (T, D).
    """
    rows = _Rows(videos, keys)
    with atomic_write(path) as file, ThreadPoolExecutor(2) as threads:
        hashed = _Hashed(file, threads)
        pickler = pickle.Pickler(hashed, protocol=PROTOCOL)
        pickler.fast = True  # no memo: it would keep every array in memory until the end
        pickler.dump(rows)
        return Saved(rows.videos, rows.frames, *hashed.finish())


class _Rows:
    """Videos as tf2pkl's dicts; pickled as a list that is filled while it is written."""

    def __init__(self, videos: Iterable[Video], keys: str) -> None:
        self.source, self.keys, self.videos, self.frames = videos, keys, 0, 0

    def __reduce__(self) -> tuple[type[list[Any]], tuple[()], None, Iterator[dict[Any, Any]]]:
        return list, (), None, iter(self)

    def __iter__(self) -> Iterator[dict[Any, Any]]:
        for video in self.source:
            row = {
                "video": video.id,
                "feature": _Frames(video.rgb),
                "audio": _Frames(video.audio),
                "label": list(video.labels),
                "nframes": min(video.num_frames, MAX_FRAMES),
            }
            self.videos += 1
            self.frames += video.num_frames
            yield row if self.keys == "str" else {key.encode(): value for key, value in row.items()}


class _Frames:
    """Frames (T, D) uint8, pickled as NumPy pickles an array, with one copy less where rows do not touch."""

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8 or array.ndim != 2:
            raise ValueError(f"frames are {array.dtype} {array.shape}, not uint8 (T, D); quantize() makes them")
        self.array = array if array.strides[1] == 1 else np.ascontiguousarray(array)

    def __reduce__(self) -> Any:
        reconstruct, arguments, (version, _, dtype, fortran, _) = _EMPTY_FRAMES
        rows = self.array.view(f"V{self.array.shape[1]}")  # a row as one value, which is copied at once
        return reconstruct, arguments, (version, self.array.shape, dtype, fortran, rows.tobytes())


_EMPTY_FRAMES: Any = np.empty((0, 1), np.uint8).__reduce__()


class _Hashed:
    """A file that is hashed by one thread, and pushed to the disk by another, while more of it is made and written.

    Each of the three takes about as long, and releases the GIL meanwhile.
    """

    def __init__(self, file: IO[bytes], threads: ThreadPoolExecutor) -> None:
        self.file, self.threads, self.digest, self.bytes = file, threads, hashlib.sha256(), 0
        self._pieces: list[bytes] = []
        self._size = self._pushed = 0
        self._hashing: Future[Any] = threads.submit(int)  # nothing yet
        self._pushing = self._hashing

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _WRITTEN_AT_ONCE:
            self._flush()
        return len(data)

    def _flush(self) -> None:
        chunk = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        self._hashing.result()  # so no more than two chunks are held
        self._hashing = self.threads.submit(self.digest.update, chunk)
        self.file.write(chunk)
        self.bytes += len(chunk)
        if self.bytes - self._pushed > _PUSHED_AT_ONCE and self._pushing.done():
            self._pushing.result()
            self.file.flush()
            self._pushing, self._pushed = self.threads.submit(os.fsync, self.file.fileno()), self.bytes

    def finish(self) -> tuple[int, str]:
        """Bytes written, and their SHA-256."""
        self._flush()
        self._hashing.result()
        self._pushing.result()
        return self.bytes, self.digest.hexdigest()


def load_videos(path: str | os.PathLike[str]) -> list[Video]:
    """Read a pickle of videos: a list or a single dict, keys str or bytes, any protocol.

    Raises:
        UnsafePickle: the file names something that is not plain data.
        AlstmError: the file is missing, damaged, or holds something else than videos.
    """
    loaded = load_plain(path, _CONVERT_AGAIN)
    rows = [loaded] if isinstance(loaded, dict) else loaded
    if not isinstance(rows, list):
        raise AlstmError(path, f"it holds a {type(loaded).__name__}, not a list of videos", _CONVERT_AGAIN)
    return [_video_of(row, f"{path}, video {index}") for index, row in enumerate(rows)]


def _video_of(row: Any, where: str) -> Video:
    if not isinstance(row, dict):
        raise AlstmError(where, f"it is a {type(row).__name__}, not a dict", _CONVERT_AGAIN)
    fields = {key.decode(errors="replace") if isinstance(key, bytes) else key: value for key, value in row.items()}
    missing = {"video", "feature", "audio", "label"} - set(fields)
    if missing:
        raise AlstmError(where, f"it has no {', '.join(sorted(missing))}", _CONVERT_AGAIN)
    rgb, audio = fields["feature"], fields["audio"]
    for name, array, dim in (("feature", rgb, RGB_DIM), ("audio", audio, AUDIO_DIM)):
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != dim:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise AlstmError(where, f"{name} is {found}, not uint8 (T, {dim})", _CONVERT_AGAIN)
    if len(rgb) != len(audio):
        raise AlstmError(where, f"{len(rgb)} rgb frames but {len(audio)} audio frames", _CONVERT_AGAIN)
    frames = fields.get("nframes", len(rgb))
    if not isinstance(frames, int | np.integer) or not 0 <= frames <= len(rgb):
        raise AlstmError(where, f"nframes is {frames}, but it has {len(rgb)} frames", _CONVERT_AGAIN)
    if frames < min(len(rgb), MAX_FRAMES):  # some writers pad; the original readers cut at nframes too
        rgb, audio = rgb[:frames], audio[:frames]
    if not isinstance(fields["video"], str | bytes):
        raise AlstmError(where, f"its id is a {type(fields['video']).__name__}, not bytes", _CONVERT_AGAIN)
    video_id = fields["video"].encode() if isinstance(fields["video"], str) else fields["video"]
    return Video(video_id, _labels_of(fields["label"], where), rgb, audio)


def _labels_of(values: Any, where: str) -> tuple[int, ...]:
    """Sorted, each once, as a multi-hot vector gives them."""
    if not isinstance(values, list | tuple | np.ndarray):
        raise AlstmError(where, f"label is a {type(values).__name__}, not a list", _CONVERT_AGAIN)
    for value in values:
        if not isinstance(value, int | np.integer) or value < 0:
            raise AlstmError(where, f"label {value!r} is not a class index", _CONVERT_AGAIN)
    return tuple(sorted({int(value) for value in values}))


def load_shard(path: str | os.PathLike[str]) -> list[Video]:
    """Read a shard of either kind, told apart by its ending ``.pkl`` or ``.tfrecord``."""
    path = Path(path)
    if path.suffix == ".tfrecord":
        return list(read_videos(path))
    return load_videos(path)
