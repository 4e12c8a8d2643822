"""Training: schedule and optimiser by hand, repeatable to the bit, and a resume that continues exactly."""

from __future__ import annotations

import builtins
import io
import itertools
import json
import math
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import (
    Interrupt,
    a_video,
    best,
    changed,
    default_of,
    ids_of,
    latest,
    pretend_gaps,
    same,
    write_list,
    write_shards,
)

from alstm_helpers.commands import training as commands
from alstm_helpers.config import TrainSection, load_config
from alstm_helpers.data.counts import record_counts
from alstm_helpers.data.dataset import shuffled_batches
from alstm_helpers.data.filelists import fingerprint, read_filelist
from alstm_helpers.errors import AlstmError, ConfigError, FolderInUse, NotFinite
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.weights import load_arrays, save_weights, state_of
from alstm_helpers.ranks import Ranks
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.tfrecord import write_videos
from alstm_helpers.training import log
from alstm_helpers.training import train as training
from alstm_helpers.training.checkpoint import load_checkpoint
from alstm_helpers.training.precision import Precision
from alstm_helpers.training.train import TrainOptions, learning_rate_at, make_optimizer, train


def read_rows(folder):
    text = Path(folder, "train.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


MEASURED = {"videos_per_second", "batch_cost", "reader_cost", "seconds_left"}


def timeless(rows):
    """Return the rows of the log without the times."""
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


# --- schedule (by hand) -----------------------------------------------------------------------------------------


def section(**settings):
    return TrainSection(learning_rate=0.001, **settings)


@pytest.mark.parametrize(
    "step, expected",
    [(0, 1e-3), (499, 1e-3), (500, 1e-4), (799, 1e-4), (800, 1e-5), (5000, 1e-5)],
)
def test_learning_rate_in_steps(step, expected):
    """100 steps per epoch; a tenth from epoch 5 on, and again from epoch 8 on."""
    found = learning_rate_at(step, 100, section(epoch=10, decay_epochs=(5, 8), decay_gamma=0.1))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "step, expected",
    [
        (0, 1e-3),
        (250, 1e-3 * (0.02 + 0.98 * (1 + math.sqrt(0.5)) / 2)),
        (500, 1e-3 * 0.51),
        (1000, 1e-3 * 0.02),
        (1200, 1e-3 * 0.02),  # never beyond the end
    ],
)
def test_learning_rate_as_a_cosine(step, expected):
    assert learning_rate_at(step, 100, section(epoch=10, schedule="cosine")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize("step, share", [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0)])
def test_learning_rate_warms_up_in_a_line(schedule, step, share):
    found = learning_rate_at(step, 100, section(epoch=10, schedule=schedule, warmup_iters=10))
    assert found == pytest.approx(1e-3 * share, rel=1e-9)


def test_cosine_after_the_warm_up_covers_what_is_left():
    settings = section(epoch=2, schedule="cosine", warmup_iters=100)
    assert learning_rate_at(150, 100, settings) == pytest.approx(1e-3 * 0.51, rel=1e-9)
    assert learning_rate_at(200, 100, settings) == pytest.approx(1e-3 * 0.02, rel=1e-9)


@pytest.mark.parametrize("step, share", [(99, 1.0), (100, 1.0), (101, 0.02)])
def test_cosine_where_the_warm_up_is_the_whole_training(step, share):
    """There may be a step after those that TRAIN.num_samples lets expect."""
    settings = section(epoch=1, schedule="cosine", warmup_iters=100)
    assert learning_rate_at(step, 100, settings) == pytest.approx(1e-3 * share, rel=1e-9)


# --- optimiser (by hand) ----------------------------------------------------------------------------------------

NO_DECAY = ("fc_out1.bias", "fc_out2.bias", "fc_logit.bias")


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("clip_norm", [None, 3.0, 1e6])
def test_rmsprop_by_hand(weight_decay, clip_norm):
    """Centered, rho 0.95, epsilon 1e-6 inside the root; L2 is added to the gradient after clipping."""
    paddle.seed(0)
    net = AttentionLSTM(4, (5, 3), embedding_size=2, lstm_size=3, fc_sizes=(4, 3))
    settings = TrainSection(learning_rate=0.01, weight_decay=weight_decay, clip_norm=clip_norm)
    optimizer = make_optimizer(net, settings)
    values = {name: array.astype(np.float64) for name, array in state_of(net).items()}
    start = state_of(net)
    squares = {name: np.zeros_like(value) for name, value in values.items()}
    means = {name: np.zeros_like(value) for name, value in values.items()}
    rng = np.random.default_rng(0)
    for learning_rate in (0.01, 0.01, 0.003):
        gradients = {name: rng.normal(0, 1, value.shape) for name, value in values.items()}
        loss = sum(
            (parameter * paddle.to_tensor(gradients[name].astype(np.float32))).sum()
            for name, parameter in net.named_parameters()
        )
        loss.backward()
        optimizer.set_lr(learning_rate)
        optimizer.step()
        optimizer.clear_grad()
        norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        scale = min(1.0, clip_norm / norm) if clip_norm else 1.0
        assert (scale < 1) == (clip_norm == 3.0)
        for name, value in values.items():
            gradient = gradients[name] * scale + (0 if name in NO_DECAY else weight_decay) * value
            squares[name] = 0.95 * squares[name] + 0.05 * gradient**2
            means[name] = 0.95 * means[name] + 0.05 * gradient
            values[name] = value - learning_rate * gradient / np.sqrt(squares[name] - means[name] ** 2 + 1e-6)
    for name, array in state_of(net).items():
        assert not np.allclose(array, start[name], atol=1e-3), name
        np.testing.assert_allclose(array, values[name], atol=2e-5, rtol=0, err_msg=name)


