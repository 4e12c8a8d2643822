"""Weights by address: fetched once into a cache, resumed after an interruption, verified each time they are used."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

import requests

from alstm_helpers.data.transfer import Files, Remote, Retry
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import checksum, claimed, recorded, write_sealed

PUBLISHED_WEIGHTS = "https://videotag.bj.bcebos.com/PaddleVideo-release2.2/AttentionLSTM_yt8.pdparams"
VOCABULARY = "https://research.google.com/youtube8m/csv/2/vocabulary.csv"
_BY_HAND = "download it where there is a network, and pass the path of the file instead"
_RECORD = "fetched.json"  # beside a file in the cache
_RETRY = Retry()


class NotFetched(AlstmError):
    """A file is not in the cache, and no server gave it."""


@dataclass(frozen=True)
class _Address:
    """Where a file is published, where it is fetched from, and the SHA-256 that the address requires of it, if any."""

    url: str
    source: str
    sha256: str | None

    @classmethod
    def parse(cls, text: str, *, mirrored: bool) -> _Address:
        """Split off a ``#sha256=…``; ``published`` stands for PaddleVideo's weights.

        Args:
            text: the address.
            mirrored: whether a mirror of published files has it, as it has PaddleVideo's weights.
        """
        url, fragment = urldefrag(PUBLISHED_WEIGHTS if text == "published" else text)
        sha256 = fragment.lower().removeprefix("sha256=") if fragment else None
        if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise AlstmError(text, "the text after # is not a checksum", "write #sha256= and 64 hexadecimal digits")
        mirror = os.environ.get("ALSTM_WEIGHTS_MIRROR") if mirrored or text == "published" else None
        return cls(url, mirror.rstrip("/") + urlsplit(url).path if mirror else url, sha256)

    def check(self, sha256: str) -> None:
        """Require that the content has the SHA-256 that the address names."""
        if self.sha256 and sha256 != self.sha256:
            problem = f"its SHA-256 is {sha256}, not the one after the #"
            raise AlstmError(self.source, problem, "correct the address, or do not use the file")

    @property
    def name(self) -> str:
        """The name of the file."""
        name = Path(urlsplit(self.url).path).name
        return name if name not in ("", "..") else "weights.pdparams"

    @property
    def path(self) -> Path:
        """Its place in the cache: files of the same name from two servers are two files."""
        return cache_folder() / hashlib.sha256(self.url.encode()).hexdigest()[:12] / self.name


def cache_folder() -> Path:
    """Return ``ALSTM_CACHE``, or ``~/.cache/alstm_helpers``."""
    return Path(os.environ.get("ALSTM_CACHE") or Path.home() / ".cache" / "alstm_helpers")


def is_address(weights: str) -> bool:
    """Return whether ``--weights`` is something to fetch: ``published``, or a URL."""
    return weights == "published" or weights.startswith(("http://", "https://"))


def place_in_cache(url: str) -> Path:
    """Return where the file of an address is in the cache once it has been fetched."""
    return _Address.parse(url, mirrored=False).path


def fetched_record(path: Path) -> dict[str, Any]:
    """Return what is known about a file in the cache: ``url``, ``sha256`` and ``bytes``; nothing if it is damaged."""
    return recorded(path.with_name(_RECORD)) or {}


def fetch_weights(
    address: str, *, md5: str | None = None, pinned: bool = False, way_out: str = _BY_HAND, retry: Retry = _RETRY
) -> Path:
    """Return the file in the cache; fetch it first if it is not there.

    The content is verified against everything known about it: the md5 that the server names (as an ETag), a
    ``#sha256=…`` at the end of the address, and on every later use the SHA-256 that it had when it was fetched.

    ``ALSTM_WEIGHTS_MIRROR`` is the address of a server that has the published files under the same paths. It is asked
    for ``published``, for files with a known md5, which it cannot change, and for those that are pinned.

    Args:
        address: ``published`` for PaddleVideo's weights, or a URL.
        md5: of the content, if the publisher names it.
        pinned: whether the file never changes: its SHA-256 of the first time is required for good. A file that somebody
            put into its place in the cache is taken, too.
        way_out: what someone without a network can do; ends the error message.
        retry: attempts and pauses.

    Raises:
        NotFetched: no answer; nothing is added to the cache.
        AlstmError: wrong content; likewise.
    """
    wanted = _Address.parse(address, mirrored=md5 is not None or pinned)
    path, record = wanted.path, wanted.path.with_name(_RECORD)
    if _is_known(wanted):  # which needs no claim: several processes may use it at once
        return path
    with claimed(path.parent):
        if _is_known(wanted):
            return path
        first = fetched_record(path).get("sha256") if pinned else None
        if not (pinned and path.is_file() and not record.exists()):
            _fetch(wanted, md5, way_out, retry)
        found = checksum(path, "sha256")
        try:
            wanted.check(found)
            if first not in (None, found):
                problem = f"its SHA-256 is now {found}, and was {first} at first"
                raise AlstmError(wanted.source, problem, f"find out why; to accept the new file, delete {record}")
        except AlstmError:
            path.unlink()
            raise
        write_sealed(record, {"url": wanted.source, "sha256": found, "bytes": path.stat().st_size})
    return path


def _is_known(wanted: _Address) -> bool:
    """Tell whether the file is in the cache as it was fetched; otherwise it is missing, damaged, or nobody can tell."""
    known = fetched_record(wanted.path).get("sha256")
    if not wanted.path.is_file() or not known or checksum(wanted.path, "sha256") != known:
        return False
    wanted.check(known)
    return True


def _fetch(wanted: _Address, md5: str | None, way_out: str, retry: Retry) -> None:
    """Fetch the file into its folder.

    Raises:
        NotFetched: no answer, or content with another md5.
    """
    session = requests.Session()
    folder = wanted.source.partition("?")[0].rpartition("/")[0]
    name = wanted.source[len(folder) + 1 :]  # with its ?query, if it has one
    remote = Remote(name, wanted.name, md5 or _announced_md5(session, wanted.source, retry.timeout, way_out))
    known = remote.md5 is not None or wanted.sha256 is not None
    outcome = Files(session, folder, wanted.path.parent, retry).fetch(remote, resume=known)
    if isinstance(outcome, AlstmError):
        raise NotFetched(wanted.source, outcome.problem, f"run the same command again, or {way_out}")


def _announced_md5(session: requests.Session, url: str, timeout: float, way_out: str) -> str | None:
    """Return the md5 that the server announces for a file, or None if it announces none.

    Raises:
        NotFetched: no answer, or no such file.
    """
    try:
        answer = session.head(url, timeout=timeout, allow_redirects=True)
    except requests.RequestException as error:
        raise NotFetched(url, f"no answer ({type(error).__name__})", way_out) from None
    if answer.status_code in (405, 501):  # it describes no file without sending it
        return None
    if answer.status_code != 200:
        raise NotFetched(url, f"the server answers {answer.status_code}", way_out)
    tag = answer.headers.get("ETag", "").strip('"').lower()
    return tag if re.fullmatch(r"[0-9a-f]{32}", tag) else None
