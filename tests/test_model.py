"""The network against NumPy: masking, pooling, names, sizes, and a BiLSTM written out gate by gate."""

from __future__ import annotations

import numpy as np
import pytest

from alstm_helpers.model import AttentionLSTM, length_mask, masked_softmax
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import dequantize
from alstm_helpers.weights import state_of

DIMS, EMBEDDING, LSTM, FC, CLASSES = (12, 8), 5, 4, (7, 6), 9
POOLINGS = ("attention", "mean", "last")


def small_net(pooling="attention", *, seed=0, drop_rate=0.5, scale=15.0):
    """A small network whose weights are large enough for attention to be far from even."""
    paddle.seed(seed)
    net = AttentionLSTM(
        num_classes=CLASSES,
        feature_dims=DIMS,
        embedding_size=EMBEDDING,
        lstm_size=LSTM,
        drop_rate=drop_rate,
        fc_sizes=FC,
        pooling=pooling,
    )
    rng = np.random.default_rng(seed)
    for name, parameter in net.named_parameters():
        fan_in = parameter.shape[0] if name.startswith(("fc", "att")) else parameter.shape[-1]
        values = rng.normal(0, 1 / np.sqrt(fan_in), parameter.shape) * (scale if name.startswith("att") else 1)
        parameter.set_value(values.astype(np.float32))
    net.eval()
    return net


def small_batch(lengths, num_steps=None, *, seed=0):
    """uint8 rgb and audio of random videos, noise also in the padding; int64 lengths."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), num_steps or max(lengths))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in DIMS)
    return rgb, audio, np.array(lengths, dtype=np.int64)


def run(net, rgb, audio, lengths):
    """Logits and both attention weights as arrays."""
    logits, weights = net(*map(paddle.to_tensor, (rgb, audio, lengths)), return_attention=True)
    return logits.numpy(), *(item.numpy() for item in weights)


# --- the same network in NumPy, float64, one video at a time ------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_states(inputs, w_ih, w_hh, b_ih, b_hh):
    """The states (T, H) of one direction; gates stand in the order input, forget, cell, output."""
    hidden = cell = np.zeros(w_hh.shape[1])
    states = []
    for x in inputs:
        i, f, c, o = np.split(w_ih @ x + b_ih + w_hh @ hidden + b_hh, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states)


def numpy_network(net, rgb, audio, lengths):
    """Logits and attention weights of each video, computed from its own seconds alone."""
    p = {name: array.astype(np.float64) for name, array in state_of(net).items()}
    logits, weights = [], ([], [])
    for row, length in enumerate(lengths):
        pooled = []
        for stream, frames in enumerate((rgb, audio)):
            x = frames[row, :length] * (4 / 255) + (4 / 512 - 2)
            x = np.tanh(x @ p[f"fc_feature{stream}.weight"] + p[f"fc_feature{stream}.bias"])
            forward, backward = (
                [p[f"bi_lstm{stream}.{part}_l0{way}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
                for way in ("", "_reverse")
            )
            ahead, behind = lstm_states(x, *forward), lstm_states(x[::-1], *backward)[::-1]
            states = np.concatenate([ahead, behind], axis=1)  # (T, 2H)
            if net.pooling == "attention":
                scores = (states @ p[f"att_fc{stream}.weight"] + p[f"att_fc{stream}.bias"])[:, 0]
                share = np.exp(scores - scores.max())
                share /= share.sum()
            else:
                share = np.full(length, 1 / length)
            last = np.concatenate([ahead[-1], behind[0]])
            pooled.append(last if net.pooling == "last" else share @ states)
            weights[stream].append(np.eye(length)[-1] if net.pooling == "last" else share)
        hidden = np.maximum(np.concatenate(pooled) @ p["fc_out1.weight"] + p["fc_out1.bias"], 0)
        hidden = np.tanh(hidden @ p["fc_out2.weight"] + p["fc_out2.bias"])
        logits.append(hidden @ p["fc_logit.weight"] + p["fc_logit.bias"])
    return np.stack(logits), weights


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_whole_network_equals_numpy(pooling):
    net = small_net(pooling)
    batch = small_batch([1, 7, 3, 20, 12])
    logits, *found = run(net, *batch)
    expected, weights = numpy_network(net, *batch)
    assert np.abs(expected).max() > 0.1  # a case that can tell
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
    for array, rows in zip(found, weights, strict=True):
        for row, length, share in zip(array, batch[2], rows, strict=True):
            np.testing.assert_allclose(row[:length], share, atol=1e-5, rtol=0)
            assert not row[length:].any()
    if pooling == "attention":
        assert found[0][3].max() > 2 / 20  # far from even, or the test would not see the attention


# --- masking ----------------------------------------------------------------------------------------------------


def test_length_mask():
    mask = length_mask(paddle.to_tensor([0, 1, 3]), 3)
    assert mask.numpy().tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert mask.dtype == paddle.float32


def softmax_of(scores, mask):
    return masked_softmax(paddle.to_tensor(scores, dtype="float32"), paddle.to_tensor(mask, dtype="float32")).numpy()


def test_masked_softmax_by_hand():
    """Three videos of two seconds: odds of 1 to 3; a second that is padding; nothing but padding."""
    found = softmax_of([[0.0, np.log(3)], [5.0, 99.0], [7.0, 8.0]], [[1, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(found, [[0.25, 0.75], [1, 0], [0, 0]], atol=1e-7)


@pytest.mark.parametrize("padding_score", [0.0, 50.0, 10000.0, -10000.0])
def test_padding_has_a_weight_of_exactly_0(padding_score):
    """Paddle's own softmax would leave e^-64 there."""
    found = softmax_of([[1.0, 2.0, padding_score, padding_score]], [[1, 1, 0, 0]])
    assert found[0, 2:].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(found[0, :2], [1 / (1 + np.e), np.e / (1 + np.e)], atol=1e-6)


