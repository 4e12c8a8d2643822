"""Backbones: networks and signal processing that turn pictures and sound into numbers, called on a clip's seconds.

============== ================================================= ==============================================
pictures       numbers per second                                fits published YouTube-8M weights
============== ================================================= ==============================================
flashdigits    1024, finished                                    no: FlashDigits only
inception_v3   2048, from paddle.vision, before its last layer   no: YouTube-8M's own PCA is missing
resnet50       2048, likewise                                    no
mobilenet_v2   1280, likewise                                    no
onnx:PATH      the size of its first output                      only Inception-v3 followed by YouTube-8M's PCA
============== ================================================= ==============================================

============== =========================================================================================
sound          numbers per second
============== =========================================================================================
flashdigits    128, finished
logmel         128: mean and standard deviation of 64 log-mel bands over the second, by VGGish's front end
onnx:PATH      from that front end's picture, 96 × 64; VGGish as ONNX gives 128
============== =========================================================================================

VGGish's front end: S. Hershey et al., arXiv:1609.09430; 16 kHz, windows of 25 ms every 10 ms, periodic Hann, 64 bands
from 125 to 7500 Hz on the HTK mel scale, log(mel + 0.01), 0.96 s per example.

To add a backbone, add an entry to ``_PICTURES`` or ``_SOUNDS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from alstm_helpers.data.flashdigits import extract_audio, extract_rgb
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file
from alstm_helpers.own_videos.flashdigits_clips import FILE_LEVEL, READ_RATE, shrink
from alstm_helpers.tfrecord import dequantize

LOG_MEL_RATE = 16_000  # samples per second that VGGish's front end takes
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet's pictures, as is the next
_STANDARD_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Network: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Backbone(NamedTuple):
    """What makes the features of one stream.

    Args:
        unit: the input of one second: the side of its square picture in pixels, or the number of its samples of sound.
        call: (T, unit, unit, 3) uint8 or (T, unit) float32 → float32 (T, D).
        finished: whether the numbers have the final size and scale, so that they need no projection.
    """

    unit: int
    call: Network
    finished: bool = False


@cache
def picture_backbone(name: str) -> Backbone:
    """Return a backbone for pictures, with its weights loaded.

    Raises:
        AlstmError: the name is unknown, the weights cannot be fetched, or the ONNX file does not take pictures.
    """
    if name.startswith("onnx:"):
        return _onnx_pictures(name)
    if name not in _PICTURES:
        raise AlstmError(f"--backbone {name}", "unknown backbone", f"choose {', '.join(_PICTURES)} or onnx:PATH")
    return _PICTURES[name]()


@cache
def sound_backbone(name: str) -> Backbone:
    """Return a backbone for sound; errors as for pictures."""
    if name.startswith("onnx:"):
        return _onnx_sound(name)
    if name not in _SOUNDS:
        raise AlstmError(f"--audio {name}", "unknown backbone", f"choose {', '.join(_SOUNDS)} or onnx:PATH")
    return _SOUNDS[name]()


# --- FlashDigits --------------------------------------------------------------------------------------------------


def _flashdigits_pictures() -> Backbone:
    return Backbone(64, lambda frames: dequantize(extract_rgb(shrink(frames))), finished=True)


def _flashdigits_sound() -> Backbone:
    return Backbone(READ_RATE, lambda sound: dequantize(extract_audio(sound * FILE_LEVEL)), finished=True)


# --- networks of paddle.vision ------------------------------------------------------------------------------------


class _VisionNetwork(NamedTuple):
    """Where paddle.vision keeps a network's weights, and the side of its pictures in pixels."""

    module: str
    key: str
    side: int


_VISION_NETWORKS = {
    "inception_v3": _VisionNetwork("inceptionv3", "inception_v3", 299),
    "resnet50": _VisionNetwork("resnet", "resnet50", 224),
    "mobilenet_v2": _VisionNetwork("mobilenetv2", "mobilenetv2_1.0", 224),
}


