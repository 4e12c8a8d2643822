"""Test the linear baseline against scikit-learn, and that it learns from no video that it judges."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from alstm_helpers.evaluation import baseline
from alstm_helpers.evaluation.baseline import FEW, STRENGTHS, baseline_scores, no_skill_gap, pooled
from alstm_helpers.tfrecord import Video, dequantize

RNG = np.random.default_rng(0)
LABELS = np.eye(3, dtype=bool)[np.arange(60) % 3]
INPUTS = (RNG.normal(size=(60, 8)) + 2 * LABELS @ RNG.normal(size=(3, 8))).astype(np.float32)
LEARN, JUDGED = np.arange(0, 40), np.arange(40, 60)


def never(rows, parts):
    return []


def thirds(rows, parts):
    return np.array_split(rows, parts)


def by_scikit_learn(strength, targets, rows=LEARN):
    scaler = StandardScaler().fit(INPUTS[rows])
    return LogisticRegression(C=strength, max_iter=1000).fit(scaler.transform(INPUTS[rows]), targets[rows]), scaler


def test_mean_and_spread_of_the_seconds_that_the_network_sees():
    frames = RNG.integers(0, 256, (400, 1024), np.uint8)
    video = Video(b"v", (), frames, frames[:, :128])
    [found] = pooled([video])
    values = dequantize(frames[:300])
    right = np.concatenate([values.mean(0), values.std(0), values[:, :128].mean(0), values[:, :128].std(0)])
    assert found == pytest.approx(right, abs=1e-5)
    assert not pooled([Video(b"v", (), frames[:0], frames[:0, :128])]).any()


def test_one_label_each_is_one_regression():
    found = baseline_scores(INPUTS, LABELS, LEARN, JUDGED, never)
    model, scaler = by_scikit_learn(FEW, LABELS.argmax(1))
    assert found == pytest.approx(model.predict_proba(scaler.transform(INPUTS[JUDGED])), abs=1e-5)
    assert found.dtype == np.float32 and found.sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [True, False])
def test_several_labels_or_none_are_a_regression_for_each_class(value):
    several = LABELS.copy()
    several[::4, 0] = value
    found = baseline_scores(INPUTS, several, LEARN, JUDGED, never)
    for index in range(3):
        model, scaler = by_scikit_learn(FEW, several[:, index])
        assert found[:, index] == pytest.approx(model.predict_proba(scaler.transform(INPUTS[JUDGED]))[:, 1], abs=1e-3)


def test_the_penalty_is_chosen_by_videos_that_did_not_teach():
    """Strong where there is nothing to learn, although it could be learnt by heart; weak where all is clear."""
    rng, labels, rows = np.random.default_rng(3), np.eye(3, dtype=bool)[np.arange(600) % 3], np.arange(600)
    noise = rng.normal(size=(600, 200)).astype(np.float32)
    assert baseline._strength(noise, labels, rows, thirds) == STRENGTHS[0]
    clear = (3 * LABELS + 0.1 * RNG.normal(size=(60, 3))).astype(np.float32)
    assert baseline._strength(clear, LABELS, LEARN, thirds) == STRENGTHS[-1]
    assert baseline._strength(clear, LABELS, LEARN, never) == FEW
    assert baseline._strength(clear, LABELS, LEARN, lambda rows, parts: thirds(rows, 2)) == STRENGTHS[-1]


@pytest.mark.parametrize("seed", range(3))
def test_the_penalty_is_that_of_the_least_cross_entropy_over_all_parts(seed):
    """By scikit-learn's own, of classes that are as hard to tell as the seed says, for videos with several labels."""
    rng, parts = np.random.default_rng(seed), np.array_split(LEARN, 3)
    labels = LABELS.copy()
    labels[::4, 0] = True
    inputs = (labels @ rng.normal(size=(3, 8)) + (0.3 + 2 * seed) * rng.normal(size=(60, 8))).astype(np.float32)
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for part in parts:
        scaler = StandardScaler().fit(inputs[np.setdiff1d(LEARN, part)])
        learn, judged = (scaler.transform(inputs[rows]) for rows in (np.setdiff1d(LEARN, part), part))
        for strength, index in itertools.product(STRENGTHS, range(3)):
            model = LogisticRegression(C=strength, max_iter=1000)
            model.fit(learn, labels[np.setdiff1d(LEARN, part), index])
            losses[strength] += log_loss(labels[part, index], model.predict_proba(judged)[:, 1], normalize=False)
    assert baseline._strength(inputs, labels, LEARN, thirds) == min(losses, key=losses.__getitem__)


def test_what_is_judged_does_not_teach():
    """The same scores whatever the labels and the inputs of the others are."""
    right = baseline_scores(INPUTS, LABELS, LEARN, JUDGED[:5], thirds)
    other, labels = INPUTS.copy(), LABELS.copy()
    other[JUDGED[5:]], labels[JUDGED] = 99, np.roll(LABELS, 1, axis=1)[JUDGED]
    assert np.array_equal(baseline_scores(other, labels, LEARN, JUDGED[:5], thirds), right)


def test_a_class_without_a_video_to_learn_from_has_no_score():
    """And a class of all of them is certain; no warning reaches the reader."""
    rows = np.flatnonzero(~LABELS[:, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = baseline_scores(INPUTS, LABELS, rows, JUDGED, thirds)
        assert not found[:, 2].any() and found[:, :2].sum(1) == pytest.approx(1, abs=1e-5)
        both = LABELS.copy()
        both[:, 0] = True
        assert (baseline_scores(INPUTS, both, LEARN, JUDGED, thirds)[:, 0] > 0.99).all()
        one = baseline_scores(INPUTS, LABELS, np.flatnonzero(LABELS[:, 1]), JUDGED, thirds)
        assert (one == [0, 1, 0]).all()


def test_what_is_reached_without_any_skill():
    """As many of the labels that are said are right as the classes are frequent."""
    labels = np.eye(4, dtype=bool)[np.arange(40) % 4]
    assert no_skill_gap(labels, 20) == pytest.approx(0.25)
    labels[:] = [True, False, False, False]
    assert no_skill_gap(labels, 20) == 1.0 and no_skill_gap(np.zeros((40, 4), bool), 20) == 0.0


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_class_that_most_videos_show_is_said_first(order):
    """It is said of all 30, right 24 times at a precision of 0.8; then the other one, right 6 times at 0.5."""
    labels = np.zeros((30, 2), bool)
    labels[:24, 0] = labels[24:, 1] = True
    assert no_skill_gap(labels[order], 20) == pytest.approx((24 * 0.8 + 6 * 0.5) / 30)
    assert no_skill_gap(labels[order], 1) == pytest.approx(24 * 0.8 / 30)
