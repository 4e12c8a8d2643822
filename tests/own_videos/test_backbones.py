"""Test backbones: VGGish's front end against its formula, ONNX files, paddle.vision's weights from a local server."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.helper import make_node as node

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos import backbones
from alstm_helpers.own_videos.backbones import log_mel, picture_backbone, sound_backbone
from alstm_helpers.runtime import paddle, seed_everything

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def forget():
    yield
    for cached in (picture_backbone, sound_backbone):
        cached.cache_clear()


# --- VGGish's front end -------------------------------------------------------------------------------------------


def test_log_mel_is_the_documented_front_end():
    """Compute it from its parameters: 25 ms, 10 ms, periodic Hann, 512 points, 64 bands 125–7500 Hz, + 0.01."""
    sound = np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32) / 8
    found = log_mel(sound)
    assert found.shape == (2, 96, 64) and found.dtype == np.float32

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(125), mel(7500), 66)
    for second, frame, band in ((0, 0, 0), (0, 95, 63), (1, 40, 20), (1, 7, 5)):
        piece = sound[second, 160 * frame : 160 * frame + 400].astype(float)
        window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
        magnitudes = np.abs(np.fft.rfft(piece * window, 512))
        total = 0.0
        for k in range(1, 257):
            place = mel(k * 8000 / 256)
            rise = (place - edges[band]) / (edges[band + 1] - edges[band])
            fall = (edges[band + 2] - place) / (edges[band + 2] - edges[band + 1])
            total += max(0.0, min(rise, fall)) * magnitudes[k]
        assert found[second, frame, band] == pytest.approx(np.log(total + 0.01), abs=1e-4)


def test_a_tone_is_in_its_band():
    times = np.arange(16_000) / 16_000
    for hertz in (250, 1000, 4000):
        picture = log_mel(np.sin(2 * np.pi * hertz * times)[None].astype(np.float32))[0]
        edges = 700 * (np.exp(np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66) / 1127) - 1)
        loudest = int(picture.mean(0).argmax())
        assert abs(edges[loudest + 1] - hertz) <= edges[loudest + 2] - edges[loudest]


def test_logmel_is_mean_and_standard_deviation_of_the_bands():
    sound = np.random.default_rng(0).standard_normal((3, 16_000)).astype(np.float32)
    found = sound_backbone("logmel").call(sound)
    picture = log_mel(sound)
    assert found.shape == (3, 128) and not sound_backbone("logmel").finished
    assert np.array_equal(found[:, :64], picture.mean(1)) and np.array_equal(found[:, 64:], picture.std(1))


def test_silence_has_finite_numbers():
    assert np.isfinite(sound_backbone("logmel").call(np.zeros((2, 16_000), np.float32))).all()
    assert np.isfinite(sound_backbone("flashdigits").call(np.zeros((2, 16_000), np.float32))).all()


# --- ONNX ---------------------------------------------------------------------------------------------------------


def test_an_onnx_file_for_pictures(onnx_file, tmp_path):
    """The network gets normalised pictures of the size that it asks for."""
    backbone = picture_backbone(onnx_file(tmp_path / "网 络.onnx", ["N", 3, 32, 32], [2, 3]))
    found = backbone.call(PICTURES)
    right = (PICTURES.astype(float).mean((1, 2)) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert backbone.unit == 32 and found == pytest.approx(right, abs=1e-4) and not backbone.finished


def test_many_pictures_are_as_each_alone(onnx_file, tmp_path):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3]))
    many = np.concatenate([PICTURES] * 30)
    assert np.array_equal(backbone.call(many), np.concatenate([backbone.call(PICTURES)] * 30))


def test_an_open_size_is_224(onnx_file, tmp_path):
    assert picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, "H", "W"], [2, 3])).unit == 224


@pytest.mark.parametrize("shape, axes", [(["N", 1, 96, 64], [1, 2]), (["N", 96, 64], [1])])
def test_an_onnx_file_for_sound(onnx_file, tmp_path, shape, axes):
    sound = np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32)
    found = sound_backbone(onnx_file(tmp_path / "a.onnx", shape, axes)).call(sound)
    assert found == pytest.approx(log_mel(sound).mean(1), abs=1e-4)


@pytest.mark.parametrize(
    "make, said",
    [
        (
            lambda onnx_file, path: onnx_file(path, ["N", 1, 32, 32], [2]),
            "shape .*; export a network that takes square pictures",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 48], [1]),
            "shape .*; export a network that takes square pictures",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", "H", "W", 3], [1]),
            "shape .*; export a network that takes square pictures",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 10**6, 10**6], [2, 3]),
            "shape .*; export a network that takes square pictures",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 32], [2, 3], dtype=TensorProto.INT64),
            r"its input is a tensor\(int64\); export a network that takes float32",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 32], [1]),
            r"its output for a batch of \d has the shape \(\d, 32, 32\), not \(N, D\); pool it",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 32], [0, 2, 3]),
            r"its output for a batch of \d has the shape \(3,\), not \(N, D\)",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 64, 64], nodes=[node("Flatten", ["x"], ["y"])]),
            "its output has 12288 numbers per input, more than 8192; pool it before you flatten",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3], [1]),
            "shape .*; export a network that takes square pictures",
        ),
        (lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 32], [2], count=2), "it takes 2 inputs"),
        (lambda onnx_file, path: path.write_bytes(b"none") and f"onnx:{path}", "not readable as ONNX"),
        (lambda onnx_file, path: f"onnx:{path}", "no such file"),
    ],
)
def test_files_that_are_not_backbones(onnx_file, tmp_path, make, said):
    with pytest.raises(AlstmError, match=said) as caught:
        picture_backbone(make(onnx_file, tmp_path / "a.onnx"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_network_that_takes_a_fixed_number_at_once(onnx_file, tmp_path, size):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", [size, 3, 32, 32], [2, 3]))
    right = picture_backbone(onnx_file(tmp_path / "b.onnx", ["N", 3, 32, 32], [2, 3])).call(PICTURES)
    assert np.array_equal(backbone.call(PICTURES), right)


def test_a_network_that_only_says_that_it_takes_any_number(onnx_file, tmp_path, capfd):
    """Exporters write N and keep the 1 of their example in a reshape."""
    shape = numpy_helper.from_array(np.array([1, 3, 1024]), "shape")
    nodes = [node("Reshape", ["x", "shape"], ["flat"]), node("ReduceMean", ["flat"], ["y"], axes=[2], keepdims=0)]
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=[shape]))
    right = picture_backbone(onnx_file(tmp_path / "b.onnx", ["N", 3, 32, 32], [2, 3])).call(PICTURES)
    assert backbone.call(PICTURES) == pytest.approx(right, abs=1e-5) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype, digits", [(TensorProto.FLOAT16, 2e-3), (TensorProto.DOUBLE, 1e-5)])
def test_other_floats(onnx_file, tmp_path, dtype, digits):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3], dtype=dtype))
    right = picture_backbone(onnx_file(tmp_path / "b.onnx", ["N", 3, 32, 32], [2, 3])).call(PICTURES)
    found = backbone.call(PICTURES)
    assert found == pytest.approx(right, abs=digits) and found.dtype == np.float32


def test_a_network_for_bytes_gets_the_pixels_as_they_are(onnx_file, tmp_path):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3], dtype=TensorProto.UINT8))
    assert backbone.call(PICTURES) == pytest.approx(PICTURES.astype(float).mean((1, 2)), abs=1e-2)


@pytest.mark.parametrize("shape", [["N", 1, "T", "M"], ["N", 1, 96, "M"], ["N", 1, 64, 96], ["N", 2, 96, 64], [96, 64]])
def test_other_pictures_of_sound_are_refused(onnx_file, tmp_path, shape):
    """A spectrogram network of another kind would take VGGish's picture, and its numbers would mean nothing."""
    with pytest.raises(AlstmError, match=r"shape .*; export a network that takes VGGish's log-mel pictures, float32"):
        sound_backbone(onnx_file(tmp_path / "a.onnx", shape, [-1]))
    with pytest.raises(AlstmError, match="its input is uint8 of the shape"):
        sound_backbone(onnx_file(tmp_path / "b.onnx", ["N", 96, 64], [-1], dtype=TensorProto.UINT8))


