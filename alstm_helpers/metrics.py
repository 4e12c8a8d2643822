"""Hit@1, PERR, GAP and mAP as the YouTube-8M competition defines them; NumPy only.

Source of the formulas: S. Abu-El-Haija et al., YouTube-8M (arXiv:1609.08675), section 5.1, and the
evaluation page of the YouTube-8M Kaggle competition. GAP is pooled over the **whole** split: averaging a
GAP computed inside each batch gives another, larger number (notebook 05 shows by how much).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from alstm_helpers.errors import AlstmError


def average_precision(scores: np.ndarray, hits: np.ndarray, num_positives: int | None = None) -> float:
    """Area under the precision-recall steps: the mean, over all positives, of the precision at each hit.

    Args:
        scores: float (N,), any order; equal scores keep the order in which they stand.
        hits: bool (N,), whether each prediction is true.
        num_positives: how many truths there are, also those not predicted; by default the hits.

    Returns:
        a number in [0, 1]; 0 where nothing is true.
    """
    total = int(np.sum(hits)) if num_positives is None else num_positives
    if total == 0:
        return 0.0
    ranked = np.asarray(hits, dtype=bool)[np.argsort(-np.asarray(scores), kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].sum() / total)


class YouTube8MMetrics:
    """Streaming metrics of one split: call :meth:`update` for every batch, then :meth:`result`.

    Keeps the ``top_k`` best predictions of every video, so memory grows with videos, not with classes.

    Args:
        num_classes: C.
        top_k: predictions of a video that enter GAP and mAP (20 in the competition).
    """

    def __init__(self, num_classes: int = 3862, top_k: int = 20) -> None:
        self.num_classes, self.top_k = num_classes, min(top_k, num_classes)
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        self._scores: list[np.ndarray] = []  # (B, K) float32, best first
        self._classes: list[np.ndarray] = []  # (B, K) int32
        self._hits: list[np.ndarray] = []  # (B, K) bool
        self._positives = np.zeros(self.num_classes, dtype=np.int64)
        self._found: list[np.ndarray] = []  # (B,) float64, the share of a video's labels that PERR counts
        self._hit_at_1 = 0
        self.num_videos = 0

    def update(self, scores: np.ndarray, labels: np.ndarray | Sequence[Sequence[int]]) -> None:
        """Add a batch.

        Args:
            scores: float (B, C), larger is surer.
            labels: multi-hot (B, C), or for each video the list of its classes.

        Raises:
            AlstmError: shapes differ, a label is no class, or a score is not a number.
        """
        scores = np.asarray(scores)
        truth = self._multi_hot(labels)
        if scores.shape != truth.shape or truth.shape[1] != self.num_classes:
            problem = f"shape {scores.shape}, labels {truth.shape}, for {self.num_classes} classes"
            raise AlstmError("scores", problem, "pass (B, num_classes) for both")
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if bad.size:
            raise AlstmError(
                f"scores of video {self.num_videos + bad[0]}", "not finite", "look for NaN in the model or its input"
            )
        if not len(scores):
            return
        num_labels = truth.sum(axis=1)
        depth = min(self.num_classes, max(self.top_k, int(num_labels.max())))
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        worst = np.take_along_axis(scores, best, 1).min(axis=1, keepdims=True)
        tied = np.count_nonzero(scores >= worst, axis=1) > depth  # where the cut falls between equal scores,
        for row in np.flatnonzero(tied):  # which of them argpartition takes is its whim
            best[row] = np.argsort(-scores[row], kind="stable")[:depth]
        best.sort(axis=1)  # equal scores: the smaller class first
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)  # (B, depth)
        ranked = np.take_along_axis(scores, best, 1)
        hits = np.take_along_axis(truth, best, 1)
        self._hit_at_1 += int(hits[:, 0].sum())
        among_first_n = np.arange(depth) < num_labels[:, None]
        found = (hits & among_first_n & (ranked > 0)).sum(axis=1)
        self._found.append(found / np.maximum(num_labels, 1))
        self._scores.append(ranked[:, : self.top_k].astype(np.float32))
        self._classes.append(best[:, : self.top_k].astype(np.int32))
        self._hits.append(hits[:, : self.top_k])
        self._positives += truth.sum(axis=0)
        self.num_videos += len(scores)

    def gather(self, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
        """Take over the videos of other processes.

        Args:
            exchange: gives the rows of all processes for those of this one, as ``Ranks.gather`` does.
        """

        def whole(rows: list[np.ndarray], dtype: type, *width: int) -> list[np.ndarray]:
            return [exchange(np.concatenate([np.zeros((0, *width)), *rows]).astype(dtype))]

        self._found = whole(self._found, np.float64)
        self._scores = whole(self._scores, np.float32, self.top_k)
        self._classes = whole(self._classes, np.int32, self.top_k)
        self._hits = [hits.astype(bool) for hits in whole(self._hits, np.int32, self.top_k)]
        counts = exchange(np.array([[self._hit_at_1, self.num_videos]], dtype=np.int64)).sum(axis=0)
        self._hit_at_1, self.num_videos = map(int, counts)
        self._positives = exchange(self._positives[None]).sum(axis=0)

    def result(self) -> dict[str, float]:
        """``hit_at_1``, ``perr``, ``gap``, ``map`` in [0, 1], and ``num_videos``.

        A video without labels counts as a miss for Hit@1 and PERR, and its predictions as false for GAP.
        mAP is the mean over all classes; a class without a positive has AP 0.
        """
        videos = max(self.num_videos, 1)
        scores, classes, hits = (
            np.concatenate(parts).ravel() if parts else np.zeros(0)
            for parts in (self._scores, self._classes, self._hits)
        )
        by_class = np.argsort(classes, kind="stable")
        bounds = np.searchsorted(classes[by_class], np.arange(self.num_classes + 1))
        ap = [
            average_precision(scores[rows], hits[rows], int(self._positives[index]))
            for index, rows in enumerate(np.split(by_class, bounds[1:-1]))
        ]
        return {
            "hit_at_1": self._hit_at_1 / videos,
            # Summed at once, so that how the videos came in batches leaves no trace in the last digit.
            "perr": float(np.concatenate([np.zeros(0), *self._found]).sum() / videos),
            "gap": average_precision(scores, hits, int(self._positives.sum())),
            "map": float(np.mean(ap)),
            "num_videos": self.num_videos,
        }

    def _multi_hot(self, labels: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
        if isinstance(labels, np.ndarray) and labels.ndim == 2:
            return labels.astype(bool)
        truth = np.zeros((len(labels), self.num_classes), dtype=bool)
        for row, classes in enumerate(labels):
            wrong = [label for label in classes if not 0 <= label < self.num_classes]
            if wrong:
                where = f"labels of video {self.num_videos + row}"
                raise AlstmError(where, f"{wrong[0]} is not one of {self.num_classes} classes", "set num_classes")
            truth[row, list(classes)] = True
        return truth


class ScoreCounts:
    """How many scores of true and of false labels fall where in [0, 1]: what a precision-recall curve needs.

    Memory does not grow with videos or classes.

    Args:
        bins: K, of equal width.
    """

    def __init__(self, bins: int = 127) -> None:
        self.bins = bins
        self.counts = np.zeros((2, bins), dtype=np.int64)  # true labels, false labels

    def update(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch: float (B, C) in [0, 1], and multi-hot (B, C)."""
        places = np.minimum((scores * self.bins).astype(np.int64), self.bins - 1)
        for row, members in enumerate((labels > 0, labels == 0)):
            self.counts[row] += np.bincount(places[members], minlength=self.bins)

    def gather(self, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
        """Take in what other processes counted; ``exchange`` gives back the rows of all, see ``ranks.Ranks.gather``."""
        self.counts = exchange(self.counts).reshape(-1, 2, self.bins).sum(axis=0)
