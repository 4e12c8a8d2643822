"""Video files: found in folders by their suffixes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".ogv"),
)


def find_video_files(sources: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the video files among the sources and in those that are folders, each once.

    Args:
        sources: files in any order, and folders, whose files come in the order of their paths.

    Raises:
        AlstmError: a source is missing, or a folder holds no video.
    """
    found: dict[Path, None] = {}
    for source in map(Path, sources):
        found |= dict.fromkeys(_videos_in(source) if source.is_dir() else [require_file(source, "check the path")])
    return list(found)


def _videos_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise AlstmError(folder, "no video in this folder", f"put files here that end in {' '.join(SUFFIXES)}")
    return found