def _vision_pictures(name: str) -> Backbone:
    """Return a network of paddle.vision without its last layer, with its published weights."""
    from alstm_helpers.runtime import paddle

    arrays = _published_arrays(name)
    net = getattr(paddle.vision.models, name)(num_classes=0)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    missing = [key for key, shape in expected.items() if key not in arrays or arrays[key].shape != shape]
    if missing:
        problem = f"its weights lack {missing[0]}"
        raise AlstmError(f"--backbone {name}", problem, "install the version of Paddle in the lock file")
    net.set_state_dict({key: arrays[key] for key in expected})
    net.eval()

    def call(frames: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return np.asarray(net(paddle.to_tensor(_normalised(frames))).numpy()).reshape(len(frames), -1)

    return Backbone(_VISION_NETWORKS[name].side, call)


def _published_arrays(name: str) -> Mapping[str, np.ndarray]:
    """Return the arrays of a network's published weights by name, fetched once."""
    from alstm_helpers.data.published import fetch_weights
    from alstm_helpers.model.weights import load_arrays

    network = _VISION_NETWORKS[name]
    url, md5 = importlib.import_module(f"paddle.vision.models.{network.module}").model_urls[network.key]
    way_out = "run it once with network access (the weights stay in the cache), or use --backbone onnx:PATH"
    return load_arrays(fetch_weights(url, md5=md5, way_out=way_out))


def _normalised(frames: np.ndarray) -> np.ndarray:
    """Return pictures as networks trained on ImageNet take them: uint8 (N, S, S, 3) → float32 (N, 3, S, S)."""
    scaled = (frames.astype(np.float32) / 255 - _MEAN) / _STANDARD_DEVIATION
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


# --- ONNX ---------------------------------------------------------------------------------------------------------


class OnnxInput(Protocol):
    """The part of ``onnxruntime.NodeArg`` that is used here."""

    name: str
    shape: list[int | str | None]  # a dimension of any size has a name or None


class OnnxSession(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used here."""

    def get_inputs(self) -> Sequence[OnnxInput]: ...

    def run(self, output_names: None, input_feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]: ...


class OnnxNetwork:
    """A network with one input in an ONNX file, run on the CPU.

    Args:
        name: ``onnx:PATH``.

    Raises:
        AlstmError: the file is missing, is not ONNX, or has several inputs.
    """

    def __init__(self, name: str) -> None:
        self._path = require_file(Path(name.removeprefix("onnx:")), "check the path after onnx:")
        self._session = _open_session(self._path)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise AlstmError(self._path, f"it takes {len(inputs)} inputs", "export a network with one")
        self._input = inputs[0].name
        self.shape = list(inputs[0].shape)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the first output, flattened: (N, …) → float32 (N, D).

        Raises:
            AlstmError: the network cannot take N inputs at once.
        """
        try:
            output = self._session.run(None, {self._input: values.astype(np.float32)})[0]
        except Exception as error:
            problem = f"it cannot take an input of shape {values.shape} ({_short(error)})"
            raise AlstmError(self._path, problem, "leave its first dimension open when you export it") from None
        return np.asarray(output, np.float32).reshape(len(values), -1)


def _open_session(path: Path) -> OnnxSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    try:
        session: OnnxSession = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise AlstmError(path, f"not readable as ONNX ({_short(error)})", "export it again") from None
    return session


def _short(error: Exception) -> str:
    """Return an error of ONNX Runtime as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def _onnx_pictures(name: str) -> Backbone:
    network = OnnxNetwork(name)
    shape = network.shape
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        problem = f"its input has the shape {shape}"
        raise AlstmError(f"--backbone {name}", problem, "export a network that takes pictures (N, 3, H, W)")
    side = shape[2] if isinstance(shape[2], int) else 224
    return Backbone(side, lambda frames: network(_normalised(frames)))


def _onnx_sound(name: str) -> Backbone:
    network = OnnxNetwork(name)
    if [size for size in network.shape[-2:] if isinstance(size, int)] not in ([96, 64], []):
        problem = f"its input has the shape {network.shape}"
        raise AlstmError(f"--audio {name}", problem, "export a network that takes log-mel pictures (N, 1, 96, 64)")
    channels = (1,) * (len(network.shape) - 3)
    return Backbone(LOG_MEL_RATE, lambda sound: network(log_mel(sound).reshape(len(sound), *channels, 96, 64)))


# --- VGGish's front end -------------------------------------------------------------------------------------------


def _log_mel_summary() -> Backbone:
    return Backbone(LOG_MEL_RATE, lambda sound: _summary(log_mel(sound)))


def log_mel(sound: np.ndarray) -> np.ndarray:
    """Return VGGish's picture of each second, float32 (T, 96, 64), from float32 (T, 16000)."""
    seconds = len(sound)
    samples = np.arange(96)[:, None] * 160 + np.arange(400)  # (96, 400): 25 ms every 10 ms
    window = np.float32(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    spectrum = np.abs(np.fft.rfft(sound[:, samples] * window, 512, axis=2))  # (T, 96, 257)
    mel = spectrum.reshape(-1, 257) @ _mel_matrix()  # (T · 96, 64)
    return np.asarray(np.log(mel + 0.01).reshape(seconds, 96, 64), np.float32)


@cache
def _mel_matrix() -> np.ndarray:
    """Return the weights (257, 64) of the bins of a 512-point spectrum at 16 kHz in 64 triangular HTK mel bands."""
    bins = _mel(np.linspace(0, 8000, 257))[:, None]
    edges = np.linspace(_mel(np.array(125)), _mel(np.array(7500)), 66)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return np.asarray(np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))))


def _mel(hertz: np.ndarray) -> np.ndarray:
    """Convert frequencies in Hz to the HTK mel scale."""
    return np.asarray(1127 * np.log(1 + hertz / 700))


def _summary(pictures: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of each band over the second, (T, 96, 64) → (T, 128)."""
    return np.concatenate([pictures.mean(axis=1), pictures.std(axis=1)], axis=1)


_PICTURES: dict[str, Callable[[], Backbone]] = {
    "flashdigits": _flashdigits_pictures,
    **{name: partial(_vision_pictures, name) for name in _VISION_NETWORKS},
}
_SOUNDS: dict[str, Callable[[], Backbone]] = {"flashdigits": _flashdigits_sound, "logmel": _log_mel_summary}
