"""``alstm serve``: an exported model behind HTTP, on the loopback; one video a request.

::

    GET  /health    → {"model": …, "classes": C}
    POST /predict   ← npz with the arrays rgb uint8 (T, 1024) and audio uint8 (T, 128), or the same as JSON lists
                    → {"labels": [{"index", "name", "score"}, …], "attention": {"rgb": [T], "audio": [T]}}
    what is wrong   → {"error": one sentence}, status 400 (the payload), 404, 405, 413 (too large) or 500

Nothing that a request holds is unpickled or run. A minimal example: for the open network put a server with TLS and
authentication before it.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as RouteError

from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.errors import AlstmError
from alstm_helpers.loopback import HOST, require_free
from alstm_helpers.metrics import best_classes
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM

DIMS = {"rgb": RGB_DIM, "audio": AUDIO_DIM}
MAX_BYTES = 6 * MAX_FRAMES * (RGB_DIM + AUDIO_DIM)  # 300 seconds as JSON: three figures, a comma, a blank, and brackets


def create_app(predictor: Predictor, *, top_k: int = 20, max_bytes: int = MAX_BYTES) -> FastAPI:
    """The application.

    Args:
        predictor: the model; one request at a time runs on it, with all cores.
        top_k: labels that an answer holds.
        max_bytes: a larger payload is refused as soon as it turns out to be larger.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # those pages load scripts from the network
    lock = threading.Lock()

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"model": predictor.path.name, "classes": predictor.num_classes}

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        body = await _read(request, max_bytes)
        return await run_in_threadpool(_answer, predictor, lock, body, request.headers.get("content-type", ""), top_k)

    @app.exception_handler(AlstmError)
    def bad_payload(request: Request, error: AlstmError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RouteError)
    def bad_request(request: Request, error: RouteError) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"a fault of the server: {type(error).__name__}"}, 500)

    return app


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise HTTPException(
                413, f"the payload has more than {max_bytes:,} bytes; send a video of at most {MAX_FRAMES} s"
            )
    return bytes(body)


def _answer(predictor: Predictor, lock: threading.Lock, body: bytes, kind: str, top_k: int) -> dict[str, Any]:
    arrays = parse(body, kind)
    lengths = np.array([len(arrays["rgb"])])
    with lock:
        found = predictor(arrays["rgb"][None], arrays["audio"][None], lengths)
    best = best_classes(found.scores, top_k)[0].tolist()
    names = predictor.class_names
    return {
        "labels": [
            {"index": index, "name": names[index] if names else None, "score": float(found.scores[0, index])}
            for index in best
        ],
        "attention": {"rgb": found.rgb_weights[0].tolist(), "audio": found.audio_weights[0].tolist()},
    }


def parse(body: bytes, kind: str) -> dict[str, np.ndarray]:
    """``rgb`` uint8 (T, 1024) and ``audio`` uint8 (T, 128) of a payload; ``kind`` is its content type.

    Raises:
        AlstmError: it is neither JSON nor npz, lacks an array, or an array has another type or shape.
    """
    is_json = kind.partition(";")[0].strip().lower() == "application/json"
    try:
        arrays = _from_json(body) if is_json else _from_npz(body)
    except Exception as error:  # json, zipfile, zlib and NumPy have exceptions of their own
        form = 'JSON: {"rgb": [[…]], "audio": [[…]]}' if is_json else "numpy.savez with rgb and audio, or JSON"
        problem = f"it cannot be read ({type(error).__name__}: {str(error)[:100]})"
        raise AlstmError("the payload", problem, f"send {form}") from error
    for name, dim in DIMS.items():
        if arrays[name].dtype != np.uint8 or arrays[name].ndim != 2 or arrays[name].shape[1] != dim:
            problem = f"it is {arrays[name].dtype} {arrays[name].shape}"
            raise AlstmError(name, problem, f"send bytes (T, {dim}), a row a second")
    seconds = len(arrays["rgb"])
    if not 1 <= seconds <= MAX_FRAMES or len(arrays["audio"]) != seconds:
        problem = f"{seconds} s of rgb, {len(arrays['audio'])} s of audio"
        raise AlstmError("the video", problem, f"send the same for both, 1 to {MAX_FRAMES}")
    return arrays


def _from_json(body: bytes) -> dict[str, np.ndarray]:
    values = json.loads(body)
    return {name: _bytes(np.array(values[name])) for name in DIMS}


def _bytes(numbers: np.ndarray) -> np.ndarray:
    if numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > 255:
        raise ValueError("something else than whole numbers 0 to 255")
    return numbers.astype(np.uint8)


def _from_npz(body: bytes) -> dict[str, np.ndarray]:
    """Both arrays; no archive makes it unpack more than the rows of 300 seconds and a header."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name, dim in DIMS.items():
            with archive.open(f"{name}.npy") as member:
                content = io.BytesIO(member.read(MAX_FRAMES * dim + 2**12))
            arrays[name] = np.lib.format.read_array(content, allow_pickle=False)  # type: ignore[no-untyped-call]
    return arrays


def run_server(predictor: Predictor, port: int, *, top_k: int = 20) -> None:
    """Serve on the loopback until the process is stopped.

    Raises:
        AlstmError: the port is taken.
    """
    require_free(port)
    uvicorn.run(create_app(predictor, top_k=top_k), host=HOST, port=port, log_level="warning")
