"""Exercises of notebook 03 and its appendix: records, dequantising, a pickle of one dict, lists, a split by person."""

from __future__ import annotations

import builtins
import functools
import hashlib
import pickle
import random
import re
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from alstm_helpers.course.exercises.answers import NotYet, a_type, listed, scalars
from alstm_helpers.course.exercises.attempts import Attempt, Raised
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms, is_function, text_file
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


@functools.cache
def _long_record() -> bytes:
    return framed(b"x" * 70_000)  # its length takes three bytes


def fault_of_lengths(payload_lengths: Attempt, rng: np.random.Generator) -> str:
    """Try a function of a file's bytes on small files, intact and truncated, and return what is wrong with it."""
    sizes = [*rng.integers(1, 400, 3).tolist(), 0, int(rng.integers(1, 9))]
    content = framed(*map(rng.bytes, sizes))
    for intact, right in ((framed(rng.bytes(sizes[0])), sizes[:1]), (content, sizes), (b"", [])):
        if fault := _fault_on_intact_file(payload_lengths, intact, right):
            return fault
    if fault := _fault_on_intact_file(payload_lengths, content + _long_record(), [*sizes, 70_000]):
        return fault
    last = len(content) - sizes[-1] - 16  # where the last record begins
    for size in (len(content) - 1, last + 13, last + int(rng.integers(1, 12)), 5):
        if fault := _fault_on_truncated_file(payload_lengths, content[:size]):
            return fault
    beyond = struct.pack("<Q", 2**32 + 3)  # its lower four bytes alone would fit
    return _fault_on_truncated_file(payload_lengths, beyond + struct.pack("<I", masked_crc(beyond)) + bytes(7))


def _fault_on_intact_file(payload_lengths: Attempt, content: bytes, right: list[int]) -> str:
    try:
        found = listed(payload_lengths(content), "lengths")
    except Raised as raised:
        return f"on an intact file of {len(content)} bytes {raised}"
    if scalars(found) != right:
        shown = f"{found[:5]}" + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        return f"for a file with payloads of {right} bytes it returns {shown}"
    return ""


def _fault_on_truncated_file(payload_lengths: Attempt, content: bytes) -> str:
    try:
        payload_lengths(content)
    except Raised as raised:
        if isinstance(raised.error, ValueError):
            return ""
        return f"for a truncated file it raises {a_type(raised.error)}; raise a ValueError"
    except NotYet:  # it returns None, for example
        pass
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


def _with_short_lengths(content: bytes) -> bytes:
    return content[:4] + bytes(4) + content[8:] if content[4:8] == b"\1\0\0\0" else content


def _none_if_truncated(content: bytes) -> list[int] | None:
    try:
        return _lengths(content)
    except ValueError:
        return None


# --- 3.2: the cost of the encoding --------------------------------------------------------------------------------


def overhead(notebook: Notebook) -> tuple[float, float]:
    """Return the bytes of the file per second of video, and the share of them that is not features."""
    seconds = sum(video.num_frames for video in notebook.videos)
    return len(notebook.raw) / seconds, 1 - 1152 * seconds / len(notebook.raw)


# --- 3.3: dequantising --------------------------------------------------------------------------------------------


def fault_of_numbers(to_numbers: Attempt, rng: np.random.Generator) -> str:
    """Try a function from stored bytes to numbers on every byte there is, and return what is wrong with it."""
    for shape in ((256,), (2, 128), (4, 8, 8)):
        every = rng.permutation(256).astype(np.uint8).reshape(shape)
        with np.errstate(all="ignore"):
            returned = to_numbers(every.copy())
        if not isinstance(returned, np.ndarray):
            return f"it returns {a_type(returned)}; return an array"
        found = returned
        if found.shape != every.shape:
            return f"an array of shape {every.shape} becomes {found.shape}; keep the shape"
        if found.dtype != np.float32:
            return f"it returns {found.dtype}; return float32"
        if fault := _fault_of_levels(found[np.unravel_index(np.argsort(every, axis=None), shape)]):
            return fault
    return ""


