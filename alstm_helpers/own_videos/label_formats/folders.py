"""Read labels from folders: one per class, with its clips in it."""

from __future__ import annotations

from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.label_formats.annotation import Annotation, Found, Note, Place
from alstm_helpers.own_videos.label_formats.locations import is_writable
from alstm_helpers.own_videos.video_files import is_video_name, videos_below


def read_folders(folder: Path) -> Found:
    """Yield an annotation for each video in a folder ``class/clip.mp4``; a clip may be linked to from another class.

    Raises:
        AlstmError: there is no video, or one lies in a folder below that of a class.
    """
    linked = (path for path in folder.glob("[!.]*/[!.]*") if is_video_name(path))
    videos = {*videos_below(folder), *linked}
    if not videos:
        remedy = "name the folder of the export, or one with a folder of clips for each class"
        raise AlstmError(folder, "neither an export nor a video in this folder", remedy)
    for path in sorted(videos):
        parts = path.relative_to(folder).parts
        place = Place(folder, "/".join(parts))
        if not is_writable(path.name):
            yield place, Note("a name with control characters, or not in UTF-8: left out", left_out=True)
        elif len(parts) == 1:
            yield place, Note("in no folder of a class, left out", left_out=True)
        elif len(parts) == 2:
            yield place, Annotation(_location(path, folder), (parts[0],))
        else:
            raise place.error("it lies too deep: is its class the upper folder or the lower one?", "use class/clip.mp4")


def _location(video: Path, folder: Path) -> str:
    """Return ``class/clip.mp4``; of a link that keeps the name of its file, where the file lies."""
    file = video.resolve()
    if file.name != video.name:
        return video.relative_to(folder).as_posix()
    return (file.relative_to(folder.resolve()) if file.is_relative_to(folder.resolve()) else file).as_posix()
