"""Scores and metrics of a list do not depend on its batches, and the network stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from support import a_video, changed, ids_of, write_shards

from alstm_helpers.data.dataset import Batch, collate, read_batches
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import collect, evaluate, score_batches
from alstm_helpers.evaluation.predict import predict
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model.build import build_model, load_model, to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.model.weights import save_weights, state_of
from alstm_helpers.ranks import Ranks
from alstm_helpers.runtime import paddle


@pytest.fixture(scope="module")
def net(tiny_config):
    paddle.seed(3)
    net = build_model(changed(tiny_config, MODEL__drop_rate=0.5))
    net.eval()
    return net


@pytest.fixture(scope="module")
def shards(tiny_config):
    return read_filelist(tiny_config.TEST.filelist)


def batches_of(shards, batch_size):
    return read_batches(shards, batch_size, 20)


def test_summed_loss_by_hand():
    logits = paddle.to_tensor([[0.0, 2.0], [-1.0, 0.5]])
    labels = paddle.to_tensor([[1.0, 0.0], [0.0, 1.0]])
    probability = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    truth = labels.numpy()
    expected = -(truth * np.log(probability) + (1 - truth) * np.log(1 - probability)).sum()
    assert float(summed_loss(logits, labels)) == pytest.approx(expected, rel=1e-6)


def test_to_tensors_keeps_features_as_bytes():
    rgb, audio, lengths, labels = to_tensors(collate([a_video("a", 3, [1])], 4))
    assert (rgb.dtype, audio.dtype, lengths.dtype) == (paddle.uint8, paddle.uint8, paddle.int64)
    assert labels.numpy().tolist() == [[0, 1, 0, 0]]


def test_every_video_is_scored_once_in_order(net, shards):
    expected = ids_of(shards)
    assert len(expected) == 20
    for batch_size in (1, 7, 19, 20, 21):
        found = [video for batch, _, _ in score_batches(net, batches_of(shards, batch_size)) for video in batch.ids]
        assert found == expected


def test_scores_are_sigmoids_and_do_not_depend_on_the_batch_size(net, shards):
    by_size = [
        np.concatenate([scores for _, scores, _ in score_batches(net, batches_of(shards, batch_size))])
        for batch_size in (1, 7, 20)
    ]
    assert by_size[0].shape == (20, 20) and by_size[0].dtype == np.float32
    assert by_size[0].min() > 0 and by_size[0].max() < 1
    for scores in by_size[1:]:
        np.testing.assert_allclose(scores, by_size[0], atol=1e-6, rtol=0)


def test_evaluate_equals_metrics_and_loss_of_the_scores(net, shards):
    scores, labels = (
        np.concatenate(parts)
        for parts in zip(
            *((s, batch.labels) for batch, s, _ in score_batches(net, batches_of(shards, 20))), strict=True
        )
    )
    metrics = YouTube8MMetrics(20, 5)
    metrics.update(scores, labels)
    loss = -(labels * np.log(scores) + (1 - labels) * np.log(1 - scores)).sum() / 20
    found = evaluate(net, batches_of(shards, 6), top_k=5)
    assert set(found) == {"hit_at_1", "perr", "gap", "map", "loss", "num_videos"}
    assert found == pytest.approx({**metrics.result(), "loss": loss}, rel=1e-5)


def test_an_observer_sees_every_batch_and_its_scores(net, shards):
    seen: list[tuple[Batch, np.ndarray]] = []
    evaluate(net, batches_of(shards, 8), observe=lambda batch, scores: seen.append((batch, scores)))
    for (batch, scores), (other, others, _) in zip(seen, score_batches(net, batches_of(shards, 8)), strict=True):
        assert batch.ids == other.ids and np.array_equal(scores, others)


def test_ranks_exchange_videos_and_losses(net, shards):
    """The other rank is a stand-in that has the same videos, so the means stay; one rank alone exchanges nothing."""

    class Two(Ranks):
        def gather(self, rows):
            return np.concatenate([rows, rows])

    class Alone(Ranks):
        def gather(self, rows):
            raise AssertionError

    alone = evaluate(net, batches_of(shards, 8), ranks=Alone())
    both = evaluate(net, batches_of(shards, 8), ranks=Two(0, 2))
    assert (alone["num_videos"], both["num_videos"]) == (20, 40)
    for key in ("loss", "hit_at_1", "perr"):
        assert both[key] == pytest.approx(alone[key])


def test_twenty_predictions_per_video_enter_gap_unless_said_otherwise(tiny_config):
    """As in YouTube-8M's competition."""
    net = build_model(changed(tiny_config, MODEL__num_classes=30))
    batches = [collate([a_video(f"v{index}", 2, [index, 29 - index]) for index in range(12)], 30)]
    gaps = {top_k: evaluate(net, batches, top_k=top_k)["gap"] for top_k in (19, 20, 21)}
    assert len(set(gaps.values())) == 3
    assert evaluate(net, batches)["gap"] == collect(net, batches)[0].gap() == gaps[20]


