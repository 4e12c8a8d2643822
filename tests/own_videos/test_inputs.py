"""Test what files beside a network say that it takes."""

from __future__ import annotations

import json

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.inputs import PictureInput, SoundInput, input_beside
from alstm_helpers.own_videos.pictures import Fit

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
VIT = {"do_normalize": True, "do_resize": True, "image_mean": MEAN, "image_std": STD, "resample": 2, "size": 224}
CLIP = {**VIT, "crop_size": 224, "do_center_crop": True, "resample": 3}
DINO = {
    **{**VIT, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "resample": 3},
    "size": {"shortest_edge": 256},
}


def write(folder, name, values):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("name", ["netz.json", "netz.onnx.json"])
def test_a_description_beside_the_network(tmp_path, name):
    write(tmp_path, name, {"size": 64, "resize": 72, "scale": 1, "mean": MEAN, "std": STD, "colours": "bgr"})
    found = input_beside(tmp_path / "netz.onnx", PictureInput)
    assert found == PictureInput(
        size=64, resize=72, scale=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), colours="bgr"
    )
    assert found.fit(64) == Fit(64, 72) and found.is_normalised
    assert input_beside(tmp_path / "other.onnx", PictureInput) is None


def test_a_description_of_a_network_for_sound(tmp_path):
    write(tmp_path, "a.json", {"takes": "waveform", "rate": 32000, "frame": 2, "hop": 0.5, "output": "embedding"})
    found = input_beside(tmp_path / "a.onnx", SoundInput)
    assert found == SoundInput(takes="waveform", rate=32_000, frame=2.0, hop=0.5, output="embedding")


@pytest.mark.parametrize(
    "values, said",
    [
        ("{", "not readable as JSON .*; correct it, or move it away"),
        ("[" * 100_000, "not readable as JSON"),
        ([1], "not an object; it says what a network for pictures takes; its keys are output,"),
        ({"means": MEAN}, "means: extra inputs are not permitted; .* pooling, size, resize"),
        ({"mean": [1, 2]}, "mean: it must be three numbers, for red, green and blue; it says"),
        ({"mean": [1, 2, 3, 4]}, "mean: it must be three numbers"),
        ({"std": [1, 2]}, "std: it must be three numbers"),
        ({"std": 0.5}, "std: it must be three numbers"),
        ({"std": [1, 0, 1]}, "std: input should be greater than 0"),
        ({"mean": [1, 2, "3"]}, "mean: input should be a valid number"),
        ({"scale": 0}, "scale: input should be greater than 0"),
        ({"scale": float("nan")}, "scale: input should be a finite number"),
        ({"size": 10**9}, "size: input should be less than or equal to 2048"),
        ({"colours": "gbr"}, "colours: input should be 'rgb' or 'bgr'"),
        ({"pooling": "max"}, "pooling: input should be 'mean' or 'first'"),
        ({"rate": 16_000}, "rate: extra inputs are not permitted"),
    ],
)
def test_descriptions_that_cannot_be_used(tmp_path, values, said):
    write(tmp_path, "a.json", values)
    with pytest.raises(AlstmError, match=rf"a\.json: {said}") as caught:
        input_beside(tmp_path / "a.onnx", PictureInput)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "about, fit, filter_",
    [
        (VIT, Fit(224, 224, squeeze=True, filter="bilinear"), "bilinear"),
        ({**VIT, "size": {"height": 384, "width": 384}}, Fit(384, 384, squeeze=True, filter="bilinear"), "bilinear"),
        (CLIP, Fit(224, 224, filter="bicubic"), "bicubic"),
        ({**CLIP, "size": {"shortest_edge": 224}}, Fit(224, 224, filter="bicubic"), "bicubic"),
        (DINO, Fit(224, 256, filter="bicubic"), "bicubic"),
        ({**DINO, "size": {"height": 256, "width": 256}}, Fit(224, 256, squeeze=True, filter="bicubic"), "bicubic"),
        ({**VIT, "size": {"shortest_edge": 224}, "crop_pct": 0.875}, Fit(224, 256, filter="bilinear"), "bilinear"),
        ({**VIT, "do_resize": False}, Fit(224, 224, filter="bilinear"), "bilinear"),
        # ConvNeXt's and ResNet's, as files of 2022 say it and as those of now; PoolFormer's; LeViT's
        ({**VIT, "crop_pct": 0.875}, Fit(224, 256, filter="bilinear"), "bilinear"),
        ({**VIT, "feature_extractor_type": "ConvNextFeatureExtractor"}, Fit(224, 256, filter="bilinear"), "bilinear"),
        ({**VIT, "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
         Fit(384, 384, squeeze=True, filter="bilinear"), "bilinear"),
        ({**CLIP, "size": {"shortest_edge": 224}, "crop_pct": 0.9}, Fit(224, 248, filter="bicubic"), "bicubic"),
        ({**CLIP, "image_processor_type": "LevitImageProcessor"}, Fit(224, 256, filter="bicubic"), "bicubic"),
    ],
)  # fmt: skip
def test_sides_as_transformers_has_them(tmp_path, about, fit, filter_):
    write(tmp_path, "preprocessor_config.json", about)
    found = input_beside(tmp_path / "model.onnx", PictureInput)
    assert found is not None and found.fit(found.size or 224) == fit and found.filter == filter_
    assert (found.mean, found.std, found.scale) == (tuple(MEAN), tuple(STD), 1 / 255)


