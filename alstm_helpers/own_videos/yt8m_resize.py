"""TensorFlow 1's bilinear resize, by which YouTube-8M's own front end squeezes a whole frame into a square."""

from __future__ import annotations

import numpy as np


def tensorflow_bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Squeeze a picture into a square as ``tf.compat.v1.image.resize_bilinear`` does with ``align_corners=False``.

    A pixel at ``x`` is read at ``x · W / side`` with no half-pixel shift, between its two neighbours, without a filter
    against aliasing (``ResizeBilinear`` with ``half_pixel_centers=False``). All is computed in float32, as there.

    Args:
        image: uint8 (H, W, 3).
        side: of the square, in pixels.

    Returns:
        float32 (side, side, 3), from 0 to 255.
    """
    top, bottom, down = _neighbours(image.shape[0], side)
    left, right, across = _neighbours(image.shape[1], side)
    above, below = (_between(image[row][:, left], image[row][:, right], across[:, None]) for row in (top, bottom))
    return _between(above, below, down[:, None, None])


def _neighbours(size: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels around each of ``side`` places along an axis, and the share of the second one, each (side,)."""
    places = np.arange(side, dtype=np.float32) * (np.float32(size) / np.float32(side))
    before = places.astype(np.int64)
    return before, np.minimum(before + 1, size - 1), places - before.astype(np.float32)


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix two pictures, in float32."""
    first = first.astype(np.float32)
    return np.asarray(first + (second.astype(np.float32) - first) * share)
