"""Threads, device and seeds: everything that must be set before Paddle computes.

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
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from alstm_helpers.errors import DeviceError
from alstm_helpers.extras import DISTRIBUTION

Tensor: TypeAlias = Any  # a paddle.Tensor; Paddle's own stubs do not pass mypy

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def usable_cores() -> int:
    """Return the number of cores this process may use.

    It respects taskset, containers where the system tells, and ``LOKY_MAX_CPU_COUNT``, joblib's variable for the share
    of a process that has others beside it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = os.environ.get("LOKY_MAX_CPU_COUNT", "")
    return max(1, min(cores or 1, int(share)) if share.isdecimal() else cores or 1)


def total_memory() -> int | None:
    """Return the bytes of this machine's memory, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes.

    Linux tells it as VmHWM: its ``ru_maxrss`` begins with what the process held that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def is_amd() -> bool:
    """Tell whether this is an x86 processor made by AMD, on which MKL needs its hint."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        return "AuthenticAMD" in cpuinfo.read_text(errors="replace")
    import platform

    return "AuthenticAMD" in platform.processor()


def processor_name() -> str:
    """Return the name of the processor, as far as the system tells it."""
    import platform
    import re

    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text(errors="replace")) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def recommended_environment() -> dict[str, str]:
    """Return the variables that make Paddle's CPU kernels fast on this machine."""
    wanted = {"OMP_NUM_THREADS": str(max(1, usable_cores() // 2))}  # for each of two streams, see model/streams.py
    if is_amd():
        wanted["MKL_DEBUG_CPU_TYPE"] = "5"
    return wanted


def configure_threads() -> None:
    """Set the variables that the user has not set; ``alstm doctor`` comments on those that the user has."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors only: the tracer warns about its own internals
    if "paddle" not in sys.modules:
        for name, value in recommended_environment().items():
            os.environ.setdefault(name, value)


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed: a training step asks for the same ones again and again.

    If they are returned to the system, their pages must be mapped and cleared each time, and turning the bytes of a
    batch into floats takes nine times as long. Without glibc, or if the user tunes malloc, nothing is done.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    if not any(name.startswith("MALLOC_") for name in os.environ):
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(parameter, 2**30)


def _import_paddle() -> Any:
    if "paddle" not in sys.modules:
        keep_freed_memory()
    captured = io.StringIO()
    with _signals_held(), warnings.catch_warnings(), contextlib.redirect_stderr(captured):
        warnings.filterwarnings("ignore", message="No ccache found")
        module = importlib.import_module("paddle")
        _disable_signal_handlers(module)
    for line in captured.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:  # the two lines that object to using all cores
            print(line, file=sys.stderr)
    return module


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait: Paddle, half imported, turns Ctrl-C into an ImportError, and SIGTERM into a fatal error."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _disable_signal_handlers(paddle: Any) -> None:
    """Keep Paddle from reporting a process that is stopped as a fatal error, and leave Python's handler in place."""
    stop = signal.getsignal(signal.SIGTERM)
    paddle.disable_signal_handler()
    with contextlib.suppress(ValueError, TypeError):  # not the main thread, which alone may set one; not Python's
        signal.signal(signal.SIGTERM, stop)


def __getattr__(name: str) -> Any:
    """Import Paddle on the first ``runtime.paddle``, so that modules without tensors never pay for it."""
    if name == "paddle":
        return _import_paddle()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def set_device(use_gpu: bool | None) -> str:
    """Set the device and return Paddle's name for it, ``cpu`` or ``gpu:N``.

    Paddle's wheel for CPUs knows no other, and is not imported for that: a command may fail before it is needed.

    Args:
        use_gpu: True and False as asked for; None takes a GPU when there is one.

    Raises:
        DeviceError: ``use_gpu`` is True and this Paddle sees no GPU.
    """
    if "paddle" not in sys.modules and _only_for_cpus() and not use_gpu:
        return "cpu"
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


def _only_for_cpus() -> bool:
    """Return whether the Paddle that is installed is the wheel for CPUs, as far as wheels tell."""
    return package_version("paddlepaddle-gpu") is None and package_version("paddlepaddle") is not None


def package_version(name: str) -> str | None:
    """Return the installed version of a package; for Paddle that of its CPU or its GPU wheel."""
    from importlib import metadata

    for candidate in (name, "paddlepaddle-gpu") if name == "paddlepaddle" else (name,):
        try:
            return metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
    return None


def how_it_ran() -> dict[str, object]:
    """Return the command, versions, device and threads of this process, to repeat a run with its settings and data."""
    import platform

    packages = (DISTRIBUTION, "paddlepaddle", "numpy")
    return {
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **{name: package_version(name) for name in packages}},
        "platform": platform.platform(),
        "device": str(_import_paddle().device.get_device()),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def seed_everything(seed: int) -> None:
    """Seed the generators of initial weights and dropout."""
    _import_paddle().seed(seed)


def matmul_gflops(size: int = 1024, repeats: int = 8) -> float:
    """Measure the float32 matrix product of Paddle on the current device, in GFLOP/s (best of several runs)."""
    paddle = _import_paddle()
    a = paddle.ones([size, size])
    best = float("inf")
    for _ in range(repeats + 1):  # the first, slow run is never the minimum
        start = time.perf_counter()
        (a @ a).numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
