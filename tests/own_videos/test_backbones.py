"""Test backbones: VGGish's front end against its formula, ONNX files, paddle.vision's weights from a local server."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.helper import make_node as node

from alstm_helpers.data.transfer import Retry
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos import backbones, onnx_backbones, onnx_network
from alstm_helpers.own_videos.backbones import picture_backbone, picture_input, sound_backbone, sound_input
from alstm_helpers.own_videos.inputs import EARLIER, PictureInput, SoundInput
from alstm_helpers.own_videos.onnx_backbones import log_mel, prepared
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.presets import IMAGENET as IMAGENET_FIELDS
from alstm_helpers.own_videos.presets import NORMALISATIONS, SOUNDS
from alstm_helpers.runtime import paddle, seed_everything

IMAGENET = PictureInput.model_validate(IMAGENET_FIELDS)
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(Retry, "waits", lambda self: [0.0] * self.attempts)
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
    backbone = picture_backbone(onnx_file(tmp_path / "网 络.onnx", ["N", 3, 32, 32], [2, 3]), IMAGENET)
    found = backbone.call(PICTURES)
    right = (PICTURES.astype(float).mean((1, 2)) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert backbone.unit == Fit(32, 32) and found == pytest.approx(right, abs=1e-4) and not backbone.finished


def test_many_pictures_are_as_each_alone(onnx_file, tmp_path):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3]), IMAGENET)
    many = np.concatenate([PICTURES] * 30)
    assert np.array_equal(backbone.call(many), np.concatenate([backbone.call(PICTURES)] * 30))


def test_an_open_size_is_224(onnx_file, tmp_path):
    assert picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, "H", "W"], [2, 3]), IMAGENET).unit.side == 224


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
            lambda onnx_file, path: onnx_file(path, ["N", 3, 10**6, 10**6], [2, 3]),
            "shape .*; export a network that takes square pictures",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 32], [2, 3], dtype=TensorProto.INT64),
            r"its input is a tensor\(int64\); export a network that takes float32",
        ),
        (
            lambda onnx_file, path: onnx_file(path, ["N", 3, 32, 32], [1]),
            r"its output has the shape \(\d, 32, 32\), not \(N, D\); pass --pooling mean or first",
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
        picture_backbone(make(onnx_file, tmp_path / "a.onnx"), IMAGENET)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_network_that_takes_a_fixed_number_at_once(onnx_file, tmp_path, size):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", [size, 3, 32, 32], [2, 3]), IMAGENET)
    right = picture_backbone(onnx_file(tmp_path / "b.onnx", ["N", 3, 32, 32], [2, 3]), IMAGENET).call(PICTURES)
    assert np.array_equal(backbone.call(PICTURES), right)


def test_a_network_that_only_says_that_it_takes_any_number(onnx_file, tmp_path, capfd):
    """Exporters write N and keep the 1 of their example in a reshape."""
    shape = numpy_helper.from_array(np.array([1, 3, 1024]), "shape")
    nodes = [node("Reshape", ["x", "shape"], ["flat"]), node("ReduceMean", ["flat"], ["y"], axes=[2], keepdims=0)]
    backbone = picture_backbone(
        onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=[shape]), IMAGENET
    )
    right = picture_backbone(onnx_file(tmp_path / "b.onnx", ["N", 3, 32, 32], [2, 3]), IMAGENET).call(PICTURES)
    assert backbone.call(PICTURES) == pytest.approx(right, abs=1e-5) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype, digits", [(TensorProto.FLOAT16, 2e-3), (TensorProto.DOUBLE, 1e-5)])
def test_other_floats(onnx_file, tmp_path, dtype, digits):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3], dtype=dtype), IMAGENET)
    right = picture_backbone(onnx_file(tmp_path / "b.onnx", ["N", 3, 32, 32], [2, 3]), IMAGENET).call(PICTURES)
    found = backbone.call(PICTURES)
    assert found == pytest.approx(right, abs=digits) and found.dtype == np.float32


def test_a_network_for_bytes_gets_the_pixels_as_they_are(onnx_file, tmp_path):
    backbone = picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3], dtype=TensorProto.UINT8))
    assert backbone.call(PICTURES) == pytest.approx(PICTURES.astype(float).mean((1, 2)), abs=1e-2)


@pytest.mark.parametrize(
    "normalisation, right",
    [
        ("imagenet", lambda bytes_: (bytes_ / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("clip", lambda bytes_: (bytes_ / 255 - [0.48145, 0.45783, 0.40821]) / [0.26863, 0.26130, 0.27578]),
        ("unit", lambda bytes_: bytes_ / 255),
        ("signed", lambda bytes_: bytes_ / 127.5 - 1),
        ("bytes", lambda bytes_: bytes_),
    ],
)
@pytest.mark.parametrize("shape, axes", [(["N", 3, 32, 32], [2, 3]), (["N", 32, 32, 3], [1, 2])])
def test_how_pictures_are_normalised_and_laid_out(onnx_file, tmp_path, normalisation, right, shape, axes):
    name = onnx_file(tmp_path / "a.onnx", shape, axes)
    found = picture_backbone(name, picture_input(name, NORMALISATIONS[normalisation])).call(PICTURES)
    assert found == pytest.approx(right(PICTURES.astype(float)).mean((1, 2)), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_normalisation_that_is_asked_for_replaces_that_of_the_file_beside(onnx_file, tmp_path, normalisation):
    """All of it: one number left from the file would give features that only look right."""
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])
    asked = picture_input(name, NORMALISATIONS[normalisation])
    other = {"scale": 0.5, "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "resize": 64}
    (tmp_path / "a.json").write_text(json.dumps(other), encoding="utf-8")
    assert picture_input(name, NORMALISATIONS[normalisation]) == asked.model_copy(update={"resize": 64})


def test_blue_first(onnx_file, tmp_path):
    """Mean and deviation are given in the order red, green, blue."""
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])
    turned = picture_backbone(name, IMAGENET.model_copy(update={"colours": "bgr"})).call(PICTURES)
    assert np.array_equal(turned, picture_backbone(name, IMAGENET).call(PICTURES)[:, ::-1])


def test_nothing_is_guessed(onnx_file, tmp_path):
    """Numbers of a network whose pictures are normalised otherwise look like features."""
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])
    said = r"a\.onnx: nothing says how .* normalised; pass --normalisation, which is one of imagenet, clip, .* a\.json"
    with pytest.raises(AlstmError, match=said):
        picture_backbone(name)
    (tmp_path / "a.json").write_text('{"size": 32}')
    assert picture_backbone(name).call(PICTURES) == pytest.approx(PICTURES.mean((1, 2)) / 255, abs=1e-4)


def test_what_bytes_are_not(onnx_file, tmp_path):
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3], dtype=TensorProto.UINT8)
    with pytest.raises(AlstmError, match="it takes the bytes themselves, which cannot be normalised; leave out scale"):
        picture_backbone(name, IMAGENET)
    assert np.array_equal(picture_backbone(name).call(PICTURES), picture_backbone(name, EARLIER).call(PICTURES))


def test_another_size_than_the_description_says(onnx_file, tmp_path):
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])
    with pytest.raises(AlstmError, match="it takes pictures of 32 pixels, but its description says 64; correct size"):
        picture_backbone(name, PictureInput(size=64))
    name = onnx_file(tmp_path / "b.onnx", ["N", 3, "S", "S"], [2, 3])
    assert picture_backbone(name, PictureInput(size=64, resize=72)).unit == Fit(64, 72)


def tokens(onnx_file, path, *shape):
    """Write a network whose output are its pixels in another shape."""
    goal = numpy_helper.from_array(np.array(shape), "shape")
    return onnx_file(path, ["N", 3, 4, 4], nodes=[node("Reshape", ["x", "shape"], ["y"])], initializer=[goal])


def test_tokens_are_pooled_as_asked(onnx_file, tmp_path):
    """Of a vision transformer the class token comes first."""
    name, small = tokens(onnx_file, tmp_path / "a.onnx", -1, 6, 8), PICTURES[:, :4, :4]
    rows = small.transpose(0, 3, 1, 2).reshape(3, 6, 8).astype(float)
    first, mean = (
        picture_backbone(name, PictureInput(scale=1.0, pooling=each)).call(small) for each in ("first", "mean")
    )
    assert first == pytest.approx(rows[:, 0]) and mean == pytest.approx(rows.mean(1), abs=1e-4)
    with pytest.raises(AlstmError, match=r"the shape \(\d, 6, 8\), not \(N, D\); pass --pooling mean or first"):
        picture_backbone(name, PictureInput(scale=1.0))


@pytest.mark.parametrize(
    "shape, axes, places", [(["N", 3, 32, 32], (4, 2, 2), (2, 3)), (["N", 32, 32, 3], (2, 2, 4), (1, 2))]
)
def test_maps_are_averaged(onnx_file, tmp_path, shape, axes, places):
    """Where their numbers are is where the colours of the input are."""
    goal = numpy_helper.from_array(np.array([-1, *axes]), "shape")
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        node("Reshape", ["m", "one"], ["column"]),
        node("Mul", ["column", "ramp"], ["row"]),
        node("Reshape", ["row", "shape"], ["y"]),
    ]
    ramp = np.arange(16, dtype=np.float32)
    more = [numpy_helper.from_array(np.array([-1, 1]), "one"), numpy_helper.from_array(ramp, "ramp"), goal]
    name = onnx_file(tmp_path / "a.onnx", shape, nodes=nodes, initializer=more)
    found = picture_backbone(name, PictureInput(scale=1.0)).call(PICTURES)
    right = PICTURES.mean((1, 2, 3))[:, None] * ramp.reshape(axes).mean(tuple(place - 1 for place in places))
    assert found == pytest.approx(right, rel=1e-4)


def several(path, shapes):
    """Write a network with several outputs, each the mean of the colours times its number, in some shape."""
    value = onnx.helper.make_tensor_value_info
    nodes = [node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0)]
    constants, outputs = [], []
    for number, shape in enumerate(shapes, start=1):
        factor = np.full([1] * (len(shape) - 2) + [3], number, np.float32)
        constants.append(numpy_helper.from_array(factor, f"factor{number}"))
        if len(shape) == 3:
            nodes.append(node("Unsqueeze", ["mean", "axis"], [f"wide{number}"]))
        nodes.append(node("Mul", [f"wide{number}" if len(shape) == 3 else "mean", f"factor{number}"], [f"out{number}"]))
        outputs.append(value(f"out{number}", TensorProto.FLOAT, shape))
    constants.append(numpy_helper.from_array(np.array([1]), "axis"))
    graph = onnx.helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ["N", 3, 32, 32])], outputs, constants)
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return f"onnx:{path}"


def test_which_output(tmp_path):
    """Exports of transformers have the tokens, and a row for the picture."""
    mean = PICTURES.mean((1, 2))
    name = several(tmp_path / "a.onnx", [["N", 1, 3], ["N", 3]])
    assert picture_backbone(name, PictureInput(scale=1.0)).call(PICTURES) == pytest.approx(2 * mean, rel=1e-4)
    named = PictureInput(scale=1.0, output="out1")
    assert picture_backbone(name, named).call(PICTURES) == pytest.approx(mean, rel=1e-4)
    assert picture_backbone(name, PictureInput(scale=1.0, output=0)).call(PICTURES) == pytest.approx(mean, rel=1e-4)
    both = several(tmp_path / "b.onnx", [["N", 3], ["N", 3]])
    with pytest.raises(AlstmError, match=r"several outputs .*; name one as output .*: out1 \['N', 3\], out2"):
        picture_backbone(both, PictureInput(scale=1.0))
    with pytest.raises(AlstmError, match="it has no output out9; name one"):
        picture_backbone(both, PictureInput(scale=1.0, output="out9"))
    with pytest.raises(AlstmError, match="it has no output 2; name one"):
        picture_backbone(both, PictureInput(scale=1.0, output=2))


# --- sound --------------------------------------------------------------------------------------------------------


def framing_network(path, rate, frame, hop):
    """Write a network as YAMNet is: one row of samples, and the loudness of each frame, twice."""
    value, samples, step = onnx.helper.make_tensor_value_info, round(frame * rate), round(hop * rate)
    nodes = [
        node("Abs", ["x"], ["loud"]),
        node("Unsqueeze", ["loud", "front"], ["wide"]),
        node("AveragePool", ["wide"], ["frames"], kernel_shape=[samples], strides=[step]),
        node("Reshape", ["frames", "column"], ["rows"]),
        node("Concat", ["rows", "rows"], ["y"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([0, 1]), "front"),
        numpy_helper.from_array(np.array([-1, 1]), "column"),
    ]
    inputs, outputs = [value("x", TensorProto.FLOAT, ["S"])], [value("y", TensorProto.FLOAT, ["R", 2])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, constants)
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return f"onnx:{path}"


LOUDER = np.repeat(np.arange(1.0, 6.0)[:, None], 16_000, axis=1).astype(np.float32)  # second t has the loudness t + 1


def test_a_network_that_cuts_its_frames_itself(tmp_path):
    """A row belongs to the second in which the middle of its frame is."""
    name = framing_network(tmp_path / "a.onnx", 16_000, 0.96, 0.48)
    found = sound_backbone(name, sound_input(name, SOUNDS["yamnet"])).call(LOUDER)
    assert found.shape == (5, 2) and np.abs(found[:, 0] - np.arange(1, 6)).max() < 0.3
    starts = np.arange(9) * 0.48  # the last frame that fits in five seconds begins at 3.84
    rows = [LOUDER.ravel()[round(start * 16_000) :][:15_360].mean() for start in starts]
    inside = [row for row, start in zip(rows, starts, strict=True) if 2 <= start + 0.48 < 3]
    assert len(inside) == 2 and found[2] == pytest.approx(np.mean(inside), rel=1e-4)


@pytest.mark.parametrize("shape, axes", [(["N", 32_000], []), (["N", "S"], []), (["N", 1, 32_000], [1])])
def test_a_network_that_takes_frames(onnx_file, tmp_path, shape, axes):
    """PANNs' kind: a second of samples, or two with the second in the middle."""
    nodes = [node("ReduceMean", ["x"], ["y"], axes=[len(shape) - 1], keepdims=1)]
    name = onnx_file(tmp_path / "a.onnx", shape, nodes=nodes)
    sound = np.repeat(LOUDER, 2, axis=1)
    found = sound_backbone(name, sound_input(name, SOUNDS["panns"])).call(sound)
    assert found.ravel() == pytest.approx(np.arange(1, 6), rel=1e-4)


