"""``alstm bench``: what this machine does a second, on FlashDigits and the course-size model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.convert import convert_shard
from alstm_helpers.dataset import read_batches
from alstm_helpers.evaluate import score_batches, summed_loss, to_tensors
from alstm_helpers.flashdigits import NUM_CLASSES, make_video
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.pickles import load_videos
from alstm_helpers.runtime import matmul_gflops, paddle, set_device
from alstm_helpers.tfrecord import write_videos

VIDEOS, BATCH = 256, 64


def _best_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """The fastest of a few runs, after one to warm up."""
    best = float("inf")
    for run in range(repeats + 1):
        start = time.perf_counter()
        work()
        if run:
            best = min(best, time.perf_counter() - start)
    return best


def run_bench() -> dict[str, dict[str, Any]]:
    """Figures by name: ``value``, ``unit``, ``what``. Rates, so larger is better."""
    set_device(None)
    paddle.seed(0)
    net = AttentionLSTM(NUM_CLASSES, embedding_size=64, lstm_size=64, fc_sizes=(128, 64), drop_rate=0.2)
    optimizer = paddle.optimizer.RMSProp(1e-4, parameters=net.parameters(), centered=True)
    rng = np.random.default_rng(0)
    scores = rng.random((1000, 3862), dtype=np.float32)
    labels = rng.integers(0, 3862, (1000, 3)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        record, pickle = Path(folder, "bench.tfrecord"), Path(folder, "bench.pkl")
        write_videos(record, (make_video(0, "train", index) for index in range(VIDEOS)))
        megabytes = record.stat().st_size / 1e6
        convert = _best_seconds(lambda: convert_shard(record, pickle))
        read = _best_seconds(lambda: load_videos(pickle))
        batches = list(read_batches([pickle], BATCH, NUM_CLASSES))

    def train_epoch() -> None:
        for batch in batches:
            rgb, audio, lengths, truth = to_tensors(batch)
            summed_loss(net(rgb, audio, lengths), truth).backward()
            optimizer.step()
            optimizer.clear_grad()

    step = _best_seconds(train_epoch)
    infer = _best_seconds(lambda: list(score_batches(net, batches)))
    metrics = _best_seconds(lambda: YouTube8MMetrics().update(scores, labels))
    rows = {
        "matmul": (matmul_gflops(), "GFLOP/s", "float32 product of 1024 × 1024 matrices"),
        "convert": (megabytes / convert, "MB/s", "TFRecord to pickle, one process"),
        "read": (VIDEOS / read, "videos/s", "from a warm pickle"),
        "metrics": (1000 / metrics, "videos/s", "update with 3,862 classes"),
        "train": (VIDEOS / step, "videos/s", f"training step, 64/64 model, batch {BATCH}, 20 to 60 seconds"),
        "infer": (VIDEOS / infer, "videos/s", f"scores, 64/64 model, batch {BATCH}"),
    }
    return {name: {"value": round(value, 1), "unit": unit, "what": what} for name, (value, unit, what) in rows.items()}
