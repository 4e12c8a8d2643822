"""Hit@1, PERR, GAP and mAP against their definitions, written out in slow, plain Python."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import ScoreCounts, YouTube8MMetrics, average_precision, best_f1

# The vectors of tensorflow/models, official/projects/yt8m/eval_utils.
AP_VECTORS = [
    ([0.98, 0.88, 0.77, 0.65, 0.64, 0.59, 0.45, 0.43, 0.20, 0.05], "1100011001", 0.714),
    ([0.878, 0.832, 0.759, 0.621, 0.458, 0.285, 0.134], "1010010", 0.722),
    ([0.98], "1", 1.0),
    ([0.56], "0", 0.0),
]


# --- the definitions, one loop per sentence ---------------------------------------------------------------------


def best_classes(scores, count):
    """Return the best classes of a video, best first; in a tie, smaller classes first."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]


def slow_ap(pairs, num_positives):
    """Return the sum over hits of the precision at that score, divided by all positives."""
    total = 0.0
    for score, hit in pairs:
        if hit:
            above = [other_hit for other, other_hit in pairs if other >= score]  # equal scores are one threshold
            total += sum(above) / len(above)
    return total / num_positives if num_positives else 0.0


def slow_metrics(scores, labels, num_classes, top_k):
    scores = [[float(score) for score in row] for row in scores]
    hits, shares, pool = 0, 0.0, []
    by_class: dict[int, list[tuple[float, bool]]] = {index: [] for index in range(num_classes)}
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
    """Return scores and label lists; with ``levels``, many scores are equal. Some videos have no labels."""
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
    assert min(expected["hit_at_1"], expected["perr"], expected["gap"], expected["map"]) > 0.005  # not a trivial case
    assert measure(scores, labels, num_classes=30, top_k=top_k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definitions_with_ties(seed):
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
    """Two batches that are ranked perfectly on their own; their pooled ranking is not perfect."""
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
    lower = measure(scores[::-1], [[0], []], num_classes=2, top_k=1)  # now the unlabelled one has the higher score
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
    """Class 0 is found, class 2 is true but not predicted, and classes 1 and 3 do not occur."""
    scores = np.array([[0.9, 0.1, 0.0, 0.0]])
    assert measure(scores, [[0, 2]], num_classes=4, top_k=1)["map"] == 0.25


def test_defaults_are_the_competition_s():
    metrics = YouTube8MMetrics()
    assert (metrics.num_classes, metrics.top_k) == (3862, 20)


def test_no_videos():
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
    with pytest.raises(AlstmError, match=r"scores of video 5: not finite; use other weights"):
        metrics.update(np.array([[0.1, 0.2, 0.3], [0.1, bad, 0.3]]), [[0], [1]])
    assert metrics.result() == before


@pytest.mark.parametrize(
    "scores, labels",
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 3)), [[0]]),
        (np.ones(3), [[0]]),
        (np.ones((2, 5)), np.ones((2, 5))),  # equal shapes, but not the classes of the metric
    ],
)
def test_wrong_shapes_are_refused(scores, labels):
    with pytest.raises(AlstmError, match=r"shape.*num_classes"):
        YouTube8MMetrics(3, 2).update(scores, labels)


@pytest.mark.parametrize("label", [3, -1, "cat", 0.5])
def test_a_label_that_is_not_a_class_is_refused(label):
    with pytest.raises(AlstmError, match=str(label)):
        YouTube8MMetrics(3, 2).update(np.ones((1, 3)), [[label]])


@pytest.mark.parametrize("name", ["abc", b"abc"])
def test_a_refused_video_is_named(name):
    with pytest.raises(AlstmError, match=r"scores of video abc: not finite"):
        YouTube8MMetrics(2, 2).update(np.array([[0.1, 0.2], [np.nan, 0.3]]), [[0], [1]], ["first", name])
    with pytest.raises(AlstmError, match=r"video abc: label 7 is out of range for 2 classes"):
        YouTube8MMetrics(2, 2).update(np.ones((2, 2)), [[0], [7]], ["first", name])