def test_no_gradient_is_prepared(net, shards, monkeypatch):
    enabled = []

    def watched(*inputs):
        enabled.append(paddle.is_grad_enabled())
        return forward(*inputs)

    forward = net.forward
    monkeypatch.setattr(net, "forward", watched)
    evaluate(net, batches_of(shards, 20))
    assert enabled == [False]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_is_restored(tiny_config, shards, training):
    net = build_model(changed(tiny_config, MODEL__drop_rate=0.5))
    net.train() if training else net.eval()
    first = evaluate(net, batches_of(shards, 20))
    assert net.training is training
    assert evaluate(net, batches_of(shards, 20)) == first  # so dropout was off inside

    def broken():
        yield from batches_of(shards, 20)
        raise AlstmError("shard", "broken", "fix it")

    with pytest.raises(AlstmError, match="broken"):
        evaluate(net, broken())
    assert net.training is training
    scored = score_batches(net, batches_of(shards, 5))
    next(scored)
    scored.close()
    assert net.training is training


def test_gradients_stay_on_for_the_caller(net, shards):
    """Between two batches, and after iterators are opened and closed in any order."""

    def has_gradient():
        x = paddle.to_tensor([1.0], stop_gradient=False)
        return not (x * x).stop_gradient

    try:
        first, second = (score_batches(net, batches_of(shards, 5)) for _ in range(2))
        next(first)
        assert has_gradient()
        next(second)
        first.close()
        second.close()
        assert has_gradient()
    finally:
        paddle.set_grad_enabled(True)


def test_weights_do_not_change(net, shards):
    before = state_of(net)
    evaluate(net, batches_of(shards, 7))
    assert all(np.array_equal(array, before[name]) for name, array in state_of(net).items())


def test_a_list_without_videos_is_refused(net, tmp_path):
    with pytest.raises(AlstmError, match="no video"):
        evaluate(net, batches_of(write_shards(tmp_path, [[], []]), 4))


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(tiny_config, shards, logit):
    """Infinite logits make scores of 0 and 1, from which nothing can be told."""
    net = build_model(tiny_config)
    net.fc_logit.bias.set_value(np.full(20, logit, dtype=np.float32))
    with pytest.raises(AlstmError, match="scores of video v000: not finite; use other weights"):
        evaluate(net, batches_of(shards, 20))
    with pytest.raises(AlstmError, match="scores of video v000: not finite"):
        list(predict(net, batches_of(shards, 20), top_k=3))
    assert net.training


def test_a_loss_that_is_not_finite_is_refused(tiny_config, shards):
    """The sum of finite ones."""
    net = build_model(tiny_config)
    net.fc_logit.bias.set_value(np.full(20, 3e38, dtype=np.float32))
    with pytest.raises(
        AlstmError, match=r"test\.list: the loss is inf; use other weights than those of a training that"
    ):
        evaluate(net, batches_of(shards, 20), where="test.list")


def test_build_model_follows_every_key(tiny_config):
    settings = {
        "MODEL__num_classes": 7,
        "MODEL__embedding_size": 3,
        "MODEL__lstm_size": 5,
        "MODEL__fc_sizes": (11, 13),
        "MODEL__drop_rate": 0.25,
        "MODEL__pooling": "last",
    }
    net = build_model(changed(tiny_config, **settings))
    shapes = {name: array.shape for name, array in state_of(net).items()}
    assert shapes["fc_feature0.weight"] == (1024, 3) and shapes["fc_feature1.weight"] == (128, 3)
    assert shapes["bi_lstm1.weight_hh_l0"] == (20, 5)
    assert shapes["fc_out1.weight"] == (20, 11) and shapes["fc_out2.weight"] == (11, 13)
    assert shapes["fc_logit.weight"] == (13, 7)
    assert net.drop_rate == 0.25 and net.pooling == "last" and "att_fc0.weight" not in shapes


def test_load_model_is_ready_to_score(net, tiny_config, tmp_path):
    path = tmp_path / "net.pdparams"
    save_weights(net, path)
    loaded = load_model(tiny_config, path)
    assert not loaded.training
    assert all(np.array_equal(array, state_of(net)[name]) for name, array in state_of(loaded).items())
    with pytest.raises(AlstmError, match=r"net\.pdparams, fc_logit\.weight: shape \[16, 20\], not \[16, 21\]"):
        load_model(changed(tiny_config, MODEL__num_classes=21), path)
