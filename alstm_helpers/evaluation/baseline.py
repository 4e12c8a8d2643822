"""The linear baseline: logistic regression on the mean and the spread of a video's features over time.

It knows no order, and has nothing to choose but the strength of its penalty. So it is what a network must beat to be
worth its training, above all with few videos.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.pickles import checked
from alstm_helpers.tfrecord import MAX_FRAMES, Video, dequantize

STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0)  # C, the inverse of the penalty
FEW = 1e-2  # C where there are too few videos to choose it


class _Divide(Protocol):
    """Divides N videos, given by their numbers, into parts: see ``crossval.folds_of``."""

    def __call__(self, rows: np.ndarray, parts: int, /) -> list[np.ndarray]: ...


def pooled(videos: Sequence[Video]) -> np.ndarray:
    """Return mean and standard deviation over time of each number of each video, float32 (N, 2 · (1024 + 128)).

    As for the network, seconds beyond the 300th do not count. A video of 0 seconds has zeros.
    """
    return np.stack([np.concatenate([_moments(video.rgb), _moments(video.audio)]) for video in map(checked, videos)])


def _moments(frames: np.ndarray) -> np.ndarray:
    """Return means and standard deviations over time, (2 · D,), of uint8 (T, D)."""
    values = dequantize(frames[:MAX_FRAMES]) if len(frames) else np.zeros((1, frames.shape[1]), np.float32)
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def baseline_scores(
    inputs: np.ndarray, labels: np.ndarray, learn: np.ndarray, judged: np.ndarray, divide: _Divide
) -> np.ndarray:
    """Return the scores of the judged videos, float32 (M, C), by a regression that the others taught.

    Args:
        inputs: float32 (N, D), see :func:`pooled`.
        labels: bool (N, C). Where each video to learn from has one, the scores of a video add up to 1; otherwise each
            class has a regression of its own.
        learn: numbers of the videos to learn from.
        judged: numbers of M others.
        divide: divides ``learn`` into parts, by which the strength of the penalty is chosen.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # One thread: on matrices as small as these, others only wait for each other, on a busy machine for minutes.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its best so far is used, and compared with the others'
        warnings.filterwarnings("ignore", "Label .* is present in (all|not .*) training examples")
        strength = _strength(inputs, labels, learn, divide)
        taught, others = _rotated(inputs[learn], inputs[judged])
        return _scores(taught, labels[learn], others, strength)


def _strength(inputs: np.ndarray, labels: np.ndarray, learn: np.ndarray, divide: _Divide) -> float:
    """Return the C of the lowest cross-entropy on parts that did not teach the regression."""
    parts = divide(learn, 3)
    if len(parts) < 2:
        return FEW
    losses = np.zeros(len(STRENGTHS))
    for part in parts:
        others = np.setdiff1d(learn, part)
        taught, judged = _rotated(inputs[others], inputs[part])
        for place, strength in enumerate(STRENGTHS):
            scores = np.clip(_scores(taught, labels[others], judged, strength), 1e-6, 1 - 1e-6)
            losses[place] -= np.where(labels[part], np.log(scores), np.log(1 - scores)).sum()
    return STRENGTHS[int(losses.argmin())]


def _rotated(learn: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return N inputs to learn from, standardised, float (N, N), and M others in the same way, (M, N).

    The weights of a penalised regression lie in the space that its N inputs span, and turning the axes changes no
    penalty. So along N axes in that space it is the same regression as along all D, which are many more.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(learn)
    axes = np.linalg.svd(scaler.transform(learn), full_matrices=False)[2]  # (min(N, D), D)
    return scaler.transform(learn) @ axes.T, scaler.transform(judged) @ axes.T


def _scores(learn: np.ndarray, labels: np.ndarray, judged: np.ndarray, strength: float) -> np.ndarray:
    """Return scores, float32 (M, C), of M inputs by a regression that N inputs with labels (N, C) taught."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    scores = np.zeros((len(judged), labels.shape[1]), np.float32)
    known = np.flatnonzero(labels.any(axis=0))  # (K,)
    if len(known) < 2:
        scores[:, known] = 1
        return scores
    model: Any = LogisticRegression(C=strength, max_iter=1000)
    if (labels.sum(axis=1) == 1).all():
        model.fit(learn, labels.argmax(axis=1))
    else:
        model = OneVsRestClassifier(model).fit(learn, labels[:, known].astype(int))
    scores[:, known] = model.predict_proba(judged)
    return scores


def no_skill_gap(labels: np.ndarray, top_k: int) -> float:
    """Return the GAP of scores that know how often each class occurs, and nothing of a video.

    Args:
        labels: bool (N, C).
        top_k: how many labels of a video count, see :class:`alstm_helpers.metrics.YouTube8MMetrics`.
    """
    metrics = YouTube8MMetrics(labels.shape[1], top_k)
    metrics.update(np.broadcast_to(labels.mean(axis=0, dtype=np.float32), labels.shape), labels)
    return metrics.gap()
