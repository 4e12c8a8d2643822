"""Exercises of notebook 03 and its appendix: records, dequantising, a pickle of one dict, lists, a split by person."""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

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
    text_file,
)
from alstm_helpers.tfrecord import Video, dequantize, masked_crc

# --- 3.1: the lengths of the records of a file --------------------------------------------------------------------


def framed(*payloads: bytes) -> bytes:
    """Return the bytes of a TFRecord file with these payloads."""
    whole = b""
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        whole += length + struct.pack("<I", masked_crc(length))
        whole += payload + struct.pack("<I", masked_crc(payload))
    return whole


LONG_FILE = framed(b"x" * 300, b"", b"yz", b"x" * 70_000)
FILES: tuple[tuple[bytes, list[int]], ...] = ((framed(b"abc"), [3]), (LONG_FILE, [300, 0, 2, 70_000]), (b"", []))


def fault_of_lengths(payload_lengths: Function) -> str:
    """Try a function of a file's bytes on small files, intact and truncated, and return what is wrong with it."""
    for content, right in FILES:
        if fault := _fault_on_intact_file(payload_lengths, content, right):
            return fault
    for size in (len(LONG_FILE) - 1, len(LONG_FILE) - 100, 5):
        if fault := _fault_on_truncated_file(payload_lengths, LONG_FILE[:size]):
            return fault
    return ""


def _fault_on_intact_file(payload_lengths: Function, content: bytes, right: list[int]) -> str:
    try:
        found = payload_lengths(content)
    except Exception as error:  # a learner's function may raise anything
        return f"on an intact file of {len(content)} bytes it raises {type(error).__name__}: {str(error)[:80]}"
    if not isinstance(found, list | tuple):
        return f"it returns {a_type(found)}; return a list of lengths"
    if list(found) != right:
        shown = f"{list(found)[:5]}" + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        return f"for a file with payloads of {right} bytes it returns {shown}"
    return ""


def _fault_on_truncated_file(payload_lengths: Function, content: bytes) -> str:
    try:
        payload_lengths(content)
    except ValueError:
        return ""
    except Exception as error:  # a learner's function may raise anything
        return f"for a truncated file it raises {a_type(error)}; raise a ValueError"
    return "it accepts a truncated file; raise a ValueError"


def _lengths(content: bytes, *, order: str = "<", after: int = 4, strict: bool = True) -> list[int]:
    """Return the lengths of the payloads; each option makes it a typical wrong answer.

    Args:
        content: the bytes of the file.
        order: byte order of a length, as for ``struct``.
        after: bytes of the checksum after a payload.
        strict: refuse bytes that end inside a record.
    """
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from(f"{order}Q", content.ljust(at + 8, b"\0"), at)
        at += 12 + length + after
        found.append(length)
        if len(found) > 20:  # wrong steps may take many of them
            break
    if strict and at > len(content):
        raise ValueError("the bytes end inside a record")
    return found


# --- 3.2: the cost of the encoding --------------------------------------------------------------------------------


def overhead(notebook: Notebook) -> tuple[float, float]:
    """Return the bytes of the file per second of video, and the share of them that is not features."""
    seconds = sum(video.num_frames for video in notebook.videos)
    return len(notebook.raw) / seconds, 1 - 1152 * seconds / len(notebook.raw)


# --- 3.3: dequantising --------------------------------------------------------------------------------------------


def fault_of_numbers(to_numbers: Function) -> str:
    """Try a function from stored bytes to numbers on every byte there is, and return what is wrong with it."""
    every = np.arange(256, dtype=np.uint8).reshape(2, 128)
    with np.errstate(all="ignore"):
        found = np.asarray(to_numbers(every.copy()))
    if found.shape != every.shape:
        return f"an array of shape {every.shape} becomes {found.shape}; keep the shape"
    if found.dtype != np.float32:
        return f"it returns {found.dtype}; return float32"
    right = dequantize(every)
    if np.abs(found - right).max() < 1e-5:
        return ""
    if np.abs(found[0, :64] - right[0, :64]).max() < 1e-5:
        return "from 64 on the numbers are wrong: 4 times 64 is more than a uint8 holds, and NumPy wraps around"
    if np.ptp(found - right) < 1e-5:
        return f"every number is off by {abs(float((found - right).mean())):.4f}: check the constant of the formula"
    return f"0 and 255 become {found[0, 0]:.4f} and {found[-1, -1]:.4f}, not {right[0, 0]:.4f} and {right[-1, -1]:.4f}"


