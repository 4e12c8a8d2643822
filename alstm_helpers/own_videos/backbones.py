"""What turns pictures and sound into numbers, behind one small interface: a call on the seconds of a clip.

============== ================================================= ==============================================
pictures       numbers a second                                  comparable with published YouTube-8M weights
============== ================================================= ==============================================
flashdigits    1024, finished                                    no: FlashDigits only
inception_v3   2048 of paddle.vision, before its last layer      no: YouTube-8M's own PCA is not in it
resnet50       2048, the same                                    no
mobilenet_v2   1280, the same                                    no
onnx:PATH      whatever its first output has                     only Inception-v3 followed by YouTube-8M's PCA
============== ================================================= ==============================================

============== ================================================= ==============================================
sound          numbers a second
============== ================================================= ==============================================
flashdigits    128, finished
logmel         128: mean and deviation of 64 log-mel bands over the second, by VGGish's front end
onnx:PATH      of that front end's 96 × 64 picture; VGGish as ONNX gives 128
============== ================================================= ==============================================

VGGish's front end: S. Hershey et al., arXiv:1609.09430; 16 kHz, windows of 25 ms every 10 ms, periodic Hann, 64 bands
from 125 to 7500 Hz on the HTK mel scale, log(mel + 0.01), 0.96 s an example.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alstm_helpers.data.flashdigits import extract_audio, extract_rgb
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file
from alstm_helpers.own_videos.flashdigits_clips import FILE_LEVEL, READ_RATE, shrink
from alstm_helpers.tfrecord import dequantize

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet's pictures
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_INPUT = {"inception_v3": 299, "resnet50": 224, "mobilenet_v2": 224}
_CLIENT = {"resnet50": ("resnet", "resnet50"), "inception_v3": ("inceptionv3", "inception_v3")}
_CLIENT["mobilenet_v2"] = ("mobilenetv2", "mobilenetv2_1.0")
PICTURES, SOUNDS = ("flashdigits", *_INPUT), ("flashdigits", "logmel")


class Backbone(NamedTuple):
    """A stream's features.

    Args:
        unit: what it takes of a second: the side of its square picture in pixels, or samples of sound.
        call: (T, S, S, 3) uint8 or (T, rate) float32 → float32 (T, D).
        finished: whether the numbers are features of the final size and scale, which need no projection.
    """

    unit: int
    call: Callable[[np.ndarray], np.ndarray]
    finished: bool = False


@cache
def picture_backbone(name: str) -> Backbone:
    """A backbone for pictures by its name.

    Raises:
        AlstmError: there is none of that name; its weights cannot be had; the ONNX file does not take pictures.
    """
    if name == "flashdigits":
        return Backbone(64, lambda frames: dequantize(extract_rgb(shrink(frames))), finished=True)
    if name in _INPUT:
        return Backbone(_INPUT[name], _paddle_network(name))
    if name.startswith("onnx:"):
        session, shape = _session(name)
        side = shape[2] if len(shape) == 4 and isinstance(shape[2], int) else 224
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            raise AlstmError(f"--backbone {name}", f"it takes {shape}", "it must take pictures (N, 3, H, W)")
        return Backbone(side, lambda frames: _run(session, _normalised(frames)))
    raise AlstmError(f"--backbone {name}", "there is none of that name", f"choose {', '.join(PICTURES)} or onnx:PATH")


@cache
def sound_backbone(name: str) -> Backbone:
    """A backbone for sound by its name; errors as for pictures."""
    if name == "flashdigits":
        return Backbone(READ_RATE, lambda sound: dequantize(extract_audio(sound * FILE_LEVEL)), finished=True)
    if name == "logmel":
        return Backbone(16_000, lambda sound: _summary(log_mel(sound)))
    if name.startswith("onnx:"):
        session, shape = _session(name)
        if [size for size in shape[-2:] if isinstance(size, int)] not in ([96, 64], []):
            raise AlstmError(f"--audio {name}", f"it takes {shape}", "it must take log-mel pictures (N, 1, 96, 64)")
        extra = (1,) * (len(shape) - 3)
        return Backbone(16_000, lambda sound: _run(session, log_mel(sound).reshape(len(sound), *extra, 96, 64)))
    raise AlstmError(f"--audio {name}", "there is none of that name", f"choose {', '.join(SOUNDS)} or onnx:PATH")


def log_mel(sound: np.ndarray) -> np.ndarray:
    """VGGish's picture of each second, float32 (T, 96, 64), from float32 (T, 16000)."""
    seconds = len(sound)
    places = np.arange(96)[:, None] * 160 + np.arange(400)  # (96, 400): 25 ms every 10 ms
    window = np.float32(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    spectrum = np.abs(np.fft.rfft(sound[:, places] * window, 512, axis=2))  # (T, 96, 257)
    mel = spectrum.reshape(-1, 257) @ _mel_matrix()  # (T · 96, 64)
    return np.asarray(np.log(mel + 0.01).reshape(seconds, 96, 64), np.float32)


@cache
def _mel_matrix() -> np.ndarray:
    """Weights (257, 64) of the bins of a 512-point spectrum at 16 kHz in 64 triangles on the HTK mel scale."""

    def mel(hertz: Any) -> Any:
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    bins = mel(np.linspace(0, 8000, 257))[:, None]
    edges = np.linspace(mel(125), mel(7500), 66)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return np.asarray(np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))))