# --- a whole training -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tiny_config):
    """Three epochs of four steps, with dropout, warm-up, a falling rate and L2: all that a resume must restore."""
    return changed(
        tiny_config,
        MODEL__drop_rate=0.5,
        TRAIN__epoch=3,
        TRAIN__learning_rate=0.005,
        TRAIN__weight_decay=0.0001,
        TRAIN__shuffle_shards=1,
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Return the folder and the result of a training that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(config, folder, TrainOptions(seed=5, log_interval=2, visualdl=False))


@pytest.mark.parametrize("name, value", [("log_interval", 10), ("valid_interval", 1), ("save_interval", 1000)])
def test_the_command_has_the_defaults_of_the_function(name, value):
    assert getattr(TrainOptions(), name) == default_of(commands.train, f"--{name}") == value


def test_files_of_a_training(whole, config):
    folder, done = whole
    names = {"best.pdparams", "latest.pdparams", "latest.pdstate"}
    expected = {f"AttentionLSTM_{name}" for name in names} | {"config.yaml", "run.json", "train.jsonl"}
    assert {path.name for path in folder.iterdir()} == expected
    assert same(latest(folder), state_of(done.net))
    assert read_rows(folder) == done.rows


def test_the_run_folder_repeats_the_run(whole, config, tmp_path, monkeypatch):
    """Its config.yaml is enough, in any folder; the caller's settings are unchanged."""
    assert config.TRAIN.seed == 0
    monkeypatch.chdir(tmp_path)
    again = load_config(whole[0] / "config.yaml")
    assert again == changed(config, TRAIN__seed=5)
    train(again, "again", TrainOptions(seed=again.TRAIN.seed, log_interval=2, visualdl=False))
    assert same(latest("again"), latest(whole[0])) and same(best("again"), best(whole[0]))


def test_the_run_folder_tells_how_it_ran(whole, config, tmp_path):
    about = json.loads((whole[0] / "run.json").read_text(encoding="utf-8"))
    assert about["command"] == sys.argv and about["processes"] == 1 and about["device"] == "cpu"
    assert about["versions"]["numpy"] == np.__version__ and about["versions"]["paddlepaddle"] == paddle.__version__
    assert about["shards"]["train"] == {"number": 2, "sha256": fingerprint(read_filelist(config.TRAIN.filelist))}
    assert about["shards"]["valid"]["number"] == 2


def test_a_fingerprint_depends_on_names_sizes_and_order_not_on_the_folder(tmp_path):
    shards = write_shards(tmp_path, [[a_video("a", 3)], [a_video("b", 4)]])
    (tmp_path / "moved").mkdir()
    moved = write_shards(tmp_path / "moved", [[a_video("a", 3)], [a_video("b", 4)]])
    assert fingerprint(shards) == fingerprint(moved) != fingerprint(shards[::-1])
    assert fingerprint(shards) != fingerprint(shards[:1])
    write_shards(tmp_path, [[a_video("a", 5)]])
    assert fingerprint(shards) != fingerprint(moved)


def test_the_log_can_be_followed(config, tmp_path):
    """A row is in train.jsonl when its line is printed; a resume removes the rows after its checkpoint."""
    seen: list[tuple[int, int]] = []

    def follow(line):
        seen.append((len(read_rows(tmp_path)), len(seen)))

    with pytest.raises(KeyboardInterrupt):
        train(
            config,
            tmp_path,
            TrainOptions(seed=5, log_interval=1, visualdl=False),
            report=follow,
            progress=Interrupt(2, 3),
        )
    assert seen == [(number + 1, number) for number in range(8)]  # 4 steps, 1 validation, 3 steps
    done = train(config, tmp_path, TrainOptions(resume=tmp_path, log_interval=1, visualdl=False))
    assert [row["step"] for row in read_rows(tmp_path) if row["kind"] == "train"] == list(range(1, 13))
    assert read_rows(tmp_path) == done.rows


def test_rows_of_a_training(whole, config):
    _, done = whole
    trained = [row for row in done.rows if row["kind"] == "train"]
    valid = [row for row in done.rows if row["kind"] == "valid"]
    assert [row["step"] for row in trained] == [2, 4, 6, 8, 10, 12]  # 60 videos in batches of 16
    assert [row["epoch"] for row in trained] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [row["epoch"] for row in valid] == [1, 2, 3] and [row["num_videos"] for row in valid] == [20] * 3
    for row in trained:
        assert row["learning_rate"] == pytest.approx(learning_rate_at(row["step"] - 1, 4, config.TRAIN))
        assert row["videos_per_second"] > 0
        assert 0 < row["reader_cost"] < row["batch_cost"]
        assert row["seconds_left"] == pytest.approx(row["batch_cost"] * (12 - row["step"]))
    assert valid[0]["loss"] == pytest.approx(20 * math.log(2), rel=0.5)  # summed over 20 classes, mean over the videos
    assert done.best_gap == max(row["gap"] for row in valid)
    assert done.curve("valid", "gap") == ([1, 2, 3], [row["gap"] for row in valid])
    assert done.train_seconds > 0.9 * sum(2 * row["batch_cost"] for row in trained)


def test_the_network_learns(whole):
    _, losses = whole[1].curve("train", "loss")
    assert losses[-1] < losses[0]


def test_overfits_one_batch(tiny_config, tmp_path):
    """Eight videos whose labels depend on their frames: the loss approaches 0."""
    videos = [a_video(f"v{index}", 4 + index, [index % 4, 4 + index // 4]) for index in range(8)]
    shards = write_list(tmp_path / "train.list", write_shards(tmp_path, [videos]))
    config = changed(
        tiny_config,
        MODEL__drop_rate=0.0,
        MODEL__num_classes=6,
        TRAIN__filelist=str(shards),
        TRAIN__batch_size=8,
        TRAIN__epoch=100,
        TRAIN__learning_rate=0.01,
        TRAIN__warmup_iters=0,
    )
    train(config, tmp_path / "out", TrainOptions(seed=0, log_interval=1, valid_interval=0, visualdl=False))
    first, *_, last = read_rows(tmp_path / "out")
    assert first["loss"] > 2
    assert last["loss"] < 0.1
    assert last["gap"] > 0.99 and last["hit_at_1"] == 1


def test_every_training_video_is_used_once_an_epoch(config, tmp_path):
    epochs: list[list[list[bytes]]] = []

    def watch(items, *, total=None, desc="", size=None, total_size=None):
        epochs.append([])
        for batch in items:
            epochs[-1].append(batch.ids)
            yield batch
        assert len(epochs[-1]) == total

    train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, visualdl=False), progress=watch)
    expected = sorted(ids_of(read_filelist(config.TRAIN.filelist)))
    assert len(epochs) == 3 and len(expected) == 60
    for batches in epochs:
        assert sorted(video for batch in batches for video in batch) == expected
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_same_seed_gives_the_same_bits(whole, config, tmp_path):
    done = train(config, tmp_path / "same", TrainOptions(seed=5, log_interval=2, visualdl=False))
    assert same(latest(tmp_path / "same"), latest(whole[0]))
    assert timeless(done.rows) == timeless(whole[1].rows)


def test_another_seed_gives_other_weights(whole, config, tmp_path):
    train(config, tmp_path, TrainOptions(seed=6, valid_interval=0, visualdl=False))
    found, other = latest(tmp_path), latest(whole[0])
    assert all(not np.array_equal(found[name], other[name]) for name in found)


def test_a_seed_that_was_drawn_is_stored(config, tmp_path):
    config = changed(config, TRAIN__epoch=1)
    train(config, tmp_path / "drawn", TrainOptions(valid_interval=0, visualdl=False))
    seed = load_config(tmp_path / "drawn" / "config.yaml").TRAIN.seed
    train(config, tmp_path / "again", TrainOptions(seed=seed, valid_interval=0, visualdl=False))
    assert same(latest(tmp_path / "drawn"), latest(tmp_path / "again"))
    train(config, tmp_path / "other", TrainOptions(valid_interval=0, visualdl=False))
    assert not same(latest(tmp_path / "drawn"), latest(tmp_path / "other"))


# --- resume -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "epoch, kind",
    [(2, "save_dir"), (3, "prefix"), (3, "pdstate"), (2, "pdparams")],
)
def test_resume_is_exact(whole, config, tmp_path, epoch, kind):
    """Stopped in the middle of an epoch, a resumed run ends with the same bits as an uninterrupted one."""
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, log_interval=2, visualdl=False), progress=Interrupt(epoch))
    assert load_plain(tmp_path / "AttentionLSTM_latest.pdstate", "")["progress"]["epoch"] == epoch - 1
    paddle.seed(987)  # nothing may depend on the state of this process
    np.random.seed(987)
    prefix = tmp_path / "AttentionLSTM_latest"
    resume = {
        "save_dir": tmp_path,
        "prefix": prefix,
        "pdstate": prefix.with_suffix(".pdstate"),
        "pdparams": prefix.with_suffix(".pdparams"),
    }[kind]
    lines: list[str] = []
    done = train(config, tmp_path, TrainOptions(resume=resume, log_interval=2, visualdl=False), report=lines.append)
    assert lines[0] == f"resumed after epoch {epoch - 1} of 3"
    folder, uninterrupted = whole
    assert same(latest(tmp_path), latest(folder))
    assert same(best(tmp_path), best(folder))
    assert done.best_gap == uninterrupted.best_gap
    assert timeless(done.rows) == timeless(uninterrupted.rows)
    assert timeless(read_rows(tmp_path)) == timeless(read_rows(folder))
    found, expected = (load_plain(path / "AttentionLSTM_latest.pdstate", "") for path in (tmp_path, folder))
    assert same(found["optimizer"], expected["optimizer"])


