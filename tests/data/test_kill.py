"""SIGKILL at random moments: download, convert and make-data, run again, end as if they had not been killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import a_video, sums_fit

from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.download import DownloadOptions, download
from alstm_helpers.data.flashdigits import Settings, make_data
from alstm_helpers.tfrecord import write_videos

pytestmark = [pytest.mark.posix, pytest.mark.no_cover]
KILLS = 20
# The imports come first, filelock's too, so that the moment of the kill is counted from where the work begins.
CONVERT = "from alstm_helpers.data.convert import ConvertOptions, convert; import filelock; print('go', flush=True); "
CONVERT += "convert({!r}, {!r}, ConvertOptions(workers={}))"
MAKE = "from alstm_helpers.data.flashdigits import Settings, make_data; "
MAKE += "import filelock; print('go', flush=True); make_data({!r}, Settings(train=48, val=12, shards=4), workers={})"
DOWNLOAD = "from alstm_helpers.data.download import DownloadOptions, download; "
DOWNLOAD += "import filelock; print('go', flush=True); "
DOWNLOAD += "download('2/frame/train', 'us', {!r}, DownloadOptions(base_url={!r}, workers=3))"


def results(folder: Path) -> dict[str, object]:
    """Every file below a folder, hidden ones too; rows of records without their seconds, which differ in every run."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content: object = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            content = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
        if path.suffix == ".crc32c":
            content = sums_fit(path)
        found[str(path.relative_to(folder))] = content
    return found


@contextlib.contextmanager
def started(code: str) -> Iterator[subprocess.Popen[str]]:
    """Start a Python in its own process group, and wait until its work begins."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "go\n"
        yield run


def killed_and_run_again(
    tmp_path: Path, code: Callable[[Path, int], str], again: Callable[[Path], object], workers: int
) -> None:
    """Kill ``code`` at a random moment of its work, in a new folder each time; ``again`` must then complete it.

    Half of the kills hit the parent alone, so that with several workers orphans may still be writing meanwhile.
    """
    again(tmp_path / "whole")
    with started(code(tmp_path / "timed", workers)) as run:
        start = time.perf_counter()
        assert run.wait(timeout=60) == 0
        seconds = time.perf_counter() - start
    expected = results(tmp_path / "whole")
    assert results(tmp_path / "timed") == expected
    rng = random.Random(workers)
    interrupted = 0
    for number in range(KILLS):
        folder = tmp_path / f"killed {number}"
        with started(code(folder, workers)) as run:
            time.sleep(rng.uniform(0, seconds))
            (os.kill if number % 2 else os.killpg)(run.pid, signal.SIGKILL)
            if run.wait() == -signal.SIGKILL:
                interrupted += 1
            else:  # it had ended: on a machine that was busy before and no longer is, work takes less time
                seconds *= 0.8
            again(folder)
            with contextlib.suppress(ProcessLookupError, PermissionError):  # there were no orphans
                os.killpg(run.pid, signal.SIGKILL)
                again(folder)  # they may have been writing
            assert results(folder) == expected, f"kill {number}"
    assert interrupted > KILLS / 2  # else most kills came too late to test anything


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    source = tmp_path_factory.mktemp("tf")
    for number in range(8):
        videos = [a_video(f"{number}{index}", 120, [index]) for index in range(40)]
        write_videos(source / f"train{number:04d}.tfrecord", videos)
    return source


@pytest.mark.parametrize("workers", [1, 2])
def test_convert(tmp_path, shards, workers):
    def code(folder, workers):
        return CONVERT.format(str(shards), str(folder), workers)

    killed_and_run_again(tmp_path, code, lambda folder: convert(shards, folder, ConvertOptions(workers=1)), workers)


def test_make_data(tmp_path):
    def again(folder):
        make_data(folder, Settings(train=48, val=12, shards=4), workers=1)

    killed_and_run_again(tmp_path, lambda folder, workers: MAKE.format(str(folder), workers), again, workers=1)


class SlowMirror(BaseHTTPRequestHandler):
    """Serves a plan and its files, a little at a time."""

    files = {f"train{a}{b}.tfrecord": random.Random(a + b).randbytes(150_000) for a in "abc" for b in "xyz"}  # noqa: RUF012

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(200, b"", len(self.files[Path(self.path).name]))

    def do_GET(self):
        if "download_plans" in self.path:
            plan = {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}
            content = json.dumps({"files": plan}).encode()
            self.answer(200, content, len(content))
            return
        content = self.files[Path(self.path).name]
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if first >= len(content):
            self.answer(416, b"", 0)
        else:
            where = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.answer(206 if first else 200, content[first:], len(content) - first, where)

    def answer(self, status, content, length, where=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if where and status == 206:
            self.send_header("Content-Range", where)
        self.end_headers()
        for first in range(0, len(content), 20_000):
            self.wfile.write(content[first : first + 20_000])
            time.sleep(0.005)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Say nothing: a client that is killed breaks its connection."""


@pytest.fixture
def mirror():
    server = QuietServer(("127.0.0.1", 0), SlowMirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_download(tmp_path, mirror):
    def again(folder):
        options = DownloadOptions(base_url=mirror, workers=3)
        assert download("2/frame/train", "us", folder, options).failed == []

    killed_and_run_again(tmp_path, lambda folder, workers: DOWNLOAD.format(str(folder), mirror), again, workers=1)
