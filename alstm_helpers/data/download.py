"""YouTube-8M's shards from the official mirrors: resumed, retried, and believed only after their checksum.

The protocol is that of the data set's own ``download.py``: a plan names every file of a partition with its
md5; ``shard=X,Y`` takes the files with ``int(md5(name), 16) % Y == X - 1``; remote names end in two characters
of a–z A–Z 0–9, from which the local number is counted (``train0d`` → ``train3227.tfrecord``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import string
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed, write_json_lines
from alstm_helpers.ledger import Ledger
from alstm_helpers.progress import ProgressBar, no_progress

MIRRORS = ("us", "eu", "asia")
_ALPHABET = string.ascii_lowercase + string.ascii_uppercase + string.digits
_PARTITION = re.compile(r"^(\d+)/(frame|video)/(train|validate|test)$")
_REMOTE_NAME = re.compile(r"^(train|validate|test)([A-Za-z0-9])([A-Za-z0-9])\.tfrecord$")
_MD5 = re.compile(r"^[0-9a-f]{32}$")
_CHUNK = 1 << 20
_RECEIVE = 1 << 14  # what a broken connection loses at the most
_AGAIN = "run the same command again; it goes on where it stopped"


@dataclass(frozen=True)
class Remote:
    """One file of the plan."""

    name: str
    md5: str

    @property
    def local_name(self) -> str:
        """``trainI0…`` as the converter and the lists expect it: the split and a four-digit number."""
        match = _REMOTE_NAME.match(self.name)
        assert match is not None  # read_plan lets no other name through
        split, first, second = match.groups()
        return f"{split}{62 * _ALPHABET.index(first) + _ALPHABET.index(second):04d}.tfrecord"

    def row(self, size: int) -> dict[str, Any]:
        """What ``downloads.jsonl`` records of it, once its checksum is right."""
        return {"file": self.local_name, "md5": self.md5, "bytes": size}


@dataclass
class Downloads:
    """What a run did; ``failed`` holds the error of each file that is still missing."""

    fetched: int = 0
    bytes: int = 0
    skipped: int = 0
    failed: list[AlstmError] = field(default_factory=list)

    def summary(self) -> str:
        """The last line of ``alstm download``."""
        megabytes = self.bytes / 1e6
        return f"downloaded {self.fetched} files, {megabytes:.1f} MB, {self.skipped} skipped, {len(self.failed)} failed"


def addresses(partition: str, mirror: str, base_url: str | None) -> tuple[str, str]:
    """The plan's address and the folder of the files.

    Raises:
        AlstmError: the partition is not written as ``2/frame/train``.
    """
    match = _PARTITION.match(partition)
    if match is None:
        raise AlstmError(f"--partition {partition}", "not a partition", "write it as 2/frame/train or 2/frame/validate")
    version, level, split = match.groups()
    plans = (base_url or "http://data.yt8m.org").rstrip("/")
    files = (base_url or f"http://{mirror}.data.yt8m.org").rstrip("/")
    return f"{plans}/{version}/download_plans/{level}_{split}.json", f"{files}/{partition}"


def in_shard(name: str, shard: str | None) -> bool:
    """Whether ``shard`` (``X,Y``: part X of Y; None: everything) takes a file.

    Raises:
        AlstmError: not two numbers with 1 ≤ X ≤ Y.
    """
    if shard is None:
        return True
    match = re.match(r"^(\d+),(\d+)$", shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise AlstmError(f"--shard {shard}", "not part X of Y", "write it as X,Y with 1 ≤ X ≤ Y, such as 1,100")
    return int(hashlib.md5(name.encode()).hexdigest(), 16) % int(match[2]) == int(match[1]) - 1


def read_plan(text: str, where: str) -> list[Remote]:
    """The files of a plan, sorted by name.

    Raises:
        AlstmError: not a plan, or a name or checksum that could not be one (a name is never used as a path).
    """
    try:
        files = json.loads(text)["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AlstmError(where, "not a download plan", "check --partition and --base-url") from None
    for name, md5 in files:
        if not _REMOTE_NAME.match(name) or not isinstance(md5, str) or not _MD5.match(md5):
            raise AlstmError(where, f"the entry {name!r}: {md5!r} is not a shard and its md5", "use another mirror")
    return [Remote(name, md5) for name, md5 in sorted(files)]


def download(
    partition: str,
    mirror: str,
    out: str | os.PathLike[str],
    *,
    shard: str | None = None,
    base_url: str | None = None,
    workers: int = 4,
    attempts: int = 5,
    timeout: float = 30.0,
    pause: float = 1.0,
    report: Callable[[str], None] = lambda line: None,
    progress: ProgressBar = no_progress,
) -> Downloads:
    """Fetch a partition, or part of it, into ``out``; a rerun fetches what is missing.

    A file grows as ``.<name>.part``, which a later attempt goes on with, and gets its name when its md5 is right.
    ``out/downloads.jsonl`` records what was verified, so that a rerun need not read it again.

    Args:
        partition: such as ``2/frame/train``.
        mirror: ``us``, ``eu`` or ``asia``.
        out: folder for the shards.
        shard: ``X,Y`` takes part X of Y.
        base_url: another server with the same layout, instead of the official ones.
        workers: files at once.
        attempts: tries a file before it counts as failed.
        timeout: seconds without a byte after which a try is given up.
        pause: seconds before the second try, doubled for each further one.
        report: receives lines for the log.
        progress: wraps the finished files, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: a wrong argument, a plan that cannot be had, too little disk space, or another run that is
            writing to ``out``.
    """
    plan_url, files_url = addresses(partition, mirror, base_url)
    in_shard("", shard)
    out = Path(out)
    session = requests.Session()
    plan = _fetch_plan(session, plan_url, attempts, timeout, pause)
    wanted = [remote for remote in plan if in_shard(remote.name, shard)]
    record = out / "downloads.jsonl"
    with claimed(out):
        before = Ledger(record, "file").rows
        verified = dict(before)
        todo = [remote for remote in wanted if not _is_done(remote, out, verified)]
        result = Downloads(skipped=len(wanted) - len(todo))
        total = _check_space(session, todo, files_url, out, timeout, report) if todo else 0

        mirror_files = Files(session, files_url, out, attempts, timeout, pause)
        outcomes = mirror_files.fetch_all(todo, workers)
        bar = progress(outcomes, total=len(todo), desc="downloading", size=_bytes_of, total_size=total)
        for remote, size in bar:
            if isinstance(size, AlstmError):
                result.failed.append(size)
                continue
            verified[remote.local_name] = remote.row(size)
            with record.open("a", encoding="utf-8") as file:  # a crash loses at most the last row
                file.write(json.dumps(verified[remote.local_name]) + "\n")
            result.fetched += 1
            result.bytes += size
        if list(before.items()) != sorted(verified.items()):
            write_json_lines(record, (verified[name] for name in sorted(verified)))
    result.failed.sort(key=str)
    return result


def _bytes_of(outcome: tuple[Remote, int | AlstmError]) -> int:
    return 0 if isinstance(outcome[1], AlstmError) else outcome[1]


def _fetch_plan(session: requests.Session, url: str, attempts: int, timeout: float, pause: float) -> list[Remote]:
    problem = ""
    for attempt in range(attempts):
        try:
            answer = session.get(url, timeout=timeout)
            if answer.status_code == 200:
                return read_plan(answer.text, url)
            problem = f"the server answers {answer.status_code}"
            if answer.status_code == 404:
                break
        except requests.RequestException as error:
            problem = f"no answer ({type(error).__name__})"
        time.sleep(pause * 2**attempt if attempt + 1 < attempts else 0)
    raise AlstmError(url, problem, "check the network, --partition and --base-url, then " + _AGAIN)


def _is_done(remote: Remote, out: Path, verified: dict[str, dict[str, Any]]) -> bool:
    """Verified before and of unchanged size; or, without a record, of the right checksum, which is then recorded."""
    path = out / remote.local_name
    if not path.is_file():
        return False
    row = verified.get(remote.local_name)
    if row is not None and row.get("md5") == remote.md5:
        return bool(row.get("bytes") == path.stat().st_size)
    if _md5_of(path) != remote.md5:
        return False
    verified[remote.local_name] = remote.row(path.stat().st_size)
    return True


def _md5_of(path: Path) -> str:
    digest = hashlib.md5()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_space(
    session: requests.Session, todo: list[Remote], url: str, out: Path, timeout: float, report: Callable[[str], None]
) -> int | None:
    """Estimate the bytes to come from a few files' sizes, say it, and refuse if they will not fit."""
    sizes = []
    for remote in todo[:: max(1, len(todo) // 8)][:8]:
        try:
            answer = session.head(f"{url}/{remote.name}", timeout=timeout)
            sizes.append(int(answer.headers.get("Content-Length", "")))
        except (requests.RequestException, ValueError):
            continue
    free = shutil.disk_usage(out).free
    if not sizes:
        report(f"{len(todo)} files to come, of unknown size; {free / 1e9:.1f} GB free")
        return None
    total = sum(sizes) / len(sizes) * len(todo)
    here = sum(part.stat().st_size for part in out.glob(".*.part"))
    report(f"{len(todo)} files to come, about {total / 1e9:.2f} GB; {free / 1e9:.1f} GB free")
    if total - here > free:
        problem = f"about {total / 1e9:.2f} GB are to come, {free / 1e9:.2f} GB are free"
        raise AlstmError(out, problem, "free some space, or take a part with --shard X,Y")
    return round(total)


@dataclass
class Files:
    """Files on their way from ``url`` to ``out``, each with a ``name`` there, a ``local_name`` and its ``md5``.

    Settings as in :func:`download`; an ``md5`` of None is not checked.
    """

    session: requests.Session
    url: str
    out: Path
    attempts: int
    timeout: float
    pause: float
    stop: threading.Event = field(default_factory=threading.Event)

    def fetch_all(self, remotes: Iterable[Remote], workers: int) -> Iterator[tuple[Remote, int | AlstmError]]:
        """Each file's bytes, or why it is still missing, as they come.

        Whatever ends the loop early (Ctrl-C, a full disk) also stops the files under way; they can be gone on with.
        """
        pool = ThreadPoolExecutor(workers)
        try:
            for done in as_completed([pool.submit(self.fetch, remote) for remote in remotes]):
                yield done.result()
        finally:
            self.stop.set()
            pool.shutdown(cancel_futures=True)

    def fetch(self, remote: Any) -> tuple[Any, int | AlstmError]:
        """Fetch one file: how many bytes it has, or why it is still missing."""
        url, part = f"{self.url}/{remote.name}", self.out / f".{remote.local_name}.part"
        problem = ""
        for attempt in range(self.attempts):
            self.stop.wait(self.pause * 2 ** (attempt - 1) if attempt else 0)
            try:
                problem = self._fetch_rest(url, part)
            except requests.RequestException as error:
                problem = f"the connection broke ({type(error).__name__})"
            if not problem:
                if remote.md5 is None or _md5_of(part) == remote.md5:
                    part.replace(self.out / remote.local_name)
                    return remote, (self.out / remote.local_name).stat().st_size
                part.unlink()  # what is wrong cannot be gone on with
                problem = "its md5 differs from the plan's"
            if self.stop.is_set():
                break
        return remote, AlstmError(f"{url} → {remote.local_name}", f"{problem}, {attempt + 1} times", _AGAIN)

    def _fetch_rest(self, url: str, part: Path) -> str:
        """Append what is missing of a file; returns what went wrong, or nothing."""
        have = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with self.session.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
            if answer.status_code == 416 and have:  # nothing beyond what is here: it is whole, or of another file
                return ""
            if answer.status_code not in (200, 206):
                return f"the server answers {answer.status_code}"
            resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if answer.status_code == 206 and not resumed:
                part.unlink(missing_ok=True)
                return "the server sent another range than asked for"
            with part.open("ab" if resumed else "wb") as file:
                for chunk in answer.iter_content(_RECEIVE):
                    file.write(chunk)
                    if self.stop.is_set():
                        return "stopped"
                file.flush()
                os.fsync(file.fileno())  # a name must never outlive a power cut without its content
        return ""
