"""The bench: its baselines compute the same network, and what it compares is measured alike."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from support import unequal_videos

from alstm_helpers.data.flashdigits import make_video
from alstm_helpers.deployment.predictor import Prediction
from alstm_helpers.machine import bench, bench_data, bench_deploy, bench_model, measure, on_request
from alstm_helpers.machine.bench_video import bench_video
from alstm_helpers.machine.measure import Figure
from alstm_helpers.machine.on_request import Sample
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.weights import state_of
from alstm_helpers.runtime import paddle, usable_cores
from alstm_helpers.tfrecord import write_videos

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Measure once where the bench measures for seconds."""
    monkeypatch.setattr(measure, "MOST_ROUNDS", 1)
    monkeypatch.setattr(on_request, "SHORTEST", 0)


@pytest.mark.no_cover
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


class FakeWorker:
    """The other side of a comparison, with fixed seconds of each work: twice as many of processor time."""

    def __init__(self, title, seconds):
        self.title, self.seconds = title, seconds

    def measure(self, name):
        return lambda: Sample(self.seconds[name], 2 * self.seconds[name])


def fake_sides(monkeypatch, module, seconds_of):
    """Let comparisons meet fake workers; return the sides that are started, in order."""
    sides = []

    @contextlib.contextmanager
    def started(side):
        sides.append(side)
        yield FakeWorker("Library 9", seconds_of(side))

    monkeypatch.setattr(module, "started", started)
    return sides


def value_of(figure):
    """Return the value of a figure that is not refused."""
    assert figure.value is not None
    return figure.value


def test_conversion_relative_to_tf2pkl(monkeypatch):
    """The ratio is that of the times on the same shard; without TensorFlow its rows are left out."""
    for name, value in (("VIDEOS", 5), ("SHARDS", 20)):
        monkeypatch.setattr(bench_data, name, value)
    sides = fake_sides(monkeypatch, bench_data, lambda side: {"convert": 100.0})
    figures = bench_data.bench_data("python")
    assert (sides[0].python, sides[0].flag, sides[0].module) == ("python", "--tensorflow", "tf2pkl_logic")
    assert sides[0].arguments[0].endswith(".tfrecord")
    assert value_of(figures["convert_per_tf2pkl"]) == pytest.approx(100 * value_of(figures["convert_videos"]) / 5)
    assert "Library 9" in figures["tf2pkl"].what
    assert all(figure.what for figure in figures.values())
    names = ["convert", "convert_videos", "plain_write", "convert_per_write", "convert_memory"]
    assert list(figures) == [*names, "tf2pkl", "convert_per_tf2pkl", "convert_last", "read", "read_tfrecord"]
    assert list(bench_data.bench_data(None)) == [*names, "convert_last", "read", "read_tfrecord"]


def test_metrics_are_measured(monkeypatch):
    monkeypatch.setattr(bench_data, "SCORED_VIDEOS", 2000)
    figures = bench_data.bench_metrics()
    assert value_of(figures["metrics"]) > 0 and "2,000 videos" in figures["metrics_result"].what


def test_rates_relative_to_pytorch(monkeypatch):
    """Both sides have the same lengths and the same number of threads; PyTorch gets nothing that is set for Paddle."""
    monkeypatch.setattr(bench_model, "VIDEOS", 20)
    monkeypatch.setattr(bench_model, "BATCH", 8)
    monkeypatch.setattr(bench_model, "recommended_environment", lambda: {"OMP_NUM_THREADS": "3", "ONLY_PADDLE": "1"})
    monkeypatch.setattr(bench_model, "usable_cores", lambda: 4)
    seconds = {"mixed": 1.0, "grouped": 0.5, "scores": 0.1, "packed": 3.0, "padded": 2.0}

    def seconds_of(side):
        return {
            name: (5 if side.environment["OMP_NUM_THREADS"] == "1" else 1) * value for name, value in seconds.items()
        }

    sides = fake_sides(monkeypatch, bench_model, seconds_of)
    figures = bench_model.bench_model("python")
    ours, theirs = sides[::2], sides[1::2]
    assert [side.environment for side in ours] == [
        {"OMP_NUM_THREADS": "3", "ONLY_PADDLE": "1"},
        {"OMP_NUM_THREADS": "1", "ONLY_PADDLE": "1"},
    ]
    assert [side.environment for side in theirs] == [
        {"OMP_NUM_THREADS": "4", "ONLY_PADDLE": None},
        {"OMP_NUM_THREADS": "1", "ONLY_PADDLE": None},
    ]
    assert all((side.python, side.flag) == ("python", "--pytorch") for side in theirs)
    assert [len(batch) for batch in json.loads(theirs[0].arguments[0])] == [8, 8, 4]
    found = {name: (figure.value, figure.cpu) for name, figure in figures.items()}
    assert found == {
        "train": (20, 10),
        "train_grouped": (40, 20),
        "infer": (200, 100),
        "pytorch": pytest.approx((20 / 3, 10 / 3)),
        "pytorch_padded": (10, 5),
        "train_per_pytorch": (3, 3),
        "train_per_padded": (2, 2),
        "grouped_per_padded": (4, 4),
        "train_one_thread": (4, 2),
        "train_grouped_one_thread": (8, 4),
        "pytorch_one_thread": pytest.approx((4 / 3, 2 / 3)),
        "pytorch_padded_one_thread": (2, 1),
        "train_per_pytorch_one_thread": (3, 3),
        "train_per_padded_one_thread": (2, 2),
        "grouped_per_padded_one_thread": (4, 4),
    }
    ours_alone = {"train", "train_grouped", "infer", "train_one_thread", "train_grouped_one_thread"}
    assert set(bench_model.bench_model(None)) == ours_alone


