"""Exercises of notebook 05: the metrics by hand, a change of scale, averaging over batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alstm_helpers.course.exercises.answers import a_type, as_number, fault_of_number
from alstm_helpers.course.exercises.attempts import Attempt
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms, is_function
from alstm_helpers.metrics import YouTube8MMetrics

# --- 5.1: three metrics by hand -----------------------------------------------------------------------------------

BY_HAND = {"hit_at_1": 1.0, "perr": 1.0, "gap": (1 + 1 + 3 / 4) / 3}
MESSAGES = {
    "hit_at_1": "hit_at_1: the best class of video A is 0, that of video B is 1; are they true?",
    "perr": "perr: video B has two labels, so its two best classes count",
    "gap": "gap: pool all six scores, sort them, and take the precision at each true one",
}
GAPS = {  # typical wrong GAPs, and what leads to them
    1.0: "gap: look at 0.6, class 2 of video A: it is false, and ranks above a true one",
    (1 + 1 + 3 / 4) / 2: "gap: divide by all three true labels, not by the two videos",
    (1 + 1 + 3 / 4 + 1) / 4: "gap: there are three true labels in the split, not four",
    (1 + 1 / 2 * (1 + 1)) / 2: "gap: look at 0.6, class 2 of video A: it is false, and ranks above a true one",
    (1 + 1 + 2 / 3) / 3: "gap: the pool is sorted by score: 0.6 comes before 0.5, so the third true one has rank 4",
}


def judge_by_hand(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge three metrics by name; the message is about the first wrong one."""
    if not isinstance(answer, Mapping):
        return f"that is {a_type(answer)}; write a dict with hit_at_1, perr and gap"
    missing = [key for key in BY_HAND if key not in answer]
    if missing:
        return f"{missing[0]} is missing"
    for key in BY_HAND:
        if fault := _fault_of_metric(key, as_number(answer[key])):
            return fault
    return ""


def _fault_of_metric(key: str, found: float | None) -> str:
    if found is None:
        return f"{key}: that is not a number"
    fault = fault_of_number(found, BY_HAND[key], 0.005, f"{key}: the number")
    typical = [message for gap, message in GAPS.items() if key == "gap" and abs(found - gap) <= 0.005]
    if fault and typical:
        return typical[0]
    return MESSAGES[key] if fault.endswith(("too small", "too large")) else fault


def by_hand(**changes: float) -> dict[str, float]:
    """Return the right metrics with some changed."""
    return {**BY_HAND, **changes}


# --- 5.2 to 5.4: GAP of all videos and of batches -----------------------------------------------------------------


