"""A graph as ONNX, against what TensorFlow computes from it (tools/yt8m_fixtures.py), and graphs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.graphdef import to_onnx
from alstm_helpers.own_videos.tensorflow_files import Node, read_graph
from alstm_helpers.own_videos.yt8m_resize import tensorflow_bilinear

FOLDER = Path(__file__).parent / "yt8m"
NODES = read_graph((FOLDER / "classify_image_graph_def.pb").read_bytes(), "graph")
ENDS = ("ResizeBilinear", "pool_3/_reshape", (40, 40, 3), "graph")


def test_the_numbers_are_tensorflow_s():
    """Padding at the end alone, means that do not count it, joined branches, with and without gamma."""
    with np.load(FOLDER / "inception.npz") as file:
        made = dict(file)
    pictures = np.stack([tensorflow_bilinear(made[f"image_{number}"], 40) for number in range(2)])
    session = onnxruntime.InferenceSession(to_onnx(NODES, *ENDS), providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": pictures})[0]
    assert found.shape == (2, 16) and np.abs(found - made["features"]).max() < 1e-5
    assert np.abs(made["features"][0] - made["features"][1]).max() > 0.01


def test_the_same_graph_gives_the_same_bytes():
    assert to_onnx(NODES, *ENDS) == to_onnx(dict(reversed(NODES.items())), *ENDS)


def changed(name: str, **changes: Any) -> dict[str, Node]:
    """The graph with another node of a name."""
    return {**NODES, name: NODES[name]._replace(**changes)}


def attribute(name: str, key: str, value: object) -> dict[str, Node]:
    """The graph with another attribute of a node."""
    return changed(name, attributes={**NODES[name].attributes, key: value})


@pytest.mark.parametrize(
    "nodes, where, said",
    [
        (changed("conv", op="Elu"), "conv", "Elu is not an operation of the published graph"),
        (changed("conv", op="PyFunc"), "conv", "PyFunc is not an operation of the published graph"),
        (changed("Sub", inputs=("Cast", "Sub/y")), "DecodeJpeg", "DecodeJpeg is not an operation"),  # past the resize
        (changed("Sub", inputs=("Mul", "Sub/y")), "pool_3/_reshape", "its graph goes round in a circle"),
        (changed("Sub", inputs=("nowhere", "Sub/y")), "nowhere", "there is no such node"),
        (changed("Sub", inputs=("Sub/y",)), "Sub", "this Sub is unlike those"),
        (changed("Sub", inputs=("ResizeBilinear", "ResizeBilinear")), "Sub", "this Sub is unlike those"),
        (changed("Sub/y", attributes={}), "Sub", "this Sub is unlike those"),
        (changed("Sub/y", attributes={"value": None}), "Sub", "this Sub is unlike those"),
        (changed("Sub/y", attributes={"value": np.ones(3)}), "Sub", "this Sub is unlike those"),
        (attribute("conv/Conv2D", "data_format", b"NCHW"), "conv/Conv2D", "this Conv2D is unlike"),
        (attribute("conv/Conv2D", "padding", b"EXPLICIT"), "conv/Conv2D", "this Conv2D is unlike"),
        (attribute("conv/Conv2D", "strides", [2, 1, 1, 1]), "conv/Conv2D", "this Conv2D is unlike"),
        (attribute("conv/Conv2D", "dilations", [1, 2, 2, 1]), "conv/Conv2D", "this Conv2D is unlike"),
        (changed("pool_3/_reshape/shape", attributes={"value": np.array([4, 4])}), "pool_3/_reshape", "this Reshape"),
        (changed("mixed/join/concat_dim", attributes={"value": np.array(7)}), "mixed/join", "this Concat is unlike"),
    ],
)
def test_another_graph_is_refused_by_the_name_of_its_node(nodes, where, said):
    with pytest.raises(AlstmError, match=f"^graph, node {where}: {said}"):
        to_onnx(nodes, *ENDS)
