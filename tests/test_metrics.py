"""Hit@1, PERR, GAP and mAP against the definitions, written out slowly in plain Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import ScoreCounts, YouTube8MMetrics, average_precision

# The vectors of tensorflow/models, official/projects/yt8m/eval_utils.
AP_VECTORS = [
    ([0.98, 0.88, 0.77, 0.65, 0.64, 0.59, 0.45, 0.43, 0.20, 0.05], "1100011001", 0.714),
    ([0.878, 0.832, 0.759, 0.621, 0.458, 0.285, 0.134], "1010010", 0.722),
    ([0.98], "1", 1.0),
    ([0.56], "0", 0.0),
]


# --- the definitions (facts: metrics), one loop a sentence ------------------------------------------------------


def best_classes(scores, count):
    """The best classes of a video, best first; equal scores: the smaller class first."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]


def slow_ap(pairs, num_positives):
    """Sum over hits of the precision at that rank, divided by all positives."""
    ranked = sorted(pairs, key=lambda pair: -pair[0])  # stable: equal scores stay in order
    found, total = 0, 0.0
    for rank, (_, hit) in enumerate(ranked, start=1):
        if hit:
            found += 1
            total += found / rank
    return total / num_positives if num_positives else 0.0


def slow_metrics(scores, labels, num_classes, top_k):
    scores = [[float(score) for score in row] for row in scores]
    hits, shares, pool = 0, 0.0, []
    by_class = {index: [] for index in range(num_classes)}
    for row, truth in zip(scores, labels, strict=True):
        hits += best_classes(row, 1)[0] in truth
        if truth:
            first = best_classes(row, len(truth))
            shares += sum(index in truth and row[index] > 0 for index in first) / len(truth)
        for index in best_classes(row, top_k):
            pool.append((row[index], index in truth))
            by_class[index].append((row[index], index in truth))
    every = [index for truth in labels for index in truth]
    class_ap = [slow_ap(by_class[index], every.count(index)) for index in range(num_classes)]
    return {
        "hit_at_1": hits / len(scores),
        "perr": shares / len(scores),
        "gap": slow_ap(pool, len(every)),
        "map": sum(class_ap) / num_classes,
        "num_videos": len(scores),
    }


def measure(scores, labels, *, num_classes, top_k, cuts=()):
    metrics = YouTube8MMetrics(num_classes, top_k)
    bounds = [0, *cuts, len(scores)]
    for start, stop in itertools.pairwise(bounds):
        metrics.update(scores[start:stop], labels[start:stop])
    return metrics.result()


def random_case(seed, num_videos=41, num_classes=30, most_labels=9, levels=None):
    """Scores and label lists; with ``levels`` many scores are equal. Some videos have no label."""
    rng = np.random.default_rng(seed)
    scores = rng.random((num_videos, num_classes), dtype=np.float32)
    if levels:
        scores = np.floor(scores * levels).astype(np.float32) / levels
    counts = rng.integers(0, most_labels + 1, num_videos)
    labels = [sorted(rng.choice(num_classes, count, replace=False).tolist()) for count in counts]
    for row, truth in zip(scores, labels, strict=True):
        row[truth] += np.float32(0.25)  # better than chance, so that no metric is near 0
    return scores, labels


# --- tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores, truth, expected", AP_VECTORS)
def test_average_precision_vectors(scores, truth, expected):
    hits = np.array([mark == "1" for mark in truth])
    assert average_precision(np.array(scores), hits) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("scores, truth, expected", AP_VECTORS)
def test_average_precision_does_not_depend_on_the_order_given(scores, truth, expected):
    order = np.random.default_rng(1).permutation(len(scores))
    hits = np.array([mark == "1" for mark in truth])[order]
    assert average_precision(np.array(scores)[order], hits) == pytest.approx(expected, abs=5e-4)


def test_average_precision_counts_positives_that_were_not_predicted():
    assert average_precision(np.array([0.9, 0.8]), np.array([True, False]), num_positives=4) == 0.25


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("top_k", [1, 5, 20])
def test_equals_the_definitions(seed, top_k):
    scores, labels = random_case(seed)
    expected = slow_metrics(scores, labels, 30, top_k)
    assert min(expected["hit_at_1"], expected["perr"], expected["gap"], expected["map"]) > 0.005  # a case that can tell
    assert measure(scores, labels, num_classes=30, top_k=top_k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definitions_where_scores_are_equal(seed):
    scores, labels = random_case(seed, levels=4)
    found = measure(scores, labels, num_classes=30, top_k=4)
    assert found == pytest.approx(slow_metrics(scores, labels, 30, 4), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 4])
def test_batches_cut_anywhere_give_the_identical_result(levels):
    scores, labels = random_case(7, levels=levels)
    whole = measure(scores, labels, num_classes=30, top_k=4)
    rng = np.random.default_rng(0)
    for number in (1, 3, 8, 40):
        cuts = sorted(rng.choice(np.arange(1, len(scores)), number, replace=False))
        assert measure(scores, labels, num_classes=30, top_k=4, cuts=cuts) == whole


