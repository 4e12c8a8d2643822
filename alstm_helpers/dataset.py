"""Shards into padded batches: uint8 all the way to the device, grouped by length to save padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.pickles import load_shard
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video

# A window of this many batches is sorted by length: enough to save padding, few enough to stay mixed.
WINDOW_BATCHES = 8


class Batch(NamedTuple):
    """B videos, padded with zeros to the longest.

    ``ids`` B bytes; ``rgb`` uint8 (B, T, 1024); ``audio`` uint8 (B, T, 128); ``lengths`` int64 (B,);
    ``labels`` float32 multi-hot (B, C).
    """

    ids: list[bytes]
    rgb: np.ndarray
    audio: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


def collate(videos: Sequence[Video], num_classes: int) -> Batch:
    """Pad videos into one batch; frames beyond 300 are cut, as YouTube-8M does.

    Raises:
        AlstmError: a label does not fit ``num_classes``.
    """
    lengths = np.array([min(video.num_frames, MAX_FRAMES) for video in videos], dtype=np.int64)
    longest = int(lengths.max(initial=1))
    rgb = np.zeros((len(videos), longest, RGB_DIM), dtype=np.uint8)
    audio = np.zeros((len(videos), longest, AUDIO_DIM), dtype=np.uint8)
    labels = np.zeros((len(videos), num_classes), dtype=np.float32)
    for row, (video, length) in enumerate(zip(videos, lengths, strict=True)):
        rgb[row, :length], audio[row, :length] = video.rgb[:length], video.audio[:length]
        wrong = [label for label in video.labels if not 0 <= label < num_classes]
        if wrong:
            raise AlstmError(
                f"video {video.id.decode(errors='backslashreplace')}",
                f"label {wrong[0]}, but the model has {num_classes} classes",
                "set MODEL.num_classes to the data set's",
            )
        labels[row, list(video.labels)] = 1
    return Batch([video.id for video in videos], rgb, audio, lengths, labels)


def read_batches(shards: Sequence[Path], batch_size: int, num_classes: int) -> Iterator[Batch]:
    """Every video once, in the order of the shards; the last batch may be smaller."""
    waiting: list[Video] = []
    for shard in shards:
        waiting += load_shard(shard)
        while len(waiting) >= batch_size:
            yield collate(waiting[:batch_size], num_classes)
            del waiting[:batch_size]
    if waiting:
        yield collate(waiting, num_classes)


def shuffled_batches(
    shards: Sequence[Path], batch_size: int, num_classes: int, *, seed: int, epoch: int, shuffle_shards: int
) -> Iterator[Batch]:
    """Every video once, in an order that depends on (seed, epoch) alone; ``ceil(N / batch_size)`` batches.

    Shards are shuffled and read ``shuffle_shards`` at a time into a pool, whose videos are mixed; only
    the pool is held in memory. Inside windows of a few batches, videos of like length share a batch.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(shards))
    pool: list[Video] = []
    for first in range(0, len(order), shuffle_shards):
        for index in order[first : first + shuffle_shards]:
            pool += load_shard(shards[index])
        pool = [pool[index] for index in rng.permutation(len(pool))]
        last = first + shuffle_shards >= len(order)
        usable = len(pool) if last else len(pool) // batch_size * batch_size
        batches = list(_group_by_length(pool[:usable], batch_size))
        pool = pool[usable:]  # what fills no batch waits for the next pool
        for index in rng.permutation(len(batches)):
            yield collate(batches[index], num_classes)


def _group_by_length(videos: Sequence[Video], batch_size: int) -> Iterator[Sequence[Video]]:
    window = batch_size * WINDOW_BATCHES
    for start in range(0, len(videos), window):
        near = sorted(videos[start : start + window], key=lambda video: video.num_frames)
        for first in range(0, len(near), batch_size):
            yield near[first : first + batch_size]


def count_videos(shards: Sequence[Path]) -> int:
    """How many videos the shards hold (reads them)."""
    return sum(len(load_shard(shard)) for shard in shards)
