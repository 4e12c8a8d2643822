"""The network against NumPy: masking, pooling, names, sizes, and a BiLSTM written out gate by gate."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy_network import (
    CLASSES,
    DIMS,
    EMBEDDING,
    FC,
    LSTM,
    numpy_network,
    numpy_top,
    random_weights,
    sigmoid,
    small_batch,
    small_net,
)

from alstm_helpers.config import ModelSection
from alstm_helpers.model import POOLINGS, AttentionLSTM, dropout, length_mask, masked_softmax, mean_deviation
from alstm_helpers.model.weights import apply_weights, load_arrays, state_of
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import dequantize


def run(net, rgb, audio, lengths):
    """Return logits and both attention weights as arrays."""
    logits, weights = net(*map(paddle.to_tensor, (rgb, audio, lengths)), return_attention=True)
    return logits.numpy(), *(item.numpy() for item in weights)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_whole_network_equals_numpy(pooling):
    net = small_net(pooling)
    batch = small_batch([1, 7, 3, 20, 12])
    logits, *found = run(net, *batch)
    expected, weights = numpy_network(net, *batch)
    assert np.abs(expected).max() > 0.1  # large enough to tell
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
    for array, rows in zip(found, weights, strict=True):
        for row, length, share in zip(array, batch[2], rows, strict=True):
            np.testing.assert_allclose(row[:length], share, atol=1e-5, rtol=0)
            assert not row[length:].any()
    if "attention" in pooling:
        assert found[0][3].max() > 2 / 20  # far from even, or the test would not notice the attention


# --- masking ----------------------------------------------------------------------------------------------------


def test_length_mask():
    mask = length_mask(paddle.to_tensor([0, 1, 3]), 3)
    assert mask.numpy().tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert mask.dtype == paddle.float32


def softmax_of(scores, mask):
    return masked_softmax(paddle.to_tensor(scores, dtype="float32"), paddle.to_tensor(mask, dtype="float32")).numpy()


def test_masked_softmax_by_hand():
    """Three videos of two seconds: odds of 1 to 3; one second of padding; only padding."""
    found = softmax_of([[0.0, np.log(3)], [5.0, 99.0], [7.0, 8.0]], [[1, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(found, np.array([[0.25, 0.75], [1, 0], [0, 0]]), atol=1e-7)


@pytest.mark.parametrize("padding_score", [0.0, 50.0, 10000.0, -10000.0])
def test_padding_has_a_weight_of_exactly_0(padding_score):
    """Paddle's own softmax would leave e^-64 there."""
    found = softmax_of([[1.0, 2.0, padding_score, padding_score]], [[1, 1, 0, 0]])
    assert found[0, 2:].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(found[0, :2], [1 / (1 + np.e), np.e / (1 + np.e)], atol=1e-6)


@pytest.mark.parametrize("offset", [10000.0, -10000.0])
def test_an_offset_of_all_scores_changes_nothing(offset):
    scores = np.array([[1.0, -2.0, 0.0, 5.0], [3.0, 3.0, 1.0, 5.0]])  # whole numbers: the sums are exact
    mask = [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert np.array_equal(softmax_of(scores + offset, mask), softmax_of(scores, mask))


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
    """It pools to zeros, from which the layers above still compute logits; its neighbour is unaffected."""
    net = small_net(pooling)
    rgb, audio, lengths = small_batch([0, 4])
    logits, *weights = run(net, rgb, audio, lengths)
    for array in weights:
        assert not array[0].any()
        assert array[1].sum() == pytest.approx(1, abs=1e-6)
    expected, _ = numpy_network(net, rgb[1:], audio[1:], lengths[1:])
    zeros = np.zeros(net.fc_out1.weight.shape[0])
    np.testing.assert_allclose(logits[0], numpy_top(state_of(net), zeros), atol=1e-5, rtol=0)
    np.testing.assert_allclose(logits[1:], expected, atol=1e-5, rtol=0)
    net.train()
    net(*map(paddle.to_tensor, (rgb, audio, lengths))).sum().backward()
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in net.parameters())


