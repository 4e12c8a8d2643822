"""Start-up: no command imports what it does not need, as ``python -X importtime`` tells."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from alstm_helpers.commands import alstm
from alstm_helpers.paths import course_files
from alstm_helpers.runtime import package_version

# Slow to import, or far more than a command needs that neither computes nor draws.
SLOW = {"paddle", "onnx", "onnxruntime", "distributed", "dask", "matplotlib", "scipy", "av", "pandas", "visualdl"}
# Of the core, but not needed to read a command line.
CORE = {"numpy", "sklearn", "google", "requests", "joblib", "pydantic", "yaml", "tqdm", "filelock"}
ONE_AFTER_THE_OTHER = """
import json, sys
from alstm_helpers.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
        print("exit 0")
    except SystemExit as stop:
        print("exit", stop.code)
"""


class Run(NamedTuple):
    """A process that has ended: the modules it imported, and the lines it printed, those of stderr last."""

    modules: set[str]
    lines: list[str]

    def imported(self, packages: set[str]) -> set[str]:
        return packages & {module.partition(".")[0] for module in self.modules}

    @property
    def exits(self) -> list[str]:
        return [line for line in self.lines if line.startswith("exit ")]


def run_python(folder: Path, *arguments: str) -> Run:
    """Run Python under ``-X importtime``, which does not see what child processes import."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    errors = done.stderr.splitlines()
    modules = {line.rpartition("|")[2].strip() for line in errors if line.startswith("import time:")}
    rest = [line for line in errors if not line.startswith("import time:")]
    return Run(modules, done.stdout.splitlines() + rest)


def run_alstm(folder: Path, commands: Sequence[Sequence[object]]) -> Run:
    """Run commands in one process: what none of them may import, the process may not."""
    texts = [[str(argument) for argument in arguments] for arguments in commands]
    return run_python(folder, "-c", ONE_AFTER_THE_OTHER, json.dumps(texts))


def test_help_imports_little_more_than_click(tmp_path):
    """Counted in modules, not seconds: the package's aside, at most a fifth more than a click command of one line."""
    one_line = "import runpy, click; click.Command('x').main(['--help'], standalone_mode=False)"
    click = run_python(tmp_path, "-c", one_line).modules
    ours = run_python(tmp_path, "-m", "alstm_helpers", "--help")
    more = {module for module in ours.modules - click if not module.startswith("alstm_helpers")}
    assert ours.lines[0].startswith("Usage: alstm ") and "click.core" in click & ours.modules
    assert len(more) < len(click) / 5, sorted(more)


def test_version_and_the_help_of_every_command_import_no_package_that_the_command_will_need(tmp_path):
    groups = [(name, below) for name, command in alstm.commands.items() for below in getattr(command, "commands", ())]
    commands = [["--version"], *([*names, "--help"] for names in (*((name,) for name in alstm.commands), *groups))]
    done = run_alstm(tmp_path, commands)
    assert done.exits == ["exit 0"] * len(commands) and ["labels", "import", "--help"] in commands
    assert not done.imported(SLOW | CORE)


def test_commands_without_tensors_import_neither_paddle_nor_what_draws(tiny_data, tmp_path):
    export = tmp_path / "clips.csv"
    export.write_text("video,label\na.mp4,cat\n", encoding="utf-8")
    commands: list[list[object]] = [
        ["make-data", "made", "--train", 4, "--val", 2, "--shards", 1],
        ["convert", "made/tf/train", "made/pkl/train", "--workers", 1],
        ["convert", "made/tf/val", "made/pkl/val", "--workers", 1],
        ["lists", "made", "--check"],
        ["split", tiny_data / "pkl" / "train", "own"],
        ["labels", "import", export, "--out", "labels"],
        ["progress"],
    ]
    done = run_alstm(tmp_path, commands)
    assert done.exits == ["exit 0"] * len(commands), done.lines
    assert not done.imported(SLOW)


def test_a_missing_configuration_is_found_before_paddle_is_imported(tmp_path):
    more = {"explain": ["--video", "v"], "export": ["--weights", "w.pdparams", "--out", "model"]}
    names = ("train", "crossval", "eval", "predict", "explain", "export")
    done = run_alstm(tmp_path, [[name, "--config", "missing.yaml", *more.get(name, ())] for name in names])
    assert done.exits == ["exit 1"] * len(names)
    assert sum(line.startswith("error: missing.yaml: no such file") for line in done.lines) == len(names)
    assert not done.imported(SLOW)


@pytest.mark.skipif(package_version("paddlepaddle-gpu") is not None, reason="asks this Paddle for GPUs")
def test_missing_weights_and_lists_are_found_before_paddle_is_imported(tiny_data, tmp_path):
    config = course_files() / "configs" / "flashdigits.yaml"
    there = tmp_path / "w.pdparams"
    there.touch()
    without_weights: list[list[object]] = [
        ["eval", "--filelist", tiny_data / "test.list"],
        ["eval", "--filelist", tiny_data / "test.list", "--weights", "missing.pdparams"],
        ["predict", "--filelist", tiny_data / "test.list", "--weights", "missing.pdparams"],
        ["explain", "--filelist", tiny_data / "test.list", "--weights", "missing.pdparams", "--video", "v"],
        ["export", "--weights", "missing.pdparams", "--out", "model"],
        ["train", "--pretrain", "missing.pdparams"],
        ["crossval", "--pretrain", "missing.pdparams"],
    ]
    without_list: list[list[object]] = [
        [name, "--filelist", "missing.list", "--weights", there, *more]
        for name, *more in (["eval"], ["predict"], ["explain", "--video", "v"])
    ]
    without_list += [[name, "-o", "TRAIN.filelist=missing.list"] for name in ("train", "crossval")]
    commands = [[*command, "--config", config] for command in without_weights + without_list]
    done = run_alstm(tmp_path, commands)
    assert done.exits == ["exit 1"] * len(commands)
    told = [line for line in done.lines if line.startswith("error: ")]
    assert sum("no trained weights here; pass --weights" in line for line in told) == 1
    assert sum("missing.pdparams: no such file; pass the .pdparams file" in line for line in told) == 6
    assert sum("missing.list: no such file; make it with" in line for line in told) == 5
    assert not done.imported(SLOW)


def test_an_import_is_seen(tmp_path):
    assert "matplotlib" in run_python(tmp_path, "-c", "import matplotlib").imported(SLOW)
