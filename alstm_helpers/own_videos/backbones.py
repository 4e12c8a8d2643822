"""Backbones: networks and signal processing that turn pictures and sound into numbers, called on a clip's seconds.

============== ================================================= ==============================================
pictures       numbers per second                                fits published YouTube-8M weights
============== ================================================= ==============================================
flashdigits    1024, finished                                    no: FlashDigits only
inception_v3   2048, from paddle.vision, before its last layer   no: YouTube-8M's own PCA is missing
resnet50       2048, likewise                                    no
mobilenet_v2   1280, likewise                                    no
clip           512, quantised, from Hugging Face                 no
dinov2         384, likewise                                     no
onnx:PATH      as many as it gives                               only Inception-v3 followed by YouTube-8M's PCA
============== ================================================= ==============================================

============== =========================================================================================
sound          numbers per second
============== =========================================================================================
flashdigits    128, finished
logmel         128: mean and standard deviation of 64 log-mel bands over the second, by VGGish's front end
onnx:PATH      from that front end's picture, 96 × 64, as VGGish, or from the samples, as YAMNet and PANNs
============== =========================================================================================

VGGish's front end: S. Hershey et al., arXiv:1609.09430; 16 kHz, windows of 25 ms every 10 ms, periodic Hann, 64 bands
from 125 to 7500 Hz on the HTK mel scale, log(mel + 0.01), 0.96 s per example.

What a network in an ONNX file takes says :mod:`alstm_helpers.own_videos.inputs`.

To add a backbone, add an entry to ``_PICTURES`` or ``_SOUNDS``.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from alstm_helpers.data.flashdigits import extract_audio, extract_rgb
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file
from alstm_helpers.own_videos.flashdigits_clips import FILE_LEVEL, READ_RATE, shrink
from alstm_helpers.own_videos.inputs import (
    DEFAULT_SIDE,
    LARGEST_SIDE,
    AnyInput,
    PictureInput,
    SoundInput,
    input_beside,
    parse_input,
)
from alstm_helpers.own_videos.onnx_network import OnnxNetwork
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.presets import CLIP, IMAGENET, NORMALISATIONS, SOUNDS
from alstm_helpers.tfrecord import dequantize

ONNX = "onnx:"  # begins the name of a network of the user's
LOG_MEL_RATE = 16_000  # samples per second that VGGish's front end takes
PATCH = (96, 64)  # times and bands of its picture of a second
_WAY_OUT = "run it once with network access (the weights stay in the cache), or use --backbone onnx:PATH"
_LAYOUTS = {"nchw": (1, slice(2, 4)), "nhwc": (3, slice(1, 3))}  # where the colours are, and the sides
_IMAGENET = PictureInput.model_validate(IMAGENET)

Network: TypeAlias = Callable[[np.ndarray], np.ndarray]
UnitT = TypeVar("UnitT", Fit, int)
Fields: TypeAlias = Mapping[str, object]
NOTHING: Fields = {}


class Backbone(NamedTuple, Generic[UnitT]):
    """What makes the features of one stream.

    Args:
        unit: the input of one second: how its picture becomes a square, or the number of its samples of sound.
        call: uint8 (T, S, S, 3), or float32 (T, unit) → float32 (T, D).
        finished: whether the numbers have the final size and scale, so that they need no projection.
        sha256: of the file that the user named, which says what network it is.
    """

    unit: UnitT
    call: Network
    finished: bool = False
    sha256: str | None = None


@cache
def picture_backbone(name: str, takes: PictureInput | None = None) -> Backbone[Fit]:
    """Return a backbone for pictures, with its weights loaded.

    Args:
        name: see above.
        takes: what a network in an ONNX file takes; None for what the file beside it says.

    Raises:
        AlstmError: the name is unknown, the weights cannot be fetched, the ONNX file does not take pictures, or nothing
            says how they are normalised.
    """
    if name.startswith(ONNX):
        return _onnx_pictures(_path_of(name), takes or picture_input(name))
    if name not in _PICTURES:
        raise AlstmError(f"--backbone {name}", "unknown backbone", f"choose {', '.join(_PICTURES)} or onnx:PATH")
    return _PICTURES[name]()


@cache
def sound_backbone(name: str, takes: SoundInput | None = None) -> Backbone[int]:
    """Return a backbone for sound; arguments and errors as for pictures."""
    if name.startswith(ONNX):
        return _onnx_sound(_path_of(name), takes or sound_input(name))
    if name not in _SOUNDS:
        raise AlstmError(f"--audio {name}", "unknown backbone", f"choose {', '.join(_SOUNDS)} or onnx:PATH")
    return _SOUNDS[name]()


def _path_of(name: str) -> Path:
    """Return the path of the ONNX file, which exists.

    Raises:
        AlstmError: it does not.
    """
    remedy = "check the path after onnx:; if features.json names it, put it back there, or beside features.json"
    return require_file(Path(name.removeprefix(ONNX)), remedy)


def picture_input(name: str, given: Fields = NOTHING) -> PictureInput:
    """Return what a network for pictures in an ONNX file takes.

    Args:
        name: of the backbone, ``onnx:PATH``.
        given: fields that take the place of those in the file beside it.

    Raises:
        AlstmError: nothing says how pictures are normalised, and a guess would give numbers that look like features; or
            what is said is impossible.
    """
    path = _path_of(name)
    beside = input_beside(path, PictureInput)
    takes = parse_input({**_fields(beside), **given}, PictureInput, path)
    if beside or "scale" in given or OnnxNetwork(path, takes).dtype == np.uint8:
        return takes
    remedy = f"pass --normalisation, which is one of {', '.join(NORMALISATIONS)}, or write {path.stem}.json beside it"
    raise AlstmError(path, "nothing says how the pictures that it takes are normalised", remedy)


def sound_input(name: str, given: Fields = NOTHING) -> SoundInput:
    """Return what a network for sound takes; VGGish's pictures if nothing is said. Arguments and errors as above."""
    path = _path_of(name)
    beside = input_beside(path, SoundInput)
    return parse_input({**(_fields(beside) if beside else SOUNDS["vggish"]), **given}, SoundInput, path)