def distances_from_alone(net, rgb, audio, lengths):
    """Return the largest differences of logits, scores and both attentions (4,) between videos in a batch and alone."""
    together = run(net, rgb, audio, lengths)
    found = []
    for row, length in enumerate(lengths):
        alone = run(net, rgb[row : row + 1, :length], audio[row : row + 1, :length], lengths[row : row + 1])
        pairs = [(alone[0][0], together[0][row]), (sigmoid(alone[0][0]), sigmoid(together[0][row]))]
        pairs += [(one[0], many[row, :length]) for one, many in zip(alone[1:], together[1:], strict=True)]
        found.append([np.abs(one - other).max() for one, other in pairs])
    return np.max(found, axis=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_rest_of_the_batch_does_not_matter(pooling):
    assert (distances_from_alone(small_net(pooling), *small_batch([3, 11, 1, 20])) <= 1e-6).all()


def test_the_rest_of_the_batch_does_not_matter_at_the_course_s_size():
    rng = np.random.default_rng(0)
    net = AttentionLSTM(20, embedding_size=64, lstm_size=64, fc_sizes=(64, 64))
    for name, parameter in net.named_parameters():
        parameter.set_value(random_weights(rng, name, parameter.shape, 5.0))
    net.eval()
    lengths = rng.permutation(np.arange(1, 61))
    assert (distances_from_alone(net, *small_batch(lengths, dims=(1024, 128))) <= 1e-6).all()


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


@pytest.mark.parametrize("pooling", POOLINGS)
def test_lengths_beyond_the_last_second_mean_all_seconds(pooling):
    """Paddle's LSTM would read beyond its memory and end the process."""
    net = small_net(pooling)
    rgb, audio, lengths = small_batch([3, 5])
    expected = run(net, rgb, audio, lengths)
    for too_long in (np.array([3, 6]), np.array([3, 10**6], dtype=np.int32)):
        for one, other in zip(run(net, rgb, audio, too_long), expected, strict=True):
            assert np.array_equal(one, other)


def test_a_video_of_one_second_gets_all_the_weight():
    net = small_net()
    for array in run(net, *small_batch([1, 6]))[1:]:
        assert array[0].tolist() == [1, 0, 0, 0, 0, 0]
    logits = run(net, *small_batch([1]))[0]
    np.testing.assert_allclose(logits, numpy_network(net, *small_batch([1]))[0], atol=1e-5)


def test_mean_deviation_by_hand():
    """Two numbers over three seconds; one second, then padding; only padding."""
    changing, one_second = [[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]], [[7.0, -1.0], [99.0, 99.0], [0.0, 0.0]]
    mask = paddle.to_tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = mean_deviation(paddle.to_tensor([changing, one_second, changing]), mask)
    assert found.numpy().tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_a_video_in_which_nothing_changes_has_finite_gradients():
    """A standard deviation of 0 has an infinite slope."""
    net = small_net("attention+deviation", drop_rate=0.0)
    net.train()
    rgb, audio, lengths = small_batch([1, 4])
    rgb[1], audio[1] = rgb[1, :1], audio[1, :1]
    net(*map(paddle.to_tensor, (rgb, audio, lengths))).sum().backward()
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in net.parameters())


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


# --- dropout ----------------------------------------------------------------------------------------------------