@pytest.mark.parametrize("batch", [0, 1, 2, 3])
def test_resume_inside_an_epoch_is_exact(whole, config, tmp_path, batch):
    """From the last checkpoint before the interruption, at any step."""
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, save_interval=1, visualdl=False), progress=Interrupt(2, batch))
    found = load_plain(tmp_path / "AttentionLSTM_latest.pdstate", "")["progress"]
    assert (found["epoch"], found["batch"], found["step"]) == (1, batch, 4 + batch)
    lines: list[str] = []
    paddle.seed(987)
    train(config, tmp_path, TrainOptions(resume=tmp_path, visualdl=False), report=lines.append)
    assert lines[0] == "resumed after epoch 1 of 3" + (f" and {batch} of 4 steps" if batch else "")
    assert same(latest(tmp_path), latest(whole[0])) and same(best(tmp_path), best(whole[0]))
    optimizers = [load_plain(path / "AttentionLSTM_latest.pdstate", "")["optimizer"] for path in (tmp_path, whole[0])]
    assert same(*optimizers)


@pytest.mark.parametrize("key, value", [("batch_size", 8), ("shuffle_shards", 2)])
def test_inside_an_epoch_the_batches_must_be_the_same(config, tmp_path, key, value):
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, save_interval=1, visualdl=False), progress=Interrupt(2, 2))
    with pytest.raises(ConfigError, match=rf"TRAIN\.{key}: the checkpoint is inside an epoch .* not {value}"):
        train(changed(config, **{f"TRAIN__{key}": value}), tmp_path, TrainOptions(resume=tmp_path, visualdl=False))


@pytest.mark.parametrize("other, steps", [({"TRAIN__batch_size": 32}, 2), ({"TRAIN__batch_size": 8}, 8), ("half", 2)])
def test_between_epochs_other_batches_leave_the_schedule_where_it_was(config, tmp_path, other, steps):
    """It counts epochs: here the rate falls before the third. Here one has 4 steps, then more or fewer."""
    config = changed(config, TRAIN__schedule="step", TRAIN__decay_epochs=(2,), TRAIN__warmup_iters=0, TRAIN__epoch=1)
    quiet = TrainOptions(seed=5, log_interval=1, valid_interval=0, visualdl=False)
    train(config, tmp_path, quiet)
    if other == "half":
        half = write_list(tmp_path / "half.list", read_filelist(config.TRAIN.filelist)[:1])
        other = {"TRAIN__filelist": str(half)}
    own = changed(config, TRAIN__epoch=2, **other)
    train(own, tmp_path, replace(quiet, seed=None, resume=tmp_path))  # and once more, now with the same batches
    done = train(changed(own, TRAIN__epoch=3), tmp_path, replace(quiet, seed=None, resume=tmp_path))
    assert [row["step"] for row in done.rows] == list(range(1, 5 + 2 * steps))
    assert [row["learning_rate"] for row in done.rows] == pytest.approx([0.005] * (4 + steps) + [0.0005] * steps)
    assert [row["epoch"] for row in done.rows][3:] == pytest.approx([1 + part / steps for part in range(2 * steps + 1)])
    assert done.rows[-1]["seconds_left"] == 0


@pytest.mark.parametrize("inside", [True, False])
def test_inside_an_epoch_the_shards_must_be_the_same(config, tmp_path, inside):
    """Between epochs, other shards are allowed."""
    with pytest.raises(KeyboardInterrupt):
        interval = 1 if inside else 0
        train(config, tmp_path, TrainOptions(seed=5, save_interval=interval, visualdl=False), progress=Interrupt(2, 2))
    turned = write_list(tmp_path / "turned.list", read_filelist(config.TRAIN.filelist)[::-1])
    other = changed(config, TRAIN__filelist=str(turned))
    if not inside:
        train(other, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))
        return
    with pytest.raises(ConfigError, match=r"TRAIN\.filelist: the checkpoint is inside an epoch, and .*turned\.list"):
        train(other, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))


TRAIN = """
import json, sys
from alstm_helpers.config import Config
from alstm_helpers.training.train import TrainOptions, train
folder, resume = sys.argv[2], sys.argv[3] == "resume"
def steps(items, *, total, desc):
    for item in items:
        print("step", flush=True)
        yield item
start = {"resume": folder} if resume else {"seed": 5}
options = TrainOptions(save_interval=1, visualdl=False, **start)
train(Config(**json.loads(sys.argv[1])), folder, options, progress=steps)
print("done", flush=True)
"""


@pytest.mark.posix
def test_killed_ten_times_at_any_step_the_weights_are_the_same_bits(config, tmp_path):
    """SIGKILL between steps, within one, or while a checkpoint is written; each run resumes the one before."""
    config = changed(config, TRAIN__epoch=8)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    # In its own process, too: an earlier test may have changed the number of threads in this one.
    subprocess.run([sys.executable, "-c", TRAIN, config.model_dump_json(), str(whole), "start"], check=True)
    rng = random.Random(0)
    kills = 0
    for _ in range(40):
        how = "resume" if (folder / "AttentionLSTM_latest.pdstate").exists() else "start"
        command = [sys.executable, "-c", TRAIN, config.model_dump_json(), str(folder), how]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with run:
            assert run.stdout
            seen = [run.stdout.readline() for _ in range(rng.randint(1, 2))]
            if kills < 10 and seen[-1] == "step\n":
                time.sleep(rng.uniform(0, 0.03))
                run.kill()
            elif "done" in run.stdout.read():
                break
        kills += run.returncode == -signal.SIGKILL
    assert kills == 10
    assert same(latest(folder), latest(whole)) and same(best(folder), best(whole))
    ends = [load_plain(path / "AttentionLSTM_latest.pdstate", "") for path in (folder, whole)]
    assert same(ends[0]["optimizer"], ends[1]["optimizer"])
    assert ends[0]["progress"]["best_gap"] == ends[1]["progress"]["best_gap"]


