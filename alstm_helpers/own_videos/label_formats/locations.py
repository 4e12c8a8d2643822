"""Find the file that labels are about in what a tool or a table calls it: a path, a URL, an uploaded copy."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Collection
from itertools import takewhile
from urllib.parse import parse_qs, unquote

from alstm_helpers.own_videos.video_files import SUFFIXES, composed

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters at least: C: is a drive
_ANCHORED = re.compile(r"/|[a-z][a-z0-9+.-]*:/", re.IGNORECASE)  # a root, a drive, or what was a URL
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


def video_location(text: str) -> str:
    """Return the path of a video as far as it means something here: of uploads, and of pages, the name alone."""
    is_local = not _is_upload(text.strip()) and (is_video(text) or not is_url(text))
    return video_path(text) if is_local else video_name(text)


def shortened(paths: Collection[str]) -> dict[str, str]:
    """Return what to write for each path: of absolute ones the folder that all have in common is left out.

    It says where the files lay, perhaps on another machine; folders below it may tell files of the same name apart.
    """
    absolute = {path: _ANCHORED.sub(lambda root: root[0].replace(":", ""), path).split("/")
                for path in paths if _ANCHORED.match(path)}  # fmt: skip
    levels = zip(*(parts[:-1] for parts in absolute.values()), strict=False)
    common = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return {path: "/".join(absolute[path][common:]).lstrip("/") if path in absolute else path for path in paths}


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