def test_weights_in_other_files_are_refused(onnx_file, tmp_path):
    """They could be any file of the machine, whose bytes would become features."""
    weights = numpy_helper.from_array(np.ones(3, np.float32), "w")
    nodes = [node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0), node("Mul", ["m", "w"], ["y"])]
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=[weights])
    onnx.save(onnx.load(tmp_path / "a.onnx"), tmp_path / "a.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(AlstmError, match="its weights are in other files; save it as one file"):
        picture_backbone(name)


@pytest.mark.parametrize("side", [3, 4, 48, 49])
def test_the_sides_that_are_taken(onnx_file, tmp_path, monkeypatch, side):
    monkeypatch.setattr(backbones, "LARGEST_SIDE", 48)
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, side, side], [2, 3])
    if 4 <= side <= 48:
        assert picture_backbone(name).unit == side
    else:
        with pytest.raises(AlstmError, match=r"square pictures .*, S at most 48"):
            picture_backbone(name)


def test_as_many_numbers_as_are_allowed(onnx_file, tmp_path, monkeypatch):
    monkeypatch.setattr(backbones, "MOST_NUMBERS", 3)
    assert picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])).call(PICTURES).shape == (3, 3)


def test_unknown_names():
    with pytest.raises(AlstmError, match="--backbone vgg: unknown backbone; choose flashdigits, inception_v3"):
        picture_backbone("vgg")
    with pytest.raises(AlstmError, match="--audio vgg: unknown backbone; choose flashdigits, logmel or onnx"):
        sound_backbone("vgg")