def test_gap_is_pooled_over_the_whole_split():
    """Two batches, each ranked perfectly inside itself, whose pooled ranking is not perfect."""
    scores = np.array([[0.9, 0.8], [0.3, 0.2]], dtype=np.float32)
    labels = [[0], [0]]
    inside = [measure(scores[i : i + 1], labels[i : i + 1], num_classes=2, top_k=2)["gap"] for i in range(2)]
    assert np.mean(inside) == 1.0
    # Pooled: hit, miss, hit, miss → (1/1 + 2/3) / 2.
    assert measure(scores, labels, num_classes=2, top_k=2, cuts=[1])["gap"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_lists_of_labels_equal_multi_hot(dtype):
    scores, labels = random_case(3)
    multi_hot = np.zeros(scores.shape, dtype=dtype)
    for row, truth in zip(multi_hot, labels, strict=True):
        row[truth] = 1
    expected = measure(scores, labels, num_classes=30, top_k=5)
    assert measure(scores, multi_hot, num_classes=30, top_k=5) == expected


def test_a_video_without_labels_is_a_miss():
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32)
    result = measure(scores, [[0], []], num_classes=2, top_k=1)
    assert result == {"hit_at_1": 0.5, "perr": 0.5, "gap": 1.0, "map": 0.5, "num_videos": 2}
    lower = measure(scores[::-1], [[0], []], num_classes=2, top_k=1)  # now the unlabelled one is the surer
    assert lower["gap"] == 0.5


def test_only_videos_without_labels():
    result = measure(np.ones((2, 3)), [[], []], num_classes=3, top_k=3)
    assert result == {"hit_at_1": 0.0, "perr": 0.0, "gap": 0.0, "map": 0.0, "num_videos": 2}


def test_more_labels_than_top_k_count_in_full():
    """PERR looks at as many classes as there are labels, and GAP divides by all of them."""
    scores = np.array([[0.9, 0.8, 0.7, 0.1]])
    result = measure(scores, [[0, 1, 2]], num_classes=4, top_k=1)
    assert result["perr"] == 1.0
    assert result["gap"] == pytest.approx(1 / 3)


def test_perr_counts_only_scores_above_zero():
    scores = np.array([[0.5, 0.0, -0.5]])
    assert measure(scores, [[0, 1]], num_classes=3, top_k=3)["perr"] == 0.5
    assert measure(scores - 1, [[0, 1]], num_classes=3, top_k=3)["perr"] == 0.0


def test_top_k_larger_than_the_classes():
    scores, labels = random_case(5, num_classes=6, most_labels=3)
    result = measure(scores, labels, num_classes=6, top_k=20)
    assert result == pytest.approx(slow_metrics(scores, labels, 6, 6), abs=1e-12)


def test_map_averages_over_every_class():
    """Class 0 is found, class 2 is true but never predicted, classes 1 and 3 never occur."""
    scores = np.array([[0.9, 0.1, 0.0, 0.0]])
    assert measure(scores, [[0, 2]], num_classes=4, top_k=1)["map"] == 0.25


def test_defaults_are_the_competition_s():
    metrics = YouTube8MMetrics()
    assert (metrics.num_classes, metrics.top_k) == (3862, 20)


def test_nothing_seen():
    expected = {"hit_at_1": 0.0, "perr": 0.0, "gap": 0.0, "map": 0.0, "num_videos": 0}
    assert YouTube8MMetrics(5, 2).result() == expected


def test_an_empty_batch_changes_nothing():
    scores, labels = random_case(2)
    metrics = YouTube8MMetrics(30, 5)
    metrics.update(np.zeros((0, 30)), [])
    metrics.update(scores, labels)
    metrics.update(np.zeros((0, 30)), np.zeros((0, 30)))
    assert metrics.result() == measure(scores, labels, num_classes=30, top_k=5)


def test_reset_forgets():
    scores, labels = random_case(2)
    metrics = YouTube8MMetrics(30, 5)
    metrics.update(scores[:7], labels[:7])
    assert metrics.result()["num_videos"] == 7
    metrics.reset()
    metrics.update(scores, labels)
    assert metrics.result() == measure(scores, labels, num_classes=30, top_k=5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    metrics = YouTube8MMetrics(3, 2)
    metrics.update(np.ones((4, 3)), [[0]] * 4)
    before = metrics.result()
    with pytest.raises(AlstmError, match=r"scores of video 5: not finite; .*NaN"):
        metrics.update(np.array([[0.1, 0.2, 0.3], [0.1, bad, 0.3]]), [[0], [1]])
    assert metrics.result() == before


@pytest.mark.parametrize(
    "scores, labels",
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 3)), [[0]]),
        (np.ones(3), [[0]]),
        (np.ones((2, 5)), np.ones((2, 5))),  # both alike, but not the classes the metric was made for
    ],
)
def test_shapes_that_do_not_fit_are_refused(scores, labels):
    with pytest.raises(AlstmError, match=r"shape.*num_classes"):
        YouTube8MMetrics(3, 2).update(scores, labels)


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(AlstmError, match=str(label)):
        YouTube8MMetrics(3, 2).update(np.ones((1, 3)), [[label]])


# --- counts of scores ---------------------------------------------------------------------------------------------


def test_score_counts_by_hand():
    counts = ScoreCounts(bins=4)
    counts.update(np.array([[0.0, 0.24, 0.25], [0.5, 0.99, 1.0]]), np.array([[0, 1, 1], [0, 0, 1]]))
    counts.update(np.array([[0.1, 0.6, 0.6]]), np.array([[0, 1, 0]]))
    assert counts.counts.tolist() == [[1, 1, 1, 1], [2, 0, 2, 1]]  # of true labels, of false ones


def test_score_counts_of_several_processes_add_up():
    counts = ScoreCounts(bins=2)
    counts.update(np.array([[0.1, 0.9]]), np.array([[0, 1]]))
    counts.gather(lambda rows: np.concatenate([rows, rows * 10]))
    assert counts.counts.tolist() == [[0, 11], [11, 0]]
