"""Exported models: equal to the trainer for any batch and any lengths, and refused if they are not."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime import quantization
from support import a_net, changed, run_python, score_all, unequal_videos

from alstm_helpers.deployment.predictor import INPUTS, OUTPUTS, Prediction, Predictor
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed, read_sealed
from alstm_helpers.model.build import build_model
from alstm_helpers.runtime import paddle

onnx_graph = importlib.import_module("alstm_helpers.deployment.onnx_graph")
exporting = importlib.import_module("alstm_helpers.deployment.export")
PROGRAM = "model.json" if paddle.__version__ >= "3" else "model.pdmodel"
FILES = ["model.int8.onnx", PROGRAM, "model.onnx", "model.pdiparams"]


@pytest.fixture(scope="module", params=["attention", "mean", "last"])
def exported(request, tiny_config, tmp_path_factory):
    """The network, the folder, and the value that export returned."""
    net = a_net(tiny_config, request.param)
    folder = tmp_path_factory.mktemp("models") / "new" / "my model 模型"
    names = {0: "see 0", 19: "听 9"}
    return net, folder, exporting.export(net, folder, onnx=True, class_names=names, int8_gap=lambda predictor: 0.5)


@pytest.fixture(params=["model.onnx", PROGRAM])
def model(request, exported):
    """The network and each file that must equal it."""
    net, folder, _ = exported
    return net, folder / request.param


def test_files(exported):
    _, folder, description = exported
    assert sorted(path.name for path in folder.iterdir()) == sorted(["export.json", *FILES])
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert read_sealed(folder / "export.json", "") == description
    assert description["files"] == sorted(FILES)


def test_description(exported):
    _, _, description = exported
    assert set(description["differences"]) == {PROGRAM, "model.onnx"}
    assert 0 <= description["largest_difference"] == max(description["differences"].values()) <= 1e-5
    assert {1, 300} <= set(description["checked_lengths"])
    assert description["num_classes"] == 20
    assert description["class_names"] == ["see 0", *(f"class {index}" for index in range(1, 19)), "听 9"]
    assert description["outputs"] == ["scores", "rgb_attention", "audio_attention"]
    assert set(description["inputs"]) == {"rgb", "audio", "lengths"}
    assert description["inputs"]["rgb"].startswith("uint8")
    assert description["versions"]["paddlepaddle"] == paddle.__version__
    assert set(description["versions"]) == {"paddlepaddle", "onnx"}


def test_no_onnx_file_unless_requested(tiny_config, tmp_path):
    description = exporting.export(a_net(tiny_config), tmp_path / "model")
    assert description["files"] == [PROGRAM, "model.pdiparams"] and description["class_names"] is None
    assert set(description["versions"]) == {"paddlepaddle"} and "int8" not in description
    assert Predictor(tmp_path / "model").path.name == PROGRAM


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_is_restored(tiny_config, tmp_path, training):
    net = a_net(tiny_config)
    (net.train if training else net.eval)()
    exporting.export(net, tmp_path / "model")  # with dropout off inside, else it would differ from itself
    assert net.training == training


@pytest.mark.parametrize("lengths", [[1], [40], [300, 1], [3, 3, 3, 3, 3], [7, 1, 2, 90, 30, 5, 1]])
def test_equals_the_trainer_at_any_batch_and_length(model, lengths):
    net, path = model
    batch = unequal_videos(lengths)
    for one, other in zip(Predictor(path)(*batch), score_all(net, batch), strict=True):
        assert one.shape == other.shape and one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_lengths_of_zero_and_beyond_the_padding_give_what_the_trainer_gives(model):
    net, path = model
    rgb, audio, _ = unequal_videos([5, 5])
    batch = rgb, audio, np.array([0, 9])
    for one, other in zip(Predictor(path)(*batch), score_all(net, batch), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_a_video_does_not_depend_on_its_neighbours_or_on_the_padding(model):
    _, path = model
    predictor = Predictor(path)
    rgb, audio, lengths = unequal_videos([1, 40])
    together = predictor(rgb, audio, lengths)
    alone = predictor(rgb[:1, :1], audio[:1, :1], lengths[:1])
    np.testing.assert_allclose(together.scores[0], alone.scores[0], atol=1e-6, rtol=0)
    for weights in together[1:]:
        assert weights[0].tolist() == [1.0] + [0.0] * 39
        assert weights[1].sum() == pytest.approx(1, abs=1e-5)


def without_lengths(model):
    """Return the model with an LSTM that is not told how long each video is."""
    for node in model.graph.node:
        if node.op_type == "LSTM":
            node.input[4] = ""
    return model


def test_a_graph_without_lengths_is_right_for_the_longest_videos_only(tiny_config, tmp_path):
    net = a_net(tiny_config)
    exporting.export(net, tmp_path, onnx=True)
    session = onnxruntime.InferenceSession(without_lengths(onnx.load(tmp_path / "model.onnx")).SerializeToString())
    batch = unequal_videos([5, 40, 40, 20])
    found = session.run(["scores"], dict(zip(INPUTS, batch, strict=True)))[0]
    error = np.abs(found - score_all(net, batch).scores).max(axis=1)
    assert error[1] < 1e-5 and error[2] < 1e-5
    assert error[0] > 1e-3 and error[3] > 1e-3


def test_the_onnx_file_is_standard_and_self_contained(exported):
    """One file, standard operators, free batch and time; NumPy and ONNX Runtime are enough to run it."""
    net, folder, _ = exported
    graph = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert [(item.domain, item.version) for item in graph.opset_import] == [("", 17)]
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "rgb": ["batch", "time", 1024],
        "audio": ["batch", "time", 128],
        "lengths": ["batch"],
        "scores": ["batch", 20],
        "rgb_attention": ["batch", "time"],
        "audio_attention": ["batch", "time"],
        "logits": ["batch", 20],
    }
    code = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("paddle", "alstm_helpers", "onnx"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rgb, audio = (numpy.full((2, 7, size), 99, "uint8") for size in (1024, 128))
inputs = {"rgb": rgb, "audio": audio, "lengths": numpy.array([7, 3])}
scores, rgb_weights = session.run(["scores", "rgb_attention"], inputs)
names = json.loads(session.get_modelmeta().custom_metadata_map["description"])["class_names"]
print(json.dumps([scores.tolist(), rgb_weights[1].tolist(), names[19]]))
"""
    source = folder.with_name("one file.onnx")
    source.write_bytes((folder / "model.onnx").read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(source)], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    scores, weights, name = json.loads(done.stdout)
    batch = np.full((2, 7, 1024), 99, np.uint8), np.full((2, 7, 128), 99, np.uint8), np.array([7, 3])
    np.testing.assert_allclose(scores, score_all(net, batch).scores, atol=1e-5, rtol=0)
    assert weights[3:] == [0, 0, 0, 0] and name == "听 9"


