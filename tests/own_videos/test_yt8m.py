"""YouTube-8M's own front end: against TensorFlow's numbers and Google's golden pair; fetched, pinned, converted once.

A local server stands for Google's. It has a small graph and checkpoint of the same operations, which TensorFlow made
(tools/yt8m_fixtures.py), and a PCA.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from support import a_net

from alstm_helpers.commands.options import class_names_of
from alstm_helpers.config import load_config, parse_override
from alstm_helpers.data.published import VOCABULARY, NotFetched, place_in_cache
from alstm_helpers.errors import AlstmError
from alstm_helpers.model.weights import save_weights
from alstm_helpers.own_videos import yt8m
from alstm_helpers.own_videos.backbones import picture_backbone, sound_backbone
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.features import FeatureOptions, extract_features
from alstm_helpers.own_videos.flashdigits_clips import READ_RATE, write_video
from alstm_helpers.own_videos.inputs import PictureInput, SoundInput
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.onnx_backbones import log_mel
from alstm_helpers.own_videos.onnx_network import OnnxNetwork
from alstm_helpers.own_videos.watch import find_extractor
from alstm_helpers.own_videos.yt8m_resize import tensorflow_bilinear
from alstm_helpers.safe_pickle import load_plain
from alstm_helpers.tfrecord import quantize

FOLDER = Path(__file__).parent / "yt8m"
RANDOM = np.random.default_rng(0)


def numbers(spread, *shape):
    """Random numbers, which fit into float32, as in the published files."""
    return RANDOM.normal(0, spread, shape).astype(np.float32).astype(float)


MEAN, VALUES, VECTORS = numbers(1, 16, 1), abs(numbers(1, 1024, 1)) + 1, numbers(0.5, 1024, 16)  # a vector per row
SOUND_MEANS, SOUND_VECTORS = numbers(1, 128, 1), numbers(0.02, 128, 128)


def made(name):
    """The arrays that TensorFlow made."""
    with np.load(FOLDER / name) as file:
        return dict(file)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tgz(files):
    """An archive of files by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def pca(mean=MEAN, values=VALUES, vectors=VECTORS):
    arrays = {"mean.npy": mean, "eigenvals.npy": values, "eigenvecs.npy": vectors}
    return {name: npy(np.asarray(array, np.float32)) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def published():
    """The four files by name; the real ones have PCAs in float32, too."""
    sound = io.BytesIO()
    np.savez(sound, pca_eigen_vectors=SOUND_VECTORS, pca_means=SOUND_MEANS)
    return {
        "inception-2015-12-05.tgz": tgz({"a.txt": b"x", yt8m.GRAPH: (FOLDER / yt8m.GRAPH).read_bytes()}),
        "yt8m_pca.tgz": tgz(pca()),
        "vggish_model.ckpt": (FOLDER / "vggish_model.ckpt").read_bytes(),
        "vggish_pca_params.npz": sound.getvalue(),
    }


@pytest.fixture
def google(server, published, monkeypatch, tmp_path):
    """A server with these files; nothing is in the cache."""
    server.files = dict(published)
    monkeypatch.setenv("ALSTM_WEIGHTS_MIRROR", server.url)
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache 缓存"))
    yield server
    forget()


def forget():
    for cached in (picture_backbone, sound_backbone):
        cached.cache_clear()


# --- the numbers --------------------------------------------------------------------------------------------------


def test_pictures_are_as_google_s_extractor_makes_them(google):
    """At most 1e-4 in features, and one in bytes, from TensorFlow's graph and Google's formula in float64."""
    arrays = made("inception.npz")
    centred = arrays["features"].astype(float) - MEAN[:, 0]
    right = centred @ VECTORS.T / np.sqrt(VALUES[:, 0] + 1e-4)
    frames = np.stack([tensorflow_bilinear(arrays[f"image_{number}"], 40) for number in range(2)])
    assert np.abs(OnnxNetwork(yt8m.network("rgb").path, PictureInput())(frames) - right).max() <= 1e-4
    backbone = picture_backbone("yt8m")
    found = quantize(backbone.call(frames)).astype(int)
    assert found.shape == (2, 1024) and backbone.finished and 0.05 < (found == 255).mean() < 0.5
    assert np.abs(found - np.round((np.clip(right, -2, 2) + 2) * 255 / 4)).max() <= 1
    assert (found == np.round((np.clip(right, -2, 2) + 2) * 255 / 4)).mean() > 0.99


def test_sound_is_as_vggish_makes_it(google):
    """The embedding is TensorFlow's before any activation; the bytes are cut off, not rounded."""
    arrays = made("vggish.npz")
    pictures = arrays["pictures"].astype(np.float32) / 32 - 4
    right = (arrays["embeddings"].astype(float) - SOUND_MEANS[:, 0]) @ SOUND_VECTORS.T
    network = OnnxNetwork(yt8m.network("audio").path, SoundInput())
    assert np.abs(network(pictures[..., None]) - right).max() <= 1e-4
    sound = np.random.default_rng(0).standard_normal((3, 16_000)).astype(np.float32) / 8
    found = quantize(sound_backbone("yt8m").call(sound))
    steps = (np.clip(network(log_mel(sound)[..., None]), -2, 2) + 2) * 255 / 4
    assert found.shape == (3, 128) and np.array_equal(found, np.floor(steps))


@pytest.mark.parametrize("name", ["yt8m", "none"])
def test_without_sound_there_are_bytes_of_zero(google, name):
    assert not quantize(sound_backbone(name).call(np.zeros((3, 16_000), np.float32))).any()


def test_google_s_golden_pair(real_data):
    """The pair fits mean and variances: orthonormal vectors turn the one into the other.

    The real eigenvectors are not here. So they are replaced by a reflection that turns the centred numbers of the frame
    into the golden ones, multiplied by the standard deviations again. There is one if these are not longer, and they
    are shorter by a trifle: what the last 1024 components hold.
    """
    folder = real_data / "yt8m-extractor"
    mean, values = (np.load(folder / f"{name}.npy") for name in ("mean", "eigenvals"))
    pair = load_plain(folder / "sports1m_frame.pkl", "")
    original, golden = pair[b"original"], pair[b"pca"]
    centred = original - mean[:, 0]
    scaled = golden * np.sqrt(values[:1024, 0].astype(float) + 1e-4)
    rest = centred @ centred - scaled @ scaled
    assert 0 < rest < 0.01 * (centred @ centred)
    assert original @ original < scaled @ scaled  # without the mean there would be no such vectors
    across = centred - np.concatenate([scaled, [np.sqrt(rest)], np.zeros(1023)])
    vectors = np.eye(2048) - 2 * np.outer(across, across) / (across @ across)
    vectors[1024:] = vectors[:1023:-1].copy()  # the order of the rest does not count, but that they are rows does
    center, matrix = yt8m.whitening(mean, values, vectors)
    found = (original.astype(np.float32) - center) @ matrix
    assert found == pytest.approx(golden, abs=1e-4)
    wanted = np.round((np.clip(golden, -2, 2) + 2) * 255 / 4)
    assert np.abs(quantize(yt8m.picture_bytes(found[None]))[0] - wanted).max() <= 1


# --- the files ----------------------------------------------------------------------------------------------------


def test_fetched_and_converted_once(google, monkeypatch):
    path = yt8m.network("rgb").path
    content = path.read_bytes()
    google.files.clear()
    with monkeypatch.context() as patch:
        patch.setattr(yt8m, "to_onnx", None)
        assert yt8m.network("rgb").path == path
    path.write_bytes(content[:-1])
    assert yt8m.network("rgb").path == path and path.read_bytes() == content
    assert google.paths == ["/models/image/imagenet/inception-2015-12-05.tgz", "/yt8m_pca.tgz"]


def test_digests_are_shown_and_stay(google, published):
    """Nobody publishes them, so those of the first time count."""
    extractor = Extractor("yt8m", "none").identified()
    shown = extractor.provenance()
    assert len(shown) == 2
    for line, name in zip(shown, ("inception-2015-12-05.tgz", "yt8m_pca.tgz"), strict=True):
        assert name in line and hashlib.sha256(published[name]).hexdigest() in line
    place = place_in_cache(yt8m.PCA)
    place.unlink()
    google.files[place.name] = tgz(pca(MEAN + 1))
    forget()
    with pytest.raises(
        AlstmError, match=r"pca\.tgz: its SHA-256 is now .*, and was .* at first; .*delete .*fetched\.json"
    ):
        extractor.backbones()
    assert not place.exists()
    place.with_name("fetched.json").unlink()
    with pytest.raises(AlstmError, match="yt8m: not the network that made the features"):
        extractor.backbones()


def test_what_was_not_fetched_is_named_with_its_place(google):
    google.files.clear()
    with pytest.raises(AlstmError) as caught:
        picture_backbone("yt8m")
    places = [place_in_cache(url) for url in (yt8m.INCEPTION, yt8m.PCA)]
    for text in ("inception-2015-12-05.tgz", "/yt8m_pca.tgz", "ALSTM_WEIGHTS_MIRROR", *map(str, places)):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_can_be_put_into_their_places(google, published):
    for url in (yt8m.INCEPTION, yt8m.PCA):
        place = place_in_cache(url)
        place.parent.mkdir(parents=True)
        place.write_bytes(published[place.name])
    google.files.clear()
    assert picture_backbone("yt8m").finished and not google.gets
    assert len(Extractor("yt8m", "none").provenance()) == 2


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("inception-2015-12-05.tgz", b"none", r"05\.tgz: not readable as a \.tgz archive"),
        ("inception-2015-12-05.tgz", tgz(pca())[:50_000], r"05\.tgz: not readable as a \.tgz archive"),
        ("inception-2015-12-05.tgz", tgz({f"../{yt8m.GRAPH}": b"x"}), r"05\.tgz: it holds no classify_image"),
        ("inception-2015-12-05.tgz", tgz({yt8m.GRAPH: b"x"}), r"graph_def\.pb: not readable as a GraphDef"),
        ("yt8m_pca.tgz", tgz({"mean.npy": npy(MEAN)}), r"pca\.tgz: it holds no eigenvals\.npy"),
        ("yt8m_pca.tgz", tgz({**pca(), "mean.npy": b"x"}), r"mean\.npy: not readable as an array"),
        ("yt8m_pca.tgz", tgz(pca(MEAN[:15])), r"pca\.tgz: its arrays are unlike those"),
        ("yt8m_pca.tgz", tgz(pca(values=-VALUES)), r"pca\.tgz: its arrays are unlike those"),
        ("vggish_model.ckpt", b"none", r"ckpt: not readable as a checkpoint"),
        ("vggish_pca_params.npz", b"none", r"npz: it does not hold VGGish's PCA"),
        ("vggish_pca_params.npz", npy(MEAN), r"npz: it does not hold VGGish's PCA"),
    ],
)
def test_other_files_are_refused(google, name, content, said):
    google.files[name] = content
    with pytest.raises(AlstmError, match=said):
        yt8m.network("rgb" if name.endswith("tgz") else "audio")


