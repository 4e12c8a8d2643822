"""Narrow an answer of any type to numbers, and say in one vocabulary what is wrong with a number."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set, Sized, ValuesView
from typing import Any, NamedTuple

import numpy as np

from alstm_helpers import language

ORDINALS = ("first", "second", "third", "fourth")


class NotYet(Exception):
    """An answer is not right yet; the text says why."""


def a_type(value: object) -> str:
    """Return the type of a value with its article, such as ``an int``; None and classes are named as such."""
    if value is None:
        return "None"
    if type(value) is type:
        return "a class"
    name = type(value).__name__
    if name == "error":  # of struct, and of several other modules
        name = f"{type(value).__module__}.{name}"
    if language.chosen() != language.ENGLISH:
        return name  # no articles
    return f"{'an' if re.match('[aeio]|un(?!i)|ndarray', name, re.IGNORECASE) else 'a'} {name}"


def as_number(value: object) -> float | None:
    """Return a finite number, also from an array of one; None for anything else, booleans and text included."""
    try:
        found = np.asarray(value).item()
        number = None if isinstance(found, bool | str | bytes) else float(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def numbers(answer: object, count: int) -> list[float]:
    """Return the numbers of a sequence or array of any shape, flattened; a single number counts as a sequence of one.

    Raises:
        NotYet: the answer is anything but ``count`` finite numbers.
    """
    elements = _elements(answer)
    found = [number for number in map(as_number, elements) if number is not None]
    if len(elements) == len(found) == count:
        return found
    length = len(answer) if isinstance(answer, Set | ValuesView) else len(elements)  # no array holds their elements
    size = f" of {length}" if isinstance(answer, Sized) and length not in (0, count) else ""
    problem = "not every element is a number" if len(elements) == count > 1 else f"that is {a_type(answer)}{size}"
    endless = [element for element in elements if _is_endless(element)]
    if len(elements) == count and endless:
        problem = f"{endless[0]} is not a finite number"
    wanted = "one number" if count == 1 else f"{count} numbers, as a tuple"
    raise NotYet(f"{problem}; give {wanted}{', without quotes' if isinstance(answer, str) else ''}")


def _is_endless(element: object) -> bool:
    return isinstance(element, float | np.floating) and not math.isfinite(element)


def _elements(answer: object) -> list[object]:
    """Return the elements of an answer, flattened; none for text, mappings, and what no array can hold."""
    if isinstance(answer, str | bytes | Mapping):
        return []
    try:
        return list(np.asarray(answer, dtype=object).ravel())
    except (TypeError, ValueError):
        return []


def listed(found: object, what: str, *, or_keys: bool = False) -> list[object]:
    """Return the elements of a list, tuple, set, array, or any other collection that a function has returned.

    Args:
        found: what it has returned.
        what: its elements are, for the message.
        or_keys: take the keys of a mapping, such as a Counter.

    Raises:
        NotYet: it is text, a mapping, or no collection.
    """
    if isinstance(found, Mapping) and not or_keys:
        raise NotYet(f"it returns {a_type(found)}; return a list of {what}")
    if isinstance(found, np.ndarray) and found.ndim == 1:
        return list(found)
    if isinstance(found, Collection) and not isinstance(found, str | bytes | np.ndarray):
        return list(found)
    raise NotYet(f"it returns {a_type(found)}; return a list of {what}")


def scalars(elements: Iterable[Any]) -> list[float | None]:
    """Return the elements as numbers; None for one that is not a single number, such as a tuple of one."""
    return [None if isinstance(element, list | tuple) else as_number(element) for element in elements]


# --- What is wrong with a number ----------------------------------------------------------------------------------


class Slip(NamedTuple):
    """A number that is right but for a factor.

    Args:
        factor: of the right number.
        least, most: sizes of a right number with which the slip is plausible.
        text: what to say, after "the number".
    """

    factor: float
    least: float
    most: float
    text: str


SLIPS = (
    Slip(-1, 0, math.inf, "has the wrong sign"),
    Slip(100, 0.01, 1, "looks like a percentage; give the share, such as 0.25 for 25 %"),
    Slip(1e-6, 1e5, math.inf, "looks like millions; give the number itself, such as 1_500_000 for 1.5 million"),
    Slip(1e-3, 1e3, math.inf, "looks like thousands; give the number itself, such as 1_500 for 1.5 thousand"),
    Slip(1e3, 0, math.inf, "is 1000 times too large; check its unit"),
    Slip(1e-3, 0, 1e3, "is 1000 times too small; check its unit"),
)


def fault_of_number(found: float, right: float, within: float, which: str = "the number") -> str:
    """Return why a number is not right: its sign, unit or rounding, else its direction; an empty text if it is right.

    Args:
        found: the number.
        right: what it should be.
        within: largest accepted difference.
        which: what the message calls the number.
    """
    if abs(found - right) <= within:
        return ""
    for slip in SLIPS:
        near = 0.05 if slip.factor == 100 else 0.01  # percentages are often rounded
        if slip.least <= abs(right) <= slip.most and math.isclose(found, slip.factor * right, rel_tol=near):
            return f"{which} {slip.text}"
    if _is_rounded(found, right):
        return f"{which} is rounded too much; give more digits"
    return f"{which} is too small" if found < right else f"{which} is too large"  # also where the right one is NaN


def _is_rounded(found: float, right: float) -> bool:
    """Return whether a number is the right one with fewer digits, rounded or cut off, and near it."""
    if not math.isclose(found, right, rel_tol=0.05):
        return False
    found, right = abs(found), abs(right)
    digits, _, exponent = f"{right:.9e}".partition("e")
    return any(found in (float(f"{right:.{n}e}"), float(f"{digits[: n + 2]}e{exponent}")) for n in range(4))


def first_fault(found: Sequence[float], right: Sequence[float], within: Sequence[float]) -> str:
    """Return what is wrong with the first wrong one of several numbers, or an empty text."""
    if len(right) > 1 and not any(map(fault_of_number, found[::-1], right, within)):
        return "the numbers are right, but in the wrong order"
    for place, (a, b, limit) in enumerate(zip(found, right, within, strict=True)):
        which = f"the {ORDINALS[place]} number" if len(right) > 1 else "the number"
        if fault := fault_of_number(a, b, limit, which):
            return fault
    return ""
