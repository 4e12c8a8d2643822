"""The data part of ``alstm bench``: conversion, reading and metrics, on videos of YouTube-8M's size."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from alstm_helpers.data.convert import convert_shard
from alstm_helpers.data.dataset import read_batches
from alstm_helpers.machine.measure import Figure, Figures, Measure, Side, alternate, here, rate, ratio, started, took
from alstm_helpers.machine.on_request import Sample, measured
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, write_videos

VIDEOS = 500  # half a training shard of YouTube-8M, 125 MB
SHARDS = 50  # tf2pkl is four to five times slower by its 24th
SCORED_VIDEOS = 100_000  # in the metrics whose result is timed
CLASSES = 3862
# Converts one shard in a process of its own and prints the peak memory of that process, in bytes.
_PEAK_MEMORY = """
import pathlib, sys
from alstm_helpers.data.convert import convert_shard
from alstm_helpers.runtime import peak_memory
convert_shard(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
print(peak_memory())
"""


def full_size_videos(count: int) -> Iterator[Video]:
    """Yield noise of the size of YouTube-8M's videos: 126 to 300 seconds, 213 on average, and three labels each."""
    rng = np.random.default_rng(0)
    rgb, audio = (rng.integers(0, 256, (2 * MAX_FRAMES, dim), np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    for index in range(count):
        length, start = int(rng.integers(126, MAX_FRAMES + 1)), int(rng.integers(MAX_FRAMES))
        labels = tuple(sorted(rng.choice(CLASSES, 3, replace=False).tolist()))
        cut = slice(start, start + length)
        yield Video(f"{index:04d}".encode(), labels, rgb[cut], audio[cut])


def bench_data(tensorflow: str | None) -> Figures:
    """Measure conversion and reading of half a shard like YouTube-8M's.

    Args:
        tensorflow: a Python with TensorFlow 2, to measure tf2pkl's logic with; None leaves that out.

    Raises:
        AlstmError: that Python cannot run it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard, pickle = folder / "bench.tfrecord", folder / "bench.pkl"
        write_videos(shard, full_size_videos(VIDEOS))
        convert_shard(shard, pickle)
        return {**_conversion(shard, pickle, tensorflow), **_later_shards(folder), **_reading(shard, pickle)}


def _conversion(shard: Path, pickle: Path, tensorflow: str | None) -> Figures:
    """Compare the conversion with a plain write of the same bytes and, if asked for, with tf2pkl's logic."""
    size, content = shard.stat().st_size, pickle.read_bytes()
    plain, again = pickle.with_name("plain"), pickle.with_name("again.pkl")
    measures: dict[str, Measure] = {
        "plain": partial(_plain_write, plain, content),
        "convert": partial(_convert_anew, shard, again),
    }
    title = ""
    with contextlib.ExitStack() as stack:
        if tensorflow:
            side = Side(tensorflow, "--tensorflow", "tf2pkl_logic", [str(shard), str(again)])
            theirs = stack.enter_context(started(side))
            measures["theirs"], title = theirs.measure("convert"), theirs.title
        samples = alternate(measures)
    ours = samples["convert"]
    memory = _peak_memory(shard, again) / size
    figures = {
        "convert": rate(size / 1e6, ours, "TFRecord to pickle, one process", "MB/s"),
        "convert_videos": rate(VIDEOS, ours, "the same"),
        "plain_write": rate(len(content) / 1e6, samples["plain"], "the same bytes, only written to the disk", "MB/s"),
        "convert_per_write": ratio(ours, samples["plain"], "speed of convert relative to plain_write"),
        "convert_memory": Figure(memory, "×", "peak memory of the process relative to the shard's size"),
    }
    if tensorflow:
        what = f"tf2pkl's logic on {title}, the same shard"
        figures["tf2pkl"] = rate(size / 1e6, samples["theirs"], what, "MB/s")
        figures["convert_per_tf2pkl"] = ratio(ours, samples["theirs"], "speed of convert relative to tf2pkl")
    return figures


def _later_shards(folder: Path) -> Figures:
    """Compare the last of many conversions in one process with the first ones."""
    shard = folder / "short.tfrecord"
    write_videos(shard, full_size_videos(VIDEOS // 5))
    times = [_convert_anew(shard, folder / "again.pkl").wall for _ in range(SHARDS)]
    value = float(np.median(times[:10]) / np.median(times[-10:]))
    return {"convert_last": Figure(value, "×", f"speed on shards {SHARDS - 9} to {SHARDS} relative to shards 1 to 10")}


def _reading(shard: Path, pickle: Path) -> Figures:
    paths = {"read": pickle, "read_tfrecord": shard}
    samples = alternate({name: here(partial(_read_all, path)) for name, path in paths.items()})
    return {
        name: rate(VIDEOS, samples[name], f"from a warm {path.suffix} into batches of 128, one core")
        for name, path in paths.items()
    }


def _read_all(path: Path) -> None:
    for _ in read_batches([path], 128, CLASSES):
        pass


def _convert_anew(shard: Path, target: Path) -> Sample:
    """Measure a conversion into a new file, as a first conversion is."""
    target.unlink(missing_ok=True)
    return measured(lambda: convert_shard(shard, target))


def _plain_write(path: Path, content: bytes) -> Sample:
    """Measure a write to a new file that ends when the bytes are on the disk."""

    def write() -> None:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    path.unlink(missing_ok=True)
    return measured(write)


def _peak_memory(shard: Path, target: Path) -> int:
    """Return the peak memory, in bytes, of a process that converts a shard."""
    command = [sys.executable, "-c", _PEAK_MEMORY, str(shard), str(target)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bench_metrics() -> Figures:
    """Measure :class:`~alstm_helpers.metrics.YouTube8MMetrics` on YouTube-8M's number of classes."""
    rng = np.random.default_rng(0)
    scores = rng.random((1000, CLASSES), dtype=np.float32)
    labels = rng.integers(0, CLASSES, (1000, 3)).tolist()
    metrics = YouTube8MMetrics()
    metrics.update(scores, labels)
    thousand = metrics.subset(np.arange(1000))
    while metrics.num_videos < SCORED_VIDEOS:
        metrics.merge(thousand)
    samples = alternate(
        {"update": here(lambda: YouTube8MMetrics().update(scores, labels)), "result": here(metrics.result)}
    )
    return {
        "metrics": rate(1000, samples["update"], f"update with {CLASSES:,} classes"),
        "metrics_result": took(samples["result"], f"result at {SCORED_VIDEOS:,} videos, one core"),
    }