@pytest.mark.parametrize(
    "change, scale, mean, std",
    [
        ({}, 1 / 255, tuple(MEAN), tuple(STD)),
        ({"do_normalize": False}, 1 / 255, (0, 0, 0), (1, 1, 1)),
        ({"do_rescale": False}, 1.0, tuple(MEAN), tuple(STD)),
        ({"image_mean": 0.5, "image_std": 0.5}, 1 / 255, (0.5,) * 3, (0.5,) * 3),
        ({"image_processor_type": "EfficientNetImageProcessor"}, 1 / 255, tuple(MEAN), tuple(s * s for s in STD)),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, 1 / 127.5, (1.4, 1.5, 1.6), tuple(STD)),
    ],
)
def test_numbers_as_transformers_has_them(tmp_path, change, scale, mean, std):
    write(tmp_path, "preprocessor_config.json", {**VIT, **change})
    found = input_beside(tmp_path / "onnx" / "model.onnx", PictureInput)
    assert found is not None and (found.scale, found.mean, found.std) == (scale, mean, std) and found.colours == "rgb"


@pytest.mark.parametrize("kind", ["MobileViTImageProcessor", "MobileViTFeatureExtractor"])
def test_mobilevit_has_numbers_from_0_to_1_and_blue_first_unless_told_otherwise(tmp_path, kind):
    key = "image_processor_type" if kind.endswith("Processor") else "feature_extractor_type"
    about = {key: kind, "size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}}
    write(tmp_path, "preprocessor_config.json", about)
    found = input_beside(tmp_path / "model.onnx", PictureInput)
    assert found is not None and (found.scale, found.mean, found.std) == (1 / 255, (0, 0, 0), (1, 1, 1))
    assert found.colours == "bgr" and found.fit(256) == Fit(256, 288, filter="bilinear")
    write(tmp_path, "preprocessor_config.json", {**about, "do_flip_channel_order": False})
    assert input_beside(tmp_path / "model.onnx", PictureInput) == found.model_copy(update={"colours": "rgb"})


def test_where_transformers_file_lies(tmp_path):
    """Beside the network, or above a folder named onnx; a description of one's own goes first."""
    write(tmp_path, "preprocessor_config.json", {**VIT, "do_flip_channel_order": True})
    write(tmp_path, "onnx/vision.json", {"size": 32})
    assert input_beside(tmp_path / "sub" / "model.onnx", PictureInput) is None
    assert input_beside(tmp_path / "onnx" / "model.onnx", SoundInput) is None
    found = input_beside(tmp_path / "onnx" / "model.onnx", PictureInput)
    assert found is not None and found.colours == "bgr"
    assert input_beside(tmp_path / "onnx" / "vision.onnx", PictureInput) == PictureInput(size=32)


@pytest.mark.parametrize(
    "about, said",
    [
        ({"feature_size": 1}, "it says nothing about pictures; write a NAME.json"),
        ([], "it says nothing about pictures"),
        ({"size": 224}, "it normalises pictures, and does not say by which image_mean and image_std; add them"),
        ({**VIT, "image_std": None, "include_top": True}, "not as transformers writes it .TypeError"),
        ({**VIT, "image_mean": ["a", "b", "c"]}, "mean: input should be a valid number"),
        ({**VIT, "size": "large"}, "size: input should be a valid integer"),
        ({**VIT, "size": {"shortest_edge": 224}, "crop_pct": "most"}, "not as transformers writes it .TypeError"),
        ({**VIT, "resample": 9}, "not as transformers writes it .KeyError"),
        ({**VIT, "resample": [1]}, "not as transformers writes it .TypeError"),
    ],
)
def test_transformers_files_that_cannot_be_used(tmp_path, about, said):
    write(tmp_path, "preprocessor_config.json", about)
    with pytest.raises(AlstmError, match=rf"preprocessor_config\.json: {said}"):
        input_beside(tmp_path / "model.onnx", PictureInput)
