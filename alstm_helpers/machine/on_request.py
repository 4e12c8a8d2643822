"""Measure work in a process that sleeps until it is asked: one side of the comparisons of ``alstm bench``.

    python on_request.py FOLDER MODULE ARGUMENT…

It needs nothing but Python's own library, so any Python can run it. MODULE, found in FOLDER, has a function
``make_works(*arguments)``, see ``Works``. Each line of the standard input names one of the works; the answer is a
line of JSON on the standard output, a :class:`Sample`. The first line there is the title; the end of the input ends the
process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

# The name and version of the library that computes, and what can be measured, by name.
Works = tuple[str, Mapping[str, Callable[[], object]]]
SHORTEST = 0.1  # seconds: work that takes less is repeated
LONGEST_SLEEP, PAUSE = 1.0, 0.02  # seconds


class Sample(NamedTuple):
    """Seconds that a call took: by the wall clock, and of the processor, all threads of its process together."""

    wall: float
    cpu: float


def measured(work: Callable[[], object]) -> Sample:
    """Measure one call of a work, or the mean of as many as take ``SHORTEST`` seconds."""
    calls, start, used = 0, time.perf_counter(), time.process_time()
    while not calls or time.perf_counter() - start < SHORTEST:
        work()
        calls += 1
    wall, cpu = time.perf_counter() - start, time.process_time() - used
    _let_threads_sleep()
    return Sample(wall / calls, max(cpu, time.get_clock_info("process_time").resolution) / calls)


def _let_threads_sleep() -> None:
    """Wait until this process no longer uses the processor, a second at most.

    Threads of OpenMP wait for the next loop by spinning, Intel's for 0.2 s; that would slow down what is measured next.
    """
    end = time.perf_counter() + LONGEST_SLEEP
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(PAUSE)
        if time.process_time() - used < PAUSE / 4:
            return


def answer(make_works: Callable[[], Works]) -> None:
    """Measure what the lines of the standard input name, until it ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        sys.stdout = sys.stderr  # what the work prints must not get between the answers,
        os.dup2(2, 1)  # nor what its libraries print
        title, works = make_works()
        print(json.dumps(title), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(measured(works[line.strip()])), file=answers, flush=True)


def _make_works() -> Works:
    folder, module, *arguments = sys.argv[1:]
    sys.path[0] = folder
    works: Works = importlib.import_module(module).make_works(*arguments)
    return works


if __name__ == "__main__":
    answer(_make_works)
