"""The pickle files of chapter 3.2, in the layout of the original ``tf2pkl.py``, read without running code.

A file holds a list of dicts, one a video: ``video`` (bytes id), ``feature`` uint8 (T, 1024), ``audio``
uint8 (T, 128), ``label`` (sorted ints), ``nframes`` (min(T, 300); the arrays themselves are not cut).
Python 2 wrote the keys as bytes, Python 3 as str; PaddleVideo's splitter writes one dict a file.

A pickle is a program. The reader here knows the few names that plain arrays need and refuses any other.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.errors import AlstmError, UnsafePickle
from alstm_helpers.files import atomic_write, require_file
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, read_videos

# Protocol 4 is the newest that every supported Python and Paddle's own loader read; protocol 2 written
# by Python 3 inflates arrays 1.5 times and loads 20 times slower.
PROTOCOL = 4
_CONVERT_AGAIN = "convert its TFRecord again with `alstm convert`"


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 written by Python 3 spells bytes: text to be encoded as latin-1, nothing else."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not one that arrays use")
    return text.encode("latin1")


def _array_globals() -> dict[tuple[str, str], Any]:
    """Every global that a pickled NumPy array of numbers or a bytes object names, by (module, name)."""
    array, number = np.empty(0), np.float64(0)
    reconstruct, scalar, buffered = array.__reduce__()[0], number.__reduce__()[0], array.__reduce_ex__(5)[0]
    allowed: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for module in ("numpy.core", "numpy._core"):  # NumPy 1 and NumPy 2
        allowed[module + ".multiarray", "_reconstruct"] = reconstruct
        allowed[module + ".multiarray", "scalar"] = scalar
        allowed[module + ".numeric", "_frombuffer"] = buffered
    allowed["_codecs", "encode"] = _encode_latin1
    return allowed


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles arrays, numbers, text and containers; any other name is refused before it is looked up."""

    _allowed = _array_globals()

    def __init__(self, file: io.BufferedIOBase, where: str) -> None:
        super().__init__(file, encoding="bytes")  # Python 2 files hold byte strings
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            problem = f"it names {module}.{name}, which is not plain data and could run code"
            raise UnsafePickle(self._where, problem, "do not trust this file; " + _CONVERT_AGAIN) from None


def load_plain(path: str | os.PathLike[str], remedy: str) -> Any:
    """Unpickle plain data: dicts, lists, text, bytes, numbers and NumPy arrays of numbers.

    Raises:
        UnsafePickle: the file names anything else.
        AlstmError: the file is missing or damaged; the message ends with ``remedy``.
    """
    path = require_file(path, remedy)
    with path.open("rb") as file:
        try:
            return _PlainUnpickler(file, str(path)).load()
        except AlstmError:
            raise
        except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
            reason = " ".join(str(error).split()) or type(error).__name__
            raise AlstmError(path, f"not a readable pickle ({reason})", remedy) from error


def save_plain(path: str | os.PathLike[str], value: Any) -> None:
    """Pickle plain data, atomically."""
    with atomic_write(path) as file:
        pickle.dump(value, file, protocol=PROTOCOL)


def save_videos(path: str | os.PathLike[str], videos: Iterable[Video], *, keys: str = "str") -> None:
    """Write videos in the tf2pkl layout, atomically.

    Args:
        path: the file to write.
        videos: what to write.
        keys: ``"str"`` as Python 3 wrote them, or ``"bytes"`` for the original reader.
    """
    rows: list[dict[Any, Any]] = [
        {
            "video": video.id,
            "feature": np.ascontiguousarray(video.rgb),
            "audio": np.ascontiguousarray(video.audio),
            "label": list(video.labels),
            "nframes": min(video.num_frames, MAX_FRAMES),
        }
        for video in videos
    ]
    if keys == "bytes":
        rows = [{key.encode(): value for key, value in row.items()} for row in rows]
    save_plain(path, rows)


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
    video_id = fields["video"]
    video_id = video_id.encode() if isinstance(video_id, str) else bytes(video_id)
    return Video(video_id, tuple(int(label) for label in fields["label"]), rgb, audio)


def load_shard(path: str | os.PathLike[str]) -> list[Video]:
    """Read a shard of either kind, told apart by its ending ``.pkl`` or ``.tfrecord``."""
    path = Path(path)
    if path.suffix == ".tfrecord":
        return list(read_videos(path))
    return load_videos(path)
