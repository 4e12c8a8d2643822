"""Plots: files with the same bytes each time, and what a heat map and the pictures of a video say."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.patches import Rectangle

from alstm_helpers.data.flashdigits import Event, Scene
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


@pytest.mark.parametrize("tight", [False, True])
def test_a_png_is_cropped_only_if_asked_for(tmp_path, tight):
    figure = plt.figure(figsize=(2, 1))
    figure.text(0.5, 0.5, "a")
    plots.save_png(figure, tmp_path / "a.png", tight=tight)
    assert (plt.imread(tmp_path / "a.png").shape[:2] == (110, 220)) is not tight  # 110 dots per inch


# --- curves -----------------------------------------------------------------------------------------------------


def test_lines_can_be_told_apart_with_and_without_colour():
    curves = {f"c{number}": ([1, 2, 3], [1.0, 2.0, number]) for number in range(5)}
    (axes,) = plots.lines(curves, xlabel="x", ylabel="y", title="t").axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), axes.get_yscale()) == ("x", "y", "t", "linear")
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [[1, 2, number] for number in range(5)]
    assert len({line.get_color() for line in axes.lines}) == len(set(plots.STYLES)) == 5
    assert len({line.get_linestyle() for line in axes.lines}) == 4  # Matplotlib names two of them --
    (legend,) = axes.figure.legends  # below the axes: inside, it would hide a curve
    assert axes.get_legend() is None and [text.get_text() for text in legend.get_texts()] == list(curves)


def test_a_single_line_has_no_legend_and_a_short_one_has_points():
    for count, marker in ((20, "o"), (21, "")):
        (axes,) = plots.lines({"a": (range(count), range(count))}, xlabel="", ylabel="", title="", log_y=True).axes
        assert axes.get_legend() is None and axes.lines[0].get_marker() == marker and axes.get_yscale() == "log"


@pytest.mark.parametrize(("x", "whole"), [([1, 2], True), ([1.0, 1.5], False)])
def test_there_is_no_epoch_one_and_a_half(x, whole):
    (axes,) = plots.lines({"a": ([1, 2], [0, 1]), "b": (x, [0, 1])}, xlabel="", ylabel="", title="").axes
    assert all(place.is_integer() for place in axes.get_xticks().tolist()) is whole


def test_precision_over_recall_by_hand():
    """Of four predictions, best first: right, wrong, right, wrong; one more true label was not predicted.

    The curve has a point at each that is right.
    """
    scores, hits = np.array([0.3, 0.9, 0.6, 0.1]), np.array([True, True, False, False])
    (axes,) = plots.precision_recall(scores, hits, 3).axes
    (line,) = axes.lines
    assert np.asarray(line.get_xdata()) == pytest.approx([0, 1 / 3, 2 / 3])
    assert np.asarray(line.get_ydata()) == pytest.approx([1, 1, 2 / 3])
    assert axes.get_title() == "GAP is the area: 0.556"  # (1 + 2 / 3) / 3
    assert axes.get_ylim() == (0, 1.02)


def test_precision_over_recall_where_no_prediction_is_right():
    (axes,) = plots.precision_recall(np.array([0.3, 0.9]), np.array([False, False]), 3).axes
    assert axes.get_title() == "GAP is the area: 0.000" and np.asarray(axes.lines[0].get_xdata()).tolist() == [0]


def test_precision_over_recall_of_many_predictions_has_at_most_2000_points():
    rng = np.random.default_rng(0)
    (axes,) = plots.precision_recall(rng.random(5000), rng.random(5000) < 0.5, 2500).axes
    recall = np.asarray(axes.lines[0].get_xdata())
    assert len(recall) == 2001 and recall[-1] == pytest.approx(1, abs=0.05)


# --- distributions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "scale"), [(101, "linear"), (102, "log")])
def test_ap_over_the_frequency_of_the_classes_that_occur(most, scale):
    (axes,) = plots.class_ap(np.array([0, 1, most]), np.array([0.0, 0.5, 1.0])).axes
    (points,) = axes.collections
    assert np.asarray(points.get_offsets()).tolist() == [[1, 0.5], [most, 1]]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [0.5, 0.5]
    assert axes.lines[0].get_label() == "mAP over all 3 classes: 0.500"
    assert axes.get_xscale() == scale


def test_scores_of_true_and_of_false_classes_are_counted_apart():
    scores, labels = np.array([[0.01, 0.99], [0.02, 0.5]]), np.array([[0, 1], [0, 0]])
    (axes,) = plots.score_distribution(scores, labels).axes
    false = [bar.get_height() for bar in axes.patches[:40] if isinstance(bar, Rectangle)]
    assert len(false) == 40 and (false[0], false[20], sum(false)) == (2, 1, 3)
    assert np.asarray(axes.patches[40].get_path().vertices)[:, 1].max() == 1  # one true class, as a step
    assert axes.get_yscale() == "log"


def test_bars_have_their_values():
    (axes,) = plots.bars({"a": 0.123456, "b": 2.0}, ylabel="y", title="t").axes
    assert [text.get_text() for text in axes.texts] == ["0.123", "2"] and tick_labels(axes.xaxis) == ["a", "b"]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2


def test_a_strip_of_frames_has_a_title_for_each():
    figure = plots.frame_strip(np.arange(128).reshape(2, 8, 8), ["a", "b"], title="t")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"] and figure.get_suptitle() == "t"
    assert [np.asarray(axes.images[0].get_array())[0, 0] for axes in figure.axes] == [0, 64]


# --- heat maps --------------------------------------------------------------------------------------------------


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


def test_confusion_of_a_class_without_videos_is_zero():
    (image,) = plots.confusion(np.array([[0.9, 0.4]]), np.array([[1, 0]]), ["a", "b"]).axes[0].images
    assert np.asarray(image.get_array()) == pytest.approx(np.array([[0.9, 0.4], [0, 0]]))


# --- videos -----------------------------------------------------------------------------------------------------


def test_attention_is_shaded_where_the_events_are():
    """Each is named; the padding is left out, and enlarged digits that would overlap stand side by side."""
    events = (Event(2, 4, 3), Event(3, 4, 5), Event(10, 11, 17))
    scene = Scene(np.zeros((32, 8, 8), np.uint8), np.zeros((32, 4), np.float32), events)
    weights = np.arange(40) / 40
    figure = plots.attention(scene, weights, weights[::-1], title="t")
    large, strip, *streams = figure.axes
    assert large.get_title() == "t" and np.asarray(strip.images[0].get_array()).shape == (10, 320)
    digits = [item for item in large.artists if isinstance(item, AnnotationBbox)]
    assert [(box.xy, box.xybox) for box in digits] == [((2.5, 0), (2.5, 0.55)), ((3, 0), (4.5, 0.55))]
    rows = (
        (weights, "see", ["see 3", "see 5"], [(1.5, 3.5), (2.5, 3.5)]),
        (weights[::-1], "hear", ["hear 7"], [(9.5, 10.5)]),
    )
    for axes, (values, verb, names, shaded) in zip(streams, rows, strict=True):
        (bars,) = axes.containers
        assert isinstance(bars, BarContainer) and [bar.get_height() for bar in bars] == values[:32].tolist()
        assert axes.get_ylabel() == f"weight\n({verb})" and [text.get_text() for text in axes.texts] == names
        spans = [patch for patch in axes.patches if patch not in bars.patches and isinstance(patch, Rectangle)]
        assert [(span.get_x(), span.get_x() + span.get_width()) for span in spans] == shaded
    assert [text.get_verticalalignment() for text in streams[0].texts] == [
        "bottom",
        "top",
    ]  # else the names would overlap
    assert figure.axes[-1].get_xlim() == (-0.5, 31.5)
    sounds = plots.attention(scene._replace(events=events[2:]), weights, weights, title="t")
    assert sounds.get_figheight() < figure.get_figheight() - 1  # no room is left for digits that are not there


def test_the_spectrogram_is_drawn_below_only_if_asked_for():
    """A tone is dark in its second and at its pitch."""
    sound = np.zeros((24, 4000), np.float32)
    sound[7] = np.sin(2 * np.pi * 1209 * np.arange(4000) / 4000)
    scene = Scene(np.zeros((24, 8, 8), np.uint8), sound, ())
    weights = np.full(24, 1 / 24)
    plain, more = (plots.attention(scene, weights, weights, title="t", spectrogram=asked) for asked in (False, True))
    assert len(more.axes) == len(plain.axes) + 1 == 5
    (image,) = more.axes[-1].images
    energy = np.asarray(image.get_array())
    row, second = np.unravel_index(energy.argmax(), energy.shape)
    low, high = image.get_extent()[2:]
    assert second == 7 and abs(low + (row + 0.5) / len(energy) * (high - low) - 1209) < 15
    assert more.axes[-1].get_xlabel() == "second" and not more.axes[-2].get_xlabel()


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
    assert score.get_ylabel() == "score of\ncat" and "from 9 s around" in score.get_title(loc="left")
    frames = [item for item in figure.axes[0].artists if isinstance(item, AnnotationBbox)]
    assert [(frame.xy, frame.xybox) for frame in frames] == [((0, 0), (0.5, 0.6)), ((3, 0), (2.5, 0.6))]
    streams = (("rgb", report["attention"]["rgb"]), ("audio", report["attention"]["audio"]))
    for axes, (stream, values) in zip(figure.axes[1:3], streams, strict=True):
        assert axes.get_ylabel() == f"attention\n({stream})"
        assert [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)] == values


@pytest.mark.parametrize(("seconds", "marker"), [(60, "o"), (61, "")])
def test_a_long_clip_has_no_points(seconds, marker):
    report: Timeline = {**an_explanation(), "window": 9, "over_time": [0.5] * seconds}
    report |= {"seconds": seconds, "attention": {"rgb": [0.5] * seconds, "audio": [0.5] * seconds}}
    assert plots.timeline(report, [0], np.zeros((1, 8, 8, 3), np.uint8)).axes[-1].lines[0].get_marker() == marker


# --- seeds ------------------------------------------------------------------------------------------------------


def test_a_spread_has_the_mean_of_the_seeds_and_each_of_them():
    runs = {"a": [([1, 2], [0.0, 1.0]), ([1, 2], [1.0, 2.0])], "floor": [([1, 2], [0.5, 0.5])]}
    axes = plots.spread(runs, xlabel="x", ylabel="y", title="t").axes[0]
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    assert drawn == [[0.5, 1.5], [0.5, 0.5], [0.0, 1.0], [1.0, 2.0]]  # a reference has no seeds
    assert axes.lines[2].get_linestyle() == axes.lines[0].get_linestyle()
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["a", "floor"]


def test_dots_have_a_row_per_name_from_the_top():
    axes = plots.dots({"a": [0.1, 0.3], "b": [0.5]}, xlabel="GAP", title="t", reference=0.2).axes[0]
    assert tick_labels(axes.yaxis) == ["a", "b"] and axes.yaxis_inverted()
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines[:2]] == [[0.1, 0.3], [pytest.approx(0.2)]]
    assert np.asarray(axes.lines[-1].get_xdata()).tolist() == [0.2, 0.2]
