"""Exercises: any wrong answer gets a reason; hints come before solutions; nothing leaves the machine.

``alstm course --answers`` checks in the notebooks themselves that every model answer is correct and that every typical
wrong answer gets its own message.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from alstm_helpers.course.exercises import (
    CHAPTERS,
    chapter_01,
    chapter_05,
    check,
    exercises_of,
    find,
    hint,
    prove,
    solution,
)
from alstm_helpers.course.exercises.core import (
    Exercise,
    Notebook,
    NotYet,
    Verdict,
    a_type,
    always,
    equals,
    is_function,
    is_text,
    numbers,
)
from alstm_helpers.course.exercises.progress import ExerciseProgress, progress_file
from alstm_helpers.course.variants import instructor_notes, with_answers
from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import YouTube8MMetrics

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
CHAPTER_OF = {"00": 2}  # number of a notebook → chapter of its exercises, where they differ
EVERY = [exercise for chapter in CHAPTERS for exercise in exercises_of(chapter)]


@pytest.fixture(autouse=True)
def own_progress(monkeypatch, tmp_path):
    monkeypatch.setenv("ALSTM_PROGRESS", str(tmp_path / "progress 进度.json"))
    monkeypatch.delenv("ALSTM_STRICT", raising=False)
    return tmp_path / "progress 进度.json"


# --- every exercise -----------------------------------------------------------------------------------------------


def notebooks_of(chapter):
    """Return the chapter's notebook and its appendix, if it has one."""
    return [path for path in NOTEBOOKS if CHAPTER_OF.get(path.stem[:2], int(path.stem[:2])) == chapter]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_its_exercises(chapter):
    """Three or more, each with a heading, a stub that an untouched run accepts, and a check."""
    cells = [cell for path in notebooks_of(chapter) for cell in nbformat.read(path, as_version=4).cells]
    names = [exercise.name for exercise in exercises_of(chapter)]
    ids = [cell.id for cell in cells]
    assert sorted(name for name in ids if re.fullmatch(r"ex-\d-\d", name)) == names and len(names) >= 3
    for name in names:
        place = ids.index(name)
        text, stub, judged = cells[place : place + 3]
        assert ids[place + 1 : place + 3] == [f"{name}-answer", f"{name}-check"]
        assert "`answer" in text.source, "the text says what answer should be"
        assert stub.source == "answer = ...  # your answer"
        assert judged.source == f'check("{name}", answer)'


@pytest.mark.parametrize("exercise", EVERY, ids=[exercise.name for exercise in EVERY])
def test_an_exercise_is_whole(exercise):
    assert len(exercise.hints) >= 2 and exercise.mistakes and exercise.note
    assert "answer = " in exercise.solution
    compile(exercise.solution, exercise.name, "exec")
    messages = [message for _, message in exercise.mistakes]
    assert len(set(messages)) == len(messages) and all("\n" not in message for message in messages)


