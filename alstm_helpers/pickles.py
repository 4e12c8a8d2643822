"""The pickle files of chapter 3.2, in the layout of the original ``tf2pkl.py``, read without running code.

A file holds a list of dicts, one per video: ``video`` (bytes id), ``feature`` uint8 (T, 1024), ``audio``
uint8 (T, 128), ``label`` (sorted ints), ``nframes`` (min(T, 300); the arrays themselves are not cut).
Python 2 wrote the keys as bytes, Python 3 as str; PaddleVideo's splitter writes one dict per file.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from alstm_helpers.digests import Pieces, PieceSums
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write
from alstm_helpers.safe_pickle import PROTOCOL, load_plain_unchecked
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, read_videos

Made = TypeVar("Made")

_CONVERT_AGAIN = "delete it, and convert its TFRecord again with `alstm convert`"  # which skips what it finds done
_LONGEST_ID = 4096  # bytes; the ids of your own videos may be paths
_WRITTEN_AT_ONCE = 2 << 20  # bytes; with smaller chunks, threads spend their time waiting for each other
_PUSHED_AT_ONCE = 32 << 20  # bytes; written to the disk early, so that the end need not wait for it


class Saved(NamedTuple):
    """The result of :func:`save_videos`: videos, their frames, and the file's size and SHA-256."""

    videos: int
    frames: int
    bytes: int
    sha256: str


def save_videos(path: str | os.PathLike[str], videos: Iterable[Video], *, keys: str = "str") -> Saved:
    """Write videos in the tf2pkl layout, atomically; only one at a time is held in memory.

    Args:
        path: the file to write.
        videos: the videos.
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


_Row: TypeAlias = Mapping[str, object] | Mapping[bytes, object]


class _Rows:
    """Videos as tf2pkl's dicts; pickled as a list that is filled while it is being written."""

    def __init__(self, videos: Iterable[Video], keys: str) -> None:
        self.source, self.keys, self.videos, self.frames = videos, keys, 0, 0

    def __reduce__(self) -> tuple[type[list[object]], tuple[()], None, Iterator[_Row]]:
        return list, (), None, iter(self)

    def __iter__(self) -> Iterator[_Row]:
        for video in self.source:
            row = {
                "video": video.id,
                "feature": _Frames(video.rgb),
                "audio": _Frames(video.audio),
                "label": [int(label) for label in video.labels],
                "nframes": min(video.num_frames, MAX_FRAMES),
            }
            self.videos += 1
            self.frames += video.num_frames
            yield row if self.keys == "str" else {key.encode(): value for key, value in row.items()}


class _Frames:
    """Frames (T, D) uint8, pickled as NumPy pickles an array, with one copy fewer where rows are not adjacent."""

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8 or array.ndim != 2:
            raise ValueError(f"frames are {array.dtype} {array.shape}, not uint8 (T, D); quantize() makes them")
        self.array = array if array.strides[1] == 1 else np.ascontiguousarray(array)

    def __reduce__(self) -> Any:
        reconstruct, arguments, (version, _, dtype, fortran, _) = _EMPTY_FRAMES
        rows = self.array.view(f"V{self.array.shape[1]}")  # one value per row, so that a row is copied at once
        return reconstruct, arguments, (version, self.array.shape, dtype, fortran, rows.tobytes())


_EMPTY_FRAMES: Any = np.empty((0, 1), np.uint8).__reduce__()


class _Hashed:
    """A file that one thread hashes and another flushes to the disk while more of it is being made and written.

    The three take about equally long, and each releases the GIL. The file gets digests at its end.
    """

    def __init__(self, file: IO[bytes], threads: ThreadPoolExecutor) -> None:
        self.file, self.threads, self.digest, self.bytes = file, threads, hashlib.sha256(), 0
        self._sums = PieceSums()
        self._pieces: list[bytes] = []
        self._size = self._pushed = 0
        self._hashing: Future[object] = threads.submit(int)  # nothing yet
        self._pushing = self._hashing

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _WRITTEN_AT_ONCE:
            self._flush()
        return len(data)

    def _flush(self) -> None:
        pieces, chunk = self._pieces, b"".join(self._pieces)
        self._pieces, self._size = [], 0
        self._hashing.result()  # so no more than two chunks are held
        self._hashing = self.threads.submit(self._hash, pieces, chunk)
        self.file.write(chunk)
        self.bytes += len(chunk)
        if self.bytes - self._pushed > _PUSHED_AT_ONCE and self._pushing.done():
            self._pushing.result()
            self.file.flush()
            self._pushing, self._pushed = self.threads.submit(os.fsync, self.file.fileno()), self.bytes

    def _hash(self, pieces: list[bytes], chunk: bytes) -> None:
        self.digest.update(chunk)
        for piece in pieces:
            self._sums.add(piece)

    def finish(self) -> tuple[int, str]:
        """Write the digests; return the bytes written, and their SHA-256."""
        self._flush()
        self._hashing.result()
        self._pushing.result()
        trailer = self._sums.trailer()
        self.digest.update(trailer)
        self.bytes += self.file.write(trailer)
        return self.bytes, self.digest.hexdigest()


class _StoredVideo(Video):
    """A video whose frames have not been checked yet against the digests of its file."""

    pieces: Pieces


def load_videos(path: str | os.PathLike[str]) -> list[Video]:
    """Read a pickle of videos: a list or a single dict, keys str or bytes, any protocol.

    Raises:
        UnsafePickle: the file names something other than plain data.
        AlstmError: the file is missing, damaged, or holds something other than videos.
    """
    return list(map(_Once(checked), _load_unchecked(path)))