def test_a_frame_longer_than_a_second(onnx_file, tmp_path):
    nodes = [node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)]
    name = onnx_file(tmp_path / "a.onnx", ["N", "S"], nodes=nodes)
    takes = SoundInput(takes="waveform", rate=16_000, frame=2.0, hop=1.0)
    right = [(0 / 4 + 1 / 2 + 1 / 4) + 1 / 4, 2, 3, 4, 5 / 2 + 4 / 4]
    assert sound_backbone(name, takes).call(LOUDER).ravel() == pytest.approx(right, rel=1e-3)


def test_frames_of_another_length(onnx_file, tmp_path):
    nodes = [node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)]
    name = onnx_file(tmp_path / "a.onnx", ["N", 16_000], nodes=nodes)
    with pytest.raises(AlstmError, match="its frames are said to have 32000 samples: correct rate or frame"):
        sound_backbone(name, sound_input(name, SOUNDS["panns"]))
    with pytest.raises(AlstmError, match=r"shape .*; say by --audio_like what it takes, or export"):
        sound_backbone(name)


@pytest.mark.parametrize("shape", [["N", 1, "T", "M"], ["N", 1, 96, "M"], ["N", 1, 64, 96], ["N", 2, 96, 64], [96, 64]])
def test_other_pictures_of_sound_are_refused(onnx_file, tmp_path, shape):
    """A spectrogram network of another kind would take VGGish's picture, and its numbers would mean nothing."""
    with pytest.raises(
        AlstmError, match=r"shape .*; say by --audio_like what it takes, .* VGGish's log-mel pictures are float32"
    ):
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
        picture_backbone(name, IMAGENET)


