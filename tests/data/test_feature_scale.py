"""A model fits only features that are scaled as those that it learnt from."""

from __future__ import annotations

import json
import shutil

import pytest

from alstm_helpers.data.feature_scale import content_of, learnt_from, require_same_scale, scale_of
from alstm_helpers.errors import AlstmError


@pytest.fixture
def features(tmp_path):
    """A folder of features that needed a projection."""
    folder = tmp_path / "features"
    folder.mkdir()
    (folder / "features.json").write_text("{}", encoding="utf-8")
    (folder / "projection.pkl").write_bytes(b"one")
    return folder


@pytest.fixture
def weights(features, tmp_path):
    """Weights that learnt from it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(scale_of(features)), encoding="utf-8")
    return folder / "AttentionLSTM_best.pdparams"


def test_the_features_that_it_learnt_from_fit(features, weights):
    require_same_scale(weights, features)


@pytest.mark.parametrize("change", ["scaled anew", "without a projection"])
def test_others_are_refused(features, weights, change):
    if change == "scaled anew":
        (features / "projection.pkl").write_bytes(b"other")
    else:
        (features / "projection.pkl").unlink()
    problem = f"^{features}: its features are scaled otherwise than those that {weights} learnt from; train again"
    with pytest.raises(AlstmError, match=problem):
        require_same_scale(weights, features)


def test_without_a_projection_then_and_now(features, weights):
    (features / "projection.pkl").unlink()
    weights.with_name("run.json").write_text(json.dumps(scale_of(features)), encoding="utf-8")
    require_same_scale(weights, features)


@pytest.mark.parametrize("told", [None, "{}", "[]", "no JSON"])
def test_weights_that_do_not_tell_are_not_refused(features, weights, told):
    path = weights.with_name("run.json")
    path.unlink() if told is None else path.write_text(told, encoding="utf-8")
    require_same_scale(weights, features)


def test_what_a_run_learnt_from_is_known_by_its_content(features, weights, tmp_path):
    """Not by sizes, which labels often leave as they are, nor by where it is."""
    shard = features / "tf" / "train" / "train0000.tfrecord"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"a cat")
    before = content_of(features)
    weights.with_name("run.json").write_text(json.dumps({"features_sha256": before}), encoding="utf-8")
    moved = shutil.copytree(features, tmp_path / "moved")
    assert learnt_from(weights) == before == content_of(moved) != content_of(tmp_path)
    shard.write_bytes(b"a dog")
    assert content_of(features) not in (before, None)
    assert content_of(tmp_path) is None and learnt_from(tmp_path / "other.pdparams") is None


def test_features_of_others_are_not_refused(features, weights, tmp_path):
    """YouTube-8M's, which `alstm features` did not make."""
    (tmp_path / "pkl").mkdir()
    assert scale_of(tmp_path / "pkl") == {}
    require_same_scale(weights, tmp_path / "pkl")
