"""Threads, device and seeds: everything that must be settled before Paddle computes.

Paddle's CPU wheels set ``OMP_NUM_THREADS=1`` at import unless it is set, and their MKL takes a slow
path on AMD processors unless ``MKL_DEBUG_CPU_TYPE=5`` is set. Both are read once, so the package sets
them on its own import. ``from alstm_helpers.runtime import paddle`` imports Paddle afterwards, without
its two start-up warnings about exactly these settings.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from alstm_helpers.errors import DeviceError


def usable_cores() -> int:
    """Cores this process may run on (respects taskset and containers where the system tells)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def is_amd() -> bool:
    """True on an x86 processor made by AMD, the case in which MKL needs its hint."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        return "AuthenticAMD" in cpuinfo.read_text(errors="replace")
    return "AuthenticAMD" in platform.processor()


def recommended_environment() -> dict[str, str]:
    """The variables that make Paddle's CPU kernels fast on this machine."""
    wanted = {"OMP_NUM_THREADS": str(usable_cores())}
    if is_amd():
        wanted["MKL_DEBUG_CPU_TYPE"] = "5"
    return wanted


def configure_threads() -> None:
    """Set what the user has not set. A user's own setting stays; ``alstm doctor`` comments on it."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors only: the tracer warns about its own internals
    if "paddle" not in sys.modules:
        for name, value in recommended_environment().items():
            os.environ.setdefault(name, value)


def _import_paddle() -> Any:
    captured = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(captured):
        warnings.filterwarnings("ignore", message="No ccache found")
        module = importlib.import_module("paddle")
    module.disable_signal_handler()  # else Paddle reports a kernel that is shut down as a fatal error
    for line in captured.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:  # the two lines that object to using all cores
            print(line, file=sys.stderr)
    return module


def __getattr__(name: str) -> Any:
    """Import Paddle on the first ``runtime.paddle``, so that modules without tensors never pay for it."""
    if name == "paddle":
        return _import_paddle()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def set_device(use_gpu: bool | None) -> str:
    """Choose the device and return Paddle's name for it, ``cpu`` or ``gpu:N``.

    Args:
        use_gpu: True and False as asked for; None takes a GPU when there is one.

    Raises:
        DeviceError: ``use_gpu`` is True and this Paddle sees no GPU.
    """
    paddle = _import_paddle()
    built = paddle.is_compiled_with_cuda()
    found = built and paddle.device.cuda.device_count() > 0
    if use_gpu and not found:
        problem = "this Paddle sees no GPU" if built else "this is the CPU build of Paddle"
        raise DeviceError(
            "--use_gpu=True", problem, "pass --use_gpu=False, or set up a GPU machine with `make GPU=cu126 course`"
        )
    paddle.device.set_device("gpu" if found and use_gpu is not False else "cpu")
    return str(paddle.device.get_device())


def seed_everything(seed: int) -> None:
    """Seed the generators that layers draw from (initial weights, dropout)."""
    _import_paddle().seed(seed)


def matmul_gflops(size: int = 1024, repeats: int = 8) -> float:
    """Measured float32 matrix-product speed of Paddle on the current device, in GFLOP/s (best of runs)."""
    paddle = _import_paddle()
    a = paddle.ones([size, size])
    best = float("inf")
    for _ in range(repeats + 1):  # the first, slow run is never the minimum
        start = time.perf_counter()
        (a @ a).numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
