"""Tables of progress: each learner's, and the lecturer's of all of them."""

from __future__ import annotations

import csv

import pytest

from alstm_helpers.course.exercises import CHAPTERS, exercises_of


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def progress(alstm, elsewhere, monkeypatch):
    """The command in an empty folder, with one exercise answered."""
    monkeypatch.setenv("ALSTM_PROGRESS", str(elsewhere / "progress.json"))
    right = '{"ex-1-2": {"status": "correct", "attempts": 3, "hints": 1}}'
    (elsewhere / "progress.json").write_text(right, encoding="utf-8")
    return lambda *arguments: alstm("progress", *arguments)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_learner_s_table_has_every_exercise(progress, elsewhere):
    result = progress("--csv", "mine.csv", "--name", "李雷")
    header, *rows = rows_of(elsewhere / "mine.csv")
    every = [exercise.name for chapter in CHAPTERS for exercise in exercises_of(chapter)]
    assert result.last == f"{len(every)} exercises → mine.csv" and header[0] == "name"
    assert [row[1] for row in rows] == every and {row[0] for row in rows} == {"李雷"}
    assert rows[0][2:] == ["not attempted", "0", "0"] and rows[1][2:] == ["correct", "3", "1"]


def test_a_folder_without_exercises_is_said_to_be_one(progress, elsewhere):
    """Else a learner in the wrong folder hands in a table that says that nothing was tried."""
    (elsewhere / "progress.json").unlink()
    for arguments in ((), ("--csv", "mine.csv")):
        assert "progress.json: no such file yet; if you have tried exercises, run this in" in progress(*arguments).out


def test_tables_are_joined_in_a_row_per_learner(progress, elsewhere):
    progress("--csv", "a.csv", "--name", "=cmd")
    progress("--csv", "b c.csv")
    assert progress("a.csv", "b c.csv", "--csv", "all.csv").last == "2 learners → all.csv"
    header, first, second = rows_of(elsewhere / "all.csv")
    assert header[:4] == ["name", "correct", "ex-1-1", "ex-1-2"]
    assert first[1:4] == ["1", "not attempted", "correct"] and not first[0].startswith("=")
    assert second[0] == "b c"


@pytest.mark.parametrize(
    "text",
    ["", "name,x\n", "name,exercise,status,attempts,hints\nA,ex-1-1,=1+1,1,1\n", f"name,{'x' * 200_000}\n"],
    ids=["empty", "another", "a formula", "a long field"],
)
def test_what_is_no_such_table_is_one_sentence(progress, elsewhere, text):
    (elsewhere / "a.csv").write_text(text, encoding="utf-8")
    result = progress("a.csv", "--csv", "all.csv")
    assert result.code == 1 and result.err.startswith("error: a.csv: not a table of progress; ")
    assert not (elsewhere / "all.csv").exists()


def test_a_table_needs_a_file(progress):
    assert progress("--name", "A").code == progress("a.csv").code == 2