def _fault_of_levels(found: np.ndarray) -> str:
    """Return what is wrong with the numbers of the bytes 0 to 255, in order."""
    right = dequantize(np.arange(256, dtype=np.uint8))
    off = np.abs(found - right)
    if off.max() < 1e-5:
        return ""
    if off[:64].max() < 1e-5 and off[64:].min() > 0.1:
        return "from 64 on the numbers are wrong: 4 times 64 is more than a uint8 holds, and NumPy wraps around"
    if np.ptp(found - right) < 1e-5:
        return f"every number is off by {off.mean():.2g}: check the constant of the formula"
    worst = int(np.argmax(np.nan_to_num(off, nan=np.inf)))
    return f"the byte {worst} becomes {found[worst]:.6g}; by the formula it is {right[worst]:.6g}"


def _numbers(stored: np.ndarray, *, constant: float = 4 / 512 - 2, steps: int = 255) -> np.ndarray:
    """Return the true numbers; another constant or number of steps makes it a typical wrong answer."""
    return (stored.astype(np.float32) * (4 / steps) + constant).astype(np.float32)


def _in_place(stored: np.ndarray) -> np.ndarray:
    found = _numbers(stored)
    stored *= 4
    return found


def _wrapped(stored: np.ndarray) -> np.ndarray:
    return np.asarray(stored * np.uint8(4) / 255 + (4 / 512 - 2)).astype(np.float32)


# --- 3.4: a pickle of one dict ------------------------------------------------------------------------------------


