"""Explanatory drawings: the path of a video, the network, an LSTM over time, attention, GAP as an area, Colabeler.

Notebooks draw them where they need them. ``python -m alstm_helpers.figures.drawings`` writes them to ``figures/`` as
SVG, and a test draws them again and compares the bytes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import pairwise
from typing import ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import ArrayLike

from alstm_helpers import language
from alstm_helpers.errors import AlstmError
from alstm_helpers.figures.plots import COLOURS, STYLE
from alstm_helpers.files import atomic_write
from alstm_helpers.paths import clone

BLUE, RED, GREEN = COLOURS[:3]  # pictures, sound, and both together

Parameters = ParamSpec("Parameters")


def _styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Let a function draw in the course's style, without grid lines."""

    @wraps(draw)
    def styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with plt.rc_context(STYLE | {"axes.grid": False}):
            return draw(*args, **kwargs)

    return styled


def _canvas(width: float, height: float, right: float, top: float) -> tuple[Figure, Axes]:
    """Return an empty sheet of ``width`` × ``height`` inches, with coordinates from 0 to ``right`` and ``top``."""
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set(xlim=(0, right), ylim=(0, top))
    axes.axis("off")
    return figure, axes


def _box(axes: Axes, x: float, y: float, text: str, *, colour: str = "0.25", fill: str = "white") -> Text:
    """Draw a text in a box centred at (x, y)."""
    style = {"boxstyle": "round,pad=0.45", "edgecolor": colour, "facecolor": fill, "linewidth": 1.4}
    return axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=style, zorder=3)


def _link(axes: Axes, start: Text, end: Text, *, text: str = "", colour: str = "0.35") -> None:
    """Draw an arrow from the edge of one box to the edge of another, with a text above its middle."""
    ends = {"patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch(), "shrinkA": 0, "shrinkB": 0}
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.3}
    a, b = start.get_position(), end.get_position()
    axes.annotate("", b, a, arrowprops=style | ends, zorder=1)
    axes.text((a[0] + b[0]) / 2, (a[1] + b[1]) / 2 + 0.12, text, ha="center", va="bottom", fontsize=8, color="0.3")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = "0.35") -> None:
    """Draw an arrow from point to point."""
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style, zorder=1)


def _wire(axes: Axes, xs: tuple[float, float], ys: tuple[float, float], colour: str, width: float = 1.8) -> None:
    """Draw a line without an arrowhead, below the boxes."""
    axes.plot(xs, ys, color=colour, linewidth=width, solid_capstyle="butt", zorder=1)


@_styled
def pipeline() -> Figure:
    """Draw the path of a video through the course, with the number of the notebook at each station."""
    figure, axes = _canvas(11, 3.0, 22, 6)
    stations = (
        (1.2, 4.5, "video\n.mp4", "09"),
        (4.9, 4.5, "features of a second\nrgb 1024, audio 128", "09"),
        (9.0, 4.5, "TFRecord\nuint8", "03"),
        (12.2, 4.5, "pickle", "03"),
        (15.7, 4.5, "batches\npadding, mask", "03"),
        (20.0, 4.5, "training\nAttentionLSTM", "01 · 04"),
        (20.0, 1.5, "weights", ""),
        (15.7, 1.5, "evaluation\nHit@1, PERR, GAP, mAP", "05"),
        (10.2, 1.5, "labels with scores,\nthe seconds behind them", "06"),
        (4.0, 1.5, "one file for Paddle Inference,\nONNX Runtime, HTTP", "06"),
    )
    boxes = []
    for x, y, text, notebook in stations:
        boxes.append(_box(axes, x, y, text))
        axes.text(x, y + (0.95 if y > 3 else -1.2), notebook, ha="center", fontsize=9, color=BLUE, fontweight="bold")
    for start, end in pairwise(boxes):
        _link(axes, start, end)
    more = "00 the machine · 07 every setting · 08 good settings"
    axes.text(0.4, 3, more, fontsize=9, color=BLUE, fontweight="bold", va="center")
    return figure


