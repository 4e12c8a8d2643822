"""Define an exercise, and the judges that several exercises share.

A judge returns why an answer is not right yet, or an empty text if it is right. It may also raise :class:`NotYet`:
the helpers that narrow an answer, such as :func:`numbers`, do so.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

STRICT = "ALSTM_STRICT"  # set to 1, any answer that is not correct stops the notebook: for CI

T = TypeVar("T")
Status = Literal["not attempted", "not yet", "correct"]


class NotYet(Exception):
    """An answer is not right yet; the text says why."""


class Notebook:
    """The variables of a notebook, as attributes."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        self._variables = variables

    def __getattr__(self, name: str) -> Any:  # the variables of a notebook have no declared types
        """Return a variable.

        Raises:
            NotYet: no cell has set it; the text says to run the cells above.
        """
        if name not in self._variables:
            raise NotYet(f"`{name}` does not exist yet; run the cells above first")
        return self._variables[name]


@dataclass(frozen=True)
class Verdict:
    """The result of checking an answer; ``why`` says what is wrong, or what a correct answer means."""

    name: str
    status: Status
    why: str = ""

    def __repr__(self) -> str:
        if self.status == "correct":
            return f"{self.name}: ✓ correct. {self.why}"
        if self.status == "not yet":
            return f'{self.name}: not yet: {self.why} (hint("{self.name}") helps)'
        return f'{self.name}: not attempted. hint("{self.name}") gives a hint, solution("{self.name}") comes last'

    def enforce(self) -> None:
        """Raise AssertionError in strict mode unless the answer is correct."""
        if os.environ.get(STRICT) == "1" and self.status != "correct":
            raise AssertionError(repr(self))


Make = Callable[[Notebook], object]  # makes an answer from the notebook's variables
Judge = Callable[[object, Notebook, "Exercise"], str]  # returns why an answer is not right yet, or an empty text
Function = Callable[..., object]  # a function that a learner has written


@dataclass(frozen=True)
class Exercise:
    """An exercise: how it is judged, its hints, its model answer and typical mistakes.

    Args:
        name: ``ex-<chapter>-<number>``.
        judge: returns why an answer is not right yet, or an empty text.
        hints: one step each; the last one nearly gives the answer away.
        solution: a model answer, as code that sets ``answer``.
        note: what a correct answer means; shown with the verdict and with the solution.
        mistakes: typical wrong answers, each as a function that makes it and the message that it must get.
    """

    name: str
    judge: Judge
    hints: tuple[str, ...]
    solution: str
    note: str
    mistakes: tuple[tuple[Make, str], ...]

    def check(self, answer: object, variables: Mapping[str, object]) -> Verdict:
        """Judge an answer of any type; ``...`` is the untouched stub. Never raises."""
        if answer is ...:
            return Verdict(self.name, "not attempted")
        try:
            why = self.judge(answer, Notebook(variables), self)
        except NotYet as error:
            why = str(error)
        except Exception as error:  # an answer may be anything, and a learner's function may raise anything
            why = f"the answer cannot be used ({type(error).__name__}: {str(error)[:120]})"
        return Verdict(self.name, "not yet", why) if why else Verdict(self.name, "correct", self.note)

    def prove(self, variables: Mapping[str, object]) -> int:
        """Check every typical wrong answer and return their number.

        Raises:
            AssertionError: one is judged correct or gets another message than its own; or there is none.
        """
        notebook = Notebook(variables)
        for make, message in self.mistakes:
            verdict = self.check(make(notebook), variables)
            assert verdict.status == "not yet", f"{self.name}: {make(notebook)!r} is {verdict.status}"
            assert verdict.why == message, f"{self.name}: {make(notebook)!r} gets {verdict.why!r}, not {message!r}"
        assert self.mistakes, f"{self.name}: no typical wrong answer"
        return len(self.mistakes)


def always(value: T) -> Callable[[Notebook], T]:
    """Make the same value whatever the notebook's variables are."""
    return lambda notebook: value


