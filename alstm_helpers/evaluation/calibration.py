"""Calibration: scores that are right as often as they say, by two numbers for all classes and videos.

The logit of a score is multiplied by one number, and another is added (J. Platt, Probabilistic Outputs for Support
Vector Machines, 1999). Few clips teach a network to be too sure, and two numbers can be learnt from few clips. As the
first is above 0, no two scores change places: labels, Hit@1, GAP and mAP stay the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import read_sealed

BINS = 10  # of equal width, for the calibration error
LEAST_SLOPE = 0.01  # where scores are no better than chance
PRIOR = 1.0  # 1 / variance of a normal prior of slope and offset around 1 and 0, which leave scores as they are


class Quality(TypedDict):
    """How well scores say what is true; see :func:`quality`."""

    calibration_error: float
    log_loss: float


class Calibrated(TypedDict):
    """A calibration, how many videos and classes it was fitted on, and what it is worth on others than those."""

    slope: float
    offset: float
    num_videos: int
    num_classes: int
    before: Quality
    after: Quality


class Bin(NamedTuple):
    """Videos whose best score is in one range: how many, the mean of that score, and the share that is right."""

    videos: int
    score: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """Multiplies the logit of a score by ``slope``, above 0, and adds ``offset``; by default it changes nothing."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated scores, float64, of scores in [0, 1]; a larger score never becomes the smaller one."""
        if self == UNCHANGED:
            return scores
        return np.exp(-np.logaddexp(0, -(self.slope * _logits(scores) + self.offset)))

    @classmethod
    def load(cls, path: str | os.PathLike[str], num_classes: int) -> Calibration:
        """Load the calibration that ``alstm crossval`` wrote to ``crossval.json``.

        Raises:
            AlstmError: the file is missing or damaged, has none, or is about another number of classes.
        """
        remedy = "pass the crossval.json of an `alstm crossval` on the videos that the model learnt from"
        found = read_sealed(path, remedy).get("calibration")
        try:
            slope, offset, classes = (float(found[key]) for key in ("slope", "offset", "num_classes"))  # type: ignore[index]
            if not (0 < slope < np.inf and -np.inf < offset < np.inf):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise AlstmError(path, "it holds no calibration", remedy) from None
        if classes != num_classes:
            raise AlstmError(path, f"it is about {classes:.0f} classes, the model has {num_classes}", remedy)
        return cls(slope, offset)


UNCHANGED = Calibration()


def _logits(scores: np.ndarray) -> np.ndarray:
    """Return float64 logits; those of float32 scores that differ, differ, above 1e-12."""
    inside = np.clip(np.asarray(scores, np.float64), 1e-12, 1 - 2.0**-25)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def fit(scores: np.ndarray, labels: np.ndarray) -> Calibration:
    """Return the calibration of the lowest log loss of every video and class, and nearest to none where few say so.

    Args:
        scores: float (N, C).
        labels: bool (N, C).
    """
    logits, truth = _logits(scores).ravel(), np.asarray(labels, np.float64).ravel()
    ones = np.ones_like(logits)
    slope, offset = _newton(np.stack([logits, ones]), np.zeros_like(logits), truth, np.array([1.0, 0.0]))
    if slope < LEAST_SLOPE:
        slope, (offset,) = LEAST_SLOPE, _newton(ones[None], LEAST_SLOPE * logits, truth, np.array([0.0]))
    return Calibration(float(slope), float(offset))


def _newton(inputs: np.ndarray, fixed: np.ndarray, truth: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the weights (K,) of a logistic regression with a normal prior, by Newton's method.

    Args:
        inputs: float64 (K, N).
        fixed: float64 (N,), added to the weighted inputs.
        truth: float64 (N,), 0 or 1.
        prior: float64 (K,), the mean of the prior, where the search begins.
    """

    def loss(weights: np.ndarray) -> float:
        logits = fixed + weights @ inputs
        away = weights - prior
        return float((np.logaddexp(0, logits) - truth * logits).sum() + PRIOR / 2 * (away @ away))

    weights = prior
    for _ in range(100):
        found = np.exp(-np.logaddexp(0, -(fixed + weights @ inputs)))  # (N,)
        gradient = inputs @ (found - truth) + PRIOR * (weights - prior)
        hessian = inputs * (found * (1 - found)) @ inputs.T + PRIOR * np.eye(len(prior))
        step = np.linalg.solve(hessian, gradient)
        while loss(weights - step) > loss(weights):
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def across_folds(scored: Scored) -> np.ndarray:
    """Return calibrated scores, float64 (N, C): those of each fold by what is fitted on the others."""
    if scored.folds is None:
        raise ValueError("one network scored all of them")
    found = np.zeros(scored.scores.shape)
    for number in np.unique(scored.folds):
        mine = scored.folds == number
        found[mine] = fit(scored.scores[~mine], scored.labels[~mine])(scored.scores[mine])
    return found


def calibrate(scored: Scored) -> Calibrated:
    """Fit a calibration on all folds; judge it by calibrating each fold with what the others say."""
    calibration = fit(scored.scores, scored.labels)
    return {
        "slope": calibration.slope,
        "offset": calibration.offset,
        "num_videos": len(scored.ids),
        "num_classes": scored.scores.shape[1],
        "before": quality(scored.scores, scored.labels),
        "after": quality(across_folds(scored), scored.labels),
    }


def reliability(scores: np.ndarray, labels: np.ndarray) -> list[Bin]:
    """Return how often the best label of a video is right, for each range of its score that occurs, lowest first.

    Args:
        scores: float (N, C).
        labels: bool (N, C).
    """
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    sure, right = scores[rows, best], labels[rows, best]
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    chosen = (place == number for number in np.unique(place))
    return [Bin(int(some.sum()), float(sure[some].mean()), float(right[some].mean())) for some in chosen]


def quality(scores: np.ndarray, labels: np.ndarray) -> Quality:
    """Return the expected calibration error of the best label, and the log loss.

    The error is the mean distance, over videos, between the score and the share that is right in its range
    (C. Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599). The log loss is summed over classes
    and averaged over videos, as ``loss`` in ``metrics.json`` is.

    Args:
        scores: float (N, C).
        labels: bool (N, C).
    """
    error = sum(part.videos * abs(part.score - part.right) for part in reliability(scores, labels)) / len(scores)
    logits = _logits(scores)
    losses = np.logaddexp(0, logits) - np.where(labels, logits, 0)  # (N, C)
    return {"calibration_error": error, "log_loss": float(losses.sum(axis=1).mean())}
