"""The model part of ``alstm bench``: training steps of the course-size and the full-size network, and scoring."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from alstm_helpers.config import TrainSection
from alstm_helpers.data.dataset import Batch, collate, read_batches
from alstm_helpers.data.flashdigits import NUM_CLASSES, make_video
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.machine.bench_data import CLASSES, full_size_videos
from alstm_helpers.machine.measure import Figure, Figures, best_seconds, run_tool
from alstm_helpers.model import AttentionLSTM, dropout, length_mask, masked_softmax
from alstm_helpers.model.build import to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.runtime import paddle, recommended_environment
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, write_videos
from alstm_helpers.training.precision import Optimizer
from alstm_helpers.training.train import make_optimizer

VIDEOS, BATCH = 512, 64  # of FlashDigits, for the course-size model: one window that is sorted by length
SECONDS = 60  # of each video, where the parts of a step are measured
FULL_SIZE_BATCHES = (4, 16)


def course_model() -> tuple[AttentionLSTM, Optimizer]:
    """Return the course-size network and the trainer's optimiser for it."""
    paddle.seed(0)
    net = AttentionLSTM(NUM_CLASSES, embedding_size=64, lstm_size=64, fc_sizes=(128, 64), drop_rate=0.2)
    return net, make_optimizer(net, TrainSection(weight_decay=0.0))


def _train_epoch(net: AttentionLSTM, optimizer: Optimizer, batches: Iterable[Batch]) -> None:
    for batch in batches:
        rgb, audio, lengths, truth = to_tensors(batch)
        summed_loss(net(rgb, audio, lengths), truth).backward()
        optimizer.step()
        optimizer.clear_grad()


def _lengths_of(batches: Iterable[Batch]) -> str:
    """Return the seconds of each video, batch by batch, as JSON."""
    return json.dumps([batch.lengths.tolist() for batch in batches])


# --- the course-size model ----------------------------------------------------------------------------------------


def bench_model(pytorch: str | None) -> Figures:
    """Measure the course-size model on FlashDigits.

    Args:
        pytorch: a Python with PyTorch, to measure the same network with; None leaves that out.

    Raises:
        AlstmError: that Python cannot run it.
    """
    mixed, grouped = _course_batches()
    lengths = _lengths_of(mixed)
    theirs = [run_tool(pytorch, "--pytorch", "pytorch_step.py", lengths)] if pytorch else []
    net, optimizer = course_model()
    mixed_seconds = best_seconds(lambda: _train_epoch(net, optimizer, mixed))
    grouped_seconds = best_seconds(lambda: _train_epoch(net, optimizer, grouped))
    scoring_seconds = best_seconds(lambda: list(score_batches(net, mixed)))
    step = f"training step, 64/64 model, batch {BATCH}, 20 to 60 seconds, mixed"
    figures = {
        "train": Figure(VIDEOS / mixed_seconds, "videos/s", step),
        "train_grouped": Figure(
            VIDEOS / grouped_seconds, "videos/s", "the same videos, grouped by length as in training"
        ),
        "infer": Figure(VIDEOS / scoring_seconds, "videos/s", f"scores, 64/64 model, batch {BATCH}"),
    }
    if pytorch:  # before and after, and the better of both times: noise of the machine must not favour us
        theirs.append(run_tool(pytorch, "--pytorch", "pytorch_step.py", lengths))
        packed, padded = (min(found[name] for found in theirs) for name in ("packed", "padded"))
        figures |= _beside_pytorch(packed, padded, mixed_seconds, grouped_seconds)
    return figures


def _course_batches() -> tuple[list[Batch], list[Batch]]:
    """Return the same videos as batches of mixed lengths, and as batches of similar lengths."""
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "bench.tfrecord")
        write_videos(shard, (make_video(0, "train", index) for index in range(VIDEOS)))
        mixed = list(read_batches([shard], BATCH, NUM_CLASSES))
        grouped = list(read_batches([shard], BATCH, NUM_CLASSES, by_length=True))
    return mixed, grouped


def _beside_pytorch(packed: float, padded: float, mixed: float, grouped: float) -> Figures:
    """Compare PyTorch's seconds per epoch, packed and padded, with ours on mixed and on grouped batches."""
    other = "PyTorch, LSTM running over the padding: another network"
    return {
        "pytorch": Figure(VIDEOS / packed, "videos/s", "the batches of train, the same network in PyTorch"),
        "train_per_pytorch": Figure(packed / mixed, "×", "speed of train relative to pytorch"),
        "pytorch_padded": Figure(VIDEOS / padded, "videos/s", other),
        "train_per_padded": Figure(padded / mixed, "×", "speed of train relative to pytorch_padded"),
        "grouped_per_padded": Figure(padded / grouped, "×", "speed of train_grouped relative to pytorch_padded"),
    }


