"""The canonical form of a notebook, and the command that restores it: ``python -m alstm_helpers.course.canonical``.

A canonical notebook has no outputs and no execution counts, sorted keys, and metadata that is derived from its text.
The command rewrites every notebook in this form and updates the README's table (:mod:`alstm_helpers.course.readme`);
run it after editing a notebook. The tests compare byte for byte.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import nbformat
from nbformat import NotebookNode

from alstm_helpers.course.readme import updated_readme
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write
from alstm_helpers.paths import clone

# The cells after the title, the same in every notebook.
PARAMETERS = 'PROFILE = "tiny"\nSEED = 0\nDATA_DIR = ""\nOUT_DIR = ""\nDEVICE = "cpu"\nINSTALL = ""\nLANG = ""'
BOOTSTRAP_NOTE = """\
On Colab, Kaggle or AI Studio, set `INSTALL` above for pip: `"attention-lstm-course"`, a wheel's path, or
`"git+https://…"`."""
BOOTSTRAP = """\
if LANG:
    import os

    os.environ["ALSTM_LANG"] = LANG
if INSTALL:
    import importlib.util, site, subprocess, sys

    if importlib.util.find_spec("alstm_helpers") is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, INSTALL], check=True)
        if site.ENABLE_USER_SITE:  # pip may just have made this folder
            site.addsitedir(site.getusersitepackages())
        importlib.invalidate_caches()
    from alstm_helpers.course.hosted import complete_installation

    complete_installation()"""
CHINESE_HEADINGS = {"You will be able to": "学完后你能", "Needs": "需要", "Makes": "会生成"}
WORDS_PER_MINUTE, MINUTES_PER_CODE_CELL = 150, 0.5
CHINESE_PER_WORD = 2  # Chinese characters that take as long to read as an English word


class About(TypedDict):
    """What a notebook's first cell says about it, and the minutes needed to read it and try its cells."""

    title: str
    objectives: list[str]
    needs: list[str]
    produces: list[str]
    minutes: int


def derive_metadata(notebook: NotebookNode) -> About:
    """Derive title, objectives, needs, products and minutes from the notebook's text.

    The first cell is Markdown: ``# NN Title``, then lists under **You will be able to**, **Needs** and **Makes**, or
    their Chinese headings.
    The minutes do not include running time, which ``budget_seconds`` limits.

    Raises:
        AlstmError: the first cell lacks a part.
    """
    opening = notebook.cells[0].source
    title = re.match(r"# (.+)", opening)
    if title is None:
        raise AlstmError("the first cell", "no title", "begin it with `# NN Title`")
    return About(
        title=title[1].strip(),
        objectives=_list_under("You will be able to", opening),
        needs=_list_under("Needs", opening),
        produces=_list_under("Makes", opening),
        minutes=math.ceil(reading_minutes(notebook.cells)),
    )


def reading_minutes(cells: Sequence[NotebookNode]) -> float:
    """Return the minutes needed to read cells and to try those with code."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    words = sum(len(text.split()) + len(re.findall("[\u4e00-\u9fff]", text)) / CHINESE_PER_WORD for text in texts)
    code_cells: int = sum(cell.cell_type == "code" for cell in cells)
    return words / WORDS_PER_MINUTE + code_cells * MINUTES_PER_CODE_CELL


def _list_under(heading: str, text: str) -> list[str]:
    """Return the items of the list below a bold heading; raise AlstmError if there is none."""
    names = "|".join([heading, CHINESE_HEADINGS[heading]])
    part = re.search(rf"\*\*(?:{names})\*\*[^\n]*\n+((?:- .+(?:\n|$))+)", text)
    if part is None:
        raise AlstmError("the first cell", f"no list under **{heading}**", "add it, one `- ` line per item")
    return re.findall(r"- (.+)", part[1])


def canonical(notebook: NotebookNode) -> str:
    """Return the canonical text of a notebook; the notebook itself is left unchanged.

    Raises:
        AlstmError: the first cell lacks a part.
        nbformat.ValidationError: not a valid notebook.
    """
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
    """Rewrite a notebook in canonical form; return whether that changed the file."""
    before = path.read_text(encoding="utf-8")
    after = canonical(nbformat.reads(before, as_version=4))
    if before != after:
        with atomic_write(path, "w") as file:
            file.write(after)
    return before != after


def main() -> None:
    """Rewrite all notebooks in canonical form, then update the README's table."""
    for path in sorted((clone("the notebooks' canonical form") / "notebooks").glob("*.ipynb")):
        if rewrite(path):
            print(f"rewrote {path}")
    readme, text = updated_readme()
    with atomic_write(readme, "w") as file:
        file.write(text)


if __name__ == "__main__":
    try:
        main()
    except AlstmError as error:
        sys.exit(f"error: {error}")
