"""Notebook 05: the metrics by hand, what a change of scale does, averaging over batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alstm_helpers.course.exercises.core import Exercise, Names, as_number, equals
from alstm_helpers.metrics import YouTube8MMetrics

BY_HAND = {"hit_at_1": 1.0, "perr": 1.0, "gap": (1 + 1 + 3 / 4) / 3}
GAPS = {  # typical wrong GAPs, and where they come from
    1.0: "gap: look at 0.6, class 2 of video A: it is false, and stands above a true one",
    (1 + 1 + 3 / 4) / 2: "gap: divide by all three true labels, not by the two videos",
    (1 + 1 + 3 / 4 + 1) / 4: "gap: there are three true labels in the split, not four",
    (1 + 1 / 2 * (1 + 1)) / 2: "gap: look at 0.6, class 2 of video A: it is false, and stands above a true one",
    (1 + 1 + 2 / 3) / 3: "gap: the pool is sorted by score: 0.6 comes before 0.5, so the third true one has rank 4",
}


def judge_by_hand(answer: Any, names: Names, exercise: Exercise) -> str:
    """Three metrics by name; the first that is wrong is named."""
    if not isinstance(answer, Mapping):
        return f"that is a {type(answer).__name__}; write a dict with hit_at_1, perr and gap"
    missing = [key for key in BY_HAND if key not in answer]
    if missing:
        return f"{missing[0]} is missing"
    for key, right in BY_HAND.items():
        found = as_number(answer[key])
        if found is None:
            return f"{key}: that is no number"
        if abs(found - right) <= 0.005:
            continue
        if key == "hit_at_1":
            return "hit_at_1: the best class of video A is 0, that of video B is 1; are they true?"
        if key == "perr":
            return "perr: video B has two labels, so its two best classes count"
        near = [message for value, message in GAPS.items() if abs(found - value) <= 0.005]
        return near[0] if near else "gap: pool all six scores, sort, and take the precision at each true one"
    return ""


def by_hand(**changes: float) -> dict[str, float]:
    return {**BY_HAND, **changes}


def gap(scores: np.ndarray, truth: np.ndarray) -> float:
    metrics = YouTube8MMetrics(scores.shape[1])
    metrics.update(scores, truth)
    return metrics.gap()


def scaled_gap(names: Names) -> float:
    """GAP after each video's scores are divided by its largest."""
    return gap(names.val_scores / names.val_scores.max(axis=1, keepdims=True), names.val_truth)


def batches_of_four(names: Names) -> float:
    """The mean of the GAPs inside batches of four, in order."""
    scores, truth = names.val_scores, names.val_truth
    parts = [slice(first, first + 4) for first in range(0, len(scores), 4)]
    return float(np.mean([gap(scores[part], truth[part]) for part in parts]))


def whole_gap(names: Names) -> float:
    return gap(names.val_scores, names.val_truth)


Batches = list[tuple[np.ndarray, np.ndarray]]


