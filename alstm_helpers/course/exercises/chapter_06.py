"""Exercises of notebook 06: reading predictions, choosing a threshold, a caller's mistake, the names of classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alstm_helpers.course.exercises.answers import a_type
from alstm_helpers.course.exercises.attempts import Attempt
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms, is_function, text_file

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


def vocabulary(rng: np.random.Generator) -> tuple[str, dict[int, str]]:
    """Return the text of a vocabulary with three traps, and its names by class.

    They are: rows that are not in order, spaces around a name, classes without a name. A name has a comma.
    """
    classes = (12 + rng.permutation(50)[:7]).tolist()  # other ones than in the notebook
    written = ['"Dogs, and cats"', "", "  ", " Food ", *rng.permutation(["Game", "Car", "Guitar", "Tree"])[:3]]
    lines = [f"{index},{rng.integers(1, 99)},/m/{index}x,{name}" for index, name in zip(classes, written, strict=True)]
    names = {index: name.strip(' "') or f"class {index}" for index, name in zip(classes, written, strict=True)}
    return "\n".join(["Index,TrainVideoCount,KnowledgeGraphId,Name", *rng.permutation(lines), ""]), names


def fault_of_names(names_of: Attempt, rng: np.random.Generator) -> str:
    """Try a function of a vocabulary's path on several, and return what is wrong with it."""
    for _ in range(3):
        text, names = vocabulary(rng)
        with text_file("vocabulary.csv", text) as path:
            found = names_of(path)
        if not isinstance(found, Mapping):
            return f"it returns {a_type(found)}; return a dict from Index to Name"
        if found and all(isinstance(name, int | np.integer) for name in found.values()):
            return "it leads from Name to Index; return a dict from Index to Name"
        if not all(isinstance(index, int | np.integer) for index in found):
            return "the classes are numbers: turn Index into an int"
        if fault := _fault_of_classes(found, names):
            return fault
    return ""


def _fault_of_classes(found: Mapping[int, object], names: Mapping[int, str]) -> str:
    for index, right in names.items():
        if index not in found:
            if found and set(found) <= set(range(len(names) + 1)):
                return f"class {index} of the file is missing; a class is the column Index, not the row"
            if right == f"class {index}":
                return f"class {index} of the file is missing; a class may have an empty name"
            return f"class {index} of the file is missing"
        if found[index] != right:
            return f"class {index} is named {found[index]!r} instead of {right!r}"
    extra = [index for index in found if index not in names]
    return f"class {extra[0]} is not in the file" if extra else ""


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_row(path: Path) -> dict[int, str]:
    return {place: row["Name"].strip() or f"class {place}" for place, row in enumerate(_rows(path))}


def _as_written(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"] for row in _rows(path)}


def _without_empty(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"].strip() for row in _rows(path) if row["Name"]}


def _with_typed_name(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"].strip() or "class 5" for row in _rows(path)}


def _right_names(path: Path) -> dict[int, str]:
    return {int(row["Index"]): row["Name"].strip() or f"class {row['Index']}" for row in _rows(path)}


def _cut_at_commas(path: Path) -> dict[int, str]:
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return {int(row[0]): row[3].strip() or f"class {row[0]}" for row in rows}


def _by_reader(path: Path) -> dict[np.int64, str]:
    with path.open(encoding="utf-8", newline="") as file:
        (_, *rows) = csv.reader(file)
    return {np.int64(row[0]): row[-1].strip() if row[-1].strip() else "class " + row[0] for row in sorted(rows)}


def _by_text(path: Path) -> dict[str, str]:
    return {row["Index"]: row["Name"].strip() for row in _rows(path)}


EXERCISES = [
    Exercise(
        "ex-6-1",
        equals(unlabelled, within=0),
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
            (lambda notebook: unlabelled(notebook) + 1, "the number is too large"),
        ),
        right=forms(unlabelled),
    ),
    Exercise(
        "ex-6-2",
        equals(lambda notebook: precision_and_recall(notebook)[1], within=6e-4),
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
            (
                lambda notebook: 100 * precision_and_recall(notebook)[1],
                "the number looks like a percentage; give the share, such as 0.25 for 25 %",
            ),
        ),
        right=(
            lambda notebook: round(precision_and_recall(notebook)[1], 3),
            *forms(lambda notebook: precision_and_recall(notebook)[1]),
        ),
    ),
    Exercise(
        "ex-6-3",
        equals(error_without_lengths, within=6e-4),
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
        right=forms(error_without_lengths)[:4],
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
            (always(_by_row), "class … of the file is missing; a class is the column Index, not the row"),
            (
                always(lambda path: {row: (name or f"class {row}").strip() for row, name in _as_written(path).items()}),
                "class … is named '' instead of 'class …'",
            ),
            (always(lambda path: list(_by_row(path))), "it returns a list; return a dict from Index to Name"),
            (always(_as_written), "class … is named … instead of …"),
            (always(_without_empty), "class … of the file is missing; a class may have an empty name"),
            (always(_with_typed_name), "class … is named 'class 5' instead of 'class …'"),
            (always(_cut_at_commas), """class … is named '"Dogs' instead of 'Dogs, and cats'"""),
            (
                always(lambda path: {0: "Made up, with a comma", 2: "A space", 5: "class 5", 11: "Food"}),
                "class … of the file is missing",
            ),
            (always(lambda path: {}), "class … of the file is missing"),
            (
                always(lambda path: {row: name for row, name in _right_names(path).items() if name != "Food"}),
                "class … of the file is missing",
            ),
            (always(lambda path: _right_names(path) | {99: "class 99"}), "class 99 is not in the file"),
            (
                always(lambda path: {name: index for index, name in _right_names(path).items()}),
                "it leads from Name to Index; return a dict from Index to Name",
            ),
            (always(_by_text), "the classes are numbers: turn Index into an int"),
        ),
        right=(always(_right_names), always(_by_reader)),
    ),
]
