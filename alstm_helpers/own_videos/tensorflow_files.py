"""TensorFlow 1's files, read without TensorFlow: frozen graphs (GraphDef), and checkpoints of version 1.

A checkpoint is a table as LevelDB has it, whose values are messages: under the empty key the shapes of all tensors,
under the others their numbers (``tensorflow/core/util/saved_tensor_slice.proto``, ``core/lib/io/table_format.txt``).
Nothing that is read here can run code.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from alstm_helpers.errors import AlstmError
from alstm_helpers.onnx_file import varint
from alstm_helpers.tfrecord import masked_crc

AGAIN = "if the file is not what was published, delete its folder, and run again"
_LARGEST = 2**28  # numbers in a tensor
# DT_FLOAT, DT_INT32, DT_INT64
_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}
_FOOTER, _TRAILER = 48, 5  # bytes at the end of a table, and of a block: its compression and its checksum
_MAGIC = 0xDB4775248B80FB57
# Messages with the fields that are needed: number, type, and whether it is repeated. A list of floats is packed, so
# that it can be taken for bytes, which are read at once.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Dim": {"size": (1, "int64", False)},
    "Shape": {"dim": (2, "Dim", True)},
    "Tensor": {
        "dtype": (1, "int32", False),
        "tensor_shape": (2, "Shape", False),
        "tensor_content": (4, "bytes", False),
        "float_val": (5, "bytes", True),
        "int_val": (7, "int32", True),
        "int64_val": (10, "int64", True),
    },
    "List": {"i": (3, "int64", True)},
    "Value": {
        "list": (1, "List", False),
        "s": (2, "bytes", False),
        "i": (3, "int64", False),
        "f": (4, "float", False),
        "b": (5, "bool", False),
        "tensor": (8, "Tensor", False),
    },
    "Attribute": {"key": (1, "string", False), "value": (2, "Value", False)},
    "NodeDef": {
        "name": (1, "string", False),
        "op": (2, "string", False),
        "input": (3, "string", True),
        "attr": (5, "Attribute", True),
    },
    "GraphDef": {"node": (1, "NodeDef", True)},
    "Extent": {"start": (1, "int64", False), "length": (2, "int64", False)},
    "Slice": {"extent": (1, "Extent", True)},
    "SliceMeta": {"name": (1, "string", False), "shape": (2, "Shape", False)},
    "Meta": {"tensor": (1, "SliceMeta", True)},
    "SavedSlice": {"name": (1, "string", False), "slice": (2, "Slice", False), "data": (3, "Tensor", False)},
    "SavedTensorSlices": {"meta": (1, "Meta", False), "data": (2, "SavedSlice", False)},
}


class Node(NamedTuple):
    """An operation of a graph.

    Args:
        name: of the node and of its first output.
        op: what it does.
        inputs: names of nodes.
        attributes: by name: numbers, bytes, lists of integers; a constant's ``value`` is an array.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = {}


def read_graph(content: bytes, where: str) -> dict[str, Node]:
    """Return the nodes of a serialised GraphDef by name; inputs that only order the nodes are left out.

    Args:
        content: the message.
        where: its name in the error.

    Raises:
        AlstmError: it is damaged.
    """
    try:
        nodes = [_node(each) for each in _parsed("GraphDef", content).node]
        if not nodes:
            raise ValueError("it has no nodes")
    except (DecodeError, ValueError) as error:
        raise AlstmError(where, f"not readable as a GraphDef of TensorFlow ({error})", AGAIN) from None
    return {node.name: node for node in nodes}


def _node(message: Any) -> Node:
    inputs = tuple(name.removesuffix(":0") for name in message.input if not name.startswith("^"))
    return Node(message.name, message.op, inputs, {each.key: _value(each.value) for each in message.attr})


def _value(value: Any) -> object:
    """Return an attribute; None if it is of a kind that no operation here needs, such as text in a tensor."""
    if value.HasField("tensor"):
        tensor = value.tensor
        dtype = _DTYPES.get(tensor.dtype)
        return None if dtype is None else _array(tensor, [dim.size for dim in tensor.tensor_shape.dim], dtype)
    if value.HasField("list"):
        return list(value.list.i)
    return next((getattr(value, name) for name in ("s", "i", "f", "b") if value.HasField(name)), None)


