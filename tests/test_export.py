"""The exported model: equal to the trainer at any batch and length, and refused where it is not."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from support import changed

from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluate import build_model
from alstm_helpers.runtime import paddle

exporting = importlib.import_module("alstm_helpers.export")


def a_net(config, pooling="attention"):
    paddle.seed(3)
    net = build_model(changed(config, MODEL__pooling=pooling, MODEL__drop_rate=0.5))
    if pooling == "attention":
        for layer in (net.att_fc0, net.att_fc1):  # attention far from even, so that a wrong mask shows
            layer.weight.set_value(layer.weight.numpy() * 20)
    net.eval()
    return net


def a_batch(lengths, num_steps=None, seed=1):
    """Random videos; the padding is noise too."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), num_steps or max(lengths))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in (1024, 128))
    return rgb, audio, np.array(lengths, dtype=np.int64)


def expected_of(net, batch):
    logits, weights = net(*map(paddle.to_tensor, batch), return_attention=True)
    return [paddle.nn.functional.sigmoid(logits).numpy(), *(item.numpy() for item in weights)]


@pytest.fixture(scope="module", params=["attention", "mean", "last"])
def exported(request, tiny_config, tmp_path_factory):
    """The network, the folder, and what export returned."""
    net = a_net(tiny_config, request.param)
    folder = tmp_path_factory.mktemp("models") / "new" / "my model 模型"
    return net, folder, exporting.export(net, folder)


def test_files(exported):
    _, folder, description = exported
    program = "model.json" if (folder / "model.json").exists() else "model.pdmodel"  # Paddle 3 and Paddle 2
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", program, "model.pdiparams"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert json.loads((folder / "export.json").read_text(encoding="utf-8")) == description
    assert description["files"] == [program, "model.pdiparams"]


def test_description(exported):
    _, _, description = exported
    assert description["largest_difference"] <= 1e-5
    assert {1, 40} <= set(description["checked_lengths"])
    assert description["num_classes"] == 20
    assert description["outputs"] == ["scores", "rgb_weights", "audio_weights"]
    assert set(description["inputs"]) == {"rgb", "audio", "lengths"}
    assert description["inputs"]["rgb"].startswith("uint8")
    assert description["paddle"] == paddle.__version__


@pytest.mark.parametrize("lengths", [[1], [40], [1, 40], [3, 3, 3, 3, 3], [7, 1, 2, 90, 30, 5, 1]])
def test_equals_the_trainer_at_any_batch_and_length(exported, lengths):
    net, folder, _ = exported
    batch = a_batch(lengths)
    found = exporting.run_inference(exporting.load_predictor(folder), *batch)
    for one, other in zip(found, expected_of(net, batch), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_one_predictor_serves_batches_of_any_shape(exported):
    net, folder, _ = exported
    predictor = exporting.load_predictor(folder)
    for lengths in ([1, 40], [5], [2, 2, 9]):
        batch = a_batch(lengths)
        found = exporting.run_inference(predictor, *batch)
        np.testing.assert_allclose(found[0], expected_of(net, batch)[0], atol=1e-5, rtol=0)


def test_lengths_survive_the_export(exported):
    """paddle2onnx 2.1 drops them: a short video then depends on its batch and on its padding."""
    _, folder, _ = exported
    predictor = exporting.load_predictor(folder)
    rgb, audio, lengths = a_batch([1, 40])
    together = exporting.run_inference(predictor, rgb, audio, lengths)
    alone = exporting.run_inference(predictor, rgb[:1, :1], audio[:1, :1], lengths[:1])
    np.testing.assert_allclose(together[0][0], alone[0][0], atol=1e-6, rtol=0)
    for weights in together[1:]:
        assert weights[0].tolist() == [1.0] + [0.0] * 39
        assert weights[1].sum() == pytest.approx(1, abs=1e-5)


def test_the_batch_of_the_check_has_unequal_lengths_and_noise_in_the_padding():
    rgb, audio, lengths = exporting.unequal_batch()
    assert len(set(lengths.tolist())) > 2
    assert rgb.dtype == audio.dtype == np.uint8 and lengths.dtype == np.int64
    assert rgb[0, lengths[0] :].any() and audio[0, lengths[0] :].any()


@pytest.mark.parametrize("change", [2e-5, np.nan])
def test_a_model_that_differs_is_refused_and_leaves_nothing(tiny_config, tmp_path, monkeypatch, change):
    original = exporting.run_inference

    def wrong(predictor, *batch):
        outputs = original(predictor, *batch)
        outputs[1][2, 3] += change
        return outputs

    monkeypatch.setattr(exporting, "run_inference", wrong)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(AlstmError, match=r"model: the exported model differs from the trainer by (2\.0e-05|nan)"):
        exporting.export(a_net(tiny_config), tmp_path / "out" / "model")
    assert not (tmp_path / "out" / "model").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_difference_within_the_tolerance_is_told(tiny_config, tmp_path, monkeypatch):
    original = exporting.run_inference

    def nearly(predictor, *batch):
        outputs = original(predictor, *batch)
        outputs[2][3, 0] += 5e-6
        return outputs

    monkeypatch.setattr(exporting, "run_inference", nearly)
    found = exporting.export(a_net(tiny_config), tmp_path / "model")["largest_difference"]
    assert found == pytest.approx(5e-6, rel=0.2)


def test_a_refused_export_keeps_the_model_that_was_there(tiny_config, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    exporting.export(a_net(tiny_config), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(AlstmError, match="differs"):
        exporting.export(a_net(tiny_config, "last"), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_export_again_replaces_the_model(tiny_config, tmp_path):
    folder = tmp_path / "model"
    exporting.export(a_net(tiny_config), folder)
    net = build_model(changed(tiny_config, MODEL__num_classes=21))
    net.eval()
    assert exporting.export(net, folder)["num_classes"] == 21
    scores = exporting.run_inference(exporting.load_predictor(folder), *a_batch([2, 5]))[0]
    np.testing.assert_allclose(scores, expected_of(net, a_batch([2, 5]))[0], atol=1e-5, rtol=0)


def test_onnx_is_not_yet_built(tiny_config, tmp_path):
    with pytest.raises(AlstmError, match=r"--onnx: .*not yet built"):
        exporting.export(a_net(tiny_config), tmp_path / "model", onnx=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(AlstmError, match=r"no exported model here; .*alstm export"):
        exporting.load_predictor(tmp_path)
