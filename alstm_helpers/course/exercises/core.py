"""What an exercise is, and the judges that most of them share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRICT = "ALSTM_STRICT"  # set to 1, anything but a right answer ends the notebook: for CI


class NotThere(Exception):
    """A variable of the notebook that a judge needs does not exist yet."""


class Names:
    """The notebook's variables as attributes; one that is missing says which cells to run."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name not in self._values:
            raise NotThere(f"`{name}` does not exist yet; run the cells above first")
        return self._values[name]


@dataclass(frozen=True)
class Verdict:
    """What :func:`check` found; ``status`` is ``not attempted``, ``not yet`` or ``correct``."""

    name: str
    status: str
    why: str = ""

    def __repr__(self) -> str:
        if self.status == "correct":
            return f"{self.name}: ✓ correct. {self.why}"
        if self.status == "not yet":
            return f'{self.name}: not yet: {self.why} (hint("{self.name}") helps)'
        return f'{self.name}: not attempted. hint("{self.name}") gives a hint, solution("{self.name}") comes last'

    def enforce(self) -> None:
        """In strict mode, anything but a right answer is an error."""
        if os.environ.get(STRICT) == "1" and self.status != "correct":
            raise AssertionError(repr(self))


Make = Callable[[Names], Any]  # makes a value from what the notebook knows
Judge = Callable[[Any, Names, "Exercise"], str]  # says why an answer is not right yet, or nothing


@dataclass(frozen=True)
class Exercise:
    """One exercise, whole.

    Args:
        name: ``ex-<chapter>-<number>``.
        judge: says why an answer is not right yet, or an empty text.
        hints: one step at a time, the last nearly gives it away.
        solution: a model answer, as code that sets ``answer``.
        note: what a right answer means; shown with it.
        mistakes: typical wrong answers, each made from the notebook's variables, and what it is told.
    """

    name: str
    judge: Judge
    hints: tuple[str, ...]
    solution: str
    note: str
    mistakes: tuple[tuple[Make, str], ...]

    def check(self, answer: Any, values: Mapping[str, Any]) -> Verdict:
        """Judge an answer, whatever it is."""
        if answer is ...:
            return Verdict(self.name, "not attempted")
        try:
            why = self.judge(answer, Names(values), self)
        except NotThere as error:
            return Verdict(self.name, "not yet", str(error))
        except Exception as error:  # an answer may be anything, and a function of a learner may raise anything
            why = f"the answer cannot be used ({type(error).__name__}: {str(error)[:120]})"
        return Verdict(self.name, "not yet", why) if why else Verdict(self.name, "correct", self.note)

    def prove(self, values: Mapping[str, Any]) -> int:
        """Try every typical wrong answer; returns how many there were."""
        names = Names(values)
        for make, message in self.mistakes:
            verdict = self.check(make(names), values)
            assert verdict.status == "not yet", f"{self.name}: {make(names)!r} is {verdict.status}"
            assert verdict.why == message, f"{self.name}: {make(names)!r} is told {verdict.why!r}, not {message!r}"
        assert self.mistakes, f"{self.name}: no typical wrong answer"
        return len(self.mistakes)


def as_number(value: Any) -> float | None:
    """A finite number, also from an array of one; None for anything else."""
    try:
        found = float(np.asarray(value).item() if not isinstance(value, bool) else "no")
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def numbers(answer: Any, count: int) -> list[float] | str:
    """That many numbers, or what is wrong with the answer."""
    if isinstance(answer, str | bytes | Mapping):
        return f"that is a {type(answer).__name__}; {_wanted(count)}"
    try:
        values = list(np.atleast_1d(np.asarray(answer, dtype=object)).ravel())
    except (TypeError, ValueError):
        return f"that is a {type(answer).__name__}; {_wanted(count)}"
    found = [as_number(value) for value in values]
    if len(found) != count or any(value is None for value in found):
        shown = f"a {type(answer).__name__}" + (f" of {len(values)}" if len(values) != 1 or count != 1 else "")
        return f"that is {shown}; {_wanted(count)}"
    return [value for value in found if value is not None]


def _wanted(count: int) -> str:
    return "one number is asked for" if count == 1 else f"{count} numbers are asked for, as a tuple"


def equals(expected: Make, *, within: float | Sequence[float], otherwise: str = "") -> Judge:
    """A judge of one or more numbers: right within a distance; a typical wrong answer is told its message.

    Args:
        expected: makes the number, or the tuple of numbers.
        within: largest distance of each.
        otherwise: said of a wrong number that is not typical; by default whether it is too small or too large.
    """

    def judge(answer: Any, names: Names, exercise: Exercise) -> str:
        right = [float(value) for value in np.atleast_1d(expected(names))]
        limits = np.broadcast_to(within, len(right)).tolist()
        found = numbers(answer, len(right))
        for make, message in exercise.mistakes:
            if _same(answer, make(names), limits) and not _near(found, right, limits):
                return message
        if isinstance(found, str):
            return found
        if _near(found, right, limits):
            return ""
        place = next(i for i, (a, b) in enumerate(zip(found, right, strict=True)) if abs(a - b) > limits[i])
        which = f"number {place + 1} of the {len(right)}" if len(right) > 1 else "the number"
        return otherwise or f"{which} is too {'small' if found[place] < right[place] else 'large'}"

    return judge


def _near(found: Any, right: Sequence[float], limits: Sequence[float]) -> bool:
    if isinstance(found, str) or len(found) != len(right):
        return False
    return all(abs(a - b) <= limit for a, b, limit in zip(found, right, limits, strict=True))


def _same(answer: Any, mistake: Any, limits: Sequence[float]) -> bool:
    """Whether an answer is a typical wrong one: equal, or as near as the right one would have to be."""
    shapes = [np.shape(value) if not isinstance(value, str | Mapping) else None for value in (answer, mistake)]
    if None in shapes or shapes[0] != shapes[1]:
        return type(answer) is type(mistake) and not callable(answer) and bool(answer == mistake)
    try:
        a, b = (np.asarray(value, dtype=float).ravel() for value in (answer, mistake))
    except (TypeError, ValueError):
        return False
    widths = np.broadcast_to(limits, a.shape) if len(limits) in (1, a.size) else np.full(a.shape, min(limits))
    return bool((np.abs(a - b) <= widths).all())


def is_text(expected: str, *, otherwise: str) -> Judge:
    """A judge of a text; case and blanks around it do not count."""

    def tidy(value: Any) -> str:
        return " ".join(str(value).split()).lower()

    def judge(answer: Any, names: Names, exercise: Exercise) -> str:
        if not isinstance(answer, str):
            return f"that is a {type(answer).__name__}; a text is asked for, in quotes"
        if tidy(answer) == tidy(expected):
            return ""
        for make, message in exercise.mistakes:
            if tidy(answer) == tidy(make(names)):
                return message
        return otherwise

    return judge
