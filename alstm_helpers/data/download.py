"""YouTube-8M's shards from the official mirrors: resumed, retried, and accepted only after their checksum is verified.

The protocol is that of the data set's own ``download.py``: a plan names every file of a partition with its
md5; ``shard=X,Y`` takes the files with ``int(md5(name), 16) % Y == X - 1``; remote names end in two characters
of a–z A–Z 0–9, which encode the local number (``train0d`` → ``train3227.tfrecord``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import string
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import requests
import urllib3

from alstm_helpers.data.counts import counted
from alstm_helpers.data.transfer import AGAIN, PLAIN, Files, Remote, Retry, body_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import checksum
from alstm_helpers.ledger import Ledger, LedgerRow
from alstm_helpers.progress import ProgressBar, no_progress

_ALPHABET = string.ascii_lowercase + string.ascii_uppercase + string.digits
_PARTITION = re.compile(r"([0-9]+)/(frame|video)/(train|validate|test)")
_PART = re.compile(r"([0-9]{1,9}),([0-9]{1,9})")
_REMOTE_NAME = re.compile(r"(train|validate|test)([A-Za-z0-9])([A-Za-z0-9])\.tfrecord")
_MD5 = re.compile(r"[0-9a-f]{32}")
_LARGEST_PLAN = 2 * 10**6  # bytes; the official ones have 0.2 million
_SAMPLE = 8  # files whose sizes are asked for, to estimate the whole


@dataclass(frozen=True)
class DownloadOptions:
    """What to download, from where, and how.

    Args:
        shard: ``X,Y`` takes part X of Y; None takes everything.
        base_url: another server with the same layout; None for the official ones.
        workers: files at a time.
        retry: attempts and pauses.
    """

    shard: str | None = None
    base_url: str | None = None
    workers: int = 4
    retry: Retry = field(default_factory=Retry)


@dataclass(frozen=True)
class Downloads:
    """The outcome of a run; ``failed`` holds the error of each file that is still missing."""

    fetched: int = 0
    bytes: int = 0
    skipped: int = 0
    failed: list[AlstmError] = field(default_factory=list)

    def summary(self) -> str:
        """Return the last line of ``alstm download``."""
        megabytes = self.bytes / 1e6
        return f"downloaded {self.fetched} files, {megabytes:.1f} MB, {self.skipped} skipped, {len(self.failed)} failed"


def addresses(partition: str, mirror: str, base_url: str | None) -> tuple[str, str]:
    """Return the address of the plan, and that of the folder of the files.

    Raises:
        AlstmError: the partition is not of the form ``2/frame/train``.
    """
    match = _PARTITION.fullmatch(partition)
    if match is None:
        raise AlstmError(f"--partition {partition}", "not a partition", "write it as 2/frame/train or 2/frame/validate")
    version, level, split = match.groups()
    plans = (base_url or "http://data.yt8m.org").rstrip("/")
    files = (base_url or f"http://{mirror}.data.yt8m.org").rstrip("/")
    return f"{plans}/{version}/download_plans/{level}_{split}.json", f"{files}/{partition}"


def in_shard(name: str, shard: str | None) -> bool:
    """Return whether ``shard`` (``X,Y``: part X of Y; None: everything) includes a file.

    Raises:
        AlstmError: ``shard`` is not two numbers with 1 ≤ X ≤ Y.
    """
    if shard is None:
        return True
    match = _PART.fullmatch(shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise AlstmError(f"--shard {shard}", "not part X of Y", "write it as X,Y with 1 ≤ X ≤ Y, such as 1,100")
    return int(hashlib.md5(name.encode()).hexdigest(), 16) % int(match[2]) == int(match[1]) - 1


def local_name(name: str) -> str:
    """Return the local name of a remote file, as the converter and the lists expect it: ``train3227.tfrecord``.

    Raises:
        ValueError: not the name of a shard.
    """
    match = _REMOTE_NAME.fullmatch(name)
    if match is None:
        raise ValueError(name)
    split, first, second = match.groups()
    return f"{split}{62 * _ALPHABET.index(first) + _ALPHABET.index(second):04d}.tfrecord"


def read_plan(text: str | bytes, where: str) -> list[Remote]:
    """Return the files of a plan, sorted by name.

    Raises:
        AlstmError: not a plan, or an entry is not a shard's name and an md5 (a name is never used as a path).
    """
    try:
        files = json.loads(text)["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AlstmError(where, "not a download plan", "check --partition and --base-url") from None
    for name, md5 in files:
        if not _REMOTE_NAME.fullmatch(name) or not isinstance(md5, str) or not _MD5.fullmatch(md5):
            raise AlstmError(where, f"the entry {name!r}: {md5!r} is not a shard and its md5", "use another mirror")
    return [Remote(name, local_name(name), md5) for name, md5 in sorted(files)]


def download(
    partition: str,
    mirror: str,
    out: str | os.PathLike[str],
    options: DownloadOptions = DownloadOptions(),
    *,
    report: Callable[[str], None] = lambda line: None,
    progress: ProgressBar = no_progress,
) -> Downloads:
    """Fetch a partition, or part of it, into ``out``; a rerun fetches the missing files.

    ``out/downloads.jsonl`` records the verified files and their videos, so that nobody need read them again.

    Args:
        partition: such as ``2/frame/train``.
        mirror: ``us``, ``eu`` or ``asia``.
        out: folder for the shards.
        options: see :class:`DownloadOptions`.
        report: receives lines for the log.
        progress: wraps the finished files, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: a wrong argument, an unreachable plan, too little disk space, or another run is writing to ``out``.
    """
    plan_url, files_url = addresses(partition, mirror, options.base_url)
    in_shard("", options.shard)  # refuse a wrong value before asking the server
    session = requests.Session()
    plan = _fetch_plan(session, plan_url, options.retry)
    wanted = [remote for remote in plan if in_shard(remote.name, options.shard)]
    files = Files(session, files_url, Path(out), options.retry)
    ledger = Ledger(files.out / "downloads.jsonl", "file")
    with ledger.claimed():
        todo = [remote for remote in wanted if not _is_done(remote, files.out, ledger)]
        total = _check_space(files, todo, report) if todo else None
        with closing(files.fetch_all(todo, options.workers)) as outcomes:  # an error here must stop the transfers
            rows = (_with_count(outcome, files.out) for outcome in outcomes)
            bar = progress(rows, total=len(todo), desc="downloading", size=_bytes_of, total_size=total)
            done, failed = ledger.add_all(bar)
    return Downloads(len(done), sum(map(_bytes_of, done)), len(wanted) - len(todo), failed)


def _bytes_of(outcome: LedgerRow | AlstmError) -> int:
    return 0 if isinstance(outcome, AlstmError) else int(outcome["bytes"])


def _with_count(outcome: LedgerRow | AlstmError, out: Path) -> LedgerRow | AlstmError:
    """Add the number of its videos to the row of a file that has just been read, so that it is still in memory."""
    return outcome if isinstance(outcome, AlstmError) else counted(outcome, out / outcome["file"])


def _fetch_plan(session: requests.Session, url: str, retry: Retry) -> list[Remote]:
    """Fetch a plan and read it.

    Raises:
        AlstmError: no attempt succeeded, or it is not a plan.
    """
    problem = ""
    for wait in retry.waits():
        time.sleep(wait)
        try:
            with session.get(url, headers=PLAIN, stream=True, timeout=retry.timeout) as answer:
                if answer.status_code == 200:
                    return read_plan(_text_of(answer, url, retry.timeout), url)
                problem = f"the server answers {answer.status_code}"
                if answer.status_code == 404:
                    break
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            problem = f"no answer ({type(error).__name__})"
    raise AlstmError(url, problem, f"check the network, --partition and --base-url, then {AGAIN}")


def _text_of(answer: requests.Response, url: str, seconds: float) -> bytes:
    """Return the body of an answer that may be a plan.

    Raises:
        AlstmError: it is longer than any plan.
    """
    text = bytearray()
    for chunk in body_of(answer, seconds):
        text += chunk
        if len(text) > _LARGEST_PLAN:
            raise AlstmError(url, f"a plan has at most {_LARGEST_PLAN:,} bytes", "check --partition and --base-url")
    return bytes(text)


def _is_done(remote: Remote, out: Path, ledger: Ledger) -> bool:
    """Return whether a file is recorded and of unchanged size; record one whose checksum is right."""
    path = out / remote.local_name
    if not path.is_file():
        return False
    row = ledger.rows.get(remote.local_name)
    if row is not None and row.get("md5") == remote.md5:
        return bool(row.get("bytes") == path.stat().st_size)
    if checksum(path, "md5") != remote.md5:
        return False
    ledger.add(counted(remote.row(path.stat().st_size), path))
    return True


def _check_space(files: Files, todo: list[Remote], report: Callable[[str], None]) -> int | None:
    """Estimate the bytes to fetch from the sizes of a few files, and report them; return None if no size is known.

    Raises:
        AlstmError: they do not fit on the disk.
    """
    sample = [files.size_of(remote) for remote in todo[:: max(1, len(todo) // _SAMPLE)][:_SAMPLE]]
    sizes = [size for size in sample if size is not None]
    free = shutil.disk_usage(files.out).free
    if not sizes:
        report(f"{len(todo)} files to fetch, of unknown size; {free / 1e9:.1f} GB free")
        return None
    total = sum(sizes) / len(sizes) * len(todo)
    here = sum(part.stat().st_size for part in files.out.glob(".*.part"))
    report(f"{len(todo)} files to fetch, about {total / 1e9:.2f} GB; {free / 1e9:.1f} GB free")
    if total - here > free:
        problem = f"about {total / 1e9:.2f} GB to fetch, {free / 1e9:.2f} GB free"
        raise AlstmError(files.out, problem, "free some space, or take a part with --shard X,Y")
    return round(total)