@_styled
def network() -> Figure:
    """Draw AttentionLSTM from the features of a batch to one score per class."""
    figure, axes = _canvas(11, 2.8, 22, 5.6)
    join = _box(axes, 14.9, 2.8, "concat\nB × 4H", colour=GREEN)
    for y, name, dim, colour in ((4.3, "rgb", 1024, BLUE), (1.3, "audio", 128, RED)):
        texts = (
            (1.5, f"{name}\nB × T × {dim}"),
            (4.8, "Linear\ntanh"),
            (7.9, "BiLSTM"),
            (11.4, "attention\nweighted sum"),
        )
        boxes = [_box(axes, x, y, text, colour=colour) for x, text in texts]
        for start, end, text in zip(boxes, [*boxes[1:], join], ("", "E", "2H", ""), strict=True):
            _link(axes, start, end, text=text, colour=colour)
    layers = _box(axes, 17.7, 2.8, "Linear relu\nLinear tanh\nLinear", colour=GREEN)
    scores = _box(axes, 20.6, 2.8, "sigmoid\nB × classes", colour=GREEN)
    _link(axes, join, layers, colour=GREEN)
    _link(axes, layers, scores, colour=GREEN)
    for x, text in ((4.8, "each second on its own"), (8.5, "T states"), (11.7, "one vector")):
        axes.text(x, 2.8, text, ha="center", va="center", fontsize=8.5, color="0.35", style="italic")
    return figure


@_styled
def lstm_over_time() -> Figure:
    """Draw three seconds of an LSTM: the cell c along the top, and the gates that keep, add and output."""
    figure, axes = _canvas(11, 3.9, 22, 7.8)
    _wire(axes, (0.2, 21.6), (5.6, 5.6), BLUE, 2.8)
    axes.text(0.2, 5.8, "c", fontsize=12, color=BLUE, fontweight="bold")
    axes.text(0.2, 2.4, "h", fontsize=12, color=RED, fontweight="bold")
    for left, name in ((1.3, "t − 1"), (8.1, "t"), (14.9, "t + 1")):
        axes.add_patch(Rectangle((left, 1.5), 5.5, 4.9, edgecolor="0.65", facecolor="0.97", zorder=0))
        axes.text(left + 2.75, 6.5, f"second {name}", ha="center", va="bottom", fontsize=8.5, color="0.35")
        keep, add, show, out = left + 1.4, left + 3.0, left + 4.6, left + 6.1
        _box(axes, keep, 5.6, "× f", colour=BLUE)
        _box(axes, add, 5.6, "+ i · g", colour=BLUE)
        _box(axes, show, 4.1, "o · tanh c", colour=RED)
        _wire(axes, (left - (1.1 if left < 2 else 0.7), show), (2.2, 2.2), RED)
        for x, top, gate in ((keep, 5.15, "forget"), (add, 5.15, "input"), (show, 3.65, "output")):
            _arrow(axes, (x, 2.2), (x, top))
            axes.text(x + 0.12, 2.95, gate, fontsize=8.5, color="0.25", rotation=90, va="center")
        _arrow(axes, (show, 5.6), (show, 4.55), BLUE)
        _wire(axes, (show + 0.8, out), (4.1, 4.1), RED)
        _wire(axes, (out, out), (2.2, 4.1), RED)
        _arrow(axes, (out, 4.0), (out, 7.0), RED)
        axes.text(out, 7.05, f"h({name})", ha="center", va="bottom", fontsize=8.5, color=RED)
        _arrow(axes, (left + 0.5, 0.7), (left + 0.5, 2.15))
        axes.text(left + 0.5, 0.6, f"x({name})", ha="center", va="top", fontsize=8.5)
    _wire(axes, (21.0, 21.6), (2.2, 2.2), RED)
    return figure


