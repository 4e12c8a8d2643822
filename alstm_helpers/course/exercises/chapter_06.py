"""Exercises of notebook 06: reading predictions, choosing a threshold, a caller's mistake, the names of classes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from alstm_helpers.course.exercises.core import (
    Exercise,
    Function,
    Notebook,
    a_type,
    always,
    equals,
    is_function,
    text_file,
)

# --- 6.1 to 6.3: numbers computed from the notebook's variables ---------------------------------------------------


def unlabelled(notebook: Notebook) -> int:
    """Return the number of videos without a label that scores at least 0.5."""
    return sum(row["labels"][0]["score"] < 0.5 for row in notebook.predictions)


def lowest_threshold(notebook: Notebook) -> float:
    """Return the lowest threshold of ``grid`` with a precision of 0.95 on the even-numbered videos, or NaN."""
    half = notebook.half
    for threshold in notebook.grid:
        if notebook.precision_recall_f1(notebook.val_scores[half], notebook.val_truth[half], threshold)[0] >= 0.95:
            return float(threshold)
    return float("nan")


def precision_and_recall(notebook: Notebook, *, other_half: bool = True) -> tuple[float, float]:
    """Return precision and recall of that threshold on the other half, or on the half it was chosen on."""
    part = ~notebook.half if other_half else notebook.half
    precision, recall, _ = notebook.precision_recall_f1(
        notebook.val_scores[part], notebook.val_truth[part], lowest_threshold(notebook)
    )
    return float(precision), float(recall)


def error_without_lengths(notebook: Notebook) -> float:
    """Return the largest error of a score when every video is declared to be as long as the batch."""
    batch = notebook.batch
    full = np.full(len(batch.ids), batch.rgb.shape[1])
    return float(np.abs(notebook.predictor(batch.rgb, batch.audio, full).scores - notebook.trainer_scores).max())


# --- 6.4: the names of classes ------------------------------------------------------------------------------------

VOCABULARY = 'Index,TrainVideoCount,Name\n11,3,Food\n0,9,"Made up, with a comma"\n5,2,\n2,1, A space\n'
CLASS_NAMES = {0: "Made up, with a comma", 2: "A space", 5: "class 5", 11: "Food"}


def fault_of_names(names_of: Function) -> str:
    """Try a function of a vocabulary's path on one with three traps, and return what is wrong with it.

    The traps: rows that are not in order, a space before a name, and a class without a name.
    """
    with text_file("vocabulary.csv", VOCABULARY) as path:
        found = names_of(path)
    if not isinstance(found, dict):
        return f"it returns {a_type(found)}; return a dict from Index to Name"
    if not all(isinstance(index, int) for index in found):
        return "the classes are numbers: turn Index into an int"
    for index, right in CLASS_NAMES.items():
        if index not in found:
            return f"class {index} is missing; a class may have an empty name"
        if found[index] != right:
            return f"class {index} is named {found[index]!r} instead of {right!r}"
    return ""


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_row(path: Path) -> list[str]:
    return [row["Name"] for row in _rows(path)]


def _unstripped(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"] for row in _rows(path)}


def _without_empty(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"].strip() for row in _rows(path) if row["Name"]}


def _by_text(path: Path) -> dict[str, str]:
    return {row["Index"]: row["Name"].strip() for row in _rows(path)}


EXERCISES = [
    Exercise(
        "ex-6-1",
        equals(unlabelled, within=0.5),
        hints=(
            "`predictions` holds the lines of the file, one dict per video.",
            'The labels are sorted: row["labels"][0]["score"] is the best score of a video.',
            'sum(row["labels"][0]["score"] < 0.5 for row in predictions)',
        ),
        solution='answer = sum(row["labels"][0]["score"] < 0.5 for row in predictions)',
        note="Each of them has a label: FlashDigits has no video without one. The model is just not sure.",
        mistakes=(
            (
                lambda notebook: len(notebook.predictions) - unlabelled(notebook),
                "those are the videos that have such a label",
            ),
            (
                lambda notebook: sum(label["score"] < 0.5 for row in notebook.predictions for label in row["labels"]),
                "those are labels; count the videos in which even the best one is below 0.5",
            ),
            (lambda notebook: len(notebook.predictions), "those are all the videos of the list"),
        ),
    ),
    Exercise(
        "ex-6-2",
        equals(lambda notebook: precision_and_recall(notebook)[1], within=1e-6),
        hints=(
            "Go up through `grid`; precision_recall_f1(val_scores[half], val_truth[half], t)[0] is the precision.",
            "Stop at the first threshold whose precision is at least 0.95.",
            "Then precision_recall_f1(val_scores[~half], val_truth[~half], that)[1] is the answer.",
        ),
        solution=(
            "precise = next(\n"
            "    t for t in grid if precision_recall_f1(val_scores[half], val_truth[half], t)[0] >= 0.95\n"
            ")\n"
            "answer = precision_recall_f1(val_scores[~half], val_truth[~half], precise)[1]"
        ),
        note="Precision costs recall. A threshold chosen on one half and reported on the other gives an honest figure.",
        mistakes=(
            (
                lambda notebook: precision_and_recall(notebook, other_half=False)[1],
                "that is the recall on the half that the threshold was chosen on; take the other half",
            ),
            (
                lambda notebook: precision_and_recall(notebook)[0],
                "that is the precision on the other half; give the recall",
            ),
            (lowest_threshold, "that is the threshold; give its recall on the other half"),
        ),
    ),
    Exercise(
        "ex-6-3",
        equals(error_without_lengths, within=1e-5),
        hints=(
            "np.full(len(batch.ids), batch.rgb.shape[1]) declares that every video has T seconds.",
            "Call predictor(batch.rgb, batch.audio, that) and take its scores.",
            "np.abs(… - trainer_scores).max()",
        ),
        solution=(
            "full = np.full(len(batch.ids), batch.rgb.shape[1])\n"
            "wrong_scores = predictor(batch.rgb, batch.audio, full).scores\n"
            "answer = np.abs(wrong_scores - trainer_scores).max()"
        ),
        note="Here not only the LSTM but also the attention sees the padding: the mask, too, is made from the lengths.",
        mistakes=(
            (lambda notebook: float(notebook.error.max()), "that is the error without sequence_lens, from above"),
            (always(0.0), "0 would mean that lengths do not matter; did you pass T for every video?"),
        ),
    ),
    Exercise(
        "ex-6-4",
        is_function(fault_of_names),
        hints=(
            "csv.DictReader gives each row as a dict: the class is int(row['Index']), wherever the row is.",
            "strip() removes the space; an empty text counts as False.",
            "{int(row['Index']): row['Name'].strip() or f\"class {row['Index']}\" for row in …}",
        ),
        solution=(
            "def names_of(path):\n"
            '    with path.open(encoding="utf-8", newline="") as file:\n'
            "        rows = list(csv.DictReader(file))\n"
            "    return {int(row['Index']): row['Name'].strip() or f\"class {row['Index']}\" for row in rows}\n\n\n"
            "answer = names_of"
        ),
        note="Call it on the miniature above: each class has its own name. `read_class_names` does the same.",
        mistakes=(
            (always(_by_row), "it returns a list; return a dict from Index to Name"),
            (always(_unstripped), "class 2 is named ' A space' instead of 'A space'"),
            (always(_without_empty), "class 5 is missing; a class may have an empty name"),
            (always(_by_text), "the classes are numbers: turn Index into an int"),
        ),
    ),
]
