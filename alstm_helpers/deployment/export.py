"""Export a trained network as files for deployment, each checked against the trainer before it is written.

One definition, :class:`alstm_helpers.model.AttentionLSTM`, becomes a Paddle Inference model, which ``paddle2onnx``
converts to ONNX. The converter (2.1) silently drops the lengths of the LSTM; they are restored here as
``sequence_lens``, the LSTM input that ONNX has for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypedDict

import numpy as np

from alstm_helpers.deployment.predictor import DESCRIPTION, ENGINES, OUTPUTS, Prediction, Predictor, find_model
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, write_json
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import evaluating
from alstm_helpers.runtime import Tensor, package_version, paddle
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

TOLERANCE = 1e-5
OPSET = 17
INT8 = "model.int8.onnx"

MeasureGap: TypeAlias = Callable[[Predictor], float]


class Interface(TypedDict):
    """What a program needs to use a model; an ONNX file has it in its metadata."""

    versions: dict[str, str | None]
    inputs: dict[str, str]
    outputs: list[str]
    num_classes: int
    class_names: list[str] | None
    checked_lengths: list[int]


class Int8Cost(TypedDict):
    """What int8 weights change: the outputs, at most, and GAP."""

    largest_difference: float
    gap_float32: float
    gap_int8: float


class _OptionalInt8(TypedDict, total=False):
    int8: Int8Cost


class Description(Interface, _OptionalInt8):
    """The content of ``export.json``; ``int8`` is there only if ``model.int8.onnx`` is."""

    largest_difference: float
    differences: dict[str, float]
    files: list[str]


class Expectation(NamedTuple):
    """A batch (rgb, audio, lengths), and the trainer's outputs for it."""

    batch: tuple[np.ndarray, np.ndarray, np.ndarray]
    expected: Prediction

    def difference(self, predictor: Predictor) -> float:
        """Return the largest absolute difference of an exported model from the trainer; NaN if an output is NaN."""
        pairs = zip(predictor(*self.batch), self.expected, strict=True)
        return float(np.max([np.abs(found - expected).max() for found, expected in pairs]))


class _Deployed(paddle.nn.Layer):  # type: ignore[misc]
    """The exported computation: uint8 features and lengths in, scores and attention out."""

    def __init__(self, net: AttentionLSTM) -> None:
        super().__init__()
        self.net = net

    # Paddle's tracer insists on the name ``self`` here.
    def forward(self, rgb: Tensor, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, (rgb_weights, audio_weights) = self.net(rgb, audio, lengths, return_attention=True)
        # With mean pooling both weights are one expression; Paddle Inference would merge them and lose an output.
        return paddle.nn.functional.sigmoid(logits), rgb_weights, audio_weights.clip(min=0.0)


def export(
    net: AttentionLSTM,
    folder: str | os.PathLike[str],
    *,
    onnx: bool = False,
    class_names: Mapping[int, str] | None = None,
    int8_gap: MeasureGap | None = None,
) -> Description:
    """Write ``model.json`` (Paddle 2: ``model.pdmodel``), ``model.pdiparams``, ``export.json``, and optionally ONNX.

    Batch and time are free; inputs are ``rgb`` uint8 (B, T, 1024), ``audio`` uint8 (B, T, 128), ``lengths``
    int64 (B,); outputs are ``scores`` float32 (B, C) and both attention weights (B, T).

    Args:
        net: the network.
        folder: where the files go.
        onnx: also write ``model.onnx``, one self-contained file that includes the class names.
        class_names: class names by index, stored with the model.
        int8_gap: also write ``model.onnx`` and ``model.int8.onnx``, whose weights are int8. Since that changes the
            scores, this function is called with both models and returns the GAP of each.

    Returns:
        the content of ``export.json``, with the ``largest_difference`` from the trainer on a batch of unequal lengths.

    Raises:
        AlstmError: an exported model differs from the trainer by more than 1e-5; nothing is written.
    """
    onnx = onnx or int8_gap is not None
    with evaluating(net), tempfile.TemporaryDirectory() as temporary:
        deployed = _Deployed(net)
        deployed.eval()
        check = _check_of(deployed)
        work = Path(temporary)
        interface = _interface(net.num_classes, class_names, check, onnx)
        paths = _write_models(deployed, work, interface, onnx)
        differences = {path.name: _require_equal(path, check, Path(folder)) for path in paths}
        int8: _OptionalInt8 = {"int8": _write_int8(work, check, int8_gap)} if int8_gap else {}
        description: Description = {
            **interface,
            "largest_difference": max(differences.values()),
            "differences": differences,
            **int8,
            "files": sorted(path.name for path in work.iterdir()),
        }
        _install(work, Path(folder), description)
    return description


def _check_of(deployed: _Deployed) -> Expectation:
    batch = unequal_batch()
    with paddle.no_grad():
        outputs = deployed(*map(paddle.to_tensor, batch))
    return Expectation(batch, Prediction(*(output.numpy() for output in outputs)))


def _input_specs() -> list[Tensor]:
    """Return Paddle's descriptions of the inputs; the free axes are None."""
    return [
        paddle.static.InputSpec([None, None, RGB_DIM], "uint8", "rgb"),
        paddle.static.InputSpec([None, None, AUDIO_DIM], "uint8", "audio"),
        paddle.static.InputSpec([None], "int64", "lengths"),
    ]


def _interface(num_classes: int, class_names: Mapping[int, str] | None, check: Expectation, onnx: bool) -> Interface:
    packages = ("paddlepaddle", "paddle2onnx", "onnx") if onnx else ("paddlepaddle",)
    names = [class_names.get(index, f"class {index}") for index in range(num_classes)] if class_names else None
    return {
        "versions": {name: package_version(name) for name in packages},
        "inputs": {spec.name: f"{str(spec.dtype).rpartition('.')[2]} {list(spec.shape)}" for spec in _input_specs()},
        "outputs": list(OUTPUTS),
        "num_classes": num_classes,
        "class_names": names,
        "checked_lengths": check.batch[2].tolist(),
    }


def _write_models(deployed: _Deployed, folder: Path, interface: Interface, onnx: bool) -> list[Path]:
    """Write the Paddle Inference model, and ``model.onnx`` if wanted; return the files that can be loaded."""
    with _quiet():
        paddle.jit.save(deployed, str(folder / "model"), input_spec=_input_specs())
    program = find_model(folder)
    if not onnx:
        return [program]
    write_onnx(program, folder / "model.onnx", interface)
    return [program, folder / "model.onnx"]


def _require_equal(path: Path, check: Expectation, folder: Path) -> float:
    """Return how far an exported file is from the trainer.

    Raises:
        AlstmError: by more than the tolerance.
    """
    difference = check.difference(Predictor(path))
    if not difference <= TOLERANCE:  # NaN must not pass
        problem = f"the exported {path.name} differs from the trainer by {difference:.1e}"
        raise AlstmError(folder, problem, f"report this, with Paddle's version {paddle.__version__}")
    return difference


def write_onnx(program: Path, target: Path, interface: Interface) -> None:
    """Convert a Paddle Inference model to ONNX, and restore the lengths that the converter drops."""
    import onnx

    model = onnx.load_from_string(convert_bare(program))
    _name_outputs(model.graph)
    _restore_lengths(model.graph)
    _free_axes(model.graph)
    model = _simplified(model, target)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.producer_name, model.producer_version = "alstm_helpers", package_version("alstm-helpers") or ""
    onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(interface, ensure_ascii=False)})
    onnx.checker.check_model(model)
    onnx.save(model, target)


