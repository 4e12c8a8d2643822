"""``alstm serve``: an exported model behind HTTP on the loopback interface, one video per request.

Video files, and the page that sends them, are in :mod:`alstm_helpers.deployment.videos`; what is here takes features.

::

    GET  /health    → {"model": …, "classes": C, "video": {"max_bytes": …}, or null if it takes features only}
    POST /predict   ← npz with the arrays rgb uint8 (T, 1024) and audio uint8 (T, 128), or the same as JSON lists
                    → {"labels": [{"index", "name", "score"}, …], "attention": {"rgb": [T], "audio": [T]}}
    an error        → {"error": one sentence}, status 400 (bad payload), 403 (asked by a page of another site), 404,
                      405, 413 (too large), 421 (sent to another host), 500 or 503 (too many requests at once)

Nothing in a request is unpickled or executed, and what it unpacks into is bounded, as are its time and the number of
requests at once. This is a minimal example: on an open network, put a server with TLS and authentication in front.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import threading
import zipfile
from typing import IO, TypedDict
from urllib.parse import urlsplit

import h11
import numpy as np
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as RouteError
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from alstm_helpers.data.class_names import Label, best_labels
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.deployment.videos import START_WITH, Videos, add_page, add_videos
from alstm_helpers.errors import AlstmError, NotFinite
from alstm_helpers.figures.parts import Streams
from alstm_helpers.loopback import HOST
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, STREAM_DIMS

MAX_BYTES = 6 * MAX_FRAMES * (RGB_DIM + AUDIO_DIM)  # 300 seconds as JSON: three digits, a comma, a blank, brackets
AT_ONCE = 32  # requests that are received or answered at a time; each holds a body
PATIENCE = 30.0  # seconds for a request to arrive, from its first byte to its last; it may take longer if at least
RATE = 100_000  # bytes arrive per second
STOPPING = 5  # seconds in which a server that is stopped still answers what it has received
_MEMBERS = 8  # files in an archive
_HEADER = 2**12  # bytes of an array's header; NumPy writes 128
_VIDEO = re.compile(rb"....ftyp|\x1aE\xdf\xa3|GIF8|RIFF....AVI ", re.DOTALL)  # begins MP4, WebM, GIF, AVI
_CONTAINERS = 4 * MAX_FRAMES  # lists, objects and quotation marks in JSON; a video has two lists per second


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
        with self._lock:  # of the parsing too, whose lists take several times the memory of their text
            arrays = parse(body, content_type)
            lengths = np.array([len(arrays["rgb"])])
            found = self._predictor(arrays["rgb"][None], arrays["audio"][None], lengths)
        return {
            "labels": best_labels(found.scores.ravel(), self._top_k, self._names),
            "attention": {"rgb": found.rgb_attention.ravel().tolist(), "audio": found.audio_attention.ravel().tolist()},
        }


def create_app(
    predictor: Predictor, *, top_k: int = 20, max_bytes: int = MAX_BYTES, videos: Videos | None = None
) -> FastAPI:
    """Return the application.

    Args:
        predictor: the model; requests run on it one at a time.
        top_k: labels per answer.
        max_bytes: a larger payload is refused before it has been read completely.
        videos: how video files are labelled; None answers that they are not.
    """
    # Without addresses for FastAPI's own pages, which load scripts from the network.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(_require_local)])
    responder = Responder(predictor, top_k)
    slots = asyncio.Semaphore(AT_ONCE)

    add_page(app)
    add_videos(app, videos)

    @app.get("/health")
    def health() -> dict[str, object]:
        video = {"max_bytes": videos.max_bytes} if videos else None
        return {"model": predictor.path.name, "classes": predictor.num_classes, "video": video}

    # Without response_model, FastAPI builds one from Answer, which pydantic refuses before Python 3.12.
    @app.post("/predict", response_model=dict[str, object])
    async def predict(request: Request) -> Answer:
        if slots.locked():
            raise HTTPException(503, f"{AT_ONCE} requests at once are too many; send it again in a moment")
        async with slots:
            body = await _read(request, max_bytes, takes_videos=videos is not None)
            return await run_in_threadpool(responder.answer, body, request.headers.get("content-type", ""))

    @app.exception_handler(AlstmError)
    def bad_payload(request: Request, error: AlstmError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 500 if isinstance(error, NotFinite) else 400)

    @app.exception_handler(RouteError)
    def bad_request(request: Request, error: RouteError) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(ClientDisconnect)
    def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return JSONResponse({"error": "the request was not sent to its end"}, 400)  # nobody reads it

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"internal error: {type(error).__name__}"}, 500)

    return app


async def _require_local(request: Request) -> None:
    """Refuse what a web page of another site has its visitor's browser send, also under a name that leads here.

    Raises:
        HTTPException: Host is not this machine's loopback (421), or Origin is another site (403).
    """
    host = request.headers.get("host", "")
    if _host_in(f"//{host}") not in ("localhost", HOST):
        raise HTTPException(421, f"this is not {_short(host)!a}; ask for http://{HOST} or http://localhost")
    origin = request.headers.get("origin")
    if origin is not None and _host_in(origin) not in ("localhost", HOST):
        raise HTTPException(403, "pages of other sites may not ask this server; ask from a program")


def _short(said: object) -> str:
    """Return the beginning of what a request says, which may have any length."""
    return str(said)[:100]


def _host_in(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def _read(request: Request, max_bytes: int, *, takes_videos: bool) -> bytes:
    """Return the body of a request; stop with status 413 once it has more than ``max_bytes``.

    Raises:
        AlstmError: it is a video file, which belongs elsewhere.
    """
    body, is_video = bytearray(), request.headers.get("content-type", "").strip().lower().startswith("video/")
    async for part in request.stream():
        body += part
        if is_video or _VIDEO.match(body):
            if takes_videos:
                raise AlstmError("the payload", "it is a video file, and /predict takes features", "send it to /video")
            raise AlstmError("the payload", "it is a video file, and this server labels features only", START_WITH)
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
    except AlstmError:
        raise
    except Exception as error:  # json, zipfile, zlib and NumPy raise exceptions of their own
        form = '{"rgb": [[…]], "audio": [[…]]}' if is_json else "numpy.savez with rgb and audio"
        other = "" if is_json else ", or JSON under Content-Type: application/json"
        problem = f"it cannot be read ({type(error).__name__}: {_short(error)})"
        raise AlstmError("the payload", problem, f"send {form}{other}") from error
    seconds = len(arrays["rgb"])
    if not 1 <= seconds <= MAX_FRAMES or len(arrays["audio"]) != seconds:
        problem = f"{seconds} s of rgb, {len(arrays['audio'])} s of audio"
        raise AlstmError("the video", problem, f"send the same number for both, 1 to {MAX_FRAMES}")
    return arrays


def _from_json(body: bytes) -> dict[str, np.ndarray]:
    """Return both arrays of JSON; before it is parsed, what could grow in memory is counted."""
    if sum(map(body.count, (b"[", b"{", b'"'))) > _CONTAINERS:
        raise ValueError(f"more lists, objects or texts than {MAX_FRAMES} seconds have")
    values = json.loads(body)
    return {name: _to_uint8(name, values[name], dim) for name, dim in STREAM_DIMS.items()}


def _to_uint8(name: str, rows: object, dim: int) -> np.ndarray:
    """Return a list of lists of whole numbers as uint8 (T, dim); NumPy would pad texts to the longest one."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"{name} is not a list of lists")
    for number, row in enumerate(rows):
        if not set(map(type, row)) <= {int} or not all(map(range(256).__contains__, row)):
            raise ValueError(f"second {number} of {name} has other values than whole numbers 0 to 255")
        if len(row) != dim:
            raise AlstmError(name, f"second {number} has {len(row)} numbers", f"send {dim} per second")
    return np.array(rows, np.uint8).reshape(-1, dim)  # (T, dim), also for T = 0