@_styled
def attention_sum(states: ArrayLike, weights: ArrayLike) -> Figure:
    """Draw a weighted sum: the state of each second, a bar for its weight, state × weight, and the sum of those.

    Args:
        states: numbers (T, D).
        weights: numbers (T,), which sum to 1.
    """
    states, weights = np.asarray(states, float), np.asarray(weights, float)
    seconds = len(states)
    limit = float(np.abs(states).max())
    figure, panels = plt.subplots(
        1, 4, figsize=(11, 2.6), gridspec_kw={"width_ratios": [seconds, seconds, seconds, 1.0]}
    )
    first, second, third, last = panels
    parts = (states * weights[:, None]).T
    for axes, values, title in (
        (first, states.T, "the states"),
        (third, parts, "state × weight"),
        (last, parts.sum(axis=1, keepdims=True), "their sum"),
    ):
        axes.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
        axes.set(title=title, yticks=[], xticks=range(values.shape[1]))
        for (row, column), value in np.ndenumerate(values):
            dark = abs(value) > 0.6 * limit
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color="white" if dark else "black"
            )
    second.bar(range(seconds), weights, color=[COLOURS[0]] * seconds, width=0.7)
    for index, weight in enumerate(weights):
        second.text(index, weight + 0.02, f"{weight:.2f}", ha="center", fontsize=9)
    second.set(title="weights (sum = 1)", ylim=(0, max(1.0, 1.15 * float(weights.max()))), xticks=range(seconds))
    for axes in (first, second, third):
        axes.set_xlabel("second")
    last.set(xticks=[], xlabel="all")
    return figure


@_styled
def gap_area(hits: Sequence[bool], num_positives: int, names: Sequence[str] = ()) -> Figure:
    """Draw GAP as an area: one box for each true label in the pool, as high as the precision at its rank.

    Args:
        hits: whether each pooled prediction is true, highest score first.
        num_positives: true labels of the whole split; those that are not in the pool leave empty strips.
        names: of the pooled predictions, written under their boxes.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    found = [rank for rank, hit in enumerate(hits, 1) if hit]
    for place, rank in enumerate(found):
        precision = (place + 1) / rank
        hatch = "//" if place % 2 else ""
        axes.bar(place, precision, width=1, align="edge", color="#9ecae1", edgecolor="0.25", hatch=hatch)
        axes.text(place + 0.5, precision + 0.02, f"{place + 1}/{rank}", ha="center", fontsize=9)
    for place in range(len(found), num_positives):
        axes.bar(place, 1, width=1, align="edge", color="white", edgecolor="0.6", linestyle=":")
        axes.text(place + 0.5, 0.5, "not\nfound", ha="center", va="center", fontsize=9, color="0.35")
    labels = [f"{names[rank - 1]}\nrank {rank}" if names else f"rank {rank}" for rank in found]
    labels += ["–"] * (num_positives - len(found))
    axes.set_xticks([place + 0.5 for place in range(num_positives)], labels)
    area = sum((place + 1) / rank for place, rank in enumerate(found)) / num_positives
    axes.set(xlabel="true labels of the split, all of one width", ylabel="precision at its rank", ylim=(0, 1.12))
    axes.set_title(f"GAP: the area of the boxes, {area:.3f} of the whole")
    return figure


def _window(axes: Axes, left: float, width: float, title: str) -> None:
    """Draw the frame of a program's window, with its title bar."""
    axes.add_patch(Rectangle((left, 0.2), width, 7.6, edgecolor="0.4", facecolor="white", linewidth=1.2, zorder=0))
    axes.add_patch(Rectangle((left, 7.1), width, 0.7, edgecolor="0.4", facecolor="0.9", linewidth=1.2, zorder=0))
    axes.text(left + width / 2, 7.45, title, ha="center", va="center", fontsize=8.5, fontweight="bold")


def _field(axes: Axes, place: tuple[float, float], width: float, text: str, *, chosen: bool = False) -> None:
    """Draw an input field, or a button, whose lower left corner is at ``place``; a chosen one is blue."""
    x, y = place
    fill, colour = (BLUE, "white") if chosen else ("white", "0.15")
    axes.add_patch(Rectangle((x, y), width, 0.6, edgecolor="0.5", facecolor=fill, linewidth=1))
    axes.text(x + width / 2, y + 0.29, text, ha="center", va="center", fontsize=7.5, color=colour)