def kept_by_dropout(shape, rate, *, seed=0):
    """Return which elements of ones are kept; check that these are scaled, and the others 0."""
    paddle.seed(seed)
    found = dropout(paddle.ones(shape), rate).numpy()
    assert found.shape == tuple(shape)
    kept = found != 0
    np.testing.assert_allclose(found[kept], 1 / (1 - rate), rtol=1e-6)
    return kept


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.01, 0.9])
def test_dropout_drops_the_requested_share(rate):
    kept = kept_by_dropout([1000, 2001], rate)
    sigma = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs((1 - kept.mean()) - rate) < 4 * sigma
    assert abs(kept.mean() / (1 - rate) - 1) < 4 * sigma / (1 - rate)  # the mean of the output
    columns, rows = kept.mean(axis=0), kept.mean(axis=1)  # no position is dropped more often than another
    assert columns.std() == pytest.approx(sigma * np.sqrt(kept.shape[1]), rel=0.1)
    assert rows.std() == pytest.approx(sigma * np.sqrt(kept.shape[0]), rel=0.1)


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.01])
def test_dropout_decides_about_each_element_by_itself(rate):
    """Two neighbours share one draw of 32 bits, yet are independent; so are consecutive calls."""
    kept = kept_by_dropout([2_000_000], rate).astype(np.float64)
    kept = (kept - kept.mean()) / kept.std()
    pairs = [(kept[0::2], kept[1::2]), (kept[1:-1:2], kept[2::2])]  # within one draw, and across two
    pairs += [(kept[:-distance], kept[distance:]) for distance in (2, 3, 4, 64, 1_000_000)]
    for one, other in pairs:
        assert abs((one * other).mean()) < 4 / np.sqrt(len(one))


def test_dropout_drops_nearly_all_at_a_rate_of_nearly_1():
    assert (dropout(paddle.ones([65536]), 0.999_999) != 0).sum() < 20


@pytest.mark.parametrize("shape", [[], [1], [7], [3, 5, 7], [2, 1, 8]])
def test_dropout_takes_any_shape(shape):
    kept = [kept_by_dropout(shape, 0.5, seed=seed) for seed in range(64)]
    assert 0.25 < np.mean(kept) < 0.75
    assert (np.mean(kept, axis=0) > 0).all() and (np.mean(kept, axis=0) < 1).all()  # the last element too


def test_dropout_lets_the_gradient_of_what_it_kept_through():
    x = paddle.to_tensor(np.random.default_rng(0).normal(size=(31, 33)).astype(np.float32), stop_gradient=False)
    kept = kept_by_dropout([31, 33], 0.2)
    paddle.seed(0)
    y = dropout(x, 0.2)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), kept * 1.25, rtol=1e-6)
    np.testing.assert_allclose(y.numpy(), x.numpy() * kept * 1.25, rtol=1e-6)


def test_dropout_is_repeated_by_a_seed():
    one, other = kept_by_dropout([99], 0.5, seed=3), kept_by_dropout([99], 0.5, seed=4)
    paddle.seed(3)
    first, second = (dropout(paddle.ones([99]), 0.5).numpy() != 0 for _ in range(2))
    assert np.array_equal(first, one)
    assert not np.array_equal(second, one) and not np.array_equal(other, one)


def test_dropout_acts_in_training_before_the_attention():
    batch = small_batch([9, 9])
    net = small_net(drop_rate=0.5)
    assert np.array_equal(run(net, *batch)[0], run(net, *batch)[0])
    net.train()
    one, other = run(net, *batch), run(net, *batch)
    assert not np.allclose(one[0], other[0])
    assert not np.allclose(one[1], other[1])  # the scores saw dropped states


def test_without_training_or_with_a_rate_of_0_nothing_is_dropped_or_drawn():
    batch = small_batch([9, 9])
    still = small_net(drop_rate=0.0)
    still.train()
    paddle.seed(5)
    np.testing.assert_allclose(run(still, *batch)[0], run(small_net(), *batch)[0], atol=1e-6)
    paddle.seed(5)
    drawn = paddle.rand([4]).numpy()
    paddle.seed(5)
    run(still, *batch)
    assert np.array_equal(paddle.rand([4]).numpy(), drawn)  # a resumed run finds the generator unchanged


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_dropout_acts_with_the_other_poolings(pooling):
    net = small_net(pooling)
    net.train()
    batch = small_batch([9, 9])
    assert not np.allclose(run(net, *batch)[0], run(net, *batch)[0])


