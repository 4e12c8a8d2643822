"""Settings for small data sets: patience, frozen layers, class weights. All resume exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import Interrupt, a_video, best, changed, latest, pretend_gaps, same, write_list, write_shards

from alstm_helpers.data.dataset import count_labels
from alstm_helpers.errors import AlstmError
from alstm_helpers.model.loss import balanced_weights, summed_loss
from alstm_helpers.model.weights import save_weights
from alstm_helpers.runtime import paddle
from alstm_helpers.training.train import TrainOptions, train


@pytest.fixture(scope="module")
def config(tiny_config):
    return changed(tiny_config, MODEL__drop_rate=0.5, TRAIN__epoch=4, TRAIN__shuffle_shards=1)


def epochs(done):
    return sum(row["kind"] == "valid" for row in done.rows)


# --- patience -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "patience, values, expected",
    [
        (1, [0.5, 0.4, 0.6, 0.7], 2),
        (2, [0.5, 0.4, 0.6, 0.7], 4),
        (2, [0.5, 0.5, 0.5, 0.7], 3),
        (3, [0.5, 0.1, 0.2, 0.3], 4),
        (None, [0.5, 0.1, 0.1, 0.1], 4),
    ],
)
def test_it_stops_when_nothing_gets_better(config, tmp_path, monkeypatch, patience, values, expected):
    """An equal GAP is not a better one."""
    pretend_gaps(monkeypatch, values)
    lines: list[str] = []
    own = changed(config, TRAIN__patience=patience)
    done = train(own, tmp_path, TrainOptions(seed=5, log_interval=0, visualdl=False), report=lines.append)
    assert epochs(done) == expected and done.best_gap == max(values[:expected])
    stopped = [line for line in lines if line.startswith("stopped after epoch")]
    if expected < 4:
        assert stopped == [f"stopped after epoch {expected}: no better GAP in {patience} validations"]
    else:
        assert not stopped


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([4.0, 3.0, 2.0, 1.0], 4),  # the network still gets better, though the GAP cannot
        ([4.0, 3.0, 3.0, 1.0], 3),
        ([1.0, 2.0, 0.5, 0.1], 2),
    ],
)
def test_of_equal_gaps_the_least_loss_is_the_best(config, tmp_path, monkeypatch, losses, expected):
    pretend_gaps(monkeypatch, [1.0] * 4, losses)
    own = changed(config, TRAIN__patience=1, TRAIN__schedule="step")  # which does not depend on the length
    done = train(own, tmp_path, TrainOptions(seed=5, log_interval=0, visualdl=False))
    assert epochs(done) == expected and done.best_gap == 1.0
    pretend_gaps(monkeypatch, [1.0] * 4, losses)
    length = losses.index(min(losses[:expected])) + 1  # a training that ends with the best epoch
    train(changed(own, TRAIN__epoch=length), tmp_path / "best", TrainOptions(seed=5, log_interval=0, visualdl=False))
    assert same(best(tmp_path), latest(tmp_path / "best"))


def test_a_smaller_loss_does_not_outweigh_a_gap(config, tmp_path, monkeypatch):
    pretend_gaps(monkeypatch, [0.9, 0.8, 0.8, 0.8], [4.0, 3.0, 2.0, 1.0])
    own = changed(config, TRAIN__schedule="step")
    done = train(own, tmp_path, TrainOptions(seed=5, log_interval=0, visualdl=False))
    pretend_gaps(monkeypatch, [0.9])
    train(changed(own, TRAIN__epoch=1), tmp_path / "best", TrainOptions(seed=5, log_interval=0, visualdl=False))
    assert done.best_gap == 0.9 and same(best(tmp_path), latest(tmp_path / "best"))


def test_a_training_that_stopped_is_finished(config, tmp_path, monkeypatch):
    """A resume does not continue it."""
    pretend_gaps(monkeypatch, [0.5, 0.4])
    own = changed(config, TRAIN__patience=1)
    train(own, tmp_path, TrainOptions(seed=5, log_interval=0, visualdl=False))
    before = latest(tmp_path)
    assert epochs(train(own, tmp_path, TrainOptions(resume=tmp_path, log_interval=0, visualdl=False))) == 2
    assert same(latest(tmp_path), before)


# --- frozen layers ------------------------------------------------------------------------------------------------


def test_only_the_last_layers_learn_at_first_and_then_all(config, tmp_path):
    start = train(
        changed(config, TRAIN__epoch=1), tmp_path / "start", TrainOptions(seed=5, log_interval=0, visualdl=False)
    ).net
    save_weights(start, tmp_path / "start.pdparams")
    quiet = TrainOptions(log_interval=0, seed=5, pretrain=tmp_path / "start.pdparams", visualdl=False)
    own = changed(config, TRAIN__epoch=1, TRAIN__freeze_epochs=1, TRAIN__weight_decay=0.01)
    train(own, tmp_path / "frozen", quiet)
    train(changed(own, TRAIN__epoch=2), tmp_path / "then", quiet)
    before, frozen, then = latest(tmp_path / "start"), latest(tmp_path / "frozen"), latest(tmp_path / "then")
    last = {name for name in before if name.startswith(("fc_out", "fc_logit"))}
    assert last and {name for name in before if not np.array_equal(before[name], frozen[name])} == last
    assert all(
        not np.array_equal(frozen[name], then[name]) for name in before if "att_fc" not in name or "bias" not in name
    )


def test_what_was_trained_frozen_can_be_trained_on(config, tmp_path):
    done = train(
        changed(config, TRAIN__epoch=1, TRAIN__freeze_epochs=3), tmp_path, TrainOptions(log_interval=0, visualdl=False)
    )
    assert all(not parameter.stop_gradient for parameter in done.net.parameters())


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resume_is_exact_before_at_and_after_the_thaw(config, tmp_path, epoch):
    own = changed(config, TRAIN__epoch=3, TRAIN__freeze_epochs=1, TRAIN__weight_decay=0.001)
    quiet = TrainOptions(log_interval=0, seed=5, visualdl=False)
    train(own, tmp_path / "whole", quiet)
    with pytest.raises(KeyboardInterrupt):
        train(own, tmp_path / "cut", replace(quiet, save_interval=1), progress=Interrupt(epoch))
    train(own, tmp_path / "cut", replace(quiet, resume=tmp_path / "cut"))
    assert same(latest(tmp_path / "cut"), latest(tmp_path / "whole"))
    assert same(best(tmp_path / "cut"), best(tmp_path / "whole"))


# --- class weights ------------------------------------------------------------------------------------------------


def test_all_classes_weigh_the_same():
    counts = np.array([10, 20, 60])
    weights = balanced_weights(counts)
    assert weights.dtype == np.float32 and weights * counts == pytest.approx([30, 30, 30])


@pytest.mark.parametrize("counts, expected", [([1, 999], [10, 0.5005]), ([0, 4], [1, 1]), ([0, 0], [1, 1])])
def test_weights_stay_within_bounds(counts, expected):
    assert balanced_weights(np.array(counts)) == pytest.approx(expected, rel=1e-3)


def test_the_weight_of_a_frequent_class_has_a_lower_bound():
    """Without it, that of 10,000 among twenty classes of one video each would be 0.048."""
    assert balanced_weights(np.array([1] * 20 + [10_000])) == pytest.approx([10] * 20 + [0.1])


def test_a_weight_counts_for_true_labels_only():
    logits, labels = paddle.to_tensor([[0.3, -0.2]]), paddle.to_tensor([[1.0, 0.0]])
    plain, weighted = (float(summed_loss(logits, labels, w)) for w in (None, paddle.to_tensor([3.0, 7.0])))
    right = -3 * np.log(1 / (1 + np.exp(-0.3))) - np.log(1 - 1 / (1 + np.exp(0.2)))
    assert weighted == pytest.approx(right, rel=1e-5) and plain < weighted


def test_count_labels(tmp_path):
    shards = write_shards(tmp_path, [[a_video("a", 2, [0, 2])], [a_video("b", 2, [2]), a_video("c", 2)]])
    assert count_labels(shards, 4).tolist() == [1, 0, 2, 0]
    with pytest.raises(
        AlstmError, match=r"shard0\.pkl, video a: label 2 is out of range for 2 classes; set MODEL\.num_classes"
    ):
        count_labels(shards, 2)


def test_balanced_weights_help_the_rare_class(config, tmp_path):
    """One video in twelve has class 1. After the same number of steps its score is higher with weights than without."""
    videos = [a_video(f"v{index}", 4, [1] if index % 12 == 0 else [0], seed=index) for index in range(48)]
    path = str(write_list(tmp_path / "train.list", write_shards(tmp_path, [videos])))
    own = changed(config, TRAIN__filelist=path, TRAIN__epoch=2, TRAIN__batch_size=8, MODEL__drop_rate=0.0)
    found = {}
    for kind in ("none", "balanced"):
        options = TrainOptions(log_interval=0, valid_interval=0, seed=1, visualdl=False)
        net = train(changed(own, TRAIN__class_weights=kind), tmp_path / kind, options).net
        net.eval()
        inputs = [
            paddle.to_tensor(np.stack(arrays)) for arrays in zip(*((v.rgb, v.audio) for v in videos), strict=True)
        ]
        with paddle.no_grad():
            found[kind] = float(net(*inputs, paddle.to_tensor([4] * 48))[:, 1].mean())
    assert found["balanced"] > found["none"] + 0.1
