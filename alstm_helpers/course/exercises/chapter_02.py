"""Exercises of chapter 2, notebook 00: a gradient without calculus, a doctor's report, threads."""

from __future__ import annotations

import numpy as np

from alstm_helpers.course.exercises.answers import numbers
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms, is_text


def judge_speed(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a ratio of two measured speeds by whether it is plausible, since it differs between machines."""
    (ratio,) = numbers(answer, 1)
    if ratio > 5:
        return "that looks like GFLOP/s, or like a percentage; give the ratio of the two speeds, such as 0.85"
    if ratio <= 0:
        return "two speeds are above 0, and so is their ratio"
    if ratio < 0.01:
        return "so large a difference is not plausible; divide one speed in GFLOP/s by the other"
    if ratio > 1.6:
        return "more threads than cores do not compute that much faster; is the ratio inverted?"
    return ""


EXERCISES = [
    Exercise(
        "ex-2-1",
        equals(lambda notebook: float(notebook.by_hand[0, 0]), within=0.002),
        hints=(
            "A function loss_at(change) helps: copy w, add the change to element [0, 0], return the loss.",
            "((np.tanh(x @ moved) - t) ** 2).sum() is the loss.",
            "(loss_at(0.001) - loss_at(-0.001)) / 0.002; copy w as float64, or rounding swamps the difference.",
        ),
        solution=(
            "def loss_at(change):\n"
            '    moved = w.astype("float64")\n'
            "    moved[0, 0] += change\n"
            "    return ((np.tanh(x @ moved) - t) ** 2).sum()\n\n\n"
            "answer = (loss_at(0.001) - loss_at(-0.001)) / 0.002"
        ),
        note="Close, not equal: the curve bends a little within the 0.002, and numbers are rounded.",
        mistakes=(
            (
                lambda notebook: 2 * float(notebook.by_hand[0, 0]),
                "that is twice too large: the distance from −0.001 to 0.001 is 0.002",
            ),
            (lambda notebook: -float(notebook.by_hand[0, 0]), "the sign is wrong: loss above minus loss below"),
            (
                lambda notebook: 1000 * float(notebook.by_hand[0, 0]),
                "the number is 1000 times too large; check its unit",
            ),
            (
                lambda notebook: 0.002 * float(notebook.by_hand[0, 0]),
                "that is nearly 0: move w, and divide the difference of the losses by 0.002",
            ),
            (always(0.0), "that is nearly 0: move w, and divide the difference of the losses by 0.002"),
            (lambda notebook: notebook.by_hand, "that is the whole gradient; give one number"),
        ),
        right=forms(lambda notebook: float(notebook.by_hand[0, 0]) + 0.001),
    ),
    Exercise(
        "ex-2-2",
        is_text("paddlepaddle", otherwise="look at the second column of the lines that say FAIL"),
        hints=(
            "Of two failures, one may follow from the other.",
            "Can a package that is not installed be imported?",
            "Fix the first FAIL, and the second goes away.",
        ),
        solution='answer = "paddlepaddle"',
        note="The import fails because the package is missing. And without Paddle, the speed cannot be measured.",
        mistakes=(
            (
                always("paddle import"),
                "a package that is not installed cannot be imported: this line is the consequence",
            ),
            (always("numpy"), "numpy only says WARN: not the tested version, but it works"),
            (always("OMP_NUM_THREADS"), "that line says WARN: slow, not broken"),
            (always("speed"), "there is no such line; the second question asks why"),
            (always("python"), "look at the second column of the lines that say FAIL"),
            (always(["paddlepaddle"]), "that is a list; give a text, in quotes"),
        ),
        right=(always("paddlepaddle"), always("PaddlePaddle "), always("`paddlepaddle`.")),
    ),
    Exercise(
        "ex-2-3",
        judge_speed,
        hints=(
            "runtime.recommended_environment() gives the settings, a dict; change one of its values.",
            '{**runtime.recommended_environment(), "OMP_NUM_THREADS": str(4 * runtime.usable_cores())}',
            'speed_with(…)[1] is the speed; divide it by measured["OpenMP on all cores"][1].',
        ),
        solution=(
            'many = runtime.recommended_environment() | {"OMP_NUM_THREADS": str(4 * runtime.usable_cores())}\n'
            'answer = speed_with(many)[1] / measured["OpenMP on all cores"][1]'
        ),
        note="More threads than cores wait for one another. The ratio is about 1 at best, and often much less.",
        mistakes=(
            (
                lambda notebook: 10 + notebook.measured["OpenMP on all cores"][1],
                "that looks like GFLOP/s, or like a percentage; give the ratio of the two speeds, such as 0.85",
            ),
            (
                always(4.0),
                "more threads than cores do not compute that much faster; is the ratio inverted?",
            ),
            (always(1e-4), "so large a difference is not plausible; divide one speed in GFLOP/s by the other"),
            (always(0.0), "two speeds are above 0, and so is their ratio"),
            (lambda notebook: notebook.measured["recommended"], "that is a tuple of 4; give one number"),
        ),
        right=(always(1), always(0.4), always(np.array([[0.9]]))),
    ),
]