def _fields(takes: AnyInput | None) -> dict[str, object]:
    return takes.model_dump(exclude_unset=True) if takes else {}


def is_backbone(stream: str, name: object) -> bool:
    """Tell whether ``picture_backbone`` (for ``rgb``) or ``sound_backbone`` (for ``audio``) knows a name."""
    known = {*_PICTURES} if stream == "rgb" else {*_SOUNDS}
    return isinstance(name, str) and (name.startswith(ONNX) or name in known)


def is_onnx(name: str, given: Fields, flags: str) -> bool:
    """Tell whether a backbone is a network in an ONNX file; refuse flags that would do nothing for another."""
    if given and not name.startswith(ONNX):
        raise AlstmError(name, "what it takes is known", f"leave out {flags}, for onnx:PATH only")
    return name.startswith(ONNX)


def absolute(name: str) -> str:
    """Return the name of a backbone, which is the same from any folder."""
    return f"{ONNX}{Path(name.removeprefix(ONNX)).expanduser().absolute()}" if name.startswith(ONNX) else name


# --- FlashDigits --------------------------------------------------------------------------------------------------


def _flashdigits_pictures() -> Backbone[Fit]:
    return Backbone(Fit(64), lambda frames: dequantize(extract_rgb(shrink(frames))), finished=True)


def _flashdigits_sound() -> Backbone[int]:
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


def _vision_pictures(name: str) -> Backbone[Fit]:
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
            output = net(paddle.to_tensor(_prepared(frames, takes=_IMAGENET)))
        return np.asarray(output.numpy()).reshape(len(frames), -1)

    return Backbone(Fit(_VISION_NETWORKS[name].side), call)


def _published_arrays(name: str) -> Mapping[str, np.ndarray]:
    """Return the arrays of a network's published weights by name, fetched once."""
    from alstm_helpers.data.published import fetch_weights
    from alstm_helpers.model.weights import load_arrays

    network = _VISION_NETWORKS[name]
    url, md5 = importlib.import_module(f"paddle.vision.models.{network.module}").model_urls[network.key]
    return load_arrays(fetch_weights(url, md5=md5, way_out=_WAY_OUT))


# --- networks on Hugging Face -------------------------------------------------------------------------------------


class _HubNetwork(NamedTuple):
    """A file of a repository at a commit, the SHA-256 of its content, and what the network takes."""

    repository: str
    commit: str
    file: str
    sha256: str
    takes: PictureInput

    @property
    def address(self) -> str:
        """Where it is; ``HF_ENDPOINT`` names a mirror, as for Hugging Face's own tools."""
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return f"{endpoint.rstrip('/')}/{self.repository}/resolve/{self.commit}/{self.file}#sha256={self.sha256}"


