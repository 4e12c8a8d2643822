"""Notebook 09: a table of labels, features that fit, the timeline, which picture stands for a second."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.course.exercises.core import Exercise, Names, equals, is_text
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.labels import Annotation, read_annotations

TABLE = "video,start,end,labels\na.mp4,,,cooking;music\nb.mp4,5,12,dog\nc.mp4,,,\n"
WANTED = [Annotation("a.mp4", ("cooking", "music")), Annotation("b.mp4", ("dog",), 5.0, 12.0), Annotation("c.mp4", ())]


def judge_table(answer: Any, names: Names, exercise: Exercise) -> str:
    """A text, read as `alstm labels import` reads it."""
    if not isinstance(answer, str):
        return f"that is a {type(answer).__name__}; the table is one text, with \\n between its rows"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.csv")
        path.write_text(answer.strip() + "\n", encoding="utf-8", errors="replace")
        try:
            found = read_annotations(path)
        except AlstmError as error:
            return f"the import says: {str(error).rpartition('labels.csv')[2].lstrip(', :')}"
    for wanted in WANTED:
        same = [each for each in found if each.video == wanted.video]
        if not same:
            return f"{wanted.video} has no row" + (
                "; a clip without a class needs one, too" if not wanted.labels else ""
            )
        if same != [wanted]:
            if sorted(label for each in same for label in each.labels) != sorted(wanted.labels):
                return f"{wanted.video} has the labels {[label for each in same for label in each.labels]}"
            return f"the times of {wanted.video} are not right"
    return "" if len(found) == len(WANTED) else "there are more clips than the three"


def timeline(names: Names) -> tuple[float, float]:
    """First second in which the score over time is above one half, and the highest bar of that label's stream."""
    over, label = names.report_seen["over_time"], names.report_seen["labels"][0]
    first = next((second for second, score in enumerate(over) if score > 0.5), -1)
    stream = "rgb" if label["index"] < 10 else "audio"
    return float(first), float(np.argmax(names.report_seen["attention"][stream]))


Pick = Callable[[Sequence[float], float], list[int]]
CLIPS = (
    ([n / 25 for n in range(100)], 4.0),
    ([n / 10 for n in range(30)] + [3 + n / 2 for n in range(15)], 10.5),
    ([0.0, 3.2, 3.3], 5.0),
    ([0.7, 0.8, 2.0], 3.0),
    ([0.0], 0.4),
)


def pick(times: Sequence[float], duration: float) -> list[int]:
    """The picture that is shown in the middle of each second."""
    seconds = range(math.ceil(duration - 0.5))
    return [max(0, sum(time <= second + 0.5 for time in times) - 1) for second in seconds]