def test_int8_is_smaller_and_close_and_its_gap_is_measured(tiny_config, tmp_path):
    asked = []

    def gap(predictor):
        asked.append(predictor.path.name)
        return {"model.onnx": 0.75, "model.int8.onnx": 0.5}[predictor.path.name]

    paddle.seed(0)
    net = build_model(changed(tiny_config, MODEL__lstm_size=64, MODEL__fc_sizes=(128, 64)))
    description = exporting.export(net, tmp_path, onnx=True, int8_gap=gap)
    assert description["int8"]["gap_float32"] == 0.75 and description["int8"]["gap_int8"] == 0.5
    assert sorted(asked) == ["model.int8.onnx", "model.onnx"]
    assert (tmp_path / "model.int8.onnx").stat().st_size < 0.4 * (tmp_path / "model.onnx").stat().st_size
    batch = unequal_videos([5, 40, 17])
    found, expected = Predictor(tmp_path / "model.int8.onnx")(*batch), score_all(net, batch)
    difference = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    assert 1e-6 < difference < 0.05  # 0.016 to 0.029 for ten seeds
    assert found.rgb_attention[0, 5:].tolist() == [0.0] * 35


def test_the_batch_of_the_check_has_unequal_lengths_and_noise_in_the_padding():
    rgb, audio, lengths = exporting.unequal_batch()
    assert lengths.tolist() == [1, 2, 17, 300] and lengths.dtype == np.int64
    assert rgb.shape == (4, 300, 1024) and audio.shape == (4, 300, 128) and rgb.dtype == audio.dtype == np.uint8
    assert (rgb.min(), rgb.max()) == (audio.min(), audio.max()) == (0, 255)
    assert rgb[0, lengths[0] :].any() and audio[0, lengths[0] :].any()


def spoil(monkeypatch, name, change):
    """Make one exported file return wrong rgb weights."""
    original = Predictor.__call__

    def wrong(self, *batch):
        found = original(self, *batch)
        if self.path.name == name:
            found.rgb_attention[2, 3] += change
        return found

    monkeypatch.setattr(Predictor, "__call__", wrong)


@pytest.mark.parametrize("name", ["model.onnx", PROGRAM])
@pytest.mark.parametrize("change", [1.5e-5, np.nan])
def test_a_model_that_differs_is_refused_and_leaves_nothing(tiny_config, tmp_path, monkeypatch, change, name):
    spoil(monkeypatch, name, change)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(AlstmError, match=rf"model: the exported {name} differs from the trainer by (1\.5e-05|nan)"):
        exporting.export(a_net(tiny_config), tmp_path / "out" / "model", onnx=True)
    assert not (tmp_path / "out" / "model").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("difference", "fits"), [(1e-5, True), (1.0001e-5, False)])
