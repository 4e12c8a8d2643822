"""Predictions, the best labels of every video with names and scores, and the thresholds that labels must reach."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from alstm_helpers.data.class_names import Label, label_row
from alstm_helpers.data.dataset import Batch
from alstm_helpers.errors import AlstmError, printable
from alstm_helpers.evaluation.calibration import UNCHANGED, Calibration
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.files import atomic_write, cell, read_text, require_file, write_json_lines
from alstm_helpers.metrics import best_classes
from alstm_helpers.model import AttentionLSTM

DIGITS = 6  # decimal places of a score in predictions.jsonl and predictions.csv
ASK, FEW = 5, 10  # how many videos to label next are named, if there are more than a few


class PredictionRow(TypedDict):
    """One line of ``predictions.jsonl``: a video's id and its labels, best first."""

    video: str
    labels: list[Label]


def read_thresholds(given: str, num_classes: int, calibration: Calibration = UNCHANGED) -> np.ndarray:
    """Return the smallest calibrated score that counts for each class, float64 (C,).

    Args:
        given: a number for all classes, or a file that ``alstm eval`` wrote on labelled videos: ``report.json`` (one
            threshold for all classes) or ``classes.csv`` (one per class; a class without one is never predicted).
        num_classes: how many classes there are, C.
        calibration: of the scores. Those that ``alstm eval`` saw were as the network gives them.

    Raises:
        AlstmError: ``given`` is neither a number in [0, 1] nor such a file.
    """
    remedy = "pass a number from 0 to 1, or eval's report.json or classes.csv"
    limits = np.full(num_classes, np.inf)
    try:
        if given.endswith(".json"):
            report = json.loads(read_text(require_file(given, remedy)))
            limits[:] = float(report["best_f1"]["threshold"])
        elif given.endswith(".csv"):
            for row in csv.DictReader(io.StringIO(read_text(require_file(given, remedy)), newline="")):
                limits[range(num_classes).index(int(row["index"]))] = float(row["threshold"] or "inf")
        else:
            limits[:] = float(given)
        known = limits[limits != np.inf]
        if not (known.size and ((known >= 0) & (known <= 1)).all()):  # NaN is neither
            raise ValueError
        if given.endswith((".json", ".csv")):
            limits[limits != np.inf] = calibration(known)
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error):
        raise AlstmError(f"--threshold {given}", "no thresholds for these classes", remedy) from None
    return limits


def predict(
    net: AttentionLSTM,
    batches: Iterable[Batch],
    *,
    top_k: int,
    class_names: Mapping[int, str] | None = None,
    thresholds: np.ndarray | None = None,
    calibration: Calibration = UNCHANGED,
) -> Iterator[PredictionRow]:
    """Yield ``{"video": id, "labels": [{"index", "name", "score"}, …]}`` for every video, best label first.

    A score is the sigmoid of the class's logit, calibrated, rounded to six decimal places. Each class is judged
    independently, so the scores do not sum to 1.

    Args:
        net: the network.
        batches: the videos.
        top_k: labels per video, at most.
        class_names: class names by index; None gives every label the name None.
        thresholds: float (C,); only labels whose score reaches that of their class are kept, possibly none.
        calibration: of the scores; it changes none of the labels, nor their order.
    """
    names = class_names or {}
    for batch, scores, _ in score_batches(net, batches):
        best = best_classes(scores, top_k)  # (B, K)
        shown = calibration(np.take_along_axis(scores, best, axis=1))  # (B, K)
        for video, row, indices in zip(batch.ids, shown.tolist(), best.tolist(), strict=True):
            labels = [
                label_row(index, score, names, digits=DIGITS)
                for index, score in zip(indices, row, strict=True)
                if thresholds is None or score >= thresholds[index]
            ]
            yield {"video": printable(video), "labels": labels}


def most_uncertain(rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Return the ``ASK`` videos whose best score is lowest, lowest first; none of ``FEW`` videos or less.

    To label these teaches a network more than to label others (D. Lewis and W. Gale, A Sequential Algorithm for
    Training Text Classifiers, 1994). A video none of whose labels reaches its threshold has 0.
    """
    order = sorted(rows, key=lambda row: (best_score(row), row["video"]))
    return order[:ASK] if len(rows) > FEW else []


def best_score(row: PredictionRow) -> float:
    """Return the score of a video's best label, 0 if it has none."""
    return row["labels"][0]["score"] if row["labels"] else 0.0


def write_predictions(rows: Iterable[PredictionRow], save_dir: str | os.PathLike[str]) -> list[PredictionRow]:
    """Write ``predictions.jsonl`` and the competition's ``predictions.csv``; return the rows.

    The CSV has the columns ``VideoId,LabelConfidencePairs``, the pairs as ``index score index score …``. An id that
    spreadsheets would run as a formula, which no id of YouTube is, stands behind an apostrophe.
    """
    rows = list(rows)
    save_dir = Path(save_dir)
    write_json_lines(save_dir / "predictions.jsonl", rows)
    with atomic_write(save_dir / "predictions.csv", "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("VideoId", "LabelConfidencePairs"))
        for row in rows:
            pairs = " ".join(f"{label['index']} {label['score']:.{DIGITS}f}" for label in row["labels"])
            table.writerow((cell(row["video"]), pairs))
    return rows
