"""The extras: the table is that of pyproject.toml, and whatever misses a package says which extra brings it."""

from __future__ import annotations

import pickle
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from alstm_helpers.extras import DISTRIBUTION, EXTRAS, NotInstalled, explained, install_line, is_installed, require

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

NEVER_IMPORTED = {PROJECT["name"], "jupyterlab-language-pack-zh-cn"}  # the one is this, the other texts alone


def test_the_table_is_that_of_pyproject():
    asked = {
        extra: tuple(wish.name for wish in map(Requirement, lines) if wish.name not in NEVER_IMPORTED)
        for extra, lines in PROJECT["optional-dependencies"].items()
        if extra != "dev"
    }
    assert asked == EXTRAS
    assert PROJECT["name"] == DISTRIBUTION


def test_each_package_is_imported_by_its_own_name():
    assert all(is_installed(package) for packages in EXTRAS.values() for package in packages)


def test_require(monkeypatch):
    require("onnx", "av")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(NotInstalled) as raised:
        require("onnx", "av")
    assert str(raised.value) == 'av: not installed; pip install "attention-lstm-course[video]"'
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # noqa: S301 - from a worker process


def test_imports_that_fail_are_explained():
    missing = ModuleNotFoundError("No module named 'no_such'", name="no_such.part")
    assert str(explained(missing)) == f"no_such: not installed; {install_line()}"
    for other in (
        ImportError("libgomp.so.1: cannot open shared object file", name="numpy"),
        ModuleNotFoundError("No module named 'alstm_helpers.gone'", name="alstm_helpers.gone"),
        ModuleNotFoundError("No module named 'click.gone'", name="click.gone"),
    ):
        assert explained(other) is other
