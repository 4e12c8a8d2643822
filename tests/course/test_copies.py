"""``alstm lab``: copies of the notebooks whose links resolve, never over a learner's own work."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from alstm_helpers import paths
from alstm_helpers.course import copies
from alstm_helpers.course.copies import copy_course, lab_folder
from alstm_helpers.course.lab import Lab
from alstm_helpers.errors import AlstmError
from alstm_helpers.loopback import HOST, free_port, start_server

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Not there yet, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my course 课程"


def links_of(path):
    """Return the relative targets of a file's links and pictures; in a notebook of its text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found = re.findall(r"\]\((<[^>]*>|[^)<]*)\)", text)
    targets = {link.strip("<>").partition("#")[0] for link in found}
    return {target for target in targets if target and "://" not in target}


def test_the_links_of_the_copies_resolve(folder):
    done = copy_course(folder)
    assert sorted(path.name for path in folder.glob("*.ipynb")) == NOTEBOOKS
    assert not done.kept and {"docs/glossary.yml", "configs/flashdigits.yaml"} <= set(done.written)
    documents = [*folder.rglob("*.ipynb"), *folder.rglob("*.md")]
    links = {(path, link) for path in documents for link in links_of(path)}
    assert len(links) > 20
    assert not [(path.name, link) for path, link in links if not (path.parent / link).exists()]
    assert all((path.parent / link).resolve().is_relative_to(folder) for path, link in links)


