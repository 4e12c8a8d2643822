"""The bench: its baselines compute the same network, and a script that fails in another Python is one line."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from support import unequal_videos

from alstm_helpers.deployment.predictor import Prediction
from alstm_helpers.errors import AlstmError
from alstm_helpers.machine import bench, bench_data, bench_deploy, bench_model
from alstm_helpers.machine.bench_video import bench_video
from alstm_helpers.machine.measure import Figure, run_tool
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.weights import state_of
from alstm_helpers.runtime import paddle

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_the_padded_baseline_is_the_same_network():
    """With this network's weights, PaddleVideo's step computes the same logits, though padded to 512 frames."""
    spec = importlib.util.spec_from_file_location("paddlevideo_step", TOOLS / "paddlevideo_step.py")
    assert spec and spec.loader
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    paddle.seed(0)
    ours, theirs = AttentionLSTM(), step.PaddedNetwork()
    ours.eval()
    theirs.eval()
    names = {"fc_feature": "embed", "bi_lstm": "lstm", "att_fc": "score"}
    parameters = dict(theirs.named_parameters())
    for name, array in state_of(ours).items():
        layer, rest = name.split(".", 1)
        if layer.startswith("fc_out") or layer == "fc_logit":
            place = f"top.{ {'fc_out1': 0, 'fc_out2': 2, 'fc_logit': 4}[layer] }.{rest}"
        else:
            place = f"{names[layer[:-1]]}.{layer[-1]}.{rest}"
        parameters.pop(place).set_value(array)
    assert not parameters
    lengths = [3, 1, 7]
    streams = step.make_streams(lengths)
    rgb, audio = (features[:, :7] for features, _, _ in streams)
    with paddle.no_grad():
        found, expected = theirs(streams), ours(rgb, audio, paddle.to_tensor(lengths))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


def fake_python(folder, body):
    """Write a Python that runs ``body`` instead of its script; started by a shell, for paths with a space."""
    answer, path = folder / "answer.py", folder / "python"
    answer.write_text(f"import json, os, sys\n{body}\n", encoding="utf-8")
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{answer}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.posix
def test_conversion_relative_to_tf2pkl(tmp_path, monkeypatch):
    """The ratio is that of the times on the same shard; without TensorFlow its rows are left out."""
    for name, value in (("VIDEOS", 5), ("PAIRS", 2), ("SHARDS", 20)):
        monkeypatch.setattr(bench_data, name, value)
    figures = bench_data.bench_data(fake_python(tmp_path, "print(json.dumps({'videos': 5, 'seconds': 100.0}))"))
    assert figures["convert_per_tf2pkl"].value == pytest.approx(100 * figures["convert_videos"].value / 5)
    assert all(figure.value > 0 and figure.what for figure in figures.values())
    ours = ["convert", "convert_videos", "plain_write", "convert_per_write", "convert_memory"]
    assert list(figures) == [*ours, "tf2pkl", "convert_per_tf2pkl", "convert_last", "read", "read_tfrecord"]
    assert list(bench_data.bench_data(None)) == [*ours, "convert_last", "read", "read_tfrecord"]


def test_metrics_are_measured(monkeypatch):
    monkeypatch.setattr(bench_data, "SCORED_VIDEOS", 2000)
    figures = bench_data.bench_metrics()
    assert figures["metrics"].value > 0 and "2,000 videos" in figures["metrics_result"].what


@pytest.mark.posix
def test_rates_relative_to_pytorch(tmp_path, monkeypatch):
    """The better of PyTorch's two times counts, and it gets the lengths of our batches."""
    monkeypatch.setattr(bench_model, "VIDEOS", 20)
    monkeypatch.setattr(bench_model, "BATCH", 8)
    body = f"""
calls = {str(tmp_path / "calls")!r}
number = os.path.getsize(calls) if os.path.exists(calls) else 0
open(calls, "a").write("x")
assert [len(batch) for batch in json.loads(sys.argv[2])] == [8, 8, 4]
print("noise")
print(json.dumps({{"packed": [4.0, 2.0][number], "padded": [1.0, 5.0][number]}}))
"""
    figures = bench_model.bench_model(fake_python(tmp_path, body))
    assert figures["pytorch"].value == 10 and figures["pytorch_padded"].value == 20
    for name, base in (("train_per_pytorch", 10), ("train_per_padded", 20)):
        assert figures[name].value == pytest.approx(figures["train"].value / base)
    assert figures["grouped_per_padded"].value == pytest.approx(figures["train_grouped"].value / 20)
    assert set(bench_model.bench_model(None)) == {"train", "train_grouped", "infer"}


@pytest.mark.posix
def test_a_python_without_the_package_is_named(tmp_path):
    with pytest.raises(AlstmError, match=r"--pytorch .*python: pytorch_step\.py failed \(.*no torch.*\); name a"):
        run_tool(fake_python(tmp_path, "sys.exit('no torch')"), "--pytorch", "pytorch_step.py", "[]")
    with pytest.raises(AlstmError, match=r"--pytorch none: pytorch_step\.py failed"):
        run_tool("none", "--pytorch", "pytorch_step.py", "[]")


