"""The bench: its baselines compute what they stand for, and what it runs elsewhere fails in one line."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from alstm_helpers import bench
from alstm_helpers.errors import AlstmError
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import paddle
from alstm_helpers.weights import state_of

TOOLS = Path(__file__).resolve().parents[1] / "tools"


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


def test_every_part_is_run_once(monkeypatch):
    for name in ("data", "metrics", "model", "parts", "full_size"):
        monkeypatch.setattr(bench, f"_bench_{name}", lambda *given, name=name: {name: (1.234, "×", str(len(given)))})
    seen = []
    rows = bench.run_bench(progress=lambda parts, total, desc: seen.append((total, desc)) or parts)
    assert seen == [(5, "measuring")]
    assert list(rows) == ["matmul", "data", "metrics", "model", "parts", "full_size"]
    assert rows["data"] == {"value": 1.23, "unit": "×", "what": "2"}
    json.dumps(rows)
