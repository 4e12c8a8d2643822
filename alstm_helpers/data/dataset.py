"""Shards into padded batches: uint8 all the way to the device, grouped by length to save padding.

Which videos make a batch, and in which order batches come, depends on the shards, the batch size, the seed and
the epoch alone; not on how many processes (ranks) share the work, nor on where reading starts::

    shards → pool of a few → mixed → near each other sorted by length → batches, mixed → each rank's share → collate

Frames of pickles are read when a batch is collated (:func:`alstm_helpers.pickles.load_plain`): those of batches that
are left out, and of other ranks' shares, are never read. TFRecords are read whole, for their checksums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alstm_helpers.ledger import Ledger
from alstm_helpers.metrics import require_labels
from alstm_helpers.pickles import load_shard
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, count_records

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
    """Pad videos into one batch; frames beyond 300 are cut, as YouTube-8M does. Labels are below ``num_classes``."""
    lengths = np.array([min(video.num_frames, MAX_FRAMES) for video in videos], dtype=np.int64)
    longest = int(lengths.max(initial=1))
    rgb = np.zeros((len(videos), longest, RGB_DIM), dtype=np.uint8)
    audio = np.zeros((len(videos), longest, AUDIO_DIM), dtype=np.uint8)
    labels = np.zeros((len(videos), num_classes), dtype=np.float32)
    for row, (video, length) in enumerate(zip(videos, lengths, strict=True)):
        rgb[row, :length], audio[row, :length] = video.rgb[:length], video.audio[:length]
        labels[row, list(video.labels)] = 1
    return Batch([video.id for video in videos], rgb, audio, lengths, labels)


def parts_of(batch: Batch, count: int) -> Iterator[Batch]:
    """A batch in up to ``count`` parts of about equal size, each padded to its own longest video only."""
    size = max(1, math.ceil(len(batch.ids) / count))  # a rank's share may be empty
    for first in range(0, len(batch.ids), size):
        rows = slice(first, first + size)
        longest = int(batch.lengths[rows].max())
        rgb, audio = batch.rgb[rows, :longest], batch.audio[rows, :longest]
        yield Batch(batch.ids[rows], rgb, audio, batch.lengths[rows], batch.labels[rows])


def read_batches(
    shards: Sequence[Path],
    batch_size: int,
    num_classes: int,
    *,
    by_length: bool = False,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[Batch]:
    """Every video once, in the order of the shards; the last batch may be smaller.

    Args:
        shards: pickles, TFRecords, or both.
        batch_size: videos a batch, over all ranks together.
        num_classes: C, the width of the labels.
        by_length: put videos of like length together, which saves padding and gives up the order.
        rank, ranks: this process takes share ``rank`` of ``ranks`` of every batch; together they take all. All
            ranks get equally many batches; a share of the last one may be empty.

    Raises:
        AlstmError: a shard that cannot be read, or a label that does not fit ``num_classes``.
    """
    group = _group_by_length if by_length else _in_order
    for pool in _pools(shards, batch_size, num_classes, shards_at_once=1):
        for videos in group(pool, batch_size):
            yield collate(videos[rank::ranks], num_classes)


def shuffled_batches(
    shards: Sequence[Path],
    batch_size: int,
    num_classes: int,
    *,
    seed: int,
    epoch: int,
    shuffle_shards: int,
    start: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[Batch]:
    """Every video once, in an order that depends on (seed, epoch) alone; ``ceil(N / batch_size)`` batches.

    Shards are shuffled and read ``shuffle_shards`` at a time into a pool, whose videos are mixed; only
    the pool is held in memory. Inside windows of a few batches, videos of like length share a batch.

    Args and errors as :func:`read_batches`, and:
        seed, epoch: the order.
        shuffle_shards: shards in a pool.
        start: batches to leave out at the beginning, to go on inside an epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    order = [shards[index] for index in rng.permutation(len(shards))]
    number = 0
    for pool in _pools(order, batch_size, num_classes, shards_at_once=shuffle_shards, mix=partial(_mixed, rng)):
        for videos in _mixed(rng, list(_group_by_length(pool, batch_size))):
            if number >= start:
                yield collate(videos[rank::ranks], num_classes)
            number += 1


def _mixed(rng: np.random.Generator, items: Sequence[Any]) -> list[Any]:
    return [items[index] for index in rng.permutation(len(items))]


def _pools(
    shards: Sequence[Path],
    batch_size: int,
    num_classes: int,
    *,
    shards_at_once: int,
    mix: Callable[[list[Video]], list[Video]] = list,
) -> Iterator[list[Video]]:
    """The videos of a few shards at a time, enough for whole batches; what fills none waits for the next pool."""
    pool: list[Video] = []
    for first in range(0, len(shards), shards_at_once):
        for shard in shards[first : first + shards_at_once]:
            pool += _load(shard, num_classes)
        pool = mix(pool)
        last = first + shards_at_once >= len(shards)
        usable = len(pool) if last else len(pool) // batch_size * batch_size
        yield pool[:usable]
        pool = pool[usable:]


def _load(shard: Path, num_classes: int) -> list[Video]:
    videos = load_shard(shard)
    for video in videos:
        require_labels(reversed(video.labels), num_classes, f"{shard}, video {video.name}")
    return videos


def _in_order(videos: Sequence[Video], batch_size: int) -> Iterator[Sequence[Video]]:
    for first in range(0, len(videos), batch_size):
        yield videos[first : first + batch_size]


def _group_by_length(videos: Sequence[Video], batch_size: int) -> Iterator[Sequence[Video]]:
    batches = max(1, math.ceil(len(videos) / batch_size))
    windows = math.ceil(batches / WINDOW_BATCHES)  # of about equal size: the last one gains as much as the others
    for window in _in_order(videos, batch_size * math.ceil(batches / windows)):
        yield from _in_order(sorted(window, key=lambda video: video.num_frames), batch_size)


def count_labels(shards: Sequence[Path], num_classes: int) -> np.ndarray:
    """How many videos have each class, int64 (C,); reads every shard.

    Raises:
        AlstmError: a label is beyond the classes.
    """
    counts = np.zeros(num_classes, np.int64)
    for shard in shards:
        for video in _load(shard, num_classes):
            counts[list(video.labels)] += 1
    return counts


def count_videos(shards: Sequence[Path]) -> int:
    """How many videos the shards hold: from the manifest that `alstm convert` wrote beside them, or by looking."""
    manifests = {folder: Ledger(folder / "manifest.jsonl", "shard").rows for folder in {s.parent for s in shards}}
    return sum(_count(shard, manifests[shard.parent].get(f"{shard.stem}.tfrecord", {})) for shard in shards)


def _count(shard: Path, row: dict[str, Any]) -> int:
    if shard.suffix == ".tfrecord":
        return count_records(shard)
    return int(row["videos"]) if row.get("bytes") == shard.stat().st_size else len(load_shard(shard))