_HUB_NETWORKS = {
    "clip": _HubNetwork(
        "Xenova/clip-vit-base-patch32",
        "d15189d7028b43f1d3e65039190477f6af591c2a",
        "onnx/vision_model_quantized.onnx",
        "583fd1110a514667812fee7d684952aaf82a99b959760c8d7dca7e0ab9839299",
        PictureInput.model_validate({**CLIP, "size": 224, "filter": "bicubic", "output": "image_embeds"}),
    ),
    "dinov2": _HubNetwork(
        "Xenova/dinov2-small",
        "c2bb04a51fab207c420665f1946016107bffc701",
        "onnx/model_quantized.onnx",
        "3afdc8bc63b50558d6e5770f5b799bb82455c2311183a2de43803f343a29d917",
        PictureInput.model_validate(
            {**IMAGENET, "size": 224, "resize": 256, "filter": "bicubic", "output": "last_hidden_state"}
            | {"pooling": "first"}
        ),
    ),
}


def _hub_pictures(name: str) -> Backbone[Fit]:
    """Return a network with one file on Hugging Face, fetched once."""
    return _onnx_pictures(*hub_network(name))


def hub_network(name: str) -> tuple[Path, PictureInput]:
    """Return the file of a network on Hugging Face, fetched once, and what it takes.

    Raises:
        AlstmError: no answer, or other content.
    """
    from alstm_helpers.data.published import fetch_weights

    network = _HUB_NETWORKS[name]
    return fetch_weights(network.address, way_out=_WAY_OUT), network.takes


def hub_file(name: str, file: str, sha256: str, way_out: str) -> Path:
    """Return another file that Hugging Face keeps with a network, fetched once.

    Args:
        name: of the network.
        file: path in its repository.
        sha256: of its content.
        way_out: see :func:`alstm_helpers.data.published.fetch_weights`.

    Raises:
        AlstmError: no answer, or other content.
    """
    from alstm_helpers.data.published import fetch_weights

    return fetch_weights(_HUB_NETWORKS[name]._replace(file=file, sha256=sha256).address, way_out=way_out)


# --- ONNX ---------------------------------------------------------------------------------------------------------


def _onnx_pictures(path: Path, takes: PictureInput) -> Backbone[Fit]:
    network = OnnxNetwork(path, takes)
    layout, side = _layout_and_side(network, takes)
    as_bytes = network.dtype == np.uint8
    if as_bytes and takes.is_normalised:
        remedy = "leave out scale, mean and std, or export a network that takes float32"
        raise AlstmError(network.path, "it takes the bytes themselves, which cannot be normalised", remedy)
    prepare = partial(_prepared, takes=takes, layout=layout, as_bytes=as_bytes)
    network.tried(prepare(np.zeros((2, side, side, 3), np.uint8)))
    return Backbone(takes.fit(side), lambda frames: network(prepare(frames)), sha256=network.sha256)


def _layout_and_side(network: OnnxNetwork, takes: PictureInput) -> tuple[str, int]:
    """Return the layout and the side of the pictures that a network takes.

    Raises:
        AlstmError: it takes no square pictures, or others than ``takes`` says.
    """
    shape = network.shape if len(network.shape) == 4 else [0] * 4
    certain = [layout for layout, (place, _) in _LAYOUTS.items() if shape[place] == 3]
    layout = takes.layout or (certain[0] if len(certain) == 1 else "nchw")
    place, sides = _LAYOUTS[layout]
    wanted = {side for side in shape[sides] if side} or {takes.size or DEFAULT_SIDE}
    if shape[place] not in (3, None) or 0 in shape or len(wanted) > 1 or not 3 < max(wanted) <= LARGEST_SIDE:
        problem = f"its input has the shape {network.shape}"
        remedy = f"export a network that takes square pictures (N, 3, S, S) or (N, S, S, 3), S at most {LARGEST_SIDE}"
        raise AlstmError(network.path, problem, remedy)
    side = wanted.pop()
    if takes.size not in (None, side):
        problem = f"it takes pictures of {side} pixels, but its description says {takes.size}"
        raise AlstmError(network.path, problem, "correct size there")
    return layout, side


