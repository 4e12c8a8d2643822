"""YouTube-8M frame-level TFRecords, read and written without TensorFlow.

A TFRecord file is a sequence of records, each framed as::

    uint64 LE length | masked CRC-32C of those 8 bytes | payload | masked CRC-32C of the payload

with ``mask(c) = ((c >> 15) | (c << 17)) + 0xa282ead8 mod 2**32``. A payload is a serialised
``tf.train.SequenceExample``: context ``id`` (bytes) and ``labels`` (int64 list); feature lists
``rgb`` and ``audio`` with one feature per second, a bytes list of one value of 1024 or 128 uint8.
(TensorFlow, ``tensorflow/core/lib/io/record_writer.h`` and ``core/example/example.proto``.)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from alstm_helpers.digests import crc32c
from alstm_helpers.errors import CorruptRecord, WrongShard, printable
from alstm_helpers.files import atomic_write, require_file
from alstm_helpers.levels import dequantize as dequantize
from alstm_helpers.levels import quantize as quantize

RGB_DIM, AUDIO_DIM = 1024, 128
MAX_FRAMES = 300  # YouTube-8M keeps the first 300 seconds of a video
STREAM_DIMS = {"rgb": RGB_DIM, "audio": AUDIO_DIM}
_HEADER = struct.Struct("<QI")  # the length of the payload and its masked checksum
_DOWNLOAD_AGAIN = "delete the file and download it again"
_NEED_FRAME_LEVEL = "this model needs the frame-level data set (partition 2/frame/train)"


class Video(NamedTuple):
    """One video: ``id`` bytes, ``labels`` sorted ints, ``rgb`` uint8 (T, 1024), ``audio`` uint8 (T, 128).

    Arrays that were read from a file are read-only views: copy them before you change them.
    """

    id: bytes
    labels: tuple[int, ...]
    rgb: np.ndarray
    audio: np.ndarray

    @property
    def num_frames(self) -> int:
        """T, the seconds of features: one frame per second."""
        return len(self.rgb)

    @property
    def name(self) -> str:
        """The id as text, for messages and for files."""
        return printable(self.id)


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C of data, rotated and offset so that it stays useful where data contain checksums."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the payload of every record, after checking both checksums.

    Raises:
        AlstmError: the file is missing or empty.
        CorruptRecord: a checksum differs or the file ends inside a record; names record and byte offset.
    """
    return (payload for _, payload in located_records(path))


def located_records(path: str | os.PathLike[str]) -> Iterator[tuple[str, bytes]]:
    """:func:`read_records` with the place of each record for error messages: file, record and byte offset."""
    path = require_file(path, "check the path, or download the shard again")
    with path.open("rb") as file:
        for where, length in _frames(file, path):
            payload = file.read(length)
            if masked_crc(payload) != int.from_bytes(file.read(4), "little"):
                raise CorruptRecord(where, "the checksum of the payload differs", _DOWNLOAD_AGAIN)
            yield where, payload


def count_records(path: str | os.PathLike[str]) -> int:
    """Count the records of a file by their headers alone; the payloads are not read.

    Raises:
        AlstmError: as :func:`read_records`, except for damaged payloads.
    """
    path = require_file(path, "check the path, or download the shard again")
    count = 0
    with path.open("rb") as file:
        for _, length in _frames(file, path):
            file.seek(length + 4, os.SEEK_CUR)
            count += 1
    return count