@pytest.mark.parametrize("side", [3, 4, 48, 49])
def test_the_sides_that_are_taken(onnx_file, tmp_path, monkeypatch, side):
    monkeypatch.setattr(onnx_backbones, "LARGEST_SIDE", 48)
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, side, side], [2, 3])
    if 4 <= side <= 48:
        assert picture_backbone(name, IMAGENET).unit.side == side
    else:
        with pytest.raises(AlstmError, match=r"square pictures .*, S at most 48"):
            picture_backbone(name, IMAGENET)


def test_as_many_numbers_as_are_allowed(onnx_file, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_network, "MOST_NUMBERS", 3)
    assert picture_backbone(onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3]), IMAGENET).call(
        PICTURES
    ).shape == (3, 3)


def test_unknown_names():
    with pytest.raises(AlstmError, match="--backbone vgg: unknown backbone; choose flashdigits, inception_v3"):
        picture_backbone("vgg")
    with pytest.raises(AlstmError, match="--audio vgg: unknown backbone; choose flashdigits, logmel, yt8m, none or"):
        sound_backbone("vgg")


@pytest.mark.parametrize("more", [[], ["--normalisation", "imagenet"]])
def test_a_path_without_its_prefix(alstm, onnx_file, tmp_path, more):
    path = onnx_file(tmp_path / "lite0.onnx", ["N", 3, 32, 32], [2, 3]).removeprefix("onnx:")
    (tmp_path / "clip.mp4").touch()
    found = alstm("features", tmp_path, "--backbone", path, "--out", tmp_path / "f", *more)
    remedy = f"a network in an ONNX file is named with onnx:; pass --backbone onnx:{path}"
    assert (found.code, found.err) == (1, f"error: --backbone {path}: {remedy}\n")
    with pytest.raises(AlstmError, match=r"--audio a\.ONNX: .*; pass --audio onnx:a\.ONNX"):
        sound_backbone("a.ONNX")


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
    assert found.shape == (2, 1280) and backbone.unit == Fit(224)
    net.eval()
    with paddle.no_grad():
        inputs = paddle.to_tensor(prepared(frames, takes=IMAGENET))
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


