"""Confidence intervals over other samples of the same kind of videos, and the comparison of two methods by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from alstm_helpers.metrics import METRICS, YouTube8MMetrics, stretches
from alstm_helpers.progress import ProgressBar, no_progress

RESAMPLES = 1000  # for the interval of the difference
# With fewer groups the interval is too narrow: of a mean's 95 %, Student's t leaves 84.5 % with 5 groups, 90 % with 10.
FEWEST_GROUPS = 10


class Difference(TypedDict):
    """The network's GAP of all videos less the baseline's, the ends of its 95 % interval, and the number of groups."""

    gap: float
    interval_95: list[float]
    groups: NotRequired[int]  # files of before have none


def interval_95(
    compute: Callable[[np.ndarray], Sequence[float] | np.ndarray],
    groups: Sequence[bytes] | range,
    resamples: int,
    *,
    seed: int = 0,
    progress: ProgressBar = no_progress,
) -> np.ndarray:
    """Return the 95 % confidence intervals of K values, float64 (2, K): lower and upper bounds.

    Each resample draws as many groups of videos as there are, with replacement (percentile bootstrap; B. Efron, Annals
    of Statistics, 1979). The interval covers neither other kinds of data nor another training.

    Args:
        compute: returns the values, (K,), of some videos, given by their numbers, which may repeat.
        groups: the name of each video's group; each video by itself has a name of its own.
        resamples: how many.
        seed: of the draws.
        progress: wraps the resampling.
    """
    _, member = np.unique(np.array(groups, dtype=object), return_inverse=True)
    order, counts = np.argsort(member, kind="stable"), np.bincount(member)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    found = []
    for _ in progress(range(resamples), total=resamples, desc="resampling"):
        drawn = rng.integers(0, len(counts), len(counts))
        found.append(compute(order[stretches(starts[drawn], counts[drawn])]))
    return np.asarray(np.quantile(np.array(found), (0.025, 0.975), axis=0))


def bootstrap_intervals(
    metrics: YouTube8MMetrics,
    resamples: int = 200,
    *,
    groups: Sequence[bytes] | None = None,
    seed: int = 0,
    progress: ProgressBar = no_progress,
) -> dict[str, list[float]]:
    """Return the 95 % confidence interval of each metric, see :func:`interval_95`; by default each video is a group."""
    found = interval_95(
        lambda rows: [metric.compute(metrics.subset(rows)) for metric in METRICS],
        range(metrics.num_videos) if groups is None else groups,
        resamples,
        seed=seed,
        progress=progress,
    )
    return {metric.key: bounds for metric, bounds in zip(METRICS, found.T.tolist(), strict=True)}


def difference(
    network: YouTube8MMetrics, baseline: YouTube8MMetrics, groups: Sequence[bytes] | range, seed: int
) -> Difference:
    """Return the difference of the GAPs, and its interval over other samples of groups: a paired bootstrap."""

    def of(rows: np.ndarray) -> list[float]:
        return [network.subset(rows).gap() - baseline.subset(rows).gap()]

    interval = interval_95(of, groups, RESAMPLES, seed=seed)[:, 0]
    gap, count = network.gap() - baseline.gap(), len(set(groups))
    return {"gap": gap, "interval_95": interval.tolist(), "groups": count}


def verdict(difference: Difference) -> str:
    """Return in words whether the network was better than the linear baseline, and what to do next.

    The interval covers other videos, but not the chance in training and in the folds.
    """
    low, high = difference["interval_95"]
    numbers = f"GAP {difference['gap']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if (groups := difference.get("groups", FEWEST_GROUPS)) < FEWEST_GROUPS:
        problem = "independent groups of clips are too few to tell the network and the linear baseline apart"
        return f"{groups} {problem}: {numbers}; label clips of more people or recordings"
    if low > 0:
        return f"the network is better than the linear baseline: {numbers}; see whether another TRAIN.seed agrees"
    remedy = "label more clips, or try another --backbone"
    if high < 0:
        return f"the linear baseline is better than the network: {numbers}; {remedy}"
    return f"the network and the linear baseline cannot be told apart: {numbers}; to tell, label more clips"
