"""What the parts of ``alstm bench`` share: figures with their spread, rounds of measurements, and other processes.

Whatever is compared is measured in turn, round after round, so that other work on the machine meets all of it; and each
time by the wall clock and by processor time. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import comb
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.machine import on_request
from alstm_helpers.machine.on_request import Sample, measured
from alstm_helpers.paths import course_files

PACKAGE = "alstm_helpers"
LEAST_ROUNDS, MOST_ROUNDS = 3, 15
SECONDS_OF_ROUNDS = 20.0  # after which no further round begins, once there are LEAST_ROUNDS


class Figure(NamedTuple):
    """A measured value, its unit, and in words what was measured. Of rates and ratios, larger is better.

    Args:
        value: by the wall clock, the median of the rounds; None for a ratio that is refused, see :func:`ratio`.
        unit: of all numbers.
        what: was measured.
        spread: from where to where the median may lie, see :func:`spread_of`; None for what is measured once.
        cpu: the same by processor time, of all threads together; None where it was not measured, or is refused.
        cpu_spread: its spread.
    """

    value: float | None
    unit: str
    what: str
    spread: tuple[float, float] | None = None
    cpu: float | None = None
    cpu_spread: tuple[float, float] | None = None


Figures: TypeAlias = dict[str, Figure]  # by name, in the order in which ``alstm bench`` shows them
Samples: TypeAlias = dict[str, list[Sample]]  # one per round, by the name of what was measured
Measure: TypeAlias = Callable[[], Sample]


# --- rounds -------------------------------------------------------------------------------------------------------


def here(work: Callable[[], object]) -> Measure:
    """Return what measures a work in this process."""
    return partial(measured, work)


def alternate(
    measures: Mapping[str, Measure],
    seconds: float = SECONDS_OF_ROUNDS,
    *,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> Samples:
    """Measure several works in turn, in rounds; every second round goes backwards, so that none is always the first.

    Args:
        measures: what to measure, by name.
        seconds: after which no further round begins; there are at least ``LEAST_ROUNDS``, at most ``MOST_ROUNDS``.
        warm_up: begin with a round that does not count.
        clock: tells the seconds.
    """
    if warm_up:
        for measure in measures.values():
            measure()
    samples: Samples = {name: [] for name in measures}
    start = clock()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and clock() - start > seconds:
            break
        for name in list(measures)[:: -1 if number % 2 else 1]:
            samples[name].append(measures[name]())
    return samples


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval in which the median of more and more rounds would lie, at 95 % confidence.

    It leaves out as many of the lowest and of the highest values as the sign test allows (W. J. Conover, Practical
    Nonparametric Statistics, section 3.2), whatever their distribution. Fewer than six values cannot be as sure: then
    it is their whole range.
    """
    rounds, ordered = len(values), sorted(values)
    tails = accumulate(comb(rounds, number) / 2**rounds for number in range(rounds))
    left_out = max(0, sum(tail <= 0.025 for tail in tails) - 1)
    return ordered[left_out], ordered[-1 - left_out]


# --- figures ------------------------------------------------------------------------------------------------------


def rate(amount: float, samples: Sequence[Sample], what: str, unit: str = "videos/s") -> Figure:
    """Return what is done per second, where a call does ``amount``."""
    return _figure(samples, unit, what, lambda seconds: amount / seconds)


def took(samples: Sequence[Sample], what: str, unit: str = "s", scale: float = 1) -> Figure:
    """Return how long a call takes; a unit of ``"ms"`` needs a scale of 1000."""
    return _figure(samples, unit, what, lambda seconds: scale * seconds)


def _figure(samples: Sequence[Sample], unit: str, what: str, of: Callable[[float], float]) -> Figure:
    (value, spread), (cpu, cpu_spread) = (_summary([of(s) for s in clock]) for clock in zip(*samples, strict=True))
    return Figure(value, unit, what, spread, cpu, cpu_spread)


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], what: str) -> Figure:
    """Return how many times as fast ours is, from the ratio of each round.

    A ratio is refused, and None, if the interval in which its median may lie includes 1: then the spread is larger than
    the difference, and nobody can tell which of both is faster.
    """
    pairs = zip(ours, theirs, strict=True)
    each = [Sample(their.wall / our.wall, their.cpu / our.cpu) for our, their in pairs]
    found = _figure(each, "×", what, float)
    sides = {"wall clock": found.spread, "processor time": found.cpu_spread}
    refused = [name for name, side in sides.items() if side and side[0] <= 1 <= side[1]]
    if refused:
        what += f" (–, by {' and by '.join(refused)}: spread larger than the difference)"
    value = None if "wall clock" in refused else found.value
    cpu = None if "processor time" in refused else found.cpu
    return found._replace(what=what, value=value, cpu=cpu)


def _summary(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    return float(np.median(values)), spread_of(values)


# --- other processes ----------------------------------------------------------------------------------------------


class Side(NamedTuple):
    """One side of a comparison, in a process of its own.

    Args:
        python: the interpreter.
        flag: the option that named it, for messages.
        module: has ``make_works``, see :mod:`alstm_helpers.machine.on_request`; of ``tools/`` or of this package.
        arguments: of ``make_works``.
        environment: variables to change; None removes one.
    """

    python: str
    flag: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str | None] = {}


class Worker:
    """A process that waits, asleep, to be asked for a measurement.

    Args:
        side: what runs in it.
        process: runs it.
        errors: its standard error stream.
    """

    def __init__(self, side: Side, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._side, self._process, self._errors = side, process, errors
        self.title: str = json.loads(self._line())

    def measure(self, name: str) -> Measure:
        """Return what measures one of the works of the process."""
        return partial(self._measured, name)

    def _measured(self, name: str) -> Sample:
        assert self._process.stdin
        with contextlib.suppress(OSError):  # the process has ended; the missing answer says so
            self._process.stdin.write(name.encode() + b"\n")
        return Sample(*json.loads(self._line()))

    def _line(self) -> bytes:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
            is_exception = said and status == 1
            raise _failure(self._side, said.splitlines()[-1] if is_exception else f"exit status {status}")
        return line


@contextlib.contextmanager
def started(side: Side) -> Iterator[Worker]:
    """Start a side of a comparison; its process ends with the block.

    Raises:
        AlstmError: it fails, then or at a measurement.
    """
    package = side.module.startswith(PACKAGE)
    folder = Path(__file__).parents[2] if package else course_files() / "tools"
    command = [side.python, on_request.__file__, str(folder), side.module, *side.arguments]
    variables = {name: value for name, value in {**os.environ, **side.environment}.items() if value is not None}
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=errors, env=variables)
        except OSError as error:
            raise _failure(side, str(error)) from error
        with process:
            try:
                yield Worker(side, process, errors)
            finally:
                process.kill()


def _failure(side: Side, said: str) -> AlstmError:
    remedy = f"name a Python that has what {side.module} imports"
    return AlstmError(f"{side.flag} {side.python}", f"{side.module} failed ({said})", remedy)