def test_full_size_relative_to_the_padded_step(monkeypatch):
    """PaddleVideo's step runs as shipped and with OpenMP on all cores; a ratio compares times of the same batch."""
    tuned = {"OMP_NUM_THREADS": "2", "MKL_DEBUG_CPU_TYPE": "5"}
    ours = {**tuned, "OMP_NUM_THREADS": "1"}
    monkeypatch.setattr(bench_model, "recommended_environment", lambda: ours)
    monkeypatch.setattr(bench_model, "usable_cores", lambda: 2)

    def seconds_of(side):
        if side.module != "paddlevideo_step":
            return {"4": 1.0, "16": 2.0}
        return {"4": 2.0, "16": 10.0} if side.environment["OMP_NUM_THREADS"] is None else {"4": 0.5, "16": 4.0}

    sides = fake_sides(monkeypatch, bench_model, seconds_of)
    figures = bench_model.bench_full_size()
    assert [side.environment for side in sides] == [ours, dict.fromkeys(tuned), tuned]
    assert [len(batch) for batch in json.loads(sides[1].arguments[0])] == [4, 16]
    assert {name: figure.value for name, figure in figures.items()} == {
        "full_4": 4,
        "padded_4_shipped": 2,
        "full_4_per_shipped": 2,
        "full_16": 8,
        "padded_16_shipped": 1.6,
        "full_16_per_shipped": 5,
        "padded_4_tuned": 8,
        "full_4_per_tuned": 0.5,
        "padded_16_tuned": 4,
        "full_16_per_tuned": 2,
    }


def test_what_the_process_of_this_package_measures(tmp_path, monkeypatch):
    """Epochs that train the network on all videos of the shard, in both orders, and scores of all of them."""
    monkeypatch.setattr(bench_model, "BATCH", 4)
    monkeypatch.setattr(bench_model, "FULL_SIZE_BATCHES", (1, 2))
    monkeypatch.setattr(bench_model, "AttentionLSTM", lambda *_, **__: small_net())
    seen = []
    monkeypatch.setattr(bench_model, "train_epoch", lambda net, optimizer, batches: seen.append(batches))
    shard = tmp_path / "a.tfrecord"
    write_videos(shard, (make_video(0, "train", index) for index in range(10)))
    title, works = bench_model.make_works("course", str(shard))
    assert title == f"Paddle {paddle.__version__}"
    for work in works.values():
        work()
    mixed, grouped = ([batch.lengths for batch in batches] for batches in seen)
    assert [len(lengths) for lengths in mixed] == [4, 4, 2]
    assert sorted(np.concatenate(mixed)) == sorted(np.concatenate(grouped))
    assert max(map(np.ptp, grouped)) < max(map(np.ptp, mixed))
    scores = works["scores"]()
    assert isinstance(scores, list) and len(scores) == 3
    _, works = bench_model.make_works("full")
    works["2"]()
    tried = [1] * 4 + [2] * 4  # so often that both ways of doing the streams are known
    assert list(works) == ["1", "2"] and [len(batches[0].ids) for batches in seen[2:]] == [*tried, 2]


def test_an_epoch_trains():
    net, optimizer = bench_model.course_model()
    before = state_of(net)
    batch = bench_model.full_size_batch(1)
    bench_model.train_epoch(net, optimizer, [batch._replace(labels=batch.labels[:, :20])])
    assert all((array != before[name]).any() for name, array in state_of(net).items() if "weight" in name)


def test_full_size_batches_are_of_similar_and_average_length():
    batch = bench_model.full_size_batch(16)
    assert batch.lengths.max() - batch.lengths.min() < 30
    assert 190 < batch.lengths.mean() < 236 and len(batch.ids) == 16


def test_parts_take_less_time_than_the_step(monkeypatch):
    monkeypatch.setattr(measure, "MOST_ROUNDS", 3)
    figures = bench_model.bench_parts()
    whole = figures["part_step"].cpu
    assert whole and all(0 < (figures[name].cpu or 0) < whole for name in ("part_embed", "part_lstm", "part_attend"))