def judge_pick(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of times, beside the clock, on clips of even and uneven rates."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    for number, (times, duration) in enumerate(CLIPS):
        found, right = list(answer(times, duration)), pick(times, duration)
        if len(found) != len(right):
            return (
                f"a clip of {duration} s has {len(right)} seconds whose middle is in it; it gives {len(found)} pictures"
            )
        for second, (a, b) in enumerate(zip(found, right, strict=True)):
            if a != b:
                kind = "even" if number == 0 else "uneven"
                return (
                    f"in a clip of {kind} rate, at {second + 0.5} s the picture of {times[b]:g} s is shown, "
                    f"not that of {times[int(a)]:g} s"
                )
    return ""


def _nearest(times: Sequence[float], duration: float) -> list[int]:
    return [int(np.argmin(np.abs(np.asarray(times) - s - 0.5))) for s in range(math.ceil(duration - 0.5))]


def _next(times: Sequence[float], duration: float) -> list[int]:
    last = len(times) - 1
    return [min(last, sum(time < s + 0.5 for time in times)) for s in range(math.ceil(duration - 0.5))]


def _every_25th(times: Sequence[float], duration: float) -> list[int]:
    return list(range(0, len(times), 25))


def _value(function: Pick) -> Callable[[Names], Any]:
    return lambda names: function


EXERCISES = [
    Exercise(
        "ex-9-1",
        judge_table,
        hints=(
            "Three rows below the header, each with four cells: two commas more than you think.",
            "Times that are not given stay empty: a.mp4,,,…",
            "cooking;music is one cell; the row of c.mp4 ends with a comma.",
        ),
        solution=f"answer = {TABLE!r}",
        note="Three clips: two whole ones, one of them with no class, and a part of seven seconds.",
        mistakes=(
            (
                lambda names: TABLE.replace("cooking;music", "cooking,music"),
                "the import says: row 2: it has 5 cells, the header 4; several labels go into one cell, with ; between",
            ),
            (
                lambda names: TABLE.replace("c.mp4,,,\n", ""),
                "c.mp4 has no row; a clip without a class needs one, too",
            ),
            (lambda names: TABLE.replace(";music", ""), "a.mp4 has the labels ['cooking']"),
            (
                lambda names: TABLE.replace("5,12", "12,5"),
                "the import says: row 3: 12 to 5 s is no part of a video; start must be below end",
            ),
            (lambda names: TABLE.replace(",5,12,", ",,,"), "the times of b.mp4 are not right"),
            (lambda names: ["a.mp4"], "that is a list; the table is one text, with \\n between its rows"),
        ),
    ),
    Exercise(
        "ex-9-2",
        is_text("c", otherwise="put one of the letters a, b, c, d into answer"),
        hints=(
            "Weights know their inputs: number 17 of the 1024 must mean what it meant in training.",
            "A PCA fitted on your clips turns the numbers in another way than YouTube-8M's.",
            "Only one of the four has YouTube-8M's own PCA.",
        ),
        solution='answer = "c"',
        note="Sizes that fit say nothing: 1024 numbers in another order, or turned, are noise to these weights.",
        mistakes=(
            (lambda names: "a", "another network gives other numbers; the weights cannot know them"),
            (
                lambda names: "b",
                "the network is right, but your PCA turns its numbers in another way than YouTube-8M's",
            ),
            (lambda names: "d", "it would run without any complaint, and say nonsense: a size is no meaning"),
        ),
    ),
    Exercise(
        "ex-9-3",
        equals(timeline, within=(1.0, 1.0)),
        hints=(
            "The lowest curve: follow it from the left to where it crosses 0.5.",
            "The label of that curve says see or hear: see is the upper row of bars, hear the lower one.",
            'report_seen["over_time"] and report_seen["attention"] hold the same as numbers.',
        ),
        solution=(
            'over, best = report_seen["over_time"], report_seen["labels"][0]\n'
            'stream = "rgb" if best["index"] < 10 else "audio"\n'
            'answer = (int(np.argmax(np.array(over) > 0.5)), int(np.argmax(report_seen["attention"][stream])))'
        ),
        note="The curve rises when the thing enters the window of nine seconds; the bar stands where it happens.",
        mistakes=(
            (lambda names: timeline(names)[::-1], "the other way round: the curve first, then the bar"),
            (
                lambda names: (timeline(names)[0], timeline(names)[0] + 30),
                "the highest bar stands elsewhere: take the row of the label's own stream",
            ),
            (lambda names: (-5.0, timeline(names)[1]), "a clip begins with second 0"),
        ),
    ),
    Exercise(
        "ex-9-4",
        judge_pick,
        hints=(
            "How many seconds? Those with second + 0.5 < duration: math.ceil(duration - 0.5).",
            "The picture shown at a moment is the last one with time <= moment.",
            "sum(time <= second + 0.5 for time in times) - 1 is its index; max(0, …) for a clip that begins late.",
        ),
        solution=(
            "import math\n\n\n"
            "def pick(times, duration):\n"
            "    seconds = range(math.ceil(duration - 0.5))\n"
            "    return [max(0, sum(time <= s + 0.5 for time in times) - 1) for s in seconds]\n\n\n"
            "answer = pick"
        ),
        note="Times decide, not numbers of pictures, so a variable rate needs no care. `read_frames` does the same.",
        mistakes=(
            (
                _value(_every_25th),
                "in a clip of even rate, at 0.5 s the picture of 0.48 s is shown, not that of 0 s",
            ),
            (
                _value(_nearest),
                "in a clip of uneven rate, at 2.5 s the picture of 0 s is shown, not that of 3.2 s",
            ),
            (
                _value(_next),
                "in a clip of even rate, at 0.5 s the picture of 0.48 s is shown, not that of 0.52 s",
            ),
            (
                _value(lambda times, duration: pick(times, duration + 1)),
                "a clip of 4.0 s has 4 seconds whose middle is in it; it gives 5 pictures",
            ),
            (lambda names: [0], "that is a list; give the function itself, without calling it"),
        ),
    ),
]
