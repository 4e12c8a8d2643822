"""Shards to padded batches: uint8 all the way to the device, grouped by length to save padding.

Which videos form a batch, and in which order the batches come, depends only on the shards, the batch size, the seed
and the epoch; not on the number of processes (ranks) that share the work, nor on where reading starts::

    shards → pool of a few → shuffle → sort windows by length → batches → shuffle → each rank's share → collate

The frames of a pickle are read, and checked, when a batch is collated (:func:`alstm_helpers.pickles.checked`), so the
frames of skipped batches, and of other ranks' shares, are never read. TFRecords are read whole to verify their
checksums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from alstm_helpers.data.counts import Told, require_count, told_counts
from alstm_helpers.metrics import require_labels
from alstm_helpers.pickles import checked, load_shard
from alstm_helpers.ranks import ALONE, Ranks
from alstm_helpers.tfrecord import AUDIO_DIM, MAX_FRAMES, RGB_DIM, Video, count_records

# A window of this many batches is sorted by length: large enough to save padding, small enough to stay shuffled.
WINDOW_BATCHES = 8

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shuffle:
    """The order of one training epoch, and where to start in it.

    Args:
        seed, epoch: determine the order.
        shuffle_shards: shards per pool. Only one pool is held in memory.
        start: batches to skip, to resume within an epoch.
    """

    seed: int
    epoch: int
    shuffle_shards: int
    start: int = 0


class Batch(NamedTuple):
    """B videos, zero-padded to the longest.

    ``ids`` B bytes; ``rgb`` uint8 (B, T, 1024); ``audio`` uint8 (B, T, 128); ``lengths`` int64 (B,);
    ``labels`` float32 multi-hot (B, C).
    """

    ids: list[bytes]
    rgb: np.ndarray
    audio: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


def collate(videos: Sequence[Video], num_classes: int) -> Batch:
    """Zero-pad videos into one batch. Keep the first 300 frames of each, as YouTube-8M does.

    Every label must be below ``num_classes``.

    Raises:
        AlstmError: the frames of a video are damaged.
    """
    lengths = np.array([min(video.num_frames, MAX_FRAMES) for video in videos], dtype=np.int64)
    longest = int(lengths.max(initial=1))
    rgb = np.empty((len(videos), longest, RGB_DIM), dtype=np.uint8)
    audio = np.empty((len(videos), longest, AUDIO_DIM), dtype=np.uint8)
    labels = np.zeros((len(videos), num_classes), dtype=np.float32)
    for row, (video, length) in enumerate(zip(map(checked, videos), lengths, strict=True)):
        rgb[row, :length], audio[row, :length] = video.rgb[:length], video.audio[:length]
        rgb[row, length:] = audio[row, length:] = 0
        labels[row, list(video.labels)] = 1
    return Batch([video.id for video in videos], rgb, audio, lengths, labels)


def parts_of(batch: Batch, count: int) -> Iterator[Batch]:
    """Split a batch into at most ``count`` parts of about equal size, each padded only to its own longest video."""
    size = max(1, math.ceil(len(batch.ids) / count))  # a rank's share can be empty
    for first in range(0, len(batch.ids), size):
        rows = slice(first, first + size)
        longest = int(batch.lengths[rows].max(initial=1))  # as in collate
        rgb, audio = batch.rgb[rows, :longest], batch.audio[rows, :longest]
        yield Batch(batch.ids[rows], rgb, audio, batch.lengths[rows], batch.labels[rows])


def read_batches(
    shards: Sequence[Path],
    batch_size: int,
    num_classes: int,
    *,
    by_length: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[Batch]:
    """Yield every video once, in the order of the shards; the last batch may be smaller.

    Args:
        shards: pickles, TFRecords, or both.
        batch_size: videos per batch, over all ranks together.
        num_classes: C, the width of the labels.
        by_length: group videos of similar length, which saves padding but gives up the order.
        ranks: the processes that share each batch; together they read every video. All ranks get the same number
            of batches; a share of the last one may be empty.

    Raises:
        AlstmError: a shard cannot be read, or a label is not below ``num_classes``.
    """
    group = _group_by_length if by_length else _in_order
    for videos in _grouped(shards, batch_size, partial(_load, num_classes=num_classes), group, shards_at_once=1):
        yield collate(videos[ranks.rank :: ranks.count], num_classes)


def shuffled_batches(
    shards: Sequence[Path],
    batch_size: int,
    num_classes: int,
    order: Shuffle,
    *,
    ranks: Ranks = ALONE,
    told: Mapping[Path, Told] | None = None,
) -> Iterator[Batch]:
    """Yield every video once, in an order that depends only on (seed, epoch); ``ceil(N / batch_size)`` batches.

    Shards are shuffled and read ``order.shuffle_shards`` at a time into a pool, whose videos are shuffled. Within
    windows of a few batches, videos of similar length share a batch.

    Args and errors as for :func:`read_batches`, and:
        order: see :class:`Shuffle`.
        told: see :func:`alstm_helpers.data.counts.told_counts`; a shard that holds another number is an error.
    """
    rng = np.random.default_rng([order.seed, order.epoch])
    shards = _shuffled(rng, shards)

    def load(shard: Path) -> list[Video]:
        videos = _load(shard, num_classes)
        require_count(shard, len(videos), (told or {}).get(shard))
        return videos

    def group(pool: list[Video], batch_size: int) -> list[Sequence[Video]]:
        return _shuffled(rng, list(_group_by_length(pool, batch_size)))

    mix, shards_at_once = partial(_shuffled, rng), order.shuffle_shards
    for number, videos in enumerate(_grouped(shards, batch_size, load, group, shards_at_once=shards_at_once, mix=mix)):
        if number >= order.start:
            yield collate(videos[ranks.rank :: ranks.count], num_classes)


def _shuffled(rng: np.random.Generator, items: Sequence[Item]) -> list[Item]:
    """Return the items in an order drawn from ``rng``."""
    return [items[index] for index in rng.permutation(len(items))]


def _grouped(
    shards: Sequence[Path],
    batch_size: int,
    load: Callable[[Path], list[Video]],
    group: Callable[[list[Video], int], Iterable[Sequence[Video]]],
    *,
    shards_at_once: int,
    mix: Callable[[list[Video]], list[Video]] = list,
) -> Iterator[Sequence[Video]]:
    """Yield the videos of a few shards at a time, grouped into batches; leftover videos wait for the next pool.

    The groups are yielded here, and not by the caller, so that no pool is kept while the next one is read.
    """
    pool: list[Video] = []
    for first in range(0, len(shards), shards_at_once):
        for shard in shards[first : first + shards_at_once]:
            pool += load(shard)
        pool = mix(pool)
        last = first + shards_at_once >= len(shards)
        usable = len(pool) if last else len(pool) // batch_size * batch_size
        yield from group(pool[:usable], batch_size)
        pool = pool[usable:]


def _load(shard: Path, num_classes: int) -> list[Video]:
    """Read a shard and check its labels; the frames of a pickle are read and checked by :func:`collate`."""
    videos = load_shard(shard, unchecked=True)
    for video in videos:
        require_labels(reversed(video.labels), num_classes, f"{shard}, video {video.name}")
    return videos


def _in_order(videos: Sequence[Video], batch_size: int) -> Iterator[Sequence[Video]]:
    """Cut videos into batches as they come."""
    for first in range(0, len(videos), batch_size):
        yield videos[first : first + batch_size]


def _group_by_length(videos: Sequence[Video], batch_size: int) -> Iterator[Sequence[Video]]:
    """Sort windows of videos by length, and cut them into batches."""
    batches = max(1, math.ceil(len(videos) / batch_size))
    windows = math.ceil(batches / WINDOW_BATCHES)  # of about equal size, so that the last one saves as much padding
    for window in _in_order(videos, batch_size * math.ceil(batches / windows)):
        yield from _in_order(sorted(window, key=lambda video: video.num_frames), batch_size)


def count_labels(shards: Sequence[Path], num_classes: int) -> np.ndarray:
    """Count the videos of each class, int64 (C,). Read every shard.

    Raises:
        AlstmError: a shard cannot be read, or a label is not below ``num_classes``.
    """
    counts = np.zeros(num_classes, np.int64)
    for shard in shards:
        for video in _load(shard, num_classes):
            counts[list(video.labels)] += 1
    return counts


def count_videos(shards: Sequence[Path], told: Mapping[Path, Told] | None = None) -> int:
    """Count the videos in the shards: from the manifests beside them, or by reading those of which none tells.

    Args:
        shards: pickles, TFRecords, or both.
        told: see :func:`alstm_helpers.data.counts.told_counts`; by default it is called.
    """
    told = told_counts(shards) if told is None else told
    return sum(told[shard].videos if shard in told else _count(shard) for shard in shards)


def _count(shard: Path) -> int:
    """Count one shard's videos by reading it, but not their frames."""
    return count_records(shard) if shard.suffix == ".tfrecord" else len(load_shard(shard, unchecked=True))
