"""Find the file that labels are about in what a tool or a table calls it: a path, a URL, an uploaded copy."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from urllib.parse import parse_qs, unquote

from alstm_helpers.own_videos.video_files import SUFFIXES, composed

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters at least: C: is a drive
_SERVED = "/data/"  # what Label Studio serves itself: uploads, and files of its machine
_UPLOAD = re.compile(r"((https?://[^/]+)?/(.+/)?data/)?upload/\d+/[0-9a-f]{8}-[^/]+")  # the digits are Label Studio's


def is_video(text: str) -> bool:
    """Tell whether a path or URL names a video file."""
    return video_path(text).lower().endswith(SUFFIXES)


def is_writable(name: str) -> bool:
    """Tell whether the name of a file can stand in a line of a table: no control characters, nothing but Unicode."""
    return all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in name)


def is_url(text: str) -> bool:
    """Tell whether text is a URL, in which names are percent-encoded."""
    return bool(_SCHEME.match(text)) or text.startswith(_SERVED) or _is_upload(text)


def _is_upload(text: str) -> bool:
    return _UPLOAD.fullmatch(re.split("[?#]", text)[0]) is not None


def video_path(text: str) -> str:
    """Return the path in a URL, decoded, without query and fragment; or a path as it is. Slashes go forward."""
    text = text.strip()
    path = _path_in_url(text) if is_url(text) else text
    return composed(posixpath.normpath(path.replace("\\", "/"))) if path else ""


def video_source(text: str) -> str:
    """Return what tells a video from others of the same name: its path, or the whole URL if that names no video file.

    The query of a URL that does is often a signature, which changes from export to export.
    """
    return text.strip() if is_url(text) and not is_video(text) else video_path(text)


def video_name(text: str) -> str:
    """Return the name of a file, without the eight digits that Label Studio puts before the names of uploads."""
    name = video_path(text).rpartition("/")[2]
    return name[9:] if _is_upload(text.strip()) else name


def _path_in_url(url: str) -> str:
    scheme = _SCHEME.match(url)
    if scheme and not scheme[1].lower().startswith("http") and unquote(url).lower().endswith(SUFFIXES):
        return unquote(url)  # names in a bucket may contain ? and #
    path, _, query = url.partition("#")[0].partition("?")
    values = parse_qs(query)
    if path.rstrip("/").endswith("/data/local-files"):
        return values.get("d", [""])[0]
    if not path.lower().endswith(SUFFIXES):
        return next((value for found in values.values() for value in found if value.lower().endswith(SUFFIXES)), path)
    return unquote(path)
