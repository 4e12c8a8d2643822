"""Turn a decoded picture into what a viewer sees: upright, pixels square, in the colours of an ordinary screen."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np

from alstm_helpers.own_videos.yt8m_resize import tensorflow_bilinear

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.sidedata.sidedata import SideDataContainer

_PQ, _HLG = 16, 18  # AVCOL_TRC_SMPTE2084 and AVCOL_TRC_ARIB_STD_B67, the two encodings of HDR
_WHITE, _PEAK = 203, 1000  # cd/m² of white paper, and of the screen that HLG is made for (ITU-R BT.2408)
_FROM_BT2020 = np.array(  # red, green and blue of BT.2020 to those of BT.709 (ITU-R BT.2087)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_LONGEST = 32  # times that a picture may be longer than wide

Filter: TypeAlias = Literal["area", "nearest", "bilinear", "bicubic", "lanczos"]
# As FFmpeg calls them. Of a picture made smaller, bilinear, bicubic and lanczos differ from Pillow's by one at most.
_INTERPOLATION: dict[Filter, str] = {
    "area": "AREA",
    "nearest": "POINT",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "lanczos": "LANCZOS",
}


@dataclass(frozen=True)
class Fit:
    """How a picture becomes a square.

    Args:
        side: of the square, in pixels.
        shorter: pixels to which the shorter side is scaled before the middle is cut out; None: ``side``.
        squeeze: scale both sides to so many pixels.
        filter: that it is scaled with. ``area`` to ``lanczos`` take in every pixel of a large picture; ``tensorflow1``
            is for whole pictures, and its squares are float32.
    """

    side: int
    shorter: int | None = None
    squeeze: bool = False
    filter: Filter | Literal["tensorflow1"] = "area"

    @classmethod
    def described(cls, side: int, resize: int | None, squeeze: bool, filter: Filter) -> Fit:
        """Return how a network's description has it, whose ``resize`` is no smaller than the square."""
        return cls(side, max(side, resize or side), squeeze, filter)

    def scaled(self, width: float, height: float) -> tuple[int, int]:
        """Return the width and the height to which a picture is scaled before its middle is cut out."""
        shorter = self.shorter or self.side
        if self.squeeze:
            return shorter, shorter
        scale = shorter / min(width, height)
        return max(self.side, round(width * scale)), max(self.side, round(height * scale))


class Squares:
    """Pictures as squares.

    Args:
        stream: where the pictures come from.
        fit: how they become squares.
    """

    def __init__(self, stream: VideoStream, fit: Fit) -> None:
        from av.video.reformatter import VideoReformatter

        self._aspect = float(stream.sample_aspect_ratio or 1)
        self._fit = fit
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Return a picture, uint8 or, by TensorFlow 1's filter, float32 (side, side, 3) in red, green, blue.

        Raises:
            ValueError: it is too long and narrow.
        """
        width, height = frame.width * self._aspect, frame.height
        if not 1 / _LONGEST <= width / height <= _LONGEST:
            raise ValueError(f"a picture of {frame.width} × {frame.height} pixels is too long and narrow")
        if self._fit.filter == "tensorflow1":
            return tensorflow_bilinear(self._scaled(frame, (frame.width, frame.height), "AREA"), self._fit.side)
        image = self._scaled(frame, self._fit.scaled(width, height), _INTERPOLATION[self._fit.filter])
        top, left = ((size - self._fit.side) // 2 for size in image.shape[:2])
        return np.ascontiguousarray(image[top : top + self._fit.side, left : left + self._fit.side])

    def _scaled(self, frame: VideoFrame, size: tuple[int, int], interpolation: str) -> np.ndarray:
        """Return a picture of some width and height, upright, in the colours of an ordinary screen."""
        wide = "rgb48le" if frame.color_trc in (_PQ, _HLG) else "rgb24"
        scaled = self._reformatter.reformat(frame, *size, format=wide, interpolation=interpolation).to_ndarray()
        return _upright(_standard_range(scaled, frame.color_trc), frame)


def _standard_range(image: np.ndarray, transfer: int) -> np.ndarray:
    """Return a picture as a screen without HDR shows it, uint8; what is brighter than white becomes white.

    Args:
        image: uint8, or uint16 in BT.2020 where ``transfer`` is that of HDR.
        transfer: how brightness is encoded, as FFmpeg numbers it.
    """
    if transfer not in (_PQ, _HLG):
        return image
    encoded = image.astype(np.float32) / 65535
    light = (_pq_light(encoded) if transfer == _PQ else _hlg_light(encoded)) / _WHITE
    return np.rint((light @ _FROM_BT2020.T).clip(0, 1) ** (1 / 2.4) * 255).astype(np.uint8)  # ITU-R BT.1886


def _pq_light(encoded: np.ndarray) -> np.ndarray:
    """Return cd/m² (SMPTE ST 2084)."""
    root = encoded ** (32 / 2523)
    return np.asarray(10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305))


def _hlg_light(encoded: np.ndarray) -> np.ndarray:
    """Return cd/m² (ITU-R BT.2100, HLG)."""
    scene = np.where(encoded <= 0.5, encoded**2 / 3, (np.exp((encoded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    return np.asarray(_PEAK * luminance[..., None] ** 0.2 * scene)


def _upright(image: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turn or mirror a picture as the file asks for; an odd angle is taken for the nearest quarter turn."""
    a, b, c, d = _display_matrix(frame)
    across, down = a, d
    if abs(b) > abs(a):
        image, across, down = image.transpose(1, 0, 2), c, b
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Return a, b, c, d: a stored point (x, y) is shown at (a·x + c·y, b·x + d·y)."""
    with contextlib.suppress(KeyError, ValueError):  # ValueError: another part of the side data is unknown to PyAV
        side_data = cast("SideDataContainer", frame.side_data)  # PyAV's types say otherwise
        a, b, _, c, d = struct.unpack("=5i", bytes(side_data["DISPLAYMATRIX"])[:20])
        return a, b, c, d
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