def test_the_optimizer_s_state_matters(whole, config, tmp_path):
    """Otherwise the tests above would not notice a resume that forgets it."""
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, visualdl=False), progress=Interrupt(3))
    state = tmp_path / "AttentionLSTM_latest.pdstate"
    checkpoint = load_plain(state, "")
    assert len(checkpoint["optimizer"]) >= 2 * len(checkpoint["weights"])  # squares and means of each parameter
    checkpoint["optimizer"] = {name: np.ones_like(array) for name, array in checkpoint["optimizer"].items()}
    save_plain(state, checkpoint)
    train(config, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))
    assert not same(latest(tmp_path), latest(whole[0]))


def without_means(checkpoint):
    checkpoint["optimizer"] = {k: v for k, v in checkpoint["optimizer"].items() if not k.startswith("fc_out1.bias|")}


def with_another_shape(checkpoint):
    checkpoint["optimizer"]["fc_out1.bias|mean_square_0"] = np.ones(3, np.float32)


def with_nan(checkpoint):
    checkpoint["weights"]["fc_out1.bias"] = np.full_like(checkpoint["weights"]["fc_out1.bias"], np.nan)


def with_an_odd_position(checkpoint):
    checkpoint["progress"]["epoch"] = "x"


def without_a_position(checkpoint):
    del checkpoint["progress"]["seed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(optimizer={}), "the state of its optimiser is missing"),
        (without_means, r"fc_out1\.bias: the state of its optimiser is missing"),
        (with_another_shape, "this model has no such parameter"),
        (with_nan, r"fc_out1\.bias: it is not an array of finite numbers"),
        (lambda found: found["weights"].update(x=np.ones(3, np.int64)), "x: it is not an array of finite numbers"),
        (lambda found: found["optimizer"].update(x=3.0), "x: it is not an array of finite numbers"),
        (lambda found: found["progress"].update(rows=[{"gap": []}]), r"rows\.0: not as this version"),
        (with_an_odd_position, r"epoch: not as this version of the package writes it \(Input should be a valid int"),
        (without_a_position, "seed: not as this version"),
        (lambda found: found.update(more={}), "not a checkpoint of this version"),
        (lambda found: found.update(weights=[]), "not a checkpoint of this version"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused_before_training(whole, config, tmp_path, change, message):
    checkpoint = load_plain(whole[0] / "AttentionLSTM_latest.pdstate", "")
    change(checkpoint)
    save_plain(tmp_path / "AttentionLSTM_latest.pdstate", checkpoint)
    with pytest.raises(AlstmError, match=f"AttentionLSTM_latest.*{message}.*; "):
        train(config, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))


def test_a_checkpoint_whose_hash_never_ends_is_refused(tmp_path):
    """A tuple that holds one tuple twice, sixty levels deep."""
    levels = b"".join(bytes([ord("h"), level, ord("h"), level]) + b"\x86\x94" for level in range(60))
    (tmp_path / "a.pdstate").write_bytes(b"\x80\x04)\x94" + levels + b".")
    with pytest.raises(AlstmError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "a.pdstate")


def test_a_resume_writes_the_latest_weights_that_a_kill_kept_back(whole, config, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    expected = latest(tmp_path / "run")
    save_plain(
        tmp_path / "run" / "AttentionLSTM_latest.pdparams", {name: 0 * array for name, array in expected.items()}
    )
    train(config, tmp_path / "run", TrainOptions(resume=tmp_path / "run", visualdl=False))
    assert same(latest(tmp_path / "run"), expected)


def test_a_damaged_validation_shard_does_not_cost_the_epoch(whole, config, tmp_path):
    """The list is repaired, and a resume validates the epoch, with the numbers of an uninterrupted run."""
    valid, bad = tmp_path / "val.list", tmp_path / "bad.pkl"
    settings = changed(config, VALID__filelist=str(valid))
    bad.write_bytes(b"no pickle")
    valid.write_text(f"{bad}\n", encoding="utf-8")
    for resume in (None, tmp_path / "run"):
        options = TrainOptions(seed=5, log_interval=2, visualdl=False, resume=resume)
        with pytest.raises(AlstmError, match=r"bad\.pkl"):
            train(settings, tmp_path / "run", options)
    valid.write_bytes(Path(config.VALID.filelist).read_bytes())
    done = train(settings, tmp_path / "run", options)
    assert timeless(done.rows) == timeless(whole[1].rows)
    assert same(latest(tmp_path / "run"), latest(whole[0]))


def test_a_training_that_ends_before_its_first_result_leaves_an_earlier_one_whole(whole, config, tmp_path):
    from visualdl import LogReader

    run = shutil.copytree(whole[0], tmp_path / "run")
    (run / "finished.json").write_text("{}", encoding="utf-8")
    (run / "visualdl").mkdir()
    (run / "visualdl" / "vdlrecords.0000000001.log").write_bytes(b"an earlier run's")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def stop(items, **settings):
        raise KeyboardInterrupt

    other, options = changed(config, TRAIN__epoch=1), TrainOptions(seed=6, log_interval=1, valid_interval=2)
    for interrupt in (stop, Interrupt(1)):  # before the first step, and after rows of the log
        with pytest.raises(KeyboardInterrupt):
            train(other, run, options, progress=interrupt)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    lines: list[str] = []
    done = train(other, run, options, report=lines.append)
    assert lines[0] == f"{run} has an earlier training, which this one replaces at its first result"
    assert not (run / "finished.json").exists() and load_config(run / "config.yaml").TRAIN.seed == 6
    (log,) = (run / "visualdl").iterdir()
    assert read_rows(run) == done.rows and [row["step"] for row in done.rows] == [1, 2, 3, 4, 4]
    drawn = LogReader(file_path=str(log)).get_data("scalar", "train/loss")
    assert [point.id for point in drawn] == [1, 2, 3, 4]


def test_a_first_batch_that_fails_leaves_the_log_of_an_earlier_run(whole, config, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    before = (run / "train.jsonl").read_bytes()
    with pytest.raises(AlstmError, match="out of range"):
        train(changed(config, MODEL__num_classes=2), run, TrainOptions(seed=6, visualdl=False))
    assert (run / "train.jsonl").read_bytes() == before


def test_two_trainings_cannot_share_a_folder(config, tmp_path):
    def second(items, **settings):
        with pytest.raises(FolderInUse, match="another run is writing here"):
            train(config, tmp_path, TrainOptions(seed=6, visualdl=False))
        return items

    train(changed(config, TRAIN__epoch=1), tmp_path, TrainOptions(seed=5, visualdl=False), progress=second)
    assert load_config(tmp_path / "config.yaml").TRAIN.seed == 5


def test_a_folder_that_is_removed_during_the_training_is_named(config, tmp_path):
    def remove(items, **settings):
        shutil.rmtree(tmp_path / "run")
        return items

    with pytest.raises(AlstmError, match=r"run: the folder was removed while this was writing to it"):
        train(changed(config, TRAIN__epoch=1), tmp_path / "run", TrainOptions(seed=5), progress=remove)


@pytest.mark.parametrize("accumulate", [2, 3, 16, 99])
def test_gradients_of_parts_add_up_to_those_of_the_batch(config, tmp_path, monkeypatch, accumulate):
    """The same weights as from whole batches, up to rounding; without dropout, which draws for each part."""
    settings = {"MODEL__drop_rate": 0.0, "TRAIN__epoch": 1, "TRAIN__clip_norm": 25.0}
    ends, sizes, original = [], [], AttentionLSTM.forward

    def forward(self, rgb, *args, **settings):
        sizes.append(len(rgb))
        return original(self, rgb, *args, **settings)

    monkeypatch.setattr(AttentionLSTM, "forward", forward)
    for parts in (1, accumulate):
        folder = tmp_path / str(parts)
        train(
            changed(config, **settings, TRAIN__accumulate=parts),
            folder,
            TrainOptions(seed=5, valid_interval=0, visualdl=False),
        )
        ends.append(latest(folder))
    assert max(sizes[:4]) == 16 and max(sizes[4:]) == math.ceil(16 / accumulate)
    for name, array in ends[0].items():
        np.testing.assert_allclose(ends[1][name], array, atol=1e-5, rtol=0, err_msg=name)
    rows = [read_rows(tmp_path / str(parts)) for parts in (1, accumulate)]
    assert [row["loss"] for row in rows[1]] == pytest.approx([row["loss"] for row in rows[0]], rel=1e-5)


def test_resume_with_more_epochs(config, tmp_path):
    train(changed(config, TRAIN__epoch=1), tmp_path, TrainOptions(seed=5, valid_interval=0, visualdl=False))
    train(
        changed(config, TRAIN__epoch=2),
        tmp_path,
        TrainOptions(resume=tmp_path, valid_interval=0, log_interval=4, visualdl=False),
    )
    assert [row["epoch"] for row in read_rows(tmp_path)] == [2]


def test_resume_of_a_finished_training_changes_nothing(whole, config, tmp_path):
    for path in whole[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    done = train(config, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))
    assert same(state_of(done.net), latest(whole[0]))
    assert (done.best_gap, done.train_seconds) == (whole[1].best_gap, whole[1].train_seconds)
    for path in whole[0].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_resume_from_the_current_folder(config, tmp_path, monkeypatch):
    config = changed(config, TRAIN__epoch=1)
    train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, visualdl=False))
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    train(config, tmp_path, TrainOptions(resume=".", valid_interval=0, visualdl=False), report=lines.append)
    assert lines == ["resumed after epoch 1 of 1"]


def test_the_best_checkpoint_is_the_best(config, tmp_path, monkeypatch):
    pretend_gaps(monkeypatch, [0.3, 0.5, 0.5])
    kept = []

    def watch(items, *, total=None, desc="", size=None, total_size=None):
        kept.append(latest(tmp_path) if (tmp_path / "AttentionLSTM_latest.pdparams").exists() else {})
        return items

    done = train(config, tmp_path, TrainOptions(seed=5, visualdl=False), progress=watch)
    assert done.best_gap == 0.5
    assert same(best(tmp_path), kept[2])  # the weights after epoch 2, at the start of epoch 3
    assert not same(best(tmp_path), latest(tmp_path))


def test_a_resume_remembers_the_best(config, tmp_path, monkeypatch):
    pretend_gaps(monkeypatch, [0.5, 0.4, 0.3])
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, visualdl=False), progress=Interrupt(2))
    first = best(tmp_path)
    done = train(config, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))
    assert done.best_gap == 0.5
    assert same(best(tmp_path), first)


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_a_resume_without_the_best_weights_is_refused(config, tmp_path, monkeypatch, content):
    """They may remain the best, even with a GAP of 0: the training would end by naming a file that is not there."""
    pretend_gaps(monkeypatch, [0.0, 0.0, 0.0])
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, visualdl=False), progress=Interrupt(2))
    weights = tmp_path / "AttentionLSTM_best.pdparams"
    weights.unlink() if content is None else weights.write_bytes(content)
    with pytest.raises(AlstmError, match=r"_best\.pdparams: .*; put it back, or train again without --resume"):
        train(config, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))


