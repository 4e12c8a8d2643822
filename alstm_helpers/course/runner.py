"""``alstm course``: run the notebooks headless, keep executed copies, HTML and a summary."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from joblib import Parallel, delayed
from nbformat import NotebookNode

from alstm_helpers.course.exercises import find
from alstm_helpers.course.exercises.core import STRICT
from alstm_helpers.course.lab import PROFILES, Lab
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, claimed, write_json
from alstm_helpers.paths import project_root
from alstm_helpers.runtime import usable_cores

# These spend their time in training steps so small that one core is as fast as two, so they share the cores
# (joblib gives each its part of the threads). The others measure speeds, or need the model of notebook 04.
LONGEST_CELL = 60  # seconds, in tiny
TOGETHER = ("01_model", "04_training", "07_configuration", "08_recommended_parameters")


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
    variant: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run notebooks through papermill in ``out``: those that only train side by side, then the others alone.

    ``out`` gets ``<name>.ipynb`` and ``<name>.html`` (executed), ``summary.json``, ``durations.json`` (seconds of each
    section), and below ``run/`` the data, checkpoints and figures. A notebook fails when a cell raises, an expected
    result is outside its tolerance, or it takes longer than its budget; the others still run. ``variant`` is one of
    :data:`VARIANTS`, or empty for the notebooks as they are.

    Returns:
        ``{"notebooks": [{"name", "status", "seconds"}, …], "seconds"}``, as ``summary.json`` holds it.
    """
    if profile not in PROFILES:
        raise AlstmError(f"--profile {profile}", "no such profile", f"choose from {', '.join(PROFILES)}")
    out = Path(out).resolve()
    selected = find_notebooks(notebooks)
    work = out / "run"
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with claimed(work):  # two runs would remove each other's files
        Lab("data", profile=profile, seed=0, data_dir=str(work / "data"), out_dir=str(work / "out")).ensure_data()
        rows = []
        together = [path for path in selected if path.stem in TOGETHER]
        alone = [path for path in selected if path.stem not in TOGETHER]
        for group, workers in ((together, min(usable_cores(), len(together))), (alone, 1)):
            jobs = (delayed(_run_one)(path, out, work, profile, variant) for path in group)
            for name, seconds, problem in Parallel(n_jobs=max(1, workers), return_as="generator_unordered")(jobs):
                rows.append({"name": name, "status": "failed" if problem else "ok", "seconds": seconds})
                report(f"{name:<28} {rows[-1]['status']:<7} {seconds:6.1f} s" + (f"  {problem}" if problem else ""))
    rows.sort(key=lambda row: str(row["name"]))
    summary = {"notebooks": rows, "seconds": round(time.perf_counter() - start, 1)}
    write_json(out / "summary.json", summary)
    ran = [out / path.name for path in selected if (out / path.name).exists()]
    write_json(out / "durations.json", {path.stem: durations(path) for path in ran})
    return summary


def durations(executed: Path) -> dict[str, float]:
    """Seconds that the cells under each heading of the second level took; what comes before the first is ``start``."""
    import nbformat

    found: dict[str, float] = {}
    section = "start"
    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = [line[3:].strip() for line in cell.source.splitlines() if line.startswith("## ")]
            section = headings[-1] if headings else section
        seconds = cell.metadata.get("papermill", {}).get("duration") or 0.0
        found[section] = round(found.get(section, 0.0) + seconds, 2)
    return found


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


