"""TensorFlow 1's files, against those that TensorFlow wrote (tools/yt8m_fixtures.py), whole and damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.tensorflow_files import read_checkpoint, read_graph
from alstm_helpers.tfrecord import masked_crc

FOLDER = Path(__file__).parent / "yt8m"
GRAPH = (FOLDER / "classify_image_graph_def.pb").read_bytes()
CHECKPOINT = (FOLDER / "vggish_model.ckpt").read_bytes()


def field(number: int, content: bytes) -> bytes:
    """A field of a message, shorter than 128 bytes."""
    return bytes((number << 3 | 2, len(content))) + content


def constant(tensor: bytes) -> bytes:
    """A GraphDef of one constant."""
    node = field(1, b"c") + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, tensor)))
    return field(1, node)


def shape(*sizes: int) -> bytes:
    return field(2, b"".join(field(2, bytes((8, size))) for size in sizes))


def test_the_nodes_of_a_graph():
    nodes = read_graph(GRAPH, "graph")
    assert nodes["ResizeBilinear"].inputs == ("ExpandDims", "ResizeBilinear/size")
    assert nodes["ResizeBilinear/size"].attributes["value"].tolist() == [40, 40]
    assert nodes["Sub/y"].attributes["value"] == np.float32(128)  # a list of numbers, the others are bytes
    assert nodes["conv/conv2d_params"].attributes["value"].shape == (3, 3, 3, 4)
    assert nodes["conv/Conv2D"].attributes["strides"] == [1, 2, 2, 1]
    assert nodes["conv/control_dependency"].inputs == ("conv/batchnorm",)  # not the one that only comes first


def test_the_last_number_of_a_constant_stands_for_the_rest():
    tensor = bytes((8, 1)) + shape(2, 3) + field(5, struct.pack("<2f", 1, 7))
    value = read_graph(constant(tensor), "graph")["c"].attributes["value"]
    assert value.tolist() == [[1, 7, 7], [7, 7, 7]] and value.dtype == np.float32


@pytest.mark.parametrize(
    "content, said",
    [
        (GRAPH[:-1], "Error parsing message"),
        (b"", "it has no nodes"),
        (b"\x08\x01", "it has no nodes"),
        (constant(bytes((8, 1)) + shape(*[127] * 5) + field(5, bytes(4))), "a tensor has the shape"),
        (constant(bytes((8, 1)) + shape(2) + field(5, bytes(12))), r"of the shape \[2\] has 3 numbers"),
        (constant(bytes((8, 1)) + shape(2)), r"of the shape \[2\] has 0 numbers"),
        (constant(bytes((8, 1)) + shape(2) + field(4, bytes(7))), "multiple of element size"),
    ],
)
def test_what_is_no_graph(content, said):
    with pytest.raises(AlstmError, match=rf"^graph: not readable .*{said}.*; if the file is not"):
        read_graph(content, "graph")


def test_the_tensors_of_a_checkpoint():
    found = read_checkpoint(CHECKPOINT, "checkpoint")
    assert len(found) == 18 and found["vggish/fc1/fc1_1/weights"].shape == (96, 6)
    assert all(array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "unpack requires"),
        (CHECKPOINT[:-1], "its end is not that of a table"),
        (CHECKPOINT[:100] + bytes((CHECKPOINT[100] ^ 1,)) + CHECKPOINT[101:], "the checksum of a block differs"),
        (bytes(40) + CHECKPOINT[-8:], "the checksum of a block differs|unpack requires"),
    ],
)
def test_what_is_no_checkpoint(content, said):
    with pytest.raises(AlstmError, match=rf"^checkpoint: not readable .*({said}).*; if the file is not"):
        read_checkpoint(content, "checkpoint")


def table(block: bytes, kind: int = 0) -> bytes:
    """A table of one block."""

    def whole(block: bytes, kind: int) -> bytes:
        return block + bytes((kind,)) + struct.pack("<I", masked_crc(block + bytes((kind,))))

    handle = bytes((0, len(block)))
    index = bytes((0, 0, len(handle))) + handle + struct.pack("<2I", 0, 1)
    content = whole(block, kind)
    footer = bytes((0, 0, len(content), len(index))).ljust(40, b"\0") + CHECKPOINT[-8:]
    return content + whole(index, 0) + footer


@pytest.mark.parametrize(
    "content, said",
    [
        (table(bytes(8), kind=1), "a block of it is compressed"),
        (table(bytes((0, 0, 9)) + struct.pack("<2I", 0, 1)), "a value is longer than its block"),
        (table(bytes((0, 0, 2)) + b"\xff\xff" + struct.pack("<2I", 0, 1)), "not readable"),
    ],
)
def test_odd_tables(content, said):
    with pytest.raises(AlstmError, match=said):
        read_checkpoint(content, "checkpoint")