@contextmanager
def text_file(name: str, text: str) -> Iterator[Path]:
    """Write a text to a file of this name and give its path; the file is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8", errors="replace")
        yield path


# --- Narrowing an answer ------------------------------------------------------------------------------------------


def a_type(value: object) -> str:
    """Return the type of a value with its article, such as ``an int``."""
    name = type(value).__name__
    return f"{'an' if re.match('[aeio]|un(?!i)|ndarray', name, re.IGNORECASE) else 'a'} {name}"


def as_number(value: object) -> float | None:
    """Return a finite number, also from an array of one; None for anything else, booleans included."""
    if isinstance(value, bool):
        return None
    try:
        found = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def numbers(answer: object, count: int) -> list[float]:
    """Return the numbers of a sequence or array of any shape, flattened; a single number counts as a sequence of one.

    Raises:
        NotYet: the answer is anything but ``count`` finite numbers.
    """
    elements = _elements(answer)
    found = [number for number in map(as_number, elements) if number is not None]
    if len(elements) == len(found) == count:
        return found
    size = f" of {len(elements)}" if isinstance(answer, Sized) and len(elements) not in (0, count) else ""
    problem = "not every element is a number" if len(elements) == count > 1 else f"that is {a_type(answer)}{size}"
    wanted = "one number" if count == 1 else f"{count} numbers, as a tuple"
    raise NotYet(f"{problem}; give {wanted}")


def _elements(answer: object) -> list[object]:
    """Return the elements of an answer, flattened; none for text, mappings, and what no array can hold."""
    if isinstance(answer, str | bytes | Mapping):
        return []
    try:
        return list(np.asarray(answer, dtype=object).ravel())
    except (TypeError, ValueError):
        return []


# --- Judges -------------------------------------------------------------------------------------------------------


def is_function(find_fault: Callable[[Function], str]) -> Judge:
    """Return a judge of a function.

    Args:
        find_fault: tries the function and returns what is wrong with it, or an empty text.
    """

    def judge(answer: object, notebook: Notebook, exercise: Exercise) -> str:
        if not callable(answer):
            return f"that is {a_type(answer)}; give the function itself, without calling it"
        return find_fault(answer)

    return judge


def equals(
    expected: Callable[[Notebook], float | Sequence[float]], *, within: float | Sequence[float], otherwise: str = ""
) -> Judge:
    """Return a judge of one or more numbers; a typical wrong answer gets its own message.

    Args:
        expected: returns the right number, or the right numbers.
        within: largest accepted difference of each.
        otherwise: the message for a wrong number that is not typical; by default, whether it is too small or too large.
    """

    def judge(answer: object, notebook: Notebook, exercise: Exercise) -> str:
        right = [float(number) for number in np.atleast_1d(expected(notebook))]
        limits = np.broadcast_to(within, len(right)).tolist()
        if _is_right(answer, right, limits):
            return ""
        for make, message in exercise.mistakes:
            if _is_same(answer, make(notebook), limits):
                return message
        found = numbers(answer, len(right))
        return otherwise or _first_difference(found, right, limits)

    return judge


def _is_right(answer: object, right: Sequence[float], limits: Sequence[float]) -> bool:
    try:
        found = numbers(answer, len(right))
    except NotYet:
        return False
    return all(abs(a - b) <= limit for a, b, limit in zip(found, right, limits, strict=True))


def _is_same(answer: object, mistake: object, limits: Sequence[float]) -> bool:
    """Return whether an answer is a typical wrong one: equal to it, or as near to it as a right answer must be."""
    if isinstance(answer, str | Mapping) or isinstance(mistake, str | Mapping):
        return type(answer) is type(mistake) and bool(answer == mistake)
    try:
        a, b = (np.asarray(value, dtype=float) for value in (answer, mistake))
    except (TypeError, ValueError):
        return False
    if a.shape != b.shape:
        return False
    widths = limits if len(limits) in (1, a.size) else min(limits)
    return bool((np.abs(a - b).ravel() <= widths).all())


def _first_difference(found: list[float], right: Sequence[float], limits: Sequence[float]) -> str:
    """Return which of several numbers is the first wrong one, and in which direction."""
    triples = zip(found, right, limits, strict=True)
    place = next(place for place, (a, b, limit) in enumerate(triples) if not abs(a - b) <= limit)  # b may be NaN
    which = f"number {place + 1} of the {len(right)}" if len(right) > 1 else "the number"
    return f"{which} is too {'small' if found[place] < right[place] else 'large'}"


def is_text(expected: str, *, otherwise: str) -> Judge:
    """Return a judge of a text; case, and spaces around it, do not count.

    Args:
        expected: the right text.
        otherwise: the message for a wrong text that is not typical.
    """

    def tidy(value: object) -> str:
        return " ".join(str(value).split()).lower()

    def judge(answer: object, notebook: Notebook, exercise: Exercise) -> str:
        if not isinstance(answer, str):
            return f"that is {a_type(answer)}; give a text, in quotes"
        if tidy(answer) == tidy(expected):
            return ""
        for make, message in exercise.mistakes:
            if tidy(answer) == tidy(make(notebook)):
                return message
        return otherwise

    return judge