def test_a_resume_into_another_folder_has_its_best_there(config, tmp_path, monkeypatch):
    """Every save_dir holds <model>_best.pdparams, even if the best epoch came before the resume."""
    pretend_gaps(monkeypatch, [0.5, 0.4, 0.3])
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "old", TrainOptions(seed=5, visualdl=False), progress=Interrupt(2))
    train(config, tmp_path / "new", TrainOptions(resume=tmp_path / "old", visualdl=False))
    assert same(best(tmp_path / "new"), best(tmp_path / "old"))


def test_a_resume_into_another_folder_removes_the_results_there(whole, config, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    (run / "finished.json").write_text("{}", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        options = TrainOptions(seed=6, save_interval=1, visualdl=False)
        train(config, tmp_path / "old", options, progress=Interrupt(1))
    with pytest.raises(KeyboardInterrupt):
        train(config, run, TrainOptions(resume=tmp_path / "old", visualdl=False), progress=Interrupt(1, 0))
    assert not (run / "finished.json").exists() and not (run / "AttentionLSTM_best.pdparams").exists()


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"MODEL__lstm_size": 8}, "shape"),
        ({"MODEL__num_classes": 21}, r"fc_logit\.weight: shape"),
        ({"MODEL__pooling": "mean"}, "att_fc"),  # the checkpoint has arrays that this model does not
    ],
)
def test_a_checkpoint_of_another_model_is_refused(whole, config, tmp_path, settings, problem):
    with pytest.raises(AlstmError, match=problem):
        train(changed(config, **settings), tmp_path, TrainOptions(resume=whole[0], visualdl=False))


def test_what_is_no_checkpoint_is_refused(config, tmp_path):
    with pytest.raises(AlstmError, match=r"no AttentionLSTM_latest\.pdstate here; .*save_dir"):
        train(config, tmp_path / "out", TrainOptions(resume=tmp_path, visualdl=False))
    (tmp_path / "AttentionLSTM_latest.pdstate").write_bytes(pickle.dumps({"weights": {}}))
    with pytest.raises(AlstmError, match="not a checkpoint"):
        train(config, tmp_path / "out", TrainOptions(resume=tmp_path, visualdl=False))
    assert not (tmp_path / "out").exists()


def test_resume_and_pretrain_exclude_each_other(whole, config, tmp_path):
    with pytest.raises(AlstmError, match="only one"):
        train(
            config,
            tmp_path,
            TrainOptions(resume=whole[0], pretrain=whole[0] / "AttentionLSTM_best.pdparams", visualdl=False),
        )


# --- other starts and intervals ---------------------------------------------------------------------------------


