"""The runner of the course: which notebooks run, which count as failed, and the summary. Papermill is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import nbformat
import papermill
import pytest
from bs4 import BeautifulSoup
from joblib import parallel_config

from alstm_helpers.course import runner as course
from alstm_helpers.course.runner import CourseRun, Outcome, find_notebooks, over_budget, run_course, to_html
from alstm_helpers.course.schedule import Span
from alstm_helpers.errors import AlstmError, FolderInUse
from alstm_helpers.files import claimed

GOOD, OUTSIDE = {"name": "videos", "ok": True}, {"name": "GAP", "ok": False}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with three notebooks, and two files that are not part of the course."""
    folder = tmp_path / "clone" / "notebooks"
    folder.mkdir(parents=True)
    for name in ("05_evaluation.ipynb", "01_model.ipynb", "03_data.ipynb", "draft.ipynb", "03_data.txt"):
        (folder / name).write_text("{}", encoding="utf-8")
    monkeypatch.setattr(course, "notebooks_folder", lambda: tmp_path / "clone" / "notebooks")
    monkeypatch.setattr("alstm_helpers.course.lab.Lab.ensure_data", lambda lab: lab.data_dir.mkdir(exist_ok=True))
    monkeypatch.setattr(course, "processes", lambda count, jobs: parallel_config(backend="sequential"))
    return tmp_path / "clone"


def outcome(name, problem=""):
    return Outcome(Span(name, 0.0, 1.5), 1.2, problem)


def names(paths):
    return [path.stem for path in paths]


def test_find_notebooks(clone):
    assert names(find_notebooks()) == ["01_model", "03_data", "05_evaluation"]
    assert names(find_notebooks(["05", "01"])) == ["01_model", "05_evaluation"]
    assert names(find_notebooks(["03_data", "03"])) == ["03_data"]


def test_find_notebooks_rejects_unknown_names(clone):
    with pytest.raises(AlstmError, match=r"--notebooks 04: no such notebook; choose from 01, 03, 05"):
        find_notebooks(["03", "04"])
    for path in (clone / "notebooks").iterdir():
        path.unlink()
    with pytest.raises(AlstmError, match="no notebooks here"):
        find_notebooks()


def test_run_course_sums_up(clone, tmp_path, monkeypatch):
    problems = {"01_model": "", "03_data": "cell 4: ValueError: broken", "05_evaluation": ""}
    monkeypatch.setattr(course, "run_notebook", lambda path, run: outcome(path.stem, problems[path.stem]))
    lines: list[str] = []
    done = run_course(tmp_path / "out", report=lines.append)
    assert [(row["name"], row["status"]) for row in done["notebooks"]] == [
        ("01_model", "ok"),
        ("03_data", "failed"),
        ("05_evaluation", "ok"),
    ]
    assert all(row["seconds"] == 1.5 and row["processor_seconds"] == 1.2 for row in done["notebooks"])
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8")) == done
    assert set(done) == {"notebooks", "critical_path", "seconds"}
    assert done["critical_path"][0]["name"] == "data"
    assert (tmp_path / "out" / "run" / "data").is_dir()  # made before the first notebook
    assert len(lines) == 3 and ["cell 4: ValueError: broken" in line for line in sorted(lines)] == [False, True, False]


def test_an_interrupted_run_leaves_no_summary_of_an_earlier_one(clone, tmp_path, monkeypatch):
    """It would call a copy good of which only some cells have run."""

    def stopped(path, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "run_notebook", lambda path, run: outcome(path.stem, ""))
    run_course(tmp_path / "out")
    monkeypatch.setattr(course, "run_notebook", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_course(tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists() and not (tmp_path / "out" / "durations.json").exists()


def test_an_unknown_profile_runs_nothing(clone, tmp_path):
    with pytest.raises(AlstmError, match=r"--profile huge: no such profile; choose from tiny, small"):
        run_course(tmp_path / "out", profile="huge")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def run_one(clone, tmp_path, monkeypatch):
    """Run 03_data with papermill replaced: it leaves an executed copy and the given expected results."""
    seen: dict[str, object] = {}

    def run(expected=None, error=None, profile="tiny", budget=1000.0, took=1.0):
        def execute(source, target, parameters, **settings):
            seen.update(parameters, source=source, **settings)
            cell = nbformat.v4.new_code_cell(
                "1 + 1",
                id="sum",
                outputs=[nbformat.v4.new_output("stream", text="it printed this")],
                metadata={"papermill": {"duration": took}},
            )
            metadata = {"alstm": {"budget_seconds": {"tiny": budget, "small": 1000}}}
            nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), target)
            if expected is not None:
                path = Path(parameters["OUT_DIR"], "expected", "03_data.json")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(expected), encoding="utf-8")
            if error:
                raise error

        monkeypatch.setattr(papermill, "execute_notebook", execute)
        lines: list[str] = []
        done = run_course(tmp_path / "out", profile=profile, notebooks=["03"], report=lines.append)
        return done["notebooks"][0]["status"], lines[0], seen

    return run


