"""Read labels from what PaddleVideo trains on: its JSON of actions, ActivityNet's JSON, and lists of ``path label``."""

from __future__ import annotations

from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.label_formats.annotation import (
    Annotation,
    Document,
    Found,
    Note,
    Place,
    ReadOptions,
    class_names,
    entries,
    objects,
    split_labels,
    text_of,
)
from alstm_helpers.own_videos.label_formats.locations import is_video

_NOT_ANNOTATED = Note("without annotations, left out")


def is_actions(document: Document) -> bool:
    """Tell whether a JSON document is that of PaddleVideo's FootballAction: the actions in each of some videos."""
    return isinstance(document.get("gts"), list)


def read_actions(place: Place, document: Document) -> Found:
    """Yield the actions; ``start_id`` and ``end_id`` are seconds, as ``fps`` is the rate of extracted pictures.

    Raises:
        AlstmError: the document is of another form.
    """
    for here, video in objects(place, "gts", document["gts"]):
        url = video.get("url")
        if not isinstance(url, str):
            raise here.at("url").wrong_type(url, "the name of a video")
        for there, action in objects(here, "actions", video.get("actions")):
            labels = class_names(there.at("label_names"), action.get("label_names") or action.get("label_ids"))
            start, end = (_seconds(there.at(name), action.get(name)) for name in ("start_id", "end_id"))
            yield there, Annotation(url, labels, start, end)
        if not video["actions"]:
            yield here, _NOT_ANNOTATED


def is_segments(document: Document) -> bool:
    """Tell whether a JSON document is ActivityNet's, in the form of PaddleVideo's BMN, too: parts of videos by name."""
    videos = document.get("database", document)
    return isinstance(videos, dict) and bool(videos) and all(
        isinstance(video, dict) and isinstance(video.get("annotations"), list) for video in videos.values()
    )  # fmt: skip


def read_segments(place: Place, document: Document) -> Found:
    """Yield the parts of videos, which are called by their names without suffix.

    Raises:
        AlstmError: a part is not as ActivityNet has it.
    """
    for here, name, video in entries(place, "database", document.get("database", document)):
        if not video["annotations"]:  # as in the test set, whose labels are not public
            yield here, _NOT_ANNOTATED
        for there, part in objects(here, "annotations", video["annotations"]):
            labels = class_names(there.at("label"), part.get("label_name", part.get("label")))
            segment = part.get("segment")
            if segment is None:
                yield there, Annotation(name, labels)
            elif not isinstance(segment, list) or len(segment) != 2:
                raise there.at("segment").wrong_type(segment, "a start and an end in seconds")
            else:
                start, end = (_seconds(there.at("segment"), time) for time in segment)
                yield there, Annotation(name, labels, start, end)


def is_list(text: str) -> bool:
    """Tell whether each line of a text is the path of a video and its label."""
    lines = [line.rsplit(maxsplit=1) for line in text.split("\n") if line.strip()]
    return bool(lines) and all(len(words) == 2 and is_video(words[0]) for words in lines)


def read_list(path: Path, options: ReadOptions) -> Found:
    """Yield the annotation of each line of a list.

    Raises:
        AlstmError: a line is of another form.
    """
    text = text_of(path, options)
    if text.strip() and not is_list(text):
        raise AlstmError(path, "not each line is the path of a video and a label", "write lines like run/01.mp4 run")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place, (video, label) = Place(path, f"line {number}"), line.rsplit(maxsplit=1)
            yield place, Annotation(video, tuple(split_labels(place, label, options.separator)))


def _seconds(place: Place, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.wrong_type(value, "a number of seconds")
    if not 0 <= value < 1e9:
        raise place.error(f"{value} is no place in a video", "correct it")
    return float(value)
