"""A server of files on this machine that stalls, cuts off, lies and serves wrong files, as a test asks for it."""

import contextlib
import hashlib
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = {f"train{a}{b}.tfrecord": os.urandom(50_000) for a in "aZ9" for b in "b0"}


class Server(ThreadingHTTPServer):
    """Serves a plan and files; ``faults[name]`` lists what goes wrong at each successive request of a file."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(CONTENT)
        self.plan = {name: hashlib.md5(data).hexdigest() for name, data in self.files.items()}
        self.faults: dict[str, list[str]] = {}
        self.ranges: list[str] = []
        self.gets: list[str] = []
        self.paths: list[str] = []  # of the same requests
        self.announced_size: int | None = None
        self.etags: dict[str, str] = {}
        self.head_status: int | None = None
        self.plan_text: bytes | None = None
        self.plan_faults: list[int] = []  # statuses of its first requests
        self.plan_gets = 0

    def plan_of(self, split):
        """The plan of ``train`` or ``validate``; a plan of names that belong to neither stays whole."""
        own = {name: md5 for name, md5 in self.plan.items() if name.startswith(split)}
        return own if any(name.startswith("validate") for name in self.plan) else self.plan

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def _is_moved(self):
        """Send a client of the old address to the new one."""
        if "/moved/" in self.path:
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/new/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return True
        return False

    def do_HEAD(self):
        if self._is_moved():
            return
        name = self.path.rsplit("/", 1)[-1]
        data = self.server.files.get(name)
        self.send_response(self.server.head_status or (404 if data is None else 200))
        self.send_header("Content-Length", str(self.server.announced_size or len(data or b"")))
        if name in self.server.etags:
            self.send_header("ETag", self.server.etags[name])
        self.end_headers()

    def do_GET(self):
        if self._is_moved():
            return
        if "download_plans" in self.path:
            split = self.path.rsplit("_", 1)[-1].removesuffix(".json")
            plan = {"files": self.server.plan_of(split)}
            self.server.plan_gets += 1
            status = self.server.plan_faults.pop(0) if self.server.plan_faults else 200
            self._send(status, self.server.plan_text or json.dumps(plan).encode())
            return
        name = self.path.rsplit("/", 1)[-1]
        self.server.gets.append(name)
        self.server.paths.append(self.path)
        fault = (self.server.faults.get(name) or [""]).pop(0)
        data = self.server.files[name]
        start = 0
        if "Range" in self.headers and fault != "ignores range":
            self.server.ranges.append(self.headers["Range"])
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
        if fault.startswith("error "):
            self._send(int(fault.removeprefix("error ")), b"")
        elif fault == "another range":
            self._send(206, data[start + 1 :], content_range=f"bytes {start + 1}-{len(data) - 1}/{len(data)}")
        elif fault == "wrong file":
            self._send(200, os.urandom(len(data)))
        elif fault == "cuts off":
            self._send(200, data[:20_000], announced=len(data))
        elif fault == "lies about length":
            self._send(200, data[:20_000])
        elif fault == "stalls":
            self._send(200, data[:20_000], announced=len(data), then_sleep=1.5)
        elif fault in ("drips", "trickles"):
            size, pause = (1000, 0.02) if fault == "drips" else (1, 0.1)
            self._send(200, data[:size], announced=len(data))
            with contextlib.suppress(ConnectionError):
                for place in range(size, len(data), size):
                    self.wfile.write(data[place : place + size])
                    time.sleep(pause)
        elif fault == "never ends":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(bytes(2**16))
        elif start >= len(data):
            self._send(416, b"")
        elif start:
            self._send(206, data[start:], content_range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self._send(200, data)

    def _send(self, status, body, announced=None, content_range=None, then_sleep=0.0):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        time.sleep(then_sleep)
