"""Videos for the server, and its page: bounded, one at a time, nothing left behind, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import errno
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from starlette.testclient import TestClient

from alstm_helpers.deployment import videos
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.deployment.serve import create_app
from alstm_helpers.deployment.videos import Videos
from alstm_helpers.errors import AlstmError

MODEL = cast(Predictor, SimpleNamespace(class_names=None, num_classes=20, path=Path("model.onnx")))
LOCAL = "http://127.0.0.1"
MOST = 1000


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files; whatever a test does, it is empty afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


async def size_of(path):
    return {"bytes": path.stat().st_size}


def an_app(label=size_of):
    return create_app(MODEL, videos=Videos(label, MOST))


def a_client(label=size_of):
    return TestClient(an_app(label), base_url=LOCAL, raise_server_exceptions=False)


def test_a_video_is_stored_labelled_and_removed(temporary):
    seen = []

    async def label(path):
        seen.append((path.parent.parent, path.read_bytes(), path.parent.stat().st_mode & 0o077))
        return {"labels": []}

    answer = a_client(label).post("/video", content=b"abc" * 300, headers={"content-type": "video/mp4"})
    assert answer.status_code == 200 and answer.json() == {"labels": []}
    assert seen == [(temporary, b"abc" * 300, 0)]  # nobody else on this machine may look into the folder


def test_health_says_how_large_a_video_may_be():
    assert a_client().get("/health").json()["video"] == {"max_bytes": MOST}


@pytest.mark.parametrize("stated", [True, False], ids=["its size stated", "in chunks"])
def test_a_video_that_is_too_large_is_refused_before_it_is_whole(stated):
    async def label(path):
        pytest.fail("it was labelled")

    content = b"x" * (MOST + 1) if stated else iter([b"x" * MOST, b"x"])
    answer = a_client(label).post("/video", content=content)
    assert answer.status_code == 413
    assert "more than 1,000 bytes; cut it, or start the server with a larger --max_megabytes" in answer.json()["error"]
    assert a_client().post("/video", content=b"x" * MOST).json() == {"bytes": MOST}


def test_what_is_wrong_with_a_video_names_no_path_of_the_server():
    async def label(path):
        raise AlstmError(f"{path}", "it is odd", "convert it")

    answer = a_client(label).post("/video", content=b"x")
    assert answer.status_code == 400 and answer.json() == {"error": "the video: it is odd; convert it"}


def test_a_server_without_features_says_how_to_start_one():
    client = TestClient(create_app(MODEL), base_url=LOCAL)
    answer = client.post("/video", content=b"x")
    assert answer.status_code == 404 and "start it with --features DIR" in answer.json()["error"]
    assert client.get("/").status_code == 200 and client.get("/health").json()["video"] is None


def test_a_full_disk_is_one_sentence(monkeypatch):
    async def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(videos, "run_in_threadpool", full)
    answer = a_client().post("/video", content=b"x")
    assert answer.status_code == 507
    assert "the video cannot be stored: No space left on device; free some space" in answer.json()["error"]


def test_one_video_at_a_time():
    async def both():
        started, go = asyncio.Event(), asyncio.Event()

        async def label(path):
            started.set()
            await go.wait()
            return {}

        async with httpx.AsyncClient(transport=httpx.ASGITransport(an_app(label)), base_url=LOCAL) as client:
            first = asyncio.create_task(client.post("/video", content=b"1"))
            await started.wait()
            second = await client.post("/video", content=b"2")
            go.set()
            return second, await first, await client.post("/video", content=b"3")

    second, first, third = asyncio.run(both())
    assert (first.status_code, third.status_code) == (200, 200)
    assert second.status_code == 503 and second.json()["error"].startswith("another video is being worked on")


def asked(label, *messages):
    """Send these messages to an application; return those that it answers with."""
    answers: list[dict[str, object]] = []

    async def run():
        waiting = list(messages)

        async def receive():
            return waiting.pop(0) if waiting else await asyncio.Event().wait()

        async def send(message):
            answers.append(message)

        headers = [(b"host", b"127.0.0.1")]
        scope = {"type": "http", "method": "POST", "path": "/video", "headers": headers, "query_string": b""}
        await an_app(label)(scope, receive, send)

    asyncio.run(asyncio.wait_for(run(), 20))
    return answers


def test_an_upload_that_breaks_off_leaves_no_file():
    part = {"type": "http.request", "body": b"abc", "more_body": True}
    first, _ = asked(size_of, part, part, {"type": "http.disconnect"})
    assert first["status"] == 400


@pytest.mark.parametrize("how", ["the other side goes away", "the server is stopped"])
def test_work_that_nobody_waits_for_ends(how):
    ended = []

    async def label(path):
        if how == "the server is stopped":
            raise asyncio.CancelledError
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(path.exists())

    first, last = asked(label, {"type": "http.request", "body": b"abc"}, {"type": "http.disconnect"})
    if how == "the server is stopped":
        assert first["status"] == 503 and last["body"] == b'{"error":"the server was stopped"}'
    else:
        assert first["status"] == 400 and ended == [True]  # before its file is removed


def test_pages_of_other_sites_may_not_send_videos():
    answer = a_client().post("/video", content=b"x", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


PAGE = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}


@pytest.mark.parametrize("address", PAGE)
def test_the_page_loads_nothing_from_elsewhere(address):
    answer = a_client().get(address)
    assert answer.status_code == 200 and answer.headers["content-type"] == f"{PAGE[address]}; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy and "http" not in policy
    named = re.findall(r"(?:https?:)?//[\w.]+\.\w+", answer.text)
    assert set(named) <= {"http://www.w3.org"}  # the namespace of SVG, which is a name and is not fetched
    assert "innerHTML" not in answer.text and "insertAdjacentHTML" not in answer.text
    assert a_client().get(address, headers={"host": "evil.example"}).status_code == 421
