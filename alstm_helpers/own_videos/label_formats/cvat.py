"""Read labels from CVAT: its XML for videos (tracks), and its XML for images, of frames or of whole videos."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from alstm_helpers.own_videos.label_formats.annotation import Annotation, Found, Note, Place, ReadOptions
from alstm_helpers.own_videos.label_formats.locations import is_video

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ONE_FRAME = Note("a label of one frame: read as one of the whole video")
_NO_LABEL = Note("no label in it, left out; if no class fits the video, say so in a table", left_out=True)
_ATTRIBUTES = Note("attributes of labels: not read")
_DIGITS = 9  # of a frame's number, at most

Span = tuple[int, int]  # the first frame, and the one after the last


class _Task(NamedTuple):
    """A video that was annotated: the numbers of its first frame and of the one after the last, if known, and between
    two that are next to each other.
    """

    video: str
    first: int
    stop: int | None
    step: int


def is_export(root: Element) -> bool:
    """Tell whether an XML document is CVAT's."""
    return root.tag == "annotations"


def read_root(place: Place, root: Element, options: ReadOptions) -> Found:
    """Yield the annotations of a document: of whole videos, or of the seconds in which a label is seen.

    Raises:
        AlstmError: it is not as CVAT writes it, or frames are labelled and their rate is not known.
    """
    tasks = _tasks(place, root)
    found = [*_tracks(place, root, tasks), *_frames(place, root, tasks)]
    if root.find(".//attribute[@name]") is not None:
        yield place, _ATTRIBUTES
    for here, label, span, task in found:
        yield from ((here, each) for each in _annotation(here, label, span, task, options))
    for number, image in enumerate(root.findall("image")):
        if is_video(name := image.get("name", "")):
            yield _place(place, "image", number, image), Annotation(name, tuple(_labels(image)))
    labelled = {task.video for _, _, _, task in found}
    yield from ((place.at(task.video), _NO_LABEL) for task in tasks.values() if task.video not in labelled)


def _annotation(place: Place, label: str, span: Span, task: _Task, options: ReadOptions) -> Iterator[Annotation | Note]:
    first, stop = span
    is_one = stop - first <= task.step
    if is_one:
        yield _ONE_FRAME
    if is_one or (task.stop is not None and first <= task.first and stop >= task.stop):
        yield Annotation(task.video, (label,))
    elif options.fps is None:
        problem = f"{label} is a label of the frames {first} to {stop - 1}, not of the whole video"
        raise place.error(problem, "pass the frame rate: --fps 25")
    else:
        yield Annotation(task.video, (label,), first / options.fps, stop / options.fps)


def _tasks(place: Place, root: Element) -> dict[str, _Task]:
    """Return the annotated videos by the numbers of their tasks; the file names of the videos are in ``source``."""
    tasks: dict[str, _Task] = {}
    for about in (each for tag in ("meta", "task", "job") for each in root.iter(tag)):
        source = about.findtext("source")
        if source is None:
            continue
        if about.tag == "meta":  # as some versions write it, beside the task
            about = next((each for tag in ("task", "job") for each in about.iter(tag)), about)
        found = re.search(r"step\s*=\s*(\d{1,9})", about.findtext("frame_filter") or "")
        step = max(1, int(found[1])) if found else 1
        first = _number(place.at("start_frame"), about.findtext("start_frame") or "0")
        size = about.findtext("size")
        stop = None if size is None else first + step * _number(place.at("size"), size)
        tasks[about.findtext("id") or ""] = _Task(source, first, stop, step)
    return tasks


def _task_of(place: Place, element: Element, tasks: Mapping[str, _Task]) -> _Task:
    """Return the video that a track or a frame is of."""
    task = tasks.get(element.get("task_id", ""))
    if task is None and len(tasks) == 1:
        task = next(iter(tasks.values()))
    if task is None:
        raise place.error("nothing says of which video it is", "export a task of one video as CVAT for video 1.1")
    return task


def _tracks(place: Place, root: Element, tasks: Mapping[str, _Task]) -> Iterator[tuple[Place, str, Span, _Task]]:
    """Yield where the object of each track is seen: from a shape to the next one outside, or to the end."""
    for number, track in enumerate(root.findall("track")):
        here = _place(place, "track", number, track)
        task, label = _task_of(here, track, tasks), track.get("label") or ""
        shapes = {
            _number(here.at("frame"), shape.get("frame", "")): _is_seen(shape)
            for shape in track
            if shape.get("frame") is not None
        }
        first = None
        for frame, is_seen in sorted(shapes.items()):
            if is_seen and first is None:
                first = frame
            elif not is_seen and first is not None:
                yield here, label, (first, frame), task
                first = None
        if first is not None:
            yield here, label, (first, max(task.stop or 0, max(shapes) + task.step)), task


def _is_seen(shape: Element) -> bool:
    """Tell whether a shape is inside the picture; of a skeleton, any of its points."""
    marks = [each.get("outside") for each in (shape, *shape) if each.get("outside") is not None]
    return not marks or "0" in marks


def _frames(place: Place, root: Element, tasks: Mapping[str, _Task]) -> Iterator[tuple[Place, str, Span, _Task]]:
    """Yield the frames next to each other that have the same label; ``id`` is the number of a frame."""
    frames: dict[tuple[_Task, str], dict[int, Place]] = defaultdict(dict)
    for number, image in enumerate(root.findall("image")):
        labels = _labels(image)
        if labels and not is_video(image.get("name", "")):
            here = _place(place, "image", number, image)
            task, frame = _task_of(here, image, tasks), _number(here.at("id"), image.get("id", ""))
            for label in labels:
                frames[task, label].setdefault(frame, here)
    for (task, label), places in frames.items():
        for first, stop in _runs(sorted(places), task.step):
            yield places[first], label, (first, stop), task


def _runs(frames: Iterable[int], step: int) -> list[Span]:
    """Return frames as spans of those that are at most a step apart."""
    spans: list[Span] = []
    for frame in frames:
        if spans and frame <= spans[-1][1]:
            spans[-1] = (spans[-1][0], frame + step)
        else:
            spans.append((frame, frame + step))
    return spans


def _labels(image: Element) -> list[str]:
    """Return the labels of a frame: its tags, and those of shapes in it."""
    return [label for child in image if (label := child.get("label"))]


def _place(place: Place, kind: str, number: int, element: Element) -> Place:
    return place.at(f"{kind} {element.get('id', number)}")


def _number(place: Place, text: str) -> int:
    if not re.fullmatch(rf"\d{{1,{_DIGITS}}}", text.strip(), re.ASCII):
        raise place.error(f"{text!r} is not the number of a frame", "export it again")
    return int(text)
