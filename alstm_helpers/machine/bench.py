"""``alstm bench``: what this machine does per second, on videos of YouTube-8M's size and on the course-size model.

Every rate comes with the baseline to compare it with, measured in turn with it: conversion with a plain write of the
same bytes and, if a Python with TensorFlow is given, with tf2pkl's logic on the same shard; the full-size training step
with PaddleVideo's padded one; the course-size step, if a Python with PyTorch is given, with the same network there;
reading a video with decoding all of it. :mod:`alstm_helpers.machine.measure` says how, and when a ratio is refused.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from alstm_helpers.machine.bench_data import bench_data, bench_metrics
from alstm_helpers.machine.bench_deploy import bench_latency, bench_server
from alstm_helpers.machine.bench_model import bench_full_size, bench_model, bench_parts
from alstm_helpers.machine.bench_video import bench_video
from alstm_helpers.machine.measure import Figure, Figures
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.runtime import (
    matmul_gflops,
    package_version,
    processor_name,
    recommended_environment,
    set_device,
    usable_cores,
)

Value = TypeVar("Value")
# Keeps one core busy until the standard input ends, which it does however this process ends.
_SPIN = """
import sys, threading
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
sys.stdin.read()
"""


class Pythons(NamedTuple):
    """Other Pythons to measure baselines with: one that has TensorFlow 2, and one that has PyTorch."""

    tensorflow: str | None
    pytorch: str | None


PARTS: dict[str, Callable[[Pythons], Figures]] = {
    "data": lambda pythons: bench_data(pythons.tensorflow),
    "metrics": lambda _: bench_metrics(),
    "model": lambda pythons: bench_model(pythons.pytorch),
    "parts": lambda _: bench_parts(),
    "full_size": lambda _: bench_full_size(),
    "video": lambda _: bench_video(),
    "server": lambda _: bench_server(),
    "latency": lambda _: bench_latency(),
}


class Report(NamedTuple):
    """What :func:`run_bench` found.

    Args:
        machine: ``processor``, its ``cores``, ``load_before`` and ``load_after`` (of the last minute, in processes; the
            second includes the bench itself), ``busy`` (processes that kept a core busy beside the bench), ``date``,
            ``paddle`` (its version), ``environment`` (the package's settings of threads), and the ``command``; and
            ``stopped_in``, the part that was interrupted, if one was.
        figures: rounded to four digits.
    """

    machine: dict[str, object]
    figures: Figures

    def as_json(self) -> dict[str, object]:
        """Return the machine under ``machine`` and each figure under its name, as objects.

        Those have the fields of :class:`Figure`, but for those that are None; a refused value is null.
        """
        return {
            "machine": self.machine,
            **{
                name: {key: item for key, item in figure._asdict().items() if key == "value" or item is not None}
                for name, figure in self.figures.items()
            },
        }


def run_bench(
    tensorflow: str | None = None,
    pytorch: str | None = None,
    progress: ProgressBar = no_progress,
    only: Sequence[str] = (),
    busy: int = 0,
) -> Report:
    """Measure this machine.

    Args:
        tensorflow: a Python with TensorFlow 2, to measure tf2pkl's logic with.
        pytorch: a Python with PyTorch, to measure the course-size model with.
        progress: wraps the parts of the measurement, see :mod:`alstm_helpers.progress`.
        only: keys of ``PARTS``; by default all but ``latency``, which takes minutes.
        busy: processes that keep a core busy meanwhile, as on a machine that has other work.

    An interrupt (Ctrl-C) ends it: the report holds the parts that were finished, and its ``stopped_in`` names the one
    that was not.

    Raises:
        AlstmError: one of the Pythons cannot run its script.
    """
    set_device(None)
    pythons = Pythons(tensorflow, pytorch)
    options = [f"--only {name}" for name in only] + [
        f"--{name} PYTHON" for name, path in pythons._asdict().items() if path
    ]
    machine: dict[str, object] = {
        "processor": processor_name(),
        "cores": usable_cores(),
        "busy": busy,
        "date": datetime.date.today().isoformat(),
        "paddle": package_version("paddlepaddle"),
        "environment": recommended_environment(),
        "command": " ".join(["alstm bench", *options, *([f"--busy {busy}"] if busy else [])]),
        "load_before": _load(),
    }
    names = only or [name for name in PARTS if name != "latency"]
    with _busy_cores(busy):
        figures = {"matmul": Figure(matmul_gflops(), "GFLOP/s", "float32 product of 1024 × 1024 matrices")}
        try:
            for name in progress(names, total=len(names), desc="measuring"):
                figures |= PARTS[name](pythons)
        except KeyboardInterrupt:
            machine["stopped_in"] = name
    machine["load_after"] = _load()
    return Report(machine, {name: Figure._make(map(_rounded, figure)) for name, figure in figures.items()})


def _rounded(value: Value) -> Value:
    """Round numbers, also those in a tuple, to four digits; leave everything else."""
    if isinstance(value, tuple):
        return type(value)(map(_rounded, value))
    return type(value)(f"{value:.4g}") if isinstance(value, float) else value


def _load() -> float | None:
    """Return how many processes computed at a time during the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


@contextlib.contextmanager
def _busy_cores(count: int) -> Iterator[None]:
    """Keep some cores busy for a block."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _SPIN], stdin=subprocess.PIPE))
            stack.callback(process.kill)
        yield
