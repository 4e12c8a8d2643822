"""Backbones that need NumPy and ONNX Runtime alone: networks in ONNX files, and VGGish's front end.

They know what a network takes from an object of :mod:`alstm_helpers.own_videos.inputs`, or one with the same fields,
as :mod:`alstm_helpers.own_videos.standalone` makes.

VGGish's front end: S. Hershey et al., arXiv:1609.09430; 16 kHz, windows of 25 ms every 10 ms, periodic Hann, 64 bands
from 125 to 7500 Hz on the HTK mel scale, log(mel + 0.01), 0.96 s per example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.media import batches
from alstm_helpers.own_videos.onnx_network import OnnxNetwork
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.presets import DEFAULT_SIDE, LARGEST_SIDE

if TYPE_CHECKING:
    from alstm_helpers.own_videos.inputs import PictureInput, SoundInput

LOG_MEL_RATE = 16_000  # samples per second that VGGish's front end takes
LARGEST = 1e15  # magnitude of a backbone's number
PATCH = (96, 64)  # times and bands of its picture of a second
_LAYOUTS = {"nchw": (1, slice(2, 4)), "nhwc": (3, slice(1, 3))}  # where the colours are, and the sides

Network: TypeAlias = Callable[[np.ndarray], np.ndarray]
UnitT = TypeVar("UnitT", Fit, int)


class Backbone(NamedTuple, Generic[UnitT]):
    """What makes the features of one stream.

    Args:
        unit: the input of one second: how its picture becomes a square, or the number of its samples of sound.
        call: uint8 (T, S, S, 3), or float32 (T, unit) → float32 (T, D).
        finished: whether the numbers have the final size and scale, so that they need no projection.
        sha256: of the network's file, or of YouTube-8M's own files, which says what network it is.
    """

    unit: UnitT
    call: Network
    finished: bool = False
    sha256: str | None = None


def look(backbone: Backbone[Fit], frames: Iterable[np.ndarray]) -> np.ndarray:
    """Return a backbone's numbers for pictures, float32 (T, D); only a batch of them is in memory at a time."""
    return np.concatenate([backbone.call(batch) for batch in batches(frames)])


def check_numbers(values: np.ndarray, clip: str, backbone: str) -> None:
    """Require numbers that a projection can compute with.

    Raises:
        AlstmError: one is not finite, or so large that its square or a sum would not be.
    """
    bad = ~(np.abs(values) < LARGEST).all(axis=1)  # (T,); NaN is not below anything
    if bad.any():
        problem = f"for second {bad.argmax()} {backbone} gives NaN, infinity or a number beyond {LARGEST:g}"
        raise AlstmError(clip, problem, "leave the clip out, or export a network that has numbers for any input")


def onnx_pictures(path: Path, takes: PictureInput) -> Backbone[Fit]:
    network = OnnxNetwork(path, takes)
    layout, side = _layout_and_side(network, takes)
    as_bytes = network.dtype == np.uint8
    if as_bytes and takes.is_normalised:
        remedy = "leave out scale, mean and std, or export a network that takes float32"
        raise AlstmError(network.path, "it takes the bytes themselves, which cannot be normalised", remedy)
    prepare = partial(prepared, takes=takes, layout=layout, as_bytes=as_bytes)
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


def prepared(frames: np.ndarray, *, takes: PictureInput, layout: str = "nchw", as_bytes: bool = False) -> np.ndarray:
    """Return pictures, uint8 (N, S, S, 3), as a network takes them: float32, or the bytes as they are."""
    values = frames
    if not as_bytes:
        mean, std = (np.array(each, np.float32) for each in (takes.mean, takes.std))
        values = (frames * np.float32(takes.scale) - mean) / std
    values = values[..., ::-1] if takes.colours == "bgr" else values
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if layout == "nchw" else values)


def onnx_sound(path: Path, takes: SoundInput) -> Backbone[int]:
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


def log_mel_summary() -> Backbone[int]:
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
