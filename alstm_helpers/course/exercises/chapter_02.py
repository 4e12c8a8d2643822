"""Notebook 02: a gradient without calculus, a doctor's report, threads."""

from __future__ import annotations

from typing import Any

from alstm_helpers.course.exercises.core import Exercise, Names, equals, is_text, numbers


def judge_speed(answer: Any, names: Names, exercise: Exercise) -> str:
    """A ratio of two measured speeds: what is plausible, since it differs from machine to machine."""
    found = numbers(answer, 1)
    if isinstance(found, str):
        return found
    if found[0] > 5:
        return "that looks like GFLOP/s; divide by the speed of the recommended settings"
    if found[0] > 1.6 or found[0] <= 0:
        return "more threads than cores do not compute that much faster; is the ratio the other way round?"
    return ""


EXERCISES = [
    Exercise(
        "ex-2-1",
        equals(lambda names: float(names.by_hand[0, 0]), within=0.02),
        hints=(
            "A function loss_at(change) helps: copy w, add the change to element [0, 0], return the loss.",
            "((np.tanh(x @ moved) - t) ** 2).sum() is the loss.",
            "(loss_at(0.001) - loss_at(-0.001)) / 0.002; copy w as float64, or the difference drowns in rounding.",
        ),
        solution=(
            "def loss_at(change):\n"
            '    moved = w.astype("float64")\n'
            "    moved[0, 0] += change\n"
            "    return ((np.tanh(x @ moved) - t) ** 2).sum()\n\n\n"
            "answer = (loss_at(0.001) - loss_at(-0.001)) / 0.002"
        ),
        note="Close, not equal: the curve bends a little over the 0.002, and numbers are rounded.",
        mistakes=(
            (lambda names: 2 * float(names.by_hand[0, 0]), "that is twice too large: from −0.001 to 0.001 it is 0.002"),
            (lambda names: -float(names.by_hand[0, 0]), "the sign is wrong: loss above minus loss below"),
            (
                lambda names: 0.002 * float(names.by_hand[0, 0]),
                "that is the difference of the losses; divide it by 0.002",
            ),
            (lambda names: names.by_hand, "that is the whole gradient; one number is asked for"),
        ),
    ),
    Exercise(
        "ex-2-2",
        is_text("paddlepaddle", otherwise="look at the second column of the lines that say FAIL"),
        hints=(
            "Of two failures, one may follow from the other.",
            "Can a package that is not installed be imported?",
            "Mend the first FAIL; the second then mends itself.",
        ),
        solution='answer = "paddlepaddle"',
        note="The import fails because the package is missing. And speed cannot be measured without Paddle.",
        mistakes=(
            (lambda names: "paddle import", "it cannot import what is not installed: this line is the consequence"),
            (lambda names: "numpy", "numpy only says WARN: another version than tested, which works"),
            (lambda names: "OMP_NUM_THREADS", "that line says WARN: slow, not broken"),
            (lambda names: "speed", "there is no such line; why not is the second question"),
        ),
    ),
    Exercise(
        "ex-2-3",
        judge_speed,
        hints=(
            "runtime.recommended_environment() gives the settings, a dict; change one of its values.",
            '{**runtime.recommended_environment(), "OMP_NUM_THREADS": str(4 * runtime.usable_cores())}',
            'speed_with(…)[1] is the speed; divide it by measured["recommended"][1].',
        ),
        solution=(
            'many = runtime.recommended_environment() | {"OMP_NUM_THREADS": str(4 * runtime.usable_cores())}\n'
            'answer = speed_with(many)[1] / measured["recommended"][1]'
        ),
        note="Threads beyond the cores wait for one another. About 1 at best, and often much less.",
        mistakes=(
            (
                lambda names: 10 + names.measured["recommended"][1],
                "that looks like GFLOP/s; divide by the speed of the recommended settings",
            ),
            (
                lambda names: 4.0,
                "more threads than cores do not compute that much faster; is the ratio the other way round?",
            ),
            (lambda names: names.measured["recommended"], "that is a tuple of 2; one number is asked for"),
        ),
    ),
]