@pytest.mark.posix
def test_full_size_relative_to_the_padded_step(tmp_path, monkeypatch):
    """Both settings of threads reach the other process; a ratio compares times of the same batch."""
    tuned = {"OMP_NUM_THREADS": "2", "MKL_DEBUG_CPU_TYPE": "5"}
    monkeypatch.setattr(bench_model, "FULL_SIZE_BATCHES", (1, 2))
    monkeypatch.setattr(bench_model, "AttentionLSTM", lambda: AttentionLSTM(3862, (1024, 128), 4, 4, 0.5, (4, 4)))
    monkeypatch.setattr(bench_model, "recommended_environment", lambda: tuned)
    body = "print(json.dumps([1.0, 10.0] if 'OMP_NUM_THREADS' not in os.environ else [0.5, 5.0]))"
    monkeypatch.setattr(sys, "executable", fake_python(tmp_path, body))
    figures = bench_model.bench_full_size()
    assert (figures["padded_1_shipped"].value, figures["padded_2_shipped"].value) == (1, 0.2)
    assert (figures["padded_1_tuned"].value, figures["padded_2_tuned"].value) == (2, 0.4)
    assert figures["full_2_per_tuned"].value == pytest.approx(figures["full_2"].value / 0.4)


def test_full_size_batches_are_of_similar_and_average_length():
    batch = bench_model.full_size_batch(16)
    assert batch.lengths.max() - batch.lengths.min() < 30
    assert 190 < batch.lengths.mean() < 236 and len(batch.ids) == 16


def test_parts_take_less_time_than_the_step():
    figures = bench_model.bench_parts()
    whole = figures["part_step"].value
    assert all(0 < figures[name].value < whole for name in ("part_embed", "part_lstm", "part_attend"))


def test_every_part_but_the_long_one_is_run_once(monkeypatch):
    for name in bench.PARTS:
        monkeypatch.setitem(bench.PARTS, name, lambda pythons, name=name: {name: Figure(1.234, "×", str(pythons))})
    seen = []

    def progress(parts, *, total=None, desc="", size=None, total_size=None):
        seen.append((total, desc))
        return parts

    figures = bench.run_bench("tf", "pt", progress=progress)
    assert seen == [(7, "measuring")]
    assert list(figures) == ["matmul", "data", "metrics", "model", "parts", "full_size", "video", "server"]
    assert figures["data"] == Figure(1.23, "×", "Pythons(tensorflow='tf', pytorch='pt')")
    json.dumps(figures)
    assert list(bench.run_bench(only=["latency", "metrics"])) == ["matmul", "latency", "metrics"]


def test_other_pythons_reach_their_parts(monkeypatch):
    monkeypatch.setattr(bench, "bench_data", lambda python: {"data": Figure(1, "×", str(python))})
    monkeypatch.setattr(bench, "bench_model", lambda python: {"model": Figure(1, "×", str(python))})
    figures = bench.run_bench("tf", "pt", only=["data", "model"])
    assert (figures["data"].what, figures["model"].what) == ("tf", "pt")


def small_net():
    paddle.seed(0)
    net = AttentionLSTM(20, embedding_size=8, lstm_size=8, fc_sizes=(8, 8))
    net.eval()
    return net


def test_latency_of_each_engine(monkeypatch):
    monkeypatch.setattr(bench_deploy, "AttentionLSTM", small_net)
    figures = bench_deploy.bench_latency(batches=(1, 3), seconds=(2, 5))
    names = {f"{engine}_{size}x{seconds}" for engine in ENGINES for size in (1, 3) for seconds in (2, 5)}
    assert set(figures) == names
    assert all(figure.value > 0 and figure.unit == "ms" for figure in figures.values())


def test_latency_is_measured_on_the_batch_that_it_names():
    seen = []

    def slow(rgb, audio, lengths):
        seen.append((rgb.shape, audio.shape, lengths.tolist()))
        time.sleep(0.6)

    figure = bench_deploy.bench_latency(lambda folder: {"slow": slow}, batches=(2,), seconds=(7,))["slow_2x7"]
    assert seen == [((2, 7, 1024), (2, 7, 128), [7, 7])] * 2
    assert figure.value >= 600 and "batch 2 of 7 s, slow: " in figure.what


ENGINES = ("trainer", "paddle", "onnx", "onnx_int8")


def test_the_engines_compute_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_deploy, "AttentionLSTM", small_net)
    engines = bench_deploy.full_size_engines(tmp_path)
    batch = unequal_videos([3, 9])
    logits = np.asarray(engines["trainer"](*batch))
    for name in ENGINES[1:]:
        tolerance = 0.02 if name == "onnx_int8" else 1e-5
        prediction = engines[name](*batch)
        assert isinstance(prediction, Prediction)
        np.testing.assert_allclose(prediction.scores, 1 / (1 + np.exp(-logits)), atol=tolerance)


def test_the_server_under_load(monkeypatch):
    monkeypatch.setattr(bench_deploy, "REQUESTS", 12)
    payloads = [{"rgb": rgb[0], "audio": audio[0]} for rgb, audio, _ in map(unequal_videos, ([3], [7]))]
    figures = bench_deploy.measure_server(small_net(), payloads)
    assert set(figures) == {"serve", "serve_median", "serve_99"}
    assert 0 < figures["serve_median"].value <= figures["serve_99"].value
    with pytest.raises(requests.HTTPError, match="400"):
        bench_deploy.measure_server(small_net(), [{"rgb": payloads[0]["rgb"]}])


def test_reading_a_video():
    figures = bench_video(2, (128, 72))
    assert [figure.unit for figure in figures.values()] == ["s", "s", "×"]
    here, whole, ratio = (figure.value for figure in figures.values())
    assert here > 0 and ratio == pytest.approx(whole / here)
