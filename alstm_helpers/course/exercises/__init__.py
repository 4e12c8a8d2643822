"""Exercises that check themselves: ``check``, ``hint`` and ``solution`` for the notebooks.

Each chapter's exercises are in one file, ``chapter_NN.py``: how an answer is judged, hints, a model answer, typical
wrong answers with the message that each must get, and other right answers, which must be accepted. ``alstm course
--answers`` runs the notebooks with all of them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping

from alstm_helpers.course.exercises.core import Exercise, Verdict
from alstm_helpers.course.exercises.progress import ExerciseProgress
from alstm_helpers.errors import AlstmError

CHAPTERS = range(1, 11)


def exercises_of(chapter: int) -> list[Exercise]:
    """Return the exercises of a chapter of the source document, in order."""
    module = importlib.import_module(f"alstm_helpers.course.exercises.chapter_{chapter:02d}")
    found: list[Exercise] = module.EXERCISES
    return found


def find(name: str) -> Exercise:
    """Return an exercise by its name, such as ``ex-3-1``.

    Raises:
        AlstmError: there is no exercise of that name.
    """
    name = str(name)  # of a learner who has left it out, the answer
    chapter = name.split("-")[1] if name.count("-") == 2 else ""
    every = exercises_of(int(chapter)) if chapter.isdecimal() and int(chapter) in CHAPTERS else []
    for exercise in every:
        if exercise.name == name:
            return exercise
    raise AlstmError(name[:60], "no such exercise", 'name it as its heading does, as in check("ex-1-1", answer)')


def check(name: str, answer: object = ..., variables: Mapping[str, object] | None = None) -> Verdict:
    """Judge an answer: *not attempted*, *not yet* and why, or *correct*.

    Args:
        name: of the exercise.
        answer: the learner's; ``...`` is the untouched stub.
        variables: of the notebook, on which the right answer may depend; by default the caller's.
    """
    exercise = find(name)
    verdict = exercise.check(answer, _callers_variables() if variables is None else variables)
    with ExerciseProgress.changing() as progress:
        progress.note(name, verdict)
    verdict.enforce()
    return verdict


def hint(name: str) -> str:
    """Return the next hint, one per call; after the last one, repeat it."""
    exercise = find(name)
    with ExerciseProgress.changing() as progress:
        number = min(progress.hints(name), len(exercise.hints) - 1)
        progress.note_hint(name, number + 1)
    return Text(f"hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}")


def solution(name: str, *, now: bool = False) -> str:
    """Return the model answer after a correct answer, after the last hint, or ``now``; else how to get it."""
    exercise, progress = find(name), ExerciseProgress.load()
    if not exercise.solution:  # a wheel for a class: tools/class_wheel.py
        return Text("your instructor has the model answer")
    left = len(exercise.hints) - progress.hints(name)
    if left > 0 and not now and progress.status(name) != "correct":
        hints = "1 hint is" if left == 1 else f"{left} hints are"
        return Text(f'{hints} left: hint("{name}"). Or solution("{name}", now=True)')
    return Text(f"{exercise.solution}\n\n# {exercise.note}")


def prove(name: str, variables: Mapping[str, object] | None = None) -> str:
    """Check every typical wrong answer and every other right one, see :meth:`Exercise.prove`.

    Raises:
        AssertionError: one gets another verdict or message than it must.
    """
    exercise = find(name)
    exercise.prove(_callers_variables() if variables is None else variables)
    wrong, right = len(exercise.mistakes), len(exercise.right)
    return Text(f"{name}: {wrong} wrong answers get their own message; {right} other right ones are accepted")


class Text(str):
    """Text that a notebook shows as it is, not as a Python string."""

    def __repr__(self) -> str:
        return str(self)


def _callers_variables() -> Mapping[str, object]:
    """Return the global variables of the notebook that called a function of this module."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return frame.f_globals if frame is not None else {}


__all__ = ["CHAPTERS", "Exercise", "Verdict", "check", "exercises_of", "find", "hint", "prove", "solution"]
