"""FlashDigits: a built-in data set in YouTube-8M's format, on which attention is needed and visible.

Handwritten digits flash for one or two seconds among pixel-scrambled distractors; telephone keypad tones
sound for one or two seconds in noise, among single tones that are half a key. 20 classes, *see 0–9* and
*hear 0–9*, about 3 labels per video, 20 to 60 seconds per video, one frame and one second of sound per second.

Every video is a pure function of (seed, split, index), so its frames can be rendered again at any time::

    render(seed, split, index) → frames, sound, events ─ extract ─→ rgb (T, 1024), audio (T, 128) → TFRecord

Digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, as shipped in
scikit-learn. Keypad frequencies: ITU-T Recommendation Q.23.
"""

from __future__ import annotations

import os
import re
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import delayed

from alstm_helpers.data.class_names import write_classes
from alstm_helpers.data.counts import has_counts, record_counts
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed, leftovers, read_sealed, write_sealed
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, Video, quantize, write_videos
from alstm_helpers.workers import processes, results

NUM_CLASSES = 20
CLASS_NAMES = tuple(f"{verb} {digit}" for verb in ("see", "hear") for digit in range(10))
MIN_SECONDS, MAX_SECONDS = 20, 60
SAMPLE_RATE = 4000  # Hz; the highest keypad tone is 1477 Hz
LOW_TONES, HIGH_TONES = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz, rows and columns of the keypad (Q.23)
# By digit: 0 is in the middle of the last row, and 1 to 9 fill the three rows above it.
TONES = ((LOW_TONES[3], HIGH_TONES[1]), *((low, high) for low in LOW_TONES[:3] for high in HIGH_TONES))
SPLITS = {"train": ("train%04d.tfrecord", "t"), "val": ("validate%04d.tfrecord", "v")}
# The images are in the order in which 13 people wrote them, so a cut keeps whole writers out of training.
TRAIN_IMAGES = 1400
PIXEL_NOISE = 2  # of 16 grey levels
SINGLE_TONE_SHARE = 0.4  # share of seconds with one tone of a key but not the other
RECIPE = 1  # raised whenever the same seed would give different bytes


_MOST = 10_000_000  # videos


@dataclass(frozen=True)
class Settings:
    """The size and the seed of the data set.

    Args:
        train, val: videos per split.
        shards: files per split.
        seed: the same seed gives byte-identical files.

    Raises:
        AlstmError: a number is out of range.
    """

    train: int = 2500
    val: int = 500
    shards: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("train", 1, _MOST), ("val", 1, _MOST), ("shards", 1, _MOST), ("seed", 0, 2**63)):
            count = getattr(self, name)
            if not least <= count <= most:
                raise AlstmError(f"--{name}", f"{count} is out of range", f"pass {least} to {most}")
        most = min(self.train, self.val)
        if self.shards > most:
            raise AlstmError("--shards", f"{self.shards} shards cannot be filled", f"pass {most} or fewer")

    def record(self) -> dict[str, int]:
        """Return the content of ``flashdigits.json``."""
        return {
            "recipe": RECIPE,
            "seed": self.seed,
            "train": self.train,
            "val": self.val,
            "shards": self.shards,
        }


@dataclass(frozen=True)
class MadeData:
    """The outcome of :func:`make_data`: shards made, shards that existed already, and the videos in all of them."""

    made: int
    skipped: int
    videos: int

    def summary(self) -> str:
        """Return the last line of ``alstm make-data``."""
        return f"made {self.made} shards, {self.skipped} skipped, {self.videos} videos in all"


class Event(NamedTuple):
    """One digit or key: its seconds, ``start`` to ``stop`` (exclusive), and its class."""

    start: int
    stop: int
    label: int


