"""Links that open a notebook on machines of others; the files that make the course's environment there."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from alstm_helpers.course import doors

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://github.com/someone/attention-course"


def test_every_service_has_a_link_to_the_notebook():
    found = doors.links(ADDRESS, "03_data")
    assert list(found) == ["Colab", "Kaggle", "Binder", "Codespaces", "nbgitpuller"]
    file = "notebooks/03_data.ipynb"
    assert found["Colab"].endswith(f"/github/someone/attention-course/blob/main/{file}")
    queries = {name: parse_qs(urlsplit(link).query) for name, link in found.items()}
    assert queries["Kaggle"] == {"src": [f"{ADDRESS}/blob/main/{file}"]}
    assert queries["Binder"] == {"urlpath": [f"lab/tree/{file}"]}
    pulled = {"repo": [ADDRESS], "branch": ["main"], "urlpath": [f"lab/tree/attention-course/{file}"]}
    assert queries["nbgitpuller"] == pulled


def test_a_row_has_every_service_and_the_help_for_the_one_without_a_link():
    row = doors.row(ADDRESS)
    assert row.startswith("[Colab](https://colab.") and row.endswith("[AI Studio](docs/doors.md#baidu-ai-studio)")
    assert "\n## Baidu AI Studio\n" in (ROOT / "docs" / "doors.md").read_text(encoding="utf-8")


def test_another_code_host_has_only_what_reads_from_it():
    assert list(doors.links("https://gitee.com/someone/attention-course")) == ["nbgitpuller"]


def test_without_an_address_there_is_nothing(tmp_path):
    (tmp_path / "x.toml").write_text('[project]\nname = "x"\n', encoding="utf-8")
    assert doors.repository(tmp_path / "x.toml") == "" == doors.row("")


@pytest.mark.parametrize("written", [ADDRESS, f"{ADDRESS}/", f"{ADDRESS}.git"])
def test_the_address_is_read_from_pyproject(tmp_path, written):
    (tmp_path / "x.toml").write_text(f'[project.urls]\nRepository = "{written}"\n', encoding="utf-8")
    assert doors.repository(tmp_path / "x.toml") == ADDRESS


def test_no_file_but_pyproject_has_the_address():
    """Other links are generated: by ``make notebooks`` in README.md and docs/doors.md, by ``make site`` in pages."""
    address = doors.repository(ROOT / "pyproject.toml")
    for name in ("README.md", "docs/doors.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        row = re.search(r"<!-- table: doors[^\n]*-->\n\n(.*)\n\n<!-- end -->", text)
        assert row and row[1] == doors.row(address, help_page="docs/doors.md" if name == "README.md" else "")


# --- the environments ---------------------------------------------------------------------------------------------


def test_binder_and_dev_containers_take_the_newest_python_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    minors = [int(each) for each in re.findall(r"Python :: 3\.(\d+)", "\n".join(project["classifiers"]))]
    runtime = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert runtime == f"python-3.{max(minors)}"
    assert f"python:3.{max(minors)}-" in container["image"]


def test_both_make_the_locked_environment():
    """By the Makefile, so that no version is written twice."""
    script = ROOT / ".binder" / "postBuild"
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert os.access(script, os.X_OK) and "\nmake setup PYTHON=" in script.read_text(encoding="utf-8")
    assert container["postCreateCommand"] == "make setup" and container["forwardPorts"] == [8888]
