"""The README's table of notebooks: minutes to read each one, and seconds to run it.

The minutes are in the notebooks' metadata. The seconds are in ``docs/measured.json``, the summary of a course run that
``make measured`` stores. ``make notebooks`` fills both into the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat

from alstm_helpers.paths import clone


def fill_table(readme: str, minutes: Mapping[str, int], seconds: Mapping[str, float]) -> str:
    """Fill the two columns of numbers into the README's text.

    Args:
        readme: text with one table row per notebook, ``| [name](link) | minutes | seconds | … |``.
        minutes: minutes to read, by notebook.
        seconds: measured seconds, by notebook; a notebook that was not measured gets a dash.
    """
    for name, reading in minutes.items():
        running = f"{seconds[name]:.0f}" if name in seconds else "–"
        row = rf"(\| \[{name}\]\([^)]*\) \| )[^|]*\|[^|]*\|"
        readme = re.sub(row, rf"\g<1>{reading} | {running} |", readme)
    return readme


def updated_readme() -> tuple[Path, str]:
    """Return the README's path, and its text with current minutes and seconds."""
    root = clone("the README's table")
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    minutes = {path.stem: nbformat.read(path, as_version=4).metadata.alstm.minutes for path in notebooks}
    rows = json.loads((root / "docs" / "measured.json").read_text(encoding="utf-8"))["notebooks"]
    path = root / "README.md"
    return path, fill_table(path.read_text(encoding="utf-8"), minutes, {row["name"]: row["seconds"] for row in rows})
