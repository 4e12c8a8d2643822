"""Notebook 06: reading predictions, choosing a threshold, a caller's mistake."""

from __future__ import annotations

import numpy as np

from alstm_helpers.exercises.core import Exercise, Names, equals


def silent(names: Names) -> int:
    return sum(row["labels"][0]["score"] < 0.5 for row in names.predictions)


def lowest_threshold(names: Names) -> float:
    """The lowest of ``grid`` with a precision of 0.95 on the even-numbered videos."""
    half = names.half
    for threshold in names.grid:
        if names.precision_recall_f1(names.val_scores[half], names.val_truth[half], threshold)[0] >= 0.95:
            return float(threshold)
    return float("nan")


def recall(names: Names, *, other: bool) -> float:
    part = ~names.half if other else names.half
    measures = names.precision_recall_f1(names.val_scores[part], names.val_truth[part], lowest_threshold(names))
    return float(measures[1])


def precision(names: Names) -> float:
    part = ~names.half
    return float(names.precision_recall_f1(names.val_scores[part], names.val_truth[part], lowest_threshold(names))[0])


def error_without_lengths(names: Names) -> float:
    """The largest error of a score when every video is said to fill the batch."""
    batch = names.batch
    full = np.full(len(batch.ids), batch.rgb.shape[1])
    return float(np.abs(names.predictor(batch.rgb, batch.audio, full).scores - names.trainer_scores).max())


EXERCISES = [
    Exercise(
        "ex-6-1",
        equals(silent, within=0.5),
        hints=(
            "`predictions` holds the lines of the file, one dict a video.",
            'The labels are sorted: row["labels"][0]["score"] is the best score of a video.',
            'sum(row["labels"][0]["score"] < 0.5 for row in predictions)',
        ),
        solution='answer = sum(row["labels"][0]["score"] < 0.5 for row in predictions)',
        note="None of them is really without a label: FlashDigits has none such. The model is just not sure.",
        mistakes=(
            (lambda names: len(names.predictions) - silent(names), "those are the videos that have such a label"),
            (
                lambda names: sum(label["score"] < 0.5 for row in names.predictions for label in row["labels"]),
                "those are labels; count the videos in which even the best one is below 0.5",
            ),
            (lambda names: len(names.predictions), "those are all videos of the list"),
        ),
    ),
    Exercise(
        "ex-6-2",
        equals(lambda names: recall(names, other=True), within=1e-6),
        hints=(
            "Go through `grid` from below; precision_recall_f1(val_scores[half], val_truth[half], t)[0] is precision.",
            "Stop at the first threshold whose precision is at least 0.95.",
            "Then precision_recall_f1(val_scores[~half], val_truth[~half], that)[1] is the answer.",
        ),
        solution=(
            "precise = next(\n"
            "    t for t in grid if precision_recall_f1(val_scores[half], val_truth[half], t)[0] >= 0.95\n"
            ")\n"
            "answer = precision_recall_f1(val_scores[~half], val_truth[~half], precise)[1]"
        ),
        note="Precision is bought with recall. Chosen on one half and reported on the other, the price is honest.",
        mistakes=(
            (
                lambda names: recall(names, other=False),
                "that is the recall on the half it was chosen on; take the other",
            ),
            (precision, "that is the precision on the other half; the recall is asked for"),
            (lowest_threshold, "that is the threshold; give the recall that it has on the other half"),
        ),
    ),
    Exercise(
        "ex-6-3",
        equals(error_without_lengths, within=1e-5),
        hints=(
            "np.full(len(batch.ids), batch.rgb.shape[1]) says that every video has T seconds.",
            "Call predictor(batch.rgb, batch.audio, that) and take its scores.",
            "np.abs(… - trainer_scores).max()",
        ),
        solution=(
            "full = np.full(len(batch.ids), batch.rgb.shape[1])\n"
            "wrong_scores = predictor(batch.rgb, batch.audio, full).scores\n"
            "answer = np.abs(wrong_scores - trainer_scores).max()"
        ),
        note="Here the attention sees the padding as well, not the LSTM alone: the mask is made from the lengths, too.",
        mistakes=(
            (lambda names: float(names.error.max()), "that is the error of the bare conversion, from above"),
            (lambda names: 0.0, "0 would mean that lengths do not matter; did you pass T for every video?"),
        ),
    ),
]
