"""``alstm course``: run the notebooks headless; keep executed copies, HTML pages and a summary."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import nbformat
from joblib import delayed
from nbformat import NotebookNode

from alstm_helpers.course.exercises.core import STRICT
from alstm_helpers.course.lab import PROFILES, Lab
from alstm_helpers.course.schedule import (
    NEED_MODEL,
    TRAINER,
    Span,
    Step,
    critical_path,
    in_turn,
    measured_seconds,
    plan,
)
from alstm_helpers.course.variants import VARIANTS
from alstm_helpers.errors import AlstmError
from alstm_helpers.extras import require
from alstm_helpers.files import atomic_write, claimed, staging, write_json
from alstm_helpers.paths import notebooks_folder
from alstm_helpers.workers import end_idle, processes, results

LONGEST_CELL = 60  # seconds that a cell may take, in the profile tiny


class NotebookResult(TypedDict):
    """One notebook's entry in ``summary.json``; ``processor_seconds`` is 0 where the system does not tell."""

    name: str
    status: Literal["ok", "failed"]
    seconds: float
    processor_seconds: float


class Summary(TypedDict):
    """The content of ``summary.json``; the notebooks are sorted by name.

    ``critical_path`` says where the seconds went: the chain of notebooks that waited for each other.
    """

    notebooks: list[NotebookResult]
    critical_path: list[Step]
    seconds: float


class Outcome(NamedTuple):
    """How a notebook ran; ``problem`` is empty if all is well."""

    span: Span
    processor_seconds: float
    problem: str


@dataclass(frozen=True)
class CourseRun:
    """Settings and folders of one run of the course.

    Args:
        out: absolute folder for executed copies, HTML pages and summaries.
        profile: a key of ``PROFILES``.
        variant: a key of ``VARIANTS``, or empty for the notebooks as they are.
    """

    out: Path
    profile: str
    variant: str

    @property
    def work(self) -> Path:
        """Folder that the notebooks run in."""
        return self.out / "run"

    @property
    def untrained(self) -> Path:
        """File that is there while notebook 04 has neither trained the model nor ended."""
        return self.work / "untrained"

    @property
    def data_dir(self) -> Path:
        """``DATA_DIR`` of every notebook."""
        return self.work / "data"

    @property
    def out_dir(self) -> Path:
        """``OUT_DIR`` of every notebook."""
        return self.work / "out"

    @property
    def parameters(self) -> dict[str, str]:
        """Values for the parameters cell. YouTube-8M needs a GPU if there is one; FlashDigits is faster without."""
        device = "auto" if self.profile == "full" else "cpu"
        folders = {"DATA_DIR": str(self.data_dir), "OUT_DIR": str(self.out_dir)}
        return {"PROFILE": self.profile, "DEVICE": device, **folders}

    def lab(self) -> Lab:
        """Return the environment that the notebooks share."""
        folders = {"data_dir": str(self.data_dir), "out_dir": str(self.out_dir)}
        return Lab("data", profile=self.profile, seed=0, **folders)

    def model_is_due(self) -> bool:
        """Return whether notebook 04 is still going to train its model in this run."""
        return self.untrained.exists() and not self.lab().run_folder.finished.exists()


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """Return the course's notebooks in order, in the chosen language.

    Args:
        names: select notebooks by name or number, such as ``03_data`` or ``03``; by default all.

    Raises:
        AlstmError: there are no notebooks, or a name matches none.
    """
    folder = notebooks_folder()
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise AlstmError(folder, "no notebooks here", "install the course again")
    known = {name for path in notebooks for name in _names_of(path)}
    for name in names:
        if name not in known:
            numbers = ", ".join(sorted({path.stem[:2] for path in notebooks}))
            raise AlstmError(f"--notebooks {name}", "no such notebook", f"choose from {numbers}")
    return [path for path in notebooks if not names or _names_of(path) & set(names)]


def _names_of(notebook: Path) -> set[str]:
    return {notebook.stem, notebook.stem[:2]}


def require_profile(profile: str) -> None:
    """Require one of the course's profiles.

    Raises:
        AlstmError: it is none.
    """
    if profile not in PROFILES:
        raise AlstmError(f"--profile {profile}", "no such profile", f"choose from {', '.join(PROFILES)}")