def test_every_part_but_the_long_one_is_run_once(monkeypatch):
    for name in bench.PARTS:
        monkeypatch.setitem(bench.PARTS, name, lambda pythons, name=name: {name: Figure(1.2345678, "×", str(pythons))})
    seen = []

    def progress(parts, *, total=None, desc="", size=None, total_size=None):
        seen.append((total, desc))
        return parts

    machine, figures = bench.run_bench("tf", "pt", progress=progress)
    assert seen == [(7, "measuring")]
    assert list(figures) == ["matmul", "data", "metrics", "model", "parts", "full_size", "video", "server"]
    assert figures["data"] == Figure(1.235, "×", "Pythons(tensorflow='tf', pytorch='pt')")
    assert machine["command"] == "alstm bench --tensorflow PYTHON --pytorch PYTHON"
    machine, figures = bench.run_bench(only=["latency", "metrics"])
    assert list(figures) == ["matmul", "latency", "metrics"]
    assert machine["command"] == "alstm bench --only latency --only metrics"


def test_the_report_names_the_machine_and_omits_what_was_not_measured(monkeypatch):
    """A refused ratio is null; numbers have four digits."""
    part = {"a": Figure(None, "×", "a", (0.123456, 12345.6), 2.34567, (1.0, 3.0)), "b": Figure(1.0, "s", "b")}
    monkeypatch.setitem(bench.PARTS, "data", lambda _: part)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.456, 0, 0), raising=False)
    report = json.loads(json.dumps(bench.run_bench(only=["data"]).as_json()))
    assert report["a"] == {
        **{"value": None, "unit": "×", "what": "a", "spread": [0.1235, 12350]},
        **{"cpu": 2.346, "cpu_spread": [1, 3]},
    }
    assert report["b"] == {"value": 1, "unit": "s", "what": "b"}
    machine = report["machine"]
    assert (machine["cores"], machine["load_before"], machine["load_after"]) == (usable_cores(), 0.46, 0.46)
    assert machine["processor"] and machine["busy"] == 0 and machine["paddle"] == paddle.__version__


def test_cores_are_kept_busy_meanwhile_and_not_longer_than_until_an_interrupt(monkeypatch):
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    def fail(_):
        assert [process.poll() for process in started] == [None, None]
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setitem(bench.PARTS, "metrics", lambda _: {"a": Figure(1.0, "s", "a")})
    monkeypatch.setitem(bench.PARTS, "data", fail)
    machine, figures = bench.run_bench(only=["metrics", "data", "metrics"], busy=2)
    assert machine["stopped_in"] == "data" and list(figures) == ["matmul", "a"]  # what was finished is reported
    assert len(started) == 2 and None not in [process.poll() for process in started]


@pytest.mark.posix
def test_a_busy_process_computes_until_its_input_ends():
    import resource

    def computed(seconds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        with subprocess.Popen([sys.executable, "-c", bench._SPIN], stdin=subprocess.PIPE) as process:
            time.sleep(seconds)
            assert process.poll() is None
        assert process.returncode == 0
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    assert any(computed(seconds) > 0.1 for seconds in (0.5, 2, 8, 30))  # longer where others keep it from the cores


def test_other_pythons_reach_their_parts(monkeypatch):
    monkeypatch.setattr(bench, "bench_data", lambda python: {"data": Figure(1, "×", str(python))})
    monkeypatch.setattr(bench, "bench_model", lambda python: {"model": Figure(1, "×", str(python))})
    figures = bench.run_bench("tf", "pt", only=["data", "model"]).figures
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
    assert all(value_of(figure) > 0 and figure.unit == "ms" for figure in figures.values())


def test_latency_is_measured_on_the_batch_that_it_names():
    seen = []

    def slow(rgb, audio, lengths):
        seen.append((rgb.shape, audio.shape, lengths.tolist()))
        time.sleep(0.2)

    figure = bench_deploy.bench_latency(lambda folder: {"slow": slow}, batches=(2,), seconds=(7,))["slow_2x7"]
    assert seen == [((2, 7, 1024), (2, 7, 128), [7, 7])] * 2  # the first one warms up
    assert value_of(figure) >= 200 and "batch 2 of 7 s, slow: " in figure.what


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
    assert 0 < value_of(figures["serve_median"]) <= value_of(figures["serve_99"])
    with pytest.raises(requests.HTTPError, match="400"):
        bench_deploy.measure_server(small_net(), [{"rgb": payloads[0]["rgb"]}])


def test_reading_a_video():
    figures = bench_video(2, (128, 72))
    assert [figure.unit for figure in figures.values()] == ["s", "s", "×"]
    here, whole, ratio = figures.values()
    assert value_of(here) > 0 and ratio.spread == pytest.approx([value_of(whole) / value_of(here)] * 2)