def test_a_notebook_with_expected_results_is_ok(run_one, clone, tmp_path):
    status, _, seen = run_one([GOOD], profile="small")
    assert status == "ok"
    assert seen["PROFILE"] == "small" and seen["source"] == str(clone / "notebooks" / "03_data.ipynb")
    assert seen["DATA_DIR"] == str(tmp_path / "out" / "run" / "data")
    assert seen["OUT_DIR"] == str(tmp_path / "out" / "run" / "out")
    assert "it printed this" in (tmp_path / "out" / "03_data.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "03_data.ipynb").exists()


def write_notebook(path, *cells):
    """Write a notebook that runs for real: parameters, and the given code."""
    parameters = nbformat.v4.new_code_cell("PROFILE = ''", metadata={"tags": ["parameters"]})
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    more = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, *more], metadata=metadata), path)


@pytest.mark.parametrize("last, said", [("import os; os._exit(3)", "Kernel died"), ("1 / 0", "ZeroDivisionError")])
def test_the_cells_before_a_failure_are_kept_and_not_written_after_each(clone, tmp_path, monkeypatch, last, said):
    write_notebook(clone / "notebooks" / "03_data.ipynb", *(f"print('cell {i}')" for i in range(9)), last, "'never'")
    write = Mock(wraps=papermill.engines.write_ipynb)
    for module in (papermill.engines, papermill.execute):
        monkeypatch.setattr(module, "write_ipynb", write)
    lines: list[str] = []
    run_course(tmp_path / "out", notebooks=["03"], report=lines.append)
    assert "failed" in lines[0] and said in lines[0]
    page = (tmp_path / "out" / "03_data.html").read_text(encoding="utf-8")
    assert all(f"cell {i}</pre>" in page.replace("\n", "") for i in range(9))
    assert 1 <= write.call_count <= 4  # papermill itself writes 2 times for each of the twelve cells


def test_a_kernel_that_cannot_start_says_why(clone, tmp_path, monkeypatch, capfd):
    """In the course's line; what kernels write to stderr is not mixed with it."""
    broken = tmp_path / "broken" / "ipykernel_launcher.py"
    broken.parent.mkdir()
    broken.write_text("raise SystemExit('this kernel misses something')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    write_notebook(clone / "notebooks" / "03_data.ipynb")
    lines: list[str] = []
    run_course(tmp_path / "out", notebooks=["03"], report=lines.append)
    assert "failed" in lines[0] and lines[0].endswith("this kernel misses something")
    assert capfd.readouterr().err == ""


def test_html_describes_the_figures(tmp_path):
    """The description that Lab.show stores becomes the alt text, quotes and all."""
    pixel = "iVBORw0KGgo="
    data, metadata = {"image/png": pixel, "text/plain": "x"}, {"image/png": {"alt": 'A line "up" & <on>.'}}
    outputs = [nbformat.v4.new_output("display_data", data, metadata=metadata)]
    outputs.append(nbformat.v4.new_output("display_data", {"image/png": pixel}))
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show()", outputs=outputs)]), tmp_path / "x.ipynb"
    )
    page = BeautifulSoup(to_html(tmp_path / "x.ipynb"), "html.parser")
    images = [(image["src"], image.get("alt")) for image in page.find_all("img")]
    assert images == [(f"data:image/png;base64,{pixel}", alt) for alt in ('A line "up" & <on>.', "")]


@pytest.mark.parametrize(
    "expected, said",
    [([GOOD, OUTSIDE], "outside the tolerance: GAP"), (None, "no expected results"), ([], "no expected results")],
)
def test_expected_results_decide(run_one, expected, said):
    status, line, _ = run_one(expected)
    assert status == "failed" and said in line


def test_expected_results_of_an_earlier_run_do_not_count(run_one):
    assert run_one([GOOD])[0] == "ok"
    status, line, _ = run_one(None)
    assert status == "failed" and "no expected results" in line


@pytest.mark.parametrize(
    "error, said",
    [
        (
            papermill.PapermillExecutionError(3, 7, "x = 1 / 0", "ZeroDivisionError", "division by zero", []),
            "cell 7: Zero",
        ),
        (RuntimeError("Kernel died"), "RuntimeError: Kernel died"),
    ],
)
def test_a_notebook_that_raises_has_failed_but_is_kept(run_one, tmp_path, error, said):
    status, line, _ = run_one([GOOD], error)
    assert status == "failed" and said in line
    assert "it printed this" in (tmp_path / "out" / "03_data.html").read_text(encoding="utf-8")


def test_a_notebook_over_its_budget_has_failed(run_one):
    status, line, _ = run_one([GOOD], budget=-1)
    assert status == "failed" and "over its budget of -1 s" in line
    assert run_one([GOOD], budget=-1, profile="small")[0] == "ok"  # the budget is that of the profile
    assert "outside" in run_one([OUTSIDE], budget=-1)[1]  # a wrong result is reported before a slow run


