"""Exercises of notebook 09: a table of labels, features that fit, the timeline, the frame shown in a second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from alstm_helpers.course.exercises.core import (
    Exercise,
    Function,
    Notebook,
    NotYet,
    a_type,
    always,
    equals,
    is_function,
    is_text,
    text_file,
)
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.labels import Annotation, read_annotations

# --- 9.1: a table of labels ---------------------------------------------------------------------------------------

TABLE = "video,start,end,labels\na.mp4,,,cooking;music\nb.mp4,5,12,dog\nc.mp4,,,\n"
WANTED = [Annotation("a.mp4", ("cooking", "music")), Annotation("b.mp4", ("dog",), 5.0, 12.0), Annotation("c.mp4", ())]


def judge_table(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge the text of a table, read as `alstm labels import` reads it."""
    if not isinstance(answer, str):
        return f"that is {a_type(answer)}; the table is one text, with \\n between its rows"
    found = _annotations(answer)
    for wanted in WANTED:
        if fault := _fault_of_clip(wanted, [row for row in found if row.video == wanted.video]):
            return fault
    return "" if len(found) == len(WANTED) else "there are more clips than the three"


def _annotations(table: str) -> list[Annotation]:
    """Read the text of a table.

    Raises:
        NotYet: the import refuses it.
    """
    with text_file("labels.csv", table.strip() + "\n") as path:
        try:
            return read_annotations(path)
        except AlstmError as error:
            raise NotYet(f"the import says: {str(error).rpartition('labels.csv')[2].lstrip(', :')}") from None


def _fault_of_clip(wanted: Annotation, rows: list[Annotation]) -> str:
    """Return what is wrong with the rows of a clip, which should be one."""
    if not rows:
        return f"{wanted.video} has no row" + ("" if wanted.labels else "; a clip without a class needs one, too")
    if rows == [wanted]:
        return ""
    labels = [label for row in rows for label in row.labels]
    if sorted(labels) != sorted(wanted.labels):
        return f"{wanted.video} has the labels {labels}"
    return f"the times of {wanted.video} are not right"


# --- 9.3: the timeline --------------------------------------------------------------------------------------------


def timeline(notebook: Notebook) -> tuple[float, float]:
    """Return the first second with a score over time above one half, and the second of the highest bar.

    The bar is that of the stream of the best label: the pictures for *see*, the sound for *hear*.
    """
    over, label = notebook.report_seen["over_time"], notebook.report_seen["labels"][0]
    first = next((second for second, score in enumerate(over) if score > 0.5), -1)
    stream = "rgb" if label["index"] < 10 else "audio"
    return float(first), float(np.argmax(notebook.report_seen["attention"][stream]))


# --- 9.4: the frame shown in a second -----------------------------------------------------------------------------

CLIPS = (  # times of the frames and duration, in seconds
    ([n / 25 for n in range(100)], 4.0),
    ([n / 10 for n in range(30)] + [3 + n / 2 for n in range(15)], 10.5),
    ([0.0, 3.2, 3.3], 5.0),
    ([0.7, 0.8, 2.0], 3.0),
    ([0.0], 0.4),
)


def shown(times: Sequence[float], duration: float) -> list[int]:
    """Return the index of the frame that is shown in the middle of each second."""
    seconds = range(math.ceil(duration - 0.5))
    return [max(0, sum(time <= second + 0.5 for time in times) - 1) for second in seconds]


def fault_of_pick(pick: Function) -> str:
    """Try a function of the frames' times on clips of constant and variable rate, and return what is wrong with it."""
    for number, (times, duration) in enumerate(CLIPS):
        found, right = pick(times, duration), shown(times, duration)
        if not isinstance(found, Iterable):
            return f"it returns {a_type(found)}; return a list of indices"
        indices = list(found)
        if len(indices) != len(right):
            return f"for a clip of {duration} s return {len(right)} indices, not {len(indices)}: one per second"
        for second, (a, b) in enumerate(zip(indices, right, strict=True)):
            if a != b:
                where = f"in a clip of {'constant' if number == 0 else 'variable'} rate, the frame shown"
                return f"{where} at {second + 0.5} s is that of {times[b]:g} s, not that of {times[int(a)]:g} s"
    return ""


def _nearest(times: Sequence[float], duration: float) -> list[int]:
    return [int(np.argmin(np.abs(np.asarray(times) - s - 0.5))) for s in range(math.ceil(duration - 0.5))]


def _next(times: Sequence[float], duration: float) -> list[int]:
    last = len(times) - 1
    return [min(last, sum(time < s + 0.5 for time in times)) for s in range(math.ceil(duration - 0.5))]


def _every_25th(times: Sequence[float], duration: float) -> list[int]:
    return list(range(0, len(times), 25))


