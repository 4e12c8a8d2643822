"""The form every notebook keeps: canonical bytes, the parameters cell, and metadata derived from its text.

``python -m alstm_helpers.course.canonical`` rewrites the notebooks canonically after editing (drops outputs and
execution counts, sorts keys, refreshes the metadata) and fills in the README's minutes and seconds; the tests compare
byte for byte. The seconds are those of ``docs/measured.json``, which ``make measured`` takes from a run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write
from alstm_helpers.paths import project_root

PARAMETERS = 'PROFILE = "tiny"\nSEED = 0\nDATA_DIR = ""\nOUT_DIR = ""\nDEVICE = "cpu"'
WORDS_PER_MINUTE, MINUTES_PER_CODE_CELL = 150, 0.5
_SECTIONS = {"objectives": "You will be able to", "needs": "Needs", "produces": "Makes"}


def derive_metadata(notebook: Any) -> dict[str, Any]:
    """Title, objectives, needs, produces and minutes, read from the notebook itself.

    The first cell is Markdown: ``# NN Title``, then lists under **You will be able to**, **Needs** and **Makes**.
    Minutes are those of reading and of trying each cell; the running time is the budget's.

    Raises:
        AlstmError: the first cell lacks a part.
    """
    opening = notebook.cells[0].source
    title = re.match(r"# (.+)", opening)
    if title is None:
        raise AlstmError("the first cell", "no title", "begin it with `# NN Title`")
    found: dict[str, Any] = {"title": title[1].strip()}
    for key, heading in _SECTIONS.items():
        part = re.search(rf"\*\*{heading}\*\*[^\n]*\n+((?:- .+(?:\n|$))+)", opening)
        if part is None:
            raise AlstmError("the first cell", f"no list under **{heading}**", "add it, one `- ` line an item")
        found[key] = re.findall(r"- (.+)", part[1])
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    found["minutes"] = math.ceil(words / WORDS_PER_MINUTE + code * MINUTES_PER_CODE_CELL)
    return found


def canonical(notebook: Any) -> str:
    """The one spelling of a notebook: no outputs, no counts, known metadata only, sorted keys."""
    notebook = nbformat.from_dict(notebook)
    budget = notebook.metadata.get("alstm", {}).get("budget_seconds", {})
    notebook.metadata = nbformat.from_dict(
        {
            "alstm": {**derive_metadata(notebook), "budget_seconds": dict(budget)},
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        tags = sorted(cell.metadata.get("tags", []))
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook, version=4, indent=1, sort_keys=True, ensure_ascii=False)).rstrip("\n") + "\n"


def rewrite(path: Path) -> bool:
    """Make a notebook canonical; return whether that changed it."""
    before = path.read_text(encoding="utf-8")
    after = canonical(nbformat.reads(before, as_version=4))
    if before != after:
        with atomic_write(path, "w") as file:
            file.write(after)
    return before != after


def with_minutes(readme: str, about: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> str:
    """The README with each notebook's minutes to read, from its metadata, and seconds of the machine, as measured."""
    for name, told in about.items():
        took = f"{seconds[name]:.0f}" if name in seconds else "–"
        row = rf"(\| \[{name}\]\([^)]*\) \| )[^|]*\|[^|]*\|"
        readme = re.sub(row, rf"\g<1>{told['minutes']} | {took} |", readme)
    return readme


def readme_as_it_should_be() -> tuple[Path, str]:
    """The README's path, and its text with the minutes and seconds filled in."""
    root = project_root()
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    about = {path.stem: nbformat.read(path, as_version=4).metadata.alstm for path in paths}
    rows = json.loads((root / "docs" / "measured.json").read_text(encoding="utf-8"))["notebooks"]
    path = root / "README.md"
    return path, with_minutes(path.read_text(encoding="utf-8"), about, {row["name"]: row["seconds"] for row in rows})


if __name__ == "__main__":
    for notebook_path in sorted((project_root() / "notebooks").glob("*.ipynb")):
        if rewrite(notebook_path):
            print(f"rewrote {notebook_path}")
    readme, text = readme_as_it_should_be()
    with atomic_write(readme, "w") as target:
        target.write(text)