def _numbers(stored: np.ndarray, *, constant: float = 4 / 512 - 2, steps: int = 255) -> np.ndarray:
    """Return the true numbers; another constant or number of steps makes it a typical wrong answer."""
    return (stored.astype(np.float32) * (4 / steps) + constant).astype(np.float32)


def _wrapped(stored: np.ndarray) -> np.ndarray:
    return np.asarray(stored * np.uint8(4) / 255 + (4 / 512 - 2)).astype(np.float32)


# --- 3.4: a pickle of one dict ------------------------------------------------------------------------------------


def judge_videos(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge what ``load_videos`` returned for a file of one dict."""
    video = _only_video(answer)
    for row in notebook.dicts:
        if video.id == _as_bytes(row["video"]) and np.array_equal(video.rgb, row["feature"]):
            return ""
    return "that video is not in `dicts`"


def _only_video(answer: object) -> Video:
    """Return the video of a list of one.

    Raises:
        NotYet: the answer is anything else.
    """
    if isinstance(answer, dict):
        raise NotYet("that is the dict as it was stored; load_videos makes videos of it")
    if isinstance(answer, Video):
        raise NotYet("load_videos returns a list, even for one video: give that list")
    if not isinstance(answer, list) or not answer or not all(isinstance(item, Video) for item in answer):
        raise NotYet(f"that is {a_type(answer)}; give what load_videos returns")
    if len(answer) != 1:
        raise NotYet(f"those are {len(answer)} videos; the file should hold one dict")
    video: Video = answer[0]
    return video


def _as_bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


# --- 3.5: repeated lines of a list --------------------------------------------------------------------------------

# Each list, and which of its lines occur more than once.
LISTS: tuple[tuple[str, list[str]], ...] = (
    ("a.pkl\nb.pkl\n", []),
    ("a.pkl\nb.pkl\na.pkl\n", ["a.pkl"]),
    ("a.pkl\na.pkl\na.pkl", ["a.pkl"]),
    ("b.pkl\na.pkl\nb.pkl\na.pkl\nc.pkl\n", ["a.pkl", "b.pkl"]),
    ("", []),
)


def fault_of_repeated_lines(repeated_lines: Function) -> str:
    """Try a function of a path on lists with and without repeated lines, and return what is wrong with it."""
    for text, expected in LISTS:
        with text_file("some.list", text) as path:
            found = repeated_lines(path)
            if isinstance(found, str | bytes) or not isinstance(found, Iterable):
                return f"for a list it returns {a_type(found)}; return the repeated lines"
            lines = sorted(str(line).strip() for line in found)
        if len(lines) > len(set(lines)):
            return "a line that occurs three times is returned more than once"
        if lines != expected:
            return f"for the lines {text.split()} it returns {lines}, not {expected}"
    return ""


def _each_occurrence(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split()
    return [line for line in lines if lines.count(line) > 1]


def _all_lines(path: Path) -> list[str]:
    return sorted(set(path.read_text(encoding="utf-8").split()))


def _whether_any(path: Path) -> bool:
    return max(Counter(path.read_text(encoding="utf-8").split()).values(), default=0) > 1


# --- 3.6: a split by person ---------------------------------------------------------------------------------------


def fault_of_split(side_of: Function) -> str:
    """Try a function from a clip to its side on five clips of each of 200 people, and return what is wrong with it."""
    sides = [{_side(side_of, f"person{person}_{clip:02d}.mp4") for clip in range(5)} for person in range(200)]
    both = sum(len(found) > 1 for found in sides)
    if both:
        return f"{both} of 200 people are on both sides"
    share = sum(found == {"val"} for found in sides) / 200
    if not 0.1 <= share <= 0.4:
        return f"{share:.0%} of the people are in validation; it should be about a quarter"
    return ""


def _side(side_of: Function, clip: str) -> str:
    """Return the side of a clip.

    Raises:
        NotYet: it is not train or val, or not the same twice.
    """
    side = side_of(clip)
    if side not in ("train", "val"):
        raise NotYet(f"for {clip} it returns {side!r}; return train or val")
    if side_of(clip) != side:
        raise NotYet(f"called twice with {clip} it returns two answers; nothing may be random")
    return str(side)


def _by_clip(clip: str) -> str:
    return "val" if int(hashlib.md5(clip.encode()).hexdigest(), 16) % 4 == 0 else "train"


def _all_train(clip: str) -> str:
    return "train"


def _at_random(clip: str, _calls: list[str] = []) -> str:  # noqa: B006 - a stand-in for random: it must change
    _calls.append(clip)
    return ("train", "val")[len(_calls) % 2]


EXERCISES = [
    Exercise(
        "ex-3-1",
        is_function(fault_of_lengths),
        hints=(
            "A record is 8 bytes of length, 4 of checksum, the payload, 4 of checksum; then the next one begins.",
            'struct.unpack_from("<Q", content, at) returns a tuple with the length that is stored at byte `at`.',
            "Continue with at += 12 + length + 4, while at < len(content).",
            "If at ends beyond len(content), the file was truncated.",
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
        note="So a reader can skip payloads: counting the videos of a shard reads 16 bytes per record.",
        mistakes=(
            (
                always(lambda content: _lengths(content, after=0, strict=False)),
                f"for a file with payloads of [3] bytes it returns [3, {masked_crc(b'abc')}]",
            ),
            (
                always(lambda content: _lengths(content, order=">", strict=False)),
                "for a file with payloads of [3] bytes it returns [216172782113783808]",
            ),
            (
                always(lambda content: [length + 16 for length in _lengths(content)]),
                "for a file with payloads of [3] bytes it returns [19]",
            ),
            (
                always(lambda content: _lengths(content, strict=False)),
                "it accepts a truncated file; raise a ValueError",
            ),
            (
                always(lambda content: len(_lengths(content))),
                "it returns an int; return a list of lengths",
            ),
            (always([3]), "that is a list; give the function itself, without calling it"),
        ),
    ),
    Exercise(
        "ex-3-2",
        equals(overhead, within=(0.5, 0.002)),
        hints=(
            "sum(video.num_frames for video in videos) is the number of seconds in the shard.",
            "Bytes per second: len(raw) divided by that. Features alone would be 1152.",
            "The share is (bytes per second − 1152) / bytes per second.",
        ),
        solution=(
            "num_seconds = sum(video.num_frames for video in videos)\n"
            "answer = (len(raw) / num_seconds, 1 - 1152 * num_seconds / len(raw))"
        ),
        note="Under 2 %: tags and lengths, ids, labels and checksums cost almost nothing.",
        mistakes=(
            (
                lambda notebook: (overhead(notebook)[0], 100 * overhead(notebook)[1]),
                "give the share as a number below 1, not as a percentage",
            ),
            (
                lambda notebook: (overhead(notebook)[0], 1 - overhead(notebook)[1]),
                "that is the share of the features; the overhead is the rest",
            ),
            (always((1152.0, 0.0)), "1152 are the features alone; the file has more bytes: len(raw)"),
            (lambda notebook: overhead(notebook)[0], "give both numbers, as a pair"),
        ),
    ),
    Exercise(
        "ex-3-3",
        is_function(fault_of_numbers),
        hints=(
            "np.uint8(200) * 4 is 32: a uint8 cannot hold 800, and arrays overflow silently.",
            "Convert to float32 first: stored.astype(np.float32).",
            "Then multiply by STEP, and add the constant 4 / 512 - 2.",
        ),
        solution=(
            "def to_numbers(stored):\n"
            "    return stored.astype(np.float32) * np.float32(4 / 255) + np.float32(4 / 512 - 2)\n\n\n"
            "answer = to_numbers"
        ),
        note="`dequantize` does the same; the model does it on its device, so only a quarter of the bytes is moved.",
        mistakes=(
            (
                always(_wrapped),
                "from 64 on the numbers are wrong: 4 times 64 is more than a uint8 holds, and NumPy wraps around",
            ),
            (
                always(lambda stored: _numbers(stored, constant=-2)),
                "every number is off by 0.0078: check the constant of the formula",
            ),
            (
                always(lambda stored: _numbers(stored, steps=256)),
                "0 and 255 become -1.9922 and 1.9922, not -1.9922 and 2.0078",
            ),
            (
                always(lambda stored: _numbers(stored).astype(float)),
                "it returns float64; return float32",
            ),
            (
                always(lambda stored: _numbers(stored).ravel()),
                "an array of shape (2, 128) becomes (256,); keep the shape",
            ),
        ),
    ),
    Exercise(
        "ex-3-4",
        judge_videos,
        hints=(
            "{key.encode(): value for key, value in dicts[0].items()} has bytes as keys.",
            "pickle.dump needs a file that is open for writing bytes: path.open('wb').",
            "answer = load_videos(path)",
        ),
        solution=(
            'one = scratch / "one_dict.pkl"\n'
            'with one.open("wb") as file:\n'
            "    pickle.dump({key.encode(): value for key, value in dicts[0].items()}, file)\n"
            "answer = load_videos(one)"
        ),
        note="A list of one: code that reads shards need not know how a file was written.",
        mistakes=(
            (lambda notebook: notebook.dicts[0], "that is the dict as it was stored; load_videos makes videos of it"),
            (lambda notebook: notebook.videos[0], "load_videos returns a list, even for one video: give that list"),
            (lambda notebook: list(notebook.videos[:2]), "those are 2 videos; the file should hold one dict"),
            (always(pickle.dumps(1)), "that is a bytes; give what load_videos returns"),
        ),
    ),
    Exercise(
        "ex-3-5",
        is_function(fault_of_repeated_lines),
        hints=(
            "collections.Counter counts the lines of a list.",
            "Path(path).read_text().split() returns its lines.",
            "[line for line, times in Counter(…).items() if times > 1]",
        ),
        solution=(
            "from collections import Counter\n\n\n"
            "def repeated_lines(path):\n"
            '    lines = Path(path).read_text(encoding="utf-8").split()\n'
            "    return [line for line, times in Counter(lines).items() if times > 1]\n\n\n"
            "answer = repeated_lines"
        ),
        note="A repeated shard counts its videos twice: it silently biases the metrics.",
        mistakes=(
            (always(_each_occurrence), "a line that occurs three times is returned more than once"),
            (always(_all_lines), "for the lines ['a.pkl', 'b.pkl'] it returns ['a.pkl', 'b.pkl'], not []"),
            (always(_whether_any), "for a list it returns a bool; return the repeated lines"),
            (always([]), "that is a list; give the function itself, without calling it"),
        ),
    ),
    Exercise(
        "ex-3-6",
        is_function(fault_of_split),
        hints=(
            "What the function hashes decides what stays together.",
            "The person is the part of the name before the underscore.",
            'Hash clip.split("_")[0] instead of clip; the rest can stay as it is.',
        ),
        solution=(
            "def part_of_person(clip):\n"
            '    person = clip.split("_")[0]\n'
            '    return "val" if int(hashlib.md5(person.encode()).hexdigest(), 16) % 4 == 0 else "train"\n\n\n'
            "answer = part_of_person"
        ),
        note="Run the cell above with it: nobody is on both sides. `alstm split --group` does the same.",
        mistakes=(
            (always(_by_clip), "158 of 200 people are on both sides"),
            (always(_all_train), "0% of the people are in validation; it should be about a quarter"),
            (
                always(_at_random),
                "called twice with person0_00.mp4 it returns two answers; nothing may be random",
            ),
            (always("val"), "that is a str; give the function itself, without calling it"),
        ),
    ),
]
