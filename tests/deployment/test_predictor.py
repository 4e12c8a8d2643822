"""The predictor: one class for both engines, any number of videos, and clear error messages."""

from __future__ import annotations

import contextlib
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from support import a_net, a_video, run_python, score_all, unequal_videos

from alstm_helpers.data.dataset import read_batches
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.deployment.export import export
from alstm_helpers.deployment.predictor import _BY_SUFFIX, ENGINES, INPUTS, Predictor, find_model, gap_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import evaluate
from alstm_helpers.runtime import paddle, usable_cores

PROGRAM = "model.json" if paddle.__version__ >= "3" else "model.pdmodel"


@pytest.fixture(scope="module")
def net(tiny_config):
    return a_net(tiny_config)


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed") / "model 模型"
    export(net, folder, onnx=True, class_names={0: "zero"})
    return folder


@pytest.fixture(scope="module", params=["model.onnx", PROGRAM])
def predictor(request, folder):
    return Predictor(folder / request.param)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_videos_of_any_length_come_back_in_order_with_their_own_seconds(predictor, net, batch_size):
    videos = [a_video(f"v{seconds}", seconds) for seconds in (7, 1, 90, 2, 310, 7, 1)]
    found = predictor.predict(videos, batch_size=batch_size)
    assert len(found) == len(videos)
    for video, prediction in zip(videos, found, strict=True):
        seconds = min(video.num_frames, 300)
        batch = video.rgb[None, :seconds], video.audio[None, :seconds], np.array([seconds])
        for one, other in zip(prediction, score_all(net, batch), strict=True):
            assert one.shape == other[0].shape
            np.testing.assert_allclose(one, other[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("output", [0, 1])
def test_what_is_not_finite_is_refused(folder, monkeypatch, number, output):
    """A server would answer without scores, or with what is no JSON."""
    predictor, run = Predictor(folder), Predictor(folder)._run

    def spoiled(arrays):
        found = list(run(arrays))
        found[output][-1, 1] = number
        return found

    monkeypatch.setattr(predictor, "_run", spoiled)
    with pytest.raises(AlstmError, match=r"^model\.onnx: its scores are not finite; use other weights than those of a"):
        predictor.predict([a_video("v", 3)])


def test_labels_of_the_videos_are_ignored(predictor):
    plain, labelled = a_video("a", 5), a_video("a", 5, [4000])
    assert np.array_equal(predictor.predict([plain])[0].scores, predictor.predict([labelled])[0].scores)


def test_no_videos_give_no_predictions(predictor):
    assert predictor.predict([]) == []


def test_a_predictor_knows_its_classes(predictor):
    assert predictor.class_names[0] == "zero" and predictor.class_names[1] == "class 1"
    assert predictor.num_classes == 20


def test_one_predictor_serves_batches_of_any_shape(predictor, net):
    for lengths in ([1, 40], [5], [2, 2, 9]):
        batch = unequal_videos(lengths)
        np.testing.assert_allclose(predictor(*batch).scores, score_all(net, batch).scores, atol=1e-5, rtol=0)


def test_arrays_that_are_not_contiguous(predictor, net):
    rgb, audio, _ = unequal_videos([9, 9, 4, 9])
    batch = rgb[::2, 1:], audio[::2, 1:], np.array([8, 3])
    same = np.ascontiguousarray(batch[0]), np.ascontiguousarray(batch[1]), batch[2]
    expected = score_all(net, same).scores
    np.testing.assert_allclose(predictor(*batch).scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("integer", [np.int32, np.uint8, np.int64])
def test_lengths_of_any_integer_type(predictor, integer):
    rgb, audio, lengths = unequal_videos([9, 4])
    found = predictor(rgb, audio, lengths.astype(integer))
    assert np.array_equal(found.scores, predictor(rgb, audio, lengths).scores)


def wrong(**changes):
    rgb, audio, lengths = unequal_videos([5, 2])
    return {"rgb": rgb, "audio": audio, "lengths": lengths, **changes}


RGB, AUDIO, LENGTHS = unequal_videos([5, 2])


@pytest.mark.parametrize(
    "changes, where",
    [
        ({"rgb": RGB / 255}, r"rgb: float64 \(2, 5, 1024\)"),
        ({"rgb": RGB[0]}, r"rgb: uint8 \(5, 1024\)"),
        ({"rgb": RGB[:, :4]}, r"audio: uint8 \(2, 5, 128\)"),
        ({"audio": AUDIO[:1]}, r"audio: uint8 \(1, 5, 128\)"),
        ({"audio": RGB}, r"audio: uint8 \(2, 5, 1024\)"),
        ({"lengths": LENGTHS[:1]}, "rgb: .*with lengths"),
        ({"lengths": LENGTHS / 1}, "lengths: float64"),
        ({"lengths": LENGTHS[:, None]}, r"lengths: int64 \(2, 1\)"),
        ({"lengths": 5}, "rgb: "),
        ({"rgb": RGB[:0], "audio": AUDIO[:0], "lengths": LENGTHS[:0]}, "the batch: it contains no video"),
    ],
)
def test_wrong_arrays_are_refused(predictor, changes, where):
    with pytest.raises(AlstmError, match=f"^{where}"):
        predictor(**wrong(**changes))


def test_a_folder_prefers_onnx(folder, tmp_path):
    assert find_model(folder).name == next(iter(ENGINES)) == "model.onnx"
    for name in (PROGRAM, "model.pdiparams"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert Predictor(tmp_path).path.name == PROGRAM
    assert Predictor(tmp_path).class_names is None  # without export.json


@pytest.mark.parametrize("name", ["", "model.onnx", PROGRAM])
def test_no_model(tmp_path, name):
    with pytest.raises(AlstmError, match=r"no exported model here; make one with `alstm export`"):
        Predictor(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x08" * 50])
def test_a_damaged_onnx_file(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(AlstmError, match=r"model\.onnx: it (cannot be read \(.+\)|is not readable as ONNX); export"):
        Predictor(tmp_path)


@pytest.mark.parametrize("part", ["input", "output", "one more input"])
def test_another_network_is_refused_when_it_is_loaded(folder, tmp_path, part):
    model = onnx.load(folder / "model.onnx")
    graph = model.graph
    if part == "one more input":
        graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))
    else:
        old = (graph.input if part == "input" else graph.output)[0].name
        for names in [field for node in graph.node for field in (node.input, node.output)]:
            names[:] = ["other" if name == old else name for name in names]
        next(item for item in (*graph.input, *graph.output) if item.name == old).name = "other"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(
        AlstmError, match=r"model\.onnx: it is another network: .+; name a file that `alstm export` made$"
    ):
        Predictor(tmp_path)


class Scaled(paddle.nn.Layer):  # type: ignore[misc]
    """Takes three inputs, returns any number of outputs."""

    def __init__(self, count):
        super().__init__()
        self.count, self.scale = count, self.create_parameter([4])

    def forward(self, rgb, audio, lengths):
        total = sum(each.astype("float32") for each in (rgb, audio, lengths)) * self.scale
        return [total * number for number in range(2, 2 + self.count)]


@pytest.mark.parametrize(
    ("first", "outputs", "fits"), [("rgb", 3, True), ("pictures", 3, False), ("rgb", 2, False)], ids=str
)
def test_another_paddle_model_is_refused_when_it_is_loaded(tmp_path, first, outputs, fits):
    """Its outputs have no names of their own, so they are counted."""
    specs = [paddle.static.InputSpec([None, 4], "uint8", name) for name in (first, *INPUTS[1:])]
    paddle.jit.save(Scaled(outputs), str(tmp_path / "model"), input_spec=specs)
    problem = rf"{PROGRAM}: it is another network: .+; name a file that `alstm export` made$"
    with contextlib.nullcontext() if fits else pytest.raises(AlstmError, match=problem):
        Predictor(tmp_path)


def test_weights_in_other_files_are_refused(folder, tmp_path):
    """They could be any file of the machine, whose bytes would become scores."""
    onnx.save(onnx.load(folder / "model.onnx"), tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(AlstmError, match=r"model\.onnx: its weights are in other files; save it as one file"):
        Predictor(tmp_path)


@pytest.mark.parametrize("engine, name", [("onnxruntime", "model.onnx"), ("paddle", PROGRAM)])
def test_an_engine_that_is_not_installed_is_named(folder, monkeypatch, engine, name):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(AlstmError, match=f"^{engine}: not installed; pip install "):
        Predictor(folder / name)


def test_onnx_needs_no_paddle(folder):
    code = """
import sys
sys.modules["paddle"] = None
from alstm_helpers.deployment.predictor import Predictor
import numpy as np
found = Predictor(sys.argv[1])(np.zeros((1, 3, 1024), "uint8"), np.zeros((1, 3, 128), "uint8"), np.array([3]))
print(found.scores.shape)
"""
    done = run_python(code, str(folder))
    assert done.stdout.strip() == "(1, 20)", done.stderr


def test_threads_are_those_requested(folder, monkeypatch):
    given = []
    plain = onnxruntime.InferenceSession

    def session(path, options, **more):
        given.append((options.intra_op_num_threads, options.log_severity_level))
        return plain(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    Predictor(folder, threads=1)
    Predictor(folder)
    assert given == [(1, 3), (usable_cores(), 3)]  # 3: only errors are printed


def test_onnx_runtime_reports_nothing_to_anybody(folder, monkeypatch):
    called = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: called.append(True))
    Predictor(folder)
    assert called


def test_sixteen_videos_are_a_batch_unless_said_otherwise(folder, monkeypatch):
    predictor, sizes = Predictor(folder), []
    run = predictor._run

    def watched(arrays):
        sizes.append(len(arrays["lengths"]))
        return run(arrays)

    monkeypatch.setattr(predictor, "_run", watched)
    predictor.predict([a_video(f"v{number}", 1) for number in range(17)])
    assert sizes == [16, 1]


def test_the_gap_of_a_model_is_that_of_its_network(folder, net, tiny_config):
    shards = read_filelist(tiny_config.VALID.filelist)
    found = gap_of(Predictor(folder), read_batches(shards, 8, 20), 20, 3)
    assert found == pytest.approx(evaluate(net, read_batches(shards, 8, 20), top_k=3)["gap"], abs=1e-4)


def test_paddle_scores_on_the_cpu_with_the_threads_asked_for(folder, monkeypatch):
    asked = []

    class Watched(paddle.inference.Config):  # type: ignore[misc]
        def disable_gpu(self):
            asked.append("no GPU")
            super().disable_gpu()

        def set_cpu_math_library_num_threads(self, count):
            asked.append(count)
            super().set_cpu_math_library_num_threads(count)

    monkeypatch.setattr(paddle.inference, "Config", Watched)
    Predictor(folder / PROGRAM, threads=1)
    assert sorted(asked, key=str) == [1, "no GPU"]


def test_a_predictor_prints_nothing(folder, capfd):
    for name in ("model.onnx", PROGRAM):
        Predictor(folder / name).predict([a_video("v", 2)])
    assert capfd.readouterr() == ("", "")


# --- damage -------------------------------------------------------------------------------------------------------


def flip(content):
    content[len(content) // 2] ^= 1
    return content


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-1000]])
@pytest.mark.parametrize(("name", "loaded"), [("model.onnx",) * 2, ("model.pdiparams", PROGRAM), (PROGRAM, PROGRAM)])
def test_a_damaged_model_is_refused(folder, tmp_path, name, loaded, damage):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / name).write_bytes(damage(bytearray((folder / name).read_bytes())))
    with pytest.raises(AlstmError, match=rf"{name}: it is damaged, or another file .* export the model again"):
        Predictor(copy / loaded)


def test_a_damaged_description_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "export.json").write_bytes(flip(bytearray((folder / "export.json").read_bytes())))
    with pytest.raises(AlstmError, match=r"export\.json: not readable .*; export the model again"):
        Predictor(copy)


def test_a_model_without_its_description_is_read_as_it_is(folder, tmp_path):
    shutil.copy(folder / "model.onnx", tmp_path)
    names = Predictor(tmp_path).class_names
    assert names and names[0] == "zero"


def test_an_engine_that_fails_without_a_word_is_named_by_its_error(folder, monkeypatch):
    def fail(*args):
        raise MemoryError

    monkeypatch.setitem(_BY_SUFFIX, ".onnx", fail)
    with pytest.raises(AlstmError, match=r"model\.onnx: it cannot be read \(MemoryError\); export the model again"):
        Predictor(folder / "model.onnx")


@pytest.mark.parametrize("text", ["[]", '{"class_names": "zero"}', '{"class_names": [1]}', '{"num_classes": "2"}', "{"])
def test_a_file_whose_metadata_are_odd_is_read_or_named(folder, tmp_path, text):
    model = onnx.load(folder / "model.onnx")
    next(item for item in model.metadata_props if item.key == "description").value = text
    onnx.save(model, tmp_path / "model.onnx")
    if text == "[]":
        assert Predictor(tmp_path).class_names is None
    else:
        with pytest.raises(AlstmError, match=r"model\.onnx: it cannot be read .*; export the model again"):
            Predictor(tmp_path)
