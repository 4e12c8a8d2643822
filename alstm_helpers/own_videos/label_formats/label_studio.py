"""Read labels from Label Studio's exports JSON, JSON-MIN, CSV and TSV.

Read are choices, taxonomies, labels of regions, and labels on the timeline. Drafts, predictions, skipped annotations,
text, numbers and ratings are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.label_formats.annotation import (
    BACKWARDS,
    LABELS,
    NO_LENGTH,
    Annotation,
    Document,
    Found,
    Note,
    Place,
    ReadOptions,
    class_names,
    objects,
)
from alstm_helpers.own_videos.label_formats.locations import is_url, is_video, video_path

_ABOUT_THE_TASK = {
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "completed_by", "agreement"),
    *("history", "was_cancelled"),
}
_KINDS = (  # of results that are about a video, a picture or a sound
    *("choices", "taxonomy", "labels", "timelinelabels", "videolabels", "rectanglelabels", "polygonlabels"),
    *("ellipselabels", "keypointlabels", "brushlabels", "bitmasklabels", "vectorlabels"),
)
_NOT_ANNOTATED = Note("not annotated, left out (skipped annotations, drafts and predictions do not count)")
_FRAME_0 = Note("a part begins at frame 0, though Label Studio counts from 1: read as frame 1")
_LONGEST = 1e9  # frames or seconds; what is more overflows

Part = tuple[float | None, float | None]  # start and end in seconds; None is the whole video


def is_export(columns: Iterable[str]) -> bool:
    """Tell whether the columns of a table are those of Label Studio's CSV."""
    return {"annotation_id", "lead_time"} <= set(columns)


def read_task(place: Place, task: Document, options: ReadOptions) -> Found:
    """Yield the annotations of a task of JSON: those of all annotators together, without cancelled ones.

    Raises:
        AlstmError: the task is not as Label Studio writes it.
    """
    video = _video_of(place, task.get("data"))
    field = "annotations" if task.get("annotations") else "completions"
    finished = [
        (here, annotation)
        for here, annotation in objects(place, field, task.get(field) or [])
        if not (annotation.get("was_cancelled") or annotation.get("skipped"))
    ]
    if not finished:
        yield place, _NOT_ANNOTATED
    if len(finished) > 1:
        yield place, Note("annotated more than once: all labels are taken together")
    for here, annotation in finished:
        values = [_value_of(*region) for region in objects(here, "result", annotation.get("result") or [])]
        yield from _annotation(here, video, values, options)


def _value_of(place: Place, region: Document) -> tuple[Place, Document]:
    """Return what a region of JSON says; relations between regions say nothing."""
    value, place = region.get("value") or {}, place.at("value")
    if not isinstance(value, dict):
        raise place.wrong_type(value, "an object")
    return place, value


def read_min(path: Path, tasks: Sequence[tuple[Place, Document]], options: ReadOptions) -> Found:
    """Yield the annotations of tasks of JSON-MIN: their data, with one more key per control of the project.

    Raises:
        AlstmError: the columns with labels cannot be told from others, or a value is not as Label Studio writes it.
    """
    columns, notes = _label_columns(path, tasks, options.columns)
    yield from ((Place(path, ""), note) for note in notes)
    for place, task in tasks:
        if "annotation_id" in task and task["annotation_id"] in (None, ""):
            yield place, _NOT_ANNOTATED
        else:
            values = [(place.at(column), value) for column in columns for value in _items(task.get(column))]
            yield from _annotation(place, _video_of(place, task), values, options)


def _label_columns(
    path: Path, tasks: Sequence[tuple[Place, Document]], chosen: Sequence[str]
) -> tuple[list[str], list[Note]]:
    """Return the columns with labels: the chosen ones, or those with results of controls and those named as such.

    A choice of one class is plain text in JSON-MIN, as data and comments are.
    """
    columns: dict[str, list[object]] = {}
    for _, task in tasks:
        for column, value in task.items():
            columns.setdefault(column, []).extend(_items(value))
    if missing := [column for column in chosen if column not in columns]:
        raise AlstmError(path, f"it has no column {missing[0]}", f"name one of {', '.join(columns)}")
    data = {column: items for column, items in columns.items() if column not in _ABOUT_THE_TASK}
    results = [c for c in data if any(isinstance(item, dict) and item.keys() & set(_KINDS) for item in data[c])]
    plain = [column for column in data if column not in results and _is_plain(data[column])]
    named = [column for column in plain if column.lower() in LABELS]
    found = list(chosen) or [column for column in data if column in results or column in named]
    rest = [column for column in plain if column not in found]
    if found and rest and not chosen:
        text = f"plain text, not read as classes; if they are classes, say --label_columns {','.join([*found, *rest])}"
        return found, [Note(f"{', '.join(rest)}: {text}")]
    if not found and rest:
        problem = f"{', '.join(rest)}: classes, or data and comments of the tasks? JSON-MIN and CSV do not tell"
        raise AlstmError(path, problem, f"name those with classes, as in --label_columns {rest[0]}, or export JSON")
    if not found and not is_export(columns):
        raise AlstmError(path, "it has no labels, only the data of tasks", "label some, and export JSON")
    return found, []


