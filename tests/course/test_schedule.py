"""The schedule of the course: what runs side by side, in which order, and what determined the length of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from alstm_helpers.course import schedule
from alstm_helpers.course.runner import find_notebooks
from alstm_helpers.course.schedule import (
    ALONE,
    NEED_MODEL,
    TRAINER,
    Span,
    critical_path,
    in_turn,
    measured_seconds,
    plan,
)
from alstm_helpers.paths import course_files

SECONDS = {
    **{"01_model": 40, "00_preflight": 90, "03_data": 20, TRAINER: 30},
    **{"05_evaluation": 15, "06_inference": 14, "08_x": 35, "09_own_videos": 70},
}


def stems(paths):
    return [path.stem for path in paths]


def test_the_trainer_then_the_longest_and_alone_those_that_compare_speeds():
    found = plan([Path(f"{name}.ipynb") for name in [*SECONDS, "10_new"]], SECONDS)
    assert stems(found.together) == [
        TRAINER,
        "10_new",
        "09_own_videos",
        "01_model",
        "08_x",
        "03_data",
        "05_evaluation",
        "06_inference",
    ]
    assert stems(found.alone) == ["00_preflight"]


@pytest.mark.parametrize(
    "due, expected",
    [
        ([False] * 5, [TRAINER, "09_own_videos", "01_model", "05_evaluation", "07_x"]),
        ([True, True, False, False, False], [TRAINER, "01_model", "09_own_videos", "05_evaluation", "07_x"]),
        ([True] * 5, [TRAINER, "01_model", "07_x", "09_own_videos", "05_evaluation"]),
    ],
)
def test_those_that_need_the_model_let_others_pass_while_it_is_due(due, expected):
    order = [Path(name) for name in (TRAINER, "09_own_videos", "01_model", "05_evaluation", "07_x")]
    answers = iter(due)
    assert stems(in_turn(order, lambda: next(answers))) == expected


def test_the_tables_name_the_courses_notebooks():
    """And just those need the model that ask for it."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in find_notebooks()}
    assert {name for name, text in sources.items() if "ensure_model()" in text} == NEED_MODEL
    assert [name for name, text in sources.items() if "mark_trained()" in text] == [TRAINER]
    assert set(sources) > ALONE


def test_every_notebook_has_been_measured(monkeypatch, tmp_path):
    assert set(measured_seconds()) == {path.stem for path in (course_files() / "notebooks").glob("[0-9]*.ipynb")}
    monkeypatch.setattr(schedule, "course_files", lambda: tmp_path)
    assert measured_seconds() == {}


TWO_CORES = [  # one core: 04, then 05, which fills its gap; the other: 01, 09, 02
    Span(TRAINER, 5, 50),
    Span("01_model", 5, 30),
    Span("09_own_videos", 35, 95, waited=True),
    Span("05_evaluation", 50.1, 70),
    Span("00_preflight", 95.2, 110),
]


@pytest.mark.parametrize(
    "spans, expected",
    [
        (TWO_CORES, {"data": 4, TRAINER: 30, "09_own_videos": 60.2, "00_preflight": 15.8}),
        (TWO_CORES[:2], {"data": 4, TRAINER: 106}),
        ([Span("01_model", 5, 30), Span("03_data", 31, 40)], {"data": 4, "01_model": 26, "03_data": 80}),
        (
            [Span("03_data", 31, 40), Span("05_evaluation", 5, 8, waited=True)],
            {"data": 4, "05_evaluation": 26, "03_data": 80},
        ),
    ],
)
def test_the_critical_path(spans, expected):
    path = critical_path(spans, 1, 111)
    assert {step["name"]: step["seconds"] for step in path} == expected
    assert sum(step["seconds"] for step in path) == pytest.approx(110)
