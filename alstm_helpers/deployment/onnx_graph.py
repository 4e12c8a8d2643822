"""The network as an ONNX graph, built from its parameters.

The graph follows :meth:`alstm_helpers.model.AttentionLSTM.forward` line by line, with standard operators only. ONNX
has a place for the seconds of each video, the LSTM's input ``sequence_lens``; a graph that leaves it empty is right
for videos of equal length and wrong for all others (notebook 06 shows it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from alstm_helpers.deployment.predictor import DESCRIPTION, INPUTS, LOGITS, OUTPUTS
from alstm_helpers.extras import DISTRIBUTION
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.weights import state_of
from alstm_helpers.runtime import package_version

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

OPSET, IR_VERSION = 17, 8  # of 2022: ONNX Runtime reads them from version 1.12 on
FrameType: TypeAlias = Literal["uint8", "float32"]
Attribute: TypeAlias = int | str | list[int]
Shape: TypeAlias = Sequence[str | int]  # a name for a free axis
# Paddle's gates are input, forget, cell, output; ONNX wants input, output, forget, cell.
_GATES = (0, 3, 1, 2)
_DIRECTIONS = ("", "_reverse")


def network_model(net: AttentionLSTM, description: Mapping[str, object], *, frames: FrameType = "uint8") -> ModelProto:
    """Return the network as an ONNX model.

    Inputs: ``rgb`` (batch, time, 1024), ``audio`` (batch, time, 128), ``lengths`` int64 (batch,). Outputs: ``scores``
    (batch, C), ``rgb_attention`` and ``audio_attention`` (batch, time), ``logits`` (batch, C), all float32.

    Args:
        net: the network; dropout is left out.
        description: stored in the metadata as JSON.
        frames: ``uint8`` for YouTube-8M's bytes, ``float32`` for features that are dequantised already.
    """
    import onnx

    graph = _NetworkGraph(net, frames)
    graph.build()
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes, "AttentionLSTM", graph.inputs(), graph.outputs(), [*graph.weights.values()]
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="alstm_helpers",
        producer_version=package_version(DISTRIBUTION) or "",
    )
    onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(description, ensure_ascii=False)})
    return model


class _NetworkGraph:
    """Nodes and weights of one network. A tensor is known by its name; ``_add`` returns that of a new one."""

    def __init__(self, net: AttentionLSTM, frames: FrameType) -> None:
        from onnx import NodeProto, TensorProto

        self._net, self._frames = net, frames
        self._state = state_of(net)
        self._pool = {
            "attention": self._attention,
            "attention+deviation": self._attention_and_deviation,
            "mean": self._mean,
            "last": self._last,
        }[net.pooling]
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, TensorProto] = {}

    def inputs(self) -> list[ValueInfoProto]:
        """Return the descriptions of the inputs."""
        rgb, audio = (self._state[f"fc_feature{stream}.weight"].shape[0] for stream in range(2))
        shapes: tuple[Shape, ...] = (["batch", "time", rgb], ["batch", "time", audio], ["batch"])
        dtypes = (self._frames, self._frames, "int64")
        rows = zip(INPUTS, dtypes, shapes, strict=True)
        return [_value(name, dtype, shape) for name, dtype, shape in rows]

    def outputs(self) -> list[ValueInfoProto]:
        """Return the descriptions of the outputs."""
        classes: Shape = ["batch", self._net.num_classes]
        shapes: tuple[Shape, ...] = (classes, ["batch", "time"], ["batch", "time"], classes)
        return [_value(name, "float32", shape) for name, shape in zip((*OUTPUTS, LOGITS), shapes, strict=True)]

    def build(self) -> None:
        """Add everything from the inputs to the outputs."""
        rgb, audio, lengths = INPUTS
        scores, rgb_attention, audio_attention = OUTPUTS
        num_steps = self._add("Shape", rgb, start=1, end=2)  # (1,), T
        at_most = self._add("Min", lengths, num_steps)  # (B,)
        lengths = self._add("Max", at_most, self._constant("zero", [0]))  # int64 (B,), in 0 … T
        mask = self._mask(lengths, num_steps)  # (B, T)
        pooled = self._add(
            "Concat",
            self._stream(0, rgb, lengths, mask, rgb_attention),  # (B, P)
            self._stream(1, audio, lengths, mask, audio_attention),  # (B, P)
            axis=1,
        )  # (B, 2P)
        hidden = self._add("Relu", self._linear("fc_out1", pooled))  # (B, fc_sizes[0])
        hidden = self._add("Tanh", self._linear("fc_out2", hidden))  # (B, fc_sizes[1])
        self._add("Sigmoid", self._linear("fc_logit", hidden, name=LOGITS), name=scores)  # (B, C)

    def _mask(self, lengths: str, num_steps: str) -> str:
        """Return 1.0 for the seconds of each video and 0.0 for padding, (B, T)."""
        stop = self._add("Squeeze", num_steps)  # ()
        seconds = self._add("Range", self._constant("start", 0), stop, self._constant("step", 1))  # (T,)
        column = self._add("Unsqueeze", lengths, self._axis(1))  # (B, 1)
        return self._cast(self._add("Less", seconds, column), "float32")  # (T,) < (B, 1) → (B, T)

    def _stream(self, stream: int, frames: str, lengths: str, mask: str, attention: str) -> str:
        """Pool a stream (B, T, dim) to (B, P), and add its weights (B, T) under the name ``attention``."""
        if self._frames == "uint8":
            scaled = self._add("Mul", self._cast(frames, "float32"), self._constant("scale", np.float32(4 / 255)))
            frames = self._add("Add", scaled, self._constant("shift", np.float32(4 / 512 - 2)))  # (B, T, dim), [-2, 2]
        embedded = self._add("Tanh", self._linear(f"fc_feature{stream}", frames))  # (B, T, E)
        by_time = self._add("Transpose", embedded, perm=[1, 0, 2])  # (T, B, E), as ONNX Runtime's LSTM wants it
        states, final = self._lstm(f"bi_lstm{stream}", by_time, lengths)  # (T, 2, B, H), (2, B, H)
        states, final = self._join(states, [2, 0, 1, 3]), self._join(final, [1, 0, 2])  # (B, T, 2H), (B, 2H)
        return self._pool(stream, embedded, states, final, mask, attention)

    def _lstm(self, layer: str, embedded: str, lengths: str) -> tuple[str, str]:
        """Return all states (T, 2, B, H), and the final ones (2, B, H), of both directions."""
        parameters = [self._weight(f"{layer}.{part}", self._both(layer, part)) for part in ("weight_ih", "weight_hh")]
        bias = np.concatenate([self._both(layer, "bias_ih"), self._both(layer, "bias_hh")], axis=1)  # (2, 8H)
        parameters.append(self._weight(f"{layer}.bias", bias))
        states, final = f"{layer}.states", f"{layer}.final"
        size = self._state[f"{layer}.weight_hh_l0"].shape[1]
        sequence_lens = self._cast(lengths, "int32")  # (B,)
        inputs = [embedded, *parameters, sequence_lens]
        self._node("LSTM", inputs, [states, final], direction="bidirectional", hidden_size=size)
        return states, final

    def _both(self, layer: str, part: str) -> np.ndarray:
        """Return a parameter of both directions with its gates in ONNX's order, (2, 4H, …)."""
        found = []
        for direction in _DIRECTIONS:
            gates = np.split(self._state[f"{layer}.{part}_l0{direction}"], 4)  # 4 × (H, …)
            found.append(np.concatenate([gates[gate] for gate in _GATES]))  # (4H, …)
        return np.stack(found)

    def _join(self, states: str, batch_first: list[int]) -> str:
        """Put the batch first, and the states of both directions side by side: (B, T, 2H) or (B, 2H)."""
        shape = [0] * (len(batch_first) - 2) + [-1]  # 0: as before
        turned = self._add("Transpose", states, perm=batch_first)  # (B, T, 2, H) or (B, 2, H)
        return self._add("Reshape", turned, self._constant(f"joined_{len(shape)}", shape))

    def _attention(self, stream: int, embedded: str, states: str, final: str, mask: str, attention: str) -> str:
        """Pool by the softmax over the seconds of each video; see :func:`alstm_helpers.model.masked_softmax`."""
        column = self._linear(f"att_fc{stream}", states)  # (B, T, 1)
        scores = self._add("Squeeze", column, self._axis(2))  # (B, T)
        inside = self._cast(mask, "bool")
        scores = self._add("Where", inside, scores, self._constant("lowest", np.float32(-1e30)))  # (B, T)
        largest = self._add("ReduceMax", scores, axes=[1], keepdims=1)  # (B, 1)
        exponents = self._add("Mul", self._add("Exp", self._add("Sub", scores, largest)), mask)  # (B, T)
        total = self._add("ReduceSum", exponents, self._axis(1), keepdims=1)  # (B, 1)
        total = self._add("Max", total, self._constant("least", np.float32(1e-30)))  # 0 seconds: weights of 0
        return self._weighted(states, self._add("Div", exponents, total, name=attention))

    def _attention_and_deviation(
        self, stream: int, embedded: str, states: str, final: str, mask: str, attention: str
    ) -> str:
        """Put the mean deviation of the embedded seconds beside what attention pools, (B, 2H + E)."""
        attended = self._attention(stream, embedded, states, final, mask, attention)  # (B, 2H)
        share = self._equal_weights(mask)  # (B, T)
        mean = self._add("Unsqueeze", self._weighted(embedded, share), self._axis(1))  # (B, 1, E)
        strays = self._add("Abs", self._add("Sub", embedded, mean))  # (B, T, E)
        return self._add("Concat", attended, self._weighted(strays, share), axis=1)

    def _mean(self, stream: int, embedded: str, states: str, final: str, mask: str, attention: str) -> str:
        """Pool by the mean over the seconds of each video."""
        return self._weighted(states, self._equal_weights(mask, attention))

    def _equal_weights(self, mask: str, name: str = "") -> str:
        """Return the same weight for all seconds of a video, (B, T)."""
        seconds = self._add("ReduceSum", mask, self._axis(1), keepdims=1)  # (B, 1)
        seconds = self._add("Max", seconds, self._constant("one", np.float32(1)))
        return self._add("Div", mask, seconds, name=name)

    def _last(self, stream: int, embedded: str, states: str, final: str, mask: str, attention: str) -> str:
        """Take the final state of each direction; the weight of 1 is on the last second."""
        following = self._add("Pad", mask, self._constant("one_more", [0, -1, 0, 1]))  # (B, T), mask[:, 1:] and a 0
        self._add("Sub", mask, following, name=attention)  # (B, T)
        return final

    def _weighted(self, states: str, attention: str) -> str:
        """Return the sum of states (B, T, S) weighted by (B, T), (B, S)."""
        row = self._add("Unsqueeze", attention, self._axis(1))  # (B, 1, T)
        return self._add("Squeeze", self._add("MatMul", row, states), self._axis(1))  # (B, S)

    def _linear(self, layer: str, x: str, name: str = "") -> str:
        """Return ``x @ weight + bias`` of a layer, (…, out)."""
        product = self._add("MatMul", x, self._weight(f"{layer}.weight", self._state[f"{layer}.weight"]))
        return self._add("Add", product, self._weight(f"{layer}.bias", self._state[f"{layer}.bias"]), name=name)

    def _cast(self, x: str, dtype: str) -> str:
        return self._add("Cast", x, to=_element_type(dtype))

    def _add(self, operator: str, *inputs: str, name: str = "", **attributes: Attribute) -> str:
        """Add a node with one output; return the output's name."""
        name = name or f"{operator}_{len(self.nodes)}"
        self._node(operator, list(inputs), [name], **attributes)
        return name

    def _node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Attribute) -> None:
        import onnx

        node = onnx.helper.make_node(operator, inputs, outputs, outputs[0])
        node.attribute.extend(onnx.helper.make_attribute(*item) for item in sorted(attributes.items()))
        self.nodes.append(node)

    def _axis(self, axis: int) -> str:
        return self._constant(f"axis_{axis}", [axis])

    def _constant(self, name: str, value: int | list[int] | np.float32) -> str:
        """Store a number (a NumPy float as it is, integers as int64) unless it is there; return its name."""
        return self._weight(name, np.asarray(value))

    def _weight(self, name: str, value: np.ndarray) -> str:
        """Store an array unless it is there; return its name."""
        import onnx

        if name not in self.weights:
            self.weights[name] = onnx.numpy_helper.from_array(value, name)
        return name


def _element_type(dtype: str) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _value(name: str, dtype: str, shape: Shape) -> ValueInfoProto:
    import onnx

    return onnx.helper.make_tensor_value_info(name, _element_type(dtype), shape)
