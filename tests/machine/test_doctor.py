"""The doctor: each check can pass, and each can report what is wrong."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from support import run_python

from alstm_helpers import runtime
from alstm_helpers.extras import EXTRAS
from alstm_helpers.machine import doctor
from alstm_helpers.machine.doctor import FAIL, OK, WARN, Check, locked_versions
from alstm_helpers.machine.on_request import Sample
from alstm_helpers.machine.step import StepTimes, step_times
from alstm_helpers.runtime import paddle

LOCK = """\
# made by `make lock`
paddlepaddle==3.3.1 \\
    --hash=sha256:abc \\
    --hash=sha256:def
    # notebooks 01
numpy==2.2.6 ; python_version < "3.11"
ruamel.yaml==0.18.6
Jinja2==3.1.4
types-PyYAML==6.0.12.1
"""


def test_locked_versions(tmp_path):
    (tmp_path / "requirements.lock").write_text(LOCK, encoding="utf-8")
    assert locked_versions(tmp_path / "requirements.lock") == {
        "paddlepaddle": "3.3.1",
        "numpy": "2.2.6",
        "ruamel.yaml": "0.18.6",
        "Jinja2": "3.1.4",
        "types-PyYAML": "6.0.12.1",
    }
    assert locked_versions(tmp_path / "none.lock") == {}


def rows_of(check):
    return {row.name: row for row in check()}


def test_this_environment_is_healthy():
    """All real checks pass, except those of speeds, which depend on the machine."""
    checks = [check for check in doctor.CHECKS if check not in (doctor.check_speed, doctor.check_step)]
    found = [row for check in checks for row in check()]
    assert not [row for row in found if row.status == FAIL]
    assert {"python", "paddlepaddle", "paddle gradient", "gpu", "OMP_NUM_THREADS", "jupyter kernel", "disk"} <= {
        row.name for row in found
    }
    assert all(row.status in (OK, WARN) and row.detail for row in found)


@pytest.mark.parametrize("minor, status", [(10, FAIL), (11, OK), (12, OK), (13, OK), (14, FAIL)])
def test_python_versions(monkeypatch, minor, status):
    monkeypatch.setattr(sys, "version_info", (3, minor, 0, "final", 0))
    (row,) = doctor.check_python()
    assert row.status == status


def test_the_advice_on_python_names_the_versions_that_pass(monkeypatch):
    def row_of(minor):
        monkeypatch.setattr(sys, "version_info", (3, minor, 0, "final", 0))
        return next(doctor.check_python())

    newest = max(minor for minor in range(10, 30) if row_of(minor).status == OK)
    for minor in (10, newest + 1):
        assert f"3.11 to 3.{newest}" in row_of(minor).detail


@pytest.fixture
def versions(monkeypatch, tmp_path):
    """The installed versions, which the test may change; the lock file is fixed."""
    (tmp_path / "requirements.lock").write_text("paddlepaddle==3.3.1\nnumpy==2.2.6\n", encoding="utf-8")
    monkeypatch.setattr(doctor, "course_files", lambda: tmp_path)
    names = [*doctor.PACKAGES, *(name for packages in EXTRAS.values() for name in packages)]
    installed = dict.fromkeys(names, "1.0") | {"paddlepaddle": "3.3.1", "numpy": "2.2.6"}

    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    return installed


def test_packages(versions):
    assert {row.status for row in doctor.check_packages()} == {OK}
    versions["numpy"] = "1.26.4"
    del versions["click"]
    rows = rows_of(doctor.check_packages)
    assert rows["numpy"] == Check("numpy", WARN, "1.26.4, tested with 2.2.6")
    assert rows["click"].status == FAIL and "not installed" in rows["click"].detail
    assert rows["paddlepaddle"].status == OK


def test_an_extra_that_is_missing_is_named_and_no_failure(versions, tmp_path):
    assert {row.status for row in doctor.check_extras()} == {OK}
    assert rows_of(doctor.check_extras)["[onnx]"].detail == "onnx 1.0, onnxruntime 1.0"
    for name in ("visualdl", "jupyterlab", "av"):
        del versions[name]
    with (tmp_path / "requirements.lock").open("a", encoding="utf-8") as lock:
        lock.write("onnx==1.22.0\nonnxruntime==1.0\n")
    rows = rows_of(doctor.check_extras)
    assert rows["[course]"].status == rows["[video]"].status == rows["[onnx]"].status == WARN
    assert rows["[course]"].detail == 'not installed: jupyterlab, visualdl; pip install "attention-lstm-course[course]"'
    assert rows["[onnx]"].detail == "onnx 1.0, tested with 1.22.0"
    assert rows["[serve]"].status == rows["[dask]"].status == OK


def test_the_doctor_looks_at_every_package_of_the_core():
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    asked = map(Requirement, tomllib.loads(text)["project"]["dependencies"])
    assert set(doctor.PACKAGES) == {wish.name for wish in asked}


def test_no_jupyter_is_no_failure(monkeypatch):
    monkeypatch.setattr(doctor, "is_installed", lambda package: False)
    (row,) = doctor.check_jupyter()
    assert row.status == WARN and row.detail == 'no Jupyter; pip install "attention-lstm-course[course]"'


def test_the_gpu_wheel_counts_as_paddle(versions):
    del versions["paddlepaddle"]
    versions["paddlepaddle-gpu"] = "3.3.1+cu126"
    assert rows_of(doctor.check_packages)["paddlepaddle"].status == OK
    del versions["paddlepaddle-gpu"]
    assert rows_of(doctor.check_packages)["paddlepaddle"].status == FAIL


def test_a_paddle_that_does_not_import(monkeypatch):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(runtime, "_import_paddle", lambda: broken("paddle"))
    (row,) = doctor.check_paddle()
    assert row.status == FAIL and "libgomp.so.1" in row.detail


@pytest.mark.parametrize(
    "built, gpus, driver, status, part",
    [
        (False, 0, None, OK, "all that the course needs"),
        (False, 0, "/usr/bin/nvidia-smi", WARN, "make GPU="),
        (True, 0, "/usr/bin/nvidia-smi", WARN, "no GPU is visible"),
        (True, 2, "/usr/bin/nvidia-smi", OK, "2 × Tesla"),
    ],
)
def test_gpu(monkeypatch, built, gpus, driver, status, part):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: built)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda index: "Tesla")
    monkeypatch.setattr("alstm_helpers.machine.doctor.shutil.which", lambda name: driver)
    row = rows_of(doctor.check_paddle)["gpu"]
    assert row.status == status and part in row.detail


def test_another_number_of_threads_set_by_the_user_gets_a_warning():
    code = "from alstm_helpers.machine.doctor import check_threads; print(*(row for row in check_threads()), sep='\\n')"
    wanted = runtime.recommended_environment()["OMP_NUM_THREADS"]
    found = run_python(code, OMP_NUM_THREADS=f"{int(wanted) + 1}").stdout.splitlines()[0]
    assert "status='WARN'" in found and f"{wanted} is faster" in found
    assert "status='OK'" in run_python(code, OMP_NUM_THREADS="").stdout.splitlines()[0]


def test_threads_that_are_not_set(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    row = rows_of(doctor.check_threads)["OMP_NUM_THREADS"]
    assert row.status == WARN and row.detail.startswith("not set")


@pytest.mark.parametrize("here, fresh, status", [(100.0, "101.5", OK), (50.0, "101.5", WARN), (100.0, "", OK)])
def test_speed_is_compared_with_the_recommended_settings(monkeypatch, here, fresh, status):
    seen = {}

    def run(command, **settings):
        seen.update(settings)
        return SimpleNamespace(returncode=0, stdout=f"a banner\n{fresh}\n" if fresh else "")

    monkeypatch.setattr(runtime, "matmul_gflops", lambda: here)
    monkeypatch.setattr("alstm_helpers.machine.doctor.subprocess.run", run)
    (row,) = doctor.check_speed()
    assert row.status == status and f"{here:.0f} GFLOP/s" in row.detail
    assert ("102 with the recommended" in row.detail) == (status == WARN)
    assert runtime.recommended_environment().items() <= seen["env"].items()


@pytest.mark.parametrize(
    "cores, at_once, in_turn, status, part",
    [
        (2, 38.0, 61.0, OK, "38 ms for 64 videos, both streams at once, OMP_NUM_THREADS=3 each; 61 ms one after"),
        (2, 80.0, 61.0, WARN, "other programs are using the cores"),
        (1, 60.0, 60.0, OK, "60 ms for 64 videos, on one core"),
    ],
)
def test_the_step_is_measured_both_ways(monkeypatch, cores, at_once, in_turn, status, part):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(runtime, "usable_cores", lambda: cores)
    monkeypatch.setattr("alstm_helpers.machine.step.step_times", lambda: StepTimes(at_once, in_turn))
    (row,) = doctor.check_step()
    assert row.status == status and part in row.detail


def test_a_step_takes_time_either_way_and_the_first_way_is_at_once(monkeypatch):
    ways = []
    monkeypatch.setattr("alstm_helpers.machine.step.train_epoch", lambda net, *_: ways.append(net.streams_at_once))
    monkeypatch.setattr("alstm_helpers.machine.step.here", lambda work: lambda: work() or Sample(ways[-1] + 1.0, 0.0))
    assert step_times() == StepTimes(2000.0, 1000.0)


@pytest.mark.parametrize("free, status", [(50, OK), (1, WARN)])
def test_disk(monkeypatch, free, status):
    usage = SimpleNamespace(free=free * 10**9)
    monkeypatch.setattr("alstm_helpers.machine.doctor.shutil.disk_usage", lambda path: usage)
    (row,) = doctor.check_disk()
    assert row.status == status and f"{free}.0 GB" in row.detail


def test_a_missing_kernel(monkeypatch):
    def missing(self, name):
        raise KeyError("No such kernel named python3")

    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec", missing)
    (row,) = doctor.check_jupyter()
    assert row.status == FAIL and "python3" in row.detail


def test_all_checks_run_in_order(monkeypatch):
    checks = tuple(lambda name=name: iter([Check(name, OK, "fine")]) for name in ("a", "b", "c"))
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert [row.name for row in doctor.run_checks()] == ["a", "b", "c"]


@pytest.mark.parametrize("status, expected", [(OK, ["paddle import", "speed", "step"]), (FAIL, ["paddle import"])])
def test_speeds_are_not_measured_if_paddle_fails(monkeypatch, status, expected):
    monkeypatch.setattr(doctor, "check_speed", lambda: iter([Check("speed", OK, "fast")]))
    monkeypatch.setattr(doctor, "check_step", lambda: iter([Check("step", OK, "fast")]))
    checks = (lambda: iter([Check("paddle import", status, "")]), doctor.check_speed, doctor.check_step)
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert [row.name for row in doctor.run_checks()] == expected
