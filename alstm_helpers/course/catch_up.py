"""For learners who are behind in a workshop: run the earlier cells of a notebook that have not run, without output."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TypeAlias, TypedDict

from IPython.core.getipython import get_ipython
from IPython.utils.capture import capture_output

from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import course_files

Variables: TypeAlias = "dict[str, object]"


class Cell(TypedDict):
    """What is used of a notebook's cell; ``source`` is one text, not a list of lines."""

    id: str
    cell_type: str
    source: str
    metadata: dict[str, list[str]]


_CAUGHT_UP = "_caught_up"  # the variable with the sources of the cells that ran here


def catch_up(notebook: str, cell: str = "catch-up", space: Variables | None = None) -> str:
    """Run the cells of a notebook that come before ``cell`` and have not run in this kernel, except exercises.

    Args:
        notebook: name of the notebook, such as ``01_model``.
        cell: id of the cell that calls this.
        space: the variables to run in, with the sources that have run under ``In``; by default those of the kernel.

    Returns:
        What was done, in one line.

    Raises:
        AlstmError: one of the cells fails, or there is neither a notebook nor ``space``.
    """
    if space is None:
        shell = get_ipython()
        if shell is None:
            raise AlstmError("catch_up", "this is not a notebook", "call it in a cell, or pass the variables as space")
        space = shell.user_ns
    done = _sources_that_ran(space)
    missing = [each for each in _cells_above(notebook, cell) if _is_missing(each, space, done)]
    if not missing:
        return "all cells above have run: you are not behind"
    start = time.perf_counter()
    _run(notebook, missing, space)
    count = "1 cell" if len(missing) == 1 else f"{len(missing)} cells"
    return f"ran {count} above in {time.perf_counter() - start:.0f} s; continue here"


def _cells_above(notebook: str, cell: str) -> list[Cell]:
    """Read the cells before one. The course's notebooks are valid, and nbformat alone takes seconds to import."""
    text = (course_files() / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8")
    cells: list[Cell] = json.loads(text)["cells"]
    for each in cells:
        each["source"] = "".join(each["source"])
    return cells[: [each["id"] for each in cells].index(cell)]


def _sources_that_ran(space: Variables) -> set[str]:
    """Return the sources of the cells that ran to their end, by themselves or in an earlier call."""
    shell, history, failed = get_ipython(), space.get("In"), dict[int, object]()
    if shell is not None and shell.user_ns is space:
        failed = getattr(shell.history_manager, "exceptions", failed)  # by the number of the cell
    ran = enumerate(history) if isinstance(history, list) else ()
    return {source.strip() for number, source in ran if number not in failed} | _caught_up(space)


def _caught_up(space: Variables) -> set[str]:
    found = space.setdefault(_CAUGHT_UP, set())
    assert isinstance(found, set)
    return found


def _is_missing(cell: Cell, space: Variables, done: set[str]) -> bool:
    """Return whether a cell is code of the lesson that has not run."""
    if cell["cell_type"] != "code" or cell["id"].startswith("ex-"):
        return False
    if "parameters" in cell["metadata"].get("tags", []) and "PROFILE" in space:
        return False  # the learner or papermill may have set other values
    return cell["source"].strip() not in done


def _run(notebook: str, cells: Sequence[Cell], space: Variables) -> None:
    """Run cells one after the other and show only their count."""
    for count, cell in enumerate(cells, 1):
        print(f"\rcell {count} of {len(cells)}", end="", flush=True)
        try:
            with capture_output():
                exec(compile(cell["source"], f"<{notebook}: {cell['id']}>", "exec"), space)  # noqa: S102 - the course's own cells
        except Exception as error:
            print()
            raise AlstmError(f"{notebook}, cell {cell['id']}", str(error), "run the cells from the top on") from error
        _caught_up(space).add(cell["source"].strip())
    print()
