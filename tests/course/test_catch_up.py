"""Catching up: cells that have not run are run in order; exercises and parameters that are set are left alone.

``alstm course --behind`` runs every notebook from its own catch-up cell.
"""

from __future__ import annotations

import nbformat
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell

from alstm_helpers.course import catch_up as module
from alstm_helpers.course.catch_up import Variables, catch_up
from alstm_helpers.course.variants import from_catch_up, with_answers
from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import course_files

NOTEBOOKS = sorted((course_files() / "notebooks").glob("[0-9]*.ipynb"))
CELLS = [
    ("parameters", 'PROFILE = "tiny"'),
    ("setup", "order = [PROFILE]"),
    ("print", 'print("noise"); order.append("print")'),
    ("ex-1-1-answer", 'order.append("an exercise")'),
    ("last", 'order.append("last")'),
    ("catch-up", 'raise RuntimeError("never runs itself")'),
    ("later", 'order.append("later")'),
]


@pytest.fixture(autouse=True)
def clone(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook()
    for name, source in CELLS:
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]} if name == "parameters" else {})
        cell.id = name
        notebook.cells.append(cell)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "01_x.ipynb")
    monkeypatch.setattr(module, "course_files", lambda: tmp_path)
    return tmp_path


def test_from_scratch(capsys):
    space: Variables = {}
    assert catch_up("01_x", space=space) == "ran 4 cells above in 0 s; continue here"
    assert space["order"] == ["tiny", "print", "last"]
    assert "noise" not in capsys.readouterr().out


def test_cells_are_not_run_twice_and_the_parameters_stay():
    space: Variables = {"PROFILE": "small", "order": ["mine"], "In": ["", CELLS[1][1], CELLS[2][1] + "\n"]}
    assert catch_up("01_x", space=space) == "ran 1 cell above in 0 s; continue here"
    assert space["order"] == ["mine", "last"] and space["PROFILE"] == "small"


def test_nothing_is_run_if_nothing_is_missing():
    space: Variables = {"PROFILE": "tiny", "In": [source for _, source in CELLS[:5]]}
    assert catch_up("01_x", space=space) == "all cells above have run: you are not behind"
    assert "order" not in space


def test_what_it_ran_is_not_run_again(capsys):
    space: Variables = {"In": [""]}
    catch_up("01_x", space=space)
    assert catch_up("01_x", space=space) == "all cells above have run: you are not behind"
    assert space["order"] == ["tiny", "print", "last"]


def test_a_cell_that_failed_or_was_interrupted_has_not_run(clone, monkeypatch):
    """In a kernel: the learner jumped ahead, and a cell needs one above."""
    shell = InteractiveShell()
    monkeypatch.setattr(module, "get_ipython", lambda: shell)
    for source in (CELLS[2][1], CELLS[4][1], 'order = ["mine"]', CELLS[4][1]):
        shell.run_cell(source, store_history=True)
    assert catch_up("01_x", space=shell.user_ns) == "ran 3 cells above in 0 s; continue here"
    assert shell.user_ns["order"] == ["tiny", "print"]  # the last one ran by itself, later


def test_a_cell_that_fails_is_named():
    with pytest.raises(
        AlstmError, match=r"01_x, cell print: name 'order' is not defined; run the cells from the top on"
    ):
        catch_up("01_x", space={"PROFILE": "tiny", "In": [CELLS[1][1]]})


# --- the course's notebooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_every_notebook_has_the_cell_between_two_sections(path):
    cells = nbformat.read(path, as_version=4).cells
    place = [cell.id for cell in cells].index("catch-up")
    assert cells[place].source.endswith(f'print(catch_up("{path.stem}"))')
    assert cells[place - 1].id == "catch-up-note"
    assert cells[place + 1].source.startswith("## ") or cells[place + 1].source.startswith("# ")
    above = sum(cell.cell_type == "code" for cell in cells[:place])
    assert 0.2 < above / sum(cell.cell_type == "code" for cell in cells) < 0.8


def test_from_catch_up_keeps_only_the_parameters_above_the_cell():
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    ids = [cell.id for cell in notebook.cells]
    changed = [cell.id for cell in from_catch_up(notebook).cells]
    assert changed == ["parameters", *ids[ids.index("catch-up") :]]
    assert [cell.id for cell in notebook.cells] == ids


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notes_for_instructors_come_before_their_cells(path):
    notes = yaml.safe_load((course_files() / "docs" / "notes.yml").read_text(encoding="utf-8"))[path.stem]
    notebook = nbformat.read(path, as_version=4)
    assert len(notes) >= 3 and set(notes) <= {cell.id for cell in notebook.cells}
    changed = with_answers(notebook).cells
    for place, cell in enumerate(changed):
        if cell.id in notes:
            assert changed[place - 1].source == f"> **For instructors.** {notes[cell.id]}"
