"""Exercises: any wrong answer gets a reason; hints come before solutions; nothing leaves the machine.

``alstm course --answers`` checks in the notebooks themselves that every model answer is correct and that every typical
wrong answer gets its own message.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest

from alstm_helpers.config import Config, load_config
from alstm_helpers.course.exercises import (
    CHAPTERS,
    attempts,
    chapter_01,
    chapter_05,
    check,
    exercises_of,
    find,
    hint,
    prove,
    solution,
)
from alstm_helpers.course.exercises.answers import NotYet, a_type, fault_of_number, first_fault, numbers
from alstm_helpers.course.exercises.core import Exercise, Notebook, Verdict, always, equals, is_function, is_text
from alstm_helpers.course.exercises.progress import ExerciseProgress, progress_file
from alstm_helpers.course.exercises.trainings import a_training
from alstm_helpers.course.variants import instructor_notes, with_answers
from alstm_helpers.data.flashdigits import Event
from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.paths import course_files
from alstm_helpers.tfrecord import Video

COURSE = course_files()
NOTEBOOKS = sorted((COURSE / "notebooks").glob("*.ipynb"))
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
    assert sorted(name for name in ids if re.fullmatch(r"ex-\d+-\d", name)) == names and len(names) >= 3
    for name in names:
        place = ids.index(name)
        text, stub, judged = cells[place : place + 3]
        assert ids[place + 1 : place + 3] == [f"{name}-answer", f"{name}-check"]
        assert "`answer" in text.source, "the text says what answer should be"
        assert stub.source == "answer = ...  # your answer"
        assert judged.source == f'check("{name}", answer)'


@pytest.mark.parametrize("exercise", EVERY, ids=[exercise.name for exercise in EVERY])
def test_an_exercise_is_whole(exercise):
    assert len(exercise.hints) >= 2 and exercise.note
    assert "answer = " in exercise.solution
    compile(exercise.solution, exercise.name, "exec")
    messages = [message for _, message in exercise.mistakes]
    assert all("\n" not in message for message in messages)


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


@pytest.mark.parametrize("exercise", EVERY, ids=[exercise.name for exercise in EVERY])
def test_an_array_without_dimensions_is_judged_as_its_value(exercise):
    for value in (3.5, "hear 3"):
        assert exercise.check(np.array(value), {}) == exercise.check(value, {})


def test_an_array_without_dimensions_can_be_right():
    assert find("ex-4-2").check(np.array(1.0), {}).status == "correct"


# --- both directions, in stand-ins for the notebooks --------------------------------------------------------------

RNG = np.random.default_rng(0)
GALLERY = ["ex-1-5", "ex-3-6", "ex-4-6", "ex-5-4", "ex-6-4"]


def gap_of(scores, truth):
    metrics = YouTube8MMetrics(scores.shape[1])
    metrics.update(scores, truth)
    return metrics.result()["gap"]


def padding_share(parts, longest=0):
    return float(1 - sum(map(np.sum, parts)) / sum(len(part) * max(longest, part.max()) for part in parts))


def precision_recall_f1(scores, truth, threshold):
    said = scores >= threshold
    right = (said & truth).sum()
    return right / max(said.sum(), 1), right / truth.sum(), 0.0


def count_parameters(model):
    E, H, (F1, F2) = model.embedding_size, model.lstm_size, model.fc_sizes
    return {"embedding": 1152 * E, "lstm": 16 * H * (E + H), "fc": 4 * H * F1 + F1 * F2}


def a_lab(**_):
    recipe = Config()
    return recipe.model_copy(update={"TRAIN": recipe.TRAIN.model_copy(update={"learning_rate": 0.002, **SMALL})})


SMALL = {"batch_size": 16, "warmup_iters": 50, "schedule": "cosine"}
TRUTH = RNG.random((60, 5)) < 0.4
SCORES = np.clip(RNG.random((60, 5)) * 0.6 + 0.4 * TRUTH, 0, 1)
TRUTH[:2], SCORES[:2] = True, 0.999  # so that a threshold reaches a precision of 0.95
CLIP = SimpleNamespace(events=(Event(3, 5, 2), Event(10, 12, 14)))  # see 2, hear 4
WEIGHTS = np.eye(20) * 0.5 + 0.01  # row t has its highest bar in second t
BATCH = SimpleNamespace(ids=[b"a", b"b"], rgb=np.zeros((2, 7, 1024)), audio=None)
VIDEOS = [Video(f"v{n}".encode(), (n,), np.full((5, 1024), n, "uint8"), np.full((5, 128), n, "uint8")) for n in (1, 2)]
STAND_INS: dict[str, dict[str, Any]] = {
    "1-2": {"count": lambda H: {"all": chapter_01.num_parameters(H)}},
    "1-4": {"look_rgb": WEIGHTS[[4]], "look_audio": WEIGHTS[[10]], "clip": CLIP},
    "2-1": {"x": np.eye(3), "w": np.full((3, 2), 0.5), "t": np.zeros((3, 2))},
    "2-3": {"measured": {"recommended": (2, 50.0, 1.0, 1.0), "OpenMP on all cores": (2, 60.0, 1.0, 1.0)}},
    "3-2": {"videos": VIDEOS, "raw": bytes(11_900)},
    "3-4": {
        "videos": VIDEOS,
        "dicts": [{"video": v.name, "feature": v.rgb, "audio": v.audio, "label": list(v.labels)} for v in VIDEOS],
    },
    "4-1": {"mixed": RNG.integers(20, 61, 640), "padding_share": padding_share},
    "4-5": {
        "lab": SimpleNamespace(config=lambda TRAIN__epoch: SimpleNamespace(TRAIN=SimpleNamespace(epoch=TRAIN__epoch)))
    },
    "5": {"val_scores": SCORES, "val_truth": TRUTH, "num_classes": 5, "gap_of": gap_of},
    "6-1": {
        "predictions": [{"labels": [{"score": high}, {"score": 0.1}]} for high in (0.9, 0.4, 0.3, 0.6, 0.7, 0.8, 0.8)]
    },
    "6-2": {
        **{"val_scores": SCORES, "val_truth": TRUTH, "half": np.arange(60) % 2 == 0},
        **{"grid": np.arange(0.05, 1.0, 0.05), "precision_recall_f1": precision_recall_f1},
    },
    "6-3": {
        **{"batch": BATCH, "trainer_scores": np.array([[0.25, 0.5]]), "error": np.array([0.1, 0.2])},
        "predictor": lambda rgb, audio, full: SimpleNamespace(scores=np.array([[0.25 + full[0] / 100, 0.5]])),
    },
    "7-2": {
        **{"configs": COURSE / "configs", "count_parameters": count_parameters, "load_config": load_config},
        "recipe": load_config(COURSE / "configs" / "attention_lstm.yaml"),
    },
    "7-3": {"trained": a_training(Config(), warmup_iters=20), "own": Config()},
    "8": {"lab": SimpleNamespace(config=a_lab)},
    "9-3": {
        **{"made": {"clip07": (CLIP, {})}, "chosen": "clip07"},
        "report_seen": {
            "over_time": [0.1] * 7 + [0.9] * 9 + [0.2] * 4,
            "labels": [{"index": 14}],
            "attention": {"rgb": WEIGHTS[4], "audio": WEIGHTS[17]},
        },
    },
}
STAND_INS["2-1"]["by_hand"] = 2 * np.tanh(STAND_INS["2-1"]["w"]) * (1 - np.tanh(STAND_INS["2-1"]["w"]) ** 2)


@pytest.fixture
def variables(exercise, monkeypatch):
    """The variables of a stand-in for the notebook."""
    scores = lambda notebook, true_only=True: (0.9, 0.8) if true_only else (0.2, 0.1)  # noqa: E731
    monkeypatch.setattr(chapter_01, "mean_scores", scores)
    schedule = SimpleNamespace(
        learning_rate_at=lambda step, per_epoch, section: 2e-3 * (1.02 - step / 100 / section.epoch)
    )
    monkeypatch.setitem(sys.modules, "alstm_helpers.training.train", schedule)  # the real one imports Paddle
    number = exercise.name.removeprefix("ex-")
    return {**STAND_INS.get(number, STAND_INS.get(number[0], {}))}


@pytest.mark.parametrize("exercise", EVERY, ids=[exercise.name for exercise in EVERY])
def test_wrong_answers_get_their_message_and_right_ones_are_accepted(exercise, variables):
    said = f"{len(exercise.mistakes)} wrong answers get their own message; {len(exercise.right)} other right ones"
    assert prove(exercise.name, variables) == f"{exercise.name}: {said} are accepted"


@pytest.mark.parametrize(
    "change",
    [
        lambda dicts: [{key: value for key, value in dicts[0].items() if key != "audio"}, *dicts[1:]],
        lambda dicts: [{"label": [7]}, "no dict", *dicts],
        lambda dicts: [{key.encode(): value for key, value in row.items()} for row in dicts],
        lambda dicts: dicts[0],
    ],
)
def test_a_video_is_found_although_its_dict_was_changed(change):
    """As the text asks: one array is left out afterwards."""
    dicts = change(STAND_INS["3-4"]["dicts"])
    assert check("ex-3-4", VIDEOS[:1], {"dicts": dicts}).status == "correct"
    wrong = [VIDEOS[0]._replace(rgb=VIDEOS[1].rgb)]
    assert check("ex-3-4", wrong, {"dicts": dicts}).why == "its arrays are not those of the dict"


# These train, or need the notebook's own data: `alstm course --answers` runs their model answers.
IN_NOTEBOOKS = {
    "ex-1-3",
    "ex-1-4",
    "ex-2-3",
    "ex-3-4",
    "ex-7-1",
    "ex-7-3",
    "ex-8-1",
    "ex-8-3",
    "ex-10-1",
    "ex-10-2",
    "ex-10-3",
}
MODEL_ANSWERS = [exercise for exercise in EVERY if exercise.name not in IN_NOTEBOOKS]


@pytest.mark.parametrize("exercise", MODEL_ANSWERS, ids=[exercise.name for exercise in MODEL_ANSWERS])
def test_the_model_answer_is_right(exercise, variables):
    space = {"np": np, "csv": csv, "hashlib": hashlib, "struct": struct, "Path": Path, **variables}
    space["YouTube8MMetrics"] = YouTube8MMetrics
    exec(compile(exercise.solution, exercise.name, "exec"), space)  # noqa: S102 - our own text
    assert exercise.check(space["answer"], variables) == Verdict(exercise.name, "correct", exercise.note)


@pytest.mark.parametrize("name", GALLERY)
def test_the_broken_function_of_the_gallery_is_not_judged_correct(name):
    """As it is in the notebook, in the cell that shows the symptom."""
    notebook = nbformat.read(notebooks_of(int(name[3]))[0], as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "gallery-broken")
    broken = re.search(r"^(def broken_\w+\(.*?\n)\n\n", cell.source, re.DOTALL | re.MULTILINE)
    assert broken
    space: dict[str, object] = {"np": np, "csv": csv, "hashlib": hashlib}
    exec(broken[1], space)  # noqa: S102
    space["gap_of"] = chapter_05.gap
    function = next(value for key, value in space.items() if key.startswith("broken_"))
    verdict = find(name).check(function, {})
    assert verdict.status == "not yet" and "cannot be used" not in verdict.why


# --- judges -------------------------------------------------------------------------------------------------------


def an_exercise(judge, *mistakes, right=()):
    return Exercise("ex-9-9", judge, ("one", "two"), "answer = 1", "because", mistakes, right)


def test_several_numbers_name_the_one_that_is_wrong():
    exercise = an_exercise(equals(lambda notebook: (1.0, notebook.x), within=(0.1, 0.01)))
    assert exercise.check((1.05, 2.0), {"x": 2.0}).status == "correct"
    assert exercise.check((1.05, 2.5), {"x": 2.0}).why == "the second number is too large"
    assert exercise.check([0.5, 2.0], {"x": 2.0}).why == "the first number is too small"
    assert exercise.check([2.0, 1.0], {"x": 2.0}).why == "the numbers are right, but in the wrong order"
    assert exercise.check(1.0, {"x": 2.0}).why == "that is a float; give 2 numbers, as a tuple"
    assert exercise.check((1, 2), {}).why == "`x` does not exist yet; run the cells above first"


@pytest.mark.parametrize(
    "found, right, said",
    [
        (25, 0.25, "looks like a percentage; give the share, such as 0.25 for 25 %"),
        (31, 0.314, "looks like a percentage; give the share, such as 0.25 for 25 %"),
        (53.5, 53_512_345, "looks like millions; give the number itself, such as 1_500_000 for 1.5 million"),
        (53_512, 53_512_345, "looks like thousands; give the number itself, such as 1_500 for 1.5 thousand"),
        (1130, 1.13, "is 1000 times too large; check its unit"),
        (0.00113, 1.13, "is 1000 times too small; check its unit"),
        (-1.13, 1.13, "has the wrong sign"),
        (0.92, 0.91667, "is rounded too much; give more digits"),
        (0.91, 0.91667, "is rounded too much; give more digits"),
        (-1.23, -1.239, "is rounded too much; give more digits"),
        (81_000, 81_020, "is rounded too much; give more digits"),
        (0.905, 0.91667, "is too small"),
        (1.0, 0.96, "is rounded too much; give more digits"),
        (3, 4, "is too small"),
        (0, 4, "is too small"),
        (1, float("nan"), "is too large"),
    ],
)
def test_a_wrong_number_is_told_by_unit_sign_rounding_or_direction(found, right, said):
    assert fault_of_number(found, right, 1e-4) == f"the number {said}"
    assert first_fault([5.0, found], [5.0, right], [1e-4] * 2) == f"the second number {said}"


def test_a_right_answer_is_right_even_where_a_typical_mistake_gives_the_same():
    exercise = an_exercise(equals(always(1.0), within=0.1), (always(1.05), "wrong"), right=(always(1.0),))
    assert exercise.check(1.0, {}).status == "correct"
    with pytest.raises(AssertionError, match=r"ex-9-9: 1.05 is correct"):
        exercise.prove({})


def test_prove_finds_what_is_misjudged():
    judge = lambda answer, notebook, exercise: "" if answer == 1 else "the number is too large"  # noqa: E731
    with pytest.raises(AssertionError, match="gets 'the number is too large'"):
        an_exercise(judge, (always(5), "another"), right=(always(1),)).prove({})
    with pytest.raises(AssertionError, match="ex-9-9: 2 is refused: the number is too large"):
        an_exercise(judge, (always(5), "the … is too …"), right=(always(2),)).prove({})
    with pytest.raises(AssertionError, match="no wrong answer to try"):
        an_exercise(judge, right=(always(1),)).prove({})


def test_texts():
    exercise = an_exercise(is_text("numpy", otherwise="no"), (always("scipy"), "not that one"))
    assert exercise.check("  NumPy ", {}).status == "correct"
    assert exercise.check("SciPy", {}).why == "not that one" and exercise.check("x", {}).why == "no"
    assert exercise.check(3, {}).why == "that is an int; give a text, in quotes"


def test_an_array_of_another_shape_than_a_typical_mistake():
    exercise = an_exercise(equals(always(1.0), within=0.1), (always(np.ones((2, 3))), "that is the whole array"))
    assert exercise.check(np.ones((2, 3)), {}).why == "that is the whole array"
    assert exercise.check(np.ones(3), {}).why == "that is an ndarray of 3; give one number"


# --- functions that a learner has written -------------------------------------------------------------------------


def squares_two(function, rng):
    return "" if function([2]) == 4 else "2 should give 4"


def damages(numbers):
    return numbers.pop() ** 2


def divides(numbers):
    return numbers[0] / 0


async def waits(numbers):
    return 4


def yields(numbers):
    yield 4


@pytest.mark.parametrize(
    "answer, why",
    [
        (lambda numbers: numbers[0] * 2, ""),
        (lambda numbers: numbers[0], "2 should give 4"),
        (lambda numbers: None, "it returns None; does it end with return?"),
        (damages, "it changes the data that it is given; work on a copy"),
        (divides, "it raises a ZeroDivisionError in line …, `return numbers[0] / 0`: division by zero"),
        (lambda: 0, "it raises a TypeError: <lambda>() takes 0 positional arguments but 1 was given"),
        (sys.exit, "it raises a SystemExit: [2]"),
        (yields, "it returns a generator; return the values themselves, as list(…) gives them"),
        (waits, "that is an async function; define it with def alone"),
        (lambda numbers: waits(numbers), "2 should give 4"),
        (int, "that is a class; give a function"),
        (4, "that is an int; give the function itself, without calling it"),
        (None, "that is None; give the function itself, without calling it"),
    ],
)
def test_functions(answer, why):
    verdict = an_exercise(is_function(squares_two)).check(answer, {})
    line = divides.__code__.co_firstlineno + 1
    assert verdict.why == (why.replace("…,", f"{line},") if why else "because")


def endless(numbers):
    while True:
        with contextlib.suppress(Exception):
            numbers[0] += 1


def stubborn(numbers):
    while True:
        try:
            numbers[0] += 1
        except:  # noqa: E722 - as learners write it
            numbers[0] = 0


def sleeps(numbers):
    time.sleep(0.3)  # cannot be interrupted


@pytest.mark.parametrize("function", [endless, stubborn, sleeps])
@pytest.mark.parametrize("inside_a_thread", [False, True])
def test_a_function_that_never_returns(monkeypatch, function, inside_a_thread):
    """On the main thread, where IPython runs cells, and on another; a signal would reach only the first."""
    monkeypatch.setattr(attempts, "SECONDS", 0.05)
    threads = set(threading.enumerate())
    found = []

    def check_it():
        found.append(an_exercise(is_function(squares_two)).check(function, {}).why)

    if inside_a_thread:
        thread = threading.Thread(target=check_it)
        thread.start()
        thread.join()
    else:
        check_it()
    assert found == ["it did not finish within 0.05 seconds; is there a loop that never ends?"]
    assert function is sleeps or set(threading.enumerate()) <= threads, "its thread has ended"


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
        (None, "None"),
        (int, "a class"),
        (struct.error(), "a struct.error"),
    ],
)
def test_a_type_has_its_article(value, text):
    assert a_type(value) == text


def test_numbers():
    assert numbers(2, 1) == [2.0] and numbers([[1], [2]], 2) == [1.0, 2.0]
    with pytest.raises(NotYet, match=r"^not every element is a number; give 2 numbers, as a tuple"):
        numbers([1, "x"], 2)
    with pytest.raises(NotYet, match=r"^that is a str; give one number, without quotes$"):
        numbers("2", 1)
    for answer, what in [([1, 2, 3], "a list of 3"), ((1,), "a tuple of 1"), ({1: 2}, "a dict")]:
        with pytest.raises(NotYet, match=rf"^that is {what}; give 2 numbers, as a tuple"):
            numbers(answer, 2)


@pytest.mark.parametrize("answer", [True, np.True_, np.array([True]), "1"])
def test_a_boolean_or_a_text_is_not_a_number(answer):
    assert check("ex-6-1", answer, {"predictions": [{"labels": [{"score": 0.1}]}]}).status == "not yet"


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


@pytest.mark.parametrize("name", ["ex-1-9", "ex-11-1", "1-1", "", "ex-x-1", None])
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


def test_progress_that_cannot_be_read_now_is_left_alone(own_progress, monkeypatch):
    """As after a run as root: without it exercises work, and what it holds is not replaced."""
    check("ex-1-1", 2.2)
    before, read = own_progress.read_bytes(), Path.read_text

    def refuse(path, **settings):
        if path == own_progress:
            raise PermissionError(13, "Permission denied")
        return read(path, **settings)

    monkeypatch.setattr(Path, "read_text", refuse)
    check("ex-1-1", 2.2)
    assert own_progress.read_bytes() == before and ExerciseProgress.load().status("ex-1-1") == "not attempted"


@pytest.mark.posix
def test_progress_that_is_no_file_stays_as_it_is(own_progress):
    """ALSTM_PROGRESS=/dev/null, for one, which root could replace."""
    os.mkfifo(own_progress)
    check("ex-1-1", 2.2)
    assert own_progress.is_fifo() and len(list(own_progress.parent.iterdir())) == 1


def test_an_exercise_without_its_name_is_told():
    with pytest.raises(AlstmError, match=r"2\.2: no such exercise; name it as its heading does"):
        check(2.2)  # type: ignore[arg-type]


def test_two_notebooks_at_once_lose_no_answer(own_progress):
    names = ["ex-1-1", "ex-1-2"]
    runs = [subprocess.Popen([sys.executable, "-c", ANSWERS, name]) for name in names]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    rows = ExerciseProgress.load().rows
    assert {name: row["attempts"] for name, row in rows.items()} == {"ex-1-1": 30, "ex-1-2": 30}
    assert {name: row["hints"] for name, row in rows.items()} == {"ex-1-1": 1, "ex-1-2": 1}


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