def convert_bare(program: Path) -> bytes:
    """Return what ``paddle2onnx`` makes of a Paddle Inference model: correct for equal lengths only."""
    import paddle2onnx

    with _quiet():  # without a file to save, it leaves out an optimiser that would install packages from the network
        found = paddle2onnx.export(str(program), str(program.with_name("model.pdiparams")), opset_version=OPSET)
    return bytes(found)


def _name_outputs(graph: GraphProto) -> None:
    """Give the outputs the names of OUTPUTS in place of the converter's."""
    renamed = dict(zip((output.name for output in graph.output), OUTPUTS, strict=True))
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for output in graph.output:
        output.name = renamed[output.name]


def _restore_lengths(graph: GraphProto) -> None:
    """Connect the input ``lengths``, clipped to 0 … T as in AttentionLSTM, to ``sequence_lens`` of every LSTM."""
    import onnx

    make_node = onnx.helper.make_node
    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, dtype=np.int64), "no_seconds"))
    clip = [  # ONNX Runtime, too, refuses lengths beyond T
        make_node("Shape", ["rgb"], ["num_steps"], start=1, end=2),
        make_node("Min", ["lengths", "num_steps"], ["lengths_at_most"]),
        make_node("Max", ["lengths_at_most", "no_seconds"], ["lengths_within"]),
        make_node("Cast", ["lengths_within"], ["sequence_lens"], to=onnx.TensorProto.INT32),
    ]
    for node in graph.node:
        if node.op_type == "LSTM":
            node.input[4] = "sequence_lens"
    nodes = [*clip, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _free_axes(graph: GraphProto) -> None:
    """Name the free axes of inputs and outputs ``batch`` and ``time``."""
    for value in (*graph.input, *graph.output):
        for dim, axis in zip(value.type.tensor_type.shape.dim, ("batch", "time"), strict=False):
            if not dim.dim_value:
                dim.dim_param = axis


def _simplified(model: ModelProto, target: Path) -> ModelProto:
    """Return a model with constants folded and no-ops removed by ONNX Runtime, so that weights are plain tensors."""
    import onnx
    import onnxruntime

    draft = target.with_suffix(".draft")
    onnx.save(model, draft)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(draft), options, providers=["CPUExecutionProvider"])
    draft.unlink()
    return onnx.load(target)


def _write_int8(folder: Path, check: Expectation, gap: MeasureGap) -> Int8Cost:
    """Write ``model.int8.onnx`` beside ``model.onnx``: int8 weights, and activations quantised dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / "model.onnx", folder / INT8
    with _quiet():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    whole, small = Predictor(source), Predictor(target)
    return {"largest_difference": check.difference(small), "gap_float32": gap(whole), "gap_int8": gap(small)}


def _install(source: Path, folder: Path, description: Description) -> None:
    """Copy the files beside ``folder``, then move them into it: a full disk leaves ``folder`` as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
        for path in source.iterdir():
            with atomic_write(Path(staging, path.name)) as file:
                file.write(path.read_bytes())
        write_json(Path(staging, "export.json"), description)
        folder.mkdir(exist_ok=True)
        for path in sorted(Path(staging).iterdir()):
            path.replace(folder / path.name)
        for name in {*ENGINES, INT8} - set(description["files"]):  # left by an export of another network
            (folder / name).unlink(missing_ok=True)


def unequal_batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rgb, audio and lengths of random videos of 1, 2, 17 and 40 seconds, with noise in the padding.

    uint8 (4, 40, 1024), uint8 (4, 40, 128), int64 (4,).
    """
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 17, 40], dtype=np.int64)
    shape = (len(lengths), int(lengths.max()))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    return rgb, audio, lengths


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the tools print about their internals, including output from C++."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        for stream in (1, 2):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere.fileno(), stream)
        yield
