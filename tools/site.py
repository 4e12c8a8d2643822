"""The course as a static site: executed notebooks, glossary and workshop as pages that open from the file system.

    python tools/site.py build/course build/site

The first folder holds executed notebooks, as ``make course`` leaves them; the second gets the site. Sphinx with MyST-NB
makes the pages, with navigation and search; a warning of it, such as a link that leads nowhere, is an error.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
HALF_DAY = (
    ("01_model", "attention by hand, three poolings"),
    ("03_data", "only to *A record, byte by byte*, and the conversion"),
    ("04_training", "to the first training; resume, if there is time"),
    ("05_evaluation", "the metrics by hand, which numbers compare"),
)
STRETCH = 90  # minutes without a break, at most


def page(executed: Path) -> nbformat.NotebookNode:
    """An executed notebook as a page: without the parameters of that run, its figures described as Sphinx wants it."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = links_inside_the_site(cell.source)
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return notebook


def links_inside_the_site(text: str) -> str:
    """Links to other notebooks and to the glossary lead to their pages; those to files of the repository are text."""
    text = text.replace("](../docs/glossary.yml)", "](glossary.md)")
    text = re.sub(r"\[([^\]]+)\]\(<?\.\./[^)]*\)", r"\1", text)
    return re.sub(r"(\]\(<?\d\d_\w+\.ipynb)#[^)>]*", r"\1", text)


def metadata_of(notebooks: list[Path]) -> dict[str, Any]:
    return {path.stem: nbformat.read(path, as_version=4).metadata.get("alstm", {}) for path in notebooks}


def seconds_of(course: Path) -> dict[str, float]:
    """Seconds of each notebook in the run that made it, if it left a summary."""
    summary = course / "summary.json"
    rows = json.loads(summary.read_text(encoding="utf-8"))["notebooks"] if summary.exists() else []
    return {row["name"]: row["seconds"] for row in rows}


def timetable(parts: list[tuple[str, int, str]]) -> str:
    """Rows of a timetable from 0:00 on, with breaks, from (title, minutes, remark)."""
    rows, clock, stretch = ["| from | | minutes | |", "|---|---|---|---|"], 0, 0
    for title, minutes, remark in parts:
        if stretch and stretch + minutes > STRETCH:
            rows.append(f"| {clock // 60}:{clock % 60:02d} | break | 15 | |")
            clock, stretch = clock + 15, 0
        rows.append(f"| {clock // 60}:{clock % 60:02d} | {title} | {minutes} | {remark} |")
        clock, stretch = clock + minutes, stretch + minutes
    return "\n".join(rows)


def minutes_of(about: dict[str, Any], seconds: float | None) -> int:
    """Reading, as the notebook's text says, and the machine."""
    return round(about.get("minutes", 0) + (seconds or 0) / 60)


def write_sources(course: Path, target: Path) -> None:
    """Everything Sphinx reads."""
    executed = sorted(course.glob("[0-9][0-9]_*.ipynb"))
    if not executed:
        raise SystemExit(f"error: {course}: no executed notebook here; run `make course` first")
    about, seconds = metadata_of(executed), seconds_of(course)
    for path in executed:
        nbformat.write(page(path), target / path.name)
    shutil.copy(ROOT / "docs" / "conf.py", target)
    shutil.copytree(ROOT / "figures", target / "figures")
    rows = ["| notebook | minutes to read | seconds of the machine |", "|---|---|---|"]
    for name, told in about.items():
        took = f"{seconds[name]:.0f}" if name in seconds else ""
        rows.append(f"| [{told.get('title', name)}]({name}.ipynb) | {told.get('minutes', '')} | {took} |")
    pages = "\n".join([*about, "workshop", "glossary"])
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").format(table="\n".join(rows), pages=pages)
    (target / "index.md").write_text(index, encoding="utf-8")
    minutes = {name: minutes_of(told, seconds.get(name)) for name, told in about.items()}
    half = [(f"[{name}]({name}.ipynb)", minutes[name], why) for name, why in HALF_DAY if name in minutes]
    two = [(f"[{name}]({name}.ipynb)", each, "") for name, each in minutes.items()]
    workshop = (ROOT / "docs" / "workshop.md").read_text(encoding="utf-8")
    filled = workshop.format(half=timetable(half), two=timetable(two))
    (target / "workshop.md").write_text(filled, encoding="utf-8")
    (target / "glossary.md").write_text(glossary(), encoding="utf-8")


def glossary() -> str:
    """The terms in alphabetical order, with links to the notebooks that explain them."""
    terms = yaml.safe_load((ROOT / "docs" / "glossary.yml").read_text(encoding="utf-8"))
    rows = ["# Glossary", "", "| term | 中文 | meaning | notebook |", "|---|---|---|---|"]
    for term in sorted(terms, key=lambda term: term["en"].lower()):
        number = term["in"][:2]
        rows.append(f"| {term['en']} | {term['zh']} | {term['means']} | [{number}]({term['in']}.ipynb) |")
    return "\n".join(rows) + "\n"


def main() -> int:
    course, site = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "source"), Path(folder, "out")
        source.mkdir()
        write_sources(course, source)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(source), str(out)]
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(out, site)
    print(f"{len(list(site.glob('*.html')))} pages → {site / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
