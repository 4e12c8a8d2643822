"""The rows of the log by hand, and where they go."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from alstm_helpers.data.dataset import Batch
from alstm_helpers.metrics import LOGGED, METRICS
from alstm_helpers.runtime import paddle
from alstm_helpers.training import log
from alstm_helpers.training.curves import Curves
from alstm_helpers.training.log import Column, Log, LogRow, Meter, Step, numbers_of


class Drawn(Curves):
    """Curves that record their points."""

    def __init__(self):
        super().__init__(None)
        self.points: list[tuple[str, int, dict[str, float]]] = []

    def add(self, kind, step, numbers):
        self.points.append((kind, step, dict(numbers)))


TRAIN_ROW: dict[str, float] = {
    "epoch": 0.5,
    "step": 12,
    "loss": 2.5,
    "hit_at_1": 0.5,
    "perr": 0.25,
    "gap": 0.75,
    "learning_rate": 0.001,
    "batch_cost": 0.2,
    "reader_cost": 0.05,
    "videos_per_second": 80.4,
    "seconds_left": 61.2,
}
VALID_ROW: dict[str, float] = {
    "epoch": 1.0,
    "step": 24,
    **{metric.key: 0.5 for metric in METRICS},
    "num_videos": 60,
    "loss": 3.0,
}


def a_batch(size):
    """Videos without frames, each with a label."""
    frames, lengths = np.zeros((size, 0, 0), np.uint8), np.zeros(size, np.int64)
    return Batch([b"a"] * size, frames, frames, lengths, np.eye(size, 20, dtype=np.float32))


def test_a_row_by_hand(tiny_config, monkeypatch):
    """Steps of 3 s, 1 s of it reading, on the first of four ranks: a row after two steps, then one after one."""
    now = [0.0]
    monkeypatch.setattr(log, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    batch = a_batch(2)

    def read():
        for _ in range(3):
            now[0] += 1
            yield batch

    meter, rows = Meter(tiny_config, 4, 4), []
    for number, each in enumerate(meter.timed(read()), 1):
        now[0] += 2
        meter.add(Step(number, each, paddle.zeros([2, 20]), 10.0 * number, 0.5))
        rows += [meter.row()] if number > 1 else []
    keys = ("loss", "batch_cost", "reader_cost", "videos_per_second", "seconds_left")  # two epochs of four steps
    assert [row[key] for key in keys for row in rows[:1]] == pytest.approx([30 / 4, 3, 1, 4 * 4 / 6, 6 * 3])
    assert [row[key] for key in keys for row in rows[1:]] == pytest.approx([30 / 2, 3, 1, 4 * 2 / 3, 5 * 3])
    assert [(row["epoch"], row["step"], row["learning_rate"]) for row in rows] == [(0.5, 2, 0.5), (0.75, 3, 0.5)]
    assert [list(row) for row in rows] == [list(TRAIN_ROW)] * 2  # train.jsonl keeps its keys and their order


def test_a_row_goes_to_the_checkpoint_the_file_the_curves_and_the_line(tmp_path):
    earlier: LogRow = {"kind": "train", "epoch": 0.25, "step": 6}
    drawn, lines = Drawn(), list[str]()
    path = tmp_path / "train.jsonl"
    path.write_text("of a run that got further\n", encoding="utf-8")
    rows = [earlier]
    written = Log(rows, drawn, lines.append)
    written.begin(path)
    written.add("train", "epoch 1/2  step 12/24", TRAIN_ROW)
    written.add("valid", "epoch 1/2", VALID_ROW)
    assert rows == [earlier, {"kind": "train", **TRAIN_ROW}, {"kind": "valid", **VALID_ROW}]
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    assert lines == [
        "[TRAIN] epoch 1/2  step 12/24  loss 2.5000  Hit@1 0.5000  PERR 0.2500  GAP 0.7500  lr 1.00e-03"
        "  80 videos/s  reader 0.050 of 0.200 s  left 0:01:01",
        "[VALID] epoch 1/2  loss 3.0000  Hit@1 0.5000  PERR 0.5000  GAP 0.5000",
    ]
    hidden = {"epoch", "step", "num_videos", "seconds_left"}
    assert drawn.points == [
        (kind, row["step"], {key: value for key, value in row.items() if key not in hidden})
        for kind, row in (("train", TRAIN_ROW), ("valid", VALID_ROW))
    ]


def test_before_it_begins_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Log([], Drawn(), lambda line: None).add("valid", "epoch 1/2", VALID_ROW)
    assert list(tmp_path.iterdir()) == []


def test_a_new_column_is_one_entry(tiny_config, monkeypatch):
    column = Column("videos", lambda lap: lap.videos, lambda row: f"{row['videos']} videos")
    monkeypatch.setattr(log, "COLUMNS", (*log.COLUMNS, column))
    meter, drawn, lines = Meter(tiny_config, 4, 1), Drawn(), list[str]()
    batch = a_batch(1)
    meter.add(Step(1, batch, paddle.zeros([1, 20]), 1.0, 0.5))
    rows: list[LogRow] = []
    Log(rows, drawn, lines.append).add("train", "here", meter.row())
    assert rows[0]["videos"] == drawn.points[0][2]["videos"] == 1 and lines[0].endswith("  1 videos")


def test_the_columns_have_the_logged_metrics():
    keys = [column.key for column in log.COLUMNS]
    assert [key for key in keys if key in {metric.key for metric in METRICS}] == [metric.key for metric in LOGGED]


def test_numbers_of_a_kind():
    rows: list[LogRow] = [{"kind": "valid", "gap": 0.5}, {"kind": "train", "gap": 0.1}, {"kind": "valid", "gap": 0.75}]
    assert numbers_of(rows, "valid", "gap") == [0.5, 0.75]
