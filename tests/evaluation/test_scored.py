"""Scores of videos as `alstm crossval` keeps them: what is saved is loaded, and what does not fit is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.safe_pickle import save_plain

IDS = [b"a", "课".encode(), b"\xff"]
SCORES = np.array([[0.9, 0.2], [0.4, 0.6], [0.3, 0.1]], np.float32)
SCORED = Scored(IDS, SCORES > 0.35, SCORES, 2, [b"a", b"a", b"b"], np.array([1, 2, 1]), SCORES[:, ::-1])


def test_what_is_saved_is_loaded(tmp_path):
    for scored in (SCORED, dataclasses.replace(SCORED, folds=None, baseline=None)):
        scored.save(tmp_path / "scores.pkl")
        found = Scored.load(tmp_path / "scores.pkl")
        assert (list(found.ids), found.top_k, list(found.groups)) == (IDS, 2, [b"a", b"a", b"b"])
        for key in ("labels", "scores", "folds", "baseline"):
            assert np.array_equal(getattr(found, key), getattr(scored, key))


def test_the_metrics_are_of_the_network_and_of_the_baseline():
    assert SCORED.metrics.hit_at_1() == 2 / 3
    assert SCORED.baseline_metrics and SCORED.baseline_metrics.hit_at_1() == 1 / 3
    assert dataclasses.replace(SCORED, baseline=None).baseline_metrics is None


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": SCORES[:2]},
        {"labels": SCORES},
        {"labels": None},
        {"ids": IDS[:2]},
        {"ids": ["a", "b", "c"]},
        {"groups": [b"a"]},
        {"folds": np.array([1])},
        {"baseline": SCORES[:, :1]},
        {"top_k": 0},
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes):
    dataclasses.replace(SCORED, **changes).save(tmp_path / "scores.pkl")
    with pytest.raises(AlstmError, match=r"scores\.pkl: it holds no scores of videos; run `alstm crossval` again"):
        Scored.load(tmp_path / "scores.pkl")


def test_other_pickles_are_refused(tmp_path):
    for value in ([1, 2], {"ids": IDS}, {"more": 1}):
        save_plain(tmp_path / "scores.pkl", value)
        with pytest.raises(AlstmError, match="it holds no scores of videos"):
            Scored.load(tmp_path / "scores.pkl")
