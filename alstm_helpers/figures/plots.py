"""The course's figures in one style: readable in grey, safe for the colour-blind, nothing but Matplotlib.

Every function returns a figure; :meth:`alstm_helpers.course.lab.Lab.show` draws, saves and describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator

from alstm_helpers.data.flashdigits import CLASS_NAMES, Scene
from alstm_helpers.metrics import average_precision, count_above

# Okabe and Ito's palette, ordered by falling darkness, and line styles that differ without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
STYLES = ("-", "--", ":", "-.", (0, (5, 1)))
# Names of own classes may be Chinese; of these fonts one is on most systems.
CJK = ("Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
       "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Arial Unicode MS")  # fmt: skip
STYLE = {
    "font.family": ["DejaVu Sans", *(name for name in CJK if name in get_font_names())],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
    "figure.constrained_layout.use": True,
}

Curve = tuple[Sequence[float], Sequence[float]]


def lines(curves: Mapping[str, Curve], *, xlabel: str, ylabel: str, title: str, log_y: bool = False) -> Figure:
    """Named curves (x, y) in one panel, told apart by colour and by line style."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        for index, (name, (x, y)) in enumerate(curves.items()):
            marker = "o" if len(x) <= 20 else ""
            style: dict[str, Any] = {"color": COLOURS[index % 5], "linestyle": STYLES[index % 5], "marker": marker}
            axes.plot(x, y, label=name, markersize=4, **style)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if log_y else "linear")
        if all(float(value).is_integer() for x, _ in curves.values() for value in x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 1.5
        if len(curves) > 1:
            axes.legend(frameon=False)
    return figure


def attention(scene: Scene, rgb_weights: np.ndarray, audio_weights: np.ndarray, *, title: str) -> Figure:
    """A video's frames over its seconds, its digits enlarged, and both attention curves with the true events shaded.

    Args:
        scene: the rendered video of T seconds.
        rgb_weights, audio_weights: at least T weights each; the padding is cut off.
        title: of the figure.
    """
    seconds = len(scene.frames)
    with plt.rc_context(STYLE):
        heights = {"height_ratios": [0.75, 0.22, 1, 1]}
        figure, (large, strip, middle, bottom) = plt.subplots(4, 1, figsize=(11, 5.4), sharex=True, gridspec_kw=heights)
        pixels = np.concatenate([np.pad(frame, 1) for frame in scene.frames], axis=1)  # (10, 10 T)
        strip.imshow(pixels, cmap="gray", aspect="auto", extent=(-0.5, seconds - 0.5, 0, 1), interpolation="nearest")
        strip.set(yticks=[])
        strip.grid(False)
        _large_frames(large, scene)
        large.set_title(title)
        rows = ((middle, rgb_weights, "see", 0), (bottom, audio_weights, "hear", 1))
        for axes, weights, verb, index in rows:
            axes.bar(range(seconds), weights[:seconds], color=COLOURS[index], width=0.9)
            for event in scene.events:
                if event.label // 10 == index:
                    axes.axvspan(event.start - 0.5, event.stop - 0.5, color="0.8", zorder=0)
                    place = ((event.start + event.stop - 1) / 2, 1.0)
                    axes.annotate(
                        CLASS_NAMES[event.label], place, xycoords=("data", "axes fraction"), ha="center", va="bottom"
                    )
            axes.set_ylabel(f"weight\n({verb})")
            axes.margins(y=0.25)
        bottom.set(xlabel="second", xlim=(-0.5, seconds - 0.5))
    return figure


def _large_frames(axes: Axes, scene: Scene) -> None:
    """The frames in which a digit flashes, enlarged above their seconds and moved apart where they would overlap."""
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


def contributions(report: Mapping[str, Any]) -> Figure:
    """A video's attention over its seconds, and below it for each label what every second contributed to its logit.

    Args:
        report: as :func:`alstm_helpers.evaluation.explain.explain` returns it.
    """
    labels, seconds = report["labels"], np.arange(report["seconds"])
    with plt.rc_context(STYLE):
        size = (9, 1.5 + 1.1 * len(labels))
        figure, panels = plt.subplots(1 + len(labels), 1, figsize=size, sharex=True, squeeze=False)
        attention, *rest = panels[:, 0]
        rows = [("attention", report["attention"], attention)]
        for label, panel in zip(labels, rest, strict=True):
            name = label["name"] or f"class {label['index']}"
            rows.append((f"{name}\n{label['score']:.2f}", label, panel))
        for title, values, panel in rows:
            for offset, stream, colour, hatch in ((-0.2, "rgb", COLOURS[0], ""), (0.2, "audio", COLOURS[1], "///")):
                look = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
                panel.bar(seconds + offset, values[stream], 0.4, label=stream, **look)
            panel.set_ylabel(title, rotation=0, ha="right", va="center")
            panel.axhline(0, color="black", linewidth=0.6)
        limits = [panel.get_ylim() for panel in rest]
        for panel in rest:  # one scale, so that labels compare
            panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        attention.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        attention.set_title(f"{report['video']}: attention, and what each second adds to a label's logit", loc="left")
        panels[-1, 0].set(xlabel="second", xlim=(-0.5, len(seconds) - 0.5))
    return figure


def timeline(report: Mapping[str, Any], seconds: Sequence[int], frames: np.ndarray) -> Figure:
    """A clip over its seconds: pictures, the attention of both streams, and the best label's score.

    Args:
        report: as :func:`alstm_helpers.own_videos.watch.watch` returns it.
        seconds, frames: of the pictures, uint8 (N, S, S, 3).
    """
    count, best = report["seconds"], report["labels"][0]
    with plt.rc_context(STYLE):
        heights = {"height_ratios": [1, 0.9, 0.9, 1.1]}
        figure, panels = plt.subplots(4, 1, figsize=(11, 6.2), sharex=True, gridspec_kw=heights)
        strip, rgb, audio, score = panels
        strip.set(ylim=(0, 1))
        strip.axis("off")
        for number, (second, frame) in enumerate(zip(seconds, frames, strict=True)):
            place = (number + 0.5) * count / len(seconds) - 0.5
            image = OffsetImage(frame, zoom=58 / frame.shape[0])
            line = {"arrowstyle": "-", "color": "0.6"}
            strip.add_artist(AnnotationBbox(image, (second, 0), (place, 0.6), pad=0.1, arrowprops=line))
        for panel, stream, colour in ((rgb, "rgb", COLOURS[0]), (audio, "audio", COLOURS[1])):
            panel.bar(range(count), report["attention"][stream], color=colour, width=0.9)
            panel.set_ylabel(f"attention\n({stream})")
        score.plot(range(count), report["over_time"], color=COLOURS[2], marker="o" if count <= 60 else "", markersize=3)
        score.axhline(best["score"], color="0.4", linestyle="--", linewidth=1)
        score.set(xlabel="second", xlim=(-0.5, count - 0.5), ylim=(-0.03, 1.03))
        score.xaxis.set_major_locator(MaxNLocator(integer=True))
        name = best["name"] or f"class {best['index']}"
        score.set_ylabel(f"score of\n{name}")
        score.text(count - 0.5, best["score"], "whole clip", ha="right", va="bottom", fontsize=8, color="0.3")
        found = ", ".join(f"{label['name'] or label['index']} {label['score']:.2f}" for label in report["labels"])
        strip.set_title(f"{report['video']}: {found}", loc="left")
        score.set_title(f"from the {report['window']} seconds around each second alone", loc="left", fontsize=9)
    return figure


def frame_strip(frames: np.ndarray, titles: Sequence[str], *, title: str) -> Figure:
    """Small pictures (N, 8, 8) in a row, each with its own title."""
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
    xticks: Sequence[str] | None = None,
    yticks: Sequence[str] | None = None,
    colorbar: str = "",
) -> Figure:
    """A heat map, dark where large."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 5))
        image = axes.imshow(values, cmap="Greys", aspect="auto", interpolation="nearest")
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axes.grid(False)
        if xticks is not None:
            axes.set_xticks(range(len(xticks)), xticks, rotation=90)
        if yticks is not None:
            axes.set_yticks(range(len(yticks)), yticks)
        figure.colorbar(image, label=colorbar)
    return figure


def confusion(scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str] = CLASS_NAMES) -> Figure:
    """For the videos of each true class (rows), the mean score of every class (columns) that is *not* also true.

    With several labels a video there is no confusion matrix of counts; this is its counterpart. The
    diagonal holds the mean score of the true class itself.

    Args:
        scores: float (N, C).
        labels: multi-hot (N, C).
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
        xticks=class_names,
        yticks=class_names,
        colorbar="mean score",
    )


