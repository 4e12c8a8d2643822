"""Assignments for a class: questions with their tests, and answers only where the tools take them out."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

from alstm_helpers.course.assignments import STUB, without_answers
from alstm_helpers.course.exercises import exercises_of
from alstm_helpers.paths import course_files

EXERCISES = Path(__file__).resolve().parents[2] / "alstm_helpers" / "course" / "exercises"


@pytest.fixture
def assignment(alstm, tmp_path):
    """What the command writes of notebook 07."""

    def write(tool, place):
        result = alstm("course", f"--{tool}", "--notebooks", "07", "--profile", "small", "--out", tmp_path)
        assert result.last == f"assignments for {tool}, with model answers: 1 → {tmp_path}"
        return nbformat.read(tmp_path / place, as_version=4)

    return write


def test_for_otter(assignment):
    notebook = assignment("otter", "07_configuration.ipynb")
    nbformat.validate(notebook)
    raw = [cell.source.splitlines()[0] for cell in notebook.cells if cell.cell_type == "raw"]
    question = [
        f"# {word}" for word in ("BEGIN QUESTION", "BEGIN SOLUTION", "END SOLUTION", "BEGIN TESTS", "END TESTS")
    ]
    assert raw == ["# ASSIGNMENT CONFIG", *[*question, "# END QUESTION"] * len(exercises_of(7))]
    answer = next(cell.source for cell in notebook.cells if cell.id == "ex-7-1-answer")
    solution = exercises_of(7)[0].solution
    assert answer.startswith(f"# BEGIN SOLUTION NO PROMPT\n{solution}\n# END SOLUTION\n") and STUB in answer
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert 'PROFILE = "small"' in code and "hint, solution" not in code
    assert code.count('assert verdict.status == "correct", verdict') == len(exercises_of(7))


def test_for_nbgrader(assignment):
    notebook = assignment("nbgrader", "source/07_configuration/07_configuration.ipynb")
    nbformat.validate(notebook)
    cells = {cell.id: cell for cell in notebook.cells}
    for exercise in exercises_of(7):
        answer, check = cells[f"{exercise.name}-answer"], cells[f"{exercise.name}-check"]
        assert answer.source == f"{STUB}\n### BEGIN SOLUTION\n{exercise.solution}\n### END SOLUTION"
        assert answer.metadata.nbgrader.solution and not answer.metadata.nbgrader.locked
        assert (check.metadata.nbgrader.grade, check.metadata.nbgrader.points) == (True, 1)
        assert f'check("{exercise.name}", answer)' in check.source and "assert" in check.source


@pytest.mark.parametrize("tool", ["otter", "nbgrader"])
def test_the_whole_course_is_written(alstm, tmp_path, tool):
    """Cells beside those of the exercises are as they were, whatever their ids end in."""
    result = alstm("course", f"--{tool}", "--out", tmp_path)
    notebooks = sorted((course_files() / "notebooks").glob("[0-9]*.ipynb"))
    assert result.last.startswith(f"assignments for {tool}, with model answers: {len(notebooks)} → ")
    for path in notebooks:
        (written,) = tmp_path.rglob(path.name)
        cells = {cell.id: cell for cell in nbformat.read(written, as_version=4).cells}
        for cell in nbformat.read(path, as_version=4).cells:
            if not cell.id.startswith("ex-") and cell.id != "setup":
                assert cells[cell.id].source == cell.source


def test_an_assignment_is_not_run(alstm):
    assert alstm("course", "--otter", "--answers").code == 2


def test_an_assignment_has_a_profile_that_there_is(alstm, tmp_path):
    result = alstm("course", "--otter", "--profile", "tinny", "--out", tmp_path / "x")
    assert result.code == 1 and "--profile tinny: no such profile" in result.err and not (tmp_path / "x").exists()


@pytest.mark.parametrize("path", sorted(EXERCISES.glob("chapter_*.py")), ids=lambda path: path.stem)
def test_a_class_gets_no_model_answer(path):
    """The stripped chapter still defines its exercises and their judges, and holds no text of an answer."""
    stripped = without_answers(path.read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(ast.parse(stripped)) if isinstance(node, ast.Constant)}
    space: dict[str, Any] = {"__name__": "stripped", "__file__": str(path)}
    exec(compile(stripped, path.name, "exec"), space)  # noqa: S102 - the course's own code
    for exercise in exercises_of(int(path.stem[-2:])):
        assert exercise.solution and exercise.solution not in texts
        (found,) = [other for other in space["EXERCISES"] if other.name == exercise.name]
        assert (found.solution, found.hints) == ("", exercise.hints)
        assert [told for _, told in found.mistakes] == [told for _, told in exercise.mistakes]
