"""Backbones: networks and signal processing that turn pictures and sound into numbers, called on a clip's seconds.

============== ================================================= ==============================================
pictures       numbers per second                                fits published YouTube-8M weights
============== ================================================= ==============================================
flashdigits    1024, finished                                    no: FlashDigits only
inception_v3   2048, from paddle.vision, before its last layer   no: YouTube-8M's own PCA is missing
resnet50       2048, likewise                                    no
mobilenet_v2   1280, likewise                                    no
onnx:PATH      its first output, pooled: (N, D)                  only Inception-v3 followed by YouTube-8M's PCA
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

A network for pictures as ONNX takes (N, 3, S, S): floats normalised as ImageNet's, or uint8, the pixels as they are.

To add a backbone, add an entry to ``_PICTURES`` or ``_SOUNDS``.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from alstm_helpers.data.flashdigits import extract_audio, extract_rgb
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file
from alstm_helpers.onnx_file import read_onnx
from alstm_helpers.own_videos.flashdigits_clips import FILE_LEVEL, READ_RATE, shrink
from alstm_helpers.tfrecord import dequantize

ONNX = "onnx:"  # begins the name of a network of the user's
LOG_MEL_RATE = 16_000  # samples per second that VGGish's front end takes
PATCH = (96, 64)  # times and bands of its picture of a second
DEFAULT_SIDE, LARGEST_SIDE = 224, 2048  # of pictures in pixels
MOST_NUMBERS = 8192  # per second; more is a map that was not pooled
_TYPES = {  # of the input of an ONNX network
    **{"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64},
    "tensor(uint8)": np.uint8,
}
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet's pictures, as is the next
_STANDARD_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Network: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Backbone(NamedTuple):
    """What makes the features of one stream.

    Args:
        unit: the input of one second: the side of its square picture in pixels, or the number of its samples of sound.
        call: (T, unit, unit, 3) uint8 or (T, unit) float32 → float32 (T, D).
        finished: whether the numbers have the final size and scale, so that they need no projection.
        sha256: of the file that the user named, which says what network it is.
    """

    unit: int
    call: Network
    finished: bool = False
    sha256: str | None = None


@cache
def picture_backbone(name: str) -> Backbone:
    """Return a backbone for pictures, with its weights loaded.

    Raises:
        AlstmError: the name is unknown, the weights cannot be fetched, or the ONNX file does not take pictures.
    """
    if name.startswith(ONNX):
        return _onnx_pictures(name)
    if name not in _PICTURES:
        raise AlstmError(f"--backbone {name}", "unknown backbone", f"choose {', '.join(_PICTURES)} or onnx:PATH")
    return _PICTURES[name]()


@cache
def sound_backbone(name: str) -> Backbone:
    """Return a backbone for sound; errors as for pictures."""
    if name.startswith(ONNX):
        return _onnx_sound(name)
    if name not in _SOUNDS:
        raise AlstmError(f"--audio {name}", "unknown backbone", f"choose {', '.join(_SOUNDS)} or onnx:PATH")
    return _SOUNDS[name]()


def is_backbone(stream: str, name: object) -> bool:
    """Tell whether ``picture_backbone`` (for ``rgb``) or ``sound_backbone`` (for ``audio``) knows a name."""
    return isinstance(name, str) and (name.startswith(ONNX) or name in {"rgb": _PICTURES, "audio": _SOUNDS}[stream])


def absolute(name: str) -> str:
    """Return the name of a backbone, which is the same from any folder."""
    return f"{ONNX}{Path(name.removeprefix(ONNX)).expanduser().absolute()}" if name.startswith(ONNX) else name


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
    return _channels_first((frames.astype(np.float32) / 255 - _MEAN) / _STANDARD_DEVIATION)


def _channels_first(frames: np.ndarray) -> np.ndarray:
    """Return pictures (N, S, S, 3) as (N, 3, S, S)."""
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))


# --- ONNX ---------------------------------------------------------------------------------------------------------


class OnnxInput(Protocol):
    """The part of ``onnxruntime.NodeArg`` that is used here."""

    name: str
    type: str
    shape: list[int | str | None]  # a dimension of any size has a name or None


class OnnxSession(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used here."""

    def get_inputs(self) -> Sequence[OnnxInput]: ...

    def run(self, output_names: None, input_feed: Mapping[str, np.ndarray]) -> Sequence[object]: ...


