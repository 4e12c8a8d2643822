"""Assignments for a class: notebooks that otter-grader or nbgrader turns into those of students and of the autograder.

What is written here holds the model answers. ``otter assign`` and ``nbgrader generate_assignment`` take them out.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_raw_cell

from alstm_helpers.course.exercises import find
from alstm_helpers.files import atomic_write

STUB = "answer = ...  # your answer"
KEY = {"solution": "''", "right": "()"}  # of an Exercise, and what students get instead


def write_assignments(notebooks: Sequence[Path], tool: str, profile: str, folder: Path) -> int:
    """Write notebooks with their exercises as questions of a tool, in the tool's own layout; return their number.

    Args:
        notebooks: the course's own.
        tool: a key of ``TOOLS``.
        profile: the notebooks' ``PROFILE``.
        folder: gets ``NN_name.ipynb`` for Otter, and ``source/NN_name/NN_name.ipynb`` for nbgrader.
    """
    for path in notebooks:
        assignment = as_assignment(nbformat.read(path, as_version=4), tool, profile)
        target = folder / path.name if tool == "otter" else folder / "source" / path.stem / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, "w") as file:
            file.write(nbformat.writes(assignment))
    return len(notebooks)


def as_assignment(notebook: NotebookNode, tool: str, profile: str) -> NotebookNode:
    """Return a copy whose exercises are questions, with model answers; ``solution`` is not imported in it."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.id == "parameters":
            cell.source = cell.source.replace('PROFILE = "tiny"', f'PROFILE = "{profile}"')
        elif cell.id == "setup":
            cell.source = cell.source.replace("import check, hint, solution", "import check, hint")
    copy.cells = [part for cell in copy.cells for part in TOOLS[tool](cell)]
    if tool == "otter":
        copy.cells.insert(0, new_raw_cell("# ASSIGNMENT CONFIG\nrun_tests: false\nexport_cell: false"))
    return copy


def _for_otter(cell: NotebookNode) -> Iterator[NotebookNode]:
    """Yield a cell; the answer of an exercise among the raw cells that Otter Assign looks for, with its test."""
    name = cell.id.removesuffix("-answer")
    if name == cell.id or not name.startswith("ex-"):
        yield cell
        return
    stub = f'""" # BEGIN PROMPT\n{STUB}\n""" # END PROMPT'
    cell.source = f"# BEGIN SOLUTION NO PROMPT\n{find(name).solution}\n# END SOLUTION\n{stub}"
    yield from (new_raw_cell(f"# BEGIN QUESTION\nname: {name.replace('-', '_')}"), new_raw_cell("# BEGIN SOLUTION"))
    yield from (cell, new_raw_cell("# END SOLUTION"), new_raw_cell("# BEGIN TESTS"))
    yield from (new_code_cell(_test(name)), new_raw_cell("# END TESTS"), new_raw_cell("# END QUESTION"))


def _for_nbgrader(cell: NotebookNode) -> Iterator[NotebookNode]:
    """Yield a cell; of an exercise, that of the answer is the solution, and that of the check gives the point."""
    name, _, part = cell.id.rpartition("-")
    if cell.id.startswith("ex-") and part in ("answer", "check"):
        is_answer = part == "answer"
        if is_answer:
            cell.source = f"{STUB}\n### BEGIN SOLUTION\n{find(name).solution}\n### END SOLUTION"
        else:
            cell.source = _test(name)
        told = {"grade_id": cell.id, "solution": is_answer, "grade": not is_answer, "locked": not is_answer}
        points = {} if is_answer else {"points": 1}
        cell.metadata["nbgrader"] = {**told, **points, "schema_version": 3, "task": False}
    yield cell


def _test(name: str) -> str:
    """Return code that raises, with the message for the learner, unless the answer is right."""
    return f'verdict = check("{name}", answer)\nassert verdict.status == "correct", verdict'


TOOLS: dict[str, Callable[[NotebookNode], Iterator[NotebookNode]]] = {"otter": _for_otter, "nbgrader": _for_nbgrader}


def without_answers(source: str) -> str:
    """Return the code of a chapter's exercises without right answers; typical wrong ones have messages for learners."""
    tree = ast.parse(source)
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Exercise":
            for keyword in call.keywords:
                if keyword.arg in KEY:
                    keyword.value = ast.parse(KEY[keyword.arg], mode="eval").body
    return ast.unparse(tree) + "\n"
