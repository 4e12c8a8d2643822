"""The cell ``bootstrap``: what it installs and what it leaves alone; a notebook without a clone beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from alstm_helpers.course import hosted
from alstm_helpers.errors import AlstmError
from alstm_helpers.extras import DISTRIBUTION

ROOT = Path(__file__).resolve().parents[2]
NAME = "03_data"


@pytest.fixture
def installed(monkeypatch):
    """Versions that seem to be installed, by name; with what is missing, pip is asked, and its command kept."""
    versions = {requirement.name: None for requirement in hosted.requirements("course")}
    commands: list[list[str]] = []

    def pip(command, check):
        commands.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(hosted, "package_version", versions.get)
    monkeypatch.setattr(hosted, "loaded_versions", dict)
    monkeypatch.setattr(subprocess, "run", pip)
    return versions, commands


def names(requirements):
    return {requirement.name for requirement in requirements}


def test_the_core_and_the_extra_are_wanted_but_no_other_jupyter():
    wanted = names(hosted.requirements("course"))
    assert {"paddlepaddle", "numpy", "onnx", "fastapi", "av", "distributed", "visualdl", "nbformat"} <= wanted
    assert not wanted & {*hosted.JUPYTER, "pytest", "sphinx"}
    every = {line.split(">=")[0] for line in metadata.requires(DISTRIBUTION) or []}
    assert hosted.JUPYTER - every == set(), "a name that is no requirement any more"


def test_no_paddle_goes_over_one_for_gpus(installed):
    versions, commands = installed
    versions["paddlepaddle-gpu"] = "3.2.0"
    hosted.complete_installation()
    assert commands and not any("paddlepaddle" in each for each in commands[0])


def test_pip_is_asked_for_plain_requirements(installed):
    _, commands = installed
    hosted.complete_installation()
    assert commands[0][:4] == ["-m", "pip", "install", "--quiet"]
    assert any(each.startswith("paddlepaddle<4,>=3") for each in commands[0])
    assert not any(";" in each for each in commands[0]), "a marker would make pip skip it"


def test_nothing_is_done_if_all_is_there(installed, monkeypatch):
    _, commands = installed
    monkeypatch.setattr(hosted, "package_version", metadata.version)
    monkeypatch.setattr(hosted, "GPU_PADDLE", "paddlepaddle")  # whichever of the two is installed here
    hosted.complete_installation()
    assert commands == []


def test_an_old_version_is_not_enough(installed):
    versions, _ = installed
    numpy = next(each for each in hosted.requirements("course") if each.name == "numpy")
    versions["numpy"] = "1.26.4"
    assert not hosted.is_met(numpy)
    versions["numpy"] = "2.1.3"
    assert hosted.is_met(numpy)


def test_a_kernel_with_a_replaced_module_must_restart(installed, monkeypatch):
    monkeypatch.setattr(hosted, "loaded_versions", lambda: {"numpy": "1.26.4", "tqdm": "4.67"})
    versions, _ = installed
    versions.update(numpy="2.3.5", tqdm="4.67")
    with pytest.raises(AlstmError, match=r"has loaded numpy 1\.26\.4, and another .* restart the kernel"):
        hosted.complete_installation()


def test_what_is_loaded_is_known_by_distribution():
    loaded = hosted.loaded_versions()
    assert loaded["pytest"] == pytest.__version__ and "scikit_learn" not in loaded


def test_pip_that_fails_is_one_sentence(installed, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    with pytest.raises(AlstmError, match="could not be installed; see pip's message above"):
        hosted.complete_installation()


def test_paddle_loaded_too_early_is_said(installed, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "paddle", ModuleType("paddle"))
    monkeypatch.setattr(hosted, "recommended_environment", lambda: {"OMP_NUM_THREADS": "2"})
    for threads in ("2", "1"):
        assert "restart the kernel" not in capsys.readouterr().out
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        hosted.complete_installation()
    assert "restart the kernel" in capsys.readouterr().out


def test_a_folder_of_the_repository_is_not_enough(monkeypatch):
    monkeypatch.setattr(hosted, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(AlstmError, match=r"not installed; run `pip install \.` in it"):
        hosted.requirements("course")


def test_it_imports_nothing_that_is_not_there_yet():
    """What the package requires must not be imported before it is installed."""
    code = "import sys, alstm_helpers.course.hosted; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "nbformat", "pydantic", "yaml", "click", "filelock", "requests"}


# --- a notebook by itself -----------------------------------------------------------------------------------------


@pytest.fixture
def python(tmp_path):
    """A Python with all packages of this one but the course's, as a hosted machine may have them."""
    folder = tmp_path / "python"
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    here, there = (
        Path(sysconfig.get_path("purelib", vars={"base": str(base), "platbase": str(base)}))
        for base in (sys.prefix, folder)
    )
    for entry in here.iterdir():  # alstm_helpers: what an editable installation keeps of the course's files
        ours = "attention_lstm_course" in entry.name or entry.name == "alstm_helpers"
        if not ours and not (there / entry.name).exists():
            (there / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


@pytest.fixture
def wheel(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel 轮")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next((tmp_path / "wheel 轮").glob("*.whl"))


@pytest.mark.skipif("ALSTM_SLOW" not in os.environ, reason="a minute; CI sets ALSTM_SLOW")
@pytest.mark.posix  # links to folders need rights on Windows
def test_a_notebook_alone_installs_the_wheel_and_runs(tmp_path, python, wheel):
    """In an empty folder, with an empty home and no network: only the wheel must be installed here."""
    lonely, home = tmp_path / "content", tmp_path / "home"
    home.mkdir()
    lonely.mkdir()
    shutil.copy(ROOT / "notebooks" / f"{NAME}.ipynb", lonely)
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("ALSTM", "PYTHON", "JUPYTER"))}
    variables.update(HOME=str(home), PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    command = [
        str(python),
        "-m",
        "papermill",
        f"{NAME}.ipynb",
        "done.ipynb",
        "-p",
        "INSTALL",
        str(wheel),
        "-k",
        "python3",
    ]
    done = subprocess.run(command, cwd=lonely, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    where = "import alstm_helpers; print(alstm_helpers.__file__)"
    found = subprocess.run([str(python), "-I", "-c", where], cwd=lonely, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(python.parents[1])), "the installed package, not the clone"
    (expected,) = lonely.rglob(f"expected/{NAME}.json")
    assert all(row["ok"] for row in json.loads(expected.read_text(encoding="utf-8")))
