"""A frozen graph of TensorFlow 1 as an ONNX model: the operations of the Inception graph of 2015, and of VGGish.

TensorFlow keeps channels last, ONNX wants them first. A tensor of pictures has its channels first from the input on,
and last again where it is flattened. ``SAME`` padding is ONNX's ``SAME_UPPER``: an odd row is added at the end, and a
mean does not count what is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.tensorflow_files import AGAIN, Node

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET, IR_VERSION = 17, 8  # of 2022: ONNX Runtime reads them from version 1.12 on
INPUT = "input"
_PLACES = (0, 2, 3, 1)  # of batch, height, width and channel, once the channels come first
_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def to_onnx(nodes: Mapping[str, Node], source: str, target: str, shape: tuple[int, int, int], where: str) -> bytes:
    """Return the part of a graph from one tensor to another as a serialised ONNX model.

    Its input is float32 (N, height, width, channels), its output that of ``target``, float32 (N, D).

    Args:
        nodes: of the graph, by name.
        source, target: names of the nodes whose outputs are the input and the output.
        shape: height, width and channels of the input.
        where: the name of the graph in the error.

    Raises:
        AlstmError: a node is missing, or does something else than those of the graphs above.
    """
    import onnx

    graph = _OnnxGraph(nodes, source, where)
    graph.build(target)
    of_type = onnx.TensorProto.FLOAT
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "features",
            [onnx.helper.make_tensor_value_info(INPUT, of_type, ["N", *shape])],
            [onnx.helper.make_tensor_value_info(graph.names[target], of_type, ["N", "D"])],
            graph.weights,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="alstm_helpers",
    )
    return bytes(model.SerializeToString(deterministic=True))


class _OnnxGraph:
    """The nodes and weights of an ONNX graph.

    Args:
        nodes: of the TensorFlow graph, by name.
        source: the node in whose place the input is.
        where: the name of the graph in errors.

    Attributes:
        names: of the ONNX tensor that each TensorFlow tensor has become.
    """

    def __init__(self, nodes: Mapping[str, Node], source: str, where: str) -> None:
        self._nodes, self._source, self._where = nodes, source, where
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.names: dict[str, str] = {}
        self._pictures = set[str]()  # TensorFlow's names of the tensors (N, height, width, channels)

    def build(self, target: str) -> None:
        """Add all that ``target`` needs."""
        self.names[self._source] = self._add("Transpose", INPUT, perm=_TO_FIRST)
        self._pictures.add(self._source)
        try:
            order = [*TopologicalSorter(self._needed(target)).static_order()]
        except CycleError:
            raise self._error(target, "its graph goes round in a circle") from None
        for name in order:
            node = self._nodes[name]
            if name != self._source and self._root(name).op != "Const":
                try:
                    self.names[name] = self._add_node(node)
                except (KeyError, ValueError, TypeError, AttributeError, IndexError):  # of other inputs or attributes
                    raise self._error(name, f"this {node.op} is unlike those of the published graph") from None

    def _needed(self, target: str) -> dict[str, tuple[str, ...]]:
        """Return the inputs of each node that ``target`` needs."""
        found: dict[str, tuple[str, ...]] = {}
        todo = [target]
        while todo:
            name = todo.pop()
            if name not in self._nodes:
                raise self._error(name, "there is no such node")
            if name not in found:
                found[name] = () if name == self._source else self._nodes[name].inputs
                todo += found[name]
        return found

    def _add_node(self, node: Node) -> str:
        """Add what a TensorFlow node does, and return the name of its output."""
        if node.op not in _OPERATIONS:
            raise self._error(node.name, f"{node.op} is not an operation of the published graph")
        if node.attributes.get("data_format", b"NHWC") != b"NHWC":
            raise ValueError
        output = _OPERATIONS[node.op](self, node)
        if node.op != "Reshape" and any(name in self._pictures for name in node.inputs):
            self._pictures.add(node.name)
        return output

    def identity(self, node: Node) -> str:
        """Add nothing."""
        return self.names[node.inputs[0]]

    def relu(self, node: Node) -> str:
        """Add ``max(x, 0)``."""
        return self._add("Relu", self.names[node.inputs[0]])

    def arithmetic(self, node: Node) -> str:
        """Add a sum, difference or product with a constant, which is one number where the other is pictures."""
        value, constant = node.inputs
        other = self._constant(constant)
        if value in self._pictures:
            other = other.reshape(-1, 1, 1) if node.op == "BiasAdd" else other.reshape(())
        return self._add({"BiasAdd": "Add"}.get(node.op, node.op), self.names[value], self._weight(other))

    def matrix_product(self, node: Node) -> str:
        """Add a product with a constant matrix, (N, D) · (D, K) → (N, K)."""
        value, matrix = node.inputs
        if value in self._pictures or node.attributes.get("transpose_a") or node.attributes.get("transpose_b"):
            raise ValueError
        return self._add("MatMul", self.names[value], self._weight(self._constant(matrix)))

    def convolution(self, node: Node) -> str:
        """Add a convolution; its kernel is (height, width, in, out), in ONNX (out, in, height, width)."""
        pictures, kernel = node.inputs
        if set(node.attributes.get("dilations", ())) > {1}:
            raise ValueError
        weight = self._weight(self._constant(kernel).transpose(3, 2, 0, 1))
        return self._add("Conv", self._picture(pictures), weight, **_window(node, "strides"))

    def normalisation(self, node: Node) -> str:
        """Add ``(x − mean) / √(variance + ε) · γ + β``; without ``scale_after_normalization`` there is no γ."""
        pictures, *constants = node.inputs
        mean, variance, beta, gamma = (self._constant(name) for name in constants)
        scale = gamma if node.attributes["scale_after_normalization"] else np.ones_like(gamma)
        weights = [self._weight(values) for values in (scale, beta, mean, variance)]
        epsilon = node.attributes["variance_epsilon"]
        return self._add("BatchNormalization", self._picture(pictures), *weights, epsilon=epsilon)

    def pool(self, node: Node) -> str:
        """Add the largest or the mean of each window."""
        kind = {"MaxPool": "MaxPool", "AvgPool": "AveragePool"}[node.op]
        window = {"kernel_shape": _across(node, "ksize"), **_window(node, "strides")}
        return self._add(kind, self._picture(node.inputs[0]), **window)

    def concatenation(self, node: Node) -> str:
        """Add pictures joined along an axis, which the first input names."""
        axis, *parts = node.inputs
        place = _PLACES[int(self._constant(axis).item())]
        return self._add("Concat", *(self._picture(name) for name in parts), axis=place)

    def reshape(self, node: Node) -> str:
        """Add pictures whose numbers come in one row per picture, (N, D)."""
        value, shape = node.inputs
        wanted = self._constant(shape).ravel().tolist()
        if len(wanted) != 2 or wanted[0] not in (-1, 1):
            raise ValueError
        return self._add("Flatten", self._add("Transpose", self._picture(value), perm=_TO_LAST), axis=1)

    def _picture(self, name: str) -> str:
        """Return the ONNX name of pictures."""
        if name not in self._pictures:
            raise ValueError
        return self.names[name]

    def _constant(self, name: str) -> np.ndarray:
        """Return the value of a constant, also where it goes through an identity."""
        node = self._root(name)
        if not isinstance(value := node.attributes["value"], np.ndarray):
            raise ValueError
        return value

    def _root(self, name: str) -> Node:
        """Return the node whose output a name stands for; identities pass theirs on."""
        node = self._nodes[name]
        while node.op == "Identity" and node.name != self._source:
            node = self._nodes[node.inputs[0]]
        return node

    def _weight(self, values: np.ndarray) -> str:
        """Add a constant, and return its name."""
        import onnx

        name = f"weight{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX node, and return the name of its output."""
        import onnx

        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _error(self, name: str, problem: str) -> AlstmError:
        return AlstmError(f"{self._where}, node {name}", problem, AGAIN)