@pytest.mark.parametrize("took, profile, expected", [(61, "tiny", "failed"), (59, "tiny", "ok"), (61, "small", "ok")])
def test_a_cell_longer_than_a_minute_has_failed_in_tiny(run_one, took, profile, expected):
    status, line, _ = run_one([GOOD], took=took, profile=profile)
    assert status == expected
    assert status == "ok" or "cell sum took 61 s, the limit is 60 s" in line


@pytest.mark.parametrize(
    "processor_seconds, expected",
    [(0, "over its budget of 50 s"), (60, "over its budget of 50 s"), (45, "cell long took 68 s"), (30, "")],
)
def test_limits_count_processor_time_on_a_busy_machine(tmp_path, processor_seconds, expected):
    """By the clock the notebook took 100 s; of its cell counts the same share."""
    cell = nbformat.v4.new_code_cell("1", id="long", metadata={"papermill": {"duration": 150}})
    metadata = {"alstm": {"budget_seconds": {"tiny": 50}}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), tmp_path / "x.ipynb")
    assert over_budget(tmp_path / "x.ipynb", "tiny", 100, processor_seconds).startswith(expected)
    assert bool(expected) == bool(over_budget(tmp_path / "x.ipynb", "tiny", 100, processor_seconds))


@pytest.fixture
def run(tmp_path):
    made = CourseRun(tmp_path / "out", "tiny", "")
    made.work.mkdir(parents=True)
    return made


@pytest.mark.parametrize("released_by", ["the model", "the end of notebook 04"])
def test_a_notebook_that_needs_the_model_waits_for_it(run, monkeypatch, released_by):
    """Notebook 04 goes on after its training, and may fail before it."""
    finished = run.lab().run_folder.finished
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if released_by == "the model":
            finished.parent.mkdir()
            finished.touch()
        else:
            run.untrained.unlink()

    monkeypatch.setattr("alstm_helpers.course.runner.time.sleep", sleep)
    assert not course._wait_for_model(run)  # notebook 04 is not among those that run
    run.untrained.touch()
    assert course._wait_for_model(run) and len(slept) == 1
    assert not course._wait_for_model(run) and len(slept) == 1


def test_the_model_of_an_earlier_run_does_not_count(clone, run, monkeypatch):
    """Notebook 04 is about to replace it."""
    finished = run.lab().run_folder.finished
    finished.parent.mkdir()
    finished.touch()
    seen = []

    def fake(path, run):
        seen.append((path.stem, finished.exists(), run.untrained.exists()))
        return outcome(path.stem)

    monkeypatch.setattr(course, "run_notebook", fake)
    list(course._run_all([Path("05_evaluation.ipynb")], run))
    list(course._run_all([Path("05_evaluation.ipynb"), Path("04_training.ipynb")], run))
    assert seen == [("05_evaluation", True, False), ("04_training", False, True), ("05_evaluation", False, True)]


@pytest.mark.parametrize("profile, at_once", [("tiny", -1), ("full", 1)])
def test_speeds_are_compared_alone_and_the_real_set_is_one_at_a_time(clone, tmp_path, monkeypatch, profile, at_once):
    run, started = CourseRun(tmp_path / "out", profile, ""), []

    def record(count, jobs):
        started.append(count)
        return parallel_config(backend="sequential")

    def note(path, run):
        started.append(path.stem)
        return outcome(path.stem)

    run.work.mkdir(parents=True)
    monkeypatch.setattr(course, "run_notebook", note)
    monkeypatch.setattr(course, "processes", record)
    list(course._run_all([Path("00_preflight.ipynb"), Path("03_data.ipynb")], run))
    assert started == [at_once, "03_data", 1, "00_preflight"]


def test_durations_by_section(run_one, tmp_path):
    def cell(kind, source, seconds=None):
        made = getattr(nbformat.v4, f"new_{kind}_cell")(source)
        made.metadata["papermill"] = {"duration": seconds}
        return made

    cells = [
        cell("markdown", "# Title"),
        cell("code", "1", 0.5),
        cell("markdown", "## One\n\ntext"),
        cell("code", "2", 2),
    ]
    cells += [
        cell("markdown", "### part of it"),
        cell("code", "3", 1.25),
        cell("markdown", "## Two"),
        cell("code", "4"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "x.ipynb")
    assert course.durations(tmp_path / "x.ipynb") == {"start": 0.5, "One": 3.25, "Two": 0.0}
    run_one([GOOD], took=7)
    assert json.loads((tmp_path / "out" / "durations.json").read_text(encoding="utf-8")) == {"03_data": {"start": 7}}


def test_two_runs_into_one_folder_are_refused(clone, tmp_path, monkeypatch):
    """They would remove each other's files."""
    monkeypatch.setattr(course, "run_notebook", lambda path, run: outcome(path.stem))
    with claimed(tmp_path / "out" / "run"), pytest.raises(FolderInUse, match="another run is writing here; wait until"):
        run_course(tmp_path / "out")
    assert len(run_course(tmp_path / "out")["notebooks"]) == 3