def _prepared(frames: np.ndarray, *, takes: PictureInput, layout: str = "nchw", as_bytes: bool = False) -> np.ndarray:
    """Return pictures, uint8 (N, S, S, 3), as a network takes them: float32, or the bytes as they are."""
    values = frames
    if not as_bytes:
        mean, std = (np.array(each, np.float32) for each in (takes.mean, takes.std))
        values = (frames * np.float32(takes.scale) - mean) / std
    values = values[..., ::-1] if takes.colours == "bgr" else values
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if layout == "nchw" else values)


def _onnx_sound(path: Path, takes: SoundInput) -> Backbone[int]:
    network = OnnxNetwork(path, takes)
    prepare = _patches if takes.takes == "logmel" else _waveforms
    silence = prepare(np.zeros((2, takes.rate), np.float32), network, takes)
    network.tried(silence)

    def call(sound: np.ndarray) -> np.ndarray:
        rows = network(prepare(sound, network, takes))
        return rows if takes.takes == "logmel" else _by_second(rows, len(sound), takes, framed=len(network.shape) > 1)

    return Backbone(takes.rate, call, sha256=network.sha256)


def _patches(sound: np.ndarray, network: OnnxNetwork, takes: SoundInput) -> np.ndarray:
    """Return VGGish's picture of each second in the shape that a network takes.

    Raises:
        AlstmError: it takes another shape.
    """
    *channels, bands, width = network.shape[1:] if len(network.shape) in (3, 4) else (None, None)
    if (bands, width) != PATCH or channels not in ([], [1], [None]) or network.dtype == np.uint8:
        problem = f"its input is {network.dtype} of the shape {network.shape}"
        remedy = "VGGish's log-mel pictures are float32 (N, 1, 96, 64), the last two sizes fixed"
        raise AlstmError(network.path, problem, f"say by --audio_like what it takes, or export another; {remedy}")
    return log_mel(sound).reshape(-1, *(1 for _ in channels), *PATCH)


def _waveforms(sound: np.ndarray, network: OnnxNetwork, takes: SoundInput) -> np.ndarray:
    """Return a clip's samples for a network: all of them in one row, or a frame of them around each hop, (R, 1, S).

    Raises:
        AlstmError: it takes another shape.
    """
    *middle, width = network.shape[1:] if len(network.shape) in (2, 3) else (0, 0)
    samples = round(takes.frame * takes.rate)
    if len(network.shape) == 1:
        return sound.reshape(-1)
    if middle not in ([], [1], [None]) or width not in (samples, None):
        problem = f"its input has the shape {network.shape}"
        raise AlstmError(network.path, problem, f"its frames are said to have {samples} samples: correct rate or frame")
    starts = _centres(len(sound) / takes.hop, takes.hop) * takes.rate - samples / 2
    padded = np.pad(sound.reshape(-1), samples)
    places = starts.round().astype(int)[:, None] + samples + np.arange(samples)
    return padded[places].reshape(-1, *(1 for _ in middle), samples)


def _centres(count: float, hop: float) -> np.ndarray:
    """Return the middles, in seconds, of as many hops as there are, begun ones included."""
    return (np.arange(math.ceil(count - 1e-6)) + 0.5) * hop


def _by_second(rows: np.ndarray, seconds: int, takes: SoundInput, *, framed: bool) -> np.ndarray:
    """Return the mean of the rows in the middle of whose frames a second is, (R, D) → (T, D); or the nearest one.

    Args:
        rows: the output of a network.
        seconds: T.
        takes: where the frames lie.
        framed: whether they were cut out here, around each hop; a network begins with the first sample.
    """
    centres = _centres(len(rows), takes.hop)
    if not framed:
        centres += (takes.frame - takes.hop) / 2
    found = []
    for second in range(seconds):
        inside = (centres >= second) & (centres < second + 1)
        found.append(rows[inside].mean(axis=0) if inside.any() else rows[np.abs(centres - second - 0.5).argmin()])
    return np.stack(found)


# --- VGGish's front end -------------------------------------------------------------------------------------------


def _log_mel_summary() -> Backbone[int]:
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


_PICTURES: dict[str, Callable[[], Backbone[Fit]]] = {
    "flashdigits": _flashdigits_pictures,
    **{name: partial(_vision_pictures, name) for name in _VISION_NETWORKS},
    **{name: partial(_hub_pictures, name) for name in _HUB_NETWORKS},
}
_SOUNDS: dict[str, Callable[[], Backbone[int]]] = {"flashdigits": _flashdigits_sound, "logmel": _log_mel_summary}
