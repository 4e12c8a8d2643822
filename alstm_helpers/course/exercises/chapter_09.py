"""Exercises of notebook 09: a table of labels, features that fit, the timeline, the frame shown in a second."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence

import numpy as np

from alstm_helpers.course.exercises.answers import NotYet, a_type, listed, numbers, scalars
from alstm_helpers.course.exercises.attempts import Attempt
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, is_function, is_text, text_file
from alstm_helpers.data.flashdigits import CLASS_NAMES
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
    if len(found) > len(WANTED):
        return "there are more clips than the three"
    rows = [line for line in answer.splitlines() if line.strip()][1:]  # the import merges those about one clip
    return "" if len(rows) == len(WANTED) else "write one row per clip"


def _annotations(table: str) -> list[Annotation]:
    """Read the text of a table.

    Raises:
        NotYet: the import refuses it.
    """
    with text_file("labels.csv", table.strip("\r\n ") + "\n") as path:
        try:
            return read_annotations(path)
        except AlstmError as error:
            raise NotYet(f"the import says: {str(error).partition(str(path))[2].lstrip(', :，：')}") from None


def _fault_of_clip(wanted: Annotation, rows: list[Annotation]) -> str:
    """Return what is wrong with the rows of a clip, which should be one."""
    if not rows:
        return f"{wanted.video} has no row" + ("" if wanted.labels else "; a clip without a class needs one, too")
    if rows == [wanted]:
        return ""
    labels = [label for row in rows for label in row.labels]
    if sorted(set(labels)) != sorted(wanted.labels):
        return f"{wanted.video} has the labels {labels}"
    if len(rows) > 1:
        return f"{wanted.video} becomes {len(rows)} clips; write one row for it"
    return f"the times of {wanted.video} are not right"


# --- 9.3: the timeline --------------------------------------------------------------------------------------------


def timeline(notebook: Notebook) -> tuple[int, int]:
    """Return the first second with a score over time above one half, and the one in which the event begins."""
    events = _events(notebook)
    return int(np.argmax(np.array(notebook.report_seen["over_time"]) > 0.5)), events[0][0]


def _events(notebook: Notebook) -> list[tuple[int, int]]:
    """Return start and stop of what the best label is about; where the model is wrong, the second of its row's bar."""
    best = notebook.report_seen["labels"][0]["index"]
    events = [(event.start, event.stop) for event in notebook.made[notebook.chosen][0].events if event.label == best]
    bar = _highest_bar(notebook)
    return events or [(bar, bar + 1)]


def _highest_bar(notebook: Notebook) -> int:
    """Return the second of the highest bar in the best label's row: the pictures for *see*, the sound for *hear*."""
    stream = "rgb" if notebook.report_seen["labels"][0]["index"] < 10 else "audio"
    return int(np.argmax(notebook.report_seen["attention"][stream]))