@pytest.mark.parametrize(
    "scores",
    [
        [10000.0, -10000.0, 0.0, 10000.0],
        [-10000.0, -10000.0, -10000.0, 10000.0],
        [10000.0, 10000.0, 10000.0, 10000.0],
        [89.0, 89.0, 89.0, 0.0],  # where exp in float32 overflows
    ],
)
def test_extreme_scores_give_no_nan_in_values_or_gradients(scores):
    x = paddle.to_tensor([scores, scores], dtype="float32", stop_gradient=False)
    mask = paddle.to_tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    weights = masked_softmax(x, mask)
    (weights * paddle.to_tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert np.isfinite(weights.numpy()).all() and np.isfinite(x.grad.numpy()).all()
    assert weights.sum(axis=1).numpy() == pytest.approx([1, 0])
    assert not x.grad.numpy()[:, 3].any() and not x.grad.numpy()[1].any()  # padding learns nothing


@pytest.mark.parametrize("score", [10000.0, -10000.0])
def test_extreme_attention_in_the_network_gives_no_nan(score):
    net = small_net(drop_rate=0.0)
    net.train()  # in evaluation Paddle's LSTM keeps nothing for a backward pass
    net.att_fc0.weight.set_value(np.full((2 * LSTM, 1), score, dtype=np.float32))
    net.att_fc1.bias.set_value(np.full(1, score, dtype=np.float32))
    logits = net(*map(paddle.to_tensor, small_batch([1, 9, 4])))
    logits.sum().backward()
    assert np.isfinite(logits.numpy()).all()
    for name, parameter in net.named_parameters():
        assert np.isfinite(parameter.grad.numpy()).all(), name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_video_of_no_seconds_gives_zeros_and_no_nan(pooling):
    net = small_net(pooling)
    rgb, audio, lengths = small_batch([0, 4])
    logits, *weights = run(net, rgb, audio, lengths)
    assert np.isfinite(logits).all()
    for array in weights:
        assert not array[0].any()
        assert array[1].sum() == pytest.approx(1, abs=1e-6)
    expected, _ = numpy_network(net, rgb[1:], audio[1:], lengths[1:])  # its neighbour is as ever
    np.testing.assert_allclose(logits[1:], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_rest_of_the_batch_does_not_matter(pooling):
    net = small_net(pooling)
    rgb, audio, lengths = small_batch([3, 11, 1, 20])
    together = run(net, rgb, audio, lengths)
    for row, length in enumerate(lengths):
        alone = run(net, rgb[row : row + 1, :length], audio[row : row + 1, :length], lengths[row : row + 1])
        np.testing.assert_allclose(alone[0][0], together[0][row], atol=1e-6, rtol=0)
        for one, many in zip(alone[1:], together[1:], strict=True):
            np.testing.assert_allclose(one[0], many[row, :length], atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_lies_in_the_padding_does_not_matter(pooling):
    net = small_net(pooling)
    rgb, audio, lengths = small_batch([3, 11, 1, 20], 25)
    noisy = run(net, rgb, audio, lengths)
    for row, length in enumerate(lengths):
        rgb[row, length:], audio[row, length:] = 0, 255
    for one, other in zip(noisy, run(net, rgb, audio, lengths), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)
    shorter = run(net, rgb[:, :20], audio[:, :20], lengths)
    np.testing.assert_allclose(noisy[0], shorter[0], atol=1e-6, rtol=0)


def test_a_video_of_one_second_gets_all_the_weight():
    net = small_net()
    for array in run(net, *small_batch([1, 6]))[1:]:
        assert array[0].tolist() == [1, 0, 0, 0, 0, 0]
    logits = run(net, *small_batch([1]))[0]
    np.testing.assert_allclose(logits, numpy_network(net, *small_batch([1]))[0], atol=1e-5)


# --- input and output -------------------------------------------------------------------------------------------


def test_bytes_equal_dequantised_floats():
    net = small_net()
    rgb, audio, lengths = small_batch([3, 8])
    from_bytes = run(net, rgb, audio, lengths)
    from_floats = run(net, dequantize(rgb), dequantize(audio), lengths)
    for one, other in zip(from_bytes, from_floats, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)


def test_shapes_and_types():
    net = small_net()
    batch = list(map(paddle.to_tensor, small_batch([3, 8, 2])))
    logits = net(*batch)
    assert list(logits.shape) == [3, CLASSES] and logits.dtype == paddle.float32
    again, (rgb_weights, audio_weights) = net(*batch, return_attention=True)
    assert np.array_equal(logits.numpy(), again.numpy())
    assert list(rgb_weights.shape) == list(audio_weights.shape) == [3, 8]
    assert not np.array_equal(rgb_weights.numpy(), audio_weights.numpy())  # each stream attends for itself


def test_dropout_acts_in_training_before_the_attention():
    batch = small_batch([9, 9])
    net = small_net(drop_rate=0.5)
    assert np.array_equal(run(net, *batch)[0], run(net, *batch)[0])
    net.train()
    one, other = run(net, *batch), run(net, *batch)
    assert not np.allclose(one[0], other[0])
    assert not np.allclose(one[1], other[1])  # the scores saw dropped states
    still = small_net(drop_rate=0.0)
    still.train()
    np.testing.assert_allclose(run(still, *batch)[0], run(small_net(), *batch)[0], atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_dropout_acts_with_the_other_poolings(pooling):
    net = small_net(pooling)
    net.train()
    batch = small_batch([9, 9])
    assert not np.allclose(run(net, *batch)[0], run(net, *batch)[0])


# --- parameters -------------------------------------------------------------------------------------------------


def count_parameters(classes, dims, e, h, fc, *, attention=True):
    """Sizes of every layer, weights and biases."""
    streams = sum(dim * e + e for dim in dims)
    directions = 2 * len(dims)
    lstms = directions * (4 * h * e + 4 * h * h + 2 * 4 * h)
    scores = len(dims) * (2 * h + 1) if attention else 0
    top = 2 * h * len(dims) * fc[0] + fc[0] + fc[0] * fc[1] + fc[1] + fc[1] * classes + classes
    return streams + lstms + scores + top


def test_number_of_parameters():
    for pooling in POOLINGS:
        found = sum(array.size for array in state_of(small_net(pooling)).values())
        assert found == count_parameters(CLASSES, DIMS, EMBEDDING, LSTM, FC, attention=pooling == "attention")
    assert count_parameters(3862, (1024, 128), 512, 1024, (8192, 4096)) == 108_737_304


def test_default_sizes_are_the_source_document_s(monkeypatch):
    """Recorded layer by layer, so that the 108,737,304 parameters need not be made."""
    made = []

    def linear(size_in, size_out):
        made.append((size_in, size_out))
        return paddle.nn.Layer()

    def lstm(size_in, size, direction):
        made.append((size_in, size, direction))
        return paddle.nn.Layer()

    monkeypatch.setattr("alstm_helpers.model.nn.Linear", linear)
    monkeypatch.setattr("alstm_helpers.model.nn.LSTM", lstm)
    assert AttentionLSTM().drop_rate == 0.5
    streams = [part for dim in (1024, 128) for part in ((dim, 512), (512, 1024, "bidirectional"), (2048, 1))]
    assert made == [*streams, (4096, 8192), (8192, 4096), (4096, 3862)]


def test_parameters_carry_paddlevideo_s_names():
    kinds = [f"{kind}_{part}" for kind in ("weight", "bias") for part in ("ih", "hh")]
    lstm = [f"{kind}_l0{way}" for way in ("", "_reverse") for kind in kinds]
    expected = [
        name
        for i in (0, 1)
        for name in (
            *(f"fc_feature{i}.{kind}" for kind in ("weight", "bias")),
            *(f"bi_lstm{i}.{name}" for name in lstm),
            *(f"att_fc{i}.{kind}" for kind in ("weight", "bias")),
        )
    ]
    expected += [f"{layer}.{kind}" for layer in ("fc_out1", "fc_out2", "fc_logit") for kind in ("weight", "bias")]
    state = state_of(small_net())
    assert sorted(state) == sorted(expected)
    shapes = {name: array.shape for name, array in state.items()}
    assert shapes["fc_feature0.weight"] == (DIMS[0], EMBEDDING)  # Linear weights are [in, out]
    assert shapes["bi_lstm0.weight_ih_l0"] == (4 * LSTM, EMBEDDING)
    assert shapes["bi_lstm0.weight_hh_l0_reverse"] == (4 * LSTM, LSTM)
    assert shapes["att_fc1.bias"] == (1,)
    assert shapes["fc_logit.weight"] == (FC[1], CLASSES)


def test_only_attention_pooling_has_attention_parameters():
    for pooling in ("mean", "last"):
        assert not [name for name in state_of(small_net(pooling)) if name.startswith("att")]
