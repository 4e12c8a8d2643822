"""Notebooks changed for a run: with every exercise answered, or as somebody has them who is behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import nbformat
import yaml
from nbformat import NotebookNode

from alstm_helpers import language
from alstm_helpers.course.exercises import find
from alstm_helpers.paths import course_files


def with_answers(notebook: NotebookNode) -> NotebookNode:
    """Return a copy for instructors: with notes, typical wrong answers and model answers.

    Each exercise is tried with its typical wrong answers, then with the model answer; a verdict other than the one
    that the exercise promises fails the notebook.
    """
    copy = deepcopy(notebook)
    number = copy.metadata.get("alstm", {}).get("title", "")[:2]
    notes = instructor_notes().get(number, {})
    copy.cells = [part for cell in copy.cells for part in _for_instructors(cell, notes.get(cell.id))]
    return copy


def _for_instructors(cell: NotebookNode, note: str | None) -> Iterator[NotebookNode]:
    """Yield the cell with what comes before it; the cell of an answer gets the model answer."""
    if note:
        yield _markdown(f"{cell.id}-note-for-instructors", f"> **For instructors.** {note}")
    name = cell.id.removesuffix("-answer")
    if cell.cell_type == "code" and name != cell.id:
        exercise = find(name)
        messages = "\n".join(f"> - {message}" for message in dict.fromkeys(message for _, message in exercise.mistakes))
        heading = "> **For instructors.** Messages for typical wrong answers:"
        yield _markdown(f"{name}-told", f"{heading}\n>\n{messages}\n>\n> The model answer follows.")
        proof = nbformat.v4.new_code_cell(f'from alstm_helpers.course.exercises import prove\n\nprove("{name}")')
        proof.id = f"{name}-prove"
        yield proof
        cell.source = exercise.solution
    yield cell


def _markdown(cell_id: str, text: str) -> NotebookNode:
    cell = nbformat.v4.new_markdown_cell(text)
    cell.id = cell_id[:64]  # the longest id that the format allows
    return cell


def instructor_notes() -> dict[str, dict[str, str]]:
    """Return the notes for instructors: number of the notebook, with its appendix → id of the cell → note."""
    notes = yaml.safe_load((course_files() / "docs" / "notes.yml").read_text(encoding="utf-8"))
    found: dict[str, dict[str, str]] = {}
    for name, by_cell in notes.items():
        found.setdefault(name[:2], {}).update({cell: language.say("notes", note) for cell, note in by_cell.items()})
    return found


def from_catch_up(notebook: NotebookNode) -> NotebookNode:
    """Return a copy that starts at the cell ``catch-up``, with only the parameters before it."""
    copy = deepcopy(notebook)
    place = [cell.id for cell in copy.cells].index("catch-up")
    parameters = [cell for cell in copy.cells[:place] if "parameters" in cell.metadata.get("tags", [])]
    copy.cells = [*parameters, *copy.cells[place:]]
    return copy


VARIANTS: dict[str, Callable[[NotebookNode], NotebookNode]] = {"answers": with_answers, "behind": from_catch_up}
