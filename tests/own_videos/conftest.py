"""Fixtures of several tests of your own videos."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper
from support import labelled_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Return a folder with eight FlashDigits videos as mp4 files, and their labels; read only."""
    root = tmp_path_factory.mktemp("own") / "eigene 视频"
    labelled_clips(root, 8)
    return root


@pytest.fixture(scope="session")
def onnx_file():
    """Return a function that writes a network and returns its name: the mean of its input over axes, or other nodes."""

    def write(path, shape, axes=(), count=1, dtype=TensorProto.FLOAT, nodes=(), initializer=()):
        inputs = [helper.make_tensor_value_info(f"x{i}", dtype, shape) for i in range(count)]
        cast = helper.make_node("Cast", ["x0"], ["x"], to=TensorProto.FLOAT)
        nodes = nodes or [helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0)]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([cast, *nodes], "mean", inputs, [output], list(initializer))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, str(path))
        return f"onnx:{path}"

    return write
