"""Read labels from Label Studio's exports JSON and JSON-MIN.

Read are choices, taxonomies, labels of regions, and labels on the timeline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from alstm_helpers.own_videos.label_formats.annotation import Annotation, Document, Found, Place
from alstm_helpers.own_videos.video_files import SUFFIXES

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # which Label Studio puts before the name of an uploaded file
_ABOUT_THE_TASK = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "completed_by")
_KINDS = ("choices", "labels", "timelinelabels", "videolabels", "rectanglelabels", "taxonomy")

Part = tuple[float | None, float | None]  # start and end in seconds; None is the whole video


def read_task(place: Place, task: Document, fps: float | None) -> Found:
    """Yield the annotations of a task of JSON: those of all annotators together, without cancelled ones."""
    video = _video_name(place, task.get("data"))
    for annotation in task.get("annotations") or task.get("completions") or []:
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        yield place, Annotation(video, ())  # somebody looked at it, even if no class fits
        for region in annotation.get("result") or []:
            yield from _region(place, video, region.get("value") or {}, fps)


def read_min_task(place: Place, task: Document, fps: float | None) -> Found:
    """Yield the annotations of a task of JSON-MIN: its data, with one more key per control of the project."""
    video = _video_name(place, task)
    yield place, Annotation(video, ())
    for value in _control_values(task):
        if isinstance(value, dict):
            yield from _region(place, video, value, fps)
        elif isinstance(value, str):
            yield place, Annotation(video, (value,))


def _control_values(task: Document) -> Iterator[object]:
    """Yield the values of the controls one by one."""
    for key, value in task.items():
        is_file = value == task.get("video") or (isinstance(value, str) and _is_video(value))
        if key in _ABOUT_THE_TASK or is_file:
            continue
        yield from value if isinstance(value, list) else [value]


def _region(place: Place, video: str, value: Document, fps: float | None) -> Found:
    """Yield one result of a control: labels of the whole video or of parts of it."""
    labels = _labels(value)
    if labels:
        for start, end in _parts(place, value, fps):
            yield place, Annotation(video, labels, start, end)


def _labels(value: Document) -> tuple[str, ...]:
    """Return the names in a result; of a path in a taxonomy its last step."""
    names = [name for kind in _KINDS for name in value.get(kind) or []]
    return tuple(str(name[-1]) if isinstance(name, list) and name else str(name) for name in names)


def _parts(place: Place, value: Document, fps: float | None) -> Iterator[Part]:
    """Yield the parts of the video that a result labels."""
    ranges = value.get("ranges")
    if ranges:
        if not fps:
            raise place.error("its labels on the timeline are counted in frames", "pass the frame rate: --fps 25")
        for part in ranges:  # frames count from 1, and the last one is included
            yield (part["start"] - 1) / fps, part["end"] / fps
    elif "sequence" not in value and isinstance(value.get("start"), int | float):
        yield float(value["start"]), float(value["end"])
    else:
        yield None, None


def _is_video(text: str) -> bool:
    return text.split("?")[0].lower().endswith(SUFFIXES) or text.lower().endswith(SUFFIXES)


def _video_name(place: Place, data: object) -> str:
    """Return the name of a task's video file, without what Label Studio puts before it."""
    values = data.values() if isinstance(data, dict) else ()
    found = next((value for value in values if isinstance(value, str) and _is_video(value)), None)
    if found is None:
        raise place.error("it names no video file", "export a project of videos")
    without_query = found.split("?")[0]
    name = re.split(r"[/\\=]", without_query if _is_video(without_query) else found)[-1]
    return _UPLOAD_PREFIX.sub("", name)