class Hostile:
    """Raise an error whatever is done with it."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __eq__(self, other):
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


ODD: list[object] = [
    None,
    "",
    "a text",
    b"bytes",
    float("nan"),
    float("inf"),
    10**400,
    1j,
    [],
    (),
    {},
    [[1, 2], [3]],
    np.array([]),
    np.full((3, 3), np.nan),
    np.array(["x"], dtype=object),
    lambda *_: 1 / 0,
    int,
    Hostile(),
    {"hit_at_1": None, "perr": [], "gap": "x"},
]


@pytest.mark.parametrize("exercise", EVERY, ids=[exercise.name for exercise in EVERY])
def test_any_answer_gets_a_reason_in_one_line(exercise):
    """Also in a notebook of which no cell has run."""
    for answer in ODD:
        verdict = exercise.check(answer, {})
        assert verdict.status == "not yet" and verdict.why, answer
        assert "\n" not in repr(verdict)


# --- exercises that need no notebook ------------------------------------------------------------------------------

GALLERY = ["ex-1-5", "ex-3-6", "ex-4-6", "ex-5-4", "ex-6-4", "ex-8-4"]
ALONE = [
    *(
        "ex-1-1",
        "ex-1-2",
        "ex-2-2",
        "ex-3-1",
        "ex-3-3",
        "ex-3-5",
        "ex-4-2",
        "ex-4-3",
        "ex-4-4",
        "ex-5-1",
        "ex-7-1",
        "ex-8-2",
        "ex-9-1",
        "ex-9-2",
        "ex-9-4",
    ),
    *GALLERY,
]


@pytest.mark.parametrize("name", ALONE)
def test_typical_wrong_answers_get_their_own_message(name):
    assert prove(name, {}) == f"{name}: {len(find(name).mistakes)} typical wrong answers, each with its own message"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ex-1-1",
            "ex-2-2",
            "ex-3-1",
            "ex-3-3",
            "ex-4-2",
            "ex-4-3",
            "ex-4-4",
            "ex-5-1",
            "ex-8-2",
            "ex-9-1",
            "ex-9-2",
            "ex-9-4",
        ),
        *GALLERY,
    ],
)
def test_the_model_answer_is_right(name):
    space = {"np": np, "csv": csv, "hashlib": hashlib, "struct": struct, "YouTube8MMetrics": YouTube8MMetrics}
    exec(compile(find(name).solution, name, "exec"), space)  # noqa: S102 - our own text
    assert check(name, space["answer"]).status == "correct"


@pytest.mark.parametrize("name", GALLERY[:-1])
def test_the_broken_function_of_the_gallery_is_not_judged_correct(name):
    """As it is in the notebook, in the cell that shows the symptom."""
    notebook = nbformat.read(notebooks_of(int(name[3]))[0], as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "gallery-broken")
    broken = re.match(r"(def broken_\w+\(.*?\n)\n\n", cell.source, re.DOTALL)
    assert broken
    space: dict[str, object] = {"np": np, "csv": csv, "hashlib": hashlib}
    exec(broken[1], space)  # noqa: S102
    space["gap_of"] = chapter_05.gap
    function = next(value for key, value in space.items() if key.startswith("broken_"))
    verdict = find(name).check(function, {})
    assert verdict.status == "not yet" and "cannot be used" not in verdict.why


@pytest.mark.parametrize("answer", [2.197, np.float32(2.2), np.array([2.2]), [2.2], 2.19])
def test_a_right_answer_in_another_form(answer):
    assert check("ex-1-1", answer).status == "correct"


@pytest.mark.parametrize("answer, said", [(2.0, "too small"), (2.4, "too large"), ((1, 2), "give one number")])
def test_a_wrong_answer_that_is_not_typical(answer, said):
    assert said in repr(check("ex-1-1", answer))


# --- judges -------------------------------------------------------------------------------------------------------


def an_exercise(judge, *mistakes):
    return Exercise("ex-9-9", judge, ("one", "two"), "answer = 1", "because", mistakes)


def test_several_numbers_name_the_one_that_is_wrong():
    exercise = an_exercise(equals(lambda notebook: (1.0, notebook.x), within=(0.1, 0.01)))
    assert exercise.check((1.05, 2.0), {"x": 2.0}).status == "correct"
    assert exercise.check((1.05, 2.05), {"x": 2.0}).why == "number 2 of the 2 is too large"
    assert exercise.check([0.5, 2.0], {"x": 2.0}).why == "number 1 of the 2 is too small"
    assert exercise.check(1.0, {"x": 2.0}).why == "that is a float; give 2 numbers, as a tuple"
    assert exercise.check((1, 2), {}).why == "`x` does not exist yet; run the cells above first"


def test_a_right_answer_is_right_even_where_a_typical_mistake_gives_the_same():
    exercise = an_exercise(equals(always(1.0), within=0.1), (always(1.05), "wrong"))
    assert exercise.check(1.0, {}).status == "correct"
    with pytest.raises(AssertionError, match=r"ex-9-9: 1.05 is correct"):
        exercise.prove({})


def test_prove_finds_a_message_that_is_not_given():
    with pytest.raises(AssertionError, match="gets 'the number is too large', not 'another'"):
        an_exercise(lambda answer, notebook, exercise: "the number is too large", (always(5), "another")).prove({})
    with pytest.raises(AssertionError, match="no typical wrong answer"):
        an_exercise(equals(always(1.0), within=0.1)).prove({})


def test_texts():
    exercise = an_exercise(is_text("numpy", otherwise="no"), (always("scipy"), "not that one"))
    assert exercise.check("  NumPy ", {}).status == "correct"
    assert exercise.check("SciPy", {}).why == "not that one" and exercise.check("x", {}).why == "no"
    assert exercise.check(3, {}).why == "that is an int; give a text, in quotes"


def test_an_array_of_another_shape_than_a_typical_mistake():
    exercise = an_exercise(equals(always(1.0), within=0.1), (always(np.ones((2, 3))), "that is the whole array"))
    assert exercise.check(np.ones((2, 3)), {}).why == "that is the whole array"
    assert exercise.check(np.ones(3), {}).why == "that is an ndarray of 3; give one number"


def test_functions():
    exercise = an_exercise(is_function(lambda function: "" if function(2) == 4 else "2 should give 4"))
    assert exercise.check(lambda x: x * x, {}).status == "correct"
    assert exercise.check(lambda x: x, {}).why == "2 should give 4"
    assert exercise.check(4, {}).why == "that is an int; give the function itself, without calling it"
    assert exercise.check(lambda: 0, {}).why.startswith("the answer cannot be used (TypeError: ")


@pytest.mark.parametrize(
    "value, text",
    [
        (1, "an int"),
        (1.0, "a float"),
        ("", "a str"),
        (np.zeros(1), "an ndarray"),
        (np.uint8(1), "a uint8"),
        (AlstmError("file", "problem", "remedy"), "an AlstmError"),
        (UnicodeError(), "a UnicodeError"),
        (UnboundLocalError(), "an UnboundLocalError"),
        (None, "a NoneType"),
    ],
)
def test_a_type_has_its_article(value, text):
    assert a_type(value) == text


def test_numbers():
    assert numbers(2, 1) == [2.0] and numbers([[1], [2]], 2) == [1.0, 2.0]
    with pytest.raises(NotYet, match=r"^not every element is a number; give 2 numbers, as a tuple"):
        numbers([1, "x"], 2)
    for answer, what in [("2", "a str"), ([1, 2, 3], "a list of 3"), ((1,), "a tuple of 1"), ({1: 2}, "a dict")]:
        with pytest.raises(NotYet, match=rf"^that is {what}; give 2 numbers, as a tuple"):
            numbers(answer, 2)


def test_a_boolean_is_not_a_number():
    assert check("ex-6-1", True, {"predictions": [{"labels": [{"score": 0.1}]}]}).status == "not yet"


# --- check, hint, solution ----------------------------------------------------------------------------------------


def test_an_untouched_stub_is_not_attempted():
    verdict = check("ex-1-1", ...)
    assert verdict.status == "not attempted"
    assert repr(verdict) == ('ex-1-1: not attempted. hint("ex-1-1") gives a hint, solution("ex-1-1") comes last')


def test_check_sees_the_variables_of_its_caller():
    """As in a notebook, where variables are the globals of a cell."""
    space = {"check": check, "__name__": "__main__", "predictions": [{"labels": [{"score": 0.1}]}] * 3}
    exec("found = check('ex-6-1', 3)", space)  # noqa: S102
    found = space["found"]
    assert isinstance(found, Verdict) and found.status == "correct"


@pytest.mark.parametrize("name", ["ex-1-9", "ex-10-1", "1-1", "", "ex-x-1", None])
def test_an_unknown_exercise(name):
    with pytest.raises((AlstmError, AttributeError)):
        check(name, 1)


def test_strict_mode_stops_a_notebook_at_any_answer_that_is_not_correct(monkeypatch):
    monkeypatch.setenv("ALSTM_STRICT", "1")
    assert check("ex-1-1", 2.2).status == "correct"
    for answer in (..., 3.0):
        with pytest.raises(AssertionError, match="ex-1-1"):
            check("ex-1-1", answer)


def test_hints_come_one_at_a_time_and_the_solution_last():
    steps = find("ex-1-1").hints
    assert '3 hints are left: hint("ex-1-1")' in solution("ex-1-1")
    for number, text in enumerate(steps, 1):
        assert hint("ex-1-1") == f"hint {number} of {len(steps)}: {text}"
    assert hint("ex-1-1") == f"hint 3 of 3: {steps[-1]}"
    assert solution("ex-1-1").startswith("import math\n\nanswer = math.log(0.9 / 0.1)")
    assert repr(solution("ex-1-1")) == solution("ex-1-1")  # a notebook shows lines, not a quoted text


def test_one_hint_is_left():
    for _ in find("ex-1-1").hints[1:]:
        hint("ex-1-1")
    assert solution("ex-1-1") == '1 hint is left: hint("ex-1-1"). Or solution("ex-1-1", now=True)'


def test_the_solution_at_once_or_after_a_correct_answer():
    assert "math.log" in solution("ex-1-1", now=True)
    check("ex-1-2", chapter_01.num_parameters(512))
    assert "sum(count(H=512).values())" in solution("ex-1-2")


# --- progress -----------------------------------------------------------------------------------------------------


def test_progress_is_kept(own_progress):
    check("ex-1-1", ...)
    assert not own_progress.exists() or json.loads(own_progress.read_text("utf-8")) == {}
    check("ex-1-1", 3.0)
    hint("ex-1-1")
    check("ex-1-1", 2.2)
    check("ex-1-1", 4.0)  # an exercise that was once correct stays so
    rows = json.loads(own_progress.read_text("utf-8"))
    assert rows == {"ex-1-1": {"status": "correct", "attempts": 3, "hints": 1}}
    assert (
        ExerciseProgress.load().status("ex-1-1") == "correct"
        and ExerciseProgress.load().status("ex-1-2") == "not attempted"
    )


GOOD = {"status": "not yet", "attempts": 1, "hints": 0}
DAMAGED = [{**GOOD, "status": "corrext"}, {**GOOD, "status": []}, {**GOOD, "attempts": "1"}, {"status": "correct"}, 1]
DAMAGED_FILES = [json.dumps({"ex-1-1": row, "ex-1-2": GOOD}) for row in DAMAGED]


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\xff", "[" * 100_000, *DAMAGED_FILES])
def test_of_a_damaged_progress_file_counts_what_can_be_read(own_progress, content):
    own_progress.write_text(content, encoding="latin-1")
    assert ExerciseProgress.load().status("ex-1-1") == "not attempted"
    with pytest.warns(UserWarning, match="damaged; what can be read counts, and it is kept as .*json.damaged"):
        assert check("ex-1-1", 2.2).status == "correct"
    assert ExerciseProgress.load().status("ex-1-1") == "correct"
    assert ("ex-1-2" in ExerciseProgress.load().rows) == (content in DAMAGED_FILES)
    aside = own_progress.with_name(f"{own_progress.name}.damaged")
    assert aside.read_text(encoding="latin-1") == content
    assert {path.name for path in own_progress.parent.iterdir()} == {own_progress.name, aside.name}


ANSWERS = """
import sys
from alstm_helpers.course.exercises import check, hint
for _ in range(30):
    check(sys.argv[1], 0.1, {})