@pytest.mark.parametrize("levels", [None, 3])
def test_the_result_does_not_depend_on_the_order_of_the_videos(levels):
    scores, labels = random_case(11, levels=levels)
    expected = measure(scores, labels, num_classes=30, top_k=4)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(scores))
        found = measure(scores[order], [labels[row] for row in order], num_classes=30, top_k=4, cuts=[7, 9])
        assert found == expected


def test_equal_scores_are_one_threshold_as_in_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for levels in (1, 2, 5, 50):
        scores, hits = rng.integers(0, levels, 200) / levels, rng.random(200) < 0.3
        expected = sklearn.average_precision_score(hits, scores)
        assert average_precision(scores, hits) == pytest.approx(expected, abs=1e-12)


def test_float64_scores_keep_their_order():
    """Two scores that would be equal, and one threshold, in float32: the true one is above the false one."""
    metrics = YouTube8MMetrics(2, 2)
    metrics.update(np.array([[0.5, 0.5 + 1e-12]]), [[1]])
    assert metrics.gap() == 1
    metrics.update(np.array([[0.25, 0.1]], np.float32), [[0]])  # and a batch of the other type
    assert metrics.gap() == pytest.approx((1 + 2 / 3) / 2)


def test_gathered_float64_scores_keep_their_order():
    """The other process has stored float32, and has no video."""
    metrics = YouTube8MMetrics(2, 2)
    metrics.update(np.array([[0.5, 0.5 + 1e-12]]), [[1]])
    other = iter([np.array([4])])  # bytes of a score there
    metrics.gather(lambda rows: np.concatenate([next(other, rows[:0]), rows]))
    assert metrics.gap() == 1


def test_without_positives_average_precision_is_zero():
    assert average_precision(np.array([0.9]), np.array([True]), num_positives=0) == 0.0


def test_classes_beyond_16_bits():
    metrics = YouTube8MMetrics(2**16 + 10, 3)
    scores = np.zeros((2, 2**16 + 10), np.float32)
    scores[0, 2**16 + 5], scores[1, 5] = 0.9, 0.8
    metrics.update(scores, [[2**16 + 5], [7]])
    assert metrics.class_ap()[2**16 + 5] == 1.0 and metrics.class_ap()[5] == 0.0


def split_in_two(scores, labels, cut, dtypes=(np.float32, np.float32)):
    parts = [YouTube8MMetrics(30, 4) for _ in range(2)]
    for part, rows, dtype in zip(parts, (slice(cut), slice(cut, None)), dtypes, strict=True):
        part.update(scores[rows].astype(dtype), labels[rows])
    return parts


@pytest.mark.parametrize("cut", [0, 1, 20, 41])
@pytest.mark.parametrize("levels", [None, 3])
def test_merged_parts_give_the_identical_result(cut, levels):
    scores, labels = random_case(4, levels=levels)
    first, second = split_in_two(scores, labels, cut)
    second.merge(first)
    assert second.result() == measure(scores, labels, num_classes=30, top_k=4)
    assert first.num_videos == cut  # and is not changed
    third = YouTube8MMetrics(30, 4)
    for start in range(0, 41, 2):  # in many batches, not all of which it has joined
        first.update(scores[start : start + 2], labels[start : start + 2])
    third.merge(first)
    assert third.num_videos == cut + 41 == third.result()["num_videos"] == len(third.pool()[0])


def test_metrics_with_different_settings_do_not_merge():
    with pytest.raises(AlstmError, match=r"30 classes and the best 5, not 30 and 4"):
        YouTube8MMetrics(30, 4).merge(YouTube8MMetrics(30, 5))
    with pytest.raises(AlstmError, match=r"31 classes and the best 4, not 30 and 4"):
        YouTube8MMetrics(30, 4).merge(YouTube8MMetrics(31, 4))