def _from_npz(body: bytes) -> dict[str, np.ndarray]:
    """Return both arrays of an archive; a member is not unpacked unless its size and its header are those of a video.

    Raises:
        ValueError: a member is too large, or packed in a way that Python cannot unpack piece by piece.
        AlstmError: an array has another type or shape.
    """
    if body.count(b"PK\x01\x02") > _MEMBERS:  # each entry of the directory starts so
        raise ValueError(f"more than {_MEMBERS} files in it")
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name, dim in STREAM_DIMS.items():
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name} is neither stored nor deflated")
            with archive.open(info) as member:
                _check_header(name, member, dim)
            with archive.open(info) as member:
                content = io.BytesIO(member.read(MAX_FRAMES * dim + _HEADER))
            arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
    return arrays


def _check_header(name: str, member: IO[bytes], dim: int) -> None:
    """Require that an array is uint8 (T, dim) with at most 300 seconds, before room is made for it.

    Raises:
        AlstmError: it is not.
    """
    start = io.BytesIO(member.read(_HEADER))
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = readers[np.lib.format.read_magic(start)](start, max_header_size=_HEADER)
    if dtype != np.uint8 or len(shape) != 2 or shape[1] != dim:
        raise AlstmError(name, f"it is {_short(f'{dtype} {shape}')}", f"send uint8 (T, {dim}), one row per second")
    if shape[0] > MAX_FRAMES:
        raise AlstmError(name, f"it has {_short(shape[0])} seconds", f"send at most {MAX_FRAMES}")


class _Connection(H11Protocol):
    """A connection that is closed if its request does not arrive in time, or is still arriving at the stop."""

    _deadline: asyncio.TimerHandle | None = None
    _received = 0  # bytes since the time limit was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._wait()  # for the next request
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._arriving():
            self.transport.abort()
        else:
            super().shutdown()

    def _wait(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._received = 0
        self._deadline = self.loop.call_later(PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if self._arriving() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # there is no answer yet
            if self._received >= RATE * PATIENCE:  # a large body, whose size is bounded where it is read
                self._wait()
            else:
                self.send_400_response(f"the request did not arrive within {PATIENCE:.0f} s")
        elif self._arriving() or self.cycle.response_complete:  # it does not take the answer
            self.transport.abort()

    def _arriving(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)


def make_server(predictor: Predictor, *, top_k: int = 20, videos: Videos | None = None) -> uvicorn.Server:
    """Return a server; its ``run`` takes the sockets, see :func:`run_server`."""
    app = create_app(predictor, top_k=top_k, videos=videos)
    # The app has no work of its own to begin or end; with one, a second Ctrl-C would print a traceback.
    config = uvicorn.Config(
        app, http=_Connection, lifespan="off", log_level="error", timeout_graceful_shutdown=STOPPING
    )
    return uvicorn.Server(config)


def run_server(predictor: Predictor, listener: socket.socket, *, top_k: int, videos: Videos | None = None) -> None:
    """Serve on a socket, see :func:`alstm_helpers.loopback.listening`, until Ctrl-C or SIGTERM.

    Requests that have arrived are answered first, for at most five seconds; uploads are cut off.
    """
    make_server(predictor, top_k=top_k, videos=videos).run(sockets=[listener])