def with_answers(notebook: NotebookNode) -> NotebookNode:
    """For instructors: notes beside the text, and each exercise given its typical wrong answers, then the model answer.

    An exercise that judges any of them otherwise than it says fails the notebook.
    """
    import nbformat

    copy = deepcopy(notebook)
    number = copy.metadata.get("alstm", {}).get("title", "")[:2]
    notes = instructor_notes().get(number, {})
    cells = []
    for cell in copy.cells:
        if cell.id in notes:
            cells.append(_markdown(f"{cell.id}-note-for-instructors", f"> **For instructors.** {notes[cell.id]}"))
        name = cell.id.removesuffix("-answer")
        if cell.cell_type == "code" and name != cell.id:
            exercise = find(name)
            told = "\n".join(f"> - {message}" for _, message in exercise.mistakes)
            about = f"> **For instructors.** Typical wrong answers are told:\n>\n{told}\n>\n> The model answer follows."
            cells.append(_markdown(f"{name}-told", about))
            proof = nbformat.v4.new_code_cell(f'from alstm_helpers.course.exercises import prove\n\nprove("{name}")')
            proof.id = f"{name}-prove"
            cells.append(proof)
            cell.source = exercise.solution
        cells.append(cell)
    copy.cells = cells
    return copy


def instructor_notes() -> dict[str, dict[str, str]]:
    """Notes for instructors: number of the notebook → cell → note."""
    notes = yaml.safe_load((project_root() / "docs" / "notes.yml").read_text(encoding="utf-8"))
    return {name[:2]: found for name, found in notes.items()}


def _markdown(name: str, text: str) -> NotebookNode:
    import nbformat

    cell = nbformat.v4.new_markdown_cell(text)
    cell.id = name[:64]
    return cell


def from_catch_up(notebook: NotebookNode) -> NotebookNode:
    """A copy as somebody has it who is behind: nothing has run but the parameters, and then the cell to catch up."""
    copy = deepcopy(notebook)
    place = [cell.id for cell in copy.cells].index("catch-up")
    first = [cell for cell in copy.cells[:place] if "parameters" in cell.metadata.get("tags", [])]
    copy.cells = [*first, *copy.cells[place:]]
    return copy


VARIANTS: dict[str, Callable[[NotebookNode], NotebookNode]] = {"answers": with_answers, "behind": from_catch_up}


def _run_one(path: Path, out: Path, work: Path, profile: str, variant: str) -> tuple[str, float, str]:
    """Run one notebook; return its name, its seconds, and what went wrong, or nothing."""
    start = time.perf_counter()
    import nbformat
    import papermill

    logging.getLogger("papermill").setLevel(logging.WARNING)  # one row a notebook is enough
    executed = out / path.name
    expected = work / "out" / "expected" / f"{path.stem}.json"
    expected.unlink(missing_ok=True)
    os.environ["ALSTM_PROGRESS"] = str(work / "progress.json")  # a learner's own stays as it is
    os.environ[STRICT] = str(int(variant == "answers"))
    source = path
    if variant:
        source = work / variant / path.name
        source.parent.mkdir(exist_ok=True)
        nbformat.write(VARIANTS[variant](nbformat.read(path, as_version=4)), source)
    # The real data set wants a card, if there is one; FlashDigits is faster without.
    device = "auto" if profile == "full" else "cpu"
    folders = {"DATA_DIR": str(work / "data"), "OUT_DIR": str(work / "out")}
    parameters = {"PROFILE": profile, "DEVICE": device, **folders}
    problem = ""
    try:
        papermill.execute_notebook(
            str(source),
            str(executed),
            parameters,
            cwd=str(work),
            progress_bar=False,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
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
    seconds = round(time.perf_counter() - start, 1)
    if not problem and not variant:
        problem = over_budget(executed, profile, seconds)
    return path.stem, seconds, " ".join(problem.split())


def over_budget(executed: Path, profile: str, seconds: float) -> str:
    """What took longer than the notebook's metadata allow, or, in tiny, a cell longer than a minute; or nothing."""
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    budget = notebook.metadata.get("alstm", {}).get("budget_seconds", {}).get(profile)
    if budget is not None and seconds > budget:
        return f"over its budget of {budget} s"
    for cell in notebook.cells:
        took = cell.metadata.get("papermill", {}).get("duration") or 0.0
        if profile == "tiny" and took > LONGEST_CELL:
            return f"cell {cell.get('id')} took {took:.0f} s, more than the {LONGEST_CELL} of a cell"
    return ""
