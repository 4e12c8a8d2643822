"""``alstm bench``: what this machine does a second, on videos of YouTube-8M's size and on the course-size model.

Every rate stands beside the baseline that it must be compared with, measured in the same run: conversion beside a
plain write of the same bytes and, where a Python with TensorFlow is named, beside tf2pkl's logic on the same shard;
the full-size training step beside PaddleVideo's padded one; the course-size step, where a Python with PyTorch is
named, beside the same network there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import TrainSection
from alstm_helpers.data.convert import convert_shard
from alstm_helpers.data.dataset import Batch, collate, read_batches
from alstm_helpers.data.flashdigits import NUM_CLASSES, make_video
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.machine.bench_deploy import bench_latency, bench_server
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM, dropout, length_mask, masked_softmax
from alstm_helpers.model.build import to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.paths import project_root
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.runtime import matmul_gflops, paddle, recommended_environment, set_device
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, write_videos
from alstm_helpers.training.train import make_optimizer

VIDEOS, BATCH = 512, 64  # of FlashDigits, for the course-size model: one window that is sorted by length
FULL_SIZE_BATCHES = (4, 16)
FULL_SIZE_VIDEOS = 500  # half a training shard of YouTube-8M, 125 MB
PAIRS = 7  # conversions and plain writes that are compared
SHARDS = 50  # tf2pkl is four to five times slower by its 24th
# Converts one shard in a process of its own and says how much memory that process held at most, in bytes.
_PEAK_MEMORY = """
import pathlib, re, sys
from alstm_helpers.data.convert import convert_shard
convert_shard(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

Row = tuple[float, str, str]


def run_bench(
    tensorflow: str | None = None,
    pytorch: str | None = None,
    progress: ProgressBar = no_progress,
    only: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Figures by name: ``value``, ``unit``, ``what``. Of rates, larger is better.

    Args:
        tensorflow: a Python that has TensorFlow 2, to measure tf2pkl's logic with.
        pytorch: a Python that has PyTorch, to measure the course-size model with.
        progress: wraps the parts of the measurement, see :mod:`alstm_helpers.progress`.
        only: names of :data:`PARTS`; by default all but ``latency``, which takes minutes.
    """
    set_device(None)
    rows: dict[str, Row] = {"matmul": (matmul_gflops(), "GFLOP/s", "float32 product of 1024 × 1024 matrices")}
    given = {"data": (tensorflow,), "model": (pytorch,)}
    names = only or [name for name in PARTS if name != "latency"]
    for name in progress(names, total=len(names), desc="measuring"):
        rows |= PARTS[name](*given.get(name, ()))
    return {name: {"value": round(value, 2), "unit": unit, "what": what} for name, (value, unit, what) in rows.items()}


def _best_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """The fastest of a few runs, after one to warm up."""
    return min(_seconds(work) for _ in range(repeats + 1))


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def full_size_videos(count: int) -> Iterator[Video]:
    """Noise of the size of YouTube-8M's videos: 213 seconds on average, 300 at most, three labels."""
    rng = np.random.default_rng(0)
    rgb, audio = (rng.integers(0, 256, (2 * MAX_FRAMES, dim), np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    for index in range(count):
        length, start = int(rng.integers(126, MAX_FRAMES + 1)), int(rng.integers(MAX_FRAMES))
        labels = tuple(sorted(rng.choice(3862, 3, replace=False).tolist()))
        cut = slice(start, start + length)
        yield Video(f"{index:04d}".encode(), labels, rgb[cut], audio[cut])


def _bench_data(tensorflow: str | None) -> dict[str, Row]:
    with tempfile.TemporaryDirectory() as folder:
        return _bench_files(Path(folder), tensorflow)


def _bench_files(folder: Path, tensorflow: str | None) -> dict[str, Row]:
    """Conversion and reading of half a shard of YouTube-8M's kind."""
    shard, pickle, short = folder / "bench.tfrecord", folder / "bench.pkl", folder / "short.tfrecord"
    write_videos(shard, full_size_videos(FULL_SIZE_VIDEOS))
    write_videos(short, full_size_videos(FULL_SIZE_VIDEOS // 5))
    convert_shard(shard, pickle)
    size, content = shard.stat().st_size, pickle.read_bytes()
    # In turn, so that both meet the same disk; each into a new file, as in a first conversion.
    plain, again = folder / "plain", folder / "again.pkl"
    pairs = [(_seconds(lambda: _plain_write(plain, content)), _convert_anew(shard, again)) for _ in range(PAIRS)]
    write, seconds = np.median(pairs, axis=0).tolist()
    ratio = float(np.median([written / converted for written, converted in pairs]))
    rows = {
        "convert": (size / 1e6 / seconds, "MB/s", "TFRecord to pickle, one process"),
        "convert_videos": (FULL_SIZE_VIDEOS / seconds, "videos/s", "the same"),
        "plain_write": (len(content) / 1e6 / write, "MB/s", "the same bytes written plainly, to the disk"),
        "convert_per_write": (ratio, "×", "speed of the conversion over that of the plain write"),
        "convert_memory": (_peak_memory(shard, again) / size, "×", "peak memory of the process over the shard's size"),
    }
    if tensorflow:
        original = _tf2pkl_seconds(tensorflow, shard, again)
        rows["tf2pkl"] = size / 1e6 / original, "MB/s", "tf2pkl's logic on TensorFlow, the same shard"
        rows["convert_per_tf2pkl"] = original / seconds, "×", "speed of the conversion over that of tf2pkl's logic"
    times = [_convert_anew(short, again) for _ in range(SHARDS)]
    drift = float(np.median(times[:10]) / np.median(times[-10:]))
    rows["convert_last"] = drift, "×", f"speed on shards {SHARDS - 9} to {SHARDS} over that on shards 1 to 10"
    for name, path in (("read", pickle), ("read_tfrecord", shard)):
        read = _best_seconds(lambda path=path: [None for _ in read_batches([path], 128, 3862)])  # type: ignore[misc]
        what = f"from a warm {path.suffix} into batches of 128, one core"
        rows[name] = FULL_SIZE_VIDEOS / read, "videos/s", what
    return rows


def _convert_anew(shard: Path, target: Path) -> float:
    """Seconds to convert into a file that is not there yet."""
    target.unlink(missing_ok=True)
    return _seconds(lambda: convert_shard(shard, target))


def _plain_write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _peak_memory(shard: Path, target: Path) -> int:
    command = [sys.executable, "-c", _PEAK_MEMORY, str(shard), str(target)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _tf2pkl_seconds(python: str, shard: Path, target: Path) -> float:
    """Seconds that tf2pkl's logic takes in a Python with TensorFlow, the start of TensorFlow left out."""
    return float(_run_tool(python, "--tensorflow", "tf2pkl_logic.py", str(shard), str(target))["seconds"])


def _run_tool(python: str, flag: str, tool: str, *arguments: str, **environment: str | None) -> Any:
    """What a script of ``tools`` prints last, as JSON; a variable of the environment that is None is taken away.

    Raises:
        AlstmError: the script fails in that Python.
    """
    command = [python, str(project_root() / "tools" / tool), *arguments]
    variables = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=variables)
    except (OSError, subprocess.CalledProcessError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        remedy = f"name a Python that has what tools/{tool} imports"
        raise AlstmError(f"{flag} {python}", f"{tool} did not run ({last})", remedy) from error
    return json.loads(done.stdout.splitlines()[-1])


def _bench_metrics() -> dict[str, Row]:
    rng = np.random.default_rng(0)
    scores = rng.random((1000, 3862), dtype=np.float32)
    labels = rng.integers(0, 3862, (1000, 3)).tolist()
    seconds = _best_seconds(lambda: YouTube8MMetrics().update(scores, labels))
    metrics = YouTube8MMetrics()
    metrics.update(scores, labels)
    some = metrics.subset(np.arange(1000))
    while metrics.num_videos < 100_000:
        metrics.merge(some)
    return {
        "metrics": (1000 / seconds, "videos/s", "update with 3,862 classes"),
        "metrics_result": (_best_seconds(metrics.result), "s", "result at 100,000 videos, one core"),
    }


def _course_model() -> tuple[AttentionLSTM, Any]:
    """The course-size network and the trainer's optimiser for it."""
    paddle.seed(0)
    net = AttentionLSTM(NUM_CLASSES, embedding_size=64, lstm_size=64, fc_sizes=(128, 64), drop_rate=0.2)
    return net, make_optimizer(net, TrainSection(weight_decay=0.0))


def _train_epoch(net: AttentionLSTM, optimizer: Any, batches: Iterable[Batch]) -> None:
    for batch in batches:
        rgb, audio, lengths, truth = to_tensors(batch)
        summed_loss(net(rgb, audio, lengths), truth).backward()
        optimizer.step()
        optimizer.clear_grad()


def _bench_model(pytorch: str | None) -> dict[str, Row]:
    """The course-size model on FlashDigits."""
    net, optimizer = _course_model()
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "bench.tfrecord")
        write_videos(shard, (make_video(0, "train", index) for index in range(VIDEOS)))
        batches, grouped = (
            list(read_batches([shard], BATCH, NUM_CLASSES, by_length=by_length)) for by_length in (False, True)
        )
    lengths = json.dumps([batch.lengths.tolist() for batch in batches])
    theirs = [_run_tool(pytorch, "--pytorch", "pytorch_step.py", lengths)] if pytorch else []
    step = _best_seconds(lambda: _train_epoch(net, optimizer, batches))
    sorted_step = _best_seconds(lambda: _train_epoch(net, optimizer, grouped))
    infer = _best_seconds(lambda: list(score_batches(net, batches)))
    rows = {
        "train": (
            VIDEOS / step,
            "videos/s",
            f"training step, 64/64 model, batch {BATCH}, 20 to 60 seconds, mixed",
        ),
        "train_grouped": (VIDEOS / sorted_step, "videos/s", "the same videos, grouped by length as in a training"),
        "infer": (VIDEOS / infer, "videos/s", f"scores, 64/64 model, batch {BATCH}"),
    }
    if pytorch:  # before and after, and their better time: noise of the machine must not favour us
        theirs.append(_run_tool(pytorch, "--pytorch", "pytorch_step.py", lengths))
        packed, padded = (min(found[name] for found in theirs) for name in ("packed", "padded"))
        rows |= {
            "pytorch": (VIDEOS / packed, "videos/s", "the batches of train, the same network in PyTorch"),
            "train_per_pytorch": (packed / step, "×", "speed of train over that"),
            "pytorch_padded": (
                VIDEOS / padded,
                "videos/s",
                "PyTorch, LSTM running over the padding: another network",
            ),
            "train_per_padded": (padded / step, "×", "speed of train over that"),
            "grouped_per_padded": (padded / sorted_step, "×", "speed of train_grouped over that"),
        }
    return rows


def _bench_parts() -> dict[str, Row]:
    """Where a step of the course-size model goes: rgb's layers, forward and backward, at 60 seconds."""
    net, optimizer = _course_model()
    rng = np.random.default_rng(0)
    frames = paddle.to_tensor(rng.integers(0, 256, (BATCH, 60, RGB_DIM), dtype=np.uint8))
    audio = paddle.to_tensor(rng.integers(0, 256, (BATCH, 60, AUDIO_DIM), dtype=np.uint8))
    lengths, truth = paddle.full([BATCH], 60, "int64"), paddle.zeros([BATCH, NUM_CLASSES])
    embedded, states = (paddle.to_tensor(rng.normal(size=(BATCH, 60, size)).astype(np.float32)) for size in (64, 128))
    embedded.stop_gradient = states.stop_gradient = False
    mask = length_mask(lengths, 60)

    def embed() -> Any:
        return paddle.tanh(net.fc_feature0(paddle.scale(frames.astype("float32"), 4 / 255, 4 / 512 - 2)))

    def attend() -> Any:
        dropped = dropout(states, 0.2)
        weights = masked_softmax(net.att_fc0(dropped).squeeze(2), mask)
        return paddle.bmm(weights.unsqueeze(1), dropped)

    def whole() -> None:
        summed_loss(net(frames, audio, lengths), truth).backward()
        optimizer.step()
        optimizer.clear_grad()

    works: dict[str, tuple[Callable[[], Any], str]] = {
        "part_step": (whole, "a whole training step, 64/64 model, batch 64, 60 seconds"),
        "part_embed": (lambda: embed().sum().backward(), "of it rgb's first layer, forward and backward"),
        "part_lstm": (
            lambda: net.bi_lstm0(embedded)[0].sum().backward(),
            "rgb's BiLSTM, likewise; audio's takes as long",
        ),
        "part_attend": (
            lambda: attend().sum().backward(),
            "rgb's dropout and attention, likewise; audio's is the same",
        ),
    }
    return {name: (_best_seconds(work, 20) * 1000, "ms", what) for name, (work, what) in works.items()}


def full_size_batch(size: int) -> Batch:
    """Videos of YouTube-8M's lengths as the trainer groups them: the middle batch of a sorted window of eight."""
    videos = sorted(full_size_videos(8 * size), key=lambda video: video.num_frames)
    return collate(videos[4 * size : 5 * size], 3862)


def _bench_full_size() -> dict[str, Row]:
    """The full-size model at real lengths beside PaddleVideo's padded step; some 4 GB of memory."""
    batches = [full_size_batch(size) for size in FULL_SIZE_BATCHES]
    lengths = json.dumps([batch.lengths.tolist() for batch in batches])
    settings: dict[str, dict[str, str | None]] = {
        "shipped": dict.fromkeys(("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")),
        "tuned": dict(recommended_environment()),
    }
    theirs = {
        name: _run_tool(sys.executable, "bench", "paddlevideo_step.py", lengths, **environment)
        for name, environment in settings.items()
    }
    paddle.seed(0)
    net = AttentionLSTM()
    optimizer = make_optimizer(net, TrainSection())
    rows: dict[str, Row] = {}
    for number, (size, batch) in enumerate(zip(FULL_SIZE_BATCHES, batches, strict=True)):
        ours = _best_seconds(lambda batch=batch: _train_epoch(net, optimizer, [batch]), 2)  # type: ignore[misc]
        rows[f"full_{size}"] = size / ours, "videos/s", f"training step, full-size model, batch {size}, real lengths"
        for name, what in (("shipped", "Paddle's threads as shipped"), ("tuned", "this package's threads")):
            seconds = theirs[name][number]
            what = f"PaddleVideo's step, padded to 512 frames, {what}"
            rows[f"padded_{size}_{name}"] = size / seconds, "videos/s", what
            rows[f"full_{size}_per_{name}"] = seconds / ours, "×", f"speed of full_{size} over that"
    return rows


def _bench_server() -> dict[str, Row]:
    videos = [make_video(0, "train", index) for index in range(32)]
    return bench_server(_course_model()[0], [{"rgb": video.rgb, "audio": video.audio} for video in videos])


PARTS: dict[str, Callable[..., dict[str, Row]]] = {
    "data": _bench_data,
    "metrics": _bench_metrics,
    "model": _bench_model,
    "parts": _bench_parts,
    "full_size": _bench_full_size,
    "server": _bench_server,
    "latency": bench_latency,
}