def test_what_is_too_large_is_not_read(google, monkeypatch):
    monkeypatch.setattr(yt8m, "_LARGEST", 20_000)
    for stream, said in (("rgb", r"05\.tgz: not readable as a \.tgz"), ("audio", "it does not hold VGGish's PCA")):
        with pytest.raises(AlstmError, match=said):
            yt8m.network(stream)


def test_nothing_is_unpickled(google):
    """An array of objects is a pickle, which could run code."""
    evil = io.BytesIO()
    np.save(evil, np.array([[{}]], object), allow_pickle=True)
    google.files["yt8m_pca.tgz"] = tgz({**pca(), "mean.npy": evil.getvalue()})
    with pytest.raises(AlstmError, match=r"mean\.npy: not readable as an array"):
        yt8m.network("rgb")


# --- published weights on a video ---------------------------------------------------------------------------------


SIZES = ("MODEL.embedding_size=8", "MODEL.lstm_size=8", "MODEL.fc_sizes=[8, 8]", "MODEL.num_classes=20")


@pytest.fixture
def config(google, tmp_path):
    """A small model, with its published weights and the names of its classes on the server."""
    settings = dict(parse_override(text) for text in (*SIZES, "TRAIN.use_gpu=False"))
    found = load_config(Path("configs/attention_lstm.yaml"), settings)
    save_weights(a_net(found), tmp_path / "w.pdparams")
    google.files["AttentionLSTM_yt8.pdparams"] = (tmp_path / "w.pdparams").read_bytes()
    rows = "".join(f"{index},Name of {index}\n" for index in range(20))
    google.files["vocabulary.csv"] = f"Index,Name\n{rows}".encode()
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Three seconds of noise, to see and to hear."""
    path = tmp_path_factory.mktemp("clip") / "c 片段.mp4"
    random = np.random.default_rng(5)
    frames = random.integers(0, 256, (3, 48, 80, 3)).astype(np.uint8)
    write_video(path, frames, (random.standard_normal((3, READ_RATE)) / 8).astype(np.float32))
    return path


def test_published_weights_on_a_video(alstm, google, config, clip, tmp_path):
    """Names, timeline, and the digests of all that was fetched; no configuration is asked for."""
    sizes = [part for size in SIZES for part in ("-o", size)]
    out = tmp_path / "out"
    done = alstm("predict", clip, "--weights", "published", *sizes, "--save_dir", out, "--infer_topk", 3)
    assert done.code == 0, done.err
    [row] = [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert len(row["labels"]) == 3
    assert all(label["name"] == f"Name of {label['index']}" for label in row["labels"])
    assert (out / f"{clip.stem}.png").is_file()
    assert len(json.loads((out / f"{clip.stem}.json").read_text("utf-8"))["attention"]["audio"]) == 3
    assert done.out.count("  sha256 ") == 4


def test_features_of_a_video_are_google_s(google, config, clip):
    """The whole frame is squeezed by TensorFlow's resize; what is heard counts."""
    video, _ = find_extractor(config).video(Clip(clip))
    frames = np.stack([tensorflow_bilinear(frame, 40) for frame in whole_frames(clip)])
    network = OnnxNetwork(yt8m.network("rgb").path, PictureInput())
    assert np.array_equal(video.rgb, quantize(yt8m.picture_bytes(network(frames))))
    assert video.audio.any()


