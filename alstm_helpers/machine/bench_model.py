"""The model part of ``alstm bench``: training steps of the course-size and the full-size network, and scoring."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from alstm_helpers.config import TrainSection
from alstm_helpers.data.dataset import Batch, collate, read_batches
from alstm_helpers.data.flashdigits import NUM_CLASSES, make_video
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.machine.bench_data import CLASSES, full_size_videos
from alstm_helpers.machine.measure import (
    SECONDS_OF_ROUNDS,
    Figures,
    Measure,
    Samples,
    Side,
    alternate,
    here,
    rate,
    ratio,
    started,
    took,
)
from alstm_helpers.machine.on_request import Works
from alstm_helpers.model import AttentionLSTM, dropout, length_mask, masked_softmax
from alstm_helpers.model.build import to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.model.streams import REMEMBERED
from alstm_helpers.runtime import Tensor, paddle, recommended_environment, set_device, usable_cores
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, write_videos
from alstm_helpers.training.precision import Optimizer
from alstm_helpers.training.train import make_optimizer

VIDEOS, BATCH = 512, 64  # of FlashDigits, for the course-size model: one window that is sorted by length
SECONDS = 60  # of each video, where the parts of a step are measured
FULL_SIZE_BATCHES = (4, 16)
# The settings of the course-size comparison: OMP_NUM_THREADS (None: all cores, as each side uses them), the end of the
# figures' names, and what is said of it.
THREADS = {None: ("", ""), "1": ("_one_thread", ", on one thread")}


def course_model() -> tuple[AttentionLSTM, Optimizer]:
    """Return the course-size network and the trainer's optimiser for it."""
    paddle.seed(0)
    net = AttentionLSTM(NUM_CLASSES, embedding_size=64, lstm_size=64, fc_sizes=(128, 64), drop_rate=0.2)
    return net, make_optimizer(net, TrainSection(weight_decay=0.0))