class Scene(NamedTuple):
    """A rendered video: frames uint8 (T, 8, 8) of 0–16, sound float32 (T, 4000), and its events."""

    frames: np.ndarray
    sound: np.ndarray
    events: tuple[Event, ...]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all 1,797 digit images, int64 (N, 8, 8) of 0–16, and their classes (N,).

    They are read from scikit-learn's own file: importing its loader, with SciPy and pandas, takes longer than all else
    that a notebook does up to its first picture.
    """
    package = find_spec("sklearn")
    folder = Path(package.origin).parent if package and package.origin else Path()
    file = folder / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        rows = np.loadtxt(file, delimiter=",").astype(np.int64)  # (N, 65): 64 pixels and the class
        return rows[:, :64].reshape(-1, 8, 8), rows[:, 64]
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.int64), data.target


@cache
def _image_pool(split: str) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the indices of the images that a split may use: all of them, and by digit."""
    targets = _digits()[1]
    every = np.arange(len(targets))
    pool = every[:TRAIN_IMAGES] if split == "train" else every[TRAIN_IMAGES:]
    return pool, tuple(pool[targets[pool] == digit] for digit in range(10))


def render(seed: int, split: str, index: int) -> Scene:
    """Render video ``index`` of a split; the same arguments give the same scene."""
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
            continue  # two digits, or two keys, in the same second would mask each other
        events.append(event)
        if label < 10:
            frames[start : event.stop] = images[rng.choice(by_digit[label])].reshape(64)
        else:
            lone[start : event.stop] = False
            low, high = TONES[label - 10]
            sound[start : event.stop] += _sine(low) + _sine(high)
    for second in np.flatnonzero(lone):
        sound[second] += _sine(int(tones[second]))
    noisy = frames + rng.integers(-PIXEL_NOISE, PIXEL_NOISE + 1, frames.shape)
    return Scene(np.clip(noisy, 0, 16).astype(np.uint8).reshape(seconds, 8, 8), sound, tuple(sorted(events)))


@cache
def _sine(frequency: int) -> np.ndarray:
    """Return one second of a tone of amplitude 1, float32 (4000,)."""
    return np.sin(2 * np.pi * frequency * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)


