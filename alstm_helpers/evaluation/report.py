"""The report of ``alstm eval`` beside the metrics: confidence intervals, results per class, and thresholds."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.intervals import bootstrap_intervals
from alstm_helpers.files import atomic_write, cell, write_json
from alstm_helpers.metrics import YouTube8MMetrics, best_f1
from alstm_helpers.progress import ProgressBar, no_progress

# What goes beside the metrics.
BESIDE = REPORT, CLASSES, PRECISION_RECALL, CLASS_AP = (
    "report.json",
    "classes.csv",
    "precision_recall.png",
    "classes.png",
)


class FrequencyBand(TypedDict):
    """Mean AP over the ``classes`` classes whose positives are in a range, such as ``10–99``."""

    positives: str
    classes: int
    ap: float


class ClassRow(TypedDict):
    """One row of ``classes.csv``; ``threshold`` is None where no prediction of the class is true."""

    index: int
    name: str | None
    positives: int
    ap: float
    threshold: float | None
    f1: float


class BestF1(TypedDict):
    """The threshold for all classes with the largest F1; None where no prediction is true."""

    threshold: float | None
    f1: float


class BatchAveragedGap(TypedDict):
    """The mean of the GAPs inside batches, and what it means."""

    value: float
    batch_size: int
    meaning: str


class Details(TypedDict):
    """The content of ``report.json``.

    ``interval_95`` has a lower and an upper bound for each metric; ``weights_sha256`` tells which weights were judged.
    """

    frequency_bands: list[FrequencyBand]
    best_f1: BestF1
    batch_averaged_gap: BatchAveragedGap
    interval_95: NotRequired[dict[str, list[float]]]
    weights_sha256: NotRequired[str]


class Report(NamedTuple):
    """The metrics with ``loss``, as ``metrics.json`` has them, and the content of ``report.json``."""

    metrics: dict[str, float]
    details: Details


@dataclass(frozen=True)
class ReportOptions:
    """Settings of a report.

    Args:
        batch_size: for the batch-averaged GAP.
        names: class names by index.
        resamples: for the confidence intervals; 0 leaves them out.
        groups: a name for each video that related ones share, in the order of the metrics; None if none are related.
        weights_sha256: of the file with the weights that are judged, if it is to be noted.
        where: the videos come from, for errors.
    """

    batch_size: int
    names: Mapping[int, str] = field(default_factory=dict)
    resamples: int = 200
    groups: Sequence[bytes] | None = None
    weights_sha256: str | None = None
    where: str = "the list"


def batch_averaged_gap(metrics: YouTube8MMetrics, batch_size: int) -> float:
    """Return the mean of the GAPs inside batches, in order of arrival: PaddleVideo's number, which is too high.

    Use it only to compare with numbers that were computed this way.
    """
    starts = range(0, metrics.num_videos, batch_size)
    rows = np.arange(metrics.num_videos)
    return float(np.mean([metrics.subset(rows[start : start + batch_size]).gap() for start in starts]))


def frequency_bands(positives: np.ndarray, ap: np.ndarray) -> list[FrequencyBand]:
    """Return the mean AP of classes with 1 to 9 positives, with 10 to 99, and so on; leave out classes without any.

    Args:
        positives: videos of each class, int (C,).
        ap: average precision of each class, float (C,).
    """
    positives, ap = positives[positives > 0], ap[positives > 0]
    powers = np.floor(np.log10(positives)).astype(int)
    bands: list[FrequencyBand] = []
    for power in np.unique(powers).tolist():
        members = powers == power
        limits = f"{10**power}–{10 ** (power + 1) - 1}"
        bands.append({"positives": limits, "classes": int(members.sum()), "ap": float(ap[members].mean())})
    return bands


def class_rows(metrics: YouTube8MMetrics, names: Mapping[int, str]) -> list[ClassRow]:
    """Return one row per class: its positives, its AP, and the threshold with the largest F1."""
    rows: list[ClassRow] = []
    for index, (part, ap) in enumerate(zip(metrics.by_class(), metrics.class_ap(), strict=True)):
        scores, hits, positives = part
        best = _best_f1(scores, hits, positives)
        rows.append({"index": index, "name": names.get(index), "positives": positives, "ap": float(ap), **best})
    return rows


def _best_f1(scores: np.ndarray, hits: np.ndarray, num_positives: int) -> BestF1:
    threshold, f1 = best_f1(scores, hits, num_positives)
    return {"threshold": threshold if f1 else None, "f1": f1}


def write_report(
    metrics: YouTube8MMetrics,
    loss: float,
    path: str | os.PathLike[str],
    options: ReportOptions,
    *,
    progress: ProgressBar = no_progress,
) -> Report:
    """Write the metrics to ``path``, and beside it ``report.json``, ``classes.csv`` and two figures.

    Args:
        metrics: of all videos of the split.
        loss: mean per video.
        path: of the file with the metrics and the loss, and nothing else.
        options: batch size, class names, resamples.
        progress: wraps the resampling, see :mod:`alstm_helpers.progress`.

    Returns:
        what was written to ``path`` and to ``report.json``.

    Raises:
        AlstmError: no video has a label; nothing is written.
    """
    if not metrics.positives().any():
        problem = f"none of its {metrics.num_videos} videos has a label"
        raise AlstmError(options.where, problem, "evaluate a split that has labels; alstm predict needs none")
    path = Path(path)
    classes = class_rows(metrics, options.names)
    report = Report({**metrics.result(), "loss": loss}, _details(metrics, classes, options, progress))
    _write_classes(path.with_name(CLASSES), classes)
    _write_figures(path.parent, metrics, classes)
    write_json(path.with_name(REPORT), report.details)
    write_json(path, report.metrics)
    return report


def _details(
    metrics: YouTube8MMetrics, classes: Sequence[ClassRow], options: ReportOptions, progress: ProgressBar
) -> Details:
    details: Details = {
        "frequency_bands": frequency_bands(*_columns(classes)),
        "best_f1": _best_f1(*metrics.pool(), int(metrics.positives().sum())),
        "batch_averaged_gap": {
            "value": batch_averaged_gap(metrics, options.batch_size),
            "batch_size": options.batch_size,
            "meaning": "mean of the GAPs inside batches, as PaddleVideo reports it; do not compare it with gap",
        },
    }
    if options.weights_sha256:
        details["weights_sha256"] = options.weights_sha256
    is_drawn = options.groups is None or len(set(options.groups)) > 1  # of one group every draw is the whole
    if not options.resamples or not is_drawn:
        return details
    intervals = bootstrap_intervals(metrics, options.resamples, groups=options.groups, progress=progress)
    return {"interval_95": intervals, **details}


def _columns(classes: Sequence[ClassRow]) -> tuple[np.ndarray, np.ndarray]:
    """Return positives, int64 (C,), and AP, float64 (C,)."""
    return np.array([row["positives"] for row in classes]), np.array([row["ap"] for row in classes])


def _write_classes(path: Path, classes: Sequence[ClassRow]) -> None:
    with atomic_write(path, "w") as file:
        table = csv.DictWriter(file, list(ClassRow.__annotations__), lineterminator="\n")
        table.writeheader()
        table.writerows({**row, "name": cell(row["name"] or "")} for row in classes)


def _write_figures(folder: Path, metrics: YouTube8MMetrics, classes: Sequence[ClassRow]) -> None:
    from alstm_helpers.figures import plots

    positives = int(metrics.positives().sum())
    plots.save_png(plots.precision_recall(*metrics.pool(), positives), folder / PRECISION_RECALL)
    plots.save_png(plots.class_ap(*_columns(classes)), folder / CLASS_AP)
