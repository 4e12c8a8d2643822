"""Start-up: the command answers before it imports what it does not need; seen in ``python -X importtime``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from alstm_helpers.commands import alstm as every

# Slow to import, or far more than a command needs that neither computes nor draws.
SLOW = {"paddle", "onnx", "onnxruntime", "distributed", "dask", "matplotlib", "scipy", "av", "pandas", "visualdl"}
# Of the core, but not needed to read a command line.
CORE = {"numpy", "sklearn", "google", "requests", "joblib", "pydantic", "yaml", "tqdm", "filelock"}
HELP_OF_ALL = """
from alstm_helpers.commands import alstm
def show(*arguments):
    assert alstm.main([*arguments, "--help"], prog_name="alstm", standalone_mode=False) in (0, None)
for name, command in alstm.commands.items():
    show(name)
    for below in getattr(command, "commands", ()):
        show(name, below)
"""


class Run(NamedTuple):
    """A process that has ended: its exit status, the modules it imported, and all it printed."""

    code: int
    modules: set[str]
    output: str

    @property
    def packages(self) -> set[str]:
        return {module.partition(".")[0] for module in self.modules}


def run(*arguments: object, folder: Path | None = None) -> Run:
    """Run Python under ``-X importtime``; it does not see what its own child processes import."""
    command = [sys.executable, "-X", "importtime", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, cwd=folder)
    lines = done.stderr.splitlines()
    modules = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    rest = [line for line in lines if not line.startswith("import time:")]
    return Run(done.returncode, modules, "\n".join([done.stdout, *rest]))


def alstm_at(folder: Path, *arguments: object) -> Run:
    return run("-m", "alstm_helpers", *arguments, folder=folder)


def test_help_and_version_import_little_more_than_click():
    """Counted in modules, not seconds: at most a fifth more than a click command of one line, the package's aside."""
    one_line = "import runpy, click; click.Command('x').main(['--help'], standalone_mode=False)"
    click = run("-c", one_line).modules
    for argument in ("--help", "--version"):
        done = run("-m", "alstm_helpers", argument)
        others = {module for module in done.modules - click if not module.startswith("alstm_helpers")}
        assert done.code == 0 and "click.core" in done.modules
        assert not done.packages & (SLOW | CORE)
        assert len(others) < len(click) / 5, sorted(others)


def test_the_help_of_every_command_imports_none_of_what_the_command_will_need():
    done = run("-c", HELP_OF_ALL)
    assert done.code == 0 and done.output.count("Usage: alstm ") > len(every.commands)
    assert not done.packages & (SLOW | CORE)


def test_commands_without_tensors_import_neither_paddle_nor_what_draws(tiny_data, tmp_path):
    export = tmp_path / "clips.csv"
    export.write_text("video,label\na.mp4,cat\n", encoding="utf-8")
    commands: list[tuple[object, ...]] = [
        ("make-data", "made", "--train", 4, "--val", 2, "--shards", 1),
        ("convert", "made/tf/train", "made/pkl/train", "--workers", 1),
        ("convert", "made/tf/val", "made/pkl/val", "--workers", 1),
        ("lists", "made", "--check"),
        ("split", tiny_data / "pkl" / "train", "own"),
        ("labels", "import", export, "--out", "labels"),
        ("progress",),
    ]
    for arguments in commands:
        done = alstm_at(tmp_path, *arguments)
        assert (done.code, done.packages & SLOW) == (0, set()), (arguments, done.output)
        assert done.modules > {"click.core", "alstm_helpers.cli"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("crossval",),
        ("eval",),
        ("predict",),
        ("explain", "--video", "v"),
        ("export", "--weights", "w.pdparams", "--out", "model"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_missing_configuration_is_found_before_paddle_is_imported(tmp_path, arguments):
    done = alstm_at(tmp_path, *arguments, "--config", "missing.yaml")
    assert done.code == 1 and done.output.strip().startswith("error: missing.yaml: no such file")
    assert not done.packages & SLOW


def test_the_check_itself_can_fail():
    assert "matplotlib" in run("-c", "import matplotlib").packages & SLOW