# --- Hugging Face -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(server, onnx_file, tmp_path, monkeypatch):
    """Serve a small network in the place of CLIP, by an address of this machine."""
    onnx_file(tmp_path / "net.onnx", ["N", 3, 224, 224], [2, 3])
    server.files = {"vision_model_quantized.onnx": (tmp_path / "net.onnx").read_bytes()}
    sha256 = hashlib.sha256(server.files["vision_model_quantized.onnx"]).hexdigest()
    network = backbones._HUB_NETWORKS["clip"]
    takes = network.takes.model_copy(update={"output": "y"})
    monkeypatch.setitem(backbones._HUB_NETWORKS, "clip", network._replace(sha256=sha256, takes=takes))
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    return server


def test_a_network_of_a_hub(hub):
    """It is fetched once, and gets what it takes."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    backbone = picture_backbone("clip")
    right = (frames.mean((1, 2)) / 255 - NORMALISATIONS["clip"]["mean"]) / NORMALISATIONS["clip"]["std"]
    assert backbone.call(frames) == pytest.approx(right, abs=1e-3) and backbone.unit == Fit(224, 224, filter="bicubic")
    picture_backbone.cache_clear()
    picture_backbone("clip")
    assert hub.gets == ["vision_model_quantized.onnx"]
    assert hub.paths[-1].startswith("/Xenova/clip-vit-base-patch32/resolve/d15189d7")


def test_another_content_on_the_hub_is_refused(hub, tmp_path):
    hub.files["vision_model_quantized.onnx"] += b"?"
    with pytest.raises(AlstmError, match=r"its SHA-256 is [0-9a-f]{64}, not the one after the #"):
        picture_backbone("clip")
    assert not list((tmp_path / "cache").rglob("*.onnx"))


def test_without_the_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AlstmError, match=r":9/Xenova/dinov2-small/resolve/.* no answer .*; run it once with"):
        picture_backbone("dinov2")