# --- parameters -------------------------------------------------------------------------------------------------


def count_parameters(classes, dims, e, h, fc, *, pooling="attention"):
    """Add up the sizes of all layers, weights and biases."""
    streams = sum(dim * e + e for dim in dims)
    directions = 2 * len(dims)
    lstms = directions * (4 * h * e + 4 * h * h + 2 * 4 * h)
    scores = len(dims) * (2 * h + 1) if "attention" in pooling else 0
    pooled = 2 * h + (e if "deviation" in pooling else 0)
    top = pooled * len(dims) * fc[0] + fc[0] + fc[0] * fc[1] + fc[1] + fc[1] * classes + classes
    return streams + lstms + scores + top


def test_number_of_parameters():
    for pooling in POOLINGS:
        found = sum(array.size for array in state_of(small_net(pooling)).values())
        assert found == count_parameters(CLASSES, DIMS, EMBEDDING, LSTM, FC, pooling=pooling)
    assert count_parameters(3862, (1024, 128), 512, 1024, (8192, 4096)) == 108_737_304


def paddlevideo_shapes(classes, dims, e, h, fc):
    """Return the shapes in a weights file of PaddleVideo by name, an LSTM's arrays under both of their names."""
    sizes = {"fc_out1": (2 * h * len(dims), fc[0]), "fc_out2": fc, "fc_logit": (fc[1], classes)}
    for i, dim in enumerate(dims):
        sizes |= {f"fc_feature{i}": (dim, e), f"att_fc{i}": (2 * h, 1)}
    shapes = {f"{name}.weight": size for name, size in sizes.items()}  # Linear weights are [in, out]
    shapes |= {f"{name}.bias": size[1:] for name, size in sizes.items()}
    parts = {"weight_ih": (4 * h, e), "weight_hh": (4 * h, h), "bias_ih": (4 * h,), "bias_hh": (4 * h,)}
    for i in range(len(dims)):
        for part, shape in parts.items():
            shapes |= {f"bi_lstm{i}.{part}_l0{way}": shape for way in ("", "_reverse")}
            shapes |= {f"bi_lstm{i}.0.cell_{way}.{part}": shape for way in ("fw", "bw")}
    return shapes


def first_name(name):
    """Return the name under which :func:`state_of` lists an array."""
    for cell, way in ((".0.cell_fw.", ""), (".0.cell_bw.", "_reverse")):
        if cell in name:
            return f"{name.replace(cell, '.')}_l0{way}"
    return name


def test_parameters_carry_paddlevideo_s_names():
    net, shapes = small_net(), paddlevideo_shapes(CLASSES, DIMS, EMBEDDING, LSTM, FC)
    assert {name: tuple(array.shape) for name, array in net.state_dict().items()} == shapes
    assert set(state_of(net)) == {name for name in shapes if name == first_name(name)}
    for name, array in net.state_dict().items():
        assert np.array_equal(array.numpy(), state_of(net)[first_name(name)]), name


def test_every_pooling_of_the_configuration_is_a_network():
    assert set(POOLINGS) == set(get_args(ModelSection.model_fields["pooling"].annotation))
    assert all(net.pooling == name for name, net in POOLINGS.items())


def test_only_attention_pooling_has_attention_parameters():
    for pooling in ("mean", "last"):
        assert not [name for name in state_of(small_net(pooling)) if name.startswith("att")]


# --- full size, from a file as PaddleVideo writes it ------------------------------------------------------------


