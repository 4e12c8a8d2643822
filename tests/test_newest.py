"""The trial of the newest of everything: which versions it asks for, and what its report says. No network."""

import sys

import pytest

from tools import newest, setup_env

LOCK = "bleach[css]==6.4.0 ; python_version > '3' \\\n    --hash=sha256:bb\nnumpy==2.4.1 \\\n    --hash=sha256:aa\n"
PYPROJECT = """\
[project]
name = "course"
dependencies = ["numpy>=2,<3", "click>=8.1"]
optional-dependencies = {onnx = ["onnx>=1.17,!=1.19,<2"], all = ["course[onnx]"]}
"""


def test_it_asks_without_upper_bounds():
    assert newest.wishes(PYPROJECT) == ["numpy>=2", "click>=8.1", "onnx>=1.17,!=1.19"]


def test_it_lists_what_changed():
    rows = newest.changes(LOCK, "bleach==6.5.0\n    # via x\nnumpy==2.4.1\nsix==1.17.0\n")
    assert rows == ["| bleach | 6.4.0 | 6.5.0 |", "| six | – | 1.17.0 |"]


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("..F\nFAILED tests/test_x.py::test_y - assert 1\n1 failed\n", ["FAILED tests/test_x.py::test_y - assert 1"]),
        ("01_model   ok  12 s\n02_check   failed  3 s\n", ["02_check   failed  3 s"]),
        ("error: no\n  cause: dns\n", ["error: no", "  cause: dns"]),
        ("".join(f"{n}\n" for n in range(20)), [str(n) for n in range(10, 20)]),
    ],
)
def test_it_lists_what_broke(output, lines):
    assert newest.broken(output) == lines


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(newest, "FOLDER", tmp_path / "newest")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "job.md"))
    monkeypatch.setattr(setup_env, "run", lambda command: setup_env.Done(0, ""))
    return tmp_path


@pytest.mark.parametrize(
    ("breaks", "status", "reached"), [("", 0, "course"), ("tests", 1, "course"), ("install", 1, "install")]
)
def test_what_broke_sets_the_status_and_is_in_the_summary(folder, monkeypatch, breaks, status, reached):
    names = ["resolve", "install", "tests", "course"]
    script = "import sys; print('FAILED here'); sys.exit({})"
    commands = [(name, [sys.executable, "-c", script.format(int(name == breaks))]) for name in names]
    monkeypatch.setattr(newest, "steps", lambda tests: commands)
    assert newest.main([]) == status
    summary = (folder / "job.md").read_text(encoding="utf-8")
    assert summary == (folder / "newest" / "summary.md").read_text(encoding="utf-8")
    assert (f"* **{breaks}: broke**\n\n```\nFAILED here\n```" in summary) == bool(breaks)
    assert (f"* {reached}" in summary or f"* **{reached}" in summary) and ("* course" in summary) == (
        reached == "course"
    )