class OnnxNetwork:
    """A network with one input in an ONNX file, run on the CPU.

    Args:
        name: ``onnx:PATH``.

    Attributes:
        path: of the file.
        sha256: of the file.
        dtype: of its input.
        shape: of its input, with None where any size will do.

    Raises:
        AlstmError: the file is missing, is not ONNX, or takes other inputs.
    """

    def __init__(self, name: str) -> None:
        remedy = "check the path after onnx:; if features.json names it, put it back there, or beside features.json"
        self.path = require_file(Path(name.removeprefix(ONNX)), remedy)
        content = read_onnx(self.path)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = _open_session(self.path, content)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise AlstmError(self.path, f"it takes {len(inputs)} inputs", "export a network with one")
        if inputs[0].type not in _TYPES:
            raise AlstmError(self.path, f"its input is a {inputs[0].type}", "export a network that takes float32")
        self._input = inputs[0].name
        self.dtype = np.dtype(_TYPES[inputs[0].type])
        self.shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self._batch = self.shape[0] if self.shape else None  # how many it takes at once, if not any number

    def tried(self, shape: tuple[int, ...]) -> OnnxNetwork:
        """Return this network once it has turned two black pictures, or seconds of silence, into numbers.

        Args:
            shape: of one input.

        Raises:
            AlstmError: it cannot, or its output is not (N, D).
        """
        try:
            self(np.zeros((2, *shape), self.dtype))
        except AlstmError:
            if self._batch is not None:
                raise
            self._batch = 1  # some say that they take any number, and do not
            self(np.zeros((2, *shape), self.dtype))
        return self

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the first output, (N, …) → float32 (N, D).

        Raises:
            AlstmError: the network cannot take such an input, or its output is not (N, D).
        """
        size = self._batch or len(values)
        return np.concatenate([self._run(values[first : first + size], size) for first in range(0, len(values), size)])

    def _run(self, values: np.ndarray, size: int) -> np.ndarray:
        """Return the numbers of at most ``size`` inputs, to which copies of the last are added up to that size."""
        count = len(values)
        values = np.concatenate([values, np.repeat(values[-1:], size - count, axis=0)]).astype(self.dtype)
        try:
            output = np.asarray(self._session.run(None, {self._input: values})[0])
        except Exception as error:
            problem = f"it cannot take an input of shape {values.shape} ({_short(error)})"
            raise AlstmError(self.path, problem, "leave its first dimension open when you export it") from None
        self._check(output, size)
        return output.reshape(size, -1)[:count].astype(np.float32)

    def _check(self, output: np.ndarray, size: int) -> None:
        """Require one row of numbers per input."""
        if output.dtype.kind not in "fiu":
            raise AlstmError(self.path, "its first output is not numbers", "export the layer with the features")
        per_input = [dimension for dimension in output.shape[1:] if dimension != 1]
        if output.shape[:1] != (size,) or len(per_input) > 1:
            problem = f"its output for a batch of {size} has the shape {output.shape}, not (N, D)"
            raise AlstmError(
                self.path, problem, "pool it: export the network with a mean over all dimensions but N and D"
            )
        if math.prod(per_input) > MOST_NUMBERS:
            problem = f"its output has {per_input[0]} numbers per input, more than {MOST_NUMBERS}"
            raise AlstmError(self.path, problem, "pool it before you flatten it, or export an earlier or later layer")


def _open_session(path: Path, content: bytes) -> OnnxSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    try:
        session: OnnxSession = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise AlstmError(path, f"not readable as ONNX ({_short(error)})", "export it again") from None
    return session


def _short(error: Exception) -> str:
    """Return an error of ONNX Runtime as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def _onnx_pictures(name: str) -> Backbone:
    network = OnnxNetwork(name)
    _, channels, *sides = network.shape if len(network.shape) == 4 else (None, None)
    wanted = {side for side in sides if side} or {DEFAULT_SIDE}
    if not sides or channels not in (3, None) or len(wanted) > 1 or not 3 < max(wanted) <= LARGEST_SIDE:
        problem = f"its input has the shape {network.shape}"
        remedy = f"export a network that takes square pictures (N, 3, S, S), S at most {LARGEST_SIDE}"
        raise AlstmError(network.path, problem, remedy)
    side = wanted.pop()
    network.tried((3, side, side))
    prepare = _channels_first if network.dtype == np.uint8 else _normalised
    return Backbone(side, lambda frames: network(prepare(frames)), sha256=network.sha256)


def _onnx_sound(name: str) -> Backbone:
    network = OnnxNetwork(name)
    *channels, bands, width = network.shape[1:] if len(network.shape) in (3, 4) else (None, None)
    if (bands, width) != PATCH or channels not in ([], [1], [None]) or network.dtype == np.uint8:
        problem = f"its input is {network.dtype} of the shape {network.shape}"
        remedy = (
            "export a network that takes VGGish's log-mel pictures, float32 (N, 1, 96, 64), the last two sizes fixed"
        )
        raise AlstmError(network.path, problem, remedy)
    shape = (*(1 for _ in channels), *PATCH)
    network.tried(shape)
    return Backbone(LOG_MEL_RATE, lambda sound: network(log_mel(sound).reshape(-1, *shape)), sha256=network.sha256)


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
