"""Scores of videos that judge a network, and their labels: what ``alstm crossval`` keeps for ``alstm report``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.safe_pickle import load_plain, save_plain

_REMEDY = "run `alstm crossval` again"
_KEPT = ("ids", "labels", "scores", "top_k", "groups", "folds", "baseline")


@dataclass(frozen=True, eq=False)
class Scored:
    """N videos, each scored by a network that has not learnt from it.

    Args:
        ids: of the videos.
        labels: bool (N, C).
        scores: float32 (N, C).
        top_k: predictions per video that enter GAP.
        groups: a name for each video that related ones share.
        folds: int (N,), the number of the fold in which each was scored; None where one network scored all.
        baseline: float32 (N, C), scores of the linear baseline, or None.
    """

    ids: Sequence[bytes]
    labels: np.ndarray
    scores: np.ndarray
    top_k: int
    groups: Sequence[bytes]
    folds: np.ndarray | None = None
    baseline: np.ndarray | None = None

    @cached_property
    def metrics(self) -> YouTube8MMetrics:
        """The network's metrics."""
        return self._metrics(self.scores)

    @cached_property
    def baseline_metrics(self) -> YouTube8MMetrics | None:
        """Those of the linear baseline, or None."""
        return None if self.baseline is None else self._metrics(self.baseline)

    def _metrics(self, scores: np.ndarray) -> YouTube8MMetrics:
        metrics = YouTube8MMetrics(scores.shape[1], self.top_k)
        metrics.update(scores, self.labels, self.ids)
        return metrics

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as plain data."""
        save_plain(path, {key: getattr(self, key) for key in _KEPT})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scored:
        """Load what :meth:`save` wrote, without running code from it.

        Raises:
            AlstmError: the file is missing or damaged, or does not hold that.
        """
        found = load_plain(path, _REMEDY)
        try:
            scored = cls(**found)
            scored._check()
        except (TypeError, ValueError, AttributeError):
            raise AlstmError(path, "it holds no scores of videos", _REMEDY) from None
        return scored

    def _check(self) -> None:
        """Require arrays that fit each other, and ids of bytes.

        Raises:
            ValueError, TypeError, AttributeError: they do not.
        """
        count, classes = self.labels.shape
        shapes = [self.scores.shape == (count, classes), self.labels.dtype == np.bool_, count > 0, classes > 0]
        shapes += [self.baseline is None or self.baseline.shape == (count, classes), self.top_k > 0]
        shapes += [self.folds is None or self.folds.shape == (count,), len(self.ids) == len(self.groups) == count]
        if not (all(shapes) and all(isinstance(name, bytes) for name in (*self.ids, *self.groups))):
            raise ValueError