@pytest.mark.parametrize("dtypes", [(np.float32, np.float32), (np.float32, np.float64)])
@pytest.mark.parametrize("cut", [0, 13])
def test_gathered_processes_give_the_identical_result(cut, dtypes):
    """Two threads stand for two processes; they meet at every exchange."""
    scores, labels = random_case(4, levels=3)
    parts = split_in_two(scores, labels, cut, dtypes)
    meeting, shown = threading.Barrier(2, timeout=30), {}

    def exchange(rank, rows):
        shown[rank] = rows
        meeting.wait()
        whole = np.concatenate([shown[0], shown[1]])
        meeting.wait()
        return whole

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda rank: parts[rank].gather(partial(exchange, rank)), range(2)))
    expected = measure(scores, labels, num_classes=30, top_k=4)
    assert [part.result() for part in parts] == [expected, expected]


def test_a_subset_counts_each_video_as_often_as_it_is_named():
    scores, labels = random_case(9)
    metrics = YouTube8MMetrics(30, 4)
    for start in range(0, len(scores), 10):
        metrics.update(scores[start : start + 10], labels[start : start + 10])
    rows = np.array([3, 3, 40, 0, 17, 3])
    expected = measure(scores[rows], [labels[row] for row in rows], num_classes=30, top_k=4)
    assert metrics.subset(rows).result() == expected
    assert metrics.subset(rows[:0]).num_videos == 0


@pytest.mark.posix
def test_memory_of_a_whole_split_stays_below_half_a_gigabyte():
    """1,112,356 videos of 3,862 classes, in a process of its own."""
    code = """
import numpy as np
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.runtime import peak_memory
rng = np.random.default_rng(0)
scores = rng.random((4096, 3862), dtype=np.float32)
labels = np.sort(rng.integers(0, 3862, (4096, 3)), axis=1)
metrics = YouTube8MMetrics()
metrics.update(scores, labels.tolist())
some = metrics.subset(np.arange(4096))  # merging it again saves half a minute of scoring
before = peak_memory()
while metrics.num_videos < 1_112_356:
    metrics.merge(some)
metrics.result()
print(peak_memory() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 0.5e9


@pytest.mark.parametrize("seed", range(3))
def test_best_f1_by_trying_every_threshold(seed):
    rng = np.random.default_rng(seed)
    scores, hits = np.round(rng.random(60), 1), rng.random(60) < 0.4
    positives = int(hits.sum()) + 5

    def f1(threshold):
        made = scores >= threshold
        return 2 * (made & hits).sum() / (made.sum() + positives)

    threshold, best = best_f1(scores, hits, positives)
    assert best == pytest.approx(max(map(f1, scores)), abs=1e-12)
    assert f1(threshold) == pytest.approx(best, abs=1e-12)


def test_of_thresholds_that_are_as_good_the_lowest_is_taken():
    """It finds more of what is true: here one right of one, or both labels among four."""
    assert best_f1(np.array([0.9, 0.8, 0.7, 0.2]), np.array([True, False, False, True]), 2) == (0.2, 2 / 3)


def test_best_f1_without_a_hit():
    assert best_f1(np.array([0.3]), np.array([False]), 4) == (float("inf"), 0.0)


# --- counts of scores ---------------------------------------------------------------------------------------------


def test_score_counts_by_hand():
    counts = ScoreCounts(bins=4)
    counts.update(np.array([[0.0, 0.24, 0.25], [0.5, 0.99, 1.0]]), np.array([[0, 1, 1], [0, 0, 1]]))
    counts.update(np.array([[0.1, 0.6, 0.6]]), np.array([[0, 1, 0]]))
    assert counts.counts.tolist() == [[1, 1, 1, 1], [2, 0, 2, 1]]  # of true labels, of false labels


def test_score_counts_of_several_processes_add_up():
    counts = ScoreCounts(bins=2)
    counts.update(np.array([[0.1, 0.9]]), np.array([[0, 1]]))
    counts.gather(lambda rows: np.concatenate([rows, rows * 10]))
    assert counts.counts.tolist() == [[0, 11], [11, 0]]
