"""Plots: files with the same bytes each time, and what a heat map and the pictures of a video say."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.container import BarContainer

from alstm_helpers.figures import plots
from alstm_helpers.figures.parts import Explanation, Streams, Timeline


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def an_explanation() -> Explanation:
    """Return an explanation of a video of 4 seconds."""
    weights: Streams = {"rgb": [0.25] * 4, "audio": [1.0, 0.0, 0.0, 0.0]}
    return {
        "video": "v1",
        "seconds": 4,
        "attention": weights,
        "labels": [
            {"index": 3, "name": "cat", "score": 0.75, "rgb": [0.5] * 4, "audio": [-0.25] * 4},
            {"index": 7, "name": None, "score": 0.25, "rgb": [0.125] * 4, "audio": [0.0] * 4},
        ],
    }


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_save_png_writes_the_same_bytes_and_closes_the_figure(tmp_path):
    for name in "ab":
        figure = plots.bars({"one": 1.0, "two": 2.0}, ylabel="y", title="t")
        plots.save_png(figure, tmp_path / "new" / f"{name}.png")
        assert not plt.fignum_exists(figure.number)
    content = (tmp_path / "new" / "a.png").read_bytes()
    assert content == (tmp_path / "new" / "b.png").read_bytes() and b"Software" not in content


def test_ticks_of_a_heat_map():
    values = np.arange(6.0).reshape(2, 3)
    (axes, _) = plots.matrix(values, xlabel="x", ylabel="y", title="t", ticks=plots.Ticks(y=["a", "b"])).axes
    assert tick_labels(axes.yaxis) == ["a", "b"] and "a" not in tick_labels(axes.xaxis)
    (axes, _) = plots.matrix(values, xlabel="x", ylabel="y", title="t", ticks=plots.Ticks(["p", "q", "r"])).axes
    assert tick_labels(axes.xaxis) == ["p", "q", "r"]


def test_confusion_leaves_out_videos_that_have_both_classes():
    scores = np.array([[0.9, 0.4], [0.7, 0.6], [0.1, 0.8]])
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    (image,) = plots.confusion(scores, labels, ["a", "b"]).axes[0].images
    assert np.asarray(image.get_array()) == pytest.approx(np.array([[0.8, 0.4], [0.1, 0.7]]))


def test_contributions_have_one_scale_for_all_labels():
    attention, *labels = plots.contributions(an_explanation()).axes
    assert [axes.get_ylabel() for axes in labels] == ["cat\n0.75", "class 7\n0.25"]
    assert len({axes.get_ylim() for axes in labels}) == 1 and attention.get_ylim() != labels[0].get_ylim()
    rgb, audio = (bars for bars in labels[0].containers if isinstance(bars, BarContainer))
    assert [bar.get_height() for bar in rgb] == [0.5] * 4 and [bar.get_height() for bar in audio] == [-0.25] * 4


@pytest.mark.parametrize("text", ["\x1b[2J\u202e\n", r"$\frac{$", r"\$a$b$", "x" * 5000])
def test_any_id_and_any_name_can_be_drawn(tmp_path, text):
    """Not as a formula, without characters that fonts lack and terminals obey, and not across the whole wall."""
    report = an_explanation()
    report["video"] = report["labels"][0]["name"] = text
    timeline: Timeline = {**report, "window": 9, "over_time": [0.1, 0.9, 0.4, 0.2]}
    figures = plots.contributions(report), plots.timeline(timeline, [0, 3], np.zeros((2, 8, 8, 3), np.uint8))
    for figure in figures:
        plots.save_png(figure, tmp_path / "any.png", tight=True)
        assert max(plt.imread(tmp_path / "any.png").shape) < 2000  # pixels


def test_a_timeline_shows_the_score_around_each_second_and_of_the_whole_clip():
    report: Timeline = {**an_explanation(), "window": 9, "over_time": [0.1, 0.9, 0.4, 0.2]}
    figure = plots.timeline(report, [0, 3], np.zeros((2, 8, 8, 3), np.uint8))
    *_, score = figure.axes
    over_time, whole = score.lines
    assert np.array_equal(over_time.get_ydata(), [0.1, 0.9, 0.4, 0.2])
    assert np.array_equal(whole.get_ydata(), [0.75, 0.75])
    assert figure.axes[0].get_title(loc="left") == "v1: cat 0.75, 7 0.25"
