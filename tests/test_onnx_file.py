"""Test that ONNX files cannot name other files as their weights, wherever in the file they try."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from alstm_helpers.errors import AlstmError
from alstm_helpers.onnx_file import read_onnx

OUTPUT = helper.make_tensor_value_info("y", TensorProto.UINT8, [3])


def weights(external):
    tensor = numpy_helper.from_array(np.arange(3, dtype=np.uint8), "w")
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def model(nodes, initializer=(), **more):
    graph = helper.make_graph(list(nodes), "g", [], [OUTPUT], list(initializer))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def in_initializer(tensor):
    return model([helper.make_node("Identity", ["w"], ["y"])], [tensor])


def in_attribute(tensor):
    return model([helper.make_node("Constant", [], ["y"], value=tensor)])


def in_list_of_tensors(tensor):
    made = in_attribute(weights(external=False))
    made.graph.node[0].attribute.append(helper.make_attribute("more", [tensor]))
    return made


def in_sparse(tensor):
    made = model([helper.make_node("Identity", ["w"], ["y"])])
    indices = numpy_helper.from_array(np.arange(3), "i")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [3]))
    return made


def in_sparse_attribute(tensor):
    indices = numpy_helper.from_array(np.arange(3), "i")
    return model(
        [helper.make_node("Constant", [], ["y"], sparse_value=helper.make_sparse_tensor(tensor, indices, [3]))]
    )


def in_subgraph(tensor):
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["z"])], "b", [],
                               [helper.make_tensor_value_info("z", TensorProto.UINT8, [3])], [tensor])  # fmt: skip
    condition = numpy_helper.from_array(np.array(True), "c")
    return model([helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], [condition])


def in_list_of_graphs(tensor):
    made = in_attribute(weights(external=False))
    made.graph.node[0].attribute.append(helper.make_attribute("more", [in_initializer(tensor).graph]))
    return made


def in_function(tensor):
    body = [helper.make_node("Constant", [], ["y"], value=tensor)]
    function = helper.make_function("own", "F", [], ["y"], body, [helper.make_opsetid("", 17)])
    return model([helper.make_node("F", [], ["y"], domain="own")], functions=[function])


def in_function_s_default(tensor):
    made = in_function(weights(external=False))
    made.functions[0].attribute_proto.append(helper.make_attribute("value", tensor))
    return made


def in_training(tensor):
    made = in_attribute(weights(external=False))
    made.training_info.add().algorithm.initializer.append(tensor)
    return made


PLACES = [
    *(in_initializer, in_attribute, in_list_of_tensors, in_sparse, in_sparse_attribute, in_subgraph),
    *(in_list_of_graphs, in_function, in_function_s_default, in_training),
]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_are_refused_wherever_they_are(tmp_path, place):
    path = tmp_path / "网.onnx"
    path.write_bytes(place(weights(external=False)).SerializeToString())
    assert read_onnx(path) == path.read_bytes()
    path.write_bytes(place(weights(external=True)).SerializeToString())
    with pytest.raises(AlstmError, match=r"网\.onnx: its weights are in other files; save it as one file") as caught:
        read_onnx(path)
    assert f"onnx.load({str(path)!r})" in caught.value.remedy


def test_the_remedy_helps(tmp_path):
    whole = in_initializer(numpy_helper.from_array(np.arange(3, dtype=np.uint8), "w"))
    path, one = tmp_path / "net.onnx", tmp_path / "one_file.onnx"
    onnx.save(whole, path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(AlstmError, match="its weights are in other files"):
        read_onnx(path)
    onnx.save(onnx.load(path), one)
    session = onnxruntime.InferenceSession(read_onnx(one), providers=["CPUExecutionProvider"])
    assert session.run(None, {})[0].tolist() == [0, 1, 2]


def test_a_number_with_superfluous_bytes(tmp_path):
    """Readers of Protocol Buffers take it, but it is not what a search for bytes would find."""
    tensor = weights(external=True).SerializeToString().replace(b"\x70\x01", b"\xf0\x00\x81\x00")  # data_location
    assert TensorProto.FromString(tensor).data_location == TensorProto.EXTERNAL
    graph = b"\x2a" + bytes([len(tensor)]) + tensor  # its first initializer
    (tmp_path / "a.onnx").write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
    with pytest.raises(AlstmError, match="other files"):
        read_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", [b"none", b"\x3a\xff", b"\x3a\x05ab", b"\x80" * 12, b"\x3b\x3c", b"\0\0\0\0ORTM"])
def test_what_is_no_onnx(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(AlstmError, match=r"a\.onnx: it is not readable as ONNX; export it again"):
        read_onnx(tmp_path / "a.onnx")