def _one_second_more(times: Sequence[float], duration: float) -> list[int]:
    return shown(times, duration + 1)


EXERCISES = [
    Exercise(
        "ex-9-1",
        judge_table,
        hints=(
            "Three rows below the header, each with four cells: two commas more than you think.",
            "Leave times that are not given empty: a.mp4,,,…",
            "cooking;music is one cell; the row of c.mp4 ends with a comma.",
        ),
        solution=f"answer = {TABLE!r}",
        note="Three clips: two whole ones, one of them without a class, and a part of seven seconds.",
        mistakes=(
            (
                always(TABLE.replace("cooking;music", "cooking,music")),
                "the import says: row 2: it has 5 cells, the header 4; several labels go into one cell, with ; between",
            ),
            (
                always(TABLE.replace("c.mp4,,,\n", "")),
                "c.mp4 has no row; a clip without a class needs one, too",
            ),
            (always(TABLE.replace(";music", "")), "a.mp4 has the labels ['cooking']"),
            (
                always(TABLE.replace("5,12", "12,5")),
                "the import says: row 3: 12 to 5 s is not a part of a video; start must be below end",
            ),
            (always(TABLE.replace(",5,12,", ",,,")), "the times of b.mp4 are not right"),
            (always(["a.mp4"]), "that is a list; the table is one text, with \\n between its rows"),
        ),
    ),
    Exercise(
        "ex-9-2",
        is_text("c", otherwise="put one of the letters a, b, c, d into answer"),
        hints=(
            "Each weight belongs to one input: number 17 of the 1024 must mean what it meant in training.",
            "Numbers that were scaled by your clips mean something else than YouTube-8M's.",
            "Only one of the four uses YouTube-8M's own PCA.",
        ),
        solution='answer = "c"',
        note="Matching sizes prove nothing: 1024 numbers in another order, or rotated, are noise to these weights.",
        mistakes=(
            (always("a"), "another network gives other numbers, which mean nothing to the weights"),
            (
                always("b"),
                "the network is right, but its numbers, scaled by your clips, mean something else than YouTube-8M's",
            ),
            (always("d"), "it would run without an error, and predict nonsense: the same size is not the same meaning"),
        ),
    ),
    Exercise(
        "ex-9-3",
        equals(timeline, within=(1.0, 1.0)),
        hints=(
            "The lowest curve: follow it from the left to where it crosses 0.5.",
            "The label of that curve says see or hear: see is the upper row of bars, hear the lower one.",
            'report_seen["over_time"] and report_seen["attention"] hold the same data as numbers.',
        ),
        solution=(
            'over, best = report_seen["over_time"], report_seen["labels"][0]\n'
            'stream = "rgb" if best["index"] < 10 else "audio"\n'
            'answer = (int(np.argmax(np.array(over) > 0.5)), int(np.argmax(report_seen["attention"][stream])))'
        ),
        note="The curve rises when the event enters the window of nine seconds; the bar is where it happens.",
        mistakes=(
            (lambda notebook: timeline(notebook)[::-1], "the order is wrong: the curve first, then the bar"),
            (
                lambda notebook: (timeline(notebook)[0], timeline(notebook)[0] + 30),
                "the highest bar is elsewhere: take the row of the label's own stream",
            ),
            (lambda notebook: (-5.0, timeline(notebook)[1]), "a clip begins with second 0"),
        ),
    ),
    Exercise(
        "ex-9-4",
        is_function(fault_of_pick),
        hints=(
            "How many seconds? All with second + 0.5 < duration: math.ceil(duration - 0.5).",
            "The frame shown at a moment is the last one with time <= moment.",
            "sum(time <= second + 0.5 for time in times) - 1 is its index; max(0, …) for a clip that begins late.",
        ),
        solution=(
            "import math\n\n\n"
            "def pick(times, duration):\n"
            "    seconds = range(math.ceil(duration - 0.5))\n"
            "    return [max(0, sum(time <= s + 0.5 for time in times) - 1) for s in seconds]\n\n\n"
            "answer = pick"
        ),
        note="Times decide, not numbers of frames, so a variable rate is no problem. `read_frames` does the same.",
        mistakes=(
            (
                always(_every_25th),
                "in a clip of constant rate, the frame shown at 0.5 s is that of 0.48 s, not that of 0 s",
            ),
            (
                always(_nearest),
                "in a clip of variable rate, the frame shown at 2.5 s is that of 0 s, not that of 3.2 s",
            ),
            (
                always(_next),
                "in a clip of constant rate, the frame shown at 0.5 s is that of 0.48 s, not that of 0.52 s",
            ),
            (
                always(_one_second_more),
                "for a clip of 4.0 s return 4 indices, not 5: one per second",
            ),
            (always([0]), "that is a list; give the function itself, without calling it"),
        ),
    ),
]
