"""The trained network as files for deployment, each checked against the trainer before it is written.

One definition, :class:`alstm_helpers.model.AttentionLSTM`, becomes a Paddle Inference model, and that becomes ONNX by
``paddle2onnx``. The converter (2.1) forgets the lengths of the LSTM without a word; they are put back into the graph
here, as the input ``sequence_lens`` that ONNX has for them.
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
from typing import Any

import numpy as np

from alstm_helpers.deployment.predictor import DESCRIPTION, ENGINES, OUTPUTS, Prediction, Predictor, find_model
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, write_json
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import package_version, paddle
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM

TOLERANCE = 1e-5
OPSET = 17
INT8 = "model.int8.onnx"


class _Deployed(paddle.nn.Layer):  # type: ignore[misc]
    """What is exported: uint8 features and lengths in, scores and attention out."""

    def __init__(self, net: AttentionLSTM) -> None:
        super().__init__()
        self.net = net

    # Paddle's tracer insists on the name ``self`` here.
    def forward(self, rgb: Any, audio: Any, lengths: Any) -> Any:
        logits, (rgb_weights, audio_weights) = self.net(rgb, audio, lengths, return_attention=True)
        # Under mean pooling both weights are one expression; Paddle Inference would merge them and lose an output.
        return paddle.nn.functional.sigmoid(logits), rgb_weights, audio_weights.clip(min=0.0)


def export(
    net: AttentionLSTM,
    folder: str | os.PathLike[str],
    *,
    onnx: bool = False,
    class_names: Mapping[int, str] | None = None,
    int8_gap: Callable[[Predictor], float] | None = None,
) -> dict[str, Any]:
    """Write ``model.json`` (Paddle 2: ``model.pdmodel``), ``model.pdiparams``, ``export.json``, and ONNX if asked for.

    Batch and time are free; inputs are ``rgb`` uint8 (B, T, 1024), ``audio`` uint8 (B, T, 128), ``lengths``
    int64 (B,); outputs are ``scores`` float32 (B, C) and both attention weights (B, T).

    Args:
        net: the network.
        folder: where the files go.
        onnx: also write ``model.onnx``, a file that is enough by itself: it carries the class names.
        class_names: of the classes, to be kept with the model.
        int8_gap: also write ``model.int8.onnx``, whose weights are bytes; given the model as it stands and as bytes,
            this function says the GAP of each, since it changes the scores.

    Returns:
        what ``export.json`` holds, among it ``largest_difference`` from the trainer on a batch of unequal lengths.

    Raises:
        AlstmError: an exported model differs from the trainer by more than 1e-5; then nothing is written.
    """
    training = net.training
    deployed = _Deployed(net)
    deployed.eval()
    try:
        return _export(deployed, Path(folder), onnx or int8_gap is not None, class_names, int8_gap)
    finally:
        if training:
            net.train()


def _export(
    deployed: _Deployed,
    folder: Path,
    onnx: bool,
    class_names: Mapping[int, str] | None,
    int8_gap: Callable[[Predictor], float] | None,
) -> dict[str, Any]:
    spec = [
        paddle.static.InputSpec([None, None, RGB_DIM], "uint8", "rgb"),
        paddle.static.InputSpec([None, None, AUDIO_DIM], "uint8", "audio"),
        paddle.static.InputSpec([None], "int64", "lengths"),
    ]
    batch = unequal_batch()
    with paddle.no_grad():
        expected = Prediction(*(output.numpy() for output in deployed(*map(paddle.to_tensor, batch))))
    num_classes = deployed.net.num_classes
    packages = ("paddlepaddle", "paddle2onnx", "onnx") if onnx else ("paddlepaddle",)
    names = [class_names.get(index, f"class {index}") for index in range(num_classes)] if class_names else None
    description: dict[str, Any] = {
        "versions": {name: package_version(name) for name in packages},
        "inputs": {item.name: f"{str(item.dtype).rpartition('.')[2]} {list(item.shape)}" for item in spec},
        "outputs": list(OUTPUTS),
        "num_classes": num_classes,
        "class_names": names,
        "checked_lengths": batch[2].tolist(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        with _quiet():
            paddle.jit.save(deployed, str(Path(temporary, "model")), input_spec=spec)
        program = find_model(temporary)
        if onnx:
            write_onnx(program, Path(temporary, "model.onnx"), description)
        differences = {
            path.name: _difference(path, batch, expected, folder)
            for path in (program, Path(temporary, "model.onnx"))
            if path.exists()
        }
        description |= {"largest_difference": max(differences.values()), "differences": differences}
        if int8_gap:
            description["int8"] = _write_int8(Path(temporary), batch, expected, int8_gap)
        description["files"] = sorted(path.name for path in Path(temporary).iterdir())
        _install(Path(temporary), folder, description)
    return description


def _difference(path: Path, batch: tuple[np.ndarray, ...], expected: Prediction, folder: Path) -> float:
    """How far an exported file is from the trainer at most.

    Raises:
        AlstmError: it is too far.
    """
    difference = _largest(Predictor(path)(*batch), expected)
    if not difference <= TOLERANCE:
        problem = f"the exported {path.name} differs from the trainer by {difference:.1e}"
        raise AlstmError(folder, problem, f"report this, with Paddle's version {paddle.__version__}")
    return difference


def _largest(found: Prediction, expected: Prediction) -> float:
    return float(np.max([np.abs(a - b).max() for a, b in zip(found, expected, strict=True)]))  # NaN stays NaN


def write_onnx(program: Path, target: Path, description: Mapping[str, Any]) -> None:
    """Convert a Paddle Inference model to ONNX, and put the lengths back that the converter drops."""
    import onnx
    import onnxruntime

    model = onnx.load_from_string(convert_bare(program))
    graph, helper = model.graph, onnx.helper
    # As AttentionLSTM does, at most T: ONNX Runtime, too, refuses what lies beyond.
    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, dtype=np.int64), "no_seconds"))
    nodes = [
        helper.make_node("Shape", ["rgb"], ["num_steps"], start=1, end=2),
        helper.make_node("Min", ["lengths", "num_steps"], ["lengths_at_most"]),
        helper.make_node("Max", ["lengths_at_most", "no_seconds"], ["lengths_within"]),
        helper.make_node("Cast", ["lengths_within"], ["sequence_lens"], to=onnx.TensorProto.INT32),
    ]
    for node in graph.node:
        if node.op_type == "LSTM":
            node.input[4] = "sequence_lens"
    renamed = dict(zip((output.name for output in graph.output), OUTPUTS, strict=True))
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for output in graph.output:
        output.name = renamed[output.name]
    for value in (*graph.input, *graph.output):
        for dim, axis in zip(value.type.tensor_type.shape.dim, ("batch", "time"), strict=False):
            if not dim.dim_value:
                dim.dim_param = axis
    whole = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(whole)
    draft = target.with_suffix(".draft")
    onnx.save(model, draft)
    # ONNX Runtime folds what is constant and drops what does nothing: the weights become plain again.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(draft), options, providers=["CPUExecutionProvider"])
    draft.unlink()
    model = onnx.load(target)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.producer_name, model.producer_version = "alstm_helpers", package_version("alstm-helpers") or ""
    _save_described(model, target, description)


def convert_bare(program: Path) -> bytes:
    """What ``paddle2onnx`` makes of a Paddle Inference model: right for equal lengths, wrong for others."""
    import paddle2onnx

    with _quiet():  # without a file to save, it leaves out an optimiser that would install packages from the network
        found = paddle2onnx.export(str(program), str(program.with_name("model.pdiparams")), opset_version=OPSET)
    return bytes(found)


def _save_described(model: Any, target: Path, description: Mapping[str, Any]) -> None:
    import onnx

    onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(description, ensure_ascii=False)})
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _write_int8(
    folder: Path, batch: tuple[np.ndarray, ...], expected: Prediction, gap: Callable[[Predictor], float]
) -> dict[str, float]:
    """``model.int8.onnx`` beside ``model.onnx``: weights as bytes, activations scaled to bytes as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / "model.onnx", folder / INT8
    with _quiet():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    whole, small = Predictor(source), Predictor(target)
    return {
        "largest_difference": _largest(small(*batch), expected),
        "gap_float32": gap(whole),
        "gap_int8": gap(small),
    }


def _install(source: Path, folder: Path, description: dict[str, Any]) -> None:
    """Copy the files beside ``folder``, then put them in place: a full disk leaves ``folder`` as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
        for path in source.iterdir():
            with atomic_write(Path(staging, path.name)) as file:
                file.write(path.read_bytes())
        write_json(Path(staging, "export.json"), description)
        folder.mkdir(exist_ok=True)
        for path in sorted(Path(staging).iterdir()):
            path.replace(folder / path.name)
        for name in {*ENGINES, INT8} - set(description["files"]):  # of an earlier export: another network
            (folder / name).unlink(missing_ok=True)


def unequal_batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb, audio and lengths of random videos of 1, 2, 17 and 40 seconds, the padding filled with noise."""
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 17, 40], dtype=np.int64)
    shape = (len(lengths), int(lengths.max()))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    return rgb, audio, lengths


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' remarks on their own internals away from the user, those of their C++ part too."""
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
