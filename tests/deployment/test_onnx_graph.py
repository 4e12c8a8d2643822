"""The ONNX graph: equal to an independent network in NumPy, for bytes and for floats, at any length."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy_network import numpy_network, sigmoid
from support import a_net, score_all, unequal_videos

from alstm_helpers import __version__
from alstm_helpers.deployment.onnx_graph import network_model
from alstm_helpers.deployment.predictor import INPUTS, Predictor
from alstm_helpers.model import POOLINGS, AttentionLSTM
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import dequantize

NAMES = ["scores", "rgb_attention", "audio_attention", "logits"]


def run(model, batch):
    """Return the outputs of a model by name."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == NAMES
    return dict(zip(NAMES, session.run(None, dict(zip(INPUTS, batch, strict=True))), strict=True))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("frames", ["uint8", "float32"])
def test_equals_an_independent_network(tiny_config, pooling, frames):
    net = a_net(tiny_config, pooling)
    batch = unequal_videos([1, 300, 7, 300, 40])
    rgb, audio, lengths = batch
    given = (dequantize(rgb), dequantize(audio), lengths) if frames == "float32" else batch
    found = run(network_model(net, {}, frames=frames), given)
    logits, weights = numpy_network(net, *batch)
    assert np.abs(logits).max() > 0.1  # large enough to tell
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5, rtol=0)
    np.testing.assert_allclose(found["scores"], sigmoid(logits), atol=1e-5, rtol=0)
    for name, rows in zip(NAMES[1:3], weights, strict=True):
        for row, length, share in zip(found[name], lengths, rows, strict=True):
            np.testing.assert_allclose(row[:length], share, atol=1e-5, rtol=0)
            assert not row[length:].any()


def test_takes_the_sizes_from_the_network():
    net = AttentionLSTM(num_classes=3, feature_dims=(12, 8), embedding_size=5, lstm_size=4, fc_sizes=(7, 6))
    net.eval()
    rng = np.random.default_rng(0)
    batch = *(rng.integers(0, 256, (2, 6, dim), dtype=np.uint8) for dim in (12, 8)), np.array([6, 2])
    np.testing.assert_allclose(run(network_model(net, {}), batch)["logits"], numpy_network(net, *batch)[0], atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_lengths_are_clipped_and_a_video_of_no_seconds_pools_to_zeros(tiny_config, pooling):
    net = a_net(tiny_config, pooling)
    rgb, audio, _ = unequal_videos([5, 5, 5, 5])
    batch = rgb, audio, np.array([0, 5, 9, -3])
    found = run(network_model(net, {}), batch)
    for name, expected in zip(NAMES, score_all(net, batch), strict=False):
        np.testing.assert_allclose(found[name], expected, atol=1e-5, rtol=0)
    assert not found["rgb_attention"][[0, 3]].any()


def test_attention_survives_scores_that_overflow(tiny_config):
    net = a_net(tiny_config)
    net.att_fc0.bias.set_value(np.array([3e38], dtype=np.float32))
    net.att_fc1.bias.set_value(np.array([-200], dtype=np.float32))
    found = run(network_model(net, {}), unequal_videos([3, 9]))
    for name in NAMES[1:3]:
        np.testing.assert_allclose(found[name].sum(axis=1), 1, atol=1e-5)


def test_uses_standard_operators_of_2022(tiny_config):
    model = network_model(a_net(tiny_config), {"a": "ü"})
    assert (model.ir_version, [(item.domain, item.version) for item in model.opset_import]) == (8, [("", 17)])
    assert {"LSTM", "Sigmoid"} < {node.op_type for node in model.graph.node} and not model.functions
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("alstm_helpers", __version__)
    assert {item.key: item.value for item in model.metadata_props} == {"description": '{"a": "ü"}'}


def test_a_predictor_dequantises_for_a_model_of_floats(tiny_config, tmp_path):
    net = a_net(tiny_config)
    batch = unequal_videos([4, 20])
    onnx.save(network_model(net, {}, frames="float32"), tmp_path / "floats.onnx")
    found = Predictor(tmp_path / "floats.onnx")(*batch)
    for one, other in zip(found, score_all(net, batch), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_dropout_is_left_out_even_in_training(tiny_config, rate):
    net = a_net(tiny_config)
    expected = network_model(net, {}).SerializeToString()
    net.drop_rate = rate
    net.train()
    paddle.seed(0)
    assert network_model(net, {}).SerializeToString() == expected
