"""The deployment part of ``alstm bench``: latency of the exported models, and the HTTP server under load."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import requests

from alstm_helpers.data.flashdigits import make_video
from alstm_helpers.deployment.export import INT8, export
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.loopback import HOST, free_port, start_server
from alstm_helpers.machine.bench_model import course_model
from alstm_helpers.machine.measure import Figure, Figures, alternate, here, took
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM

BATCHES, SECONDS = (1, 8, 64), (60, 213, 300)  # 213 is the mean of YouTube-8M, 300 its maximum
REQUESTS, CLIENTS = 400, 8
SECONDS_PER_BATCH = 4.0  # after which no further round of all engines begins

# Scores a padded batch: rgb uint8 (B, T, 1024), audio uint8 (B, T, 128), lengths integers (B,).
Scorer: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], object]

# --- latency ------------------------------------------------------------------------------------------------------


def full_size_engines(folder: Path) -> dict[str, Scorer]:
    """Return the full-size network with random weights in each form that can score a batch.

    Args:
        folder: gets the exported models.

    Returns:
        ``trainer`` returns logits, float32 (B, C); the others return a Prediction.
    """
    paddle.seed(0)
    net = AttentionLSTM()
    net.eval()
    export(net, folder, int8_gap=lambda predictor: 0.0)  # nobody reads it

    def trainer(*batch: np.ndarray) -> object:
        with paddle.no_grad():
            return net(*map(paddle.to_tensor, batch)).numpy()

    files = {"paddle": "model.json", "onnx": "model.onnx", "onnx_int8": INT8}
    return {"trainer": trainer, **{name: Predictor(folder / file) for name, file in files.items()}}


def bench_latency(
    engines: Callable[[Path], dict[str, Scorer]] = full_size_engines,
    batches: Sequence[int] = BATCHES,
    seconds: Sequence[int] = SECONDS,
) -> Figures:
    """Measure milliseconds per batch in every engine.

    The full-size network takes about four minutes and 3 GB.

    Args:
        engines: makes the engines; receives a folder for their files.
        batches: videos per batch.
        seconds: lengths of the videos.
    """
    rng = np.random.default_rng(0)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = engines(Path(folder))
        for size in batches:
            for length in seconds:
                rgb, audio = (rng.integers(0, 256, (size, length, dim), np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
                batch = rgb, audio, np.full(size, length)
                measures = {name: here(partial(run, *batch)) for name, run in runs.items()}
                for name, samples in alternate(measures, SECONDS_PER_BATCH).items():
                    videos = size / float(np.median([sample.wall for sample in samples]))
                    what = f"batch {size} of {length} s, {name}: {videos:.3g} videos/s"
                    figures[f"{name}_{size}x{length}"] = took(samples, what, "ms", 1000)
    return figures


# --- the server ---------------------------------------------------------------------------------------------------


def bench_server() -> Figures:
    """Measure ``alstm serve`` with the course-size model on FlashDigits."""
    net, _ = course_model()
    videos = [make_video(0, "train", index) for index in range(32)]
    return measure_server(net, [{"rgb": video.rgb, "audio": video.audio} for video in videos])


def measure_server(net: AttentionLSTM, payloads: Sequence[dict[str, np.ndarray]]) -> Figures:
    """Measure ``alstm serve`` in a process of its own while several clients ask at once.

    Args:
        net: the network to serve.
        payloads: the arrays of each request.

    Raises:
        requests.HTTPError: an answer is an error.
    """
    bodies = []
    for arrays in payloads:
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        bodies.append(file.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        export(net, folder, onnx=True)
        port = free_port()
        server = start_server(["-m", "alstm_helpers", "serve", folder, "--port", str(port)], port)
        try:
            took, times = load_test(f"http://{HOST}:{port}/predict", bodies)
        finally:
            server.terminate()
            server.wait()
    what = f"{len(times)} requests over HTTP by {CLIENTS} clients at once, 64/64 model in ONNX Runtime"
    return {
        "serve": Figure(len(times) / took, "videos/s", what),
        "serve_median": Figure(1000 * float(np.median(times)), "ms", "median time of a request"),
        "serve_99": Figure(1000 * float(np.quantile(times, 0.99)), "ms", "99th percentile"),
    }


def load_test(url: str, bodies: Sequence[bytes], *, number: int | None = None) -> tuple[float, list[float]]:
    """Send requests from several clients at once, each over a connection that stays open.

    Args:
        url: receives the requests.
        bodies: bodies of the requests, used in turn.
        number: how many requests to send; by default ``REQUESTS``.

    Returns:
        The seconds that all took together, and those of each request.

    Raises:
        requests.HTTPError: an answer is an error.
    """
    local = threading.local()

    def ask(index: int) -> float:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        start = time.perf_counter()
        local.session.post(url, data=bodies[index % len(bodies)], timeout=60).raise_for_status()
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        times = list(pool.map(ask, range(number or REQUESTS)))
    return time.perf_counter() - start, times