def gap(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the GAP of scores against multi-hot labels, both (videos, classes)."""
    metrics = YouTube8MMetrics(scores.shape[1])
    metrics.update(scores, truth)
    return metrics.gap()


def global_gap(notebook: Notebook) -> float:
    """Return the GAP of the validation split."""
    return gap(notebook.val_scores, notebook.val_truth)


def scaled_gap(notebook: Notebook) -> float:
    """Return the GAP after each video's scores are divided by the largest of them."""
    return gap(notebook.val_scores / notebook.val_scores.max(axis=1, keepdims=True), notebook.val_truth)


def mean_gap_of_fours(notebook: Notebook) -> float:
    """Return the mean of the GAPs within batches of four, in order."""
    scores, truth = notebook.val_scores, notebook.val_truth
    parts = [slice(first, first + 4) for first in range(0, len(scores), 4)]
    return _mean_of_batches([(scores[part], truth[part]) for part in parts])


def _mean_of_batches(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return float(np.mean([gap(scores, truth) for scores, truth in batches]))


def fault_of_gap(pooled_gap: Attempt, rng: np.random.Generator) -> str:
    """Try a function of batches on the same videos in batches of several sizes, and return what is wrong with it."""
    for size in (40, 8, 3, int(rng.integers(4, 8)), 1):
        batches = _telling_batches(size, rng)
        count, right = sum(len(scores) for scores, _ in batches), _joined(batches)
        found = as_number(pooled_gap(batches))
        if found is None or abs(found - right) > 1e-4:
            shown = "no number" if found is None else f"{found:.5f}"
            return f"for {count} videos in batches of {size} it returns {shown}; the GAP of them all is {right:.5f}"
    return ""


def _telling_batches(size: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw videos until no mean over their batches, if they are several, is close to the GAP of them all."""
    while True:
        count = int(rng.integers(20, 40))
        truth = rng.random((count, 20)) < 0.3  # as many classes as in the notebook
        scores = (rng.random((count, 20)) + 0.2 * truth) * rng.uniform(0.1, 0.8, (count, 1))  # videos differ in scale
        batches = [(scores[first : first + size], truth[first : first + size]) for first in range(0, count, size)]
        means = (_mean_of_batches(batches), _weighted_mean(batches))
        if len(batches) == 1 or min(abs(mean - gap(scores, truth)) for mean in means) > 1e-3:
            return batches


def _scaled_by_batch(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return _joined([(scores / scores.max(), truth) for scores, truth in batches])


def _scaled_in_place(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    for scores, _ in batches:
        scores /= scores.max()
    return _joined(batches)


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return gap(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def _weighted_mean(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    sizes = [len(scores) for scores, _ in batches]
    return float(np.average([gap(scores, truth) for scores, truth in batches], weights=sizes))


def _with_metrics_of_its_own() -> Callable[[list[tuple[np.ndarray, np.ndarray]]], float]:
    """Return a function that updates the same metrics in each call."""
    metrics = YouTube8MMetrics(20)

    def pooled_gap(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
        for scores, truth in batches:
            metrics.update(scores, truth)
        return metrics.gap()

    return pooled_gap


def _from_its_definition(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    pairs = [pair for scores, truth in batches for pair in zip(scores.ravel(), truth.ravel(), strict=True)]
    hits = np.array([hit for _, hit in sorted(pairs, key=lambda pair: -pair[0])])
    return float((hits * hits.cumsum() / np.arange(1, len(hits) + 1)).sum() / hits.sum())


EXERCISES = [
    Exercise(
        "ex-5-1",
        judge_by_hand,
        hints=(
            "Hit@1: the best class of A is 0, of B is 1.",
            "PERR: A has one label, so its best class counts; B has two, so its best two count.",
            "GAP: in order of score, 0.9 A0 true, 0.8 B1 true, 0.6 A2 false, 0.5 B0 true, … Precisions 1/1, 2/2, 3/4.",
        ),
        solution='answer = {"hit_at_1": 1, "perr": 1, "gap": (1 + 1 + 3 / 4) / 3}',
        note="Only GAP notices that video A's false 0.6 ranks above video B's true 0.5: it compares across videos.",
        mistakes=(
            (always(by_hand(gap=1.0)), GAPS[1.0]),
            (always(by_hand(gap=(1 + 1 + 3 / 4) / 2)), GAPS[(1 + 1 + 3 / 4) / 2]),
            (always(by_hand(gap=(1 + 1 + 2 / 3) / 3)), GAPS[(1 + 1 + 2 / 3) / 3]),
            (
                always(by_hand(hit_at_1=0.5)),
                MESSAGES["hit_at_1"],
            ),
            (always(by_hand(perr=0.75)), MESSAGES["perr"]),
            (always({"hit_at_1": 1, "perr": 1}), "gap is missing"),
            (
                always(by_hand(gap=91.7)),
                "gap: the number looks like a percentage; give the share, such as 0.25 for 25 %",
            ),
            (always(by_hand(gap=0.9)), "gap: the number is rounded too much; give more digits"),
            (always(by_hand(gap=0.91)), "gap: the number is rounded too much; give more digits"),
            (always({**BY_HAND, "perr": "1"}), "perr: that is not a number"),
            (always(0.92), "that is a float; write a dict with hit_at_1, perr and gap"),
        ),
        right=(
            always({"gap": 0.92, "perr": 1, "hit_at_1": 1}),
            always({**BY_HAND, "map": 0.5, "num_videos": 2}),
            always({key: np.array([value]) for key, value in BY_HAND.items()}),
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
        note="Within a video the order stays the same, so Hit@1 and PERR do. Across videos it changes, and GAP falls.",
        mistakes=(
            (
                global_gap,
                "that is the GAP of the old scores; dividing them all by one number does not change it either",
            ),
            (lambda notebook: scaled_gap(notebook) - global_gap(notebook), "that is the difference; give the new GAP"),
            (
                lambda notebook: 100 * scaled_gap(notebook),
                "the number looks like a percentage; give the share, such as 0.25 for 25 %",
            ),
        ),
        right=(lambda notebook: round(scaled_gap(notebook), 4), *forms(scaled_gap)),
    ),
    Exercise(
        "ex-5-3",
        equals(lambda notebook: mean_gap_of_fours(notebook) - global_gap(notebook), within=2e-4),
        hints=(
            "gap_of(val_scores[part], val_truth[part]) is the GAP within a batch.",
            "The batches are slice(0, 4), slice(4, 8), … in the order of the videos.",
            "Average them, and subtract gap_of(val_scores, val_truth).",
        ),
        solution=(
            "parts = [slice(first, first + 4) for first in range(0, len(val_scores), 4)]\n"
            "inside = [gap_of(val_scores[part], val_truth[part]) for part in parts]\n"
            "answer = np.mean(inside) - gap_of(val_scores, val_truth)"
        ),
        note="Hit@1 would not suffer: it is a mean over videos, and so equals a mean of means over equal batches.",
        mistakes=(
            (mean_gap_of_fours, "that is the mean itself; give its excess over the global GAP"),
            (
                lambda notebook: global_gap(notebook) - mean_gap_of_fours(notebook),
                "the sign is wrong: take the mean over batches minus the global GAP",
            ),
            (global_gap, "that is the global GAP; compare the mean over batches with it"),
        ),
        right=forms(lambda notebook: mean_gap_of_fours(notebook) - global_gap(notebook)),
    ),
    Exercise(
        "ex-5-4",
        is_function(fault_of_gap),
        hints=(
            "A mean of GAPs is not a GAP: predictions of different batches are never compared.",
            "YouTube8MMetrics takes batch after batch; or join them with np.concatenate.",
            "Make one YouTube8MMetrics, update it with every batch, and read the result once, at the end.",
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
                always(_mean_of_batches),
                "for … videos in batches of 8 it returns …; the GAP of them all is …",
            ),
            (
                always(_weighted_mean),
                "for … videos in batches of 8 it returns …; the GAP of them all is …",
            ),
            (
                always(_scaled_by_batch),
                "for … videos in batches of … it returns …; the GAP of them all is …",
            ),
            (
                lambda notebook: _with_metrics_of_its_own(),
                "for … videos in batches of … it returns …; the GAP of them all is …",
            ),
            (always(_scaled_in_place), "it changes the data that it is given; work on a copy"),
            (
                always(lambda batches: str(_joined(batches))),
                "for … videos in batches of … it returns no number; the GAP of them all is …",
            ),
            (always(0.9), "that is a float; give the function itself, without calling it"),
        ),
        right=(
            always(_joined),
            always(lambda batches: np.array(_joined(batches[::-1]))),
            always(_from_its_definition),
            always(lambda batches: round(_joined(batches), 4)),
        ),
    ),
]
