"""Read labels from VIA, the VGG Image Annotator: projects of its video annotator (version 3), and their CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
    entries,
)
from alstm_helpers.own_videos.label_formats.locations import is_video

_PARTS = {"attribute", "file", "view", "metadata"}  # of a project
_COMMENT = "# Exported using VGG Image Annotator"
_CHECKBOX, _CHOICES = 2, (2, 3, 4, 5)  # types of attributes; all but these are of text
_TIMELINE = "TEMPORAL-SEGMENTS"  # what VIA calls the choice on its timeline
_UNSET = ("", "_DEFAULT")
_WITHOUT = Note("a mark without a class, left out", left_out=True)
_IS_NO_VIDEO = Note("a mark in a picture or a sound, left out", left_out=True)
_HERE_URL = (2, 3)  # where a file is called by its address


class _Attribute(NamedTuple):
    """What is said of marks: its name, whether it is one of several choices, and these by id."""

    name: str
    kind: int
    options: Document

    @property
    def is_choice(self) -> bool:
        """Whether its values are classes."""
        return self.kind in _CHOICES or self.name == _TIMELINE or self.name.lower() in LABELS

    def classes(self, value: str) -> list[str]:
        """Return the names of the options that a value stands for."""
        ids = value.split(",") if self.kind == _CHECKBOX else [value]
        return [str(self.options.get(each, each)) for each in ids if each not in _UNSET]


class _Mark(NamedTuple):
    """Values of attributes by id, and the file and the times that they are about."""

    place: Place
    video: str
    times: object
    values: Document


def is_project(document: Document) -> bool:
    """Tell whether a JSON document is a project of VIA 3."""
    return document.keys() >= _PARTS


def is_table(text: str) -> bool:
    """Tell whether a table is VIA's CSV."""
    return text.startswith(_COMMENT)


def read_project(place: Place, document: Document, options: ReadOptions) -> Found:
    """Yield the annotations of a project.

    Raises:
        AlstmError: it is not as VIA writes it, or its attributes may be classes or comments.
    """
    attributes = {key: _attribute(key, each) for _, key, each in entries(place, "attribute", document["attribute"])}
    files = {key: each for _, key, each in entries(place, "file", document["file"])}
    views = {key: each for _, key, each in entries(place, "view", document["view"])}
    marks = []
    for here, _, mark in entries(place, "metadata", document["metadata"]):
        fids = views.get(str(mark.get("vid")), {}).get("fid_list")
        names = [_name(files.get(str(fid), {})) for fid in fids] if isinstance(fids, list) else []
        marks.append(_mark(here, names, mark.get("z"), mark.get("av")))
    yield from _annotations(place, attributes, marks, options)


def read_csv(path: Path, text: str, options: ReadOptions) -> Found:
    """Yield the annotations of VIA's CSV, whose comments say what its attributes and its columns are.

    Raises:
        AlstmError: as :func:`read_project`.
    """
    place = Place(path, "")
    lines = text.splitlines()
    said = {name.strip(" #"): value for name, _, value in (line.partition(" = ") for line in lines if line[:1] == "#")}
    columns = [name.strip() for name in said.get("CSV_HEADER", "").split(",")]
    known = _json(said.get("ATTRIBUTE", "{}"))
    attributes = {key: _attribute(key, each) for _, key, each in entries(place, "ATTRIBUTE", known)}
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and line[:1] != "#"]
    marks = []
    for number, line in rows:
        here = Place(path, f"row {number}")
        try:
            cells = dict(zip(columns, next(csv.reader([line], doublequote=True)), strict=True))
            names, values = _json(cells["file_list"]), _json(cells["metadata"])
            times = _json(cells["temporal_coordinates"]) if "temporal_coordinates" in cells else [
                _json(cells[f"temporal_segment_{end}"]) for end in ("start", "end")]  # fmt: skip
        except (csv.Error, ValueError, KeyError):
            raise here.error(f"it has not the columns {', '.join(columns) or 'of VIA'}", "export it again") from None
        marks.append(_mark(here, names, times, values))
    yield from _annotations(place, attributes, marks, options)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _attribute(key: str, document: Document) -> _Attribute:
    """Return an attribute; one that nothing is known of is text."""
    options, kind = document.get("options"), document.get("type")
    return _Attribute(
        str(document.get("aname") or key),
        kind if isinstance(kind, int) else 1,
        options if isinstance(options, dict) else {},
    )


