"""Read labels from folders: one per class, with its clips in it."""

from __future__ import annotations

from pathlib import Path

from alstm_helpers.own_videos.label_formats.annotation import Annotation, Found, Note, Place
from alstm_helpers.own_videos.video_files import SUFFIXES


def read_folders(folder: Path) -> Found:
    """Yield an annotation for each video in a folder ``class/clip.mp4``.

    Raises:
        AlstmError: a video lies in a folder below that of a class.
    """
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        parts = path.relative_to(folder).parts
        place = Place(folder, "/".join(parts))
        if len(parts) == 1:
            yield place, Note("in no folder of a class, left out", left_out=True)
        elif len(parts) == 2:
            yield place, Annotation("/".join(parts), (parts[0],))
        else:
            raise place.error("it lies too deep: is its class the upper folder or the lower one?", "use class/clip.mp4")
