"""The 256 levels of features, from -2 to 2: from bytes to floats and back."""

from __future__ import annotations

import numpy as np


def dequantize(frames: np.ndarray) -> np.ndarray:
    """Turn uint8 features back into float32: ``x * 4/255 + (4/512 - 2)``, so 0 → -1.9921875 and 255 → 2.0078125.

    (google/youtube-8m, ``utils.Dequantize`` with its range of -2 to 2.)
    """
    return frames.astype(np.float32) * np.float32(4 / 255) + np.float32(4 / 512 - 2)


def quantize(values: np.ndarray) -> np.ndarray:
    """Round floats to the nearest of the 256 levels of :func:`dequantize`, clipped to its range; uint8."""
    return np.clip(np.rint((values - (4 / 512 - 2)) * (255 / 4)), 0, 255).astype(np.uint8)