def test_pretrain_takes_what_fits(whole, config, tmp_path):
    """Fine-tuning for another number of classes takes all but the last layer, and reports it."""
    weights = whole[0] / "AttentionLSTM_best.pdparams"
    still = changed(config, MODEL__num_classes=25, TRAIN__epoch=1, TRAIN__learning_rate=1e-30, TRAIN__weight_decay=0.0)
    lines: list[str] = []
    train(
        still, tmp_path, TrainOptions(seed=1, pretrain=weights, valid_interval=0, visualdl=False), report=lines.append
    )
    assert lines[0] == f"started from {weights}; these keep random values: fc_logit.weight, fc_logit.bias"
    given, found = load_arrays(weights), latest(tmp_path)
    assert load_config(tmp_path / "config.yaml").TRAIN.pretrain_base == str(weights)
    for name, array in found.items():
        if name.startswith("fc_logit"):
            assert array.shape[-1] == 25
        else:
            assert np.array_equal(array, given[name]), name


def test_pretrain_base_of_the_file_works_as_the_flag(whole, config, tmp_path):
    weights = whole[0] / "AttentionLSTM_best.pdparams"
    lines: list[str] = []
    config = changed(config, TRAIN__epoch=1, TRAIN__pretrain_base=str(weights))
    train(config, tmp_path, TrainOptions(seed=1, valid_interval=0, visualdl=False), report=lines.append)
    assert lines[0] == f"started from {weights}; all of it fits"


def test_pretrain_starts_a_training_afresh(whole, config, tmp_path):
    """Only the weights are taken: epochs, log and best GAP start from scratch."""
    weights = whole[0] / "AttentionLSTM_latest.pdparams"
    done = train(
        changed(config, TRAIN__epoch=1),
        tmp_path,
        TrainOptions(seed=5, pretrain=weights, log_interval=4, visualdl=False),
    )
    assert [(row["kind"], row["epoch"]) for row in done.rows] == [("train", 1.0), ("valid", 1.0)]


def test_no_validation(config, tmp_path):
    """With valid_interval=0 the list is not even read, and the last weights are the best."""
    config = changed(config, TRAIN__epoch=2, VALID__filelist=str(tmp_path / "none.list"))
    done = train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, log_interval=1, visualdl=False))
    assert {row["kind"] for row in done.rows} == {"train"}
    assert same(best(tmp_path), latest(tmp_path))
    with pytest.raises(AlstmError, match=r"none\.list: no such file"):
        train(config, tmp_path / "other", TrainOptions(seed=5, valid_interval=1, visualdl=False))


def test_validation_every_second_epoch_and_at_the_end(config, tmp_path):
    done = train(config, tmp_path, TrainOptions(seed=5, valid_interval=2, log_interval=0, visualdl=False))
    assert [(row["kind"], row["epoch"]) for row in done.rows] == [("valid", 2), ("valid", 3)]


def test_validation_does_not_disturb_the_training(whole, config, tmp_path):
    train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, visualdl=False))
    assert same(latest(tmp_path), latest(whole[0]))


@pytest.mark.parametrize("pattern", ["pkl/train/*.pkl", "tf/train/*.tfrecord"])
def test_no_shard_is_opened_before_the_first_batch(config, tiny_data, tmp_path, monkeypatch, pattern):
    """The manifests that `alstm convert` and `alstm make-data` wrote have the number of videos."""
    opened: list[str] = []
    open_file = io.open

    def watched(file, *rest, **options):
        opened.append(str(file))
        return open_file(file, *rest, **options)

    def begun(items, *, total=None, desc="", size=None, total_size=None):
        assert total == 4 and opened
        assert not [name for name in opened if name.endswith((".pkl", ".tfrecord"))]
        next(iter(items))
        assert [name for name in opened if name.endswith((".pkl", ".tfrecord"))]
        raise KeyboardInterrupt

    config = changed(config, TRAIN__filelist=str(write_list(tmp_path / "x.list", sorted(tiny_data.glob(pattern)))))
    for module in (io, builtins):
        monkeypatch.setattr(module, "open", watched)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "out", TrainOptions(seed=5, visualdl=False), progress=begun)


def test_a_manifest_that_lies_stops_the_first_epoch_unless_num_samples_counts(config, tmp_path):
    """It would set the schedule; a number of the user's own may be any."""
    videos = [a_video(f"v{index}", 2, [index % 20]) for index in range(20)]
    shards = [tmp_path / "tf" / "x.tfrecord"]
    write_videos(shards[0], videos)
    record_counts(shards[0].parent, shards)
    manifest = tmp_path / "tf.shards.jsonl"
    manifest.write_text(manifest.read_text("utf-8").replace('"videos": 20', '"videos": 90'), encoding="utf-8")
    manifest.with_name(f"{manifest.name}.crc32c").unlink()
    config = changed(config, TRAIN__epoch=1, TRAIN__filelist=str(write_list(tmp_path / "x.list", shards)))
    options = TrainOptions(seed=5, valid_interval=0, visualdl=False)
    with pytest.raises(AlstmError, match=r"x\.tfrecord: it holds 20 videos, but .*tf\.shards\.jsonl says 90"):
        train(config, tmp_path / "out", options)
    train(changed(config, TRAIN__num_samples=90), tmp_path / "out", options)


def test_num_samples_sets_the_schedule(config, tmp_path):
    """The step schedule falls at epoch 1, after num_samples / batch_size steps, here after 2 of 4."""
    config = changed(
        config,
        TRAIN__epoch=1,
        TRAIN__num_samples=32,
        TRAIN__schedule="step",
        TRAIN__decay_epochs=(1,),
        TRAIN__warmup_iters=0,
    )
    done = train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, log_interval=1, visualdl=False))
    assert [row["learning_rate"] for row in done.rows] == pytest.approx([0.005, 0.005, 0.0005, 0.0005])


def test_steps_that_num_samples_does_not_expect_are_saved_too(config, tmp_path):
    own = changed(config, TRAIN__num_samples=32)
    train(own, tmp_path / "whole", TrainOptions(seed=5, visualdl=False))
    with pytest.raises(KeyboardInterrupt):
        train(own, tmp_path, TrainOptions(seed=5, save_interval=1, visualdl=False), progress=Interrupt(2, 3))
    assert load_plain(tmp_path / "AttentionLSTM_latest.pdstate", "")["progress"]["batch"] == 3
    train(own, tmp_path, TrainOptions(resume=tmp_path, visualdl=False))
    assert same(latest(tmp_path), latest(tmp_path / "whole"))


def test_model_name_is_the_prefix_of_the_files(config, tmp_path):
    config = changed(config, MODEL__name="Other", TRAIN__epoch=1)
    train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, visualdl=False))
    assert {path.name for path in tmp_path.glob("*.pd*")} == {
        "Other_best.pdparams",
        "Other_latest.pdparams",
        "Other_latest.pdstate",
    }
    lines: list[str] = []
    train(config, tmp_path, TrainOptions(resume=tmp_path, valid_interval=0, visualdl=False), report=lines.append)
    assert lines[0] == "resumed after epoch 1 of 1"


def test_curves_for_visualdl(config, tmp_path):
    from visualdl import LogReader

    train(changed(config, TRAIN__epoch=1), tmp_path, TrainOptions(seed=5, log_interval=2, visualdl=True))
    (log,) = (tmp_path / "visualdl").iterdir()
    content = log.read_bytes()
    for tag in (b"train/loss", b"train/learning_rate", b"valid/gap", b"valid/map"):
        assert tag in content
    reader = LogReader(file_path=str(log))
    (scores,), (attention,) = reader.get_data("pr_curve", "valid/scores"), reader.get_data("image", "valid/attention")
    assert scores.id == attention.id == 4
    assert scores.pr_curve.TP[0] + scores.pr_curve.FP[0] == 20 * 20  # every score of every video


