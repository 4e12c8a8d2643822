"""Video files: found in folders by their suffixes, and the ids that they go by."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

from alstm_helpers.data.filelists import files_below, without_repeats
from alstm_helpers.errors import AlstmError, printable

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".ogv", ".gif", ".h264", ".h265", ".hevc"),
)
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, bytes that are not UTF-8, ends of lines and paragraphs


def find_video_files(sources: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the video files among the sources and in those that are folders, each once.

    What has the name of a video but cannot be read, such as a link to nothing, is among them: whoever reads it says so.

    Args:
        sources: files in any order, and folders, whose files come in the order of their paths.

    Raises:
        AlstmError: a source is missing, a folder cannot be listed, or it holds no video.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if not os.path.lexists(source):
            raise AlstmError(source, "no such file", "check the path")
        found += _videos_in(source) if source.is_dir() else [source]
    return without_repeats(found)


def videos_below(folder: Path) -> list[Path]:
    """Return the videos below a folder by their suffixes, sorted, but no hidden ones.

    Raises:
        AlstmError: a folder cannot be listed.
    """
    return files_below(folder, is_video_name)


def is_video_name(path: Path) -> bool:
    """Tell whether a file has the suffix of a video."""
    return path.suffix.lower() in SUFFIXES


def _videos_in(folder: Path) -> list[Path]:
    found = videos_below(folder)
    if not found:
        raise AlstmError(folder, "no video in this folder", f"put files here that end in {' '.join(SUFFIXES)}")
    return found


def composed(text: str) -> str:
    """Return text in Unicode's composed form (NFC); macOS stores the names of files decomposed."""
    return unicodedata.normalize("NFC", text)


def id_of(video: Path) -> str:
    """Return the id of a video: its file name without suffix, composed, with whatever is unprintable escaped."""
    return _printed(video.stem)


def _printed(name: str) -> str:
    name = printable(os.fsencode(name))
    return composed("".join(c.encode("unicode_escape").decode() if _is_unprintable(c) else c for c in name))


def _is_unprintable(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTABLE


def location_of(video: Path) -> str:
    """Return the absolute path of a video as text, by which a later run knows it again."""
    return printable(os.fsencode(absolute(video)))


def absolute(video: Path) -> Path:
    """Return the path from the root, without ``..``, links as they are."""
    return Path(os.path.normpath(video.absolute()))


def videos_by_id(videos: Iterable[Path], earlier: Mapping[str, str] = MappingProxyType({})) -> dict[str, Path]:
    """Return the videos by their ids: the name, after as many of its folders as no other video has, as ``walk/01``.

    Args:
        videos: files.
        earlier: ids of an earlier run by :func:`location_of`, of videos or of parts of them. A video keeps its id, so
            that no other one that comes or goes changes it.

    Raises:
        AlstmError: two have the same name in the same folder, with other suffixes.
    """
    names = {path: _names_of(path) for path in videos}
    often = Counter(name for own in names.values() for name in own)
    by_id: dict[str, Path] = {}
    for path, own in names.items():
        known = earlier.get(location_of(path), "")
        kept = [name for name in own if known == name or known.startswith(f"{name}@")]
        free = [name for name in own if often[name] == 1]
        if not free:
            other = next(each for each, names_there in names.items() if each != path and own[-1] in names_there)
            raise AlstmError(other, f"{path} has the same name", "give each video a name of its own")
        by_id[kept[-1] if kept else free[0]] = path
    return by_id


def _names_of(video: Path) -> list[str]:
    """Return the ids that a video may have: its name, its folder and its name, and so on up to the whole path."""
    folders = [_printed(part) for part in reversed(absolute(video).parent.parts)]
    return list(accumulate(folders, lambda name, folder: f"{folder}/{name}", initial=id_of(video)))
