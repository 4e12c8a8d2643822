"""Which notebooks of a run go side by side, in which order they start, and which of them determined how long it took.

Side by side, each has one core and as many threads: two trainings of one thread each do more than two that take turns
at both cores, or wait there for each other's threads. The longest notebooks start first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypedDict

from alstm_helpers.paths import course_files

TRAINER = "04_training"  # trains the model, halfway through
NEED_MODEL = {"05_evaluation", "06_inference", "09_own_videos"}
# This one compares what threads are worth, so it has the machine to itself. Others that time something compare like
# with like, on the core that each of them has.
ALONE = {"00_preflight"}


class Plan(NamedTuple):
    """The notebooks that run side by side, the most urgent first, and those that follow one by one."""

    together: list[Path]
    alone: list[Path]


class Span(NamedTuple):
    """When a notebook ran, in seconds of one clock; ``waited``: it could not start before the model was there."""

    name: str
    start: float
    stop: float
    waited: bool = False


class Step(TypedDict):
    """One step of the critical path: a notebook or ``data``, and the seconds until the next step could start."""

    name: str
    seconds: float


def measured_seconds() -> dict[str, float]:
    """Return how long each notebook took when the course was last measured; none if that is not recorded."""
    path = course_files() / "docs" / "measured.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["notebooks"] if path.exists() else []
    return {row["name"]: row["seconds"] for row in rows}


def plan(notebooks: Sequence[Path], seconds: Mapping[str, float]) -> Plan:
    """Order notebooks: the one that trains the model, then the longest first.

    Args:
        notebooks: to run.
        seconds: how long each takes; one that has never been measured may be the longest.
    """

    def turn(notebook: Path) -> tuple[bool, float]:
        return notebook.stem != TRAINER, -seconds.get(notebook.stem, math.inf)

    ordered = sorted(notebooks, key=turn)
    return Plan(
        together=[notebook for notebook in ordered if notebook.stem not in ALONE],
        alone=[notebook for notebook in ordered if notebook.stem in ALONE],
    )


def in_turn(notebooks: Iterable[Path], model_is_due: Callable[[], bool]) -> Iterator[Path]:
    """Yield notebooks in their order, but those that need a model that is still due after those that do not.

    Args:
        notebooks: in order of urgency.
        model_is_due: asked whenever the next one can start.
    """
    waiting = list(notebooks)
    while waiting:
        due = model_is_due()
        ready = [notebook for notebook in waiting if not due or notebook.stem not in NEED_MODEL]
        first = (ready or waiting)[0]
        waiting.remove(first)
        yield first


def critical_path(spans: Sequence[Span], begin: float, end: float) -> list[Step]:
    """Return what determined the length of a run: each step began when the one before it let it.

    Args:
        spans: of the notebooks.
        begin: when the run began, with the data.
        end: when it ended.

    Returns:
        ``data``, then notebooks; together they take ``end - begin`` seconds.
    """
    chain = [max(spans, key=lambda span: span.stop)]
    while before := [span for span in spans if _let_start(span, chain[0])]:
        chain.insert(0, max(before, key=lambda span: span.stop))
    names, times = ["data", *(span.name for span in chain)], [begin, *(span.start for span in chain), end]
    lengths = [stop - start for start, stop in pairwise(times)]
    return [Step(name=name, seconds=round(length, 1)) for name, length in zip(names, lengths, strict=True)]


def _let_start(first: Span, second: Span) -> bool:
    """Return whether the second may have waited for the first: for its model, or else for its core."""
    return first.name == TRAINER if second.waited else first.stop <= second.start
