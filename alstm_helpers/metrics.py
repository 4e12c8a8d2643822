"""Hit@1, PERR, GAP and mAP as the YouTube-8M competition defines them; NumPy only.

Source of the formulas: S. Abu-El-Haija et al., YouTube-8M (arXiv:1609.08675), section 5.1, and the
evaluation page of the YouTube-8M Kaggle competition. GAP is pooled over the **whole** split: the mean of the
GAPs of the batches is a different, larger number (notebook 05 shows by how much).

Ties. Among the classes of one video with equal scores, the smaller class comes first. Among the predictions of a
split, equal scores are one threshold: precision is computed after all of them, as in scikit-learn's
``average_precision_score``. So no result depends on the order of videos, batches or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from alstm_helpers.errors import OTHER_WEIGHTS, AlstmError, NotFinite, printable

CLASSES_AT_ONCE = 512  # classes whose predictions mAP sorts together; bounds its memory


def average_precision(scores: np.ndarray, hits: np.ndarray, num_positives: int | None = None) -> float:
    """Return the area under the precision-recall steps: the sum of the precision at each hit, divided by all positives.

    Args:
        scores: float (N,), any order; equal scores are one threshold.
        hits: bool (N,), whether each prediction is true.
        num_positives: number of true labels, including those not predicted; by default the number of hits.

    Returns:
        a number in [0, 1]; 0 without positives.
    """
    found, true_above, false_above = count_above(scores, hits)
    total = len(found) if num_positives is None else num_positives
    return float((true_above / (true_above + false_above)).sum() / total) if total else 0.0


def best_f1(scores: np.ndarray, hits: np.ndarray, num_positives: int) -> tuple[float, float]:
    """Return the threshold with the largest F1, where predictions with at least that score are made.

    Args:
        scores: float (…), any order.
        hits: bool (…), whether each prediction is true.
        num_positives: number of true labels, including those not predicted.

    Returns:
        the threshold, which is one of the scores, and its F1; infinity and 0 without hits.
    """
    found, true_above, false_above = count_above(scores, hits)
    if not len(found):
        return float("inf"), 0.0
    f1 = 2 * true_above / (true_above + false_above + num_positives)
    return float(found[f1.argmax()]), float(f1.max())


def count_above(scores: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps of a precision-recall curve: true and false predictions at and above the score of each hit.

    Args:
        scores: float (…), any order.
        hits: bool (…), whether each prediction is true.

    Returns:
        three arrays, one entry per hit, smallest score first: the score, and the numbers of true and of false
        predictions with at least that score.
    """
    scores, hits = np.asarray(scores), np.asarray(hits, dtype=bool)
    true, false = scores[hits], scores[~hits]
    true.sort()  # in place, because the scores of a whole split are large
    false.sort()
    true_above, false_above = (len(ranked) - np.searchsorted(ranked, true) for ranked in (true, false))
    return true, true_above, false_above