# --- paddle.vision ------------------------------------------------------------------------------------------------


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """Serve MobileNet's weights from this machine instead of Paddle's server."""
    from paddle.vision.models import mobilenetv2

    seed_everything(0)
    net = paddle.vision.models.mobilenet_v2(num_classes=1000)
    paddle.save(net.state_dict(), str(tmp_path / "net.pdparams"))
    server.files = {"net.pdparams": (tmp_path / "net.pdparams").read_bytes()}
    md5 = hashlib.md5(server.files["net.pdparams"]).hexdigest()
    monkeypatch.setitem(mobilenetv2.model_urls, "mobilenetv2_1.0", (f"{server.url}/net.pdparams", md5))
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    return server, net


def test_a_network_of_paddle_vision(published):
    """The backbone returns the numbers before the last layer; its weights are fetched once."""
    server, net = published
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    backbone = picture_backbone("mobilenet_v2")
    found = backbone.call(frames)
    assert found.shape == (2, 1280) and backbone.unit == 224
    net.eval()
    with paddle.no_grad():
        inputs = paddle.to_tensor(backbones._normalised(frames))
        right = net.pool2d_avg(net.features(inputs)).numpy().reshape(2, -1)
    assert found == pytest.approx(right, abs=1e-4)
    picture_backbone.cache_clear()
    picture_backbone("mobilenet_v2")
    assert server.gets == ["net.pdparams"]


def test_weights_that_are_not_the_published_ones_are_refused(published, monkeypatch, tmp_path):
    server, _ = published
    server.files["net.pdparams"] += b"?"
    with pytest.raises(AlstmError, match="its md5 differs"):
        picture_backbone("mobilenet_v2")
    assert not list((tmp_path / "cache").rglob("*.pdparams"))


@pytest.mark.parametrize("shorter", [False, True])
def test_weights_of_another_version_are_refused(monkeypatch, shorter):
    net = paddle.vision.models.mobilenet_v2(num_classes=0)
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    name, last = arrays.popitem()
    arrays |= {name: last[:-1]} if shorter else {}
    monkeypatch.setattr(backbones, "_published_arrays", lambda name: arrays)
    with pytest.raises(AlstmError, match=r"mobilenet_v2: its weights lack .*; install the version of Paddle"):
        picture_backbone("mobilenet_v2")


def test_without_a_network_the_error_names_the_way_out(monkeypatch, tmp_path):
    from paddle.vision.models import resnet

    monkeypatch.setitem(resnet.model_urls, "resnet50", ("http://127.0.0.1:9/resnet50.pdparams", "0" * 32))
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AlstmError, match=r"run it once with network access .* or use --backbone onnx:PATH") as caught:
        picture_backbone("resnet50")
    assert "--weights" not in str(caught.value)
