"""Notebook 06: reading predictions, choosing a threshold, a caller's mistake."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.course.exercises.core import Exercise, Names, equals


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


VOCABULARY = 'Index,TrainVideoCount,Name\n11,3,Food\n0,9,"Made up, with a comma"\n5,2,\n2,1, A blank\n'
NAMES = {0: "Made up, with a comma", 2: "A blank", 5: "class 5", 11: "Food"}


def judge_names(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of a vocabulary's path, tried on one with the three traps."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocabulary.csv")
        path.write_text(VOCABULARY, encoding="utf-8")
        found = answer(path)
    if not isinstance(found, dict):
        return f"it gives a {type(found).__name__}, in which names stand by row; give a dict by the column Index"
    if not all(isinstance(index, int) for index in found):
        return "the classes are numbers: turn Index into an int"
    for index, right in NAMES.items():
        if index not in found:
            return f"class {index} is missing; an empty name is a class, too"
        if found[index] != right:
            return f"class {index} is named {found[index]!r} instead of {right!r}"
    return ""


def _rows(path: Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_row(path: Path) -> list[str]:
    return [row["Name"] for row in _rows(path)]


def _as_they_are(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"] for row in _rows(path)}


def _without_empty(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"].strip() for row in _rows(path) if row["Name"]}


def _texts(path: Path) -> dict[str, str]:
    return {row["Index"]: row["Name"].strip() for row in _rows(path)}


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
    Exercise(
        "ex-6-4",
        judge_names,
        hints=(
            "csv.DictReader gives each row as a dict: the class is int(row['Index']), wherever the row stands.",
            "strip() takes the blank away; an empty text is False.",
            "{int(row['Index']): row['Name'].strip() or f\"class {row['Index']}\" for row in …}",
        ),
        solution=(
            "def names_of(path):\n"
            '    with path.open(encoding="utf-8", newline="") as file:\n'
            "        rows = list(csv.DictReader(file))\n"
            "    return {int(row['Index']): row['Name'].strip() or f\"class {row['Index']}\" for row in rows}\n\n\n"
            "answer = names_of"
        ),
        note="Call it on the miniature above: 0 is what it says, and 11 is Food. `read_class_names` does the same.",
        mistakes=(
            (lambda names: _by_row, "it gives a list, in which names stand by row; give a dict by the column Index"),
            (lambda names: _as_they_are, "class 2 is named ' A blank' instead of 'A blank'"),
            (lambda names: _without_empty, "class 5 is missing; an empty name is a class, too"),
            (lambda names: _texts, "the classes are numbers: turn Index into an int"),
        ),
    ),
]