def _load_unchecked(path: str | os.PathLike[str]) -> list[Video]:
    loaded, pieces = load_plain_unchecked(path, _CONVERT_AGAIN)
    rows = [loaded] if isinstance(loaded, dict) else loaded
    if not isinstance(rows, list):
        raise AlstmError(path, f"it holds a {type(loaded).__name__}, not a list of videos", _CONVERT_AGAIN)
    labels_of = _Once(_labels_of)  # what a file names many times is checked once

    def stored(row: object, where: str) -> Video:
        video = _StoredVideo(*_video_of(row, where, labels_of))
        video.pieces = pieces
        return video

    video_of = _Once(stored)
    return [video_of(row, f"{path}, video {index}") for index, row in enumerate(rows)]


def checked(video: Video) -> Video:
    """Return a video of :func:`load_shard` after checking its frames against the digests of its file.

    Raises:
        AlstmError: they are damaged.
    """
    if not isinstance(video, _StoredVideo):
        return video
    video.pieces.check_array(video.rgb)
    video.pieces.check_array(video.audio)
    return Video(*video)


class _Once(Generic[Made]):
    """A function that is called once for each object, however often the file names it."""

    def __init__(self, make: Callable[..., Made]) -> None:
        self._make = make
        self._made: dict[int, Made] = {}

    def __call__(self, value: object, *more: object) -> Made:
        if id(value) not in self._made:
            self._made[id(value)] = self._make(value, *more)
        return self._made[id(value)]


def _video_of(row: object, where: str, labels_of: _Once[tuple[int, ...]]) -> Video:
    """Check one dict of a file, and return it as a video."""
    fields = _fields_of(row, where)
    rgb = _frames_of(fields, "feature", RGB_DIM, where)
    audio = _frames_of(fields, "audio", AUDIO_DIM, where)
    if len(rgb) != len(audio):
        raise AlstmError(where, f"{len(rgb)} rgb frames but {len(audio)} audio frames", _CONVERT_AGAIN)
    frames = fields.get("nframes", len(rgb))
    if not isinstance(frames, int | np.integer) or not 0 <= frames <= len(rgb):
        raise AlstmError(where, f"nframes is {_shown(frames)}, but it has {len(rgb)} frames", _CONVERT_AGAIN)
    if frames < min(len(rgb), MAX_FRAMES):  # some writers pad; the original readers cut at nframes, too
        rgb, audio = rgb[:frames], audio[:frames]
    return Video(_id_of(fields["video"], where), labels_of(fields["label"], where), rgb, audio)


def _fields_of(row: object, where: str) -> dict[str, object]:
    """Return a row by str keys, with every key that a video needs."""
    if not isinstance(row, dict):
        raise AlstmError(where, f"it is a {type(row).__name__}, not a dict", _CONVERT_AGAIN)
    fields = {key.decode(errors="replace") if isinstance(key, bytes) else key: value for key, value in row.items()}
    missing = {"video", "feature", "audio", "label"} - set(fields)
    if missing:
        raise AlstmError(where, f"it has no {', '.join(sorted(missing))}", _CONVERT_AGAIN)
    return fields


def _frames_of(fields: Mapping[str, object], name: str, dim: int, where: str) -> np.ndarray:
    """Return one stream, uint8 (T, dim)."""
    array = fields[name]
    if isinstance(array, np.ndarray):
        if array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] == dim:
            return array
        found = f"{array.dtype} {array.shape}"
    else:
        found = type(array).__name__
    raise AlstmError(where, f"{name} is {found}, not uint8 (T, {dim})", _CONVERT_AGAIN)


def _id_of(value: object, where: str) -> bytes:
    video_id = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    if isinstance(video_id, bytes) and len(video_id) <= _LONGEST_ID:
        return video_id
    found = f"has {len(video_id)} bytes" if isinstance(video_id, bytes) else f"is a {type(video_id).__name__}"
    raise AlstmError(where, f"its id {found}, not up to {_LONGEST_ID} bytes", _CONVERT_AGAIN)


def _labels_of(values: object, where: str) -> tuple[int, ...]:
    """Return labels sorted, each once, as a multi-hot vector gives them."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise AlstmError(where, f"label is a {type(values).__name__}, not a list", _CONVERT_AGAIN)
    for value in values:
        if not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
            raise AlstmError(where, f"label {_shown(value)} is not a class index", _CONVERT_AGAIN)
    return tuple(sorted({int(value) for value in values}))


def _shown(value: object) -> str:
    """Return a value for a message; nested lists, and numbers of a million digits, only by their type."""
    short = isinstance(value, float | str | bytes) or (
        isinstance(value, int | np.integer) and -(2**63) <= value < 2**64
    )
    return repr(value)[:40] if short else f"a {type(value).__name__}"


def load_shard(path: str | os.PathLike[str], *, unchecked: bool = False) -> list[Video]:
    """Read a shard of either kind, told apart by its ending ``.pkl`` or ``.tfrecord``.

    Args:
        path: the shard.
        unchecked: leave the frames of a pickle where they are; :func:`checked` reads and checks those of a video.

    Raises:
        AlstmError: see :func:`load_videos` and :func:`alstm_helpers.tfrecord.read_videos`.
    """
    path = Path(path)
    if path.suffix == ".tfrecord":
        return list(read_videos(path))
    return _load_unchecked(path) if unchecked else load_videos(path)