def test_a_second_run_changes_nothing(folder):
    copy_course(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"}
    assert copy_course(folder) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_learners_work_is_left_alone_and_old_copies_are_updated(folder, monkeypatch):
    newest = copies._course_copies()
    old = {name: content.replace(b"Attention", b"attention") for name, content in newest.items()}
    monkeypatch.setattr(copies, "_course_copies", lambda: old)
    copy_course(folder)
    (folder / "00_preflight.ipynb").write_text("mine", encoding="utf-8")
    (folder / "03_data.ipynb").unlink()
    (folder / "own.ipynb").write_text("my own notebook", encoding="utf-8")
    monkeypatch.setattr(copies, "_course_copies", lambda: newest)
    done = copy_course(folder)
    assert done.kept == ["00_preflight.ipynb"]
    assert {"01_model.ipynb", "03_data.ipynb"} <= set(done.written)
    assert (folder / "00_preflight.ipynb").read_text(encoding="utf-8") == "mine"
    assert (folder / "01_model.ipynb").read_bytes() == newest["01_model.ipynb"]
    assert copy_course(folder) == ([], ["00_preflight.ipynb"])


@pytest.mark.parametrize("record", ["", "{", "[]", "[" * 100_000, None])
def test_without_its_record_every_other_file_is_the_learners(folder, record):
    copy_course(folder)
    place = folder / paths.COPIES_RECORD
    place.unlink() if record is None else place.write_text(record, encoding="utf-8")
    (folder / "01_model.ipynb").write_text("mine", encoding="utf-8")
    assert copy_course(folder) == ([], ["01_model.ipynb"])


def test_a_file_is_no_folder(folder):
    folder.write_text("", encoding="utf-8")
    with pytest.raises(AlstmError, match="课程: this is a file; name a folder"):
        copy_course(folder)


def test_data_and_results_stay_in_the_folder(folder, monkeypatch):
    copy_course(folder)
    monkeypatch.chdir(folder)
    lab = Lab("01_model", profile="tiny", seed=0)
    assert lab.data_dir == folder / "data" / "course" / "tiny"
    assert lab.out_dir.is_relative_to(folder)


def test_where_it_works_if_not_told(folder, monkeypatch):
    assert lab_folder() == ROOT / "notebooks"
    monkeypatch.setattr(paths, "_SHIPPED", ROOT)  # as if installed, with the course's files there
    assert lab_folder() == folder.parent / "attention-lstm-course"
    copy_course(folder)
    monkeypatch.chdir(folder)
    assert lab_folder() == folder


def test_the_command_copies(alstm, folder):
    result = alstm("lab", folder.name, "--copy-only")
    assert result.code == 0
    assert re.fullmatch(r"\d\d files copied to my course 课程\n", result.out)
    (folder / "01_model.ipynb").write_text("mine", encoding="utf-8")
    result = alstm("lab", folder.name, "--copy_only")
    assert result.out.splitlines()[0] == "0 files copied to my course 课程"
    assert result.out.splitlines()[1].startswith("left as they are, because they are not the course's: 01_model.ipynb;")


def test_in_a_clone_nothing_is_copied(alstm, folder):
    before = {path.name for path in ROOT.iterdir()}
    assert alstm("lab", "--copy_only") == (0, "", "")
    for folder in (ROOT, ROOT / "notebooks" / "zh-CN"):
        assert alstm("lab", folder, "--copy_only") == (0, "", "")
    assert {path.name for path in ROOT.iterdir()} == before and not (ROOT / "notebooks" / paths.COPIES_RECORD).exists()


def settings_of_jupyterlab():
    (place,) = [flag.partition("=")[2] for flag in copies.lab_flags(ROOT) if "app_settings_dir" in flag]
    return json.loads(Path(place, "overrides.json").read_text(encoding="utf-8"))


def test_menus_are_in_the_chosen_language_and_all_else_is_the_same(monkeypatch):
    from jupyterlab_server.translation_utils import get_language_pack, is_valid_locale

    english = settings_of_jupyterlab()
    monkeypatch.setenv("ALSTM_LANG", "zh-CN")
    chinese = settings_of_jupyterlab()
    locale = chinese.pop("@jupyterlab/translation-extension:plugin")["locale"]
    assert chinese == english
    pack, message = get_language_pack(locale)
    assert is_valid_locale(locale) and not message
    assert pack["jupyterlab"]["Run All Cells"] == ["运行所有单元格"]


def test_the_settings_are_those_of_jupyterlab():
    """A setting that JupyterLab does not know would switch nothing off."""
    settings = settings_of_jupyterlab()
    assert len(settings) == 3
    for plugin, values in settings.items():
        package, _, name = plugin.partition(":")
        (schema,) = Path(sys.prefix, "share", "jupyter").glob(f"lab*/**/schemas/{package}/{name}.json")
        known = json.loads(schema.read_text(encoding="utf-8"))["properties"]
        for key, value in values.items():
            choices = [choice["const"] for choice in known[key].get("oneOf", [])] or [True, False]
            assert value in choices and value != known[key]["default"], f"{plugin} {key}"


NOTE_HOSTS = """
import os, sys
def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    with open(os.environ["HOSTS"], "a") as file:
        file.write(f"{host}\\n")
sys.addaudithook(note)
"""
PAGES = (
    "api/contents",
    "lab/api/news",
    "lab/api/update",
    "lab/api/extensions?refresh=1",
    "lab/api/extensions?query=git",
)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """The file in which every Python that is started from here notes which hosts it asks for."""
    (tmp_path / "noting").mkdir()
    (tmp_path / "noting" / "sitecustomize.py").write_text(NOTE_HOSTS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "noting"))
    monkeypatch.setenv("HOSTS", str(tmp_path / "hosts"))
    return tmp_path / "hosts"


def test_the_command_opens_jupyterlab_there_and_asks_nobody_else(folder, monkeypatch, hosts):
    """Its pages ask the server for these addresses, one of them each time that the extension manager is opened."""
    port = free_port()
    monkeypatch.setenv("JUPYTER_TOKEN", "secret")
    arguments = ["-m", "alstm_helpers", "lab", folder.name, "--no_browser", f"--port={port}"]
    server = start_server(arguments, port, wait_seconds=180)
    answers = {}
    try:
        for page in PAGES:
            request = urllib.request.Request(f"http://{HOST}:{port}/{page}", headers={"Authorization": "token secret"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                answers[page] = json.load(answer)
    finally:
        server.terminate()
        server.wait(timeout=30)
    names = {item["name"] for item in answers["api/contents"]["content"]}
    assert set(NOTEBOOKS) <= names and os.fspath(paths.COPIES_RECORD) not in names
    asked = set(hosts.read_text(encoding="utf-8").split())
    assert asked <= {HOST, "localhost"} and asked