def require_finite(scores: np.ndarray, ids: Sequence[bytes | str]) -> None:
    """Refuse scores, or the logits that they come from: of an infinite one, the sigmoid makes a 1, which tells nothing.

    Args:
        scores: float (B, C).
        ids: of the videos.

    Raises:
        NotFinite: one is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise NotFinite(f"scores of video {printable(ids[bad[0]])}", "not finite", OTHER_WEIGHTS)


class YouTube8MMetrics:
    """Streaming metrics of one split: call :meth:`update` for every batch, then :meth:`result`.

    It stores the labels and the ``top_k`` best predictions of every video (about 150 bytes with the competition's
    20), so memory grows with the number of videos, not of classes.

    Args:
        num_classes: how many classes there are, C.
        top_k: predictions per video that enter GAP and mAP (20 in the competition).
    """

    def __init__(self, num_classes: int = 3862, top_k: int = 20) -> None:
        self.num_classes, self.top_k = num_classes, min(top_k, num_classes)
        self.reset()

    def reset(self) -> None:
        """Forget all videos."""
        self._videos = np.zeros(0, dtype=self._row(np.float32))
        self._labels: np.ndarray = np.zeros(0, dtype=np.int32)  # of all videos, concatenated
        self._new: list[tuple[np.ndarray, np.ndarray]] = []  # the same for batches not yet joined
        self.num_videos = 0

    def _row(self, dtype: DTypeLike) -> np.dtype[np.void]:
        """Return the fields stored per video: its K best predictions, best first, and counts of labels, all and found.

        Args:
            dtype: of the scores.
        """
        classes = np.uint16 if self.num_classes <= 2**16 else np.uint32
        best = [("scores", dtype, self.top_k), ("classes", classes, self.top_k), ("hits", np.bool_, self.top_k)]
        return np.dtype([*best, ("num_labels", np.int32), ("found", np.int32)])

    def update(
        self,
        scores: np.ndarray,
        labels: np.ndarray | Sequence[Sequence[int]],
        ids: Sequence[bytes | str] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            scores: float (B, C), larger for more likely labels; stored as float32, or as float64 if given as such.
            labels: multi-hot (B, C), or one list of classes per video.
            ids: ids of the videos, for messages; by default their numbers.

        Raises:
            AlstmError: shapes differ, a label is not a class, or a score is not finite.
        """
        scores = np.asarray(scores)
        names = (
            [*map(printable, ids)] if ids is not None else [str(self.num_videos + row) for row in range(len(scores))]
        )
        truth = multi_hot(labels, self.num_classes, names)
        if scores.shape != truth.shape or truth.shape[1] != self.num_classes:
            problem = f"shape {scores.shape}, labels {truth.shape}, for {self.num_classes} classes"
            raise AlstmError("scores", problem, "pass (B, num_classes) for both")
        require_finite(scores, names)
        if not len(scores):
            return
        num_labels = truth.sum(axis=1)
        best = best_classes(scores, min(self.num_classes, max(self.top_k, int(num_labels.max()))))  # (B, depth)
        ranked, hits = (np.take_along_axis(values, best, axis=1) for values in (scores, truth))
        videos = np.zeros(len(scores), dtype=self._row(np.result_type(scores, np.float32)))
        for name, values in (("scores", ranked), ("classes", best), ("hits", hits)):
            videos[name] = values[:, : self.top_k]
        videos["num_labels"] = num_labels
        among_first_n = np.arange(best.shape[1]) < num_labels[:, None]
        videos["found"] = (hits & among_first_n & (ranked > 0)).sum(axis=1)
        self._add(videos, np.nonzero(truth)[1])

    def _add(self, videos: np.ndarray, labels: np.ndarray) -> None:
        self._new.append((videos, labels.astype(np.int32)))
        self.num_videos += len(videos)
        if self.num_videos > 2 * len(self._videos):  # rarely enough to be cheap, often enough to save memory
            self._join()

    def _join(self) -> None:
        """Concatenate the arrays of all batches."""
        if self._new:
            videos, labels = zip((self._videos, self._labels), *self._new, strict=True)
            self._new = []
            # NumPy promotes such rows wrongly (seen in 2.2: wrong numbers), so convert all to one dtype first.
            row = self._row(np.result_type(*(part["scores"].dtype for part in videos)))
            self._videos = np.concatenate([part.astype(row, copy=False) for part in videos])
            self._labels = np.concatenate(labels)

    def merge(self, other: YouTube8MMetrics) -> None:
        """Add the videos of another object with the same classes and top_k.

        Raises:
            AlstmError: the other object has different ones.
        """
        if (other.num_classes, other.top_k) != (self.num_classes, self.top_k):
            problem = f"{other.num_classes} classes and the best {other.top_k}, not {self.num_classes} and {self.top_k}"
            raise AlstmError("metrics to merge", problem, "create both with the same num_classes and top_k")
        other._join()
        self._add(other._videos, other._labels)

    def gather(self, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
        """Add the videos of other processes; the result is then bit-identical to that of a single process.

        Args:
            exchange: returns the rows of all processes, given those of this one; see ``ranks.Ranks.gather``.
        """
        self._join()
        widest = exchange(np.array([self._videos["scores"].itemsize])).max()
        videos = self._videos.astype(self._row(np.dtype(f"f{widest}")))
        whole = exchange(videos.view(np.uint8).reshape(len(videos), videos.itemsize))  # (all videos, bytes per video)
        self._videos = np.ascontiguousarray(whole).view(videos.dtype).reshape(-1)
        self._labels = exchange(self._labels)
        self.num_videos = len(self._videos)

    def subset(self, rows: np.ndarray) -> YouTube8MMetrics:
        """Return the metrics of some videos, given by their numbers (N,) in order of arrival; numbers may repeat."""
        self._join()
        counts = self._videos["num_labels"].astype(np.int64)
        first = np.cumsum(counts) - counts  # where the labels of each video start
        chosen, starts = counts[rows], first[rows]
        some = YouTube8MMetrics(self.num_classes, self.top_k)
        some._add(self._videos[rows], self._labels[stretches(starts, chosen)])
        return some

    def hit_at_1(self) -> float:
        """Return the share of videos whose best class is one of their labels; a video without labels is a miss."""
        self._join()
        return int(self._videos["hits"][:, 0].sum()) / max(self.num_videos, 1)

    def perr(self) -> float:
        """Return the precision at equal recall rate: the mean share of a video's n labels among its best n classes.

        Only scores above 0 count. A video without labels counts as 0.
        """
        self._join()
        # Sum integers for each n first, so that not even the last digit depends on the order of the videos.
        found = np.bincount(self._videos["num_labels"], self._videos["found"])
        return float((found / np.maximum(np.arange(len(found)), 1)).sum() / max(self.num_videos, 1))

    def pool(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the best ``top_k`` predictions of every video: scores (N, K), best first, and whether each is true."""
        self._join()
        return self._videos["scores"], self._videos["hits"]

    def gap(self) -> float:
        """Return the global average precision: that of all predictions in one pool, over all labels."""
        return average_precision(*self.pool(), len(self._labels))

    def positives(self) -> np.ndarray:
        """Return the number of videos with each class as a label; int64 (C,)."""
        self._join()
        return np.bincount(self._labels, minlength=self.num_classes)

    def by_class(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Yield, for each class, the scores and hits of its part of the pool, and its number of positives."""
        positives = self.positives()
        (scores, hits), classes = self.pool(), self._videos["classes"]  # (N, K) each
        for start in range(0, self.num_classes, CLASSES_AT_ONCE):
            some = np.arange(start, min(start + CLASSES_AT_ONCE, self.num_classes))
            where = np.nonzero((classes >= some[0]) & (classes <= some[-1]))
            order = np.argsort(classes[where], kind="stable")
            bounds = np.searchsorted(classes[where][order], some[1:])
            for index, chosen in zip(some, np.split(order, bounds), strict=True):
                at = where[0][chosen], where[1][chosen]
                yield scores[at], hits[at], int(positives[index])

    def class_ap(self) -> np.ndarray:
        """Return the average precision of each class in its part of the pool; float64 (C,), 0 without positives."""
        return np.array([average_precision(*part) for part in self.by_class()])

    def mean_ap(self) -> float:
        """Return the mean of :meth:`class_ap` over all classes."""
        return float(self.class_ap().mean())

    def result(self) -> dict[str, float]:
        """Return every metric of ``METRICS`` by its key, in [0, 1], and ``num_videos``.

        A video without labels counts as a miss for Hit@1 and PERR, and its predictions as false for GAP.
        mAP is the mean over all classes; a class without positives has an AP of 0.
        """
        return {**{metric.key: metric.compute(self) for metric in METRICS}, "num_videos": self.num_videos}


class Metric(NamedTuple):
    """One metric. All output of metrics reads ``METRICS``, so a new metric is one entry there.

    Args:
        key: its name in files.
        title: its name in the log and on the command line.
        compute: returns its value for all videos so far; larger is better.
        in_log: whether the training log has it; it is computed for every line of the log.
        in_folds: whether ``crossval.json`` has it for each fold.
    """

    key: str
    title: str
    compute: Callable[[YouTube8MMetrics], float]
    in_log: bool = True
    in_folds: bool = True


METRICS = (
    Metric("hit_at_1", "Hit@1", YouTube8MMetrics.hit_at_1),
    Metric("perr", "PERR", YouTube8MMetrics.perr, in_folds=False),
    Metric("gap", "GAP", YouTube8MMetrics.gap),
    Metric("map", "mAP", YouTube8MMetrics.mean_ap, in_log=False, in_folds=False),
)
LOGGED = tuple(metric for metric in METRICS if metric.in_log)


def metrics_text(values: Mapping[str, float], metrics: Sequence[Metric] = METRICS) -> str:
    """Return metrics, given by key, as text such as ``Hit@1 0.8885  PERR 0.8012``."""
    return "  ".join(f"{metric.title} {values[metric.key]:.4f}" for metric in metrics)


def require_labels(labels: Iterable[int], num_classes: int, where: str) -> None:
    """Check that labels are classes of the model.

    Args:
        labels: class indices of one video.
        num_classes: C; labels from 0 to C − 1 are valid.
        where: names the video in the message.

    Raises:
        AlstmError: a label is out of range.
    """
    valid = range(num_classes)
    wrong = next((label for label in labels if label not in valid), None)  # a label may have any type
    if wrong is not None:
        problem = f"label {wrong} is out of range for {num_classes} classes"
        raise AlstmError(where, problem, "set MODEL.num_classes to match the data set, or correct the labels")


def multi_hot(labels: np.ndarray | Sequence[Sequence[int]], num_classes: int, names: Sequence[str] = ()) -> np.ndarray:
    """Return the labels of N videos as bool (N, C).

    Args:
        labels: one list of classes per video, or multi-hot (N, C).
        num_classes: C.
        names: of the videos, for the message; by default their numbers.

    Raises:
        AlstmError: a label is not a class.
    """
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        return labels.astype(bool)
    truth = np.zeros((len(labels), num_classes), dtype=bool)
    for row, classes in enumerate(labels):
        require_labels(classes, num_classes, f"video {names[row] if row < len(names) else row}")
        truth[row, list(classes)] = True
    return truth


def stretches(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return ``counts[0]`` whole numbers from ``starts[0]`` up, then ``counts[1]`` from ``starts[1]`` up, and so on."""
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # 0, 1, … within each stretch
    return np.asarray(np.repeat(starts, counts) + place)


def best_classes(scores: np.ndarray, depth: int) -> np.ndarray:
    """Return the indices (B, depth) of the largest scores (B, C), best first; in a tie, smaller classes first."""
    depth = min(depth, scores.shape[1])
    best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    worst = np.take_along_axis(scores, best, 1).min(axis=1, keepdims=True)
    tied = np.count_nonzero(scores >= worst, axis=1) > depth
    for row in np.flatnonzero(tied):  # argpartition takes any of the equal scores at the cut
        best[row] = np.argsort(-scores[row], kind="stable")[:depth]
    best.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


class ScoreCounts:
    """Histograms of the scores of true and of false labels over [0, 1], from which a precision-recall curve is drawn.

    Memory depends on neither the number of videos nor that of classes.

    Args:
        bins: K bins of equal width.
    """

    def __init__(self, bins: int = 127) -> None:
        self.bins = bins
        self.counts = np.zeros((2, bins), dtype=np.int64)  # true labels, false labels

    def update(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch: scores, float (B, C) in [0, 1], and labels, multi-hot (B, C)."""
        places = np.minimum((scores * self.bins).astype(np.int64), self.bins - 1)
        for row, members in enumerate((labels > 0, labels == 0)):
            self.counts[row] += np.bincount(places[members], minlength=self.bins)

    def gather(self, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
        """Add the counts of other processes; ``exchange`` returns the rows of all, see ``ranks.Ranks.gather``."""
        self.counts = exchange(self.counts).reshape(-1, 2, self.bins).sum(axis=0)