def judge_gap(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of batches, tried on the same videos cut in several ways."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    rng = np.random.default_rng(0)
    truth = rng.random((24, 6)) < 0.3
    scores = rng.random((24, 6)) + 0.2 * truth
    for size in (24, 8, 3, 10):
        cuts = [slice(first, first + size) for first in range(0, 24, size)]
        found = as_number(answer([(scores[cut], truth[cut]) for cut in cuts]))
        if found is None or abs(found - gap(scores, truth)) > 1e-6:
            return f"24 videos in batches of {size} do not have the GAP that they have at once"
    return ""


def _mean_of_batches(batches: Batches) -> float:
    return float(np.mean([gap(scores, truth) for scores, truth in batches]))


EXERCISES = [
    Exercise(
        "ex-5-1",
        judge_by_hand,
        hints=(
            "Hit@1: the best class of A is 0, of B is 1.",
            "PERR: A has one label, so its best class counts; B has two, so its best two count.",
            "GAP: in order of score 0.9 A0 true, 0.8 B1 true, 0.6 A2 false, 0.5 B0 true, … Precisions 1/1, 2/2, 3/4.",
        ),
        solution='answer = {"hit_at_1": 1, "perr": 1, "gap": (1 + 1 + 3 / 4) / 3}',
        note="Only GAP sees that video A's false 0.6 stands above video B's true 0.5: it compares across videos.",
        mistakes=(
            (lambda names: by_hand(gap=1.0), GAPS[1.0]),
            (lambda names: by_hand(gap=(1 + 1 + 3 / 4) / 2), GAPS[(1 + 1 + 3 / 4) / 2]),
            (lambda names: by_hand(gap=(1 + 1 + 2 / 3) / 3), GAPS[(1 + 1 + 2 / 3) / 3]),
            (
                lambda names: by_hand(hit_at_1=0.5),
                "hit_at_1: the best class of video A is 0, that of video B is 1; are they true?",
            ),
            (lambda names: by_hand(perr=0.75), "perr: video B has two labels, so its two best classes count"),
            (lambda names: {"hit_at_1": 1, "perr": 1}, "gap is missing"),
            (lambda names: 0.92, "that is a float; write a dict with hit_at_1, perr and gap"),
        ),
    ),
    Exercise(
        "ex-5-2",
        equals(scaled_gap, within=1e-4),
        hints=(
            "val_scores.max(axis=1, keepdims=True) is the largest score of each video, (N, 1).",
            "Feed val_scores divided by that, and val_truth, to YouTube8MMetrics(num_classes).",
            'answer = metrics.result()["gap"]',
        ),
        solution=(
            "metrics = YouTube8MMetrics(num_classes)\n"
            "metrics.update(val_scores / val_scores.max(axis=1, keepdims=True), val_truth)\n"
            'answer = metrics.result()["gap"]'
        ),
        note="Inside a video the order stays, so Hit@1 and PERR stay. Across videos it changes, and GAP falls.",
        mistakes=(
            (whole_gap, "that is the GAP of the old scores; dividing all by one number changes nothing, either"),
            (lambda names: scaled_gap(names) - whole_gap(names), "that is the difference; give the new GAP"),
        ),
    ),
    Exercise(
        "ex-5-3",
        equals(lambda names: batches_of_four(names) - whole_gap(names), within=1e-3),
        hints=(
            "gap_of(val_scores[part], val_truth[part]) is the GAP inside a batch.",
            "The batches are slice(0, 4), slice(4, 8), … in the order in which the videos stand.",
            "Average them, and subtract gap_of(val_scores, val_truth).",
        ),
        solution=(
            "parts = [slice(first, first + 4) for first in range(0, len(val_scores), 4)]\n"
            "inside = [gap_of(val_scores[part], val_truth[part]) for part in parts]\n"
            "answer = np.mean(inside) - gap_of(val_scores, val_truth)"
        ),
        note="Hit@1 would not suffer: it is a mean over videos, and so a mean of means over equal batches.",
        mistakes=(
            (batches_of_four, "that is the mean itself; give its excess over the global GAP"),
            (
                lambda names: whole_gap(names) - batches_of_four(names),
                "the sign is the other way round: batch mean minus global",
            ),
            (whole_gap, "that is the global GAP; compare the mean over batches with it"),
        ),
    ),
    Exercise(
        "ex-5-4",
        judge_gap,
        hints=(
            "A mean of GAPs is no GAP: predictions of different batches are never compared.",
            "YouTube8MMetrics takes batch after batch; or join them with np.concatenate.",
            "Make one YouTube8MMetrics, update it with every batch, and ask once, at the end.",
        ),
        solution=(
            "def pooled_gap(batches):\n"
            "    metrics = YouTube8MMetrics(batches[0][0].shape[1])\n"
            "    for s, t in batches:\n"
            "        metrics.update(s, t)\n"
            '    return metrics.result()["gap"]\n\n\n'
            "answer = pooled_gap"
        ),
        note="Run the cell above with it: the same number for every batch size.",
        mistakes=(
            (
                lambda names: _mean_of_batches,
                "24 videos in batches of 8 do not have the GAP that they have at once",
            ),
            (
                lambda names: lambda batches: gap(*batches[0]) + 1,
                "24 videos in batches of 24 do not have the GAP that they have at once",
            ),
            (lambda names: 0.9, "that is a float; give the function itself, without calling it"),
        ),
    ),
]
