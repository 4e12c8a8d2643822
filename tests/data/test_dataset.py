"""Batches: every video once, padded with zeros, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import math
import random
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from support import a_video, ids_of, write_shards

from alstm_helpers.data import dataset
from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.dataset import (
    Shuffle,
    collate,
    count_labels,
    count_videos,
    parts_of,
    read_batches,
    shuffled_batches,
)
from alstm_helpers.errors import AlstmError
from alstm_helpers.pickles import load_shard
from alstm_helpers.ranks import Ranks
from alstm_helpers.tfrecord import write_videos

CLASSES = 6


def numbered(count, *, num_frames=2, prefix="v", start=0):
    return [a_video(f"{prefix}{index:03d}", num_frames, [index % CLASSES]) for index in range(start, start + count)]


@pytest.fixture
def four_shards(tmp_path):
    """Four shards of 16 videos; the id tells the shard: a000 … d015."""
    return write_shards(tmp_path, [numbered(16, prefix=prefix) for prefix in "abcd"])


def ids(batches):
    return [video for batch in batches for video in batch.ids]


def shuffled(shards, batch_size=8, *, seed=0, epoch=0, shuffle_shards=4):
    return list(shuffled_batches(shards, batch_size, CLASSES, Shuffle(seed, epoch, shuffle_shards)))


def calls_of(name, monkeypatch):
    """The first argument of each call of a function of the module, from now on."""
    seen, function = [], getattr(dataset, name)

    def watched(first, *rest, **options):
        seen.append(first)
        return function(first, *rest, **options)

    monkeypatch.setattr(dataset, name, watched)
    return seen


# --- one batch --------------------------------------------------------------------------------------------------


def test_collate_pads_with_zeros():
    videos = [a_video("one", 3, [1, 4]), a_video("two", 5), a_video("three", 1, [0])]
    batch = collate(videos, CLASSES)
    assert batch.ids == [b"one", b"two", b"three"]
    assert batch.lengths.tolist() == [3, 5, 1] and batch.lengths.dtype == np.int64
    assert batch.rgb.shape == (3, 5, 1024) and batch.audio.shape == (3, 5, 128)
    assert batch.rgb.dtype == batch.audio.dtype == np.uint8
    for row, video in enumerate(videos):
        for padded, frames in ((batch.rgb[row], video.rgb), (batch.audio[row], video.audio)):
            assert np.array_equal(padded[: video.num_frames], frames)
            assert not padded[video.num_frames :].any()
    assert batch.labels.dtype == np.float32
    assert batch.labels.tolist() == [[0, 1, 0, 0, 1, 0], [0] * 6, [1, 0, 0, 0, 0, 0]]


def test_collate_cuts_after_300_frames():
    video = a_video("long", 350)
    batch = collate([video, a_video("short", 2)], CLASSES)
    assert batch.lengths.tolist() == [300, 2]
    assert np.array_equal(batch.rgb[0], video.rgb[:300])
    assert np.array_equal(batch.audio[0], video.audio[:300])


def test_collate_keeps_a_video_of_exactly_300_frames():
    assert collate([a_video("long", 300)], CLASSES).lengths.tolist() == [300]


@pytest.mark.parametrize("lengths", [[], [0], [1], [0, 0]])
def test_collate_is_at_least_one_second_wide(lengths):
    batch = collate([a_video("v", length) for length in lengths], CLASSES)
    assert batch.rgb.shape == (len(lengths), 1, 1024) and batch.audio.shape == (len(lengths), 1, 128)
    assert batch.lengths.tolist() == lengths


@pytest.mark.parametrize("read", ["in order", "shuffled"])
def test_a_label_that_does_not_fit_is_named_with_its_shard_and_video(tmp_path, read):
    (shard,) = write_shards(tmp_path, [[a_video("fine", 1, [CLASSES - 1]), a_video("odd", 1, [0, CLASSES])]])
    with pytest.raises(
        AlstmError, match=r"shard0\.pkl, video odd: label 6 is out of range for 6 classes; .*num_classes"
    ):
        list(read_batches([shard], 4, CLASSES) if read == "in order" else shuffled([shard], 4))


# --- in order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9])  # 0, 1, batch - 1, batch, batch + 1, and twice that
def test_read_batches_gives_every_video_once_in_order(tmp_path, count):
    videos = [a_video(f"v{index}", count - index) for index in range(count)]
    shards = write_shards(tmp_path, [videos[:2], videos[2:3], [], videos[3:]])
    batches = list(read_batches(shards, 4, CLASSES))
    assert ids(batches) == [video.id for video in videos]
    assert [len(batch.ids) for batch in batches] == [min(4, count - start) for start in range(0, count, 4)]


def test_read_batches_keeps_frames_and_labels_with_their_video(tmp_path):
    videos = [a_video(f"v{index}", 1 + index, [index % CLASSES]) for index in range(7)]
    shards = write_shards(tmp_path, [videos[:3], videos[3:]])
    by_id = {video.id: video for video in videos}
    for batch in [*read_batches(shards, 4, CLASSES), *shuffled(shards, 4)]:
        for row, video_id in enumerate(batch.ids):
            video = by_id[video_id]
            assert batch.lengths[row] == video.num_frames
            assert np.array_equal(batch.rgb[row, : video.num_frames], video.rgb)
            assert np.flatnonzero(batch.labels[row]).tolist() == list(video.labels)


def test_one_list_may_hold_pickles_and_tfrecords(tmp_path):
    videos = numbered(6)
    (pickle,) = write_shards(tmp_path, [videos[:3]])
    write_videos(tmp_path / "more.tfrecord", videos[3:])
    shards = [pickle, tmp_path / "more.tfrecord"]
    assert ids(read_batches(shards, 4, CLASSES)) == [video.id for video in videos]
    assert sorted(ids(shuffled(shards, 4))) == [video.id for video in videos]


def test_a_list_is_read_one_shard_at_a_time(four_shards, monkeypatch):
    read = calls_of("load_shard", monkeypatch)
    next(read_batches(four_shards, 16, CLASSES))
    assert read == four_shards[:1]


def test_count_labels(tmp_path):
    shards = write_shards(tmp_path, [[a_video("a", 1, [0, 2]), a_video("b", 1, [2])], [a_video("c", 1, [2, 5])]])
    assert count_labels(shards, CLASSES).tolist() == [1, 0, 3, 0, 0, 1]


def test_count_videos(four_shards, tmp_path):
    write_videos(tmp_path / "more.tfrecord", numbered(3))
    assert count_videos([*four_shards, tmp_path / "more.tfrecord"]) == 67
    assert count_videos([]) == 0


# --- shuffled ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 8, 63, 64, 65, 1000])
@pytest.mark.parametrize("shuffle_shards", [1, 3, 4, 9])
def test_shuffled_batches_give_every_video_once(four_shards, batch_size, shuffle_shards):
    batches = shuffled(four_shards, batch_size, shuffle_shards=shuffle_shards)
    assert sorted(ids(batches)) == ids_of(four_shards)
    assert len(batches) == math.ceil(64 / batch_size)
    assert sorted(len(batch.ids) for batch in batches)[1:] == [batch_size] * (len(batches) - 1)  # one may be smaller


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_shuffled_batches_of_a_list_about_as_long_as_a_batch(tmp_path, count):
    videos = numbered(count)
    batches = shuffled(write_shards(tmp_path, [videos[:1], videos[1:]]), 4, shuffle_shards=1)
    assert sorted(ids(batches)) == [video.id for video in videos]
    assert len(batches) == math.ceil(count / 4)


def test_the_order_depends_on_seed_and_epoch_only(four_shards):
    first = ids(shuffled(four_shards, seed=3, epoch=2))
    np.random.seed(1)
    random.seed(1)
    list(shuffled_batches(four_shards, 8, CLASSES, Shuffle(9, 9, 4)))
    assert ids(shuffled(four_shards, seed=3, epoch=2)) == first
    others = [ids(shuffled(four_shards, seed=seed, epoch=epoch)) for seed, epoch in ((3, 1), (4, 2), (2, 3), (5, 0))]
    assert len({tuple(order) for order in [first, *others]}) == 5


def test_shards_are_mixed(four_shards):
    """Of 8 batches of 8 from a pool of 4 shards, each holds videos of several shards."""
    batches = shuffled(four_shards, 8, shuffle_shards=4)
    assert all(len({video[:1] for video in batch.ids}) >= 2 for batch in batches)


def test_only_as_many_shards_as_asked_for_are_read_ahead(four_shards, monkeypatch):
    read = calls_of("load_shard", monkeypatch)
    batches = shuffled_batches(four_shards, 8, CLASSES, Shuffle(0, 0, 2))
    first = next(batches)
    assert len(read) == 2
    assert {video[:1] for video in first.ids} <= {read_id[:1] for path in read for read_id in ids_of([path])}
    list(batches)
    assert sorted(read) == sorted(four_shards)


@pytest.mark.parametrize("in_training", [True, False])
def test_a_pool_is_given_back_before_the_next_one_is_read(four_shards, monkeypatch, in_training):
    """But for the batch in work and the videos that wait for the next pool, together fewer than a shard has."""
    pools: list[list[weakref.ref[np.ndarray]]] = []

    def load(shard, num_classes):
        alive = sum(array() is not None for pool in pools for array in pool)
        assert alive < 5
        videos = [video._replace(rgb=video.rgb.copy()) for video in load_shard(shard)]
        pools.append([weakref.ref(video.rgb) for video in videos])
        return videos

    monkeypatch.setattr(dataset, "_load", load)
    batches = (
        shuffled_batches(four_shards, 2, 10, Shuffle(0, 0, 1)) if in_training else read_batches(four_shards, 2, 10)
    )
    assert sum(len(batch.ids) for batch in batches) == sum(len(pool) for pool in pools) and len(pools) == 4


def test_videos_of_similar_length_share_a_batch(tmp_path):
    lengths = [1, 30] * 16
    videos = [a_video(f"v{index:02d}", length) for index, length in enumerate(lengths)]
    shards = write_shards(tmp_path, [videos[:10], videos[10:]])
    orders = []
    for epoch in range(4):
        batches = shuffled(shards, 4, epoch=epoch)
        assert all(len(set(batch.lengths.tolist())) == 1 for batch in batches)
        orders.append([int(batch.lengths[0]) for batch in batches])
    assert len({tuple(order) for order in orders}) > 1  # but the batches themselves come in any order
    assert any(order not in (sorted(order), sorted(order, reverse=True)) for order in orders)


def test_shuffled_batches_of_no_shards():
    assert shuffled([]) == []


# --- grouped by length, shared by ranks, resumed -----------------------------------------------------------------


def padding(batches):
    """Share of frames that are padding."""
    frames = sum(batch.rgb.shape[0] * batch.rgb.shape[1] for batch in batches)
    return 1 - sum(int(batch.lengths.sum()) for batch in batches) / frames


def test_grouping_by_length_saves_padding_and_keeps_every_video(tmp_path):
    rng = random.Random(0)
    videos = [a_video(f"v{index:03d}", rng.randint(1, 60)) for index in range(200)]
    shards = write_shards(tmp_path, [videos[:150], videos[150:]])
    plain = list(read_batches(shards, 16, CLASSES))
    grouped = list(read_batches(shards, 16, CLASSES, by_length=True))
    assert sorted(ids(grouped)) == ids(plain)
    assert [len(batch.ids) for batch in grouped] == [len(batch.ids) for batch in plain]
    assert padding(plain) > 0.4 and padding(grouped) < 0.2
    assert padding(shuffled(shards, 16)) < 0.2


def test_the_windows_that_are_grouped_by_length_are_of_about_equal_size(tmp_path):
    """Each is sorted by itself, and has at most eight batches: of nine, five and four."""
    eight, nine = (
        write_shards(tmp_path / str(count), [[a_video(f"v{length}", length) for length in range(2 * count, 0, -1)]])
        for count in (8, 9)
    )
    found = [batch.lengths.tolist() for batch in read_batches(eight, 2, CLASSES, by_length=True)]
    assert found == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12], [13, 14], [15, 16]]
    found = [batch.lengths.tolist() for batch in read_batches(nine, 2, CLASSES, by_length=True)]
    assert found == [[9, 10], [11, 12], [13, 14], [15, 16], [17, 18], [1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.mark.no_cover
@pytest.mark.parametrize("count", [63, 64, 65])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_ranks_share_every_batch_whatever_their_number(tmp_path, count, ranks):
    """The global batches are those of one process: the step count is equal, no video is lost or doubled."""
    videos = [a_video(f"v{index:03d}", 1 + index % 9, [index % CLASSES]) for index in range(count)]
    shards = write_shards(tmp_path, [videos[:40], videos[40:41], videos[41:]])
    order = Shuffle(seed=1, epoch=2, shuffle_shards=2)
    for alone, shares in (
        (
            list(read_batches(shards, 8, CLASSES)),
            [read_batches(shards, 8, CLASSES, ranks=Ranks(rank, ranks)) for rank in range(ranks)],
        ),
        (
            list(shuffled_batches(shards, 8, CLASSES, order)),
            [shuffled_batches(shards, 8, CLASSES, order, ranks=Ranks(rank, ranks)) for rank in range(ranks)],
        ),
    ):
        together = list(zip(*shares, strict=True))  # strict: equally many steps
        assert len(together) == len(alone)
        for whole, parts in zip(alone, together, strict=True):
            assert sorted(video for part in parts for video in part.ids) == sorted(whole.ids)
            sizes = [len(part.ids) for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert all(part.rgb.shape[0] == part.labels.shape[0] == len(part.ids) for part in parts)


@pytest.mark.parametrize("start", [0, 1, 3, 7, 8, 9])
def test_an_epoch_can_be_resumed_at_any_batch(four_shards, start):
    whole = list(shuffled_batches(four_shards, 8, CLASSES, Shuffle(4, 1, 2)))
    rest = list(shuffled_batches(four_shards, 8, CLASSES, Shuffle(4, 1, 2, start=start)))
    assert len(whole) == 8 and ids(rest) == ids(whole[start:])
    for one, other in zip(rest, whole[start:], strict=True):
        assert np.array_equal(one.rgb, other.rgb) and np.array_equal(one.labels, other.labels)


def test_skipped_batches_are_not_collated(four_shards, monkeypatch):
    collated = calls_of("collate", monkeypatch)
    order = Shuffle(seed=0, epoch=0, shuffle_shards=4, start=6)
    assert len(list(shuffled_batches(four_shards, 8, CLASSES, order))) == len(collated) == 2


def test_frames_of_a_pickle_are_not_copied_before_they_are_used(tmp_path):
    """A pool of pickles costs no memory of its own: their arrays are views of the mapped files."""
    shards = write_shards(tmp_path, [numbered(10, num_frames=300, prefix=prefix) for prefix in "abc"])
    size = sum(shard.stat().st_size for shard in shards)
    tracemalloc.start()
    pool = [video for shard in shards for video in load_shard(shard)]
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pool) == 30 and held < size / 50


@pytest.mark.posix
def test_a_batch_of_files_of_one_video_needs_few_open_files(tmp_path):
    """As PaddleVideo's splitter writes them: by default a process may have 1,024 files open."""
    resource = pytest.importorskip("resource")
    shards = write_shards(tmp_path, [[a_video(f"v{index:03d}", 300, [1])] for index in range(200)])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 100, before[1]))
    try:
        (batch,) = read_batches(shards, 200, CLASSES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(batch.ids) == 200


def test_frames_are_read_and_checked_with_their_batch(tmp_path):
    """Neither while a pool is filled, nor to count: a damaged video stops nobody who does not want it."""
    videos = numbered(4, num_frames=300)
    shards = write_shards(tmp_path, [videos])
    content = bytearray(shards[0].read_bytes())
    content[content.rindex(videos[3].rgb[150].tobytes())] ^= 1
    shards[0].write_bytes(content)
    assert count_videos(shards) == 4
    batches = read_batches(shards, 2, CLASSES)
    assert next(batches).ids == [b"v000", b"v001"]
    with pytest.raises(AlstmError, match="it is damaged"):
        next(batches)


def test_videos_are_counted_from_the_manifest_where_it_fits(tmp_path, monkeypatch):
    tf, pkl = tmp_path / "tf", tmp_path / "pkl"
    for name, number in (("train0000", 3), ("train0001", 4)):
        write_videos(tf / f"{name}.tfrecord", numbered(number))
    convert(tf, pkl, ConvertOptions(workers=1))
    shards = sorted(pkl.glob("*.pkl"))
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "load_shard", lambda path: pytest.fail("no shard needs to be read"))
        assert count_videos(shards) == 7
        assert count_videos(sorted(tf.glob("*.tfrecord"))) == 7
    write_shards(pkl, [numbered(9)])
    (pkl / "shard0.pkl").replace(shards[0])  # the manifest is of another pickle
    assert count_videos(shards) == 13


def test_an_empty_batch_has_no_parts():
    assert list(parts_of(collate([], CLASSES), 2)) == []


def test_a_part_of_videos_without_frames_is_one_second_wide():
    batch = collate([a_video("empty", 0, [1]), a_video("long", 4, [2])], CLASSES)
    parts = list(parts_of(batch, 2))
    assert [part.rgb.shape[:2] for part in parts] == [part.audio.shape[:2] for part in parts] == [(1, 1), (1, 4)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_parts_of_a_batch_are_the_batch(count):
    videos = [a_video(f"v{index}", 1 + 2 * index, [index % CLASSES]) for index in range(7)]
    whole = collate(videos, CLASSES)
    parts = list(parts_of(whole, count))
    assert ids(parts) == whole.ids and len(parts) == min(count, 7)
    assert [labels for part in parts for labels in part.labels.tolist()] == whole.labels.tolist()
    for part in parts:
        assert part.rgb.shape[1] == part.audio.shape[1] == part.lengths.max()
    again = [video for part in parts for video in part.rgb]
    for index, frames in enumerate(again):
        assert np.array_equal(frames[: 1 + 2 * index], videos[index].rgb)