def _window(node: Node, strides: str) -> dict[str, object]:
    """Return the ONNX attributes of a window's steps and padding."""
    padding = {b"SAME": "SAME_UPPER", b"VALID": "VALID"}[node.attributes["padding"]]
    return {"strides": _across(node, strides), "auto_pad": padding}


def _across(node: Node, attribute: str) -> list[int]:
    """Return the two numbers of an attribute that are for height and width; the others are 1."""
    batch, *sizes, channel = node.attributes[attribute]
    if batch != 1 or channel != 1 or len(sizes) != 2:
        raise ValueError
    return list(sizes)


_OPERATIONS: dict[str, Callable[[_OnnxGraph, Node], str]] = {
    **dict.fromkeys(("Identity", "CheckNumerics"), _OnnxGraph.identity),
    **dict.fromkeys(("Sub", "Mul", "BiasAdd"), _OnnxGraph.arithmetic),
    **dict.fromkeys(("MaxPool", "AvgPool"), _OnnxGraph.pool),
    "Relu": _OnnxGraph.relu,
    "MatMul": _OnnxGraph.matrix_product,
    "Conv2D": _OnnxGraph.convolution,
    "BatchNormWithGlobalNormalization": _OnnxGraph.normalisation,
    "Concat": _OnnxGraph.concatenation,
    "Reshape": _OnnxGraph.reshape,
}
