"""Plots of results in one style, drawn with Matplotlib alone: readable in grey and safe for colour-blind readers.

Every plotting function returns a figure, which the caller saves and closes: :func:`save_png`, or in a notebook
:meth:`alstm_helpers.course.lab.Lab.show`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator

from alstm_helpers.data.class_names import Label
from alstm_helpers.data.flashdigits import CLASS_NAMES, Scene, extract_audio
from alstm_helpers.errors import one_line
from alstm_helpers.figures.parts import Explanation, Streams, Timeline
from alstm_helpers.files import atomic_write
from alstm_helpers.language import say
from alstm_helpers.metrics import average_precision, count_above
from alstm_helpers.tfrecord import dequantize

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Okabe and Ito's palette, darkest first, and line styles that can be told apart without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
STYLES = ("-", "--", ":", "-.", (0, (5, 1)))
# Texts of the Chinese edition and names of classes may be Chinese, so a font for them comes along: tools/font.py.
CJK_FAMILY = "Course Sans SC"
CJK_FILE = Path(__file__).with_name("fonts") / "CourseSansSC.otf"
STYLE: dict[RcKeyType, object] = {
    "font.family": ["DejaVu Sans", CJK_FAMILY],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,  # bars hide the grid, not the other way round
    "grid.alpha": 0.3,
    "font.size": 10,
    "figure.constrained_layout.use": True,
}

if CJK_FILE.exists():
    fontManager.addfont(CJK_FILE)
    fontManager.ttflist.append(replace(fontManager.ttflist[-1], weight="bold"))  # the same where bold is asked for
    plt.rcParams["font.family"] = [*plt.rcParams["font.family"], CJK_FAMILY]  # also in a learner's own figures

Curve = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Ticks:
    """Tick labels of a heat map, one per column and one per row; None leaves the numbers."""

    x: Sequence[str] | None = None
    y: Sequence[str] | None = None


def save_png(figure: Figure, path: str | os.PathLike[str], *, tight: bool = False) -> None:
    """Write a figure as PNG, with the same bytes for the same figure, and close it.

    Args:
        figure: the figure.
        path: of the file; its folder is made.
        tight: crop the picture to what is drawn.
    """
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None}, bbox_inches="tight" if tight else None)
    plt.close(figure)


def lines(curves: Mapping[str, Curve], *, xlabel: str, ylabel: str, title: str, log_y: bool = False) -> Figure:
    """Draw named curves (x, y) in one panel, each with a colour and a line style of its own."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        for index, (name, (x, y)) in enumerate(curves.items()):
            marker = "o" if len(x) <= 20 else ""
            colour, style = COLOURS[index % 5], STYLES[index % 5]
            axes.plot(x, y, label=say("evidence", name), markersize=4, color=colour, linestyle=style, marker=marker)
        axes.set(xlabel=say("evidence", xlabel), ylabel=say("evidence", ylabel), title=title)
        axes.set_yscale("log" if log_y else "linear")
        if all(float(value).is_integer() for x, _ in curves.values() for value in x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 1.5
        if len(curves) > 3:  # inside, there is no place left
            figure.legend(frameon=False, loc="outside lower center", ncols=3)
        elif len(curves) > 1:
            axes.legend(frameon=False)
    return figure


def spread(curves: Mapping[str, Sequence[Curve]], *, xlabel: str, ylabel: str, title: str) -> Figure:
    """Draw the mean of named curves over their seeds as a bold line, and each seed as a thin one.

    Args:
        curves: for each name the curve (x, y) of every seed, all with the same x; one curve alone is a reference.
        xlabel, ylabel, title: texts.
    """
    means = {name: (runs[0][0], np.mean([y for _, y in runs], axis=0).tolist()) for name, runs in curves.items()}
    figure = lines(means, xlabel=xlabel, ylabel=ylabel, title=title)
    with plt.rc_context(STYLE):
        for index, runs in enumerate(curves.values()):
            for x, y in runs if len(runs) > 1 else ():
                figure.axes[0].plot(
                    x, y, color=COLOURS[index % 5], linestyle=STYLES[index % 5], alpha=0.4, linewidth=0.8
                )
    return figure


def dots(values: Mapping[str, Sequence[float]], *, xlabel: str, title: str, reference: float | None = None) -> Figure:
    """Draw one row per name: a dot for each seed, and a bar at their mean.

    Args:
        values: the numbers of the seeds by name; the first one is drawn on top.
        xlabel, title: texts.
        reference: drawn as a dashed line, such as what a model without any training reaches.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 1.2 + 0.36 * len(values)))
        for row, numbers in enumerate(values.values()):
            axes.plot(numbers, [row] * len(numbers), "o", color=COLOURS[0], alpha=0.6, markersize=5)
            axes.plot([np.mean(numbers)], [row], "|", color="black", markersize=16, markeredgewidth=2)
        if reference is not None:
            axes.axvline(reference, color="0.4", linestyle="--", linewidth=1)
        axes.set(xlabel=xlabel, title=title, ylim=(len(values) - 0.5, -0.5))
        axes.set_yticks(range(len(values)), [say("evidence", name) for name in values])
    return figure


def attention(
    scene: Scene, rgb_weights: np.ndarray, audio_weights: np.ndarray, *, title: str, spectrogram: bool = False
) -> Figure:
    """Draw a video's frames over its seconds, its digits enlarged, and the attention with the true events shaded.

    Args:
        scene: the rendered video of T seconds.
        rgb_weights, audio_weights: float (T,) or longer; the padding after T is left out.
        title: of the figure.
        spectrogram: also draw the sound's energy over seconds and pitch, at the bottom.
    """
    seconds = len(scene.frames)
    enlarged = 0.75 if any(event.label < 10 for event in scene.events) else 0.05  # without digits, the title alone
    heights = [enlarged, 0.22, 1, 1] + [1.3] * spectrogram
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(heights), 1, figsize=(11, 1.8 * sum(heights)), sharex=True, gridspec_kw={"height_ratios": heights}
        )
        large, strip, middle, bottom, *rest = panels
        pixels = np.concatenate([np.pad(frame, 1) for frame in scene.frames], axis=1)  # (10, 10 T)
        strip.imshow(pixels, cmap="gray", aspect="auto", extent=(-0.5, seconds - 0.5, 0, 1), interpolation="nearest")
        strip.set(yticks=[])
        strip.grid(False)
        _large_frames(large, scene)
        large.set_title(title)
        rows = ((middle, rgb_weights, "see", 0), (bottom, audio_weights, "hear", 1))
        for axes, weights, verb, index in rows:
            axes.bar(range(seconds), weights[:seconds], color=COLOURS[index], width=0.9)
            _shade_events(axes, scene, index)
            axes.set_ylabel(f"weight\n({verb})")
            axes.margins(y=0.25)
        for axes in rest:
            _spectrogram(axes, scene)
        panels[-1].set(xlabel="second", xlim=(-0.5, seconds - 0.5))
    return figure


def _spectrogram(axes: Axes, scene: Scene) -> None:
    """Draw the sound as the network gets it, energy in bands of 15 Hz, over the range of the keypad."""
    energy = dequantize(extract_audio(scene.sound))[:, 38:100].T  # (62, T)
    extent = (-0.5, len(scene.frames) - 0.5, 15 * 38, 15 * 100)
    axes.imshow(energy, cmap="Greys", aspect="auto", origin="lower", extent=extent, interpolation="nearest")
    axes.set(ylabel="Hz", yticks=[697, 941, 1209, 1477])
    axes.grid(False)


def _shade_events(axes: Axes, scene: Scene, stream: int) -> None:
    """Shade and name the events of one stream: 0 for digits, 1 for keypad tones.

    A name stands above the panel, or below its upper edge where it would run into the name before.
    """
    before, inside = -np.inf, False
    for event in sorted(scene.events, key=lambda event: event.start):
        if event.label // 10 == stream:
            axes.axvspan(event.start - 0.5, event.stop - 0.5, color="0.8", zorder=0)
            middle = (event.start + event.stop - 1) / 2
            inside = not inside and middle - before < len(scene.frames) / 16
            before = middle
            place, units = (middle, 1.0), ("data", "axes fraction")
            name = CLASS_NAMES[event.label]
            axes.annotate(name, place, xycoords=units, ha="center", va="top" if inside else "bottom")


def _large_frames(axes: Axes, scene: Scene) -> None:
    """Draw the frames in which a digit flashes, enlarged, above their seconds or beside each other if they overlap."""
    axes.set(ylim=(0, 1))
    axes.axis("off")
    width = len(scene.frames) / 16  # seconds that an enlarged frame covers
    free_from = -np.inf
    for event in scene.events:
        if event.label < 10:
            second = (event.start + event.stop - 1) / 2
            place = max(second, free_from)
            free_from = place + width
            image = OffsetImage(scene.frames[event.start], zoom=5, cmap="gray", interpolation="nearest")
            line = {"arrowstyle": "-", "color": "0.5"}
            axes.add_artist(AnnotationBbox(image, (second, 0), (place, 0.55), pad=0.1, arrowprops=line))


def contributions(report: Explanation) -> Figure:
    """Draw the attention over a video's seconds, and below it what each second contributed to each label's logit.

    Args:
        report: from :func:`alstm_helpers.evaluation.explain.explain`.
    """
    labels, seconds = report["labels"], np.arange(report["seconds"])
    with plt.rc_context(STYLE):
        size = (9, 1.5 + 1.1 * len(labels))
        figure, panels = plt.subplots(1 + len(labels), 1, figsize=size, sharex=True, squeeze=False)
        attention, *rest = panels[:, 0]
        _paired_bars(attention, report["attention"], "attention")
        for label, panel in zip(labels, rest, strict=True):
            _paired_bars(panel, label, f"{_name(label)}\n{label['score']:.2f}")
        limits = [panel.get_ylim() for panel in rest]
        for panel in rest:  # one scale, so that labels can be compared
            panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        attention.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        attention.set_title(
            f"{_shown(report['video'])}: attention, and what each second adds to a label's logit", loc="left"
        )
        panels[-1, 0].set(xlabel="second", xlim=(-0.5, len(seconds) - 0.5))
    return figure


def _paired_bars(axes: Axes, values: Streams, title: str) -> None:
    """Draw two bars per second, rgb beside audio, with the title on the left."""
    seconds = np.arange(len(values["rgb"]))
    streams = (
        (-0.2, "rgb", values["rgb"], COLOURS[0], ""),
        (0.2, "audio", values["audio"], COLOURS[1], "///"),
    )
    for offset, stream, heights, colour, hatch in streams:
        places = seconds + offset
        axes.bar(places, heights, 0.4, label=stream, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
    axes.set_ylabel(title, rotation=0, ha="right", va="center")
    axes.axhline(0, color="black", linewidth=0.6)


def _name(label: Label) -> str:
    return _shown(label["name"] or f"class {label['index']}")


def _shown(text: str) -> str:
    """Return an id or a name as a figure takes it: short, in one line, and not as a formula."""
    return one_line(text if len(text) <= 60 else f"{text[:59]}…").replace("$", r"\$")


def timeline(report: Timeline, seconds: Sequence[int], frames: np.ndarray) -> Figure:
    """Draw a clip over its seconds: frames, the attention of both streams, and the score of the best label.

    Args:
        report: from :func:`alstm_helpers.own_videos.watch.watch`.
        seconds: when each frame was taken; N.
        frames: uint8 (N, S, S, 3).
    """
    count = report["seconds"]
    weights = report["attention"]
    with plt.rc_context(STYLE):
        heights = {"height_ratios": [1, 0.9, 0.9, 1.1]}
        figure, panels = plt.subplots(4, 1, figsize=(11, 6.2), sharex=True, gridspec_kw=heights)
        strip, rgb, audio, score = panels
        _film_strip(strip, count, seconds, frames)
        streams = ((rgb, "rgb", weights["rgb"], COLOURS[0]), (audio, "audio", weights["audio"], COLOURS[1]))
        for panel, stream, values, colour in streams:
            panel.bar(range(count), values, color=colour, width=0.9)
            panel.set_ylabel(f"attention\n({stream})")
        _score_over_time(score, report)
        found = ", ".join(
            f"{_shown(label['name'] or str(label['index']))} {label['score']:.2f}" for label in report["labels"]
        )
        strip.set_title(f"{_shown(report['video'])}: {found}", loc="left")
    return figure


def _film_strip(axes: Axes, count: int, seconds: Sequence[int], frames: np.ndarray) -> None:
    """Draw frames evenly spaced over a clip of ``count`` seconds, each with a line to its own second."""
    axes.set(ylim=(0, 1))
    axes.axis("off")
    for number, (second, frame) in enumerate(zip(seconds, frames, strict=True)):
        place = (number + 0.5) * count / len(seconds) - 0.5
        image = OffsetImage(frame, zoom=58 / frame.shape[0])
        line = {"arrowstyle": "-", "color": "0.6"}
        axes.add_artist(AnnotationBbox(image, (second, 0), (place, 0.6), pad=0.1, arrowprops=line))


def _score_over_time(axes: Axes, report: Timeline) -> None:
    """Draw the score of the best label around each second, and that of the whole clip as a dashed line."""
    count, best = report["seconds"], report["labels"][0]
    axes.plot(range(count), report["over_time"], color=COLOURS[2], marker="o" if count <= 60 else "", markersize=3)
    axes.axhline(best["score"], color="0.4", linestyle="--", linewidth=1)
    axes.set(xlabel="second", xlim=(-0.5, count - 0.5), ylim=(-0.03, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"score of\n{_name(best)}")
    axes.text(count - 0.5, best["score"], "whole clip", ha="right", va="bottom", fontsize=8, color="0.3")
    axes.set_title(f"from {report['window']} s around each second alone", loc="left", fontsize=9)


def frame_strip(frames: np.ndarray, titles: Sequence[str], *, title: str) -> Figure:
    """Draw small frames in a row, each with its own title: grey (N, h, w), or uint8 (N, h, w, 3) in colour."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(frames), figsize=(1.2 * len(frames), 1.8), squeeze=False)
        for panel, frame, name in zip(axes[0], frames, titles, strict=True):
            panel.imshow(frame, cmap="gray", interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.set_title(name, fontsize=9)
            panel.grid(False)
        figure.suptitle(title)
    return figure


def matrix(
    values: np.ndarray,
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    ticks: Ticks = Ticks(),
    colorbar: str = "",
) -> Figure:
    """Draw a heat map of a matrix (rows, columns), dark where values are large.

    Args:
        values: float (rows, columns).
        xlabel, ylabel, title: texts.
        ticks: labels of columns and rows.
        colorbar: what the values are.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 5))
        image = axes.imshow(values, cmap="Greys", aspect="auto", interpolation="nearest")
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axes.grid(False)
        if ticks.x is not None:
            axes.set_xticks(range(len(ticks.x)), ticks.x, rotation=90)
        if ticks.y is not None:
            axes.set_yticks(range(len(ticks.y)), ticks.y)
        figure.colorbar(image, label=colorbar)
    return figure


def confusion(scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str] = CLASS_NAMES) -> Figure:
    """Draw, for the videos of each true class (rows), the mean score of every class (columns) that is *not* also true.

    With several labels per video, a confusion matrix of counts is not defined; this is its counterpart. The diagonal
    has the mean score of the true class itself.

    Args:
        scores: float (N, C).
        labels: multi-hot (N, C).
        class_names: C names.
    """
    truth = labels.astype(bool)
    size = scores.shape[1]
    picture = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            chosen = truth[:, row] & (~truth[:, column] | (row == column))
            picture[row, column] = scores[chosen, column].mean() if chosen.any() else 0
    return matrix(
        picture,
        xlabel="scored class (not a true label, except on the diagonal)",
        ylabel="true class",
        title="What the model confuses",
        ticks=Ticks(class_names, class_names),
        colorbar="mean score",
    )


def score_distribution(scores: np.ndarray, labels: np.ndarray) -> Figure:
    """Draw histograms of the scores of true and of false classes, with a logarithmic count axis.

    Args:
        scores: float (N, C) in [0, 1].
        labels: multi-hot (N, C).
    """
    truth = labels.astype(bool)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        bins = np.linspace(0, 1, 41).tolist()
        axes.hist(scores[~truth], bins, color="0.75", label="false classes")
        axes.hist(scores[truth], bins, histtype="step", color=COLOURS[0], linewidth=2, label="true classes")
        axes.set(xlabel="score", ylabel="predictions", title="Scores of true and of false classes", yscale="log")
        axes.legend(frameon=False)
    return figure


def precision_recall(scores: np.ndarray, hits: np.ndarray, num_positives: int) -> Figure:
    """Draw precision over recall of pooled predictions; the area under the steps is GAP.

    Args:
        scores: float (…), pooled over the split.
        hits: bool (…), whether each prediction is true.
        num_positives: true labels in the split.
    """
    _, true_above, false_above = (counts[::-1] for counts in count_above(scores, hits))  # highest score first
    most = min(2000, len(true_above))  # a whole split has millions; none, where no prediction is true
    shown = np.unique(np.linspace(0, len(true_above) - 1, most).astype(int))
    recall = np.concatenate([[0.0], true_above[shown] / num_positives])
    precision = (true_above / (true_above + false_above))[shown]
    precision = np.concatenate([precision[:1] if most else [0.0], precision])
    area = average_precision(scores, hits, num_positives)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        axes.fill_between(recall, precision, step="pre", color=COLOURS[0], alpha=0.25)
        axes.step(recall, precision, where="pre", color=COLOURS[0])
        axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title=f"GAP is the area: {area:.3f}")
    return figure


def class_ap(positives: np.ndarray, ap: np.ndarray) -> Figure:
    """Draw the average precision of each class over its frequency in the split, without classes that do not occur.

    Args:
        positives: videos of each class, int (C,).
        ap: average precision of each class, float (C,).
    """
    seen = positives > 0
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        axes.scatter(positives[seen], ap[seen], s=14, color=COLOURS[0], alpha=0.6, linewidths=0)
        axes.axhline(
            ap.mean(), color=COLOURS[1], linestyle="--", label=f"mAP over all {len(ap):,} classes: {ap.mean():.3f}"
        )
        axes.set(xlabel="videos of the class in this split", ylabel="average precision", ylim=(-0.02, 1.02))
        axes.set_title("AP of each class")
        if np.ptp(positives[seen]) > 100:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
    return figure


def bars(values: Mapping[str, float], *, ylabel: str, title: str) -> Figure:
    """Draw one bar per name, labelled with its value."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.2))
        drawn = axes.bar(
            [say("evidence", name) for name in values],
            list(values.values()),
            color=COLOURS[: len(values)],
            edgecolor="black",
        )
        axes.bar_label(drawn, fmt="%.3g", padding=2)
        axes.set(ylabel=ylabel, title=title)
        axes.margins(y=0.15)
    return figure
