"""``alstm bench``: what this machine does a second, on videos of YouTube-8M's size and on the course-size model.

Every rate stands beside the baseline that it must be compared with, measured in the same run: conversion beside a
plain write of the same bytes and, where a Python with TensorFlow is named, beside tf2pkl's logic on the same shard.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.convert import convert_shard
from alstm_helpers.dataset import read_batches
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluate import score_batches, summed_loss, to_tensors
from alstm_helpers.flashdigits import NUM_CLASSES, make_video
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.paths import project_root
from alstm_helpers.runtime import matmul_gflops, paddle, set_device
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, write_videos

VIDEOS, BATCH = 256, 64  # of FlashDigits, for the model
FULL_SIZE_VIDEOS = 500  # half a training shard of YouTube-8M, 125 MB
PAIRS = 7  # conversions and plain writes that are compared
SHARDS = 50  # tf2pkl is four to five times slower by its 24th
# Converts one shard in a process of its own and says how much memory that process held at most, in bytes.
_PEAK_MEMORY = """
import pathlib, re, sys
from alstm_helpers.convert import convert_shard
convert_shard(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

Row = tuple[float, str, str]


def run_bench(tensorflow: str | None = None) -> dict[str, dict[str, Any]]:
    """Figures by name: ``value``, ``unit``, ``what``. Of rates, larger is better.

    Args:
        tensorflow: a Python that has TensorFlow 2, to measure tf2pkl's logic with.
    """
    set_device(None)
    rows: dict[str, Row] = {"matmul": (matmul_gflops(), "GFLOP/s", "float32 product of 1024 × 1024 matrices")}
    with tempfile.TemporaryDirectory() as folder:
        rows |= _bench_data(Path(folder), tensorflow)
    rows |= _bench_metrics()
    rows |= _bench_model()
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


def _bench_data(folder: Path, tensorflow: str | None) -> dict[str, Row]:
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
    command = [python, str(project_root() / "tools" / "tf2pkl_logic.py"), str(shard), str(target)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        remedy = "name a Python that has TensorFlow 2 installed"
        raise AlstmError(f"--tensorflow {python}", f"tf2pkl's logic did not run ({last})", remedy) from error
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def _bench_metrics() -> dict[str, Row]:
    rng = np.random.default_rng(0)
    scores = rng.random((1000, 3862), dtype=np.float32)
    labels = rng.integers(0, 3862, (1000, 3)).tolist()
    seconds = _best_seconds(lambda: YouTube8MMetrics().update(scores, labels))
    return {"metrics": (1000 / seconds, "videos/s", "update with 3,862 classes")}


def _bench_model() -> dict[str, Row]:
    """The course-size model on FlashDigits."""
    paddle.seed(0)
    net = AttentionLSTM(NUM_CLASSES, embedding_size=64, lstm_size=64, fc_sizes=(128, 64), drop_rate=0.2)
    optimizer = paddle.optimizer.RMSProp(1e-4, parameters=net.parameters(), centered=True)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "bench.tfrecord")
        write_videos(shard, (make_video(0, "train", index) for index in range(VIDEOS)))
        batches = list(read_batches([shard], BATCH, NUM_CLASSES))

    def train_epoch() -> None:
        for batch in batches:
            rgb, audio, lengths, truth = to_tensors(batch)
            summed_loss(net(rgb, audio, lengths), truth).backward()
            optimizer.step()
            optimizer.clear_grad()

    step = _best_seconds(train_epoch)
    infer = _best_seconds(lambda: list(score_batches(net, batches)))
    return {
        "train": (VIDEOS / step, "videos/s", f"training step, 64/64 model, batch {BATCH}, 20 to 60 seconds"),
        "infer": (VIDEOS / infer, "videos/s", f"scores, 64/64 model, batch {BATCH}"),
    }
