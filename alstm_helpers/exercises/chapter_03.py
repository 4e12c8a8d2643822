"""Notebook 03: the framing of a record, pickles of one dict, lists."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.exercises.core import Exercise, Names, equals
from alstm_helpers.tfrecord import Video


def wrapping(names: Names) -> tuple[float, float]:
    """Bytes of the file for each second, and the share that is not features."""
    seconds = sum(video.num_frames for video in names.videos)
    return len(names.raw) / seconds, 1 - 1152 * seconds / len(names.raw)


def judge_videos(answer: Any, names: Names, exercise: Exercise) -> str:
    """What ``load_videos`` gives for a file of one dict."""
    if isinstance(answer, dict):
        return "that is the dict as it was stored; load_videos makes videos of it"
    if isinstance(answer, Video):
        return "load_videos gives a list, also for one video: give that"
    if not isinstance(answer, list) or not answer or not all(isinstance(item, Video) for item in answer):
        return f"that is a {type(answer).__name__}; give what load_videos returns"
    if len(answer) != 1:
        return f"those are {len(answer)} videos; the file should hold one dict"
    (video,) = answer
    if not any(video.id == _bytes(row["video"]) and np.array_equal(video.rgb, row["feature"]) for row in names.dicts):
        return "that is no video of `dicts`"
    return ""


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


# Each list, and which of its lines occur more than once.
LISTS: tuple[tuple[str, list[str]], ...] = (
    ("a.pkl\nb.pkl\n", []),
    ("a.pkl\nb.pkl\na.pkl\n", ["a.pkl"]),
    ("a.pkl\na.pkl\na.pkl", ["a.pkl"]),
    ("b.pkl\na.pkl\nb.pkl\na.pkl\nc.pkl\n", ["a.pkl", "b.pkl"]),
    ("", []),
)


def judge_function(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of a path, tried on lists with and without repeated lines."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "some.list")
        for text, expected in LISTS:
            path.write_text(text, encoding="utf-8")
            found = answer(path)
            if isinstance(found, str | bytes) or not isinstance(found, Iterable):
                return f"for a list it gives a {type(found).__name__}; it should name the lines"
            lines = sorted(str(line).strip() for line in found)
            if len(lines) > len(set(lines)):
                return "a line that occurs three times is named more than once"
            if lines != expected:
                return f"for the lines {text.split()} it gives {lines}, not {expected}"
    return ""


def _named_each_time(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split()
    return [line for line in lines if lines.count(line) > 1]


def _all_lines(path: Path) -> list[str]:
    return sorted(set(path.read_text(encoding="utf-8").split()))


def _whether(path: Path) -> bool:
    return max(Counter(path.read_text(encoding="utf-8").split()).values(), default=0) > 1


def _value(make: Callable[..., Any]) -> Callable[[Names], Any]:
    return lambda names: make


def judge_split(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function from a clip to its side, tried on many clips of many persons."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    sides: dict[str, set[str]] = {}
    for person in range(200):
        for clip in range(5):
            name = f"person{person}_{clip:02d}.mp4"
            side = answer(name)
            if side not in ("train", "val"):
                return f"for {name} it gives {side!r}; train or val is asked for"
            if answer(name) != side:
                return f"asked twice about {name} it gives two answers; nothing may be random"
            sides.setdefault(f"person{person}", set()).add(side)
    both = [person for person, found in sides.items() if len(found) > 1]
    if both:
        return f"{len(both)} of 200 persons are on both sides"
    share = sum(found == {"val"} for found in sides.values()) / 200
    if not 0.1 <= share <= 0.4:
        return f"{share:.0%} of the persons are in validation; about a quarter should be"
    return ""


def _by_clip(clip: str) -> str:
    return "val" if int(hashlib.md5(clip.encode()).hexdigest(), 16) % 4 == 0 else "train"


def _all_train(clip: str) -> str:
    return "train"


def _at_random(clip: str, _asked: list[str] = []) -> str:  # noqa: B006 - a stand-in for random: it must change
    _asked.append(clip)
    return ("train", "val")[len(_asked) % 2]


EXERCISES = [
    Exercise(
        "ex-3-1",
        equals(wrapping, within=(0.5, 0.002)),
        hints=(
            "sum(video.num_frames for video in videos) is the number of seconds in the shard.",
            "Bytes a second: len(raw) divided by that. Features alone would be 1152.",
            "The share is (bytes a second − 1152) / bytes a second.",
        ),
        solution=(
            "num_seconds = sum(video.num_frames for video in videos)\n"
            "answer = (len(raw) / num_seconds, 1 - 1152 * num_seconds / len(raw))"
        ),
        note="Under 2 %: tags and lengths, ids, labels and checksums cost next to nothing.",
        mistakes=(
            (
                lambda names: (wrapping(names)[0], 100 * wrapping(names)[1]),
                "the share is a number below 1, not in per cent",
            ),
            (
                lambda names: (wrapping(names)[0], 1 - wrapping(names)[1]),
                "that is the share of the features; wrapping is the rest",
            ),
            (lambda names: (1152.0, 0.0), "1152 are the features alone; the file has more bytes: len(raw)"),
            (lambda names: wrapping(names)[0], "give both numbers, as a pair"),
        ),
    ),
    Exercise(
        "ex-3-2",
        judge_videos,
        hints=(
            "{key.encode(): value for key, value in dicts[0].items()} has keys as bytes.",
            "pickle.dump needs a file opened for writing bytes: path.open('wb').",
            "answer = load_videos(path)",
        ),
        solution=(
            'one = scratch / "one_dict.pkl"\n'
            'with one.open("wb") as file:\n'
            "    pickle.dump({key.encode(): value for key, value in dicts[0].items()}, file)\n"
            "answer = load_videos(one)"
        ),
        note="A list of one: nobody who reads shards need know how a file was written.",
        mistakes=(
            (lambda names: names.dicts[0], "that is the dict as it was stored; load_videos makes videos of it"),
            (lambda names: names.videos[0], "load_videos gives a list, also for one video: give that"),
            (lambda names: list(names.videos[:2]), "those are 2 videos; the file should hold one dict"),
            (lambda names: pickle.dumps(1), "that is a bytes; give what load_videos returns"),
        ),
    ),
    Exercise(
        "ex-3-3",
        judge_function,
        hints=(
            "collections.Counter counts the lines of a list.",
            "Path(path).read_text().split() are its lines.",
            "[line for line, times in Counter(…).items() if times > 1]",
        ),
        solution=(
            "from collections import Counter\n\n\n"
            "def repeated_lines(path):\n"
            '    lines = Path(path).read_text(encoding="utf-8").split()\n'
            "    return [line for line, times in Counter(lines).items() if times > 1]\n\n\n"
            "answer = repeated_lines"
        ),
        note="A repeated shard counts its videos twice: the metrics lean towards it, and nobody sees it.",
        mistakes=(
            (_value(_named_each_time), "a line that occurs three times is named more than once"),
            (_value(_all_lines), "for the lines ['a.pkl', 'b.pkl'] it gives ['a.pkl', 'b.pkl'], not []"),
            (_value(_whether), "for a list it gives a bool; it should name the lines"),
            (lambda names: [], "that is a list; give the function itself, without calling it"),
        ),
    ),
    Exercise(
        "ex-3-4",
        judge_split,
        hints=(
            "What the function hashes decides what stays together.",
            "The person is the part of the name before the underscore.",
            'Hash clip.split("_")[0] instead of clip; the rest can stay.',
        ),
        solution=(
            "def part_of_person(clip):\n"
            '    person = clip.split("_")[0]\n'
            '    return "val" if int(hashlib.md5(person.encode()).hexdigest(), 16) % 4 == 0 else "train"\n\n\n'
            "answer = part_of_person"
        ),
        note="Run the cell above with it: nobody is on both sides. `alstm split --group` does the same.",
        mistakes=(
            (_value(_by_clip), "158 of 200 persons are on both sides"),
            (_value(_all_train), "0% of the persons are in validation; about a quarter should be"),
            (
                _value(_at_random),
                "asked twice about person0_00.mp4 it gives two answers; nothing may be random",
            ),
            (lambda names: "val", "that is a str; give the function itself, without calling it"),
        ),
    ),
]
