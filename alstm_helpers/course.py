"""``alstm course``: run the notebooks headless, keep executed copies, HTML and a summary."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, write_json
from alstm_helpers.lab import PROFILES
from alstm_helpers.paths import project_root


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """The course's notebooks in order; ``names`` selects by name or by its number, as ``03``.

    Raises:
        AlstmError: a name fits none.
    """
    folder = project_root() / "notebooks"
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        raise AlstmError(folder, "no notebooks here", "run this from a clone of the course")
    for name in names:
        if not any(path.stem == name or path.stem[:2] == name for path in every):
            raise AlstmError(
                f"--notebooks {name}", "no such notebook", f"choose from {', '.join(p.stem[:2] for p in every)}"
            )
    return [path for path in every if not names or path.stem in names or path.stem[:2] in names]


def run_course(
    out: str | os.PathLike[str],
    *,
    profile: str = "tiny",
    notebooks: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run notebooks through papermill, one after the other, in ``out``.

    ``out`` gets ``<name>.ipynb`` and ``<name>.html`` (executed), ``summary.json``, and below ``work/`` the
    data, checkpoints and figures. A notebook fails when a cell raises or an expected result is outside its
    tolerance; the others still run.

    Returns:
        ``{"notebooks": [{"name", "status", "seconds"}, …], "seconds"}``, as ``summary.json`` holds it.
    """
    if profile not in PROFILES:
        raise AlstmError(f"--profile {profile}", "no such profile", f"choose from {', '.join(PROFILES)}")
    out = Path(out).resolve()
    selected = find_notebooks(notebooks)
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    rows = []
    for path in selected:
        begun = time.perf_counter()
        problem = _run_one(path, out, work, profile)
        seconds = round(time.perf_counter() - begun, 1)
        rows.append({"name": path.stem, "status": "failed" if problem else "ok", "seconds": seconds})
        report(f"{path.stem:<28} {rows[-1]['status']:<7} {seconds:6.1f} s" + (f"  {problem}" if problem else ""))
    summary = {"notebooks": rows, "seconds": round(time.perf_counter() - start, 1)}
    write_json(out / "summary.json", summary)
    return summary


# nbconvert's own template drops the descriptions that Lab.show gives its figures.
_TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block data_png scoped %}<div class="jp-RenderedImage jp-OutputArea-output" tabindex="0">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
alt="{{ (output | get_metadata('alt', 'image/png') or '') | escape }}"></div>{% endblock %}"""


def to_html(executed: Path) -> str:
    """An executed notebook as one HTML page, its figures described for those who cannot see them."""
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(extra_loaders=[DictLoader({"course.html.j2": _TEMPLATE})], template_file="course.html.j2")
    html, _ = exporter.from_notebook_node(nbformat.read(executed, as_version=4))
    return str(html)


def _run_one(path: Path, out: Path, work: Path, profile: str) -> str:
    """Run one notebook; return what went wrong, or nothing."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.WARNING)  # one row a notebook is enough
    executed = out / path.name
    expected = work / "out" / "expected" / f"{path.stem}.json"
    expected.unlink(missing_ok=True)
    parameters = {"PROFILE": profile, "DATA_DIR": str(work / "data"), "OUT_DIR": str(work / "out")}
    problem = ""
    try:
        papermill.execute_notebook(
            str(path),
            str(executed),
            parameters,
            cwd=str(work),
            progress_bar=False,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except papermill.PapermillExecutionError as error:
        problem = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:  # a kernel that dies raises whatever the messaging layer met
        problem = f"{type(error).__name__}: {error}"
    if executed.exists():
        with atomic_write(out / f"{path.stem}.html", "w") as file:
            file.write(to_html(executed))
    if not problem:
        found = json.loads(expected.read_text(encoding="utf-8")) if expected.exists() else []
        outside = [row["name"] for row in found if not row["ok"]]
        problem = f"outside the tolerance: {', '.join(outside)}" if outside else "" if found else "no expected results"
    return " ".join(problem.split())
