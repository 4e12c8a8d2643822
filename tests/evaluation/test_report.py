"""The report beside the metrics: intervals, frequency bands, thresholds, the batch-averaged GAP, and its files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from support import default_of

from alstm_helpers.commands import evaluation as commands
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.intervals import bootstrap_intervals
from alstm_helpers.evaluation.report import (
    ReportOptions,
    batch_averaged_gap,
    class_rows,
    frequency_bands,
    write_report,
)
from alstm_helpers.metrics import YouTube8MMetrics, best_f1


def some_metrics(num_videos=80, num_classes=6, seed=0, strength=0.4):
    rng = np.random.default_rng(seed)
    truth = rng.random((num_videos, num_classes)) < 0.3
    metrics = YouTube8MMetrics(num_classes, 4)
    metrics.update((rng.random(truth.shape) + strength * truth).astype(np.float32) / 2, truth)
    return metrics


def test_intervals_contain_the_metric_and_shrink_with_more_videos():
    widths = {}
    for num_videos in (100, 1600):
        metrics = some_metrics(num_videos)
        found, result = bootstrap_intervals(metrics, 100), metrics.result()
        assert list(found) == ["hit_at_1", "perr", "gap", "map"]
        for name, (low, high) in found.items():
            assert low < result[name] < high
        widths[num_videos] = {name: high - low for name, (low, high) in found.items()}
    for name, wide in widths[100].items():  # a quarter of the width with sixteen times the videos
        assert 2.5 < wide / widths[1600][name] < 6.5


def test_an_interval_is_that_of_the_binomial_for_hit_at_1():
    metrics = some_metrics(400)
    share = metrics.hit_at_1()
    low, high = bootstrap_intervals(metrics, 400)["hit_at_1"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 400), rel=0.2)


def test_an_interval_leaves_out_a_fortieth_at_each_end():
    """Of 50 videos, of which the first 20 are right: the share of right ones among the same draws."""
    right = np.arange(50) < 20
    metrics = YouTube8MMetrics(2, 1)
    metrics.update(np.where(right[:, None], [0.9, 0.1], [0.2, 0.8]), np.tile([1, 0], (50, 1)))
    rng = np.random.default_rng(0)
    shares = [right[rng.integers(0, 50, 50)].mean() for _ in range(200)]
    expected, narrower = (np.quantile(shares, [left_out, 1 - left_out]).tolist() for left_out in (1 / 40, 1 / 20))
    assert bootstrap_intervals(metrics, 200)["hit_at_1"] == pytest.approx(expected)
    assert expected[0] < narrower[0] and narrower[1] < expected[1]


def test_the_same_seed_gives_the_same_interval():
    metrics = some_metrics()
    assert bootstrap_intervals(metrics, 20) == bootstrap_intervals(metrics, 20)
    assert bootstrap_intervals(metrics, 20) != bootstrap_intervals(metrics, 20, seed=1)


def test_batch_averaged_gap_by_hand():
    """Each batch of one is ranked perfectly, the pool of both is not."""
    metrics = YouTube8MMetrics(2, 2)
    metrics.update(np.array([[0.9, 0.8], [0.3, 0.2]]), [[0], [0]])
    assert batch_averaged_gap(metrics, 1) == 1.0
    assert batch_averaged_gap(metrics, 2) == metrics.gap() == pytest.approx((1 + 2 / 3) / 2)


def test_batch_averaged_gap_grows_as_batches_shrink():
    metrics = some_metrics(512, strength=0.05)
    found = [batch_averaged_gap(metrics, size) for size in (512, 64, 16, 4, 1)]
    assert found[0] == pytest.approx(metrics.gap(), abs=1e-12)
    assert found == sorted(found) and found[-1] > found[0] + 0.02


def test_a_last_batch_that_is_not_full_counts():
    metrics = some_metrics(5)
    parts = [metrics.subset(np.array(rows)).gap() for rows in ([0, 1], [2, 3], [4])]
    assert batch_averaged_gap(metrics, 2) == pytest.approx(np.mean(parts), abs=1e-12)


def test_frequency_bands():
    positives, ap = np.array([0, 1, 9, 10, 99, 100, 5]), np.array([0.9, 0.1, 0.3, 0.4, 0.6, 0.7, 0.5])
    assert frequency_bands(positives, ap) == [
        {"positives": "1–9", "classes": 3, "ap": pytest.approx(0.3)},
        {"positives": "10–99", "classes": 2, "ap": pytest.approx(0.5)},
        {"positives": "100–999", "classes": 1, "ap": pytest.approx(0.7)},
    ]


def test_class_rows():
    metrics = YouTube8MMetrics(3, 3)
    metrics.update(np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.2]]), [[0], [1]])
    rows = class_rows(metrics, {0: "cat"})
    assert rows[0] == {"index": 0, "name": "cat", "positives": 1, "ap": 1.0, "threshold": 0.9, "f1": 1.0}
    assert rows[1] == {"index": 1, "name": None, "positives": 1, "ap": 1.0, "threshold": 0.3, "f1": 1.0}
    assert rows[2] == {"index": 2, "name": None, "positives": 0, "ap": 0.0, "threshold": None, "f1": 0.0}


def test_files(tmp_path):
    metrics = some_metrics()
    path = tmp_path / "new 目录" / "m.json"
    done = write_report(metrics, 2.5, path, ReportOptions(16, names={1: "eins, zwei"}, resamples=10))
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result == {**metrics.result(), "loss": 2.5}
    assert done.metrics == result
    assert done.details == json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
    assert done.details["batch_averaged_gap"]["value"] == batch_averaged_gap(metrics, 16)
    assert done.details["batch_averaged_gap"]["batch_size"] == 16
    scores, hits = metrics.pool()
    assert done.details["best_f1"]["threshold"] == best_f1(scores, hits, int(metrics.positives().sum()))[0]
    assert sum(band["classes"] for band in done.details["frequency_bands"]) == 6
    names = ["classes.csv", "classes.png", "m.json", "precision_recall.png", "report.json"]
    assert sorted(item.name for item in path.parent.iterdir()) == names
    with (path.parent / "classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ap"]) for row in rows] == metrics.class_ap().tolist()
    assert [int(row["positives"]) for row in rows] == metrics.positives().tolist()
    assert rows[1]["name"] == "eins, zwei" and rows[0]["name"] == ""
    for name in ("classes.png", "precision_recall.png"):
        pixels = np.array(Image.open(path.parent / name).convert("L"))
        assert pixels.min() < 100 and pixels.shape[1] > 600


def test_a_report_again_has_the_same_bytes(tmp_path):
    for name in "ab":
        write_report(some_metrics(), 1.0, tmp_path / name / "metrics.json", ReportOptions(4, resamples=5))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_two_hundred_resamples_unless_said_otherwise():
    metrics = some_metrics(10)
    assert bootstrap_intervals(metrics) == bootstrap_intervals(metrics, 200)
    assert ReportOptions(1).resamples == default_of(commands.evaluate, "--resamples") == 200


def test_no_intervals(tmp_path):
    done = write_report(some_metrics(), 1.0, tmp_path / "m.json", ReportOptions(4, resamples=0))
    assert "interval_95" not in done.details


def test_videos_without_labels_are_refused_before_anything_is_written(tmp_path):
    metrics = YouTube8MMetrics(3, 3)
    metrics.update(np.ones((2, 3)), [[], []])
    with pytest.raises(AlstmError, match=r"the list: none of its 2 videos has a label; .*alstm predict"):
        write_report(metrics, 1.0, tmp_path / "m.json", ReportOptions(4))
    assert not list(tmp_path.iterdir())


def test_of_one_group_there_is_no_other_sample(tmp_path):
    """The interval would have no width."""
    for groups, there in ((["a"] * 80, False), (["a"] * 79 + ["b"], True)):
        options = ReportOptions(4, resamples=5, groups=[name.encode() for name in groups])
        assert ("interval_95" in write_report(some_metrics(), 1.0, tmp_path / "m.json", options).details) is there
