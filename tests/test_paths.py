"""Where things are: in a clone, in an installed package, and in a folder that `alstm lab` has filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from alstm_helpers import paths
from alstm_helpers.config import find_config, load_config
from alstm_helpers.errors import AlstmError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The course's files as an installed package has them, and an empty working folder beside them."""
    shipped = tmp_path / "site-packages" / "alstm_helpers" / "_course"
    (shipped / "configs").mkdir(parents=True)
    recipe = (ROOT / "configs" / "flashdigits.yaml").read_text(encoding="utf-8")
    (shipped / "configs" / "flashdigits.yaml").write_text(recipe, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(paths, "_SHIPPED", shipped)
    monkeypatch.chdir(work)
    return shipped


def test_in_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.course_files() == paths.work_folder() == paths.clone("this test") == ROOT


def test_installed(installed):
    assert paths.course_files() == installed
    assert paths.work_folder() == Path.cwd() != ROOT
    with pytest.raises(AlstmError, match=r"^this test: this needs a clone of the course; clone "):
        paths.clone("this test")


def test_folders_of_alstm_lab_win(tmp_path, monkeypatch):
    (tmp_path / paths.COPIES_RECORD).write_text("{}", encoding="utf-8")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert paths.work_folder() == tmp_path
    assert paths.course_files() == ROOT


def test_the_courses_configurations_are_found_and_point_at_the_work_folder(installed):
    name = "configs/flashdigits.yaml"
    assert find_config(name) == installed / name
    read = load_config(find_config(name))
    assert Path(read.TRAIN.filelist) == Path.cwd() / "data" / "flashdigits" / "train.list"
    Path("configs").mkdir()
    Path(name).write_text("MODEL:\n  num_classes: 7\n", encoding="utf-8")
    assert find_config(name) == Path(name), "the learner's own file comes first"
    assert find_config("configs/none.yaml") == Path("configs/none.yaml")


def test_a_list_beside_the_working_folder_is_not_taken(installed):
    """``../data`` in the course's file means the work folder's data, not that of the folder above."""
    wrong = Path.cwd().parent / "data" / "flashdigits" / "train.list"
    right = Path.cwd() / "data" / "flashdigits" / "train.list"
    for path in (wrong, right):
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
    assert Path(load_config(find_config("configs/flashdigits.yaml")).TRAIN.filelist) == right