def score_distribution(scores: np.ndarray, labels: np.ndarray) -> Figure:
    """Histogram of the scores of true and of false classes, on a logarithmic count."""
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
    """Precision over recall of pooled predictions; the area under the steps is GAP.

    Args:
        scores: float (N,), pooled over the split.
        hits: bool (N,).
        num_positives: true labels in the split.
    """
    _, true_above, false_above = (counts[::-1] for counts in count_above(scores, hits))  # from the surest hit on
    shown = np.unique(np.linspace(0, len(true_above) - 1, 2000).astype(int))  # a whole split has millions
    recall = np.concatenate([[0.0], true_above[shown] / num_positives])
    precision = (true_above / (true_above + false_above))[shown]
    precision = np.concatenate([precision[:1], precision])
    area = average_precision(scores, hits, num_positives)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        axes.fill_between(recall, precision, step="pre", color=COLOURS[0], alpha=0.25)
        axes.step(recall, precision, where="pre", color=COLOURS[0])
        axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title=f"GAP is the area: {area:.3f}")
    return figure


def class_ap(positives: np.ndarray, ap: np.ndarray) -> Figure:
    """Average precision of each class over how often it occurs in the split; classes without a positive are left out.

    Args:
        positives: int (C,).
        ap: float (C,).
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
    """One labelled bar a name."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.2))
        drawn = axes.bar(list(values), list(values.values()), color=COLOURS[: len(values)], edgecolor="black")
        axes.bar_label(drawn, fmt="%.3g", padding=2)
        axes.set(ylabel=ylabel, title=title)
        axes.margins(y=0.15)
    return figure
