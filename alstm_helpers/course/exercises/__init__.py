"""Exercises that check themselves: ``check``, ``hint`` and ``solution`` for the notebooks.

Each exercise stands whole in one place, in ``chapter_NN.py``: what is right, hints, a model answer, typical wrong
answers and what each of them is told. ``alstm course --answers`` gives every typical wrong answer, and then the model
answer.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from alstm_helpers.course.exercises.core import Exercise, Names, NotThere, Verdict
from alstm_helpers.course.exercises.progress import Progress
from alstm_helpers.errors import AlstmError

CHAPTERS = range(1, 10)


def exercises_of(chapter: int) -> list[Exercise]:
    """The exercises of a notebook, in order."""
    module = importlib.import_module(f"alstm_helpers.course.exercises.chapter_{chapter:02d}")
    found: list[Exercise] = module.EXERCISES
    return found


def find(name: str) -> Exercise:
    """An exercise by its name, as ``ex-3-1``.

    Raises:
        AlstmError: there is none of that name.
    """
    chapter = name.split("-")[1] if name.count("-") == 2 else ""
    every = exercises_of(int(chapter)) if chapter.isdecimal() and int(chapter) in CHAPTERS else []
    for exercise in every:
        if exercise.name == name:
            return exercise
    raise AlstmError(str(name), "no such exercise", 'name it as its heading does, as in check("ex-1-1", answer)')


def check(name: str, answer: Any = ..., names: Mapping[str, Any] | None = None) -> Verdict:
    """Judge an answer: *not attempted*, *not yet* and why, or *correct*.

    Args:
        name: of the exercise.
        answer: the learner's; ``...`` is the untouched stub.
        names: what the notebook knows, which the right answer may depend on; by default the caller's variables.
    """
    exercise = find(name)
    verdict = exercise.check(answer, names if names is not None else _caller())
    Progress.load().note(name, verdict).save()
    verdict.enforce()
    return verdict


def hint(name: str) -> str:
    """The next hint, one a call; after the last one, that again."""
    exercise, progress = find(name), Progress.load()
    number = min(progress.hints(name), len(exercise.hints) - 1)
    progress.note_hint(name, number + 1).save()
    return Text(f"hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}")


def solution(name: str, *, now: bool = False) -> str:
    """The model answer: after a right answer, after the last hint, or ``now``."""
    exercise, progress = find(name), Progress.load()
    left = len(exercise.hints) - progress.hints(name)
    if left > 0 and not now and progress.status(name) != "correct":
        return Text(f'{left} hints are left: hint("{name}"). Or solution("{name}", now=True)')
    return Text(f"{exercise.solution}\n\n# {exercise.note}")


def prove(name: str, names: Mapping[str, Any] | None = None) -> str:
    """Give every typical wrong answer, and assert that it is told its own message.

    Raises:
        AssertionError: one is taken for right, or is told something else; or no wrong answer could be made.
    """
    exercise = find(name)
    told = exercise.prove(names if names is not None else _caller())
    return Text(f"{name}: {told} typical wrong answers, each told why")


class Text(str):
    """Text that a notebook shows as it is, not as a Python string."""

    def __repr__(self) -> str:
        return str(self)


def _caller() -> dict[str, Any]:
    """The variables of the notebook that called a function of this module."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return frame.f_globals if frame is not None else {}


__all__ = ["Exercise", "Names", "NotThere", "Verdict", "check", "exercises_of", "find", "hint", "prove", "solution"]
