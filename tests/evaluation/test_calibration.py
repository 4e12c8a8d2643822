"""Calibration: two numbers that make scores honest, leave their order alone, and are judged on other videos."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alstm_helpers.digests import sealed
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.calibration import (
    LEAST_SLOPE,
    UNCHANGED,
    Calibration,
    across_folds,
    calibrate,
    fit,
    quality,
    reliability,
)
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import write_sealed
from alstm_helpers.metrics import YouTube8MMetrics


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def overconfident(count=600, classes=4, seed=0):
    """Return videos whose scores have three times the logits that they should have, and one more."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 1.5, (count, classes))
    labels = rng.random(logits.shape) < sigmoid(logits)
    ids = [b"%d" % row for row in range(count)]
    scores = sigmoid(3 * logits + 1).astype(np.float32)
    return Scored(ids, labels, scores, 20, ids, np.arange(count) % 5)


def test_what_was_done_to_the_scores_is_undone():
    scored = overconfident(4000)
    found = fit(scored.scores, scored.labels)
    assert found.slope == pytest.approx(1 / 3, abs=0.02) and found.offset == pytest.approx(-1 / 3, abs=0.06)
    done = calibrate(scored)
    assert done["before"]["calibration_error"] > 0.1 and done["after"]["calibration_error"] < 0.03
    assert done["after"]["log_loss"] < 0.75 * done["before"]["log_loss"]
    assert (done["num_videos"], done["num_classes"]) == (4000, 4)


def test_it_is_the_minimum():
    """The gradient of log loss and prior vanishes, by differences."""
    scored = overconfident(50)
    found = fit(scored.scores, scored.labels)

    def loss(slope, offset):
        away = (slope - 1) ** 2 + offset**2
        return 50 * quality(Calibration(slope, offset)(scored.scores), scored.labels)["log_loss"] + away / 2

    least = loss(found.slope, found.offset)
    for slope, offset in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert loss(found.slope + slope, found.offset + offset) > least


@pytest.mark.parametrize("slope, offset", [(0.3, -0.3), (1.7, 2.0), (LEAST_SLOPE, 0.0)])
def test_no_two_scores_change_places_and_none_become_equal(slope, offset):
    rng = np.random.default_rng(0)
    some = np.concatenate([sigmoid(rng.normal(0, 5, 20000)), rng.random(2000)]).astype(np.float32)
    above = np.nextafter(some, np.float32(1))  # the next larger float32
    scale = Calibration(slope, offset)
    assert (scale(above)[above > some] > scale(some)[above > some]).all()
    assert scale(np.array([0.0, 1.0], np.float32)).tolist() == sorted(scale(np.array([0.0, 1.0])).tolist())
    scored = overconfident(300)
    raw, other = YouTube8MMetrics(4, 4), YouTube8MMetrics(4, 4)
    raw.update(scored.scores, scored.labels)
    other.update(scale(scored.scores), scored.labels)
    assert raw.result() == other.result()


def test_few_clips_do_no_harm():
    """One clip that is right does not make sure of everything, one that is wrong does not turn scores round."""
    scores, label = np.array([[0.9, 0.2]], np.float32), np.array([[True, False]])
    right, wrong = fit(scores, label), fit(scores, ~label)
    assert 1 < right.slope < 1.5 and abs(right.offset) < 0.5
    assert 0 < wrong.slope < 1 and abs(wrong.offset) < 0.5


def test_scores_worse_than_chance_become_the_share_that_is_true():
    scored = overconfident(400)
    scale = fit(1 - scored.scores, scored.labels)
    assert scale.slope == LEAST_SLOPE
    assert scale(1 - scored.scores).mean() == pytest.approx(scored.labels.mean(), abs=0.001)


def test_scores_that_are_far_too_sure_are_brought_down_as_far():
    """Twelve times the logits that they should have: that is no reason to ignore them."""
    logits = np.random.default_rng(0).normal(0, 0.5, (3000, 4))
    labels = np.random.default_rng(1).random(logits.shape) < sigmoid(logits)
    assert fit(sigmoid(12 * logits), labels).slope == pytest.approx(1 / 12, rel=0.1)


def test_scores_that_are_all_alike_become_the_share_that_is_true():
    """A network that has learnt nothing: slope and offset cannot be told apart."""
    labels = np.arange(400).reshape(100, 4) % 5 == 0
    scores = np.full(labels.shape, 0.7, np.float32)
    assert fit(scores, labels)(scores) == pytest.approx(0.2, abs=0.01)