def judge_timeline(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge the second in which the curve rises and one of those in which the event happens."""
    rise, second = numbers(answer, 2)
    right, events = timeline(notebook)[0], _events(notebook)
    if min(rise, second) < 0:
        return "a clip begins with second 0"

    def happens(at: float) -> bool:
        return any(start - 1 <= at <= stop for start, stop in events)

    if abs(rise - right) > 1:
        if happens(rise) and abs(second - right) <= 1:
            return "the order is wrong: the rise of the curve first, then the event"
        return "the curve first rises above one half elsewhere; follow the lowest curve from the left"
    if happens(second):
        return ""
    if abs(second - _highest_bar(notebook)) <= 1:
        return "that bar is high, but belongs to another label; look where the curve is above one half"
    return f"nothing of {CLASS_NAMES[notebook.report_seen['labels'][0]['index']]} happens in that second"


# --- 9.4: the frame shown in a second -----------------------------------------------------------------------------


def clips(rng: np.random.Generator) -> Iterator[tuple[str, list[float], float]]:
    """Yield clips of constant and variable rate: what they are, the times of their frames, and their duration."""
    for rate, count in ((25, 25 * int(rng.integers(3, 9))), (int(rng.choice([24, 30])), int(rng.integers(80, 200)))):
        yield "a constant rate", [n / rate for n in range(count)], count / rate
    camera = [n / 10 for n in range(30)] + [3 + n / 2 for n in range(18)]
    for duration in (10.5, 11.5, 11.7, 11.2):  # their last seconds have a middle, or not
        yield "a variable rate", camera, duration
    times = np.round(np.cumsum(rng.choice([0.03, 0.1, 0.6, 1.7], 20)), 2)
    yield "a variable rate", times.tolist(), float(np.ceil(times[-1])) + 0.4
    yield "a variable rate", [0.7, 0.8, 2.0], 3.0
    yield "a variable rate", [0.0], 0.4


def shown(times: Sequence[float], duration: float) -> list[int]:
    """Return the index of the frame that is shown in the middle of each second."""
    seconds = range(math.ceil(duration - 0.5))
    return [max(0, sum(time <= second + 0.5 for time in times) - 1) for second in seconds]


def fault_of_pick(pick: Attempt, rng: np.random.Generator) -> str:
    """Try a function of the frames' times on clips of constant and variable rate, and return what is wrong with it."""
    for kind, times, duration in clips(rng):
        elements = listed(pick(times, duration), "indices")
        found, right = scalars(elements), shown(times, duration)
        if len(found) != len(right):
            return (
                f"for a clip of {duration:g} s return {len(right)} indices, not {len(found)}: "
                "one for each second whose middle is before the end"
            )
        for second, (a, b) in enumerate(zip(found, right, strict=True)):
            if a is None or a not in range(len(times)):
                return f"element {second} of what it returns is not the index of one of the {len(times)} frames"
            if a != b:
                where = f"in a clip of {kind}, the frame shown at {second + 0.5} s"
                return f"{where} is that of {times[b]:g} s, not that of {times[int(a)]:g} s"
        if any(isinstance(element, float | np.floating) for element in elements):
            return "an index is a whole number, such as 0, not 0.0"
    return ""


def _nearest(times: Sequence[float], duration: float) -> list[int]:
    return [int(np.argmin(np.abs(np.asarray(times) - s - 0.5))) for s in range(math.ceil(duration - 0.5))]


def _next(times: Sequence[float], duration: float) -> list[int]:
    last = len(times) - 1
    return [min(last, sum(time < s + 0.5 for time in times)) for s in range(math.ceil(duration - 0.5))]


def _every_25th(times: Sequence[float], duration: float) -> list[int]:
    return list(range(0, len(times), 25))


def _whole_seconds(times: Sequence[float], duration: float) -> list[int]:
    return shown(times, int(duration) + 0.5)


def _by_bisection(times: Sequence[float], duration: float) -> np.ndarray:
    middles = np.arange(0.5, duration, 1)
    return np.maximum(0, np.searchsorted(times, middles, side="right") - 1)


def _by_bisect(times: Sequence[float], duration: float) -> tuple[int, ...]:
    seconds = range(int(duration) + 1)
    return tuple(max(0, bisect.bisect_right(times, s + 0.5) - 1) for s in seconds if s + 0.5 < duration)


def _in_place(times: list[float], duration: float) -> list[int]:
    times.sort(reverse=True)
    return shown(times[::-1], duration)


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
                always(TABLE.replace("c.mp4,,,", "c.mp4,,")),
                "the import says: row 4: of the header's 4 cells it has 3; a cell may be empty, but write all of them",
            ),
            (always("labels.csv"), "the import says: …begin it with video,labels…"),
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
            (
                always(TABLE.replace("a.mp4,,,cooking;music", "a.mp4,,,cooking\na.mp4,0,5,music")),
                "a.mp4 becomes 2 clips; write one row for it",
            ),
            (
                always(TABLE.replace("b.mp4,5,12,dog", "b.mp4,5,8,dog\nb.mp4,8,12,dog")),
                "b.mp4 becomes 2 clips; write one row for it",
            ),
            (always(TABLE + TABLE.partition("\n")[2]), "write one row per clip"),
            (always(TABLE.replace("cooking;music", "cooking\na.mp4,,,music")), "write one row per clip"),
            (always(TABLE + "d.mp4,,,dog\n"), "there are more clips than the three"),
            (always(TABLE.replace("dog", "Dog")), "b.mp4 has the labels ['Dog']"),
            (always(["a.mp4"]), "that is a list; the table is one text, with \\n between its rows"),
        ),
        right=(
            always(TABLE.replace("cooking;music", "music; cooking").replace("5,12", "5.0,12.0")),
            always("video,start,end,labels\r\nc.mp4,,,\r\nb.mp4,5,12,dog\r\na.mp4,,,cooking;music"),
            always("\n" + TABLE.replace("\n", "\n\n")),
            always(TABLE.replace(",", "\t")),
        ),
    ),
    Exercise(
        "ex-9-2",
        is_text("c", otherwise="put one of the letters a, b, c, d into answer"),
        hints=(
            "Each weight belongs to one input: number 17 of the 1,024 must mean what it meant in training.",
            "Numbers that were scaled by your clips mean something else than YouTube-8M's.",
            "Only one of the four uses YouTube-8M's own PCA.",
        ),
        solution='answer = "c"',
        note="Matching sizes prove nothing: 1,024 numbers in another order, or rotated, are noise to these weights.",
        mistakes=(
            (always("a"), "another network gives other numbers, which mean nothing to the weights"),
            (
                always("b"),
                "the network is right, but its numbers, scaled by your clips, mean something else than YouTube-8M's",
            ),
            (always("d"), "it would run without an error, and predict nonsense: the same size is not the same meaning"),
            (always("C and D"), "put one of the letters a, b, c, d into answer"),
            (always(3), "that is an int; give a text, in quotes"),
        ),
        right=(always("c"), always(" C. "), always("(c)"), always("**c**:")),
    ),
    Exercise(
        "ex-9-3",
        judge_timeline,
        hints=(
            "The lowest curve: follow it from the left to where it crosses 0.5.",
            "The event comes up to four seconds later. Where in these seconds is a bar of the label's own row high?",
            "`alstm predict` above printed, in its last line, where each true label begins.",
        ),
        solution=(
            'over, best = report_seen["over_time"], report_seen["labels"][0]\n'
            'event = next(e for e in made[chosen][0].events if e.label == best["index"])\n'
            "answer = (int(np.argmax(np.array(over) > 0.5)), event.start)"
        ),
        note="The curve rises as soon as the event is within its nine seconds; the event itself comes later.",
        mistakes=(
            (lambda notebook: (-5.0, timeline(notebook)[1]), "a clip begins with second 0"),
            (
                lambda notebook: (timeline(notebook)[0] + 30, timeline(notebook)[1]),
                "the curve first rises above one half elsewhere; follow the lowest curve from the left",
            ),
            (
                lambda notebook: (timeline(notebook)[0], timeline(notebook)[1] + 30),
                "nothing of … happens in that second",
            ),
            (lambda notebook: timeline(notebook)[1], "that is an int; give 2 numbers, as a tuple"),
        ),
        right=(
            lambda notebook: list(timeline(notebook)),
            lambda notebook: np.array([timeline(notebook)[0], _events(notebook)[0][1] - 1]),
            lambda notebook: (timeline(notebook)[0] + 1, timeline(notebook)[1] + 0.5),
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
                "in a clip of a constant rate, the frame shown at 0.5 s is that of 0.48 s, not that of 0 s",
            ),
            (always(_nearest), "in a clip of … rate, the frame shown at … s is that of … s, not that of … s"),
            (always(_next), "in a clip of a constant rate, the frame shown at 0.5 s is that of … s, not that of … s"),
            (
                always(_one_second_more),
                "for a clip of … s return … indices, not …: one for each second whose middle is before the end",
            ),
            (
                always(_whole_seconds),
                "for a clip of … s return … indices, not …: one for each second whose middle is before the end",
            ),
            (
                always(lambda times, duration: [len(times)] * len(shown(times, duration))),
                "element … of what it returns is not the index of one of the … frames",
            ),
            (
                always(lambda times, duration: [times[index] for index in shown(times, duration)]),
                "element … of what it returns is not the index of one of the … frames",
            ),
            (always(_in_place), "it changes the data that it is given; work on a copy"),
            (
                always(lambda times, duration: np.array(shown(times, duration), float)),
                "an index is a whole number, such as 0, not 0.0",
            ),
            (
                always(lambda times, duration: (s for s in shown(times, duration))),
                "it returns a generator; return the values themselves, as list(…) gives them",
            ),
            (always([0]), "that is a list; give the function itself, without calling it"),
        ),
        right=(always(_by_bisection), always(_by_bisect)),
    ),
]