def _frames(file: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
    """Yield the place of each record and the length of its payload, with ``file`` positioned at the payload.

    The caller moves the file past the payload and its checksum. Each length is compared with the file's size before
    anything is read, so a wild length costs no memory.
    """
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise CorruptRecord(path, "the file is empty", _DOWNLOAD_AGAIN)
    offset = index = 0
    while offset < size:
        where = f"{path}, record {index} at byte {offset}"
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise _not_a_header(where, header, "the file ends inside the record's header", first=index == 0)
        length, length_crc = _HEADER.unpack(header)
        if masked_crc(header[:8]) != length_crc:
            raise _not_a_header(where, header, "the checksum of the length differs", first=index == 0)
        if length > size - offset - 16:
            raise CorruptRecord(where, f"{length} bytes announced, fewer are left", _DOWNLOAD_AGAIN)
        yield where, length
        offset += length + 16
        index += 1


def _not_a_header(where: str, header: bytes, problem: str, *, first: bool) -> CorruptRecord:
    """Return the error of a damaged header or, at the start of a file, of a file of another kind."""
    if not first:
        return CorruptRecord(where, problem, _DOWNLOAD_AGAIN)
    if header.startswith(b"\x1f\x8b"):
        return CorruptRecord(where, "this is not a TFRecord file but a gzip file", "decompress it with gunzip")
    text = header.decode("utf-8", errors="ignore")  # a character may be cut in two
    if len(text.encode()) > 8 and all(character.isprintable() or character in "\ufeff\t\r\n" for character in text):
        problem = f"this is not a TFRecord file but text that begins with {text!r}"
        return CorruptRecord(where, problem, f"look inside, it may be a server's error page; {_DOWNLOAD_AGAIN}")
    return CorruptRecord(where, problem + ", or this is not a TFRecord file", _DOWNLOAD_AGAIN)


def write_records(path: str | os.PathLike[str], payloads: Iterable[bytes]) -> None:
    """Write payloads as a TFRecord file, atomically."""
    with atomic_write(path) as file:
        for payload in payloads:
            header = struct.pack("<Q", len(payload))
            file.write(header + struct.pack("<I", masked_crc(header)))
            file.write(payload + struct.pack("<I", masked_crc(payload)))


@cache
def sequence_example_class() -> Any:
    """Declare the protobuf class of ``tf.train.SequenceExample``, so that TensorFlow is not needed."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="alstm/example.proto", package="alstm", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, int, str], parent: Any = file.message_type) -> Any:
        declared = parent.add(name=name)
        for field_name, number, kind, label, type_name in fields:
            declared.field.add(name=field_name, number=number, type=kind, label=label, type_name=type_name or None)
        return declared

    def map_of(name: str, key: str, entry: str, value: str) -> None:
        outer = message(name, (key, 1, field.TYPE_MESSAGE, field.LABEL_REPEATED, f".alstm.{name}.{entry}"))
        text = ("key", 1, field.TYPE_STRING, field.LABEL_OPTIONAL, "")
        item = ("value", 2, field.TYPE_MESSAGE, field.LABEL_OPTIONAL, f".alstm.{value}")
        message(entry, text, item, parent=outer.nested_type).options.map_entry = True

    message("BytesList", ("value", 1, field.TYPE_BYTES, field.LABEL_REPEATED, ""))
    message("FloatList", ("value", 1, field.TYPE_FLOAT, field.LABEL_REPEATED, ""))
    message("Int64List", ("value", 1, field.TYPE_INT64, field.LABEL_REPEATED, ""))
    kinds = message("Feature")
    kinds.oneof_decl.add(name="kind")
    for number, kind in enumerate(("bytes", "float", "int64"), start=1):
        type_name = f".alstm.{kind.capitalize()}List"
        kinds.field.add(
            name=f"{kind}_list",
            number=number,
            type=field.TYPE_MESSAGE,
            label=field.LABEL_OPTIONAL,
            type_name=type_name,
            oneof_index=0,
        )
    message("FeatureList", ("feature", 1, field.TYPE_MESSAGE, field.LABEL_REPEATED, ".alstm.Feature"))
    map_of("Features", "feature", "FeatureEntry", "Feature")
    map_of("FeatureLists", "feature_list", "FeatureListEntry", "FeatureList")
    message(
        "SequenceExample",
        ("context", 1, field.TYPE_MESSAGE, field.LABEL_OPTIONAL, ".alstm.Features"),
        ("feature_lists", 2, field.TYPE_MESSAGE, field.LABEL_OPTIONAL, ".alstm.FeatureLists"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("alstm.SequenceExample"))


def encode_video(video: Video) -> bytes:
    """Serialise a video as YouTube-8M does; the same video gives the same bytes."""
    example = sequence_example_class()()
    example.context.feature["id"].bytes_list.value.append(video.id)
    example.context.feature["labels"].int64_list.value.extend(video.labels)
    for name, frames in (("rgb", video.rgb), ("audio", video.audio)):
        features = example.feature_lists.feature_list[name].feature
        for frame in frames:
            features.add().bytes_list.value.append(frame.tobytes())
    return bytes(example.SerializeToString(deterministic=True))


def write_videos(path: str | os.PathLike[str], videos: Iterable[Video]) -> None:
    """Write videos as one frame-level TFRecord shard, atomically."""
    write_records(path, map(encode_video, videos))


def decode_video(payload: bytes, where: str) -> Video:
    """Parse one frame-level record, by :func:`fast_decode` where it fits, else by :func:`general_decode`.

    Args:
        payload: a serialised ``SequenceExample``.
        where: the name of the record in error messages.

    Raises:
        CorruptRecord: not a ``SequenceExample``, or frames of the wrong kind, size or number.
        WrongShard: a video-level record.
    """
    return fast_decode(payload) or general_decode(payload, where)


def fast_decode(payload: bytes) -> Video | None:
    """Decode a record in the layout that TensorFlow writes, a whole video at once; return None for any other layout.

    Every frame of a feature list has the same encoded size, a 9-byte head and its bytes, so a list is a matrix whose
    first 9 columns must equal the one right head.
    """
    video = sequence_example_class()()
    try:
        context, feature_lists = _message_fields(payload, 0, len(payload), (1, 2))
        content = _stream_bytes(payload, *feature_lists)
        rgb, audio = (_frame_matrix(content[name], name) for name in STREAM_DIMS)  # (T, 1024), (T, 128)
        video.context.ParseFromString(payload[slice(*context)])
        video_id, labels = _id(video.context.feature, ""), _labels(video.context.feature, "")
    except (ValueError, KeyError, IndexError, DecodeError, CorruptRecord):
        return None  # the general path reads it, or says what is wrong
    return Video(video_id, labels, rgb, audio) if len(rgb) == len(audio) else None


def _stream_bytes(payload: bytes, position: int, end: int) -> dict[str, np.ndarray]:
    """Return the encoded frames of each stream, uint8 (N,), from the ``feature_lists`` message at ``position``.

    Raises:
        ValueError: it holds anything but rgb and audio, each once.
    """
    found: dict[str, np.ndarray] = {}
    while position < end:
        number, start, position = _field(payload, position, end)
        key, value = _message_fields(payload, start, position, (1, 2))
        name = payload[slice(*key)].decode()
        if number != 1 or name not in STREAM_DIMS or name in found:
            raise ValueError("not the usual feature lists")
        found[name] = np.frombuffer(payload, np.uint8, value[1] - value[0], value[0])
    return found


def _frame_matrix(encoded: np.ndarray, name: str) -> np.ndarray:
    """Return the frames of a stream, uint8 (T, dim), from its encoded bytes (N,).

    Raises:
        ValueError: the bytes are not frames of that size.
    """
    head = _HEADS[name]
    matrix = encoded.reshape(-1, len(head) + STREAM_DIMS[name])
    if not (matrix[:, : len(head)] == head).all():
        raise ValueError("not the usual frames")
    return matrix[:, len(head) :]


def _frame_head(dim: int) -> np.ndarray:
    """Return the bytes before each frame: Feature{BytesList{value}}, each a tag 0x0a and a two-byte length."""
    lengths = [dim + 6, dim + 3, dim]
    return np.array([byte for n in lengths for byte in (0x0A, n & 0x7F | 0x80, n >> 7)], dtype=np.uint8)


_HEADS = {name: _frame_head(dim) for name, dim in STREAM_DIMS.items()}


def _field(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Return the number, start and end of the length-delimited protobuf field at ``position``.

    Raises:
        ValueError: another wire type, or content beyond ``end``.
    """
    tag, position = _varint(data, position)
    length, position = _varint(data, position)
    if tag & 7 != 2 or position + length > end:
        raise ValueError("not a field of the usual layout")
    return tag >> 3, position, position + length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift > 28:  # protobuf accepts no longer tags and lengths, either
            raise ValueError("a number of more than 32 bits")


def _message_fields(data: bytes, position: int, end: int, numbers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return start and end of a message's fields, each of ``numbers`` exactly once and in this order.

    Raises:
        ValueError: any other fields.
    """
    found = []
    for wanted in numbers:
        number, start, position = _field(data, position, end)
        if number != wanted:
            raise ValueError("not the usual fields")
        found.append((start, position))
    if position != end:
        raise ValueError("more than the usual fields")
    return found


def general_decode(payload: bytes, where: str) -> Video:
    """Parse any valid encoding of a frame-level record with protobuf; arguments as :func:`decode_video`."""
    example = sequence_example_class()()
    try:
        example.ParseFromString(payload)
    except DecodeError:
        raise CorruptRecord(where, "the record is not a SequenceExample", _DOWNLOAD_AGAIN) from None
    context = example.context.feature
    lists = example.feature_lists.feature_list
    if not lists:
        if "mean_rgb" in context or "mean_audio" in context or "video_id" in context:
            raise WrongShard(where, "this is a video-level record", _NEED_FRAME_LEVEL)
        raise WrongShard(where, "the record has no frames", _NEED_FRAME_LEVEL)
    video_id = _id(context, where)
    where = f"{where} (video {printable(video_id)})"
    rgb, audio = (_decode_frames(lists, key, dim, where) for key, dim in STREAM_DIMS.items())
    if len(rgb) != len(audio):
        problem = f"{len(rgb)} rgb frames but {len(audio)} audio frames"
        raise CorruptRecord(where, problem, "extract both features over the same seconds")
    return Video(video_id, _labels(context, where), rgb, audio)


def _id(context: Any, where: str) -> bytes:
    """Return the video's id: ``id``, or ``video_id`` as the release of 2017 called it."""
    name = next((key for key in ("id", "video_id") if key in context), None)
    values = context[name].bytes_list.value if name else []
    if len(values) != 1:
        problem = f"the record's {name} holds {len(values)} byte strings, not one" if name else "the record has no id"
        raise CorruptRecord(where, problem, "write one id per video")
    return bytes(values[0])


def _labels(context: Any, where: str) -> tuple[int, ...]:
    """Return the labels of a record's context, sorted, each once, as tf2pkl does; none if the split has none."""
    if "labels" not in context:
        return ()
    kind = context["labels"].WhichOneof("kind")
    if kind not in (None, "int64_list"):
        raise CorruptRecord(where, f"its labels are a {kind}, not whole numbers", "write class indices as int64")
    labels = tuple(sorted(set(context["labels"].int64_list.value)))
    if labels and labels[0] < 0:
        raise CorruptRecord(where, f"label {labels[0]} is negative", "class indices count from 0")
    return labels


def _decode_frames(lists: Any, name: str, dim: int, where: str) -> np.ndarray:
    """Return one feature list as uint8 (T, dim)."""
    if name not in lists:
        problem = f"it has no {name} frames, only {', '.join(sorted(lists))}"
        raise WrongShard(where, problem, f"{_NEED_FRAME_LEVEL}; name your own features rgb and audio")
    frames = []
    for second, feature in enumerate(lists[name].feature):
        kind = feature.WhichOneof("kind")
        values = feature.bytes_list.value
        if kind != "bytes_list" or len(values) != 1:
            found = f"a {kind}" if kind != "bytes_list" else f"{len(values)} values"
            raise CorruptRecord(where, f"{name} frame {second} holds {found}, not one bytes value", "quantise to uint8")
        if len(values[0]) != dim:
            problem = f"{name} frame {second} has {len(values[0])} bytes, not {dim}"
            raise CorruptRecord(where, problem, "extract features of the size the model was made for")
        frames.append(values[0])
    return np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), dim)


def read_videos(path: str | os.PathLike[str]) -> Iterator[Video]:
    """Yield the videos of a frame-level shard in file order.

    Raises:
        AlstmError: as :func:`read_records` and :func:`decode_video`, naming the file and the record.
    """
    for where, payload in located_records(path):
        yield decode_video(payload, where)
