"""Projections: from a backbone's numbers to features of the size and scale that the network takes.

YouTube-8M made its features in the same way: a network's numbers, centred, reduced to 1024 by PCA with whitening, and
quantised to one byte each (S. Abu-El-Haija et al., arXiv:1609.08675, section 3.3). Here every projected number has the
standard deviation 0.5, so that the range of a byte, ±2, covers four standard deviations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alstm_helpers.tfrecord import quantize


class Projection(NamedTuple):
    """A linear map from D numbers to K ≤ ``dim`` of standard deviation 0.5: ``(x − mean) @ matrix / scale / 2``.

    Args:
        mean: float32 (D,).
        matrix: float32 (D, K); None where D is the final size, so that each number is only centred and scaled.
        scale: float32 (K,).
    """

    mean: np.ndarray
    matrix: np.ndarray | None
    scale: np.ndarray

    def check(self, dim: int) -> None:
        """Require the shapes and types above.

        Raises:
            ValueError, AttributeError: they are others.
        """
        size = len(self.mean)
        count = size if self.matrix is None else self.matrix.shape[1]
        shapes = ((self.mean, (size,)), (self.scale, (count,)), (self.matrix, (size, count)))
        arrays = [(array, shape) for array, shape in shapes if array is not None]
        if count > dim or any(
            array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all() for array, shape in arrays
        ):
            raise ValueError

    def __call__(self, raw: np.ndarray, dim: int) -> np.ndarray:
        """Return uint8 (T, dim) from float32 (T, D), padded with zeros to ``dim`` before it is quantised."""
        centred = raw - self.mean
        values = (centred if self.matrix is None else centred @ self.matrix) / self.scale * 0.5
        return quantize(np.pad(values, ((0, 0), (0, dim - values.shape[1]))))


def fit_projection(raw: np.ndarray, dim: int) -> Projection:
    """Fit a projection that centres and scales; by PCA with whitening where D is not ``dim``.

    Directions that hardly vary would be mere noise after whitening, so no scale is below a hundredth of the largest.
    With fewer seconds or numbers than ``dim`` there are fewer directions.

    Args:
        raw: float32 (N, D), seconds to fit on.
        dim: the final size.
    """
    raw = raw.astype(np.float64)
    matrix, scale = _directions(raw, dim)
    scale = np.maximum(scale, max(1e-6, 0.01 * float(scale.max())))
    return Projection(raw.mean(axis=0).astype(np.float32), matrix, scale.astype(np.float32))


def _directions(raw: np.ndarray, dim: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the matrix, float32 (D, K) or None, and the standard deviation along its columns, float64 (K,)."""
    from sklearn.decomposition import PCA

    seconds, size = raw.shape
    if size == dim:
        return None, raw.std(axis=0)
    if seconds == 1:  # nothing varies
        return np.eye(size, min(dim, size), dtype=np.float32), np.ones(min(dim, size))
    pca = PCA(min(dim, size, max(1, seconds - 1)), svd_solver="covariance_eigh").fit(raw)
    return pca.components_.T.astype(np.float32), np.sqrt(pca.explained_variance_)
