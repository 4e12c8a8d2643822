"""Predictions for a list of shards: best classes of every video, with names and scores."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.data.dataset import Batch
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.files import atomic_write, require_file, write_json_lines
from alstm_helpers.metrics import best_classes
from alstm_helpers.model import AttentionLSTM


def read_thresholds(given: str, num_classes: int) -> np.ndarray:
    """The score from which on each class counts; float (C,).

    Args:
        given: a number for all classes; or a file that ``alstm eval`` chose them with on labelled videos:
            ``report.json`` (one for all) or ``classes.csv`` (one a class; a class without one is never given).
        num_classes: C.

    Raises:
        AlstmError: neither a number in [0, 1] nor such a file.
    """
    remedy = "pass a number from 0 to 1, or eval's report.json or classes.csv"
    limits = np.full(num_classes, np.inf)
    try:
        if given.endswith(".json"):
            report = json.loads(require_file(given, remedy).read_text(encoding="utf-8"))
            limits[:] = float(report["best_f1"]["threshold"])
        elif given.endswith(".csv"):
            with require_file(given, remedy).open(encoding="utf-8-sig", newline="") as file:
                rows = [(int(row["index"]), row["threshold"]) for row in csv.DictReader(file)]
            for index, text in rows:
                limits[index] = float(text or "inf")
        else:
            limits[:] = float(given)
            if not 0 <= limits[0] <= 1:
                raise ValueError
    except (ValueError, KeyError, TypeError, IndexError):
        raise AlstmError(f"--threshold {given}", "no thresholds for these classes", remedy) from None
    return limits


def predict(
    net: AttentionLSTM,
    batches: Iterable[Batch],
    *,
    top_k: int,
    class_names: dict[int, str] | None = None,
    thresholds: np.ndarray | None = None,
) -> Iterable[dict[str, Any]]:
    """Yield ``{"video": id, "labels": [{"index", "name", "score"}, …]}`` for every video, best label first.

    A score is the sigmoid of the class's logit: each class is judged on its own, so scores do not sum to one. With
    ``thresholds`` (C,) only labels that reach theirs are given, which may be none.
    """
    names = class_names or {}
    for batch, scores, _ in score_batches(net, batches):
        best = best_classes(scores, top_k)
        for video, row, indices in zip(batch.ids, scores, best.tolist(), strict=True):
            labels = [
                {"index": index, "name": names.get(index), "score": round(float(row[index]), 6)}
                for index in indices
                if thresholds is None or row[index] >= thresholds[index]
            ]
            yield {"video": video.decode(errors="backslashreplace"), "labels": labels}


def write_predictions(rows: Iterable[dict[str, Any]], save_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Write ``predictions.jsonl`` and the competition's ``predictions.csv``; return the rows.

    The CSV has the columns ``VideoId,LabelConfidencePairs``, the pairs as ``index score index score …``.
    """
    rows = list(rows)
    save_dir = Path(save_dir)
    write_json_lines(save_dir / "predictions.jsonl", rows)
    with atomic_write(save_dir / "predictions.csv", "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("VideoId", "LabelConfidencePairs"))
        for row in rows:
            pairs = " ".join(f"{label['index']} {label['score']:.6f}" for label in row["labels"])
            table.writerow((row["video"], pairs))
    return rows
