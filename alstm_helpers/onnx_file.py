"""ONNX files that hold all their data themselves; others can name any file of the machine as their weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from alstm_helpers.errors import AlstmError

# What holds tensors, by the numbers of fields in onnx.proto; a tensor itself holds nothing that matters but these two.
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def read_onnx(path: Path) -> bytes:
    """Return the content of an ONNX file, for ``onnxruntime.InferenceSession``.

    Without a path ONNX Runtime would look for external data in the current folder, so there must be none.

    Raises:
        AlstmError: some of its data are in other files, or it is no message of Protocol Buffers.
    """
    content = path.read_bytes()
    try:
        if content[4:8] == b"ORTM":  # ONNX Runtime's own format, in which data can be elsewhere, too
            raise ValueError
        external = _has_external_data(content)
    except (IndexError, ValueError):
        raise AlstmError(path, "it is not readable as ONNX", "export it again") from None
    if external:
        one_file = f"onnx.save(onnx.load({os.fspath(path)!r}), 'one_file.onnx')"
        raise AlstmError(path, "its weights are in other files", f"save it as one file, in Python: {one_file}")
    return content


def _has_external_data(content: bytes) -> bool:
    """Tell whether any tensor of a serialised ``ModelProto``, wherever it is, says that its data are elsewhere.

    Raises:
        ValueError, IndexError: it is damaged.
    """
    todo = [("model", memoryview(content))]
    while todo:
        kind, message = todo.pop()
        for number, value in _fields(message):
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                return True
            if number in _INSIDE[kind] and isinstance(value, memoryview):
                todo.append((_INSIDE[kind][number], value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the numbers and values of a message's fields (protobuf.dev/programming-guides/encoding).

    Raises:
        ValueError, IndexError: it is damaged.
    """
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        value: int | memoryview
        if tag & 7 == 0:
            value, position = varint(message, position)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                size, position = varint(message, position)
            if size is None or size > len(message) - position:  # no ONNX file has fields of another kind
                raise ValueError
            value, position = message[position : position + size], position + size
        yield (tag & 0xFFFFFFFF) >> 3, value  # as the readers in C++ do, which keep 32 bits of a tag


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError
