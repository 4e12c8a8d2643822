"""Files over HTTP: how often and how long a server is asked, what it may answer, and when a name is given."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import requests
from fileserver import CONTENT

from alstm_helpers.data import transfer
from alstm_helpers.data.transfer import Files, Remote, Retry, body_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import checksum

NAME = "trainab.tfrecord"
REMOTE = Remote(NAME, "b.tfrecord", hashlib.md5(CONTENT[NAME]).hexdigest())


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture
def files(server, session, tmp_path):
    return Files(session, f"{server.url}/2/frame/train", tmp_path, Retry(attempts=2, timeout=5, pause=0.01))


def test_pauses_double():
    assert list(Retry(attempts=4, pause=0.5).waits()) == [0, 0.5, 1, 2]
    assert list(Retry().waits()) == [0, 1, 2, 4, 8] and Retry().timeout == 30


def test_checksums_are_those_of_hashlib(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_pause_comes_before_each_further_attempt_and_ends_with_a_stop(server, session, tmp_path):
    class Stop(threading.Event):
        waits: ClassVar[list[float]] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waits.append(timeout or 0)
            if len(self.waits) == 3:
                self.set()
            return False

    server.faults[NAME] = ["error 503"] * 5
    files = Files(session, server.url, tmp_path, Retry(attempts=5, timeout=5, pause=8), Stop())
    assert "the server answers 503, 3 times; run the same" in str(files.fetch(REMOTE))
    assert Stop.waits == [0, 8, 16]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_that_will_never_have_it_is_asked_once(files, server, status):
    server.faults[NAME] = [f"error {status}"] * 2
    assert f"the server answers {status}; use another server" in str(files.fetch(REMOTE))
    assert server.gets == [NAME]


@pytest.mark.parametrize("status", [400, 402, 405, 409, 429, 500])
def test_another_answer_is_asked_again(files, server, status):
    server.faults[NAME] = [f"error {status}"]
    assert files.fetch(REMOTE) == {"file": "b.tfrecord", "md5": REMOTE.md5, "bytes": 50_000}


def test_the_last_problem_is_told_with_its_own_way_out(files, server):
    server.faults[NAME] = ["error 503", "wrong file"]
    assert "expected one, 2 times; use another server, or try later" in str(files.fetch(REMOTE))
    server.faults[NAME] = ["wrong file", "error 503"]
    assert "the server answers 503, 2 times; run the same command again" in str(files.fetch(REMOTE))


@pytest.mark.parametrize("have", [0, 100])
def test_another_range_than_asked_for_is_not_appended(files, server, tmp_path, have):
    part = tmp_path / ".b.tfrecord.part"
    if have:
        part.write_bytes(CONTENT[NAME][:have])
    server.faults[NAME] = ["another range"] * 2
    assert "sent another range than requested, 2 times" in str(files.fetch(REMOTE))
    assert not part.exists() and server.ranges == [f"bytes={have}-"] * bool(have)


def test_a_name_is_given_to_what_is_on_the_disk(files, monkeypatch):
    sizes, fsync = [], os.fsync

    def watched(number):
        sizes.append(os.fstat(number).st_size)
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    files.fetch(REMOTE)
    assert sizes == [50_000]


@pytest.mark.parametrize(("largest", "fits"), [(50_000, True), (49_999, False)])
def test_the_largest_file_still_fits(server, session, tmp_path, largest, fits):
    found = Files(session, server.url, tmp_path, largest=largest).fetch(REMOTE)
    assert isinstance(found, AlstmError) is not fits
    assert Files(session, server.url, tmp_path).largest == 8e9


@pytest.mark.parametrize(
    ("announced", "size"), [("0", 0), ("-1", None), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("x", None)]
)
def test_sizes(tmp_path, announced, size):
    answer = SimpleNamespace(status_code=200, headers={"Content-Length": announced})
    session = cast(Any, SimpleNamespace(head=lambda *_, **__: answer))
    assert Files(session, "http://x", tmp_path).size_of(REMOTE) == size


def test_the_size_of_a_file_that_has_moved(server, session, tmp_path):
    assert Files(session, f"{server.url}/moved", tmp_path).size_of(REMOTE) == 50_000


@pytest.mark.parametrize(("workers", "threads"), [(3, 3), (1, 1), (-1, None)])
def test_as_many_transfers_as_asked_for(files, monkeypatch, workers, threads):
    given = []

    def watched(count):
        given.append(count)
        return ThreadPoolExecutor(count)

    monkeypatch.setattr(transfer, "ThreadPoolExecutor", watched)
    assert len(list(files.fetch_all([REMOTE], workers))) == 1
    assert given == [threads]


@pytest.mark.parametrize(("periods", "ends"), [([9_999], False), ([50_000, 10_000], True), ([50_000, 9_999], False)])
def test_a_body_has_a_thousand_bytes_per_second_in_every_period(monkeypatch, periods, ends):
    """In periods of more than ten seconds: six pieces, each of which takes two seconds."""
    pieces = [bytes(size) for period in periods for size in (period - 5, 1, 1, 1, 1, 1)]
    left, clock = iter([*pieces, b""]), [0.0]

    def read(size):
        clock[0] += 2
        return next(left)

    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    answer = cast(requests.Response, SimpleNamespace(raw=SimpleNamespace(read=read)))
    if ends:
        assert list(body_of(answer, 10)) == pieces
    else:
        with pytest.raises(requests.ReadTimeout, match="9999 bytes in 10 s"):
            list(body_of(answer, 10))
