"""The trained network as a Paddle Inference model: checked against the trainer before it is written."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, write_json
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import paddle, usable_cores
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM

INPUTS = ("rgb", "audio", "lengths")
OUTPUTS = ("scores", "rgb_weights", "audio_weights")
TOLERANCE = 1e-5


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


def export(net: AttentionLSTM, folder: str | os.PathLike[str], *, onnx: bool = False) -> dict[str, Any]:
    """Write ``model.json`` (``model.pdmodel`` under Paddle 2), ``model.pdiparams`` and ``export.json``.

    Batch and time are free; inputs are ``rgb`` uint8 (B, T, 1024), ``audio`` uint8 (B, T, 128), ``lengths``
    int64 (B,); outputs are ``scores`` float32 (B, C) and both attention weights (B, T).

    Returns:
        what ``export.json`` holds, among it ``largest_difference`` from the trainer on a batch of unequal lengths.

    Raises:
        AlstmError: the exported model differs from the trainer by more than 1e-5; then nothing is written.
    """
    if onnx:
        raise AlstmError("--onnx", "ONNX export is not yet built", "leave the flag out for a Paddle Inference model")
    folder = Path(folder)
    net.eval()
    deployed = _Deployed(net)
    deployed.eval()
    spec = [
        paddle.static.InputSpec([None, None, RGB_DIM], "uint8", "rgb"),
        paddle.static.InputSpec([None, None, AUDIO_DIM], "uint8", "audio"),
        paddle.static.InputSpec([None], "int64", "lengths"),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        with _quiet():
            paddle.jit.save(deployed, str(Path(temporary, "model")), input_spec=spec)
        batch = unequal_batch()
        expected = [output.numpy() for output in deployed(*map(paddle.to_tensor, batch))]
        try:
            found = run_inference(load_predictor(temporary), *batch)
        except RuntimeError as error:  # Paddle writes short files without a word when the disk is full
            raise AlstmError(temporary, "the model written here cannot be read back", "free some disk space") from error
        difference = float(np.max([np.abs(a - b).max() for a, b in zip(expected, found, strict=True)]))  # NaN stays NaN
        if not difference <= TOLERANCE:
            problem = f"the exported model differs from the trainer by {difference:.1e}"
            raise AlstmError(folder, problem, f"report this, with Paddle's version {paddle.__version__}")
        description = {
            "paddle": paddle.__version__,
            "inputs": {item.name: f"{str(item.dtype).rpartition('.')[2]} {list(item.shape)}" for item in spec},
            "outputs": list(OUTPUTS),
            "num_classes": int(expected[0].shape[1]),
            "largest_difference": difference,
            "checked_lengths": batch[2].tolist(),
            "files": sorted(path.name for path in Path(temporary).iterdir()),
        }
        _install(Path(temporary), folder, description)
    return description


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


def unequal_batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb, audio and lengths of random videos of 1, 2, 17 and 40 seconds, the padding filled with noise."""
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 17, 40], dtype=np.int64)
    shape = (len(lengths), int(lengths.max()))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    return rgb, audio, lengths


def load_predictor(folder: str | os.PathLike[str]) -> Any:
    """A Paddle Inference predictor of an exported folder, on the CPU with all cores.

    Raises:
        AlstmError: the folder holds no exported model.
    """
    program = next(
        (path for path in (Path(folder, "model.json"), Path(folder, "model.pdmodel")) if path.exists()), None
    )
    if program is None:
        raise AlstmError(folder, "no exported model here", "make one with `alstm export`")
    config = paddle.inference.Config(str(program), str(Path(folder, "model.pdiparams")))
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(usable_cores())
    config.disable_glog_info()
    return paddle.inference.create_predictor(config)


def run_inference(predictor: Any, rgb: np.ndarray, audio: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Scores (B, C), rgb weights and audio weights (B, T) of a batch, from Paddle Inference."""
    for name, array in zip(INPUTS, (rgb, audio, lengths), strict=True):
        handle = predictor.get_input_handle(name)
        handle.reshape(array.shape)
        handle.copy_from_cpu(np.ascontiguousarray(array))
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's remarks on its own internals away from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
