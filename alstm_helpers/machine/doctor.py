"""``alstm doctor``: check whether this machine is ready for the course, and as fast as it could be.

Each check is a generator of lines (:class:`Check`); ``CHECKS`` lists them in the order of the report.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from alstm_helpers import runtime
from alstm_helpers.extras import EXTRAS, install_line, is_installed
from alstm_helpers.paths import course_files

# The core; pyproject.toml says what each package is for.
PACKAGES = (
    *("paddlepaddle", "setuptools", "numpy", "matplotlib", "pillow", "tqdm", "scikit-learn", "threadpoolctl"),
    *("google-crc32c", "protobuf", "requests", "joblib", "filelock", "pydantic", "pyyaml", "click"),
)
REPAIR = f"run `make setup` in a clone, or {install_line()}"
TESTED_PYTHONS = ((3, 11), (3, 13))
CheckStatus: TypeAlias = Literal["OK", "WARN", "FAIL"]
OK: CheckStatus = "OK"
WARN: CheckStatus = "WARN"
FAIL: CheckStatus = "FAIL"
SLOW = 0.6  # a speed below this share of the possible one gets a warning
BUSY = 1.2  # as does a step that takes so many times as long with both streams at once as with one after the other
DISK = 2  # GB that the course needs


class Check(NamedTuple):
    """One line of the report; ``status`` is OK, WARN or FAIL."""

    name: str
    status: CheckStatus
    detail: str


def locked_versions(lock: Path) -> dict[str, str]:
    """Return the version of each package in a lock file; none if there is no such file."""
    return pinned_versions(lock.read_text(encoding="utf-8")) if lock.is_file() else {}


def pinned_versions(text: str) -> dict[str, str]:
    """Return the version of each package that a lock's text pins."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]+\])?==([^\s;\\]+)", text, re.MULTILINE))


def check_python() -> Iterator[Check]:
    """Compare the version of Python with the tested ones."""
    version = platform.python_version()
    oldest, newest = TESTED_PYTHONS
    if sys.version_info[:2] < oldest:
        yield Check("python", FAIL, f"{version}; use Python 3.11 to 3.13")
    elif sys.version_info[:2] > newest:
        way_out = "use Python 3.11 to 3.13, which `uv python install 3.13` brings"
        yield Check("python", FAIL, f"{version}, for which Paddle has no wheel; {way_out}")
    else:
        yield Check("python", OK, version)


def check_packages() -> Iterator[Check]:
    """Compare the installed versions of the core with the locked ones."""
    locked = locked_versions(course_files() / "requirements.lock")
    for name in PACKAGES:
        found = runtime.package_version(name)
        if found is None:
            yield Check(name, FAIL, f"not installed; {REPAIR}")
        else:
            good = _is_tested(name, found, locked)
            yield Check(name, OK if good else WARN, found if good else f"{found}, tested with {locked[name]}")


def _is_tested(name: str, found: str, locked: dict[str, str]) -> bool:
    return name not in locked or found.split("+")[0] == locked[name]


def check_extras() -> Iterator[Check]:
    """Compare the packages of each extra with the locked ones; a missing extra is no failure."""
    locked = locked_versions(course_files() / "requirements.lock")
    for extra, packages in EXTRAS.items():
        versions = {name: runtime.package_version(name) for name in packages}
        missing = [name for name, found in versions.items() if found is None]
        others = [
            f"{name} {found}, tested with {locked[name]}"
            for name, found in versions.items()
            if found and not _is_tested(name, found, locked)
        ]
        if missing:
            yield Check(f"[{extra}]", WARN, f"not installed: {', '.join(missing)}; {install_line(extra)}")
        elif others:
            yield Check(f"[{extra}]", WARN, "; ".join(others))
        else:
            yield Check(f"[{extra}]", OK, ", ".join(f"{name} {found}" for name, found in versions.items()))


def check_paddle() -> Iterator[Check]:
    """Import Paddle, compute a gradient, and look for a GPU."""
    try:
        paddle = runtime.paddle
    except Exception as error:  # a broken wheel can raise any error; this check must report it
        yield Check("paddle import", FAIL, f"{str(error) or type(error).__name__}; {REPAIR}")
        return
    a = paddle.to_tensor([[1.0, 2.0]], stop_gradient=False)
    (a * a).sum().backward()
    good = a.grad.numpy().tolist() == [[2.0, 4.0]]
    yield Check("paddle gradient", OK if good else FAIL, "d(x²)/dx = 2x" if good else f"wrong: {a.grad.tolist()}")
    yield _gpu_check()


