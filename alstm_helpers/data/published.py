"""Weights by address: fetched once into a cache, gone on with after a break, checked each time they are used."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import requests

from alstm_helpers.data.download import Files
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed, write_json

PUBLISHED_WEIGHTS = "https://videotag.bj.bcebos.com/PaddleVideo-release2.2/AttentionLSTM_yt8.pdparams"
_BY_HAND = "fetch it where there is a network, and pass the path of the file to --weights"


@dataclass(frozen=True)
class _Wanted:
    name: str
    local_name: str
    md5: str | None


def cache_folder() -> Path:
    """``ALSTM_CACHE``, or ``~/.cache/alstm_helpers``."""
    return Path(os.environ.get("ALSTM_CACHE") or Path.home() / ".cache" / "alstm_helpers")


def is_address(weights: str) -> bool:
    """Whether ``--weights`` names something to be fetched: ``published``, or a URL."""
    return weights == "published" or weights.startswith(("http://", "https://"))


def fetch_weights(
    address: str,
    *,
    md5: str | None = None,
    way_out: str = _BY_HAND,
    attempts: int = 3,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """The file in the cache, fetched if it is not there.

    What is known of its content is checked: the md5 that the server names (as an ETag), a
    ``#sha256=…`` at the end of the address, and later each time the SHA-256 that it had when it was fetched.

    Args:
        address: ``published`` for PaddleVideo's weights, or a URL.
        md5: of the content, where it is known.
        way_out: what somebody without a network can do.
        attempts: tries before it fails.
        timeout: seconds without a byte after which a try is given up.
        pause: seconds before the second try, doubled for each further one.

    Raises:
        AlstmError: there is no answer, or the content is not what it should be; then the cache stays without it.
    """
    url, fragment = urldefrag(PUBLISHED_WEIGHTS if address == "published" else address)
    pinned = fragment.lower().removeprefix("sha256=") if fragment else None
    if pinned is not None and not re.fullmatch(r"[0-9a-f]{64}", pinned):
        raise AlstmError(address, "what stands behind the # is no checksum", "write #sha256= and 64 hexadecimal digits")
    name = Path(urlsplit(url).path).name or "weights.pdparams"
    # Two files of one name from two servers are two files.
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:12]
    path, record = folder / name, folder / "fetched.json"
    with claimed(folder):
        if path.is_file() and record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))["sha256"]
            if _sha256(path) == known:
                _check(url, known, pinned)
                return path
            path.unlink()  # spoilt since
        session = requests.Session()
        wanted = _Wanted(name, name, md5 or _md5_told(session, url, timeout, way_out))
        _, outcome = Files(session, url.rpartition("/")[0], folder, attempts, timeout, pause).fetch(wanted)
        if isinstance(outcome, AlstmError):
            raise AlstmError(url, outcome.problem, f"run the same command again, or {way_out}")
        found = _sha256(path)
        try:
            _check(url, found, pinned)
        except AlstmError:
            path.unlink()
            raise
        write_json(record, {"url": url, "sha256": found, "bytes": path.stat().st_size})
    return path


def _check(url: str, found: str, pinned: str | None) -> None:
    if pinned and found != pinned:
        raise AlstmError(url, f"its SHA-256 is {found}, not that after the #", "correct the address, or do not use it")


def _md5_told(session: requests.Session, url: str, timeout: float, way_out: str) -> str | None:
    """The md5 that the server gives for the file, if it does."""
    try:
        answer = session.head(url, timeout=timeout, allow_redirects=True)
    except requests.RequestException as error:
        raise AlstmError(url, f"no answer ({type(error).__name__})", way_out) from None
    if answer.status_code in (405, 501):  # it does not say anything about a file without sending it
        return None
    if answer.status_code != 200:
        raise AlstmError(url, f"the server answers {answer.status_code}", way_out)
    tag = answer.headers.get("ETag", "").strip('"').lower()
    return tag if re.fullmatch(r"[0-9a-f]{32}", tag) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