FULL = (3862, (1024, 128), 512, 1024, (8192, 4096))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Stand in for the published weights: the network that loaded them, and the tensors in the file by name."""
    rng = np.random.default_rng(0)
    shapes = paddlevideo_shapes(*FULL)
    tensors = {
        name: paddle.to_tensor(random_weights(rng, name, shape, 5.0))
        for name, shape in shapes.items()
        if name == first_name(name)
    }
    path = tmp_path_factory.mktemp("full") / "AttentionLSTM_yt8.pdparams"
    paddle.save({name: tensors[first_name(name)] for name in shapes}, str(path))
    arrays = load_arrays(path)
    assert arrays.keys() == shapes.keys()
    net = AttentionLSTM()
    assert apply_weights(net, arrays, str(path)) == []
    path.unlink()  # half a gigabyte
    net.eval()
    return net, tensors


def paddlevideo_network(net, rgb, audio, lengths, num_steps=512):
    """Compute logits as PaddleVideo defines them: padded to 512 seconds, a mask as wide as the features, plain exp.

    Only the layers are those of the network.
    """
    pooled = []
    for stream, frames in enumerate((rgb, audio)):
        padded = np.zeros((len(lengths), num_steps, frames.shape[2]), dtype=np.float32)
        wide_mask = np.zeros_like(padded)
        for row, length in enumerate(lengths):
            padded[row, :length] = dequantize(frames[row, :length])
            wide_mask[row, :length] = 1
        embedded = paddle.tanh(getattr(net, f"fc_feature{stream}")(paddle.to_tensor(padded)))
        states = getattr(net, f"bi_lstm{stream}")(embedded, sequence_length=paddle.to_tensor(lengths))[0]  # (B, T, 2H)
        odds = paddle.exp(getattr(net, f"att_fc{stream}")(states)).numpy()  # (B, T, 1)
        odds = odds * wide_mask.mean(axis=2, keepdims=True)
        pooled.append((states.numpy() * odds / odds.sum(axis=1, keepdims=True)).sum(axis=1))  # (B, 2H)
    hidden = paddle.nn.functional.relu(net.fc_out1(paddle.to_tensor(np.concatenate(pooled, axis=1))))
    return net.fc_logit(paddle.tanh(net.fc_out2(hidden))).numpy()


def test_all_of_paddlevideo_s_parameters_load(published):
    net, tensors = published
    assert sum(parameter.size for parameter in net.parameters()) == 108_737_304
    assert net.drop_rate == 0.5
    found = dict(net.named_parameters())
    assert found.keys() == tensors.keys()
    assert all(bool((found[name] == tensor).all()) for name, tensor in tensors.items())


@pytest.mark.no_cover
@paddle.no_grad()
def test_full_size_equals_numpy_and_paddlevideo_s_definition(published):
    net, _ = published
    batch = small_batch([1, 9, 4], 11, dims=(1024, 128))
    logits, *found = run(net, *batch)
    expected, weights = numpy_network(net, *batch)
    assert np.abs(expected).max() > 0.1 and max(weights[0][1]) > 2 / 9  # large enough to tell
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(logits, paddlevideo_network(net, *batch), atol=1e-5, rtol=0)
    for array, rows in zip(found, weights, strict=True):
        for row, length, share in zip(array, batch[2], rows, strict=True):
            np.testing.assert_allclose(row[:length], share, atol=1e-5, rtol=0)
            assert not row[length:].any()


@paddle.no_grad()
def test_the_rest_of_the_batch_does_not_matter_at_full_size(published):
    """Within 1e-6 in other company, and in the scores also alone.

    For a single row the BLAS may take another path, which adds up the 8192 products of a logit one by one: alone, a
    logit here differs by up to 1e-6 in float32, whatever stood beside it.
    """
    net, _ = published
    rgb, audio, lengths = small_batch([5, 1, 3], dims=(1024, 128))
    company = small_batch([5, 12, 7], dims=(1024, 128), seed=1)
    for frames, others in ((rgb, company[0]), (audio, company[1])):
        others[0, :5] = frames[0]
    one, other = run(net, rgb, audio, lengths), run(net, *company)
    for array, again in zip(one, other, strict=True):
        np.testing.assert_allclose(array[0], again[0, : array.shape[1]], atol=1e-6, rtol=0)
    assert (distances_from_alone(net, rgb, audio, lengths) <= [5e-6, 1e-6, 1e-6, 1e-6]).all()
