"""Intervals over other samples of groups of videos, and the verdict on two methods."""

from __future__ import annotations

import numpy as np
import pytest

from alstm_helpers.evaluation.intervals import difference, interval_95, verdict
from alstm_helpers.metrics import YouTube8MMetrics


def test_groups_are_drawn_whole_whatever_their_order_and_sizes():
    """Every resample has as many groups as there are, each with all of its videos."""
    groups = [b"b", b"a", b"b", b"c", b"a", b"b"]
    seen = []

    def sizes(rows):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4]
        seen.append(counts[0] + counts[1] + counts[3])
        return [len(rows)]

    low, high = interval_95(sizes, groups, 200)[:, 0]
    assert set(seen) == {3} and 3 <= low < high <= 9


def test_the_interval_of_several_values_has_a_column_for_each():
    found = interval_95(lambda rows: [rows.mean(), -rows.mean()], range(9), 50)
    assert found.shape == (2, 2) and found[0, 0] < 4 < found[1, 0]
    assert found[:, 1] == pytest.approx(-found[::-1, 0])


def test_the_interval_is_that_of_pairs_and_of_groups():
    """Two methods with the same scores never differ; one that is right about half the groups more does."""
    labels = np.eye(2, dtype=bool)[np.arange(40) % 2]
    right, wrong = labels.astype(np.float32), (~labels).astype(np.float32)
    half = np.where(np.arange(40)[:, None] < 20, right, wrong)
    best, worse = YouTube8MMetrics(2, 2), YouTube8MMetrics(2, 2)
    best.update(right, labels)
    worse.update(half, labels)
    names = [b"%d" % row for row in range(40)]
    same = difference(worse, worse, names, 0)
    assert same == {"gap": 0.0, "interval_95": [0.0, 0.0], "groups": 40}
    better = difference(best, worse, names, 0)
    grouped = difference(best, worse, [b"%d" % (row // 20) for row in range(40)], 0)
    assert 0 < better["interval_95"][0] < better["gap"] < better["interval_95"][1]
    assert grouped["groups"] == 2 and verdict(grouped).startswith("2 independent groups of clips are too few to tell")
    assert grouped["interval_95"][0] == 0 < better["interval_95"][0]  # both groups drawn may be the one without doubt


def test_another_seed_changes_the_interval_but_not_much():
    """As much as a thousand draws leave to chance; a verdict that changed with every seed would be none."""
    rng, labels = np.random.default_rng(0), np.eye(2, dtype=bool)[np.arange(24) % 2]
    good, better = YouTube8MMetrics(2, 2), YouTube8MMetrics(2, 2)
    good.update(rng.random(labels.shape) + 0.2 * labels, labels)
    better.update(rng.random(labels.shape) + 0.6 * labels, labels)
    first, second = (np.array(difference(better, good, range(24), seed)["interval_95"]) for seed in (0, 1))
    assert 0 < np.abs(first - second).max() < 0.1 * (first[1] - first[0])


@pytest.mark.parametrize(
    "interval, said",
    [
        ([0.01, 0.3], "the network is better than the linear baseline: GAP +0.1000, 95 % interval +0.0100 to +0.3000"),
        ([-0.3, -0.1], "the linear baseline is better than the network: "),
        ([-0.3, 0.0], "the network and the linear baseline cannot be told apart: "),
        ([-0.1, 0.3], "the network and the linear baseline cannot be told apart: "),
        ([0.0, 0.3], "the network and the linear baseline cannot be told apart: "),
    ],
)
def test_the_verdict_says_who_is_better(interval, said):
    found = verdict({"gap": 0.1, "interval_95": interval})
    assert found.startswith(said) and ("label more clips" in found) == (interval[0] <= 0)
    assert ("another TRAIN.seed" in found) == (interval[0] > 0)  # the interval leaves out the chance in training


@pytest.mark.parametrize("interval", [[0.01, 0.3], [-0.3, -0.1]])
def test_with_fewer_than_ten_groups_there_is_no_verdict(interval):
    """The interval of few groups is too narrow: methods that do not differ would often be told apart."""
    few, enough = (verdict({"gap": 0.1, "interval_95": interval, "groups": groups}) for groups in (9, 10))
    assert few.startswith(
        "9 independent groups of clips are too few to tell the network and the linear baseline apart: "
    )
    assert few.endswith("; label clips of more people or recordings") and "better" not in few and "better" in enough


def test_nine_tenths_of_the_intervals_of_ten_groups_hold_the_mean():
    """And fewer of those of five: as many as Student's t says."""
    rng = np.random.default_rng(0)
    for groups, share in ((5, 0.845), (10, 0.904)):
        draws = rng.normal(size=(400, groups))
        held = np.mean([_holds_zero(draw) for draw in draws])
        assert held == pytest.approx(share, abs=0.04)


def _holds_zero(draw):
    low, high = interval_95(lambda rows: [draw[rows].mean()], range(len(draw)), 200)[:, 0]
    return low <= 0 <= high