def judge_videos(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge what ``load_videos`` returned for a file of one dict."""
    video = _only_video(answer)
    for row in _with_ids(notebook.dicts):
        if video.id == _as_bytes(row["video"]):
            if list(video.labels) != sorted(row.get("label", video.labels)):
                return "its labels are not those of the dict"
            pairs = ((video.rgb, "feature"), (video.audio, "audio"))
            is_whole = all(one.dtype == np.uint8 and np.array_equal(one, row.get(key, one)) for one, key in pairs)
            return "" if is_whole else "its arrays are not those of the dict"
    return "that video is not in `dicts`"


def _with_ids(dicts: Any) -> Iterator[dict[str, Any]]:
    """Yield the dicts that name a video, with text as keys: a learner may have changed them since, as the text asks."""
    for row in [dicts] if isinstance(dicts, Mapping) else dicts:
        decoded = {_as_bytes(key).decode(): row[key] for key in row} if isinstance(row, Mapping) else {}
        if "video" in decoded:
            yield decoded


def _only_video(answer: object) -> Video:
    """Return the video of a list of one.

    Raises:
        NotYet: the answer is anything else.
    """
    if isinstance(answer, dict):
        raise NotYet("that is the dict as it was stored; load_videos makes videos of it")
    if isinstance(answer, Video):
        raise NotYet("load_videos returns a list, even for one video: give that list")
    if not isinstance(answer, list | tuple) or not answer or not all(isinstance(item, Video) for item in answer):
        raise NotYet(f"that is {a_type(answer)}; give what load_videos returns")
    if len(answer) != 1:
        raise NotYet(f"those are {len(answer)} videos; the file should hold one dict")
    video: Video = answer[0]
    return video


def _as_bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


# --- 3.5: repeated lines of a list --------------------------------------------------------------------------------


def fault_of_repeated_lines(repeated_lines: Attempt, rng: np.random.Generator) -> str:
    """Try a function of a path on lists with and without repeated lines, and return what is wrong with it."""
    a, b, c = rng.permutation(9)[:3].tolist()
    # Two lines have the same last part, and one is a part of the other.
    one, two = rng.permutation([f"data/part{a}.pkl", f"my data/part{a}.pkl"]).tolist()
    three, four = f"data/part{b}.pkl", f"my videos/part{c}.pkl"
    lists: tuple[list[str], ...] = (
        [one, two, one],
        [one, two, three],
        [three] * 3,
        [two, one, two, one, four, two],
        [],
    )
    for place, lines in enumerate(lists):  # every other file ends without a newline
        with text_file("some.list", "\n".join(lines) + "\n" * (place % 2)) as path:
            found = [str(line).strip() for line in listed(repeated_lines(path), "the repeated lines", or_keys=True)]
        if len(found) > len(set(found)):
            return "a line that occurs several times is returned more than once"
        right = sorted(line for line, times in Counter(lines).items() if times > 1)
        if sorted(found) != right:
            return f"for the lines {lines} it returns {sorted(found)}, not {right}"
    return ""


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _each_occurrence(path: Path) -> list[str]:
    lines = _lines(path)
    return [line for line in lines if lines.count(line) > 1]


def _all_lines(path: Path) -> list[str]:
    return sorted(set(_lines(path)))


def _whether_any(path: Path) -> bool:
    return max(Counter(_lines(path)).values(), default=0) > 1


def _as_set(path: Path) -> set[str]:
    seen: set[str] = set()
    twice: set[str] = set()
    for line in _lines(path):
        (twice if line in seen else seen).add(line)
    return twice


def _with_ends(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line for line, times in Counter(file).items() if times > 1]


# --- 3.6: a split by person ---------------------------------------------------------------------------------------


PEOPLE = 200
SIDES = ("val", "train", "train", "train")


def fault_of_split(side_of: Attempt, rng: np.random.Generator) -> str:
    """Try a function from a clip to its side on clips of many people, and return what is wrong with it."""
    letters = rng.choice(list(ascii_lowercase), (PEOPLE, 6))
    people = ["".join(row[: rng.integers(2, 7)]) for row in letters]
    clips = [[f"{person}_{number:02d}.mp4" for number in (3, 14, 25)] for person in people]
    sides = [{_side(side_of, clip) for clip in of_person} for of_person in clips]
    if [_side(side_of, of_person[0]) for of_person in clips] != [_side(side_of, of_person[0]) for of_person in clips]:
        return "called twice with the same clips it returns other answers; nothing may be random"
    if _draws(side_of, [f"{person}y_03.mp4" for person in people]):
        return "in the next run people may change sides; nothing may be random"
    both = sum(len(found) > 1 for found in sides)
    if both:
        return f"{both} of {PEOPLE} people are on both sides"
    share = sum(found == {"val"} for found in sides) / PEOPLE
    if not 0.1 <= share <= 0.4:
        return f"{share:.0%} of the people are in validation; it should be about a quarter"
    if _uses_hash(side_of, [f"{person}x_03.mp4" for person in people]):
        return "hash() gives text another number in each run of Python; use hashlib, as the broken function does"
    return ""


def _draws(side_of: Attempt, clips: Sequence[str]) -> bool:
    """Return whether a function draws from Python's or NumPy's own generator without seeding it for the clip.

    Drawing moves on in a table of words; seeding replaces the table, and so does every few hundredth draw.
    """
    for clip in clips:  # it has seen none of them, as it may keep what it has found
        before = _generators()
        _side(side_of, clip)
        if any(words == same and at != now for (words, at), (same, now) in zip(before, _generators(), strict=True)):
            return True
    return False


def _generators() -> list[tuple[object, object]]:
    words, of_numpy = random.getstate()[1], np.random.get_state(legacy=False)["state"]
    return [(words[:-1], words[-1]), (of_numpy["key"].tolist(), of_numpy["pos"])]


def _uses_hash(side_of: Attempt, clips: Sequence[str]) -> bool:
    """Return whether a function, or anything that it calls, asks Python's own hash about a text.

    Args:
        side_of: the function.
        clips: to call it with; it has seen none of them, as it may keep what it has found.
    """
    asked, thread, own = [], threading.get_ident(), builtins.hash

    def spy(value: object, /) -> int:
        if threading.get_ident() == thread and isinstance(value, str | bytes):
            asked.append(value)
        return own(value)

    builtins.hash = spy
    try:
        for clip in clips:
            _side(side_of, clip)
    finally:
        builtins.hash = own
    return bool(asked)


def _side(side_of: Attempt, clip: str) -> str:
    """Return the side of a clip.

    Raises:
        NotYet: it is not train or val.
    """
    side = side_of(clip)
    if not isinstance(side, str) or side not in ("train", "val"):
        raise NotYet(f"for {clip} it returns {str(side)[:40]!r}; return 'train' or 'val'")
    return side


def _by_clip(clip: str) -> str:
    return "val" if int(hashlib.md5(clip.encode()).hexdigest(), 16) % 4 == 0 else "train"


def _all_train(clip: str) -> str:
    return "train"


def _at_random(clip: str) -> str:
    return "val" if random.random() < 0.25 else "train"


def _by_person(clip: str) -> str:
    return _by_clip(clip.partition("_")[0])


def _by_letters(clip: str) -> str:
    return _by_clip(re.findall("^[a-z]+", clip)[0])


def _by_hash(clip: str) -> str:
    return "val" if hash(clip.split("_")[0]) % 4 == 0 else "train"


def _helped(clip: str) -> str:
    return _by_hash(clip)


def _remembered(choose: Callable[[str], str]) -> Callable[[str], str]:
    kept = functools.cache(choose)
    return lambda clip: kept(clip.split("_")[0])


def _drawn() -> str:
    return SIDES[np.random.randint(4)]


def _by_own_hash() -> Callable[[str], str]:
    def hash(text: str) -> int:
        return zlib.crc32(text.encode())

    return lambda clip: SIDES[hash(clip.split("_")[0]) % 4]


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
                "for a file with payloads of […] bytes it returns […]…",
            ),
            (
                always(lambda content: _lengths(content, order=">")),
                "on an intact file of … bytes it raises a ValueError in line …: the bytes end inside a record",
            ),
            (
                always(lambda content: [length % 256 for length in _lengths(content)]),
                "for a file with payloads of […] bytes it returns […]…",
            ),
            (
                always(lambda content: _lengths(content, strict=False)),
                "it accepts a truncated file; raise a ValueError",
            ),
            (
                always(lambda content: [length % 2**32 for length in _lengths(_with_short_lengths(content))]),
                "it accepts a truncated file; raise a ValueError",
            ),
            (always(_none_if_truncated), "it accepts a truncated file; raise a ValueError"),
            (
                always(lambda content: {length: None for length in _lengths(content)}),
                "it returns a dict; return a list of lengths",
            ),
            (
                always(lambda content: [struct.unpack("<Q", struct.pack("<Q", size)) for size in _lengths(content)]),
                "for a file with payloads of […] bytes it returns [(…,)]…",
            ),
            (always(lambda content: len(_lengths(content))), "it returns an int; return a list of lengths"),
            (
                always(lambda content: (length for length in _lengths(content))),
                "it returns a generator; return the values themselves, as list(…) gives them",
            ),
            (always([3]), "that is a list; give the function itself, without calling it"),
        ),
        right=(
            always(lambda content: tuple(_lengths(content))),
            always(lambda content: np.array(_lengths(content), dtype=np.int64)),
        ),
    ),
    Exercise(
        "ex-3-2",
        equals(overhead, within=(0.5, 2e-4)),
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
                "the second number looks like a percentage; give the share, such as 0.25 for 25 %",
            ),
            (
                lambda notebook: (overhead(notebook)[0], 1 - overhead(notebook)[1]),
                "that is the share of the features; the overhead is the rest",
            ),
            (always((1152.0, 0.0)), "1152 are the features alone; the file has more bytes: len(raw)"),
            (
                lambda notebook: (overhead(notebook)[0], overhead(notebook)[0] / 1152 - 1),
                "that is relative to the features; give the share of the whole file",
            ),
            (lambda notebook: overhead(notebook)[0], "give both numbers, as a pair"),
            (lambda notebook: overhead(notebook)[::-1], "the numbers are right, but in the wrong order"),
        ),
        right=forms(overhead),
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
                "the byte 255 becomes 1.99219; by the formula it is 2.00781",
            ),
            (
                always(lambda stored: np.where(stored == 7, np.float32(np.nan), _numbers(stored))),
                "the byte 7 becomes nan; by the formula it is -1.88238",
            ),
            (always(lambda stored: _numbers(stored).astype(float)), "it returns float64; return float32"),
            (
                always(lambda stored: _numbers(stored).ravel()),
                "an array of shape (2, 128) becomes (256,); keep the shape",
            ),
            (always(_in_place), "it changes the data that it is given; work on a copy"),
        ),
        right=(
            always(dequantize),
            always(_numbers),
            always(lambda stored: _numbers(np.arange(256))[stored]),
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
            (lambda notebook: [notebook.videos[0]._replace(id=b"another")], "that video is not in `dicts`"),
            (
                lambda notebook: [notebook.videos[0]._replace(audio=notebook.videos[0].audio[:, :9])],
                "its arrays are not those of the dict",
            ),
            (
                lambda notebook: [notebook.videos[0]._replace(rgb=notebook.videos[0].rgb.astype(np.float32))],
                "its arrays are not those of the dict",
            ),
            (lambda notebook: [notebook.videos[0]._replace(labels=(99,))], "its labels are not those of the dict"),
            (always(pickle.dumps(1)), "that is a bytes; give what load_videos returns"),
        ),
        right=(lambda notebook: list(notebook.videos[:1]), lambda notebook: tuple(notebook.videos[1:2])),
    ),
    Exercise(
        "ex-3-5",
        is_function(fault_of_repeated_lines),
        hints=(
            "collections.Counter counts the lines of a list.",
            "Path(path).read_text().splitlines() returns its lines; split() would also cut at the spaces of a path.",
            "[line for line, times in Counter(…).items() if times > 1]",
        ),
        solution=(
            "from collections import Counter\n\n\n"
            "def repeated_lines(path):\n"
            '    lines = Path(path).read_text(encoding="utf-8").splitlines()\n'
            "    return [line for line, times in Counter(lines).items() if times > 1]\n\n\n"
            "answer = repeated_lines"
        ),
        note="A repeated shard counts its videos twice: it silently biases the metrics.",
        mistakes=(
            (always(_each_occurrence), "a line that occurs several times is returned more than once"),
            (always(_all_lines), "for the lines […] it returns […], not […]"),
            (always(_with_ends), "for the lines […] it returns […], not […]"),
            (
                always(lambda path: Counter(path.read_text("utf-8").split())),
                "for the lines […] it returns […], not […]",
            ),
            (
                always(lambda path: {line for line in _lines(path) if path.read_text("utf-8").count(line) > 1}),
                "for the lines […] it returns […], not […]",
            ),
            (
                always(lambda path: [*Counter(path.read_text("utf-8").split("/")), path.unlink()][:0]),
                "it changes the file that it is given; only read it",
            ),
            (always(_whether_any), "it returns a bool; return a list of the repeated lines"),
            (always(lambda path: print(end="")), "it returns None; does it end with return?"),
            (always([]), "that is a list; give the function itself, without calling it"),
        ),
        right=(
            always(_as_set),
            always(lambda path: sorted({line for line in _lines(path) if _lines(path).count(line) > 1})),
            always(lambda path: {line: times for line, times in Counter(_lines(path)).items() if times > 1}),
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
            (always(_by_clip), "… of 200 people are on both sides"),
            (always(_all_train), "0% of the people are in validation; it should be about a quarter"),
            (always(_at_random), "called twice with the same clips it returns other answers; nothing may be random"),
            (
                always(_by_hash),
                "hash() gives text another number in each run of Python; use hashlib, as the broken function does",
            ),
            (
                always(_helped),
                "hash() gives text another number in each run of Python; use hashlib, as the broken function does",
            ),
            (
                lambda notebook: functools.cache(lambda clip: _by_hash(clip)),
                "hash() gives text another number in each run of Python; use hashlib, as the broken function does",
            ),
            (
                always(
                    functools.partial(lambda sides, clip: sides[max(hash(part) % 4 for part in [clip[:-7]])], SIDES)
                ),
                "hash() gives text another number in each run of Python; use hashlib, as the broken function does",
            ),
            (always(lambda clip: _by_clip(clip[:-5])), "… of 200 people are on both sides"),
            (always(lambda clip: _by_clip(clip[:4])), "… of 200 people are on both sides"),
            (always(lambda clip: _by_clip(clip[:5])), "… of 200 people are on both sides"),
            (
                lambda notebook: _remembered(lambda person: random.choice(SIDES)),
                "in the next run people may change sides; nothing may be random",
            ),
            (
                lambda notebook: _remembered(lambda person: str(np.random.choice(SIDES))),
                "in the next run people may change sides; nothing may be random",
            ),
            (always(lambda clip: clip), "for … it returns '…'; return 'train' or 'val'"),
            (always("val"), "that is a str; give the function itself, without calling it"),
        ),
        right=(
            always(_by_person),
            always(_by_letters),
            always(lambda clip: "val" if zlib.crc32(clip.rsplit("_", 1)[0].encode()) % 4 == 1 else "train"),
            always(lambda clip: np.str_(_by_person(clip))),
            always(_by_own_hash()),
            always(lambda clip: random.Random(clip.split("_")[0]).choice(SIDES)),
            lambda notebook: _remembered(lambda person: (random.seed(person), random.choice(SIDES))[1]),
            lambda notebook: _remembered(lambda person: (np.random.seed(list(person.encode())), _drawn())[1]),
        ),
    ),
]
