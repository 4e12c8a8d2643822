"""Drawings: the files in figures/ are what the code draws, byte for byte, and says what it should."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

from alstm_helpers.figures import drawings
from alstm_helpers.figures.drawings import FIGURES, attention_sum, gap_area, to_svg
from alstm_helpers.figures.plots import lines
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.paths import course_files


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_the_file_is_what_the_code_draws(name):
    """After a change: ``python -m alstm_helpers.figures.drawings``."""
    assert (course_files() / "figures" / f"{name}.svg").read_bytes() == to_svg(FIGURES[name]())


def test_every_svg_has_its_code():
    assert {path.stem for path in (course_files() / "figures").glob("*.svg")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_texts_stay_on_the_sheet_and_off_each_other(name):
    """A text that leaves the sheet is cut off; two that overlap cannot be read."""
    figure = FIGURES[name]()
    figure.canvas.draw()
    sheet = figure.bbox
    boxes = [
        text.get_window_extent()
        for axes in figure.axes
        for text in [*axes.texts, axes.title, *(axes.get_xticklabels() if axes.axison else [])]
        if text.get_text() and text.get_visible()
    ]
    assert boxes
    for box in boxes:
        assert box.x0 >= sheet.x0 - 1 and box.x1 <= sheet.x1 + 1 and box.y0 >= sheet.y0 - 1 and box.y1 <= sheet.y1 + 1
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_the_weighted_sum_is_the_sum():
    figure = attention_sum([[1.0, -2.0], [3.0, 0.5]], [0.25, 0.75])
    assert texts(figure)[-2:] == ["2.50", "-0.12"]  # the last panel: 0.25 + 2.25, -0.5 + 0.375


def test_the_area_is_gap():
    scores = np.array([[0.9, 0.2, 0.6], [0.5, 0.8, 0.1]])
    labels = np.array([[1, 0, 0], [1, 1, 0]])
    metrics = YouTube8MMetrics(num_classes=3, top_k=3)
    metrics.update(scores, labels)
    order = np.argsort(-scores, axis=None)
    figure = gap_area([bool(hit) for hit in labels.ravel()[order]], 3)
    assert f"{metrics.result()['gap']:.3f}" in figure.axes[0].get_title()


def test_what_is_not_found_leaves_an_empty_strip():
    figure = gap_area([True, False], 3, ["cat", "dog"])
    assert texts(figure) == ["1/1", "not\nfound", "not\nfound"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["cat\nrank 1", "–", "–"]
    assert "0.333" in figure.axes[0].get_title()


def test_the_style_does_not_leak():
    before = plt.rcParams["axes.grid"]
    drawings.network()
    assert plt.rcParams["axes.grid"] == before


def test_chinese_is_drawn_and_no_box():
    """With the fonts that come along, whatever the system has."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns of a character that no font has
        figure = lines(
            {"注意力池化，✓": ([1, 2], [0.1, 0.9])}, xlabel="轮次", ylabel="损失（每个视频）", title="“鼬”与 − × Δ"
        )
        figure.canvas.draw()
