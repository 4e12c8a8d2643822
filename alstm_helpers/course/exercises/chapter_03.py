"""Notebook 03: the framing of a record, pickles of one dict, lists."""

from __future__ import annotations

import hashlib
import pickle
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.course.exercises.core import Exercise, Names, equals
from alstm_helpers.tfrecord import Video, dequantize, masked_crc


def framed(*payloads: bytes) -> bytes:
    """The bytes of a TFRecord file."""
    whole = b""
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        whole += length + struct.pack("<I", masked_crc(length))
        whole += payload + struct.pack("<I", masked_crc(payload))
    return whole


FILES = (framed(b"abc"), framed(b"x" * 300, b"", b"yz", b"x" * 70_000), b"")


def judge_framing(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of a file's bytes, tried on small files, whole and cut short."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    for content, right in zip(FILES, ([3], [300, 0, 2, 70_000], []), strict=True):
        try:
            found = answer(content)
        except Exception as error:  # it is the learner's
            return f"on a whole file of {len(content)} bytes it raises {type(error).__name__}: {str(error)[:80]}"
        if not isinstance(found, list | tuple):
            return f"it gives a {type(found).__name__}; a list of lengths is asked for"
        if list(found) != right:
            shown = f"{list(found)[:5]}" + (f" and {len(found) - 5} more" if len(found) > 5 else "")
            return f"for a file with payloads of {right} bytes it gives {shown}"
    for cut in (len(FILES[1]) - 1, len(FILES[1]) - 100, 5):
        try:
            answer(FILES[1][:cut])
        except ValueError:
            continue
        except Exception as error:
            return f"for a file that is cut short it raises {type(error).__name__}; a ValueError is asked for"
        return "a file that is cut short passes unseen; it must raise a ValueError"
    return ""


def _lengths(content: bytes, *, order: str = "<", after: int = 4, strict: bool = True) -> list[int]:
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from(f"{order}Q", content.ljust(at + 8, b"\0"), at)
        at += 12 + length + after
        found.append(length)
        if len(found) > 20:  # a wrong walk may go on for long
            break
    if strict and at > len(content):
        raise ValueError("the bytes end inside a record")
    return found


def judge_numbers(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function from stored bytes to numbers, on every byte there is."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    every = np.arange(256, dtype=np.uint8).reshape(2, 128)
    with np.errstate(all="ignore"):
        found = np.asarray(answer(every.copy()))
    if found.shape != every.shape:
        return f"an array {every.shape} becomes {found.shape}; the shape should stay"
    if found.dtype != np.float32:
        return f"it gives {found.dtype}; float32 is asked for"
    right = dequantize(every)
    if np.abs(found - right).max() < 1e-5:
        return ""
    if np.abs(found[0, :64] - right[0, :64]).max() < 1e-5:
        return "from 64 on the numbers are wrong: 4 times that is more than a uint8 holds, and NumPy wraps around"
    if np.ptp(found - right) < 1e-5:
        return f"every number is {abs(float((found - right).mean())):.4f} off: look at the constant of the formula"
    return f"0 and 255 become {found[0, 0]:.4f} and {found[-1, -1]:.4f}, not {right[0, 0]:.4f} and {right[-1, -1]:.4f}"


def _numbers(stored: Any, *, constant: float = 4 / 512 - 2, steps: int = 255) -> Any:
    return (np.asarray(stored, np.float32) * (4 / steps) + constant).astype(np.float32)


def _wrapped(stored: Any) -> Any:
    return (stored * np.uint8(4) / 255 + (4 / 512 - 2)).astype(np.float32)


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
        judge_framing,
        hints=(
            "A record is 8 bytes of length, 4 of checksum, the payload, 4 of checksum; then the next one begins.",
            'struct.unpack_from("<Q", content, at) gives a tuple with the length that is stored at the byte `at`.',
            "Go on with at += 12 + length + 4, while at < len(content).",
            "Whoever ends beyond len(content) has seen a file that was cut short.",
        ),
        solution=(
            "def payload_lengths(content):\n"
            "    lengths, at = [], 0\n"
            "    while at < len(content):\n"
            "        if at + 12 > len(content):\n"
            '            raise ValueError("the bytes end inside a record")\n'
            '        lengths.append(struct.unpack_from("<Q", content, at)[0])\n'
            "        at += 12 + lengths[-1] + 4\n"
            "    if at > len(content):\n"
            '        raise ValueError("the bytes end inside a record")\n'
            "    return lengths\n\n\n"
            "answer = payload_lengths"
        ),
        note="So a reader can hop over payloads: counting the videos of a shard reads 16 bytes of each record.",
        mistakes=(
            (
                _value(lambda content: _lengths(content, after=0, strict=False)),
                f"for a file with payloads of [3] bytes it gives [3, {masked_crc(b'abc')}]",
            ),
            (
                _value(lambda content: _lengths(content, order=">", strict=False)),
                "for a file with payloads of [3] bytes it gives [216172782113783808]",
            ),
            (
                _value(lambda content: [length + 16 for length in _lengths(content)]),
                "for a file with payloads of [3] bytes it gives [19]",
            ),
            (
                _value(lambda content: _lengths(content, strict=False)),
                "a file that is cut short passes unseen; it must raise a ValueError",
            ),
            (
                _value(lambda content: len(_lengths(content))),
                "it gives a int; a list of lengths is asked for",
            ),
            (lambda names: [3], "that is a list; give the function itself, without calling it"),
        ),
    ),
    Exercise(
        "ex-3-2",
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
        "ex-3-3",
        judge_numbers,
        hints=(
            "np.uint8(200) * 4 is 32: a uint8 has no room for 800, and arrays say nothing.",
            "Make float32 of it first: stored.astype(np.float32).",
            "Then times STEP, plus the constant 4 / 512 - 2.",
        ),
        solution=(
            "def to_numbers(stored):\n"
            "    return stored.astype(np.float32) * np.float32(4 / 255) + np.float32(4 / 512 - 2)\n\n\n"
            "answer = to_numbers"
        ),
        note="`dequantize` does the same, and the model does it on its device: uint8 travels, four times as small.",
        mistakes=(
            (
                _value(_wrapped),
                "from 64 on the numbers are wrong: 4 times that is more than a uint8 holds, and NumPy wraps around",
            ),
            (
                _value(lambda stored: _numbers(stored, constant=-2)),
                "every number is 0.0078 off: look at the constant of the formula",
            ),
            (
                _value(lambda stored: _numbers(stored, steps=256)),
                "0 and 255 become -1.9922 and 1.9922, not -1.9922 and 2.0078",
            ),
            (
                _value(lambda stored: _numbers(stored).astype(float)),
                "it gives float64; float32 is asked for",
            ),
            (
                _value(lambda stored: _numbers(stored).ravel()),
                "an array (2, 128) becomes (256,); the shape should stay",
            ),
        ),
    ),
    Exercise(
        "ex-3-4",
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
        "ex-3-5",
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
        "ex-3-6",
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
