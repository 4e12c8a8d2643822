"""Evidence: results of trainings that were repeated with several seeds, and sentences that stand on them.

The results are committed in ``docs/evidence``; ``python -m tools.evidence`` computes them. A notebook draws their
spread and prints its sentences from the numbers, so a sentence that the numbers do not bear out stops the notebook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file
from alstm_helpers.language import say
from alstm_helpers.paths import course_files

FOLDER = "docs/evidence"
LEAST_SEEDS = 3
_REMEDY = "compute it again: python -m tools.evidence"


class Run(NamedTuple):
    """One training: its setting and seed, its numbers by name, and its curves (x, y) by name."""

    setting: str
    seed: int
    numbers: Mapping[str, float]
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]


class Comparison(NamedTuple):
    """The mean difference of two settings over the same seeds, and its 95 % interval (paired, Student's t)."""

    one: str
    other: str
    difference: float
    low: float
    high: float
    seeds: int

    @property
    def higher(self) -> bool:
        """Whether ``one`` is told apart from ``other``, and above it."""
        return self.low > 0

    @property
    def lower(self) -> bool:
        """Whether ``one`` is told apart from ``other``, and below it."""
        return self.high < 0

    @property
    def told_apart(self) -> bool:
        """Whether the whole interval is on one side of zero."""
        return self.higher or self.lower

    def __str__(self) -> str:
        numbers = f"{self.difference:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}, {self.seeds} seeds"
        one, other = (say("evidence", name) for name in (self.one, self.other))
        if not self.told_apart:
            return f"{one} and {other} are not told apart: {numbers}"
        return f"{one} is higher than {other}: {numbers}" if self.higher else f"{one} is lower than {other}: {numbers}"


@dataclass(frozen=True)
class Evidence:
    """The results of one experiment; every setting was run with the same seeds.

    Args:
        name: of the file.
        about: what was measured, in one sentence.
        command: makes the file.
        made_with: versions and processor.
        runs: all of them, setting after setting.
    """

    name: str
    about: str
    command: str
    made_with: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def settings(self) -> list[str]:
        """The settings, in their order."""
        return list(dict.fromkeys(run.setting for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """The seeds with which each setting was run."""
        return [run.seed for run in self.of(self.runs[0].setting)]

    @property
    def source(self) -> str:
        """One line: how many seeds, the command, and where it ran."""
        return f"{len(self.seeds)} seeds; {self.command}; {', '.join(self.made_with.values())}"

    def of(self, setting: str) -> list[Run]:
        """Return the runs of a setting.

        Raises:
            AlstmError: there are none.
        """
        found = [run for run in self.runs if run.setting == setting]
        if not found:
            raise AlstmError(f"{FOLDER}/{self.name}.json", f"no setting {setting!r}", f"it has {self.settings}")
        return found

    def values(self, setting: str, key: str) -> np.ndarray:
        """Return a number of each run, (seeds,)."""
        return np.array([run.numbers[key] for run in self.of(setting)])

    def all_values(self, key: str, *settings: str) -> dict[str, list[float]]:
        """Return a number of each run by setting, by default of all, as ``plots.dots`` draws them."""
        return {setting: self.values(setting, key).tolist() for setting in settings or self.settings}

    def mean(self, setting: str, key: str) -> float:
        """Return the mean over the seeds."""
        return float(self.values(setting, key).mean())

    def spread(self, setting: str, key: str) -> float:
        """Return the standard deviation over the seeds (of a sample)."""
        return float(self.values(setting, key).std(ddof=1))

    def shown(self, setting: str, key: str) -> str:
        """Return mean ± standard deviation over the seeds as text."""
        return f"{self.mean(setting, key):.3f} ± {self.spread(setting, key):.3f}"

    def curves(self, key: str, *settings: str) -> dict[str, list[tuple[Sequence[float], Sequence[float]]]]:
        """Return the curves of all seeds by setting, by default of all, as ``plots.spread`` draws them."""
        return {setting: [run.curves[key] for run in self.of(setting)] for setting in settings or self.settings}

    def compare(self, one: str, other: str, key: str) -> Comparison:
        """Compare a number of two settings seed by seed."""
        differences = self.values(one, key) - self.values(other, key)
        middle, half = float(differences.mean()), _quantile(len(differences)) * _error(differences)
        return Comparison(one, other, middle, middle - half, middle + half, len(differences))

    def place(self, setting: str, key: str, value: float, most: float = np.inf) -> str:
        """Say whether a number of another run is within the range where 95 % of single runs are expected.

        ``most`` is the largest value that is possible, such as 1 for a GAP.
        """
        values = self.values(setting, key)
        half = _quantile(len(values)) * _error(values) * float(np.sqrt(len(values) + 1))
        low, high = values.mean() - half, min(values.mean() + half, most)
        interval = f"{low:.3f} to {high:.3f} ({len(values)} seeds), where 95 % are expected"
        if low <= value <= high:
            return f"{value:.3f} is within the range of single runs, {interval}"
        return f"{value:.3f} is outside of the range of single runs, {interval}"


def load_evidence(name: str) -> Evidence:
    """Load committed results.

    Raises:
        AlstmError: the file is missing or not as it should be, or a setting has fewer than three seeds or others.
    """
    path = require_file(course_files() / FOLDER / f"{name}.json", _REMEDY)
    try:
        found = json.loads(path.read_bytes())
        runs = tuple(Run(**run) for run in found["runs"])
        evidence = Evidence(name, found["about"], found["command"], found["made_with"], runs)
        seeds = {tuple(run.seed for run in evidence.of(setting)) for setting in evidence.settings}
    except (ValueError, KeyError, TypeError) as error:
        raise AlstmError(path, f"this is no evidence ({error})", _REMEDY) from error
    if len(seeds) != 1 or not LEAST_SEEDS <= len(set(*seeds)) == len(*seeds):
        problem = f"every setting needs the same {LEAST_SEEDS} seeds or more, not {sorted(seeds)}"
        raise AlstmError(path, problem, _REMEDY)
    return evidence


def claim(sentence: object, holds: bool) -> str:
    """Return a sentence that its numbers bear out.

    Raises:
        AlstmError: it does not hold.
    """
    if not holds:
        raise AlstmError("evidence", f"the numbers do not bear out: {sentence}", "change the sentence, or the evidence")
    return str(sentence)


def _error(values: np.ndarray) -> float:
    """Return the standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _quantile(count: int) -> float:
    """Return how many standard errors the 95 % interval of a mean reaches to either side (Student's t)."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.975))
