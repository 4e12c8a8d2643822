"""FlashDigits: a built-in data set in YouTube-8M's own format, on which attention is needed and visible.

Handwritten digits flash for a second or two among pixel-scrambled distractors; telephone keypad tones
sound for a second or two in noise, among single tones that are half a key. 20 classes, *see 0–9* and
*hear 0–9*, about 3 labels a video, 20 to 60 seconds a video, one frame and one second of sound each second.

Every video is a pure function of (seed, split, index), so its frames can be drawn again at any time::

    render(seed, split, index) → frames, sound, events ─ extract ─→ rgb (T, 1024), audio (T, 128) → TFRecord

Digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, as shipped in
scikit-learn. Keypad frequencies: ITU-T Recommendation Q.23.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, claimed, leftovers, write_json
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, Video, quantize, write_videos

NUM_CLASSES = 20
CLASS_NAMES = tuple(f"{verb} {digit}" for verb in ("see", "hear") for digit in range(10))
MIN_SECONDS, MAX_SECONDS = 20, 60
SAMPLE_RATE = 4000  # Hz; the highest keypad tone is 1477 Hz
LOW_TONES, HIGH_TONES = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz, rows and columns of the keypad (Q.23)
KEYPAD = ("123", "456", "789", "*0#")
_ROWS = {key: low for keys, low in zip(KEYPAD, LOW_TONES, strict=True) for key in keys}
_COLUMNS = {key: high for keys in KEYPAD for key, high in zip(keys, HIGH_TONES, strict=True)}
TONES = tuple((_ROWS[str(digit)], _COLUMNS[str(digit)]) for digit in range(10))
SPLITS = {"train": ("train%04d.tfrecord", "t"), "val": ("validate%04d.tfrecord", "v")}
# The images stand in the order in which 13 people wrote them, so a cut keeps whole writers out of training.
TRAIN_IMAGES = 1400
PIXEL_NOISE = 2  # of 16 grey levels
SINGLE_TONE_SHARE = 0.4  # seconds with one tone of a key and not the other
RECIPE = 1  # raised whenever the same seed would give other bytes


class Event(NamedTuple):
    """One digit or key: seconds ``start`` to ``stop`` (excluded) and its class."""

    start: int
    stop: int
    label: int


class Scene(NamedTuple):
    """A rendered video: frames uint8 (T, 8, 8) of 0–16, sound float32 (T, 4000), and what happens when."""

    frames: np.ndarray
    sound: np.ndarray
    events: tuple[Event, ...]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digit images, int64 (N, 8, 8) of 0–16, and their classes (N,)."""
    from sklearn.datasets import load_digits  # slow to import, needed only to draw

    data = load_digits()
    return data.images.astype(np.int64), data.target


@cache
def _image_pool(split: str) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Indices of the images a split may use: all of them, and by digit."""
    targets = _digits()[1]
    every = np.arange(len(targets))
    pool = every[:TRAIN_IMAGES] if split == "train" else every[TRAIN_IMAGES:]
    return pool, tuple(pool[targets[pool] == digit] for digit in range(10))


def render(seed: int, split: str, index: int) -> Scene:
    """Draw video ``index`` of a split; the same arguments give the same scene."""
    rng = np.random.default_rng([seed, list(SPLITS).index(split), index])
    images = _digits()[0]
    pool, by_digit = _image_pool(split)
    seconds = int(rng.integers(MIN_SECONDS, MAX_SECONDS + 1))
    frames = rng.permuted(images[rng.choice(pool, seconds)].reshape(seconds, 64), axis=1)  # distractors
    sound = rng.standard_normal((seconds, SAMPLE_RATE), dtype=np.float32)
    lone = rng.random(seconds) < SINGLE_TONE_SHARE
    tones = rng.choice(LOW_TONES + HIGH_TONES, seconds)
    events: list[Event] = []
    for label in rng.choice(NUM_CLASSES, rng.integers(1, 6), replace=False):
        length = int(rng.integers(1, 3))
        start = int(rng.integers(0, seconds - length + 1))
        event = Event(start, start + length, int(label))
        if any(
            event.start < other.stop and other.start < event.stop and event.label // 10 == other.label // 10
            for other in events
        ):
            continue  # two digits, or two keys, in the same second would hide each other
        events.append(event)
        if label < 10:
            frames[start : event.stop] = images[rng.choice(by_digit[label])].reshape(64)
        else:
            lone[start : event.stop] = False
            low, high = TONES[label - 10]
            sound[start : event.stop] += _sine(low) + _sine(high)
    sound[lone] += np.stack([_sine(int(tone)) for tone in tones[lone]]) if lone.any() else 0
    noisy = frames + rng.integers(-PIXEL_NOISE, PIXEL_NOISE + 1, frames.shape)
    return Scene(np.clip(noisy, 0, 16).astype(np.uint8).reshape(seconds, 8, 8), sound, tuple(sorted(events)))


@cache
def _sine(frequency: int) -> np.ndarray:
    """One second of a tone of amplitude 1."""
    return np.sin(2 * np.pi * frequency * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)


@cache
def _projection() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed random weights (64, 1024), and each feature's mean and scale over all digit images.

    The weights are whole numbers, so the products are exact in float32 on every machine.
    """
    weights = np.random.default_rng(8).integers(-8, 9, (64, RGB_DIM)).astype(np.float32)
    features = np.maximum(_digits()[0].reshape(-1, 64).astype(np.float32) @ weights, 0).astype(np.int64)
    count = len(features)
    total, squares = features.sum(0), (features**2).sum(0)
    variance = (count * squares - total**2) / count**2
    return weights, np.rint(total / count), np.maximum(np.sqrt(variance), 1)