def bench_parts() -> Figures:
    """Measure the parts of a step of the course-size model: rgb's layers, forward and backward."""
    net, optimizer = course_model()
    rng = np.random.default_rng(0)
    frames, audio = (
        paddle.to_tensor(rng.integers(0, 256, (BATCH, SECONDS, dim), dtype=np.uint8)) for dim in (RGB_DIM, AUDIO_DIM)
    )
    lengths, truth = paddle.full([BATCH], SECONDS, "int64"), paddle.zeros([BATCH, NUM_CLASSES])
    embedded, states = (
        paddle.to_tensor(rng.normal(size=(BATCH, SECONDS, size)).astype(np.float32)) for size in (64, 128)
    )
    embedded.stop_gradient = states.stop_gradient = False
    mask = length_mask(lengths, SECONDS)

    def step() -> None:
        summed_loss(net(frames, audio, lengths), truth).backward()
        optimizer.step()
        optimizer.clear_grad()

    def embed() -> None:
        floats = paddle.scale(frames.astype("float32"), 4 / 255, 4 / 512 - 2)
        paddle.tanh(net.fc_feature0(floats)).sum().backward()

    def lstm() -> None:
        net.bi_lstm0(embedded)[0].sum().backward()

    def attend() -> None:
        dropped = dropout(states, 0.2)
        weights = masked_softmax(net.att_fc0(dropped).squeeze(2), mask)
        paddle.bmm(weights.unsqueeze(1), dropped).sum().backward()

    works: dict[str, tuple[Callable[[], None], str]] = {
        "part_step": (step, f"a whole training step, 64/64 model, batch {BATCH}, {SECONDS} seconds"),
        "part_embed": (embed, "its part in rgb's first layer, forward and backward"),
        "part_lstm": (lstm, "its part in rgb's BiLSTM, likewise; audio's takes as long"),
        "part_attend": (attend, "its part in rgb's dropout and attention, likewise; audio's takes as long"),
    }
    return {name: Figure(best_seconds(work, 20) * 1000, "ms", what) for name, (work, what) in works.items()}


# --- the full-size model ------------------------------------------------------------------------------------------


def full_size_batch(size: int) -> Batch:
    """Return videos of YouTube-8M's lengths as the trainer groups them: the middle batch of eight sorted ones."""
    videos = sorted(full_size_videos(8 * size), key=lambda video: video.num_frames)
    return collate(videos[4 * size : 5 * size], CLASSES)


def bench_full_size() -> Figures:
    """Compare the full-size model at real lengths with PaddleVideo's padded step; needs about 4 GB of memory."""
    batches = [full_size_batch(size) for size in FULL_SIZE_BATCHES]
    theirs = _padded_seconds(batches)
    paddle.seed(0)
    net = AttentionLSTM()
    optimizer = make_optimizer(net, TrainSection())
    figures: Figures = {}
    for number, (size, batch) in enumerate(zip(FULL_SIZE_BATCHES, batches, strict=True)):
        ours = best_seconds(partial(_train_epoch, net, optimizer, [batch]), 2)
        what = f"training step, full-size model, batch {size}, real lengths"
        figures[f"full_{size}"] = Figure(size / ours, "videos/s", what)
        for name, threads in (("shipped", "Paddle's threads as shipped"), ("tuned", "this package's threads")):
            seconds = theirs[name][number]
            what = f"PaddleVideo's step, padded to 512 frames, {threads}"
            figures[f"padded_{size}_{name}"] = Figure(size / seconds, "videos/s", what)
            what = f"speed of full_{size} relative to padded_{size}_{name}"
            figures[f"full_{size}_per_{name}"] = Figure(seconds / ours, "×", what)
    return figures


def _padded_seconds(batches: Sequence[Batch]) -> dict[str, list[float]]:
    """Return the seconds of PaddleVideo's step per batch, with its wheel's threads and with this package's."""
    settings: dict[str, dict[str, str | None]] = {
        "shipped": dict.fromkeys(("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")),
        "tuned": dict(recommended_environment()),
    }
    lengths = _lengths_of(batches)
    return {
        name: run_tool(sys.executable, "bench", "paddlevideo_step.py", lengths, **environment)
        for name, environment in settings.items()
    }