@_styled
def colabeler() -> Figure:
    """Draw three windows of Colabeler 1.1 as its own interface files describe them: project, labels, export.

    The words are those of its interface, English or Chinese. A video project is of the type Video Tracking.
    """
    figure, axes = _canvas(11, 3.9, 22, 8)
    _window(axes, 0.1, 7.5, "New Project")
    types = ("Localization", "Classification", "Pixel-Wise", "Localization3D", "Video Tracking", "Transcript")
    axes.text(0.3, 6.7, "Computer Vision", va="center", fontsize=7.5, color="0.4")
    for row, name in enumerate(types):
        y = 6.1 - 0.55 * row
        if name == "Video Tracking":
            axes.add_patch(Rectangle((0.2, y - 0.26), 2.35, 0.52, facecolor=BLUE, zorder=0))
        axes.text(0.4, y, name, va="center", fontsize=7.5, color="white" if name == "Video Tracking" else "0.15")
    for y, name in ((2.6, "NLP"), (2.05, "Speech")):
        axes.text(0.3, y, name, va="center", fontsize=7.5, color="0.4")
    asked = (("Project Name:", "clips"), ("Video Folder (MP4 Supported):", "D:\\clips"),
             ("Classification Values:", "cooking,music,sport"))  # fmt: skip
    for row, (label, value) in enumerate(asked):
        axes.text(2.8, 6.7 - 1.6 * row, label, va="center", fontsize=7.5)
        _field(axes, (2.8, 5.7 - 1.6 * row), 4.5, value)
    _field(axes, (5.6, 0.5), 1.7, "Create", chosen=True)

    _window(axes, 7.9, 8.5, "Colabeler")
    for row, name in enumerate(("Prev", "Next", "Export", "Move", "Delete", "New Object")):
        axes.text(8.05, 6.6 - 0.65 * row - (0.4 if row > 2 else 0), name, va="center", fontsize=7.5)
    _wire(axes, (8.05, 9.7), (4.75, 4.75), "0.75", 0.8)
    axes.add_patch(Rectangle((10.0, 2.2), 3.7, 4.6, edgecolor="0.4", facecolor="0.88"))
    for x, y, height, colour in ((10.2, 4.6, 2.0, RED), (10.9, 2.4, 2.0, GREEN)):
        axes.add_patch(Rectangle((x, y), 2.5, height, edgecolor=colour, facecolor="none", linewidth=1.5))
    axes.text(10.3, 6.2, "a box per label", va="center", fontsize=7.5, color="0.25")
    _wire(axes, (10.0, 13.7), (1.85, 1.85), "0.6", 2.5)
    axes.text(10.0, 1.35, "0:03 / 0:12", va="center", fontsize=7.5)
    axes.text(13.95, 6.6, "Label Info", va="center", fontsize=8, fontweight="bold")
    for row, name in enumerate(("cooking", "music")):
        _field(axes, (13.95, 5.5 - 0.9 * row), 2.2, name)
    _wire(axes, (8.05, 14.9), (0.7, 0.7), BLUE, 2.5)
    axes.text(14.9, 1.1, "3/8", ha="right", va="center", fontsize=7.5)
    _field(axes, (15.2, 0.45), 0.95, "✓", chosen=True)

    _window(axes, 16.7, 5.2, "Export Format")
    axes.text(16.95, 6.6, "Export to local", va="center", fontsize=7.5, color="0.4")
    for row, name in enumerate(("XML", "JSON", "MongoDB", "pascal-voc")):
        _field(axes, (17.0, 5.6 - 0.9 * row), 3.2, name, chosen=name == "JSON")
    axes.text(16.95, 2.3, "save to", va="center", fontsize=7.5, color="0.4")
    _field(axes, (17.0, 1.4), 3.2, "D:\\labels")
    _field(axes, (20.4, 1.4), 1.2, "…")
    _field(axes, (19.9, 0.45), 1.7, "Export", chosen=True)
    return figure


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG, with the same bytes for the same drawing, and close it."""
    buffer = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "alstm", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return b"".join(line.rstrip() + b"\n" for line in buffer.getvalue().splitlines())


# The files in figures/, with the numbers computed by hand in notebook 01 and a pool as small as that of notebook 05.
FIGURES: dict[str, Callable[[], Figure]] = {
    "pipeline": pipeline,
    "network": network,
    "lstm_over_time": lstm_over_time,
    "attention_sum": lambda: attention_sum([[1, 0], [0, 2], [4, 4]], [0.6652, 0.2447, 0.0900]),
    "colabeler": colabeler,
    "gap_area": lambda: gap_area([True, True, False, True, False, False, True], 5),
}


if __name__ == "__main__":
    try:
        folder = language.folder_below(clone("the files in figures/") / "figures")
    except AlstmError as error:
        sys.exit(f"error: {error}")
    for name, draw in FIGURES.items():
        with atomic_write(folder / f"{name}.svg") as file:
            file.write(to_svg(draw()))
