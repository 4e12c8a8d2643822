"""The deployment part of ``alstm bench``: latency of the exported models, and the HTTP server under load."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from alstm_helpers.deployment.export import INT8, export
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.loopback import HOST, free_port, start_server
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM

BATCHES, SECONDS = (1, 8, 64), (60, 213, 300)  # 213 is the mean of YouTube-8M, 300 its most
REQUESTS, CLIENTS = 400, 8

Row = tuple[float, str, str]


def full_size_engines(folder: Path) -> dict[str, Callable[..., Any]]:
    """The full-size network, its values random, in each form that can score a batch."""
    paddle.seed(0)
    net = AttentionLSTM()
    net.eval()
    export(net, folder, int8_gap=lambda predictor: float("nan"))

    def trainer(*batch: np.ndarray) -> Any:
        with paddle.no_grad():
            return net(*map(paddle.to_tensor, batch)).numpy()

    files = {"paddle": "model.json", "onnx": "model.onnx", "onnx_int8": INT8}
    return {"trainer": trainer, **{name: Predictor(folder / file) for name, file in files.items()}}


def bench_latency(
    engines: Callable[[Path], dict[str, Callable[..., Any]]] = full_size_engines,
    batches: Sequence[int] = BATCHES,
    seconds: Sequence[int] = SECONDS,
) -> dict[str, Row]:
    """Milliseconds a batch in every engine; some four minutes and 3 GB for the full-size network."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        runs = engines(Path(folder))
        rows = {}
        for size in batches:
            for length in seconds:
                rgb, audio = (rng.integers(0, 256, (size, length, dim), np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
                lengths = np.full(size, length)
                for name, run in runs.items():
                    took = _best_of_two_or_a_second(run, rgb, audio, lengths)
                    what = f"batch {size} of {length} s, {name}: {size / took:.3g} videos/s"
                    rows[f"{name}_{size}x{length}"] = took * 1000, "ms", what
    return rows


def _best_of_two_or_a_second(run: Callable[..., Any], *batch: np.ndarray) -> float:
    """The fastest run; two of them where one takes long, more where they are short."""
    times: list[float] = []
    while len(times) < 2 or (sum(times) < 1 and len(times) < 20):
        start = time.perf_counter()
        run(*batch)
        times.append(time.perf_counter() - start)
    return min(times)


def bench_server(net: AttentionLSTM, payloads: Sequence[dict[str, np.ndarray]]) -> dict[str, Row]:
    """``alstm serve`` in a process of its own, asked by eight clients at once."""
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
        "serve": (len(times) / took, "videos/s", what),
        "serve_median": (1000 * float(np.median(times)), "ms", "half of them took at most this"),
        "serve_99": (1000 * float(np.quantile(times, 0.99)), "ms", "99 % of them"),
    }


def load_test(url: str, bodies: Sequence[bytes], *, number: int | None = None) -> tuple[float, list[float]]:
    """Send requests from several clients at once, each with a connection that stays open.

    Returns:
        the seconds it took in all, and those of each request.

    Raises:
        requests.HTTPError: an answer is an error.
    """
    local = threading.local()

    def ask(index: int) -> float:
        session = local.__dict__.setdefault("session", requests.Session())
        start = time.perf_counter()
        session.post(url, data=bodies[index % len(bodies)], timeout=60).raise_for_status()
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        times = list(pool.map(ask, range(number or REQUESTS)))
    return time.perf_counter() - start, times
