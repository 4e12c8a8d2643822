"""The data part of ``alstm bench``: conversion, reading and metrics, on videos of YouTube-8M's size."""

from __future__ import annotations

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
from alstm_helpers.machine.measure import Figure, Figures, best_seconds, run_tool, seconds_of
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, write_videos

VIDEOS = 500  # half a training shard of YouTube-8M, 125 MB
PAIRS = 7  # conversions and plain writes that are compared
SHARDS = 50  # tf2pkl is four to five times slower by its 24th
SCORED_VIDEOS = 100_000  # in the metrics whose result is timed
CLASSES = 3862
# Converts one shard in a process of its own and prints the peak memory of that process, in bytes.
_PEAK_MEMORY = """
import pathlib, re, sys
from alstm_helpers.data.convert import convert_shard
convert_shard(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024)
elif sys.platform == "win32":
    import psutil
    print(psutil.Process().memory_info().peak_wset)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
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
    # In turn, so that both meet the same disk; each into a new file, as in a first conversion.
    pairs = [(seconds_of(lambda: _plain_write(plain, content)), _convert_anew(shard, again)) for _ in range(PAIRS)]
    write, seconds = np.median(pairs, axis=0).tolist()
    ratio = float(np.median([written / converted for written, converted in pairs]))
    memory = _peak_memory(shard, again) / size
    figures = {
        "convert": Figure(size / 1e6 / seconds, "MB/s", "TFRecord to pickle, one process"),
        "convert_videos": Figure(VIDEOS / seconds, "videos/s", "the same"),
        "plain_write": Figure(len(content) / 1e6 / write, "MB/s", "the same bytes, only written to the disk"),
        "convert_per_write": Figure(ratio, "×", "speed of convert relative to plain_write"),
        "convert_memory": Figure(memory, "×", "peak memory of the process relative to the shard's size"),
    }
    if tensorflow:
        tool = run_tool(tensorflow, "--tensorflow", "tf2pkl_logic.py", str(shard), str(again))
        theirs = float(tool["seconds"])
        figures["tf2pkl"] = Figure(size / 1e6 / theirs, "MB/s", "tf2pkl's logic on TensorFlow, the same shard")
        figures["convert_per_tf2pkl"] = Figure(theirs / seconds, "×", "speed of convert relative to tf2pkl")
    return figures


def _later_shards(folder: Path) -> Figures:
    """Compare the last of many conversions in one process with the first ones."""
    shard = folder / "short.tfrecord"
    write_videos(shard, full_size_videos(VIDEOS // 5))
    times = [_convert_anew(shard, folder / "again.pkl") for _ in range(SHARDS)]
    ratio = float(np.median(times[:10]) / np.median(times[-10:]))
    return {"convert_last": Figure(ratio, "×", f"speed on shards {SHARDS - 9} to {SHARDS} relative to shards 1 to 10")}


def _reading(shard: Path, pickle: Path) -> Figures:
    figures = {}
    for name, path in (("read", pickle), ("read_tfrecord", shard)):
        what = f"from a warm {path.suffix} into batches of 128, one core"
        figures[name] = Figure(VIDEOS / best_seconds(partial(_read_all, path)), "videos/s", what)
    return figures


def _read_all(path: Path) -> None:
    for _ in read_batches([path], 128, CLASSES):
        pass


def _convert_anew(shard: Path, target: Path) -> float:
    """Return the seconds of a conversion into a new file."""
    target.unlink(missing_ok=True)
    return seconds_of(lambda: convert_shard(shard, target))


def _plain_write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _peak_memory(shard: Path, target: Path) -> int:
    """Return the peak memory, in bytes, of a process that converts a shard."""
    command = [sys.executable, "-c", _PEAK_MEMORY, str(shard), str(target)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bench_metrics() -> Figures:
    """Measure :class:`~alstm_helpers.metrics.YouTube8MMetrics` on YouTube-8M's number of classes."""
    rng = np.random.default_rng(0)
    scores = rng.random((1000, CLASSES), dtype=np.float32)
    labels = rng.integers(0, CLASSES, (1000, 3)).tolist()
    seconds = best_seconds(lambda: YouTube8MMetrics().update(scores, labels))
    metrics = YouTube8MMetrics()
    metrics.update(scores, labels)
    thousand = metrics.subset(np.arange(1000))
    while metrics.num_videos < SCORED_VIDEOS:
        metrics.merge(thousand)
    result = f"result at {SCORED_VIDEOS:,} videos, one core"
    return {
        "metrics": Figure(1000 / seconds, "videos/s", f"update with {CLASSES:,} classes"),
        "metrics_result": Figure(best_seconds(metrics.result), "s", result),
    }