def test_a_model_may_differ_by_as_much_as_1e_5(tiny_config, tmp_path, monkeypatch, difference, fits):
    monkeypatch.setattr(exporting.Expectation, "difference", lambda *_: difference)
    with contextlib.nullcontext() if fits else pytest.raises(AlstmError, match="differs from the trainer"):
        exporting.export(a_net(tiny_config), tmp_path / "model")
    assert (tmp_path / "model" / "export.json").exists() is fits


def test_a_graph_that_drops_the_lengths_is_refused(tiny_config, tmp_path, monkeypatch):
    whole = onnx_graph.network_model
    monkeypatch.setattr(onnx_graph, "network_model", lambda *args, **options: without_lengths(whole(*args, **options)))
    with pytest.raises(AlstmError, match=r"the exported model\.onnx differs from the trainer"):
        exporting.export(a_net(tiny_config), tmp_path / "model", onnx=True)
    assert not (tmp_path / "model").exists()


def test_a_difference_within_the_tolerance_is_recorded(tiny_config, tmp_path, monkeypatch):
    spoil(monkeypatch, PROGRAM, 5e-6)
    found = exporting.export(a_net(tiny_config), tmp_path / "model")["largest_difference"]
    assert found == pytest.approx(5e-6, rel=0.2)


def test_a_network_with_what_strays_from_the_mean_is_exported_too(tiny_config, tmp_path):
    net, batch = a_net(tiny_config, "attention+deviation"), unequal_videos([1, 300, 7])
    description = exporting.export(net, tmp_path / "model", onnx=True)
    assert description["largest_difference"] <= 1e-5  # of Paddle Inference's and of ONNX Runtime's
    for array, expected in zip(Predictor(tmp_path / "model")(*batch), score_all(net, batch), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5, rtol=0)


def test_a_refused_export_keeps_the_previous_model(tiny_config, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    exporting.export(a_net(tiny_config), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(AlstmError, match="differs"):
        exporting.export(a_net(tiny_config, "last"), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_second_export_replaces_the_model_and_removes_outdated_files(tiny_config, tmp_path):
    folder = tmp_path / "model"
    exporting.export(a_net(tiny_config), folder, onnx=True)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    net = build_model(changed(tiny_config, MODEL__num_classes=21))
    net.eval()
    assert exporting.export(net, folder)["num_classes"] == 21
    batch = unequal_videos([2, 5])
    np.testing.assert_allclose(Predictor(folder)(*batch).scores, score_all(net, batch).scores, atol=1e-5, rtol=0)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["export.json", PROGRAM, "model.pdiparams", "notes.txt"]
    )


def test_an_onnx_file_has_the_same_bytes_each_time(tiny_config, tmp_path):
    for name in "ab":  # the second network's layers have other names in Paddle
        exporting.export(a_net(tiny_config), tmp_path / name, onnx=True)
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "b" / "model.onnx").read_bytes()


def test_only_what_the_tools_say_is_hidden():
    """Also where Python keeps its output back until much of it has come, as it does in a pipe."""
    code = """
import os, sys, warnings
from alstm_helpers.deployment.export import _quiet
print("before")
free = os.dup(1)
os.close(free)
with _quiet():
    warnings.warn("this is an error outside")
    print("hidden", flush=True)
    print("hidden", file=sys.stderr)
    os.write(2, b"hidden")
print("after", file=sys.stderr)
assert os.dup(1) == free, "a descriptor was left open"
"""
    done = run_python(code, PYTHONWARNINGS="error")
    assert (done.stdout, done.stderr, done.returncode) == ("before\n", "after\n", 0)


def test_files_are_on_the_disk_before_the_first_takes_its_place(tiny_config, tmp_path, monkeypatch):
    synced, fsync = set(), os.fsync

    def watched(number):
        assert not (tmp_path / "model" / "export.json").exists()
        synced.add(os.fstat(number).st_ino)
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    exporting.export(a_net(tiny_config), tmp_path / "model")
    assert {path.stat().st_ino for path in (tmp_path / "model").iterdir()} <= synced


def test_a_folder_that_another_run_writes_to_is_left_alone(tiny_config, tmp_path):
    with claimed(tmp_path / "model"), pytest.raises(AlstmError, match="another run is writing here"):
        exporting.export(a_net(tiny_config), tmp_path / "model")
    assert not list((tmp_path / "model").iterdir())


def test_output_of_the_tools_is_hidden_and_ours_is_not(tiny_config, tmp_path, capfd, monkeypatch):
    """Some versions of ONNX Runtime give advice when they quantise."""
    quantize = quantization.quantize_dynamic

    def talkative(*files, **how):
        os.write(2, b"please consider")
        quantize(*files, **how)

    monkeypatch.setattr(quantization, "quantize_dynamic", talkative)
    print("before")
    exporting.export(a_net(tiny_config), tmp_path / "model", int8_gap=lambda predictor: 0.5)
    os.write(1, b"after\n")
    captured = capfd.readouterr()
    assert captured.out == "before\nafter\n" and captured.err == ""


def test_prediction_names_its_outputs_in_the_order_of_the_model():
    assert Prediction._fields == OUTPUTS
