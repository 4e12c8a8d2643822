"""Define an exercise, and the judges that several exercises share.

A judge returns why an answer is not right yet, or an empty text if it is right. It may also raise ``answers.NotYet``:
the helpers that narrow an answer, such as ``answers.numbers``, do so.

Judges of functions draw new data for each check, so the messages of an exercise may differ from check to check; an
ellipsis in the message of a wrong answer stands for any text.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from alstm_helpers.course.exercises.answers import NotYet, a_type, first_fault, numbers
from alstm_helpers.course.exercises.attempts import Attempt, within_time

STRICT = "ALSTM_STRICT"  # set to 1, any answer that is not correct stops the notebook: for CI

T = TypeVar("T")
Status = Literal["not attempted", "not yet", "correct"]


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


@dataclass(frozen=True)
class Exercise:
    """An exercise: how it is judged, its hints, its model answer, and answers with the verdict that they must get.

    Args:
        name: ``ex-<chapter>-<number>``.
        judge: returns why an answer is not right yet, or an empty text.
        hints: one step each; the last one nearly gives the answer away.
        solution: a model answer, as code that sets ``answer``.
        note: what a correct answer means; shown with the verdict and with the solution.
        mistakes: typical wrong answers, each as a function that makes it and the message that it must get.
        right: other right answers, each as a function that makes it: other forms, and other ways to the same; none
            where an answer is a whole project.
    """

    name: str
    judge: Judge
    hints: tuple[str, ...]
    solution: str
    note: str
    mistakes: tuple[tuple[Make, str], ...]
    right: tuple[Make, ...]

    def check(self, answer: object, variables: Mapping[str, object]) -> Verdict:
        """Judge an answer of any type; ``...`` is the untouched stub. Never raises."""
        if answer is ...:
            return Verdict(self.name, "not attempted")
        try:
            if isinstance(answer, np.ndarray) and answer.ndim == 0:
                answer = answer.item()  # an array without dimensions is shown as its value
            why = self.judge(answer, Notebook(variables), self)
        except NotYet as error:
            why = str(error)
        except Exception as error:  # an answer may be anything, and a learner's function may raise anything
            why = f"the answer cannot be used ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        return Verdict(self.name, "not yet", why) if why else Verdict(self.name, "correct", self.note)

    def prove(self, variables: Mapping[str, object]) -> None:
        """Check every typical wrong answer and every other right one.

        Raises:
            AssertionError: one gets another verdict or message than it must; or there is no wrong one.
        """
        notebook = Notebook(variables)
        assert self.mistakes, f"{self.name}: no wrong answer to try"
        for make, message in self.mistakes:
            verdict = self.check(make(notebook), variables)
            assert verdict.status == "not yet", f"{self.name}: {make(notebook)!r} is {verdict.status}"
            pattern = ".*".join(map(re.escape, message.split("…")))
            assert re.fullmatch(pattern, verdict.why), f"{self.name}: {make(notebook)!r} gets {verdict.why!r}"
        for make in self.right:
            verdict = self.check(make(notebook), variables)
            assert verdict.status == "correct", f"{self.name}: {make(notebook)!r} is refused: {verdict.why}"


def always(value: T) -> Callable[[Notebook], T]:
    """Make the same value whatever the notebook's variables are."""
    return lambda notebook: value


@contextmanager
def text_file(name: str, text: str) -> Iterator[Path]:
    """Write a text to a file of this name and give its path; the file is deleted afterwards.

    Raises:
        NotYet: the file is not there any more, or has another text.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8", errors="replace")
        before = path.read_bytes()
        yield path
        if not path.is_file() or path.read_bytes() != before:
            raise NotYet("it changes the file that it is given; only read it")


def forms(expected: Callable[[Notebook], object]) -> tuple[Make, ...]:
    """Return makers of the same number, or numbers, as learners may have them: lists, arrays, Paddle's tensors."""
    ways: tuple[Callable[[Any], object], ...] = (
        lambda value: value,
        np.array,
        lambda value: np.array(value, np.float64).reshape(1, -1),
        lambda value: np.array(value, np.float64).tolist(),
        lambda value: [np.float64(number) for number in np.ravel(value)],
        lambda value: sys.modules["paddle"].to_tensor(value, "float64") if "paddle" in sys.modules else value,
    )
    return tuple(lambda notebook, way=way: way(expected(notebook)) for way in ways)


# --- Judges -------------------------------------------------------------------------------------------------------


def is_function(find_fault: Callable[[Attempt, np.random.Generator], str]) -> Judge:
    """Return a judge of a function.

    Args:
        find_fault: tries the function on data that it draws, and returns what is wrong with it, or an empty text.
    """

    def judge(answer: object, notebook: Notebook, exercise: Exercise) -> str:
        attempt = Attempt(answer)
        return within_time(lambda: find_fault(attempt, np.random.default_rng()))

    return judge


def equals(expected: Callable[[Notebook], float | Sequence[float]], *, within: float | Sequence[float]) -> Judge:
    """Return a judge of one or more numbers; a typical wrong answer gets its own message.

    Args:
        expected: returns the right number, or the right numbers.
        within: largest accepted difference of each.
    """

    def judge(answer: object, notebook: Notebook, exercise: Exercise) -> str:
        right = [float(number) for number in np.atleast_1d(expected(notebook))]
        limits = np.broadcast_to(within, len(right)).tolist()
        if _is_right(answer, right, limits):
            return ""
        for make, message in exercise.mistakes:
            if _is_same(answer, make(notebook), limits):
                return message
        return first_fault(numbers(answer, len(right)), right, limits)

    return judge


def _is_right(answer: object, right: Sequence[float], limits: Sequence[float]) -> bool:
    try:
        return not first_fault(numbers(answer, len(right)), right, limits)
    except NotYet:
        return False


def _is_same(answer: object, mistake: object, limits: Sequence[float]) -> bool:
    """Return whether an answer is a typical wrong one: equal to it, or as near to it as a right answer must be."""
    if isinstance(answer, bool):
        return False
    if isinstance(answer, str | Mapping) or isinstance(mistake, str | Mapping):
        return type(answer) is type(mistake) and bool(answer == mistake)
    try:
        a, b = (np.asarray(value, dtype=float).ravel() for value in (answer, mistake))
    except (TypeError, ValueError):
        return False
    widths = limits if len(limits) in (1, a.size) else min(limits)
    return a.size == b.size and bool((np.abs(a - b) <= widths).all())


def is_text(expected: str, *, otherwise: str) -> Judge:
    """Return a judge of a text; case, and spaces and punctuation around it, do not count.

    Args:
        expected: the right text.
        otherwise: the message for a wrong text that is not typical.
    """

    def tidy(value: object) -> str:
        return " ".join(str(value).split()).strip("`'\" ().:*").lower()

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