def _array(tensor: Any, shape: list[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Return a tensor's numbers; where there are fewer than its shape has, the last one stands for the rest.

    Raises:
        ValueError: it has none, too many, or is too large.
    """
    size = math.prod(shape)
    if min(shape, default=1) < 0 or size > _LARGEST:
        raise ValueError(f"a tensor has the shape {shape}")
    packed = tensor.tensor_content or (b"".join(tensor.float_val) if dtype.kind == "f" else b"")
    values = np.frombuffer(packed, dtype) if packed else np.array([*tensor.int_val, *tensor.int64_val], dtype)
    if len(values) > size or (size and not len(values)):
        raise ValueError(f"a tensor of the shape {shape} has {len(values)} numbers")
    return (values if len(values) == size else np.pad(values, (0, size - len(values)), mode="edge")).reshape(shape)


def read_checkpoint(content: bytes, where: str) -> dict[str, np.ndarray]:
    """Return the float32 tensors of a checkpoint of version 1 by name.

    Args:
        content: of the file.
        where: its name in the error.

    Raises:
        AlstmError: it is damaged, or a tensor is in several pieces.
    """
    try:
        messages = [_parsed("SavedTensorSlices", value) for value in _table(memoryview(content))]
        shapes = {
            each.name: [dim.size for dim in each.shape.dim] for message in messages for each in message.meta.tensor
        }
        slices = [message.data for message in messages if message.data.data.float_val]
        if any(extent.HasField("length") for each in slices for extent in each.slice.extent):
            raise ValueError("a tensor is in pieces")
        return {each.name: _array(each.data, shapes[each.name], _DTYPES[1]) for each in slices}
    except (DecodeError, ValueError, IndexError, KeyError, struct.error) as error:
        raise AlstmError(where, f"not readable as a checkpoint of TensorFlow 1 ({error})", AGAIN) from None


def _table(content: memoryview) -> Iterator[memoryview]:
    """Yield the values of a table.

    Raises:
        ValueError, IndexError, struct.error: it is not one, or damaged.
    """
    footer = content[-_FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("its end is not that of a table")
    _, place = varint(footer, 0)  # where the block of other information is, which is empty
    _, place = varint(footer, place)
    for handle in _values(_block(content, footer[place:])):
        yield from _values(_block(content, handle))


def _block(content: memoryview, handle: memoryview) -> memoryview:
    """Return the block whose place and size a handle says."""
    start, place = varint(handle, 0)
    size, _ = varint(handle, place)
    block, trailer = bytes(content[start : start + size + 1]), content[start + size : start + size + _TRAILER]
    kind, checksum = struct.unpack("<BI", trailer)
    if masked_crc(block) != checksum:
        raise ValueError("the checksum of a block differs")
    if kind:
        raise ValueError("a block of it is compressed")
    return memoryview(block)[:-1]


def _values(block: memoryview) -> Iterator[memoryview]:
    """Yield the values of a block: each after three lengths, and a key that shares its beginning with the last one."""
    (restarts,) = struct.unpack("<I", block[-4:])
    position, end = 0, len(block) - 4 * (restarts + 1)
    while position < end:
        _, position = varint(block, position)
        own, position = varint(block, position)
        size, position = varint(block, position)
        position += own + size
        if position > end:
            raise ValueError("a value is longer than its block")
        yield block[position - size : position]


def _parsed(kind: str, content: bytes | memoryview) -> Any:
    """Return a message of ``_MESSAGES``."""
    message = _classes()[kind]()
    message.ParseFromString(content)
    return message


@cache
def _classes() -> Mapping[str, Any]:
    """Declare the classes of ``_MESSAGES``."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="alstm/tensorflow.proto", package="alstm", syntax="proto2")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added = declared.field.add(name=name, number=number, label=label)
            if kind in _MESSAGES:
                added.type_name = f".alstm.{kind}"
            else:
                added.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"alstm.{name}"))
        for name in ("GraphDef", "SavedTensorSlices")
    }
