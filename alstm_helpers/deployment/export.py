"""Export a trained network as files for deployment, each checked against the trainer before it is written.

:class:`alstm_helpers.model.AttentionLSTM` becomes a Paddle Inference model, which Paddle traces, and an ONNX file,
whose graph :mod:`alstm_helpers.deployment.onnx_graph` builds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypedDict

import numpy as np

from alstm_helpers.data.feature_scale import ABOUT, Scale, learnt_scale
from alstm_helpers.deployment.predictor import ENGINES, OUTPUTS, Prediction, Predictor, find_model, sum_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import checksum, claimed, staging, write_sealed
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import evaluating
from alstm_helpers.runtime import Tensor, package_version, paddle
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM

if TYPE_CHECKING:
    from alstm_helpers.deployment.onnx_graph import FrameType

TOLERANCE = 1e-5
INT8 = "model.int8.onnx"
_PACK = "label.json"  # tells that `alstm export --video` wrote here: nothing else writes it
# The names that alstm_helpers.own_videos.packed gives its files; this layer may not import it. But for the networks,
# backbone.onnx and sound.onnx: the features of another folder may name them, or those that are packed next.
_PACKED = (ABOUT, "projection.pkl", "label.py", "label.npz", _PACK)

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


class Origin(Scale, total=False):
    """Which weights were exported, and the scale of the features that they learnt from, if that is known."""

    weights_sha256: str


class Description(Interface, Origin, _OptionalInt8):
    """The content of ``export.json``; ``int8`` is there only if ``model.int8.onnx`` is."""

    largest_difference: float
    differences: dict[str, float]
    files: list[str]
    crc32c: dict[str, str]


class Expectation(NamedTuple):
    """A batch (rgb, audio, lengths), and the trainer's outputs for it."""

    batch: tuple[np.ndarray, np.ndarray, np.ndarray]
    expected: Prediction

    def difference(self, predictor: Predictor) -> float:
        """Return the largest absolute difference of an exported model from the trainer; NaN if the trainer's is NaN.

        Raises:
            NotFinite: an output of the exported model is not finite.
        """
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
    onnx: bool | FrameType = False,
    class_names: Mapping[int, str] | None = None,
    int8_gap: MeasureGap | None = None,
    origin: Origin | None = None,
) -> Description:
    """Write ``model.json`` (Paddle 2: ``model.pdmodel``), ``model.pdiparams``, ``export.json``, and optionally ONNX.

    Batch and time are free; inputs are ``rgb`` uint8 (B, T, 1024), ``audio`` uint8 (B, T, 128), ``lengths``
    int64 (B,); outputs are scores float32 (B, C) and the attention weights of both streams (B, T). For the names of
    an ONNX file's outputs see :func:`alstm_helpers.deployment.onnx_graph.network_model`.

    Args:
        net: the network.
        folder: where the files go.
        onnx: also write ``model.onnx``, one self-contained file, which takes bytes, or with ``"float32"`` features.
        class_names: class names by index, stored with the model.
        int8_gap: also write ``model.onnx``, and ``model.int8.onnx``, whose weights are int8; returns the GAP of each.
        origin: where the network comes from, see :func:`origin_of`.

    Returns:
        the content of ``export.json``, with the ``largest_difference`` from the trainer on a batch of unequal lengths.

    Raises:
        AlstmError: an exported model differs from the trainer by more than 1e-5; nothing is written.
    """
    folder, onnx = Path(folder), onnx or int8_gap is not None
    with evaluating(net), claimed(folder), staging(folder) as work:
        deployed = _Deployed(net)
        check = _check_of(deployed)
        interface = _interface(net.num_classes, class_names, check, bool(onnx))
        paths = [_write_paddle(deployed, work)]
        if onnx:
            paths.append(_write_onnx(net, work / "model.onnx", interface, "uint8" if onnx is True else onnx))
        differences = {path.name: _require_equal(path, check, folder) for path in paths}
        int8: _OptionalInt8 = {"int8": _write_int8(work, check, int8_gap)} if int8_gap else {}
        description: Description = {
            **interface,
            **(origin or {}),
            "largest_difference": max(differences.values()),
            "differences": differences,
            **int8,
            "files": sorted(path.name for path in work.iterdir()),
            "crc32c": {path.name: sum_of(path) for path in sorted(work.iterdir())},
        }
        _install(work, folder, description)
    return description


