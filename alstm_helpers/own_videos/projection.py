"""Projections: from a backbone's numbers to features of the size and scale that the network takes.

YouTube-8M's own features are a network's numbers, centred, reduced to 1024 by PCA with whitening, and quantised to one
byte each (S. Abu-El-Haija et al., arXiv:1609.08675, section 3.3), and fitted on millions of videos. With few clips
whitening blows the directions of mere noise up to the size of the signal. So here each number is only standardised, and
of more than fit those are taken that vary most.

Of pictures a quarter of the numbers say by how much others changed since the second before: how restless a second is
says much, and few clips do not teach a network to compute it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alstm_helpers.levels import quantize

CHANGING = ("rgb",)  # streams whose features say how much their numbers change
UNVARIED = 1.0  # scale of numbers of which none varied
SPREAD = 0.5  # standard deviation of a projected number: a byte's range, ±2, covers four of them


class Projection(NamedTuple):
    """A map from D numbers to K ≤ ``dim`` of standard deviation ``SPREAD``.

    Args:
        mean: float32 (D,).
        matrix: float32 (D, K), of a PCA with whitening, as versions before 2 fitted; otherwise None.
        scale: float32 (K,), by which the centred numbers are divided.
        chosen: int64 (K,), which of the D numbers are taken; None for all.
        changes: whether the D numbers are those of :func:`with_changes`.
    """

    mean: np.ndarray
    matrix: np.ndarray | None
    scale: np.ndarray
    chosen: np.ndarray | None = None
    changes: bool = False

    @property
    def size(self) -> int:
        """How many numbers of a second it takes."""
        return len(self.mean) // 2 if self.changes else len(self.mean)

    @property
    def is_constant(self) -> bool:
        """Whether nothing varied in what it was fitted on, which was more than one second."""
        return bool((self.scale == UNVARIED).all())

    def check(self, dim: int) -> None:
        """Require the shapes and types above.

        Raises:
            ValueError, AttributeError: they are others.
        """
        size, count = len(self.mean), len(self.scale)
        shapes = ((self.mean, (size,)), (self.scale, (count,)), (self.matrix, (size, count)))
        arrays = [(array, shape) for array, shape in shapes if array is not None]
        if self.changes and size % 2:
            raise ValueError
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
        """Return uint8 (T, dim) from float32 (T, size), padded with zeros to ``dim`` before it is quantised."""
        values = (with_changes(raw) if self.changes else raw) - self.mean
        if self.chosen is not None:
            values = values[:, self.chosen]
        elif self.matrix is not None:
            values = values @ self.matrix
        values = values / self.scale * SPREAD
        return quantize(np.pad(values, ((0, 0), (0, dim - values.shape[1]))))


def with_changes(raw: np.ndarray) -> np.ndarray:
    """Return a clip's numbers, (T, D), followed by how much each changed since the second before, (T, 2 · D).

    The first second has the changes that the next one has; in a clip of one second nothing changes.
    """
    changes = np.abs(np.diff(raw, axis=0, prepend=raw[:1]))
    changes[:1] = changes[1:2] if len(raw) > 1 else 0
    return np.concatenate([raw, changes], axis=1)


def fit_projection(raw: np.ndarray, dim: int, *, changes: bool = False) -> Projection:
    """Fit a projection that standardises each number; of more than ``dim`` it takes those that vary most.

    A number that hardly varies would be mere noise afterwards, so no scale is below a hundredth of the largest.

    Args:
        raw: float32 (N, D), seconds to fit on; where nothing varies, such as in one second, they are only centred.
        dim: the final size.
        changes: whether ``raw`` is of :func:`with_changes`; then a quarter of ``dim``, or what the numbers themselves
            leave, is for changes.
    """
    raw = raw.astype(np.float64)
    scale = raw.std(axis=0)
    own = scale[: len(scale) // 2] if changes else scale
    room = min(len(own), dim - dim // 4) if changes else dim
    chosen = _most_varying(own, room)
    if changes:
        chosen = np.concatenate([chosen, len(own) + _most_varying(scale[len(own) :], dim - room)])
    kept = scale[chosen]
    kept = np.maximum(kept, max(1e-6, 0.01 * float(kept.max()))) if kept.any() else np.full_like(kept, UNVARIED)
    taken = chosen if len(chosen) < len(scale) else None
    return Projection(raw.mean(axis=0).astype(np.float32), None, kept.astype(np.float32), taken, changes)


def _most_varying(scale: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the largest scales, at most ``count``, in their order, int64."""
    return np.sort(np.argsort(-scale, kind="stable")[:count])
