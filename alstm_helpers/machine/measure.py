"""What the parts of ``alstm bench`` share: figures, a clock, and scripts that run in another Python."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import course_files


class Figure(NamedTuple):
    """A measured value, its unit, and in words what was measured. Of rates and ratios, larger is better."""

    value: float
    unit: str
    what: str


Figures: TypeAlias = dict[str, Figure]  # by name, in the order in which ``alstm bench`` shows them


def seconds_of(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that one call takes by a clock."""
    start = clock()
    work()
    return clock() - start


def best_seconds(work: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds of the fastest of ``repeats`` + 1 calls; the first one warms up."""
    return min(seconds_of(work, clock) for _ in range(repeats + 1))


def run_tool(python: str, flag: str, tool: str, *arguments: str, **environment: str | None) -> Any:
    """Run a script of ``tools/`` in another Python and return the JSON in the last line that it prints.

    Args:
        python: the interpreter.
        flag: the option that named the interpreter, for the error message.
        tool: file name of the script.
        arguments: command-line arguments of the script.
        environment: variables to change; None removes one.

    Raises:
        AlstmError: the script fails in that Python.
    """
    command = [python, str(course_files() / "tools" / tool), *arguments]
    variables = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=variables)
    except (OSError, subprocess.CalledProcessError) as error:
        last_line = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        remedy = f"name a Python that has what tools/{tool} imports"
        raise AlstmError(f"{flag} {python}", f"{tool} failed ({last_line})", remedy) from error
    return json.loads(done.stdout.splitlines()[-1])