def _gpu_check() -> Check:
    """Compare Paddle's build with the GPUs of this machine."""
    paddle = runtime.paddle
    if not paddle.is_compiled_with_cuda():
        if shutil.which("nvidia-smi"):
            detail = "CPU build of Paddle, but this machine has an NVIDIA driver; `make GPU=cu126 course` uses it"
            return Check("gpu", WARN, detail)
        return Check("gpu", OK, "none; CPU build of Paddle, which is all that the course needs")
    if count := paddle.device.cuda.device_count():
        return Check("gpu", OK, f"{count} × {paddle.device.cuda.get_device_name(0)}")
    detail = "GPU build of Paddle, but no GPU is visible; look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    return Check("gpu", WARN, detail)


def check_threads() -> Iterator[Check]:
    """Compare the thread settings with those that are fast on this machine."""
    for name, wanted in runtime.recommended_environment().items():
        found = os.environ.get(name)
        if found == wanted:
            yield Check(name, OK, wanted)
        elif found:
            yield Check(name, WARN, f"{found}, {wanted} is faster here; unset it before Python starts")
        else:
            yield Check(name, WARN, f"not set, {wanted} is faster here; import alstm_helpers before Paddle")


def check_speed() -> Iterator[Check]:
    """Compare the speed in this process with that in a fresh process with the recommended settings."""
    here = runtime.matmul_gflops()
    code = "from alstm_helpers import runtime; print(runtime.matmul_gflops())"
    environment = {**os.environ, **runtime.recommended_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    fresh = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    best = float(fresh.stdout.split()[-1]) if fresh.returncode == 0 and fresh.stdout.split() else here
    detail = f"{here:.0f} GFLOP/s in a float32 matrix product"
    slow = here < SLOW * best
    yield Check("speed", WARN if slow else OK, detail + (f"; {best:.0f} with the recommended settings" if slow else ""))


def check_step() -> Iterator[Check]:
    """Measure a training step, and say which threads take it and what they gain."""
    from alstm_helpers.machine.step import step_times

    times = step_times()
    took = f"{times.at_once:.0f} ms for 64 videos"
    device = runtime.paddle.device.get_device()
    if device != "cpu" or runtime.usable_cores() < 2:
        yield Check("training step", OK, f"{took}, on {'one core' if device == 'cpu' else device}")
        return
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    detail = f"{took}, both streams at once, OMP_NUM_THREADS={threads} each; {times.in_turn:.0f} ms one after the other"
    if times.at_once > BUSY * times.in_turn:
        yield Check("training step", WARN, f"{detail}; other programs are using the cores")
    else:
        yield Check("training step", OK, detail)


def check_disk() -> Iterator[Check]:
    """Check the free space in the current folder."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    detail = f"{free:.1f} GB free here"
    enough = free > DISK
    yield Check("disk", OK if enough else WARN, detail if enough else f"{detail}; the course needs {DISK} GB")


def check_jupyter() -> Iterator[Check]:
    """Look for the kernel that the notebooks name, where Jupyter is installed."""
    if not is_installed("jupyter_client"):
        yield Check("jupyter kernel", WARN, f"no Jupyter; {install_line('course')}")
        return
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        KernelSpecManager().get_kernel_spec("python3")
        yield Check("jupyter kernel", OK, f"python3 → {sys.executable}")
    except Exception as error:  # whatever is broken, the report must be complete
        yield Check("jupyter kernel", FAIL, f"{error}; reinstall ipykernel")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    check_python,
    check_packages,
    check_extras,
    check_paddle,
    check_threads,
    check_speed,
    check_step,
    check_jupyter,
    check_disk,
)


def run_checks() -> list[Check]:
    """Run all checks in order; leave out the speeds if Paddle does not work, or a package of the core is missing."""
    found: list[Check] = []
    for check in CHECKS:
        broken = any(row.status == FAIL and row.name.startswith(("paddle", *PACKAGES)) for row in found)
        if not broken or check not in (check_speed, check_step):
            found += check()
    return found