def extract_rgb(frames: np.ndarray) -> np.ndarray:
    """Features of 8 × 8 frames, the stand-in for Inception-v3 with PCA.

    A fixed random layer with ReLU, each feature centred and scaled to a deviation of one half, as
    YouTube-8M's whitened features have, then quantised.

    Args:
        frames: uint8 (T, 8, 8), grey levels 0–16.

    Returns:
        uint8 (T, 1024).
    """
    weights, mean, scale = _projection()
    activations = np.maximum(frames.reshape(-1, 64).astype(np.float32) @ weights, 0)  # (T, 1024)
    return quantize((activations - mean) / scale * 0.5)


def extract_audio(sound: np.ndarray) -> np.ndarray:
    """Features of seconds of sound, the stand-in for VGGish: log energy in 128 bands of 15 Hz.

    Args:
        sound: float32 (T, 4000), or with more samples a second.

    Returns:
        uint8 (T, 128).
    """
    rate = sound.shape[1]
    window = np.hanning(rate).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(sound * window, axis=1))[:, 1 : 1 + 15 * AUDIO_DIM]  # 1 Hz a bin
    spectrum = spectrum * (SAMPLE_RATE / rate)  # more samples add up to more
    energy = (spectrum.reshape(-1, AUDIO_DIM, 15) ** 2).sum(2)  # (T, 128)
    return quantize(0.5 * np.log(energy + 1e-6) - 5.43)  # white noise of deviation 1 lies near -0.43


def video_id(split: str, index: int) -> bytes:
    """Four characters for the first 4,096 videos, as YouTube-8M's ids have: ``t00f``, ``v1a2``."""
    return f"{SPLITS[split][1]}{index:03x}".encode()


def scene_of(id: bytes, seed: int) -> Scene:
    """Draw the scene behind a video id again."""
    text = id.decode(errors="replace")
    for split, (_, prefix) in SPLITS.items():
        if text.startswith(prefix):
            return render(seed, split, int(text[1:], 16))
    raise AlstmError(text, "not the id of a FlashDigits video", "ids look like t00f or v1a2")


def make_video(seed: int, split: str, index: int) -> Video:
    """One video as the data set stores it."""
    scene = render(seed, split, index)
    labels = tuple(sorted(event.label for event in scene.events))
    return Video(video_id(split, index), labels, extract_rgb(scene.frames), extract_audio(scene.sound))


def _make_shard(path: Path, seed: int, split: str, indices: range) -> None:
    write_videos(path, (make_video(seed, split, index) for index in indices))


def make_data(
    root: str | os.PathLike[str],
    *,
    train: int = 2500,
    val: int = 500,
    shards: int = 4,
    seed: int = 0,
    workers: int = -1,
    progress: ProgressBar = no_progress,
) -> dict[str, int]:
    """Write the data set as TFRecord shards; a rerun makes only what is missing.

    Args:
        root: folder for ``tf/train/train%04d.tfrecord``, ``tf/val/validate%04d.tfrecord``, ``labels.csv``
            and ``flashdigits.json`` (the settings).
        train, val: videos in each split.
        shards: files a split.
        seed: the same seed gives byte-identical files.
        workers: processes, -1 for one a core.
        progress: wraps the finished shards, see :mod:`alstm_helpers.progress`.

    Returns:
        how many shards were made and how many were there already.

    Raises:
        AlstmError: the folder holds a data set of other settings, or a number is out of range.
    """
    root = Path(root).absolute()  # worker processes that run already have a current folder of their own
    for name, count, least in (("--train", train, 1), ("--val", val, 1), ("--shards", shards, 1), ("--seed", seed, 0)):
        if count < least:
            raise AlstmError(name, f"{count} is too small", f"pass {least} or more")
    if shards > min(train, val):
        raise AlstmError("--shards", f"{shards} shards cannot be filled", f"pass {min(train, val)} or fewer")
    settings = {"recipe": RECIPE, "seed": seed, "train": train, "val": val, "shards": shards}
    labels = "index,name\n" + "".join(f"{index},{name}\n" for index, name in enumerate(CLASS_NAMES))
    folders = {split: root / "tf" / split for split in SPLITS}

    def missing() -> list[Any]:
        """The jobs that are left."""
        jobs = []
        for split, count in (("train", train), ("val", val)):
            for shard in range(shards):
                indices = range(count * shard // shards, count * (shard + 1) // shards)
                path = folders[split] / (SPLITS[split][0] % shard)
                if not path.exists():
                    jobs.append(delayed(_make_shard)(path, seed, split, indices))
        return jobs

    jobs = []
    written = all((root / name).exists() for name in ("labels.csv", "flashdigits.json"))
    if missing() or not written or leftovers(root, *folders.values()):
        with claimed(root, *folders.values()):
            _check_settings(root / "flashdigits.json", settings)
            jobs = missing()
            with atomic_write(root / "labels.csv", "w") as file:
                file.write(labels)
            made = Parallel(n_jobs=workers, return_as="generator")(jobs)
            for _ in progress(made, total=len(jobs), desc="making"):
                pass
    else:
        _check_settings(root / "flashdigits.json", settings)
    return {"made": len(jobs), "skipped": 2 * shards - len(jobs), "videos": train + val}


def _check_settings(path: Path, settings: dict[str, int]) -> None:
    """Refuse to mix two data sets in one folder; remember the settings of a new one."""
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = "unreadable settings"
        if found != settings:
            raise AlstmError(path, f"the folder holds {found}, not {settings}", "choose another DIR or delete that one")
    else:
        write_json(path, settings)