def noise_batch(seconds: int) -> Batch:
    """Return a batch of course size: videos of noise, all of one length, without labels."""
    rng = np.random.default_rng(0)
    rgb, audio = (rng.integers(0, 256, (BATCH, seconds, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    labels = np.zeros((BATCH, NUM_CLASSES), np.float32)
    return Batch([b"noise"] * BATCH, rgb, audio, np.full(BATCH, seconds), labels)


def train_epoch(net: AttentionLSTM, optimizer: Optimizer, batches: Iterable[Batch]) -> None:
    """Take a training step on each batch."""
    for batch in batches:
        _train_step(net, optimizer, *to_tensors(batch))


def _train_step(
    net: AttentionLSTM, optimizer: Optimizer, rgb: Tensor, audio: Tensor, lengths: Tensor, truth: Tensor
) -> None:
    summed_loss(net(rgb, audio, lengths), truth).backward()
    optimizer.step()
    optimizer.clear_grad()


def make_works(size: str, shard: str = "", threads: str = "") -> Works:
    """Return the epochs that a process of its own measures, with the package's threads or those it is told.

    Args:
        size: ``course`` or ``full``.
        shard: of FlashDigits, for the course-size model.
        threads: with ``1``, it works on one stream after the other.
    """
    set_device(None)
    works = _course_works(Path(shard), one_thread=threads == "1") if size == "course" else _full_size_works()
    return f"Paddle {paddle.__version__}", works


def _lengths_of(batches: Iterable[Batch]) -> str:
    """Return the seconds of each video, batch by batch, as JSON."""
    return json.dumps([batch.lengths.tolist() for batch in batches])


def _ours(threads: str | None, *arguments: str) -> Side:
    """Return this package's side, with its own choice of threads or a given number."""
    chosen = {"OMP_NUM_THREADS": threads} if threads else {}
    return Side(sys.executable, "bench", __name__, arguments, {**recommended_environment(), **chosen})


# --- the course-size model ----------------------------------------------------------------------------------------


def _course_works(shard: Path, *, one_thread: bool) -> dict[str, Callable[[], object]]:
    net, optimizer = course_model()
    net.streams_at_once = False if one_thread else None
    mixed = _course_batches(shard)
    grouped = list(read_batches([shard], BATCH, NUM_CLASSES, by_length=True))
    return {
        "mixed": partial(train_epoch, net, optimizer, mixed),
        "grouped": partial(train_epoch, net, optimizer, grouped),
        "scores": lambda: list(score_batches(net, mixed)),
    }


def _course_batches(shard: Path) -> list[Batch]:
    return list(read_batches([shard], BATCH, NUM_CLASSES))


def bench_model(pytorch: str | None) -> Figures:
    """Measure the course-size model on FlashDigits, on all cores and on one thread.

    Args:
        pytorch: a Python with PyTorch, to measure the same network with; None leaves that out.

    Raises:
        AlstmError: that Python cannot run it.
    """
    measures: dict[str, Measure] = {}
    title = ""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "bench.tfrecord")
        write_videos(shard, (make_video(0, "train", index) for index in range(VIDEOS)))
        lengths = _lengths_of(_course_batches(shard))
        for threads, (end, _) in THREADS.items():
            ours = stack.enter_context(started(_ours(threads, "course", str(shard), threads or "")))
            measures |= {f"train{end}": ours.measure("mixed"), f"train_grouped{end}": ours.measure("grouped")}
            if not threads:
                measures["infer"] = ours.measure("scores")
            if pytorch:
                theirs = stack.enter_context(started(_pytorch(pytorch, threads, lengths)))
                measures |= {
                    f"pytorch{end}": theirs.measure("packed"),
                    f"pytorch_padded{end}": theirs.measure("padded"),
                }
                title = theirs.title
        samples = alternate(measures, 2 * SECONDS_OF_ROUNDS)
    return _course_figures(samples, title)


def _pytorch(python: str, threads: str | None, lengths: str) -> Side:
    """Return PyTorch's side: with as many threads, and without what this package sets for Paddle."""
    environment = {**dict.fromkeys(recommended_environment()), "OMP_NUM_THREADS": threads or str(usable_cores())}
    return Side(python, "--pytorch", "pytorch_step", [lengths], environment)


def _course_figures(samples: Samples, pytorch: str) -> Figures:
    """Return the rates of all that was measured, and the ratios of what was measured on both sides."""
    step = f"training step, 64/64 model, batch {BATCH}, 20 to 60 seconds"
    rates = {
        "train": f"{step}, mixed",
        "train_grouped": f"{step}, grouped by length as in training",
        "infer": f"scores, 64/64 model, batch {BATCH}",
        "pytorch": f"{pytorch}, the same network on the batches of train",
        "pytorch_padded": f"{pytorch}, LSTM running over the padding: another network",
    }
    ratios = {
        "train_per_pytorch": ("train", "pytorch"),
        "train_per_padded": ("train", "pytorch_padded"),
        "grouped_per_padded": ("train_grouped", "pytorch_padded"),
    }
    figures: Figures = {}
    for end, where in THREADS.values():
        for name, what in rates.items():
            if name + end in samples:
                figures[name + end] = rate(VIDEOS, samples[name + end], what + where)
        for name, (ours, theirs) in ratios.items():
            if theirs + end in samples:
                what = f"speed of {ours}{end} relative to {theirs}{end}"
                figures[name + end] = ratio(samples[ours + end], samples[theirs + end], what)
    return figures


def bench_parts() -> Figures:
    """Measure the parts of a step of the course-size model: rgb's layers, forward and backward."""
    net, optimizer = course_model()
    tensors = to_tensors(noise_batch(SECONDS))
    frames, _, lengths, _ = tensors
    rng = np.random.default_rng(0)
    embedded, states = (
        paddle.to_tensor(rng.normal(size=(BATCH, SECONDS, size)).astype(np.float32)) for size in (64, 128)
    )
    embedded.stop_gradient = states.stop_gradient = False
    mask = length_mask(lengths, SECONDS)
    step = partial(_train_step, net, optimizer, *tensors)

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
    samples = alternate({name: here(work) for name, (work, _) in works.items()})
    return {name: took(samples[name], what, "ms", 1000) for name, (_, what) in works.items()}


# --- the full-size model ------------------------------------------------------------------------------------------


def full_size_batch(size: int) -> Batch:
    """Return videos of YouTube-8M's lengths as the trainer groups them: the middle batch of eight sorted ones."""
    videos = sorted(full_size_videos(8 * size), key=lambda video: video.num_frames)
    return collate(videos[4 * size : 5 * size], CLASSES)


def _full_size_works() -> dict[str, Callable[[], object]]:
    """Return a step per batch size, each of a network of its own, which has tried both ways of doing its streams.

    A network compares its steps by seconds per padded second, which is right for the one batch size of a training.
    """
    works: dict[str, Callable[[], object]] = {}
    for size in FULL_SIZE_BATCHES:
        paddle.seed(0)
        net = AttentionLSTM()
        optimizer = make_optimizer(net, TrainSection())
        works[str(size)] = partial(train_epoch, net, optimizer, [full_size_batch(size)])
        for _ in range(REMEMBERED + 1):
            works[str(size)]()
    return works


def bench_full_size() -> Figures:
    """Compare the full-size model at real lengths with PaddleVideo's padded step; needs about 10 GB of memory."""
    lengths = _lengths_of(full_size_batch(size) for size in FULL_SIZE_BATCHES)
    shipped = dict.fromkeys(recommended_environment())
    tuned = {**recommended_environment(), "OMP_NUM_THREADS": str(usable_cores())}  # it has one thread of its own
    figures: Figures = {}
    with started(_ours(None, "full")) as ours:
        for end, environment, threads in (
            ("shipped", shipped, "Paddle's threads as shipped"),
            ("tuned", tuned, "OpenMP on all cores, and the hint for AMD processors"),
        ):
            with started(Side(sys.executable, "bench", "paddlevideo_step", [lengths], environment)) as theirs:
                measures = {f"full_{size}": ours.measure(str(size)) for size in FULL_SIZE_BATCHES}
                measures |= {f"padded_{size}_{end}": theirs.measure(str(size)) for size in FULL_SIZE_BATCHES}
                samples = alternate(measures, warm_up=False)
            for size in FULL_SIZE_BATCHES:
                full, padded = f"full_{size}", f"padded_{size}_{end}"
                what = f"training step, full-size model, batch {size}, real lengths"
                figures.setdefault(full, rate(size, samples[full], what))
                what = f"PaddleVideo's step, padded to 512 frames, {threads}"
                figures[padded] = rate(size, samples[padded], what)
                what = f"speed of {full} relative to {padded}"
                figures[f"{full}_per_{end}"] = ratio(samples[full], samples[padded], what)
    return figures
