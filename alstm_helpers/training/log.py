"""The log of a training: its rows, what they are measured from, and where they go.

A row is one JSON object of ``train.jsonl``. The checkpoint keeps it for a resume, VisualDL draws its numbers, and a
line of text shows some of them. A new column is one entry in ``COLUMNS``, a new metric one in
``alstm_helpers.metrics.METRICS``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import Batch
from alstm_helpers.files import append, write_json_lines
from alstm_helpers.metrics import LOGGED, Metric, YouTube8MMetrics, metrics_text
from alstm_helpers.runtime import Tensor, paddle
from alstm_helpers.training.curves import Curves

Kind: TypeAlias = Literal["train", "valid"]
Numbers: TypeAlias = Mapping[str, float]  # a row without its kind
LogRow: TypeAlias = dict[str, float | str]  # "kind" is a Kind, all others are numbers
LineReport: TypeAlias = Callable[[str], None]  # receives a line of text


def numbers_of(rows: Iterable[LogRow], kind: Kind, key: str) -> list[float]:
    """Return one number of every row of a kind."""
    return [cast(float, row[key]) for row in rows if row["kind"] == kind]


class Step(NamedTuple):
    """One update of the weights.

    ``number`` counts from 1 over the whole training, and the schedule is ``ahead`` of it, see
    :class:`alstm_helpers.training.checkpoint.TrainingState`. ``batch`` is the share of this rank, B videos; ``logits``
    are float32 (B, C), None if B is 0; ``loss`` is summed over classes and videos.
    """

    number: int
    batch: Batch
    logits: Tensor | None
    loss: float
    learning_rate: float
    ahead: int = 0


class Lap:
    """The steps since the last row of the log; the share of this rank, if there are several.

    Args:
        config: settings of the training.
        steps_per_epoch: as the schedule counts them.
        ranks: number of processes.
    """

    def __init__(self, config: Config, steps_per_epoch: int, ranks: int) -> None:
        self.steps_per_epoch, self.ranks = steps_per_epoch, ranks
        self.all_steps = config.TRAIN.epoch * steps_per_epoch
        self.metrics = YouTube8MMetrics(config.MODEL.num_classes, config.MODEL.topk)
        self.step, self.position, self.learning_rate = 0, 0, 0.0  # of the last step
        self.num_steps, self.loss, self.waited, self.seconds = 0, 0.0, 0.0, 0.0  # sums
        self._start = time.perf_counter()

    def add(self, step: Step) -> None:
        """Add a step that has just been taken."""
        self.step, self.learning_rate = step.number, step.learning_rate
        self.position = step.number + step.ahead
        self.num_steps += 1
        if step.logits is not None:
            self.loss += step.loss
            self.metrics.update(paddle.nn.functional.sigmoid(step.logits).numpy(), step.batch.labels)  # (B, C) each
        self.seconds = time.perf_counter() - self._start

    @property
    def videos(self) -> int:
        """Number of videos."""
        return self.metrics.num_videos

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step, reading included."""
        return self.seconds / self.num_steps


class Column(NamedTuple):
    """One number of a ``train`` row.

    Args:
        key: its name in ``train.jsonl`` and, below ``train/``, in VisualDL.
        compute: its value, from the steps since the last row.
        text: how the line shows it, from the whole row; None leaves it out. A ``valid`` row that has the key shows it,
            too.
        drawn: whether VisualDL draws it.
    """

    key: str
    compute: Callable[[Lap], float]
    text: Callable[[Numbers], str] | None = None
    drawn: bool = True


def _column_of(metric: Metric) -> Column:
    """Make the column of a metric."""
    return Column(metric.key, lambda lap: metric.compute(lap.metrics), lambda row: metrics_text(row, [metric]))


def _speed_text(row: Numbers) -> str:
    """Show how fast the steps are, and how much of the time is spent waiting for the reader."""
    cost = f"reader {row['reader_cost']:.3f} of {row['batch_cost']:.3f} s"
    return f"{row['videos_per_second']:.0f} videos/s  {cost}"


# Times are in seconds; costs are seconds per step.
COLUMNS = (
    Column("epoch", lambda lap: lap.position / lap.steps_per_epoch, drawn=False),
    Column("step", lambda lap: lap.step, drawn=False),
    Column("loss", lambda lap: lap.loss / lap.videos, lambda row: f"loss {row['loss']:.4f}"),
    *map(_column_of, LOGGED),
    Column("learning_rate", lambda lap: lap.learning_rate, lambda row: f"lr {row['learning_rate']:.2e}"),
    Column("batch_cost", lambda lap: lap.seconds_per_step),
    Column("reader_cost", lambda lap: lap.waited / lap.num_steps),
    Column("videos_per_second", lambda lap: lap.videos * lap.ranks / lap.seconds, _speed_text),
    Column(
        "seconds_left",
        lambda lap: lap.seconds_per_step * max(0, lap.all_steps - lap.position),  # num_samples may be too small
        lambda row: f"left {timedelta(seconds=round(row['seconds_left']))}",
        drawn=False,
    ),
)
NOT_DRAWN = {"kind", "num_videos", *(column.key for column in COLUMNS if not column.drawn)}


class Meter:
    """Measure the steps of an epoch, lap by lap; arguments as for :class:`Lap`."""

    def __init__(self, config: Config, steps_per_epoch: int, ranks: int) -> None:
        self._settings = (config, steps_per_epoch, ranks)
        self._lap = Lap(*self._settings)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches; the time until each one arrives counts as waiting for the reader."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            self._lap.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, step: Step) -> None:
        """Add a step that has just been taken."""
        self._lap.add(step)

    def row(self) -> dict[str, float]:
        """Compute the columns of the steps since the last row, and start a new lap."""
        row = {column.key: column.compute(self._lap) for column in COLUMNS}
        self.restart()
        return row

    def restart(self) -> None:
        """Start a new lap now."""
        self._lap = Lap(*self._settings)


class Log:
    """Where the rows of a training go.

    Args:
        rows: those of earlier runs, as the checkpoint has them; new ones are appended.
        curves: for VisualDL.
        report: receives a line of text per row.
    """

    def __init__(self, rows: list[LogRow], curves: Curves, report: LineReport) -> None:
        self.rows, self.curves = rows, curves
        self._path: Path | None = None
        self._report = report

    def begin(self, path: Path) -> None:
        """Replace ``train.jsonl`` by the rows so far; those to come are appended to it. Before, nothing is written."""
        self._path = path
        write_json_lines(path, self.rows)

    def add(self, kind: Kind, where: str, numbers: Numbers) -> None:
        """Add a row.

        Args:
            kind: of the row.
            where: the position in the training, for the line of text.
            numbers: with ``epoch`` and ``step``; those of a ``train`` row as :meth:`Meter.row` returns them.
        """
        row: LogRow = {"kind": kind, **numbers}
        self.rows.append(row)
        self.curves.add(kind, int(numbers["step"]), {key: numbers[key] for key in numbers if key not in NOT_DRAWN})
        if self._path:
            append(self._path, json.dumps(row) + "\n")
        shown = [column.text(numbers) for column in COLUMNS if column.text and column.key in numbers]
        self._report("  ".join([f"[{kind.upper()}] {where}", *shown]))