hint(sys.argv[1])
"""


def test_two_notebooks_at_once_lose_no_answer(own_progress):
    names = ["ex-1-1", "ex-1-1", "ex-1-2"]
    runs = [subprocess.Popen([sys.executable, "-c", ANSWERS, name]) for name in names]
    assert [run.wait(timeout=120) for run in runs] == [0, 0, 0]
    rows = ExerciseProgress.load().rows
    assert {name: row["attempts"] for name, row in rows.items()} == {"ex-1-1": 60, "ex-1-2": 30}
    assert {name: row["hints"] for name, row in rows.items()} == {"ex-1-1": 2, "ex-1-2": 1}


def test_exercises_work_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ALSTM_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert check("ex-1-1", 2.2).status == "correct" and hint("ex-1-1").startswith("hint 1")


def test_progress_is_in_the_clone(monkeypatch):
    monkeypatch.delenv("ALSTM_PROGRESS")
    assert progress_file() == Path(__file__).resolve().parents[2] / "data" / "progress.json"


# --- answers in notebooks -----------------------------------------------------------------------------------------


def test_with_answers_proves_and_answers_each_exercise():
    notebook = nbformat.read(notebooks_of(1)[0], as_version=4)
    before = nbformat.writes(notebook)
    changed = with_answers(notebook)
    assert nbformat.writes(notebook) == before
    ids = [cell.id for cell in changed.cells]
    for exercise in exercises_of(1):
        place = ids.index(f"{exercise.name}-prove")
        assert changed.cells[place].source.endswith(f'prove("{exercise.name}")')
        assert ids[place + 1 : place + 3] == [f"{exercise.name}-answer", f"{exercise.name}-check"]
        assert changed.cells[place + 1].source == exercise.solution
    notes = instructor_notes()["01"]
    assert len(changed.cells) == len(notebook.cells) + 2 * len(exercises_of(1)) + len(notes)
    told = next(cell.source for cell in changed.cells if cell.id == "ex-1-1-told")
    assert all(message in told for _, message in find("ex-1-1").mistakes)
    nbformat.validate(changed)


def test_a_missing_variable_says_which_cells_to_run():
    assert Notebook({"x": 1}).x == 1
    with pytest.raises(NotYet, match="`y` does not exist yet; run the cells above first"):
        Notebook({"x": 1}).y  # noqa: B018
