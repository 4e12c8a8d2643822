"""Projections: from a backbone's numbers to features of the size and scale that the network takes.

YouTube-8M's own features are a network's numbers, centred, reduced to 1024 by PCA with whitening, and quantised to one
byte each (S. Abu-El-Haija et al., arXiv:1609.08675, section 3.3), and fitted on millions of videos. With few clips
whitening blows the directions of mere noise up to the size of the signal. So here each number is only standardised, and
of more than fit those are taken that vary most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alstm_helpers.tfrecord import quantize

SPREAD = 0.5  # standard deviation of a projected number: a byte's range, ±2, covers four of them


class Projection(NamedTuple):
    """A map from D numbers to K ≤ ``dim`` of standard deviation ``SPREAD``.

    Args:
        mean: float32 (D,).
        matrix: float32 (D, K), of a PCA with whitening, as versions before 2 fitted; otherwise None.
        scale: float32 (K,), by which the centred numbers are divided.
        chosen: int64 (K,), which of the D numbers are taken; None for all.
    """

    mean: np.ndarray
    matrix: np.ndarray | None
    scale: np.ndarray
    chosen: np.ndarray | None = None

    def check(self, dim: int) -> None:
        """Require the shapes and types above.

        Raises:
            ValueError, AttributeError: they are others.
        """
        size, count = len(self.mean), len(self.scale)
        shapes = ((self.mean, (size,)), (self.scale, (count,)), (self.matrix, (size, count)))
        arrays = [(array, shape) for array, shape in shapes if array is not None]
        if count > dim or any(
            array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all() for array, shape in arrays
        ):
            raise ValueError
        if self.matrix is None:
            taken = np.arange(size) if self.chosen is None else self.chosen
            if taken.shape != (count,) or taken.dtype != np.int64 or not ((taken >= 0) & (taken < size)).all():
                raise ValueError
        elif self.chosen is not None:
            raise ValueError

    def __call__(self, raw: np.ndarray, dim: int) -> np.ndarray:
        """Return uint8 (T, dim) from float32 (T, D), padded with zeros to ``dim`` before it is quantised."""
        values = raw - self.mean
        if self.chosen is not None:
            values = values[:, self.chosen]
        elif self.matrix is not None:
            values = values @ self.matrix
        values = values / self.scale * SPREAD
        return quantize(np.pad(values, ((0, 0), (0, dim - values.shape[1]))))


def fit_projection(raw: np.ndarray, dim: int) -> Projection:
    """Fit a projection that standardises each number; of more than ``dim`` it takes those that vary most.

    A number that hardly varies would be mere noise afterwards, so no scale is below a hundredth of the largest.

    Args:
        raw: float32 (N, D), seconds to fit on; where nothing varies, such as in one second, they are only centred.
        dim: the final size.
    """
    raw = raw.astype(np.float64)
    scale = raw.std(axis=0)
    chosen = np.sort(np.argsort(-scale, kind="stable")[:dim]) if len(scale) > dim else None
    kept = scale if chosen is None else scale[chosen]
    kept = np.maximum(kept, max(1e-6, 0.01 * float(kept.max()))) if kept.any() else np.ones_like(kept)
    return Projection(raw.mean(axis=0).astype(np.float32), None, kept.astype(np.float32), chosen)