def run_course(
    out: str | os.PathLike[str],
    *,
    profile: str = "tiny",
    notebooks: Sequence[str] = (),
    variant: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Run notebooks through papermill, side by side where :mod:`alstm_helpers.course.schedule` lets them.

    A notebook fails if a cell raises, an expected result is outside its tolerance, or it exceeds its time budget; the
    others still run.

    Args:
        out: gets ``<name>.ipynb`` and ``<name>.html`` (executed), ``summary.json``, ``durations.json`` (seconds per
            section) and, below ``run/``, data, checkpoints and figures.
        profile: ``tiny``, ``small`` or ``full``.
        notebooks: names or numbers, see :func:`find_notebooks`.
        variant: see :class:`CourseRun`.
        report: receives one line per notebook.

    Returns:
        The content of ``summary.json``.

    Raises:
        AlstmError: the profile or a notebook does not exist.
        FolderInUse: another run is writing to ``out``.
    """
    require_profile(profile)
    require("papermill", "nbconvert")
    run = CourseRun(Path(out).resolve(), profile, variant)
    selected = find_notebooks(notebooks)
    start, spans = time.monotonic(), []
    with claimed(run.out, run.work):  # two runs would remove each other's files
        for name in ("summary.json", "durations.json"):  # of the copies that are replaced now
            (run.out / name).unlink(missing_ok=True)
        run.lab().ensure_data()
        with closing(_run_all(selected, run)) as outcomes:  # an error here must end the notebooks at once
            rows = []
            for outcome in outcomes:
                spans.append(outcome.span)
                rows.append(_result(outcome, report))
        rows.sort(key=lambda row: row["name"])
        end = time.monotonic()
        path = critical_path(spans, start, end)
        summary = Summary(notebooks=rows, critical_path=path, seconds=round(end - start, 1))
        write_json(run.out / "summary.json", summary)
        executed = [run.out / path.name for path in selected if (run.out / path.name).exists()]
        write_json(run.out / "durations.json", {path.stem: durations(path) for path in executed})
    return summary


def _run_all(notebooks: Sequence[Path], run: CourseRun) -> Generator[Outcome, None, None]:
    """Run the notebooks; yield each outcome as soon as it is there."""
    run.untrained.unlink(missing_ok=True)
    if TRAINER in [path.stem for path in notebooks]:
        run.lab().run_folder.finished.unlink(missing_ok=True)  # the others must get the model of this run
        run.untrained.touch()
    together, alone = plan(notebooks, measured_seconds())
    at_once = 1 if run.profile == "full" else -1  # there they download to one folder, and share a GPU
    jobs = (delayed(run_notebook)(path, run) for path in in_turn(together, run.model_is_due))
    yield from results(jobs, processes(at_once, len(together)), ahead="n_jobs")
    end_idle()  # so that the next notebooks have the machine, and their processor time is their own
    yield from results([delayed(run_notebook)(path, run) for path in alone], processes(1, 1))


def _result(outcome: Outcome, report: Callable[[str], None]) -> NotebookResult:
    span, processor_seconds, problem = outcome
    status: Literal["ok", "failed"] = "failed" if problem else "ok"
    seconds = round(span.stop - span.start, 1)
    report(f"{span.name:<28} {status:<7} {seconds:6.1f} s" + (f"  {problem}" if problem else ""))
    return NotebookResult(name=span.name, status=status, seconds=seconds, processor_seconds=round(processor_seconds, 1))


def run_notebook(notebook: Path, run: CourseRun) -> Outcome:
    """Run one notebook, write its executed copy and HTML page, and judge it."""
    waited = notebook.stem in NEED_MODEL and _wait_for_model(run)
    start, busy = time.monotonic(), _processor_seconds()
    executed = run.out / notebook.name
    expected = run.out_dir / "expected" / f"{notebook.stem}.json"
    expected.unlink(missing_ok=True)  # an earlier run's results must not count
    with staging(run.work) as folder:
        problem = _execute(_source(notebook, run), executed, run, folder / "kernel.json")
    if notebook.stem == TRAINER:
        run.untrained.unlink(missing_ok=True)
    busy = _processor_seconds() - busy
    if executed.exists():
        with atomic_write(executed.with_suffix(".html"), "w") as file:
            file.write(to_html(executed))
    problem = problem or unexpected_results(expected)
    span = Span(notebook.stem, start, time.monotonic(), waited)
    if not problem and not run.variant:
        problem = over_budget(executed, run.profile, span.stop - start, busy)
    return Outcome(span, busy, " ".join(problem.split()))


def _wait_for_model(run: CourseRun) -> bool:
    """Wait until notebook 04 has trained its model, or has ended; return whether that took time."""
    waited = False
    while run.model_is_due():
        waited = True
        time.sleep(0.2)
    return waited


def _processor_seconds() -> float:
    """Return the processor time of the child processes that have ended, theirs included; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def _source(notebook: Path, run: CourseRun) -> Path:
    """Return the notebook to run: the course's own, or its variant, which is written here."""
    if not run.variant:
        return notebook
    source = run.work / run.variant / notebook.name
    source.parent.mkdir(exist_ok=True)
    nbformat.write(VARIANTS[run.variant](nbformat.read(notebook, as_version=4)), source)
    return source


def _execute(source: Path, executed: Path, run: CourseRun, connection: Path) -> str:
    """Run ``source`` through papermill into ``executed``; return what went wrong, or an empty string.

    ``connection`` is where Jupyter keeps the kernel's ports; in its own place the file of a killed run would stay.
    """
    import papermill
    from traitlets.config import Config

    from alstm_helpers.course.kernel import WRITE_AT_END, KernelManager, last_words

    logging.getLogger("papermill").setLevel(logging.WARNING)  # one line per notebook is enough
    os.environ["ALSTM_PROGRESS"] = str(run.work / "progress.json")  # the learner's own file stays as it is
    os.environ[STRICT] = str(int(run.variant == "answers"))
    try:
        papermill.execute_notebook(
            str(source),
            str(executed),
            run.parameters,
            cwd=str(run.work),
            progress_bar=False,
            kernel_name="python3",
            engine_name=None if run.profile == "full" else WRITE_AT_END,  # full takes days: look at what is there
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            config=Config(KernelManager={"connection_file": str(connection)}),
            kernel_manager_class=KernelManager,
        )
    except papermill.PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:  # a kernel that dies can raise any error of the messaging layer
        return f"{type(error).__name__}: {error} {last_words(connection)}"
    return ""


def unexpected_results(expected: Path) -> str:
    """Return which results in a notebook's file of expected results are outside their tolerance, or an empty string."""
    rows = json.loads(expected.read_text(encoding="utf-8")) if expected.exists() else []
    if not rows:
        return "no expected results"
    outside = [row["name"] for row in rows if not row["ok"]]
    return f"outside the tolerance: {', '.join(outside)}" if outside else ""


def over_budget(executed: Path, profile: str, seconds: float, processor_seconds: float) -> str:
    """Return which time limit was exceeded, or an empty string.

    The limits are the notebook's ``budget_seconds`` for the profile and, in tiny, ``LONGEST_CELL`` for a cell. On a
    machine with other work, and beside other notebooks, everything takes longer by the clock. So if the notebook's
    processor time is shorter, that counts, and of each cell the same share.

    Args:
        executed: with the seconds of each cell.
        profile: a key of ``PROFILES``.
        seconds: by the clock.
        processor_seconds: of its kernel, and of the processes that it started; 0 if unknown.
    """
    notebook = nbformat.read(executed, as_version=4)
    budget = notebook.metadata.get("alstm", {}).get("budget_seconds", {}).get(profile)
    share = min(1.0, processor_seconds / seconds) if processor_seconds and seconds else 1.0
    if budget is not None and seconds * share > budget:
        return f"over its budget of {budget} s"
    slow = [cell for cell in notebook.cells if _seconds(cell) * share > LONGEST_CELL] if profile == "tiny" else []
    return f"cell {slow[0].id} took {_seconds(slow[0]) * share:.0f} s, the limit is {LONGEST_CELL} s" if slow else ""


def _seconds(cell: NotebookNode) -> float:
    """Return how long papermill took to run a cell; 0 for text."""
    return cell.metadata.get("papermill", {}).get("duration") or 0.0


def durations(executed: Path) -> dict[str, float]:
    """Return the seconds per section of the second level; cells before the first one count as ``start``."""
    found: dict[str, float] = {}
    section = "start"
    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = [line[3:].strip() for line in cell.source.splitlines() if line.startswith("## ")]
            section = headings[-1] if headings else section
        found[section] = round(found.get(section, 0.0) + _seconds(cell), 2)
    return found


# nbconvert's own template drops the descriptions that Lab.show gives its figures.
_TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block data_png scoped %}<div class="jp-RenderedImage jp-OutputArea-output" tabindex="0">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
alt="{{ (output | get_metadata('alt', 'image/png') or '') | escape }}"></div>{% endblock %}"""


def to_html(executed: Path) -> str:
    """Return an executed notebook as one HTML page, with the figures' descriptions as alternative texts."""
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(extra_loaders=[DictLoader({"course.html.j2": _TEMPLATE})], template_file="course.html.j2")
    html, _ = exporter.from_notebook_node(nbformat.read(executed, as_version=4))
    return str(html)