def origin_of(weights: str | Path) -> Origin:
    """Return which weights these are, and what the run that trained them noted of its features."""
    return {"weights_sha256": checksum(Path(weights), "sha256"), **learnt_scale(weights)}


def _check_of(deployed: _Deployed) -> Expectation:
    batch = unequal_batch()
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
    packages = ("paddlepaddle", "onnx") if onnx else ("paddlepaddle",)
    names = [class_names.get(index, f"class {index}") for index in range(num_classes)] if class_names else None
    return {
        "versions": {name: package_version(name) for name in packages},
        "inputs": {spec.name: f"{str(spec.dtype).rpartition('.')[2]} {list(spec.shape)}" for spec in _input_specs()},
        "outputs": list(OUTPUTS),
        "num_classes": num_classes,
        "class_names": names,
        "checked_lengths": check.batch[2].tolist(),
    }


def _write_paddle(deployed: _Deployed, folder: Path) -> Path:
    """Write the Paddle Inference model; return the file to load."""
    with _quiet():
        paddle.jit.save(deployed, str(folder / "model"), input_spec=_input_specs())
    return find_model(folder)


def _write_onnx(net: AttentionLSTM, target: Path, interface: Interface, frames: FrameType) -> Path:
    """Write ``model.onnx``; return it."""
    import onnx

    from alstm_helpers.deployment.onnx_graph import network_model

    inputs = {name: text.replace("uint8", frames) for name, text in interface["inputs"].items()}
    onnx.save(network_model(net, {**interface, "inputs": inputs}, frames=frames), target)
    return target


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


def _write_int8(folder: Path, check: Expectation, gap: MeasureGap) -> Int8Cost:
    """Write ``model.int8.onnx`` beside ``model.onnx``: int8 weights, and activations quantised dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / "model.onnx", folder / INT8
    with _quiet():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    whole, small = Predictor(source), Predictor(target)
    return {"largest_difference": check.difference(small), "gap_float32": gap(whole), "gap_int8": gap(small)}


def _install(work: Path, folder: Path, description: Description) -> None:
    """Move the files from ``work`` to ``folder``, once all are on the disk: a full one leaves ``folder`` as it was."""
    write_sealed(work / "export.json", description)
    for path in work.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    _unpack(folder)
    for path in sorted(work.iterdir()):
        path.replace(folder / path.name)
    for name in {*ENGINES, INT8} - set(description["files"]):  # left by an export of another network
        (folder / name).unlink(missing_ok=True)


def _unpack(folder: Path) -> None:
    """Remove what labels videos with the model that is replaced: `alstm serve` would take its features for the new one.

    A features.json without label.json, or beside clips that `alstm features` read, is the user's.
    """
    if (folder / _PACK).is_file() and not (folder / "manifest.jsonl").exists():
        shutil.rmtree(folder / "labelling", ignore_errors=True)
        for name in _PACKED:
            (folder / name).unlink(missing_ok=True)


def unequal_batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rgb, audio and lengths of random videos of 1, 2, 17 and 300 seconds, with noise in the padding.

    uint8 (4, 300, 1024), uint8 (4, 300, 128), int64 (4,).
    """
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 17, MAX_FRAMES], dtype=np.int64)
    shape = (len(lengths), int(lengths.max()))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    return rgb, audio, lengths


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the tools print about their internals, including output from C++."""
    sys.stdout.flush()  # what is ours is said before
    with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        for stream in (1, 2):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere.fileno(), stream)
        yield
