"""Fetch files over HTTP: resumed, retried, and given their names only after their checksum is verified."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import requests
import urllib3

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import checksum, naming
from alstm_helpers.ledger import LedgerRow

AGAIN = "run the same command again; it resumes where it stopped"
_OTHER = "its md5 differs from the expected one"
_SLOWEST = 1000  # bytes per second; a server that sends less may never end
PLAIN = {"Accept-Encoding": "identity"}  # a body that is to be unpacked could unpack into anything


@dataclass(frozen=True)
class Retry:
    """How often and how patiently to ask a server.

    Args:
        attempts: attempts per file.
        timeout: seconds without a byte after which an attempt is given up.
        pause: seconds before the second attempt, doubled for each further one.
    """

    attempts: int = 5
    timeout: float = 30.0
    pause: float = 1.0

    def waits(self) -> Iterator[float]:
        """Yield the seconds to wait before each attempt."""
        yield 0.0
        for number in range(self.attempts - 1):
            yield self.pause * 2**number


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Args:
        name: its name there.
        local_name: its name here.
        md5: its checksum in hexadecimal; None if unknown, then the content is not verified.
    """

    name: str
    local_name: str
    md5: str | None

    def row(self, size: int) -> LedgerRow:
        """Return the ledger's row of the verified file of ``size`` bytes."""
        return {"file": self.local_name, "md5": self.md5, "bytes": size}


@dataclass(frozen=True)
class Files:
    """The files of one folder of a server, and the local folder that they are fetched to.

    A file grows as ``.<local_name>.part``, which a later attempt or run resumes.

    Args:
        session: the connection.
        url: address of the folder, without a slash at the end.
        out: the local folder; it exists.
        retry: attempts and pauses.
        stop: once set, files in transfer stop as soon as possible.
        largest: bytes of a file; a larger one is given up.
    """

    session: requests.Session
    url: str
    out: Path
    retry: Retry = Retry()
    stop: threading.Event = field(default_factory=threading.Event)
    largest: int = 8 * 10**9

    def size_of(self, remote: Remote) -> int | None:
        """Return the bytes of a file that the server announces, or None if it does not say."""
        try:
            url = f"{self.url}/{remote.name}"
            answer = self.session.head(url, headers=PLAIN, timeout=self.retry.timeout, allow_redirects=True)
            size = int(answer.headers.get("Content-Length", ""))
        except (requests.RequestException, ValueError):
            return None
        return size if answer.status_code == 200 and 0 <= size < 2**63 else None

    def fetch_all(self, remotes: Iterable[Remote], workers: int) -> Generator[LedgerRow | AlstmError, None, None]:
        """Fetch files, ``workers`` at a time; yield the outcome of :meth:`fetch` for each as it finishes.

        If the caller's loop ends early (Ctrl-C, a full disk), stop the files in transfer; a later run resumes them.
        """
        pool = ThreadPoolExecutor(workers if workers > 0 else None)
        try:
            for done in as_completed([pool.submit(self.fetch, remote) for remote in remotes]):
                yield done.result()
        finally:
            self.stop.set()
            pool.shutdown(cancel_futures=True)

    def fetch(self, remote: Remote, *, resume: bool = True) -> LedgerRow | AlstmError:
        """Fetch one file and return its row; return an error if it is still missing after the last attempt.

        Args:
            remote: the file.
            resume: continue what an earlier run left; without a checksum it may be of another version of the file, and
                nothing would tell.
        """
        url, part = f"{self.url}/{remote.name}", self.out / f".{remote.local_name}.part"
        if not resume:
            part.unlink(missing_ok=True)
        problems = list[str]()
        for wait in self.retry.waits():
            self.stop.wait(wait)
            try:
                problem = self._fetch_rest(url, part) or _verify(part, remote.md5)
            except AlstmError as error:  # another attempt would end in the same way
                return error
            if not problem:
                path = part.replace(self.out / remote.local_name)
                return remote.row(path.stat().st_size)
            problems.append(problem)
            if self.stop.is_set():
                break
        remedy = AGAIN if problems[-1] != _OTHER else "use another server, or try later"
        return AlstmError(f"{url} → {remote.local_name}", f"{problems[-1]}, {len(problems)} times", remedy)

    def _fetch_rest(self, url: str, part: Path) -> str:
        """Append the missing rest of a file; return "" if it is complete, otherwise the problem.

        Raises:
            AlstmError: the server has no such file, or one that is too large.
        """
        have = part.stat().st_size if part.exists() else 0
        headers = {**PLAIN, **({"Range": f"bytes={have}-"} if have else {})}
        try:
            with self.session.get(url, headers=headers, stream=True, timeout=self.retry.timeout) as answer:
                if answer.status_code == 416 and have:  # nothing follows: the part is complete, or of another file
                    return ""
                if answer.status_code == 200:
                    return self._receive(answer, part, "wb")
                if answer.status_code in (401, 403, 404, 410):
                    raise AlstmError(url, f"the server answers {answer.status_code}", "use another server")
                if answer.status_code != 206:
                    return f"the server answers {answer.status_code}"
                if answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    return self._receive(answer, part, "ab")
                part.unlink(missing_ok=True)
                return "the server sent another range than requested"
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return f"the connection broke ({type(error).__name__})"

    def _receive(self, answer: requests.Response, part: Path, mode: str) -> str:
        """Write the body of an answer to a file; return "stopped" if it was stopped.

        Raises:
            AlstmError: the file becomes larger than ``largest``; then it is removed.
        """
        with naming(part), part.open(mode) as file:
            for chunk in body_of(answer, self.retry.timeout):
                if file.tell() + len(chunk) > self.largest:
                    part.unlink()
                    raise AlstmError(answer.url, f"it has more than {self.largest / 1e9:g} GB", "use another server")
                file.write(chunk)
                if self.stop.is_set():
                    return "stopped"
            file.flush()
            os.fsync(file.fileno())  # a name must never outlive a power cut without its content
        return ""


def body_of(answer: requests.Response, seconds: float) -> Iterator[bytes]:
    """Yield the body of a streamed answer as it comes, not unpacked.

    Raises:
        requests.RequestException: less than 1,000 bytes per second came in a period of ``seconds``.
        urllib3.exceptions.HTTPError: the connection broke.
    """
    read = getattr(answer.raw, "read1", answer.raw.read)  # urllib3 1 has only read, which waits
    start, received = time.monotonic(), 0
    while chunk := read(io.DEFAULT_BUFFER_SIZE):
        yield chunk
        received += len(chunk)
        if time.monotonic() > start + seconds:
            if received < _SLOWEST * seconds:
                raise requests.ReadTimeout(f"{received} bytes in {seconds} s")
            start, received = time.monotonic(), 0


def _verify(part: Path, md5: str | None) -> str:
    """Return "" if a file has this md5; otherwise remove it, because wrong content cannot be resumed, and say so."""
    if md5 is None or checksum(part, "md5") == md5:
        return ""
    part.unlink()
    return _OTHER