@cache
def _projection() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fixed random weights (64, 1024), and each feature's mean and scale (1024,) over all digit images.

    The weights are integers, so the products are exact in float32 on every machine.
    """
    weights = np.random.default_rng(8).integers(-8, 9, (64, RGB_DIM)).astype(np.float32)
    features = np.maximum(_digits()[0].reshape(-1, 64).astype(np.float32) @ weights, 0).astype(np.int64)
    count = len(features)
    total, squares = features.sum(0), (features**2).sum(0)
    variance = (count * squares - total**2) / count**2
    return weights, np.rint(total / count), np.maximum(np.sqrt(variance), 1)


def extract_rgb(frames: np.ndarray) -> np.ndarray:
    """Compute features of 8 × 8 frames, the stand-in for Inception-v3 with PCA.

    A fixed random layer with ReLU; each feature is centred and scaled to standard deviation 0.5, like
    YouTube-8M's whitened features, then quantised.

    Args:
        frames: uint8 (T, 8, 8), grey levels 0–16.

    Returns:
        uint8 (T, 1024).
    """
    weights, mean, scale = _projection()
    activations = np.maximum(frames.reshape(-1, 64).astype(np.float32) @ weights, 0)  # (T, 1024)
    return quantize((activations - mean) / scale * 0.5)


def extract_audio(sound: np.ndarray) -> np.ndarray:
    """Compute features of seconds of sound, the stand-in for VGGish: log energy in 128 bands of 15 Hz.

    Args:
        sound: float32 (T, 4000), or with more samples per second.

    Returns:
        uint8 (T, 128).
    """
    rate = sound.shape[1]
    window = np.hanning(rate).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(sound * window, axis=1))[:, 1 : 1 + 15 * AUDIO_DIM]  # 1 Hz per bin
    spectrum = spectrum * (SAMPLE_RATE / rate)  # the sum grows with the number of samples
    energy = (spectrum.reshape(-1, AUDIO_DIM, 15) ** 2).sum(2)  # (T, 128)
    return quantize(0.5 * np.log(energy + 1e-6) - 5.43)  # white noise of standard deviation 1 is near -0.43


def video_id(split: str, index: int) -> bytes:
    """Return a video's id; for the first 4,096 videos it has four characters, like YouTube-8M's: ``t00f``, ``v1a2``."""
    return f"{SPLITS[split][1]}{index:03x}".encode()


def scene_of(id: bytes, seed: int) -> Scene:
    """Render the scene of a video id again.

    Raises:
        AlstmError: not the id of a FlashDigits video.
    """
    text = id.decode(errors="replace")
    for split, (_, prefix) in SPLITS.items():
        if re.fullmatch(f"{prefix}[0-9a-f]{{3,}}", text):
            return render(seed, split, int(text[1:], 16))
    raise AlstmError(text, "not the id of a FlashDigits video", "ids look like t00f or v1a2")


def make_video(seed: int, split: str, index: int) -> Video:
    """Make one video as the data set stores it."""
    scene = render(seed, split, index)
    labels = tuple(sorted(event.label for event in scene.events))
    return Video(video_id(split, index), labels, extract_rgb(scene.frames), extract_audio(scene.sound))


class _Shard(NamedTuple):
    """A file to make, and the videos in it."""

    path: Path
    split: str
    indices: range


def _missing(root: Path, settings: Settings) -> list[_Shard]:
    """Return the shards that do not exist yet."""
    shards = []
    for split, count in (("train", settings.train), ("val", settings.val)):
        for number in range(settings.shards):
            indices = range(count * number // settings.shards, count * (number + 1) // settings.shards)
            path = root / "tf" / split / (SPLITS[split][0] % number)
            if not path.exists():
                shards.append(_Shard(path, split, indices))
    return shards


def _make_shard(shard: _Shard, seed: int) -> None:
    """Render the videos of a shard and write them."""
    write_videos(shard.path, (make_video(seed, shard.split, index) for index in shard.indices))


def make_data(
    root: str | os.PathLike[str],
    settings: Settings = Settings(),
    *,
    workers: int = -1,
    progress: ProgressBar = no_progress,
) -> MadeData:
    """Write the data set as TFRecord shards; a rerun makes only the missing ones.

    Args:
        root: folder for ``tf/train/train%04d.tfrecord``, ``tf/val/validate%04d.tfrecord``, ``labels.csv``,
            ``flashdigits.json`` (the settings) and ``tf/train.shards.jsonl`` (see :mod:`alstm_helpers.data.counts`).
        settings: size and seed.
        workers: processes; -1 for one per core.
        progress: wraps the finished shards, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: the folder holds a data set with other settings, or another run is writing to it.
    """
    root = Path(root).absolute()  # worker processes that are already running have a current folder of their own
    splits = [root / "tf" / split for split in SPLITS]
    folders = [root, root / "tf", *splits]
    todo = _missing(root, settings)
    described = all((root / name).exists() for name in ("labels.csv", "flashdigits.json"))
    counted = all(has_counts(folder, folder.glob("*.tfrecord")) for folder in splits)
    if described and counted and not todo and not leftovers(*folders):
        _check_settings(root / "flashdigits.json", settings)
    else:
        with claimed(*folders):
            _check_settings(root / "flashdigits.json", settings)
            todo = _missing(root, settings)
            write_classes(root / "labels.csv", {name: index for index, name in enumerate(CLASS_NAMES)})
            jobs = [delayed(_make_shard)(shard, settings.seed) for shard in todo]
            # Closed, so that an error here ends the workers at once.
            with closing(results(jobs, processes(workers, len(jobs)))) as made:
                for _ in progress(made, total=len(jobs), desc="making"):
                    pass
            for folder in splits:
                record_counts(folder, folder.glob("*.tfrecord"))
    return MadeData(len(todo), 2 * settings.shards - len(todo), settings.train + settings.val)


def _check_settings(path: Path, settings: Settings) -> None:
    """Write the settings of a new data set; require that an existing one has the same.

    Raises:
        AlstmError: it has others.
    """
    wanted = settings.record()
    if not path.exists():
        write_sealed(path, wanted)
        return
    found = read_sealed(path, "delete this folder, and make the data again")
    if found != wanted:
        raise AlstmError(path, f"the folder holds {found}, not {wanted}", "choose another DIR, or delete this one")