def _is_plain(items: Sequence[object]) -> bool:
    """Tell whether a column holds text that may be a class: neither the name of a file nor only nothing or numbers."""
    texts = [item for item in items if isinstance(item, str) and item.strip()]
    is_text_area = any(isinstance(item, dict) for item in items)
    return bool(texts) and not is_text_area and not all(is_video(text) or is_url(text) for text in texts)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _annotation(place: Place, video: str, values: Iterable[tuple[Place, object]], options: ReadOptions) -> Found:
    """Yield what one annotation says; without any label that no class fits, unless a label was left out."""
    found = [item for here, value in values for item in read_result(here, video, value, options)]
    if not any(isinstance(item, Note) and item.left_out for _, item in found):
        yield place, Annotation(video, ())
    yield from found


def read_result(place: Place, video: str, value: object, options: ReadOptions) -> Found:
    """Yield one result of a control: labels of the whole video or of parts of it.

    Args:
        place: of the result.
        video: that it is about.
        value: an object, or the name of a class, or nothing.
        options: the frame rate.
    """
    if value is None or value == "":
        return
    if not isinstance(value, dict):
        yield place, Annotation(video, class_names(place, value))
        return
    labels = tuple(
        name for kind in _KINDS if value.get(kind) is not None for name in class_names(place.at(kind), value[kind])
    )
    if others := sorted(kind for kind in value if kind.endswith("labels") and kind not in _KINDS):
        yield place, Note(f"{others[0]} are not labels of a video: not read")
    if not labels:
        return
    if isinstance(value.get("text"), str):
        yield place, Note("labels of a piece of text: not read")
        return
    for part in _parts(place, value, options.fps):
        yield place, part if isinstance(part, Note) else Annotation(video, labels, *part)


def _parts(place: Place, value: Document, fps: float | None) -> Iterator[Part | Note]:
    """Yield the parts of the video that a result labels, and notes on odd ones."""
    if value.get("ranges"):
        if not fps:
            raise place.error("its labels on the timeline are counted in frames", "pass the frame rate: --fps 25")
        for here, part in objects(place, "ranges", value["ranges"]):
            for span in _span(here, part):
                if span[0] == 0:
                    yield _FRAME_0
                yield span if isinstance(span, Note) else _seconds_of_frames(*span, fps)
    elif "start" in value or "end" in value:
        yield from _span(place, value, NO_LENGTH)
    else:
        yield None, None


def _seconds_of_frames(first: float, last: float, fps: float) -> Part:
    """Return the seconds of frames, which are counted from 1, the last one included; 0 counts as 1."""
    return (max(first, 1) - 1) / fps, max(last, 1) / fps


def _span(place: Place, part: Document, without_length: Note | None = None) -> Iterator[tuple[float, float] | Note]:
    """Yield the start and the end of a part, the smaller one first, and notes on odd ones."""
    start, end = (_number(place.at(name), part.get(name)) for name in ("start", "end"))
    if start is None or end is None:
        yield Note(f"a part without {'a start' if start is None else 'an end'}, left out", True)
        return
    if start > end:
        yield BACKWARDS
    yield without_length if without_length and start == end else (min(start, end), max(start, end))


def _number(place: Place, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.wrong_type(value, "a number")
    if not 0 <= value < _LONGEST:
        raise place.error(f"{value} is no place in a video", "correct it in the labelling tool, and export again")
    return float(value)


def _video_of(place: Place, data: object) -> str:
    """Return what a task calls its video file: the value of ``video``, or the only one that names a video.

    Raises:
        AlstmError: none does, or several do.
    """
    values = data if isinstance(data, dict) else {}
    names = [values.get("video"), *values.values()]
    found = [name for name in names if isinstance(name, str) and is_video(name)]
    if not found:
        raise place.error("it names no video file", "export a project of videos")
    if found[0] != values.get("video") and len({video_path(name) for name in found}) > 1:
        raise place.error(f"it names several videos, such as {found[0]} and {found[-1]}", "call one of them video")
    plain = is_url(found[0]) or "\\" in found[0]
    return found[0] if plain else unquote(found[0])  # Label Studio takes it as part of an address
