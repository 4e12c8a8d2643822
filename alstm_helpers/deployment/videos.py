"""Videos for ``alstm serve``, and the page that sends them to it.

::

    GET  /          → the page; it loads /page.css and /page.js, and nothing from elsewhere
    POST /video     ← a video file, as it is
                    → {"labels", "seconds", "attention", "timeline", "thumbnails", "notes"}

A file is bounded, written to a temporary folder piece by piece, and removed in any case. One is received and labelled
at a time; if whoever sent it goes away, the work on it ends.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from starlette.requests import ClientDisconnect

from alstm_helpers.errors import AlstmError, remedy_of
from alstm_helpers.language import ENGLISH, chosen, say

Found: TypeAlias = Mapping[str, object]  # what an answer holds
START_WITH = "start it with --features DIR, the folder that `alstm features` made for the model"
_FOLDER = Path(__file__).with_name("page")
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_BUFFER = 2**20  # bytes that are written at once
_SHOWN = re.compile(r'(?<=>)[^<>\n]*[A-Za-z][^<>\n]*(?=<)|(?<=aria-label=")[^"]+')  # in the page's HTML
_TOLD = re.compile(r'\btold\("([^"]+)"')  # by its script


@dataclass(frozen=True)
class Videos:
    """How videos are labelled.

    Args:
        label: returns what is found in a file; it is cancelled if nobody waits for that any more.
        max_bytes: of a file; a larger one is refused.
    """

    label: Callable[[Path], Coroutine[None, None, Found]]
    max_bytes: int


def add_page(app: FastAPI) -> None:
    """Let an application answer with the page."""
    for address, (name, kind) in _PAGE.items():
        app.add_api_route(address, _sender(name, kind), response_class=FileResponse)


def page_texts() -> list[str]:
    """Return what the page says, in English: the texts of its HTML, and those that its script fills in."""
    page, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.html", "page.js"))
    return list(dict.fromkeys([*_SHOWN.findall(page), *_TOLD.findall(script)]))


def _translated_page() -> str:
    """Return the page's HTML in the chosen language, with what its script says as an attribute of its root."""
    page = (_FOLDER / "page.html").read_text(encoding="utf-8")
    texts = html.escape(json.dumps({text: say("page", text) for text in page_texts()}, ensure_ascii=False))
    page = _SHOWN.sub(lambda match: html.escape(say("page", match[0])), page)
    return page.replace('<html lang="en">', f'<html lang="{chosen()}" data-texts="{texts}">')


def _sender(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        if kind == "text/html" and chosen() != ENGLISH:
            return Response(_translated_page(), media_type=kind, headers=_HEADERS)
        return FileResponse(_FOLDER / name, media_type=kind, headers=_HEADERS)

    return send


def add_videos(app: FastAPI, videos: Videos | None) -> None:
    """Let an application label videos, or say what it needs for that."""
    busy = asyncio.Lock()

    @app.post("/video", response_model=None)
    async def video(request: Request) -> Found:
        if videos is None:
            raise HTTPException(404, f"this server labels features only; for videos {START_WITH}")
        if busy.locked():
            raise HTTPException(503, "another video is being worked on; send this one again in a moment")
        async with busy:
            with TemporaryDirectory(prefix="alstm-", ignore_cleanup_errors=True) as folder:
                path = Path(folder, "video")
                await _receive(request, path, videos.max_bytes)
                try:
                    return await _unless_gone(request, videos.label(path))
                except AlstmError as error:  # who sent it knows no path here
                    where = error.where.replace(str(path), "the video")
                    raise AlstmError(where, error.problem, error.remedy) from None
                except asyncio.CancelledError:
                    raise HTTPException(503, "the server was stopped") from None


async def _receive(request: Request, path: Path, max_bytes: int) -> None:
    """Write the body of a request to a file.

    Raises:
        HTTPException: it has more than ``max_bytes`` (413), or there is no room for it (507).
    """
    stated, size = request.headers.get("content-length", ""), 0
    refusal = HTTPException(
        413, f"the video has more than {max_bytes:,} bytes; cut it, or start the server with a larger --max_megabytes"
    )
    if stated.isdecimal() and int(stated) > max_bytes:
        raise refusal
    try:
        with path.open("wb", buffering=_BUFFER) as file:
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise refusal
                await run_in_threadpool(file.write, part)
    except OSError as error:
        raise HTTPException(507, f"the video cannot be stored: {error.strerror}; {remedy_of(error)}") from None


async def _unless_gone(request: Request, work: Coroutine[None, None, Found]) -> Found:
    """Return what work returns; end it if the other side goes away.

    Raises:
        ClientDisconnect: it did.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
