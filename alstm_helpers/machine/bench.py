"""``alstm bench``: what this machine does per second, on videos of YouTube-8M's size and on the course-size model.

Every rate comes with the baseline to compare it with, measured in the same run: conversion with a plain write of the
same bytes and, if a Python with TensorFlow is given, with tf2pkl's logic on the same shard; the full-size training step
with PaddleVideo's padded one; the course-size step, if a Python with PyTorch is given, with the same network there;
reading a video with decoding all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from alstm_helpers.machine.bench_data import bench_data, bench_metrics
from alstm_helpers.machine.bench_deploy import bench_latency, bench_server
from alstm_helpers.machine.bench_model import bench_full_size, bench_model, bench_parts
from alstm_helpers.machine.bench_video import bench_video
from alstm_helpers.machine.measure import Figure, Figures
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.runtime import matmul_gflops, set_device


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


def run_bench(
    tensorflow: str | None = None,
    pytorch: str | None = None,
    progress: ProgressBar = no_progress,
    only: Sequence[str] = (),
) -> Figures:
    """Measure this machine; values are rounded to two decimal places.

    Args:
        tensorflow: a Python with TensorFlow 2, to measure tf2pkl's logic with.
        pytorch: a Python with PyTorch, to measure the course-size model with.
        progress: wraps the parts of the measurement, see :mod:`alstm_helpers.progress`.
        only: keys of ``PARTS``; by default all but ``latency``, which takes minutes.

    Raises:
        AlstmError: one of the Pythons cannot run its script.
    """
    set_device(None)
    pythons = Pythons(tensorflow, pytorch)
    figures = {"matmul": Figure(matmul_gflops(), "GFLOP/s", "float32 product of 1024 × 1024 matrices")}
    names = only or [name for name in PARTS if name != "latency"]
    for name in progress(names, total=len(names), desc="measuring"):
        figures |= PARTS[name](pythons)
    return {name: figure._replace(value=round(figure.value, 2)) for name, figure in figures.items()}