def test_after_a_resume_every_point_is_drawn_once(config, tmp_path):
    """Including those that a killed run drew after its last checkpoint."""
    from visualdl import LogReader

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, TrainOptions(seed=5, log_interval=1, save_interval=2), progress=Interrupt(2, 3))
    time.sleep(1.1)  # VisualDL names its files by the second
    train(config, tmp_path, TrainOptions(resume=tmp_path, log_interval=1))
    (log,) = (tmp_path / "visualdl").iterdir()
    reader = LogReader(file_path=str(log))
    assert [point.id for point in reader.get_data("scalar", "train/loss")] == list(range(1, 13))
    assert [text.id for text in reader.get_data("text", "config/TRAIN")] == [0, 6]  # of both starts


class Slow:
    """Batches that arrive late, to see which cost counts the delay."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, *args, **settings):
        for batch in shuffled_batches(*args, **settings):
            time.sleep(self.seconds)
            yield batch


def test_the_reader_s_time_is_measured_apart(config, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "shuffled_batches", Slow(0.05))
    config = changed(config, TRAIN__epoch=1)
    train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, log_interval=2, visualdl=False))
    rows = read_rows(tmp_path)
    assert len(rows) == 2 and all(row["reader_cost"] >= 0.05 for row in rows)


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_interval", [0, 10])
def test_a_loss_that_is_not_finite_stops_the_training(config, tmp_path, log_interval):
    config = changed(config, TRAIN__learning_rate=1e30, TRAIN__warmup_iters=0)
    with pytest.raises(
        AlstmError, match=r"epoch 1, the batch that starts with video t\w+: the loss is .*learning_rate"
    ):
        train(config, tmp_path, TrainOptions(seed=5, log_interval=log_interval, visualdl=False))
    assert not list(tmp_path.glob("*.pd*"))


@pytest.mark.parametrize("spoiled", [2, 4])  # the step before a checkpoint, and the last one of the epoch
def test_weights_that_are_not_finite_are_not_saved(config, tmp_path, monkeypatch, spoiled):
    """No loss tells of it: the next step has not been taken, and a ReLU may hide NaN from it."""
    steps = itertools.count(1)

    def step(precision, optimizer):
        if next(steps) == spoiled:
            weight = optimizer._parameter_list[-1]
            weight.set_value(paddle.full_like(weight, np.nan))

    monkeypatch.setattr(Precision, "step", step)
    options = TrainOptions(seed=5, valid_interval=0, save_interval=2, visualdl=False)
    with pytest.raises(AlstmError, match=r"epoch 1, \S+: the weights are no longer finite; lower TRAIN.learning_rate"):
        train(config, tmp_path, options)
    kept = list(tmp_path.glob("*.pdparams"))  # of step 2, if that one was right
    assert len(kept) == (spoiled == 4)
    assert all(np.isfinite(array).all() for path in kept for array in load_arrays(path).values())


def test_weights_that_a_validation_finds_spoiled_leave_the_checkpoint_before(config, tmp_path, monkeypatch):
    """They are finite, but what they compute is not."""
    found = iter([{"gap": 0.5, "loss": 1.0}])

    def evaluate(*_, where, **__):
        if result := next(found, None):
            return result
        raise NotFinite(where, "the loss is inf", "use other weights")

    monkeypatch.setattr(training, "evaluate", evaluate)
    said = r"epoch 2, validation: .+val\.list: the loss is inf; lower TRAIN\.learning_rate"
    with pytest.raises(NotFinite, match=said):
        train(config, tmp_path, TrainOptions(seed=5, visualdl=False))
    assert load_checkpoint(tmp_path / "AttentionLSTM_latest.pdstate").state.epoch == 1


def test_a_learning_rate_that_spoils_the_only_step_is_refused(config, tmp_path):
    config = changed(config, TRAIN__learning_rate=1e38, TRAIN__warmup_iters=0, TRAIN__batch_size=1000)
    with pytest.raises(AlstmError, match="the weights are no longer finite"):
        train(config, tmp_path, TrainOptions(seed=5, visualdl=False))
    assert not list(tmp_path.glob("*.pd*"))


def test_gpus_without_their_processes_are_refused(config, tmp_path):
    said = r"TRAIN\.num_gpus: 8 GPUs are requested, the number of processes is 1; .*distributed\.launch"
    with pytest.raises(ConfigError, match=said):
        train(changed(config, TRAIN__use_gpu=True, TRAIN__num_gpus=8), tmp_path, TrainOptions(visualdl=False))
    on_cpu = changed(config, TRAIN__num_gpus=8, TRAIN__epoch=1)
    train(on_cpu, tmp_path, TrainOptions(valid_interval=0, visualdl=False))


def test_an_empty_list_is_refused(config, tmp_path):
    empty = write_list(tmp_path / "empty.list", [])
    with pytest.raises(AlstmError, match=r"empty\.list: the list is empty"):
        train(changed(config, TRAIN__filelist=str(empty)), tmp_path / "out", TrainOptions(visualdl=False))
    hollow = write_list(tmp_path / "hollow.list", write_shards(tmp_path, [[]]))
    with pytest.raises(AlstmError, match=r"hollow\.list: its shards contain no videos"):
        train(changed(config, TRAIN__filelist=str(hollow)), tmp_path / "out", TrainOptions(visualdl=False))
    assert not (tmp_path / "out").exists()


def test_a_label_beyond_the_classes_is_refused(config, tmp_path):
    with pytest.raises(AlstmError, match="out of range for 5 classes"):
        train(changed(config, MODEL__num_classes=5), tmp_path, TrainOptions(visualdl=False))


def test_pretrain_with_a_file_of_another_kind_is_refused(config, tmp_path):
    save_weights(paddle.nn.Linear(2, 2), tmp_path / "odd.pdparams")
    with pytest.raises(AlstmError, match=r"odd\.pdparams: no array fits"):
        train(config, tmp_path / "out", TrainOptions(pretrain=tmp_path / "odd.pdparams", visualdl=False))


# --- a row, a step, a rank --------------------------------------------------------------------------------------


def test_intervals_count_the_steps_of_an_epoch(config, tmp_path):
    options = TrainOptions(seed=5, log_interval=3, valid_interval=0, save_interval=3, visualdl=False)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, options, progress=Interrupt(2, 3))
    assert [row["step"] for row in read_rows(tmp_path)] == [3, 7]
    assert load_plain(tmp_path / "AttentionLSTM_latest.pdstate", "")["progress"]["batch"] == 3


@pytest.fixture
def as_rank(monkeypatch):
    """Let this process be one of two; the other one has and sends the same values."""

    def become(rank):
        monkeypatch.setattr(training, "join_ranks", lambda: Ranks(rank, 2))

    monkeypatch.setattr(Ranks, "sum_gradients", lambda self, parameters: None)
    monkeypatch.setattr(Ranks, "gather", lambda self, rows: np.concatenate([rows, rows]))
    return become


def test_dropout_differs_from_step_to_step_and_from_rank_to_rank(config, tmp_path, monkeypatch, as_rank):
    seeds: list[int] = []
    monkeypatch.setattr(training, "seed_everything", seeds.append)
    for rank in (0, 1):
        as_rank(rank)
        train(config, tmp_path, TrainOptions(seed=5, valid_interval=0, visualdl=False))
    assert len(seeds) == 26 and seeds[0] == seeds[13]  # both build the same network
    assert len({*seeds[1:13], *seeds[14:]}) == 24


def test_the_other_ranks_write_nothing(whole, config, tmp_path, as_rank):
    as_rank(1)
    lines: list[str] = []
    config = changed(config, TRAIN__epoch=4)
    train(config, tmp_path / "out", TrainOptions(resume=whole[0], log_interval=1), report=lines.append)
    assert lines == [] and not (tmp_path / "out").exists()


def test_scores_of_all_ranks_are_drawn(config, tmp_path, as_rank):
    from visualdl import LogReader

    as_rank(0)
    train(changed(config, TRAIN__epoch=1), tmp_path, TrainOptions(seed=5))
    (log,) = (tmp_path / "visualdl").iterdir()
    (scores,) = LogReader(file_path=str(log)).get_data("pr_curve", "valid/scores")
    assert scores.pr_curve.TP[0] + scores.pr_curve.FP[0] == 20 * 20


def test_rank_0_draws_the_seed_for_all(config, tmp_path, monkeypatch, as_rank):
    as_rank(0)
    monkeypatch.setattr(Ranks, "gather", lambda self, rows: np.concatenate([[77], rows[1:]]))
    train(changed(config, TRAIN__epoch=1), tmp_path, TrainOptions(valid_interval=0, visualdl=False))
    assert load_config(tmp_path / "config.yaml").TRAIN.seed == 77


@pytest.mark.parametrize("topk", [1, 20])
def test_topk_counts_in_both_kinds_of_rows(config, tmp_path, monkeypatch, topk):
    seen = []

    class Watched(YouTube8MMetrics):
        def __init__(self, num_classes, top_k=20):
            seen.append(top_k)
            super().__init__(num_classes, top_k)

    monkeypatch.setattr("alstm_helpers.training.log.YouTube8MMetrics", Watched)
    monkeypatch.setattr("alstm_helpers.evaluation.evaluate.YouTube8MMetrics", Watched)
    train(
        changed(config, MODEL__topk=topk, TRAIN__epoch=1),
        tmp_path,
        TrainOptions(seed=5, log_interval=4, visualdl=False),
    )
    assert set(seen) == {topk}


@pytest.mark.parametrize("batch_size, shown", [(8, 8), (9, 5)])
def test_the_attention_of_eight_videos_at_most_is_drawn_without_dropout(
    config, tmp_path, monkeypatch, batch_size, shown
):
    drawn = []
    original = AttentionLSTM.forward

    def forward(self, rgb, audio, lengths, return_attention=False):
        drawn.extend([(len(rgb), self.training)] if return_attention else [])
        return original(self, rgb, audio, lengths, return_attention)

    monkeypatch.setattr(AttentionLSTM, "forward", forward)
    train(changed(config, TRAIN__epoch=1, VALID__batch_size=batch_size), tmp_path, TrainOptions(seed=5))
    assert drawn == [(shown, False)]


@pytest.fixture
def slow_checkpoints(monkeypatch):
    """Set clocks that stand still, but for a second per step and a thousand per checkpoint."""
    now = [0.0]
    step = training._Run._step

    def later(seconds, result=None):
        now[0] += seconds
        return result

    for module in (training, log):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(training, "save_checkpoint", lambda *args: later(1000))
    monkeypatch.setattr(training._Run, "_step", lambda run, batch: later(1, step(run, batch)))


@pytest.mark.usefixtures("slow_checkpoints")
def test_writing_checkpoints_is_no_training_time(config, tmp_path):
    options = TrainOptions(seed=5, valid_interval=0, save_interval=1, visualdl=False)
    assert train(changed(config, TRAIN__epoch=1), tmp_path, options).train_seconds == 4  # steps


def test_the_curves_are_flushed_before_a_checkpoint_is_written(config, tmp_path, monkeypatch):
    """Otherwise a kill right after it would lose points that no resume draws again."""
    calls = []
    monkeypatch.setattr("alstm_helpers.training.curves.Curves.flush", lambda self: calls.append("flush"))
    monkeypatch.setattr(training, "save_checkpoint", lambda *args, **parts: calls.append("save"))
    train(changed(config, TRAIN__epoch=1), tmp_path, TrainOptions(seed=5, save_interval=2))
    assert calls == ["flush", "flush", "save", "flush", "save"]  # the first by Curves itself


def test_a_resumed_log_is_that_of_an_uninterrupted_run(config, tmp_path):
    """Even if a checkpoint comes between two rows: a row ends there."""
    how = TrainOptions(log_interval=4, save_interval=3, valid_interval=0, visualdl=False)
    train(config, tmp_path / "whole", replace(how, seed=5))
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", replace(how, seed=5), progress=Interrupt(1, 3))
    train(config, tmp_path / "cut", replace(how, resume=tmp_path / "cut"))
    rows = [
        [{key: row[key] for key in ("step", "loss", "gap", "learning_rate")} for row in read_rows(tmp_path / name)]
        for name in ("whole", "cut")
    ]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]][:2] == [3, 4]


def test_a_resumed_run_still_tells_what_it_started_from(whole, config, tmp_path):
    weights = whole[0] / "AttentionLSTM_best.pdparams"
    how = TrainOptions(valid_interval=0, visualdl=False)
    config = changed(config, TRAIN__schedule="step")  # which does not depend on the number of epochs
    train(changed(config, TRAIN__epoch=1), tmp_path / "a", replace(how, seed=1, pretrain=weights))
    train(changed(config, TRAIN__epoch=2), tmp_path / "a", replace(how, resume=tmp_path / "a"))
    again = load_config(tmp_path / "a" / "config.yaml")
    assert again.TRAIN.pretrain_base == str(weights)
    train(again, tmp_path / "b", replace(how, seed=again.TRAIN.seed))
    assert same(latest(tmp_path / "a"), latest(tmp_path / "b"))


@pytest.mark.usefixtures("slow_checkpoints")
def test_a_log_line_costs_no_checkpoint(config, tmp_path):
    how = TrainOptions(log_interval=2, save_interval=1, valid_interval=0, seed=5, visualdl=False)
    train(changed(config, TRAIN__epoch=1), tmp_path, how)
    assert [row["batch_cost"] for row in read_rows(tmp_path)] == [1] * 4


def test_a_failed_training_closes_its_curves(config, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr("alstm_helpers.training.curves.Curves.close", lambda self: closed.append(True))
    with pytest.raises(AlstmError, match="loss"):
        train(changed(config, TRAIN__learning_rate=1e30, TRAIN__warmup_iters=0), tmp_path, TrainOptions(seed=5))
    assert closed
