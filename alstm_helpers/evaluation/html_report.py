"""The page of ``alstm report``: what a network reaches on videos that judge it, and on which of them it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from alstm_helpers.errors import AlstmError, printable
from alstm_helpers.evaluation.baseline import no_skill_gap
from alstm_helpers.evaluation.calibration import Bin, across_folds, quality, reliability
from alstm_helpers.evaluation.html_parts import bar, curves, document, jpeg, paragraph, section, table, text
from alstm_helpers.evaluation.intervals import bootstrap_intervals, difference, interval_95, verdict
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.metrics import METRICS, best_classes
from alstm_helpers.progress import ProgressBar, no_progress

RESAMPLES = 200
MOST_CLASSES = 30  # in a confusion matrix
MOST_ROWS = 200  # in the table of classes
PAIRS = 20  # that are confused most
CLIPS = 12  # in each list
PICTURES = 4  # of a clip
SHOWN_LABELS = 3  # of a clip
UNSURE = 0.5  # below it a network does not claim a label


class Picture(Protocol):
    """A small picture of a clip: JPEG."""

    @property
    def second(self) -> int: ...
    @property
    def jpeg(self) -> bytes: ...


FindPictures: TypeAlias = Callable[[str], Sequence[Picture]]  # of the video with an id; none where there are none


@dataclass(frozen=True)
class PageOptions:
    """What the page says beside numbers.

    Args:
        title: its heading.
        how: a sentence on the videos and the networks that judged them.
        names: class names by index.
        thumbnails: returns those of a clip.
        seed: of the resampling that compares the network with the baseline, as ``alstm crossval`` did.
    """

    title: str
    how: str
    names: Mapping[int, str] = field(default_factory=dict)
    thumbnails: FindPictures = lambda video_id: ()
    seed: int = 0


def report_page(scored: Scored, options: PageOptions, *, progress: ProgressBar = no_progress) -> str:
    """Return the page: HTML that loads nothing and runs nothing, the same for the same scores.

    Raises:
        AlstmError: no video has a label.
    """
    if not scored.labels.any():
        problem = f"none of its {len(scored.ids)} videos has a label"
        raise AlstmError(options.title, problem, "judge videos that have labels; `alstm predict` needs none")
    return document(options.title, _Page(scored, options, progress).sections())


class _Page:
    """The sections of a page."""

    def __init__(self, scored: Scored, options: PageOptions, progress: ProgressBar) -> None:
        self.scored, self.options, self.progress = scored, options, progress
        self.best = scored.scores.argmax(axis=1)  # (N,)
        self.sure = scored.scores[np.arange(len(self.best)), self.best]  # (N,)
        self.right = scored.labels[np.arange(len(self.best)), self.best]  # (N,)
        self.calibrated = None if scored.folds is None else across_folds(scored)  # (N, C)

    def sections(self) -> list[str]:
        """Return all of them."""
        count, classes = len(self.scored.ids), int(self.scored.labels.any(axis=0).sum())
        return [
            paragraph(f"{count} videos with labels of {classes} classes. {self.options.how}"),
            self._metrics(),
            self._confusion(),
            self._classes(),
            self._worst(),
            self._uncertain(),
            self._calibration(),
        ]

    def _name(self, index: int) -> str:
        return text(self.options.names.get(index) or f"class {index}")

    def _metrics(self) -> str:
        methods, labels = {"the network": self.scored.metrics}, self.scored.labels
        said = "There is no linear baseline to compare with: `alstm crossval` has one."
        if self.scored.baseline_metrics is not None:
            methods["linear baseline"] = self.scored.baseline_metrics
            apart = difference(self.scored.metrics, self.scored.baseline_metrics, self.scored.groups, self.options.seed)
            said = verdict(apart)
            said = f"{said[0].upper()}{said[1:]}."
        said += f" By the frequencies of the classes alone, GAP is {no_skill_gap(labels, self.scored.top_k):.3f}."
        if (without := int((~labels.any(axis=1)).sum())) > 0:
            said += f" Videos without a label: {without}; so Hit@1 is at most {1 - without / len(self.right):.3f}."
        cells: dict[str, list[str]] = {metric.key: [] for metric in METRICS}
        for metrics in methods.values():
            found = metrics.result()
            bounds = bootstrap_intervals(metrics, RESAMPLES, groups=self.scored.groups, progress=self.progress)
            for key, (low, high) in bounds.items():
                cells[key].append(f"{found[key]:.3f} <span class=soft>({low:.3f} to {high:.3f})</span>")
        rows = [(metric.title, *cells[metric.key]) for metric in METRICS]
        caption = "In brackets: 95 % interval over other samples of such videos"
        return section("What it reaches", paragraph(said), table(caption, ("", *methods), rows))

    def _confusion(self) -> str:
        labels, best, right = self.scored.labels, self.best, self.right
        true = np.where(right[:, None], np.eye(labels.shape[1], dtype=bool)[best], labels)  # (N, C)
        counts = np.zeros((labels.shape[1],) * 2, np.int64)
        np.add.at(counts, (np.nonzero(true)[1], best[np.nonzero(true)[0]]), 1)
        seen = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1)).tolist()
        said = "Rows are true classes, columns best labels. A video whose best label is right is on the diagonal alone."
        if len(seen) > MOST_CLASSES:
            return section("What it confuses", paragraph(f"{said} The {PAIRS} largest of them:"), self._pairs(counts))
        rows = [
            (self._name(row), *(_shaded(counts[row, column], counts[row].sum()) for column in seen)) for row in seen
        ]
        head = ("", *(f"<span>{self._name(column)}</span>" for column in seen))
        return section("What it confuses", paragraph(said), table("Videos", head, rows, kind="matrix"))

    def _pairs(self, counts: np.ndarray) -> str:
        wrong = counts * ~np.eye(len(counts), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
        pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
        rows = [(self._name(a), f'<td class="text">{self._name(b)}</td>', str(wrong[a, b])) for a, b in pairs]
        return table("Most confused", ("true", "best label", "videos"), [row for row in rows if row[2] != "0"])

    def _classes(self) -> str:
        metrics, baseline = self.scored.metrics, self.scored.baseline_metrics
        positives, ap = metrics.positives(), metrics.class_ap()
        bounds = interval_95(
            lambda rows: metrics.subset(rows).class_ap(), self.scored.groups, RESAMPLES, progress=self.progress
        )
        seen = np.flatnonzero(positives)
        order = seen[np.argsort(ap[seen], kind="stable")][:MOST_ROWS].tolist()
        linear = None if baseline is None else baseline.class_ap()
        rows = []
        for index in order:
            low, high = bounds[:, index]
            numbers = (str(positives[index]), f"{ap[index]:.3f}", f"{low:.3f} to {high:.3f}")
            others = [] if linear is None else [f"{linear[index]:.3f}"]
            rows.append((self._name(index), *numbers, *others, bar(ap[index], low, high)))
        head = ("class", "videos", "AP", "95 % interval", *([] if linear is None else ["baseline"]), "0 … 1")
        said = "Average precision of each class that occurs, lowest first."
        if len(order) < len(seen):
            said += f" The other {len(seen) - len(order)} classes are higher."
        return section("Classes", paragraph(said), table("Classes", head, rows))

    def _worst(self) -> str:
        # No label is right for a video without any; it is right to be unsure of all of them.
        wrong = ~self.right & (self.scored.labels.any(axis=1) | (self.sure >= UNSURE))
        rows = sorted(np.flatnonzero(wrong).tolist(), key=lambda row: (-self.sure[row], self.scored.ids[row]))
        said = f"Of {len(self.right)} videos the best label of {len(rows)} is wrong; surest first."
        return section("Surely wrong", paragraph(said), self._clips(rows[:CLIPS]))

    def _uncertain(self) -> str:
        rows = sorted(range(len(self.sure)), key=lambda row: (self.sure[row], self.scored.ids[row]))
        said = "The videos whose best score is lowest. More labels of videos like these teach a network most."
        return section("Most uncertain", paragraph(said), self._clips(rows[:CLIPS]))

    def _clips(self, rows: Sequence[int]) -> str:
        cards = [self._clip(row) for row in rows]
        said = "" if not rows or any("<img" in card for card in cards) else _NO_PICTURES
        return f'{said}<ul class="clips">\n' + "\n".join(cards) + "\n</ul>" if cards else ""

    def _clip(self, row: int) -> str:
        name = printable(self.scored.ids[row])
        found = list(self.options.thumbnails(name))
        chosen = np.unique(np.linspace(0, len(found) - 1, min(PICTURES, len(found))).astype(int)).tolist()
        pictures = "".join(jpeg(found[at].jpeg, f"{name}, second {found[at].second}") for at in chosen)
        strip = f'<div class="strip">{pictures}</div>' if pictures else ""
        true = ", ".join(self._name(index) for index in np.flatnonzero(self.scored.labels[row]).tolist()) or "none"
        best = best_classes(self.scored.scores[row : row + 1], SHOWN_LABELS).ravel().tolist()
        scores = ", ".join(f"{self._name(index)} {self.scored.scores[row, index]:.3f}" for index in best)
        said = f"<p>true: <strong>{true}</strong></p><p>predicted: {scores}</p>"
        if self.calibrated is not None:
            said += f'<p class="soft">the best one calibrated: {self.calibrated[row, best[0]]:.3f}</p>'
        return f"<li>{strip}<h3>{text(name)}</h3>{said}</li>"

    def _calibration(self) -> str:
        parts = {"before": self.scored.scores}
        said = "There is no calibration: `alstm crossval` finds one."
        if self.calibrated is not None:
            parts["after"] = self.calibrated
            said = "Each fold was calibrated by what the others say; `alstm predict --calibration` uses all of them."
        bins = {kind: reliability(scores, self.scored.labels) for kind, scores in parts.items()}
        found = {kind: quality(scores, self.scored.labels) for kind, scores in parts.items()}
        rows = [
            (_TITLES[kind], f"{each['calibration_error']:.3f}", f"{each['log_loss']:.3f}")
            for kind, each in found.items()
        ]
        drawn = curves(
            {
                kind: [(part.score, part.right, part.videos / len(self.right)) for part in each]
                for kind, each in bins.items()
            },
            "score of the best label",
            "share that is right",
            "How often the best label is right, over its score. " + " ".join(_in_words(*each) for each in bins.items()),
        )
        legend = "On the diagonal scores are right as often as they say. Dashed: before calibration. Solid: after it."
        legend += " Large dots: many videos."
        head = ("", "error of the best score", "log loss")
        return section("Calibration", paragraph(said), table("Lower is better", head, rows), paragraph(legend), drawn)


_TITLES = {"before": "before calibration", "after": "after calibration"}
_NO_PICTURES = paragraph("There are no thumbnails of these videos: `alstm features` keeps them in its folder.")


def _shaded(count: int, whole: int) -> str:
    """Return a cell of the confusion matrix, dark where it has much of its row."""
    share = count / max(whole, 1)
    return f'<td style="--share: {share:.2f}">{count}</td>' if count else '<td class="none">0</td>'


def _in_words(kind: str, bins: Sequence[Bin]) -> str:
    said = "; ".join(f"score {part.score:.2f}, right {part.right:.2f}, {part.videos} videos" for part in bins)
    return f"{_TITLES[kind].capitalize()}: {said}."
