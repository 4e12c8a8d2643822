"""Several processes: two that train together over Gloo end in the weights of one, and one that dies ends the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import changed, write_list, write_shards

from alstm_helpers.data.dataset import Shuffle, shuffled_batches
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.model.weights import load_arrays
from alstm_helpers.pickles import load_shard
from alstm_helpers.ranks import ALONE, Ranks, join_ranks
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain
from alstm_helpers.training.train import TrainOptions, train

# What a process of the job runs: the arguments are the configuration, the save_dir and the TrainOptions.
WORKER = """
import json, os, sys
from alstm_helpers.config import Config
from alstm_helpers.training.train import TrainOptions, train
if sys.argv[4:]:
    with open(os.path.join(sys.argv[4], os.environ["PADDLE_TRAINER_ID"]), "w") as file:
        file.write(str(os.getpid()))
folder = sys.argv[2] + os.environ["PADDLE_TRAINER_ID"].replace("0", "")  # each its own, to see who writes
options = TrainOptions(visualdl=False, **json.loads(sys.argv[3]))
train(Config(**json.loads(sys.argv[1])), folder, options, report=print)
"""


def launch(tmp_path, config, folder, *pids, **how):
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2"]
    arguments = [f"--log_dir={tmp_path / 'logs'}", str(script), config.model_dump_json(), str(folder), json.dumps(how)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command, silent = [*launcher, *arguments, *map(str, pids)], subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=silent, stderr=silent)


def logs(tmp_path):
    return "\n".join(path.read_text(errors="replace") for path in sorted((tmp_path / "logs").glob("workerlog.*")))


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory):
    """Two epochs of four steps on unequal shards; the last batch of an epoch holds one video, fewer than ranks."""
    folder = tmp_path_factory.mktemp("unequal")
    videos = [
        video
        for line in Path(tiny_config.TRAIN.filelist).read_text("utf-8").split("\n")
        if line
        for video in load_shard(line)
    ][:49]
    shards = write_shards(folder, [videos[:30], videos[30:33], videos[33:]])
    return changed(
        tiny_config,
        MODEL__drop_rate=0.0,
        TRAIN__batch_size=16,
        TRAIN__epoch=2,
        TRAIN__weight_decay=0.0001,
        TRAIN__clip_norm=25.0,
        TRAIN__filelist=str(write_list(folder / "train.list", shards)),
        VALID__batch_size=7,
    )


def close(one, other):
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, atol=1e-5, rtol=0, err_msg=name)


@pytest.mark.posix
def test_two_processes_end_in_the_weights_of_one(config, tmp_path):
    """The same total batch, loss, clipping, validation over every video once; and rank 0 alone writes."""
    alone = train(config, tmp_path / "one", TrainOptions(seed=5, log_interval=2, visualdl=False))
    job = launch(tmp_path, config, tmp_path / "two", seed=5, log_interval=2)
    assert job.wait(timeout=120) == 0, logs(tmp_path)
    for name in ("latest", "best"):
        one, two = (load_arrays(tmp_path / folder / f"AttentionLSTM_{name}.pdparams") for folder in ("one", "two"))
        close(one, two)
    progress = load_plain(tmp_path / "two" / "AttentionLSTM_latest.pdstate", "")["progress"]
    valid, alone_valid = ([row for row in rows if row["kind"] == "valid"] for rows in (progress["rows"], alone.rows))
    assert [row["num_videos"] for row in valid] == [20, 20]
    for row, expected in zip(valid, alone_valid, strict=True):
        for key in ("hit_at_1", "perr", "gap", "map", "loss"):
            assert row[key] == pytest.approx(expected[key], abs=1e-4), key
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )
    assert not (tmp_path / "two1").exists()
    rank_0, rank_1 = (path.read_text(errors="replace") for path in sorted((tmp_path / "logs").glob("workerlog.*")))
    assert rank_0.count("[VALID]") == 2 and "[VALID]" not in rank_1 and "[TRAIN]" not in rank_1


@pytest.mark.posix
def test_a_job_of_two_can_be_gone_on_with_by_one(config, tmp_path):
    """The checkpoint does not know how many processes made it."""
    first = changed(config, TRAIN__epoch=1, TRAIN__schedule="step")
    both = changed(config, TRAIN__schedule="step")
    job = launch(tmp_path, first, tmp_path / "two", seed=5, log_interval=0)
    assert job.wait(timeout=120) == 0, logs(tmp_path)
    train(both, tmp_path / "two", TrainOptions(resume=tmp_path / "two", log_interval=0, visualdl=False))
    train(both, tmp_path / "one", TrainOptions(seed=5, log_interval=0, visualdl=False))
    close(*(load_arrays(tmp_path / folder / "AttentionLSTM_latest.pdparams") for folder in ("one", "two")))


@pytest.mark.posix
def test_two_can_go_on_with_a_batch_of_one_video(config, tmp_path):
    """Then the share of rank 1 is empty in its very first step."""
    section = config.TRAIN
    order = Shuffle(seed=5, epoch=1, shuffle_shards=section.shuffle_shards)
    batches = shuffled_batches(read_filelist(section.filelist), section.batch_size, config.MODEL.num_classes, order)
    small = [len(batch.ids) for batch in batches].index(1)

    def stop(items, *, total=None, desc="", size=None, total_size=None):
        for number, item in enumerate(items):
            if desc == "epoch 2/2" and number == small:
                raise KeyboardInterrupt
            yield item

    options = TrainOptions(log_interval=0, save_interval=1, seed=5, visualdl=False)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", options, progress=stop)
    job = launch(tmp_path, config, tmp_path / "two", resume=str(tmp_path / "cut"), log_interval=0, save_interval=1)
    assert job.wait(timeout=120) == 0, logs(tmp_path)
    train(config, tmp_path / "one", options)
    close(*(load_arrays(tmp_path / folder / "AttentionLSTM_latest.pdparams") for folder in ("one", "two")))


@pytest.mark.posix
def test_a_rank_that_dies_ends_the_job(config, tmp_path):
    """With an error, and soon: the other one must not wait for it for ever."""
    long = changed(config, TRAIN__epoch=10_000)
    pids = tmp_path / "pids"
    pids.mkdir()
    job = launch(tmp_path, long, tmp_path / "out", pids, seed=5, valid_interval=0, log_interval=0)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "AttentionLSTM_latest.pdstate").exists():
        assert time.monotonic() < deadline and job.poll() is None, logs(tmp_path)
        time.sleep(0.1)
    os.kill(int((pids / "1").read_text()), signal.SIGKILL)
    assert job.wait(timeout=60) != 0


def test_alone_an_exchange_changes_nothing(monkeypatch):
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    assert join_ranks() is ALONE
    rows = np.arange(6).reshape(3, 2)
    assert ALONE.gather(rows) is rows
    ALONE.sum_gradients([])


def test_ranks_with_unequal_shares_gather_what_they_have(monkeypatch):
    """Rank 0 has three rows, rank 1 one, padded to three for the exchange."""
    mine, other = np.arange(6).reshape(3, 2), np.array([[7, 8], [0, 0], [0, 0]])

    def all_gather(found, tensor):
        found += [tensor, paddle.to_tensor(np.array([1]) if tensor.ndim == 1 else other)]

    monkeypatch.setattr(paddle.distributed, "all_gather", all_gather)
    assert Ranks(0, 2).gather(mine).tolist() == [[0, 1], [2, 3], [4, 5], [7, 8]]


def test_rows_that_no_rank_has_are_not_exchanged(monkeypatch):
    """Gloo divides by the number of values, and ends both processes."""

    def all_gather(found, tensor):
        assert tensor.size
        found += [tensor, tensor]

    monkeypatch.setattr(paddle.distributed, "all_gather", all_gather)
    assert Ranks(0, 2).gather(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_gradients_are_added_up_in_place(monkeypatch):
    """By a stand-in for a second rank with the same gradients; a frozen parameter has none, on either."""
    net = paddle.nn.Linear(2, 1)
    net.bias.stop_gradient = True
    net(paddle.ones([3, 2])).sum().backward()

    def all_reduce(gradient):
        gradient.set_value(gradient + gradient)

    monkeypatch.setattr(paddle.distributed, "all_reduce", all_reduce)
    Ranks(0, 1).sum_gradients(net.parameters())
    assert net.weight.grad.numpy().tolist() == [[3], [3]]
    Ranks(0, 2).sum_gradients(net.parameters())
    assert net.weight.grad.numpy().tolist() == [[6], [6]] and net.bias.grad is None


@pytest.mark.parametrize(("launched", "joins"), [("1", False), ("2", True)])
def test_processes_join_only_if_the_launcher_started_several(monkeypatch, launched, joins):
    called = []
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", launched)
    monkeypatch.setattr(paddle.distributed, "init_parallel_env", lambda: called.append("joined"))
    monkeypatch.setattr(paddle.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 2)
    assert join_ranks() == (Ranks(1, 2) if joins else ALONE)
    assert called == ["joined"] * joins
