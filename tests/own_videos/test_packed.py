"""`alstm export --video`: one folder labels video files as this package does, without it and without Paddle."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support import SHORT, a_net

from alstm_helpers.data.feature_scale import is_of_own_videos
from alstm_helpers.data.flashdigits import render
from alstm_helpers.deployment.export import export
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.flashdigits_clips import write_mp4, write_video
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.packed import pack
from alstm_helpers.own_videos.projection import CHANGING, with_changes
from alstm_helpers.own_videos.watch import watch

# A Python that has NumPy, ONNX Runtime and PyAV, and what they need, but nothing else that is installed.
ALONE = """
import os, runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first in ("alstm_helpers", "paddle", "google", "google_crc32c", "pydantic", "joblib", "PIL", "filelock"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Clips with sound, turned by a phone, and without sound."""
    folder = tmp_path_factory.mktemp("phone 手机")
    write_mp4(folder / "sound.mp4", render(0, "val", SHORT[0]))
    frames = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    write_video(folder / "silent.mp4", frames, None)
    turned = (folder / "silent.mp4").read_bytes()
    upright = np.array([1 << 16, 0, 0, 0, 1 << 16, 0], ">i4").tobytes()  # of the track, whose size follows it
    place = turned.rindex(upright)
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0], ">i4").tobytes()
    (folder / "turned.mp4").write_bytes(turned[:place] + matrix + turned[place + len(matrix) :])
    return folder


@pytest.fixture(scope="module")
def extractor(videos, onnx_file, tmp_path_factory):
    """One of a small network for pictures, and log-mel; its projections are fitted on the clips themselves."""
    folder = tmp_path_factory.mktemp("networks")
    weights = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[8, 8]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["y"], axes=[2, 3], keepdims=0),
    ]
    name = onnx_file(
        folder / "net.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=[numpy_helper.from_array(weights, "w")]
    )
    takes = {"scale": 1 / 255, "mean": [0.5] * 3, "std": [0.25] * 3, "resize": 40, "colours": "bgr"}
    (folder / "net.json").write_text(json.dumps(takes))
    plain = Extractor(name, "logmel")
    raws = [plain.raw(Clip(path)).streams for path in sorted(videos.iterdir())]

    def sample(stream):
        each = [raw[stream] for raw in raws]
        return np.concatenate([with_changes(one) for one in each] if stream in CHANGING else each)

    return plain.identified().fitted(sample, len(raws))


@pytest.fixture(scope="module")
def packed(tiny_config, extractor, tmp_path_factory):
    """The packed folder, moved away from where it was written, and the network."""
    folder, net = tmp_path_factory.mktemp("packed"), a_net(tiny_config)
    export(net, folder / "here", onnx=True, class_names={3: "狗"})
    pack(extractor, folder / "here")
    return shutil.move(folder / "here", folder / "there"), net


def python(*arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)


def test_the_folder_alone_labels_as_the_package_does(packed, extractor, videos):
    folder, net = packed
    paths = [*sorted(videos.iterdir()), videos / "none.mp4"]
    done = python("-c", ALONE, folder / "label.py", *paths)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["video"] for row in rows] == ["silent.mp4", "sound.mp4", "turned.mp4"], done.stderr
    assert done.returncode == 1 and done.stderr.startswith(f"error: {videos / 'none.mp4'}: no such file")
    for path, row in zip(paths, rows, strict=False):
        right = watch(net, extractor, Clip(path), top_k=20)
        found = {label["index"]: label["score"] for label in row["labels"]}
        assert max(abs(found[label["index"]] - label["score"]) for label in right["labels"]) < 1e-4
        assert row["notes"] == right["notes"] and len(found) == 20
    assert {label["name"] for label in rows[0]["labels"]} >= {"狗", "class 1"}
    scores = [{label["index"]: label["score"] for label in row["labels"]} for row in rows]
    assert abs(scores[0][3] - scores[2][3]) > 1e-6  # a turned clip is another one


def test_each_bad_file_is_one_sentence_and_the_others_are_labelled(packed, videos, tmp_path):
    (tmp_path / "cut.mp4").write_bytes((videos / "silent.mp4").read_bytes()[:500])
    (tmp_path / "empty.mp4").touch()
    bad = [tmp_path / name for name in ("none.mp4", "cut.mp4", "empty.mp4", "x" * 300)]
    done = python("-c", ALONE, packed[0] / "label.py", *bad, tmp_path, videos / "silent.mp4")
    told = done.stderr.splitlines()
    starts = [f"error: {path}: " for path in (*bad, tmp_path)]
    assert [line[: len(start)] for line, start in zip(told, starts, strict=True)] == starts
    assert all("; " in line for line in told) and told[4].endswith(": not a file; check the path")
    assert done.returncode == 1 and json.loads(done.stdout)["video"] == "silent.mp4"


@pytest.mark.parametrize("name", ["label.json", "label.npz", "model.onnx", "backbone.onnx"])
@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_file_of_the_folder_that_is_missing_or_cut_is_named(packed, tmp_path, name, how):
    path = shutil.copytree(packed[0], tmp_path / "copy") / name
    path.write_bytes(path.read_bytes()[:300])
    if how == "missing":
        path.unlink()
    done = python(path.parent / "label.py", "any.mp4")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {path}: ") and "export" in done.stderr


@pytest.mark.parametrize("name", ["label.json", "label.npz"])
@pytest.mark.parametrize("content", ["nothing", "other"])
def test_a_file_of_the_folder_that_holds_something_else_is_refused(packed, tmp_path, name, content):
    path = shutil.copytree(packed[0], tmp_path / "copy") / name
    with path.open("wb") as file:
        if name == "label.json":
            file.write(b"{}" if content == "nothing" else b'{"rgb": 1}')
        elif content == "nothing":
            np.savez(file)
        else:
            np.save(file, np.zeros(3))
    done = python(path.parent / "label.py", "any.mp4")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "not as they were written; export the model again, with --video" in done.stderr


@pytest.mark.parametrize("name", ["numpy", "onnxruntime", "av"])
def test_a_package_that_is_not_installed_is_named(packed, videos, name):
    code = ALONE.replace('in ("', f'in ("{name}", "').replace("(name)", "(f'No module named {name!r}', name=name)")
    done = python("-c", code, packed[0] / "label.py", *2 * [videos / "silent.mp4"])
    told = f"error: {name}: No module named '{name}'; pip install numpy onnxruntime av\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_how_it_is_used_is_said(packed):
    """Before the model is read."""
    label = packed[0] / "label.py"
    told = python(label, "--help")
    assert told.returncode == 0 and "usage: label.py [-h] CLIP.mp4" in told.stdout and "ONNX Runtime" in told.stdout
    assert python(label).returncode == 2


def test_the_packed_folder_serves_videos(packed, extractor):
    folder, _ = packed
    found = Extractor.load(folder).complete()
    assert found.sha256 == extractor.sha256 and found.backbone == f"onnx:{folder / 'backbone.onnx'}"
    assert found.pictures is not None and found.pictures.colours == "bgr" and found.audio == "logmel"


def test_an_export_without_it_removes_what_was_packed_with_the_model_before(packed, tmp_path, monkeypatch):
    """Else `alstm serve` would label videos with the features of that one."""
    folder, net = shutil.copytree(packed[0], tmp_path / "model"), packed[1]
    python(folder / "label.py", "--help")  # leaves compiled modules
    (folder / "notes.txt").touch()
    seen, replace = [], Path.replace

    def watched(path, target):
        seen.extend([is_of_own_videos(folder)] if Path(target).parent == folder else [])
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    done = export(net, folder)
    kept = {"backbone.onnx", "notes.txt"}  # the features of another folder may name that network
    assert {path.name for path in folder.iterdir()} == {"export.json", *kept, *done["files"]}
    assert seen and not any(seen)  # an export that is killed has no model of the one and features of the other


def test_a_model_is_packed_again_in_the_folder_that_says_how_its_features_are_made(packed, tmp_path):
    folder, net = shutil.copytree(packed[0], tmp_path / "model"), packed[1]
    again = Extractor.load(folder).complete()
    assert again.backbone == f"onnx:{folder / 'backbone.onnx'}"
    names = {path.name for path in folder.iterdir()}
    export(net, folder, onnx=True)
    pack(again, folder)
    assert {path.name for path in folder.iterdir()} >= names
    assert Extractor.load(folder).complete().sha256 == again.sha256


@pytest.mark.parametrize("beside", ["nothing", "features"])
def test_an_export_leaves_a_features_json_of_the_users(packed, tmp_path, beside):
    names = ("features.json",) if beside == "nothing" else ("features.json", "label.json", "manifest.jsonl")
    for name in names:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    export(packed[1], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= set(names)


def test_scores_that_are_not_finite_are_refused(packed, videos, tmp_path):
    path = shutil.copytree(packed[0], tmp_path / "copy") / "model.onnx"
    model = onnx.load(path)
    bias = next(each for each in model.graph.initializer if list(each.dims) == [20])
    bias.CopyFrom(numpy_helper.from_array(np.full(20, np.nan, np.float32), bias.name))
    onnx.save(model, path)
    about = json.loads((path.parent / "label.json").read_bytes())
    about["model"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "label.json").write_text(json.dumps(about), encoding="utf-8")
    done = python(path.parent / "label.py", videos / "silent.mp4")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: model.onnx: its scores are not finite; use other weights than those of")


def test_a_model_that_was_not_packed_is_refused(packed, tmp_path):
    folder = shutil.copytree(packed[0], tmp_path / "copy")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"?")
    done = python(folder / "label.py", "any.mp4")
    problem = "another model than the one that label.json is for; export the model again, with --video"
    assert (done.returncode, done.stderr) == (1, f"error: {folder / 'model.onnx'}: {problem}\n")


@pytest.mark.parametrize(
    "backbone, audio, problem",
    [
        ("flashdigits", "flashdigits", "flashdigits: it is not a network in an ONNX file; --video needs"),
        ("net", "flashdigits", "flashdigits: it is neither logmel nor a network"),
    ],
)
def test_what_cannot_be_packed_is_named(extractor, tmp_path, backbone, audio, problem):
    name = extractor.backbone if backbone == "net" else backbone
    with pytest.raises(AlstmError, match=problem):
        pack(Extractor(name, audio), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command(alstm, tiny_config, extractor, tmp_path, monkeypatch):
    monkeypatch.setattr("alstm_helpers.model.build.load_model", lambda *_: a_net(tiny_config))
    extractor.save(tmp_path)
    (tmp_path / "w").touch()
    flags = (
        "--config",
        "configs/flashdigits.yaml",
        "-o",
        "INFER.class_names=null",
        "--weights",
        tmp_path / "w",
        "--out",
        tmp_path / "out",
    )
    assert alstm("export", *flags, "--features", tmp_path).code == 2
    result = alstm("export", *flags, "--video", "--features", tmp_path)
    assert result.last == f"for video files: python {tmp_path / 'out' / 'label.py'} CLIP.mp4; it needs " + (
        "onnxruntime, av and numpy alone"
    )
    assert (tmp_path / "out" / "model.onnx").exists() and (tmp_path / "out" / "backbone.onnx").exists()
    result = alstm("export", *flags, "--video")
    assert result.code == 1 and "flashdigits: it is not a network in an ONNX file" in result.err