def test_scores_of_zero_and_one_are_no_obstacle():
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], np.float32)
    scale = fit(scores, scores > [[0, 1], [0, 0], [2, 0]])
    assert np.isfinite([scale.slope, scale.offset]).all() and np.isfinite(scale(scores)).all()


def test_each_fold_is_calibrated_by_the_others():
    """Whatever is true in a fold, its own scores stay as they were; those of the others change."""
    scored = overconfident(100)
    mine = scored.folds == 2
    other = Scored(scored.ids, scored.labels ^ mine[:, None], scored.scores, 20, scored.groups, scored.folds)
    before, after = across_folds(scored), across_folds(other)
    assert np.array_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).all()


def test_what_it_is_worth_is_said_of_videos_that_did_not_teach_it():
    """On those that did it looks better. A class that none of the videos has is one of the model all the same."""
    scored = overconfident(30)
    scored.labels[:, 3] = False
    done = calibrate(scored)
    assert done["after"] == quality(across_folds(scored), scored.labels) and done["num_classes"] == 4
    taught = quality(fit(scored.scores, scored.labels)(scored.scores), scored.labels)
    assert done["after"]["log_loss"] > taught["log_loss"]


def test_scores_are_judged_in_ten_ranges_of_equal_width():
    """Two near the ends of each, and a score of 1, which belongs to the last."""
    scores = np.array([[place / 10 + inside] for place in range(10) for inside in (0.01, 0.09)] + [[1.0]])
    found = reliability(scores, scores > 0.5)
    assert [part.videos for part in found] == [2] * 9 + [3]
    assert [part.score for part in found] == pytest.approx([place / 10 + 0.05 for place in range(9)] + [2.9 / 3])
    assert [part.right for part in found] == [0] * 5 + [1] * 5


def test_quality_by_hand():
    """Two videos at 0.8 and 0.84, one right; one at 0.3, right; the second class says what is left."""
    scores = np.array([[0.8, 0.2], [0.84, 0.16], [0.3, 0.1]])
    labels = np.array([[True, False], [False, True], [True, False]])
    low, high = reliability(scores, labels)
    assert (low.videos, low.right, high.videos, high.right) == (1, 1.0, 2, 0.5)
    assert (low.score, high.score) == pytest.approx((0.3, 0.82))
    found = quality(scores, labels)
    assert found["calibration_error"] == pytest.approx((0.7 + 2 * 0.32) / 3)
    losses = [np.log(0.8) * 2, np.log(0.16) * 2, np.log(0.3) + np.log(0.9)]
    assert found["log_loss"] == pytest.approx(-np.mean(losses))


def test_by_default_nothing_changes():
    scores = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    assert UNCHANGED(scores) is scores and Calibration() == UNCHANGED


@pytest.mark.parametrize(
    "content, said",
    [
        ({}, "it holds no calibration"),
        ({"calibration": {"slope": 0.5, "offset": 0.0}}, "it holds no calibration"),
        ({"calibration": {"slope": -0.5, "offset": 0.0, "num_classes": 4}}, "it holds no calibration"),
        ({"calibration": {"slope": 0.0, "offset": 0.0, "num_classes": 4}}, "it holds no calibration"),
        ({"calibration": {"slope": float("inf"), "offset": 0.0, "num_classes": 4}}, "it holds no calibration"),
        ({"calibration": {"slope": 0.5, "offset": float("nan"), "num_classes": 4}}, "it holds no calibration"),
        ({"calibration": {"slope": 0.5, "offset": float("-inf"), "num_classes": 4}}, "it holds no calibration"),
        ({"calibration": {"slope": 0.5, "offset": 0.0, "num_classes": 7}}, "it is about 7 classes, the model has 4"),
        ({"calibration": {"slope": 0.5, "offset": 0.0, "num_classes": 3}}, "it is about 3 classes, the model has 4"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, content, said):
    (tmp_path / "crossval.json").write_text(json.dumps(sealed(content)), encoding="utf-8")
    with pytest.raises(AlstmError, match=rf"crossval\.json: {said}; pass the crossval\.json of"):
        Calibration.load(tmp_path / "crossval.json", 4)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "crossval.json"
    write_sealed(path, {"calibration": {"slope": 0.5, "offset": 0.25, "num_classes": 4}})
    assert Calibration.load(path, 4) == Calibration(0.5, 0.25)
    path.write_text(path.read_text("utf-8").replace("0.25", "0.35"), encoding="utf-8")
    with pytest.raises(AlstmError, match="it is damaged"):
        Calibration.load(path, 4)
