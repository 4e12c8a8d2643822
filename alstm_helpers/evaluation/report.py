"""What ``alstm eval`` tells beyond the four metrics: how sure they are, where they come from, and a threshold."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, write_json
from alstm_helpers.metrics import YouTube8MMetrics, best_f1
from alstm_helpers.progress import ProgressBar, no_progress

METRICS = ("hit_at_1", "perr", "gap", "map")


def bootstrap_intervals(
    metrics: YouTube8MMetrics, resamples: int = 200, *, seed: int = 0, progress: ProgressBar = no_progress
) -> dict[str, list[float]]:
    """Where each metric would lie with other videos of the same kind: its middle 95 % over resampled splits.

    Each resample draws as many videos as there are, with replacement (B. Efron, Annals of Statistics, 1979; the
    percentile interval). It says nothing about other data, nor about another training.
    """
    rng = np.random.default_rng(seed)
    found = [
        metrics.subset(rng.integers(0, metrics.num_videos, metrics.num_videos)).result()
        for _ in progress(range(resamples), total=resamples, desc="resampling")
    ]
    return {name: np.quantile([row[name] for row in found], (0.025, 0.975)).tolist() for name in METRICS}


def batch_averaged_gap(metrics: YouTube8MMetrics, batch_size: int) -> float:
    """The mean of the GAPs inside batches of videos as they came: PaddleVideo's number, which is too high.

    For comparing with numbers that were made so, and for nothing else.
    """
    starts = range(0, metrics.num_videos, batch_size)
    rows = np.arange(metrics.num_videos)
    return float(np.mean([metrics.subset(rows[start : start + batch_size]).gap() for start in starts]))


def frequency_bands(positives: np.ndarray, ap: np.ndarray) -> list[dict[str, Any]]:
    """Mean AP of classes with 1 to 9 positives in this split, with 10 to 99, and so on; classes without are left out.

    Args:
        positives: int (C,).
        ap: float (C,).
    """
    powers = np.floor(np.log10(np.maximum(positives, 1))).astype(int)
    bands = []
    for power in np.unique(powers[positives > 0]).tolist():
        members = (positives > 0) & (powers == power)
        limits = f"{10**power}–{10 ** (power + 1) - 1}"
        bands.append({"positives": limits, "classes": int(members.sum()), "ap": float(ap[members].mean())})
    return bands


def class_rows(metrics: YouTube8MMetrics, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """For each class ``index, name, positives, ap``, and the ``threshold`` with the largest ``f1``.

    A class of which nothing is found has no threshold.
    """
    rows = []
    for index, (part, ap) in enumerate(zip(metrics.by_class(), metrics.class_ap(), strict=True)):
        threshold, f1 = best_f1(*part)
        shown = threshold if f1 else None
        row = {"index": index, "name": names.get(index), "positives": part[2], "ap": float(ap)}
        rows.append({**row, "threshold": shown, "f1": f1})
    return rows


def write_report(
    metrics: YouTube8MMetrics,
    loss: float,
    path: str | os.PathLike[str],
    *,
    batch_size: int,
    names: Mapping[int, str] | None = None,
    resamples: int = 200,
    progress: ProgressBar = no_progress,
) -> dict[str, Any]:
    """Write the metrics to ``path``; beside it ``report.json``, ``classes.csv`` and two figures.

    Args:
        metrics: of the split.
        loss: the mean of a video.
        path: of the file with the metrics and the loss, the six numbers alone.
        batch_size: for the batch-averaged GAP.
        names: of the classes.
        resamples: for the intervals; 0 leaves them out.
        progress: wraps the resampling, see :mod:`alstm_helpers.progress`.

    Returns:
        the metrics, the loss, and what ``report.json`` holds.

    Raises:
        AlstmError: no video has a label.
    """
    import matplotlib.pyplot as plt

    from alstm_helpers.figures import plots

    if not metrics.positives().any():
        problem = f"none of its {metrics.num_videos} videos has a label"
        raise AlstmError("the list", problem, "evaluate a split that has labels; alstm predict needs none")
    folder = Path(path).parent
    classes = class_rows(metrics, names or {})
    positives, ap = (np.array([row[key] for row in classes]) for key in ("positives", "ap"))
    scores, hits = metrics.pool()
    threshold, f1 = best_f1(scores, hits, int(positives.sum()))
    result = {**metrics.result(), "loss": loss}
    summary: dict[str, Any] = {}
    if resamples:
        summary["interval_95"] = bootstrap_intervals(metrics, resamples, progress=progress)
    summary["frequency_bands"] = frequency_bands(positives, ap)
    summary["best_f1"] = {"threshold": threshold if f1 else None, "f1": f1}
    summary["batch_averaged_gap"] = {
        "value": batch_averaged_gap(metrics, batch_size),
        "batch_size": batch_size,
        "meaning": "mean of the GAPs inside batches, as PaddleVideo reports it; do not compare it with gap",
    }
    with atomic_write(folder / "classes.csv", "w") as file:
        table = csv.DictWriter(file, classes[0], lineterminator="\n")
        table.writeheader()
        table.writerows(classes)
    figures = {
        "precision_recall": plots.precision_recall(scores, hits, int(positives.sum())),
        "classes": plots.class_ap(positives, ap),
    }
    for name, figure in figures.items():
        with atomic_write(folder / f"{name}.png") as file:
            figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
        plt.close(figure)
    write_json(folder / "report.json", summary)
    write_json(path, result)
    return {**result, **summary}