def _name(file: Document) -> object:
    """Return what a file is called: its name, or its address if it is not a local one."""
    return file.get("src") if file.get("loc") in _HERE_URL else file.get("fname")


def _mark(place: Place, names: object, times: object, values: object) -> _Mark:
    """Return a mark with its only file.

    Raises:
        AlstmError: it is of no file, or of several.
    """
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise place.error("it names no video file", "export a project of videos")
    if len(names) > 1:
        raise place.error(f"it is of several files, {names[0]} and {names[1]}", "label each file in a view of its own")
    if not isinstance(values, dict):
        raise place.at("av").wrong_type(values, "an object")
    return _Mark(place, str(names[0]), times, values)


def _annotations(
    place: Place, attributes: Mapping[str, _Attribute], marks: Sequence[_Mark], options: ReadOptions
) -> Found:
    known = {key: attributes.get(key) or _attribute(key, {}) for mark in marks for key in mark.values}
    chosen, note = _chosen(place, known, options.columns)
    if note:
        yield place, note
    for mark in marks:
        if not is_video(mark.video):
            yield mark.place, _IS_NO_VIDEO
            continue
        labels: list[str] = []
        for key, value in mark.values.items():
            if key in chosen:
                if not isinstance(value, str):
                    raise mark.place.at(known[key].name).wrong_type(value, "text")
                labels += known[key].classes(value)
        if not labels:
            yield mark.place, _WITHOUT
            continue
        part = _part(mark)
        if part and part[0] == part[1]:  # a click
            yield mark.place, NO_LENGTH
            continue
        if part and part[0] > part[1]:
            yield mark.place, BACKWARDS
        yield mark.place, Annotation(mark.video, tuple(labels), *sorted(part))


def _chosen(place: Place, known: Mapping[str, _Attribute], columns: Sequence[str]) -> tuple[set[str], Note | None]:
    """Return the attributes that hold classes: the chosen ones, or those with choices; and a note on the others.

    Raises:
        AlstmError: there are only others, or a chosen one is not there.
    """
    names = [attribute.name for attribute in known.values()]
    if missing := [column for column in columns if column not in names]:
        raise place.error(f"it has no attribute {missing[0]}", f"name one of {', '.join(names) or 'none'}")
    chosen = {key for key, each in known.items() if (each.name in columns if columns else each.is_choice)}
    rest = [each.name for key, each in known.items() if key not in chosen]
    if rest and not chosen:
        problem = f"{', '.join(rest)}: classes, or comments? Text may be either"
        raise place.error(problem, f"name those with classes, as in --label_columns {rest[0]}")
    text = "not read as classes; if they are classes, say --label_columns"
    return chosen, Note(f"{', '.join(rest)}: {text} {rest[0]}") if rest and not columns else None


def _part(mark: _Mark) -> tuple[float, float] | tuple[()]:
    """Return the seconds of a mark; one of the whole file, or of a single frame, has none."""
    times = mark.times
    if not isinstance(times, list) or not all(isinstance(t, int | float) and not isinstance(t, bool) for t in times):
        raise mark.place.at("z").wrong_type(times, "a list of seconds")
    if len(times) > 2 or not all(0 <= time < 1e9 for time in times):
        raise mark.place.error(f"{times} is no part of a video", "correct it in VIA, and export again")
    return (float(times[0]), float(times[1])) if len(times) == 2 else ()