def whole_frames(path):
    """The picture in the middle of each second of a file that has five a second."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)][2::5]


def test_without_vggish_the_sound_is_left_out_and_said(google, config, clip):
    del google.files["vggish_model.ckpt"]
    notes = list[str]()
    extractor = find_extractor(config, report=notes.append)
    assert extractor.names == {"rgb": "yt8m", "audio": "none"} and not extractor.video(Clip(clip))[0].audio.any()
    assert notes[0].startswith("the sound is left out, which costs about two points of GAP: ")
    assert "vggish_model.ckpt: not fetched (the server answers 404)" in notes[0]
    assert [line.count("sha256") for line in notes[1:]] == [1, 1]


def test_without_the_pictures_there_is_nothing_to_predict(google, config):
    del google.files["yt8m_pca.tgz"]
    with pytest.raises(NotFetched, match=r"yt8m_pca\.tgz: not fetched"):
        find_extractor(config)


def test_without_the_vocabulary_classes_have_numbers(google, config, capsys):
    assert class_names_of(config, "published")[7] == "Name of 7"
    assert class_names_of(config, "my.pdparams") == {}
    shutil.rmtree(place_in_cache(VOCABULARY).parent)
    del google.files["vocabulary.csv"]
    assert class_names_of(config, "published") == {}
    said = capsys.readouterr().out
    assert "classes have no names: " in said and "-o INFER.class_names=vocabulary.csv" in said


def test_features_have_its_sound_by_default(google, clip, tmp_path):
    done = extract_features([clip], tmp_path / "f", FeatureOptions(backbone="yt8m"), workers=0)
    assert not done.failed and sum("  sha256 " in note for note in done.notes) == 4
    about = json.loads((tmp_path / "f" / "features.json").read_text("utf-8"))
    assert about["backbone"] == about["audio"] == "yt8m" and about["sha256"].keys() == {"rgb", "audio"}
    assert not (tmp_path / "f" / "projection.pkl").exists()
