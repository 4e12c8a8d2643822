"""``alstm serve``: an exported model behind HTTP on the loopback interface, one video per request.

::

    GET  /health    → {"model": …, "classes": C}
    POST /predict   ← npz with the arrays rgb uint8 (T, 1024) and audio uint8 (T, 128), or the same as JSON lists
                    → {"labels": [{"index", "name", "score"}, …], "attention": {"rgb": [T], "audio": [T]}}
    an error        → {"error": one sentence}, status 400 (bad payload), 404, 405, 413 (too large) or 500

Nothing in a request is unpickled or executed. This is a minimal example: on an open network, put a server with TLS
and authentication in front of it.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from typing import TypedDict

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as RouteError

from alstm_helpers.data.class_names import Label, best_labels
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.errors import AlstmError
from alstm_helpers.figures.parts import Streams
from alstm_helpers.loopback import HOST, require_free
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, STREAM_DIMS

MAX_BYTES = 6 * MAX_FRAMES * (RGB_DIM + AUDIO_DIM)  # 300 seconds as JSON: three digits, a comma, a blank, brackets


class Answer(TypedDict):
    """The answer to one video: its best labels, best first, and the attention of each second."""

    labels: list[Label]
    attention: Streams


class Responder:
    """Answers one request after the other with one model.

    Args:
        predictor: the model; it uses all its threads for each request.
        top_k: labels per answer.
    """

    def __init__(self, predictor: Predictor, top_k: int) -> None:
        self._predictor, self._top_k = predictor, top_k
        self._names = dict(enumerate(predictor.class_names or ()))
        self._lock = threading.Lock()

    def answer(self, body: bytes, content_type: str) -> Answer:
        """Score the video of a payload.

        Raises:
            AlstmError: the payload is not a video, see :func:`parse`.
        """
        arrays = parse(body, content_type)
        lengths = np.array([len(arrays["rgb"])])
        with self._lock:
            found = self._predictor(arrays["rgb"][None], arrays["audio"][None], lengths)
        return {
            "labels": best_labels(found.scores[0], self._top_k, self._names),
            "attention": {"rgb": found.rgb_attention[0].tolist(), "audio": found.audio_attention[0].tolist()},
        }


def create_app(predictor: Predictor, *, top_k: int = 20, max_bytes: int = MAX_BYTES) -> FastAPI:
    """Return the application.

    Args:
        predictor: the model; requests run on it one at a time.
        top_k: labels per answer.
        max_bytes: a larger payload is refused before it has been read completely.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # those pages load scripts from the network
    responder = Responder(predictor, top_k)

    @app.get("/health")
    def health() -> dict[str, object]:
        return {"model": predictor.path.name, "classes": predictor.num_classes}

    # Without response_model, FastAPI builds one from Answer, which pydantic refuses before Python 3.12.
    @app.post("/predict", response_model=dict[str, object])
    async def predict(request: Request) -> Answer:
        body = await _read(request, max_bytes)
        return await run_in_threadpool(responder.answer, body, request.headers.get("content-type", ""))

    @app.exception_handler(AlstmError)
    def bad_payload(request: Request, error: AlstmError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RouteError)
    def bad_request(request: Request, error: RouteError) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"internal error: {type(error).__name__}"}, 500)

    return app


async def _read(request: Request, max_bytes: int) -> bytes:
    """Return the body of a request; stop with status 413 once it has more than ``max_bytes``."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise HTTPException(
                413, f"the payload has more than {max_bytes:,} bytes; send a video of at most {MAX_FRAMES} s"
            )
    return bytes(body)


def parse(body: bytes, content_type: str) -> dict[str, np.ndarray]:
    """Return ``rgb`` uint8 (T, 1024) and ``audio`` uint8 (T, 128) of a payload.

    Raises:
        AlstmError: the payload is neither JSON nor npz, lacks an array, or an array has the wrong type or shape.
    """
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    try:
        arrays = _from_json(body) if is_json else _from_npz(body)
    except Exception as error:  # json, zipfile, zlib and NumPy raise exceptions of their own
        form = 'JSON: {"rgb": [[…]], "audio": [[…]]}' if is_json else "numpy.savez with rgb and audio, or JSON"
        problem = f"it cannot be read ({type(error).__name__}: {str(error)[:100]})"
        raise AlstmError("the payload", problem, f"send {form}") from error
    for name, dim in STREAM_DIMS.items():
        if arrays[name].dtype != np.uint8 or arrays[name].ndim != 2 or arrays[name].shape[1] != dim:
            problem = f"it is {arrays[name].dtype} {arrays[name].shape}"
            raise AlstmError(name, problem, f"send uint8 (T, {dim}), one row per second")
    seconds = len(arrays["rgb"])
    if not 1 <= seconds <= MAX_FRAMES or len(arrays["audio"]) != seconds:
        problem = f"{seconds} s of rgb, {len(arrays['audio'])} s of audio"
        raise AlstmError("the video", problem, f"send the same number for both, 1 to {MAX_FRAMES}")
    return arrays


def _from_json(body: bytes) -> dict[str, np.ndarray]:
    values = json.loads(body)
    return {name: _to_uint8(np.array(values[name])) for name in STREAM_DIMS}


def _to_uint8(numbers: np.ndarray) -> np.ndarray:
    if numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > 255:
        raise ValueError("not whole numbers 0 to 255")
    return numbers.astype(np.uint8)


def _from_npz(body: bytes) -> dict[str, np.ndarray]:
    """Return both arrays; at most 300 seconds and a header are unpacked from any archive."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name, dim in STREAM_DIMS.items():
            with archive.open(f"{name}.npy") as member:
                content = io.BytesIO(member.read(MAX_FRAMES * dim + 2**12))
            arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
    return arrays


def run_server(predictor: Predictor, port: int, *, top_k: int = 20) -> None:
    """Serve on the loopback until the process is stopped.

    Raises:
        AlstmError: the port is taken.
    """
    require_free(port)
    uvicorn.run(create_app(predictor, top_k=top_k), host=HOST, port=port, log_level="warning")
