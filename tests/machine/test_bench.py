"""The bench: its baselines compute what they stand for, and what it runs elsewhere fails in one line."""

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

from alstm_helpers.errors import AlstmError
from alstm_helpers.machine import bench, bench_deploy
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.weights import state_of
from alstm_helpers.runtime import paddle

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_the_padded_baseline_is_the_same_network(monkeypatch):
    """PaddleVideo's step, its layers given this network's weights: the same logits, though padded to 512 frames."""
    spec = importlib.util.spec_from_file_location("paddlevideo_step", TOOLS / "paddlevideo_step.py")
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
    """A Python that answers whatever script it is given; a shell between, for paths with a space."""
    answer, path = folder / "answer.py", folder / "python"
    answer.write_text(f"import json, os, sys\n{body}\n", encoding="utf-8")
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{answer}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_rates_beside_pytorch_s(tmp_path, monkeypatch):
    """Its better time of two counts, and it is given the very lengths of our batches."""
    monkeypatch.setattr(bench, "VIDEOS", 20)
    monkeypatch.setattr(bench, "BATCH", 8)
    body = f"""
calls = {str(tmp_path / "calls")!r}
number = os.path.getsize(calls) if os.path.exists(calls) else 0
open(calls, "a").write("x")
assert [len(batch) for batch in json.loads(sys.argv[2])] == [8, 8, 4]
print("noise")
print(json.dumps({{"packed": [4.0, 2.0][number], "padded": [1.0, 5.0][number]}}))
"""
    rows = bench._bench_model(fake_python(tmp_path, body))
    assert rows["pytorch"][0] == 10 and rows["pytorch_padded"][0] == 20
    for name, base in (("train_per_pytorch", 10), ("train_per_padded", 20)):
        assert rows[name][0] == pytest.approx(rows["train"][0] / base)
    assert rows["grouped_per_padded"][0] == pytest.approx(rows["train_grouped"][0] / 20)
    assert set(bench._bench_model(None)) == {"train", "train_grouped", "infer"}


def test_a_python_without_the_package_is_named(tmp_path):
    with pytest.raises(AlstmError, match=r"--pytorch .*python: pytorch_step\.py did not run \(.*no torch.*\); name a"):
        bench._run_tool(fake_python(tmp_path, "sys.exit('no torch')"), "--pytorch", "pytorch_step.py", "[]")
    with pytest.raises(AlstmError, match=r"--pytorch none: .*did not run"):
        bench._run_tool("none", "--pytorch", "pytorch_step.py", "[]")


def test_full_size_beside_the_padded_step(tmp_path, monkeypatch):
    """Both settings of threads reach the other process; the ratio is of the same batch."""
    monkeypatch.setattr(bench, "FULL_SIZE_BATCHES", (1, 2))
    monkeypatch.setattr(bench, "AttentionLSTM", lambda: AttentionLSTM(3862, (1024, 128), 4, 4, 0.5, (4, 4)))
    monkeypatch.setattr(bench, "recommended_environment", lambda: {"OMP_NUM_THREADS": "2", "MKL_DEBUG_CPU_TYPE": "5"})
    body = "print(json.dumps([1.0, 10.0] if 'OMP_NUM_THREADS' not in os.environ else [0.5, 5.0]))"
    monkeypatch.setattr(bench.sys, "executable", fake_python(tmp_path, body))
    rows = bench._bench_full_size()
    assert (rows["padded_1_shipped"][0], rows["padded_2_shipped"][0]) == (1, 0.2)
    assert (rows["padded_1_tuned"][0], rows["padded_2_tuned"][0]) == (2, 0.4)
    assert rows["full_2_per_tuned"][0] == pytest.approx(rows["full_2"][0] / 0.4)


def test_full_size_batches_are_of_like_and_average_length():
    batch = bench.full_size_batch(16)
    assert batch.lengths.max() - batch.lengths.min() < 30
    assert 190 < batch.lengths.mean() < 236 and len(batch.ids) == 16


def test_parts_are_parts():
    rows = bench._bench_parts()
    whole = rows["part_step"][0]
    assert all(0 < rows[name][0] < whole for name in ("part_embed", "part_lstm", "part_attend"))


def test_every_part_but_the_long_one_is_run_once(monkeypatch):
    for name in bench.PARTS:
        monkeypatch.setitem(bench.PARTS, name, lambda *given, name=name: {name: (1.234, "×", str(given))})
    seen = []
    rows = bench.run_bench("tf", "pt", progress=lambda parts, total, desc: seen.append((total, desc)) or parts)
    assert seen == [(6, "measuring")]
    assert list(rows) == ["matmul", "data", "metrics", "model", "parts", "full_size", "server"]
    assert rows["data"] == {"value": 1.23, "unit": "×", "what": "('tf',)"}
    assert rows["model"]["what"] == "('pt',)" and rows["server"]["what"] == "()"
    json.dumps(rows)
    assert list(bench.run_bench(only=["latency", "metrics"])) == ["matmul", "latency", "metrics"]


def small_net():
    paddle.seed(0)
    net = AttentionLSTM(20, embedding_size=8, lstm_size=8, fc_sizes=(8, 8))
    net.eval()
    return net


def test_latency_of_each_engine(monkeypatch):
    monkeypatch.setattr(bench_deploy, "AttentionLSTM", small_net)
    rows = bench_deploy.bench_latency(batches=(1, 3), seconds=(2, 5))
    names = {f"{engine}_{size}x{seconds}" for engine in ENGINES for size in (1, 3) for seconds in (2, 5)}
    assert set(rows) == names and all(row[0] > 0 and row[1] == "ms" for row in rows.values())


def test_latency_is_measured_on_the_batch_that_it_names():
    seen = []

    def engines(folder):
        return {
            "slow": lambda rgb, audio, lengths: (
                seen.append((rgb.shape, audio.shape, lengths.tolist())) or time.sleep(0.6)
            )
        }

    rows = bench_deploy.bench_latency(engines, batches=(2,), seconds=(7,))
    assert seen == [((2, 7, 1024), (2, 7, 128), [7, 7])] * 2
    assert rows["slow_2x7"][0] >= 600 and "batch 2 of 7 s, slow: " in rows["slow_2x7"][2]


ENGINES = ("trainer", "paddle", "onnx", "onnx_int8")


def test_the_engines_compute_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_deploy, "AttentionLSTM", small_net)
    engines = bench_deploy.full_size_engines(tmp_path)
    batch = unequal_videos([3, 9])
    logits = engines["trainer"](*batch)
    for name in ENGINES[1:]:
        tolerance = 0.02 if name == "onnx_int8" else 1e-5
        np.testing.assert_allclose(engines[name](*batch).scores, 1 / (1 + np.exp(-logits)), atol=tolerance)


def test_the_server_under_load(monkeypatch):
    monkeypatch.setattr(bench_deploy, "REQUESTS", 12)
    payloads = [{"rgb": rgb[0], "audio": audio[0]} for rgb, audio, _ in map(unequal_videos, ([3], [7]))]
    rows = bench_deploy.bench_server(small_net(), payloads)
    assert set(rows) == {"serve", "serve_median", "serve_99"}
    assert 0 < rows["serve_median"][0] <= rows["serve_99"][0]
    with pytest.raises(requests.HTTPError, match="400"):
        bench_deploy.bench_server(small_net(), [{"rgb": payloads[0]["rgb"]}])