def _summary(pictures: np.ndarray) -> np.ndarray:
    """Mean and deviation of each band over the second, (T, 96, 64) → (T, 128)."""
    return np.concatenate([pictures.mean(axis=1), pictures.std(axis=1)], axis=1)


def _normalised(frames: np.ndarray) -> np.ndarray:
    """Pictures as networks trained on ImageNet take them: uint8 (N, S, S, 3) → float32 (N, 3, S, S)."""
    return np.ascontiguousarray(((frames.astype(np.float32) / 255 - _MEAN) / _DEVIATION).transpose(0, 3, 1, 2))


def _paddle_network(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A network of paddle.vision without its last layer, with its published weights."""
    import importlib

    from alstm_helpers.data.published import fetch_weights
    from alstm_helpers.model.weights import load_arrays
    from alstm_helpers.runtime import paddle

    module, key = _CLIENT[name]
    url, md5 = importlib.import_module(f"paddle.vision.models.{module}").model_urls[key]
    way_out = "run it once where there is a network (it stays in the cache), or use --backbone onnx:PATH"
    arrays = load_arrays(fetch_weights(url, md5=md5, way_out=way_out))
    net = getattr(paddle.vision.models, name)(num_classes=0)
    missing = [
        key for key, value in net.state_dict().items() if arrays.get(key, np.empty(0)).shape != tuple(value.shape)
    ]
    if missing:
        raise AlstmError(f"--backbone {name}", f"its weights lack {missing[0]}", "install the Paddle of the lock file")
    net.set_state_dict({key: arrays[key] for key in net.state_dict()})
    net.eval()

    def call(frames: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return np.asarray(net(paddle.to_tensor(_normalised(frames))).numpy()).reshape(len(frames), -1)

    return call


def _session(name: str) -> tuple[Any, list[Any]]:
    """An ONNX file ready to run, and the shape that its only input has."""
    import onnxruntime

    path = require_file(Path(name.removeprefix("onnx:")), "check the path behind onnx:")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said below
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        problem = f"not readable as ONNX ({' '.join(str(error).split())[:200]})"
        raise AlstmError(path, problem, "export it again") from None
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise AlstmError(path, f"it takes {len(inputs)} inputs", "export a network with one")
    return session, list(inputs[0].shape)


def _run(session: Any, values: np.ndarray) -> np.ndarray:
    try:
        found = session.run(None, {session.get_inputs()[0].name: values.astype(np.float32)})[0]
    except Exception as error:
        problem = f"it cannot take {values.shape} ({' '.join(str(error).split())[:200]})"
        raise AlstmError("the ONNX backbone", problem, "leave its first dimension open when you export it") from None
    return np.asarray(found, np.float32).reshape(len(values), -1)
