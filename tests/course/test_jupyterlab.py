"""A notebook that is opened in JupyterLab with a real browser and run through the menu, as a learner would."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import nbformat
import pytest
from browser import window

from alstm_helpers.course.copies import lab_flags
from alstm_helpers.course.runner import run_course
from alstm_helpers.loopback import HOST, free_port, start_server

ROOT = Path(__file__).resolve().parents[2]
NAME = "01_model"
WIDGET = "application/vnd.jupyter.widget"
LIMIT = 240  # seconds for the whole notebook; it takes 40


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Start JupyterLab on a copy of the notebook; yield its address, the copy, and the test's folder.

    The copy's data and output go to folders of the test.
    """
    work = tmp_path / "my course 课程"
    work.mkdir()
    notebook = nbformat.read(ROOT / "notebooks" / f"{NAME}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.id == "parameters":
            for key, folder in (("DATA_DIR", "data"), ("OUT_DIR", "out")):
                cell.source = cell.source.replace(f'{key} = ""', f"{key} = {str(tmp_path / folder)!r}")
    nbformat.write(notebook, work / f"{NAME}.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # Put every cell into the page, also those outside the window: otherwise the test could not see progress bars.
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}', encoding="utf-8")
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("ALSTM_PROGRESS", str(tmp_path / "progress.json"))
    port = free_port()
    flags = ["--IdentityProvider.token=", "--allow-root", *lab_flags(work, port=port, browser=False)]
    server = start_server(["-m", "jupyterlab", *flags], port, wait_seconds=60)  # as `alstm lab` starts it
    yield f"http://{HOST}:{port}", work / f"{NAME}.ipynb", tmp_path
    server.terminate()
    server.wait(timeout=30)


PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(item => item.textContent)"
BARS = (
    "[...document.querySelectorAll('.jp-OutputArea-output pre')].map(i => i.textContent).filter(t => t.includes('%|'))"
)
FIGURES = "[...document.querySelectorAll('.jp-OutputArea img')].filter(i => i.naturalWidth > 100).length"


def finished(prompts):
    """Return whether the last cell has been run."""
    return bool(prompts) and any(character.isdigit() for character in prompts[-1])


def answer_dialog(seen):
    """Accept the proposal in a dialog of JupyterLab, such as which kernel to take."""
    dialog = seen.page.locator(".jp-Dialog")
    if dialog.count():
        text = " ".join(dialog.first.inner_text().split())
        print(f"JupyterLab asks: {text}")
        assert "error" not in text.lower() and "fail" not in text.lower(), text
        dialog.first.locator(".jp-mod-accept").first.click()


def run_all(seen):
    """Run all cells through the menu; try again if no cell is waiting then: the page may not have been ready."""
    for _ in range(3):
        answer_dialog(seen)
        seen.page.get_by_role("menuitem", name="Run", exact=True).click()
        seen.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        for _ in range(50):
            if any("*" in prompt for prompt in seen.ask(PROMPTS)):
                return
            time.sleep(0.2)
    raise AssertionError(f"no cell runs: {seen.complaints}")


def wait_until_finished(seen):
    """Return the progress bars that were seen before the last cell finished.

    Run all cells again if none is waiting: a kernel that JupyterLab starts late drops those that were.
    """
    bars: set[str] = set()
    deadline, prompts = time.monotonic() + LIMIT, seen.ask(PROMPTS)
    while not finished(prompts) and time.monotonic() < deadline:
        bars |= set(seen.ask(BARS))
        time.sleep(0.2)
        prompts = seen.ask(PROMPTS)
        if not finished(prompts) and not any("*" in prompt for prompt in prompts):
            run_all(seen)
    assert finished(prompts), f"{prompts}; {seen.complaints}"
    return bars


def errors_in(path):
    """Return the errors among the outputs of a notebook."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def widgets_in(path):
    """Return the ids of the widgets among the outputs of a notebook."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    views = [output.get("data", {}).get(f"{WIDGET}-view+json") for cell in cells for output in cell.outputs]
    return {view["model_id"] for view in views if view}


def saved_widgets(path):
    """Return the ids of the widgets whose state a notebook holds."""
    states = nbformat.read(path, as_version=4).metadata.get("widgets", {}).get(f"{WIDGET}-state+json", {})
    return set(states.get("state", {}))


@pytest.mark.skipif("ALSTM_SLOW" not in os.environ, reason="a minute and a half; CI sets ALSTM_SLOW")
def test_a_notebook_run_through_the_menu(lab):
    address, path, folder = lab
    with window(1400, 1000) as seen:
        seen.page.goto(f"{address}/lab/tree/{NAME}.ipynb")
        seen.page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        seen.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)
        run_all(seen)
        bars = wait_until_finished(seen)
        figures = seen.ask(FIGURES)
        seen.page.keyboard.press("Control+s")
        seen.page.wait_for_timeout(3000)
        hosts = {host for host in seen.hosts if host}
        assert not seen.ask("document.querySelectorAll('.Toastify__toast').length"), "something pops up over the page"
    assert not errors_in(path)
    assert widgets_in(path) <= saved_widgets(path), "a widget cannot be displayed when the notebook is opened again"
    assert figures >= 5 and len(bars) > 5, "figures drawn, and progress bars that moved"
    assert hosts == {address.removeprefix("http://")}, "the page used the network"
    compare_with_papermill(folder)


def compare_with_papermill(folder):
    """Require the results of the same notebook through papermill: those of ``ALSTM_COURSE``, or of a run made now."""
    os.environ.pop("JUPYTERLAB_SETTINGS_DIR", None)
    course = Path(os.environ.get("ALSTM_COURSE", folder / "papermill"))
    if "ALSTM_COURSE" not in os.environ:
        run_course(course, notebooks=[NAME[:2]])
    in_lab, headless = (
        json.loads((place / "expected" / f"{NAME}.json").read_text(encoding="utf-8"))
        for place in (folder / "out", course / "run" / "out")
    )
    assert [row["name"] for row in in_lab] == [row["name"] for row in headless]
    assert all(row["ok"] for row in [*in_lab, *headless])
