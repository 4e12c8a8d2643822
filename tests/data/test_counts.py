"""The number of videos of a shard: told by whoever wrote it, and believed only of the shard as it was written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support import a_video, sums_fit

from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.counts import has_counts, record_counts, told_counts
from alstm_helpers.data.dataset import Shuffle, count_videos, shuffled_batches
from alstm_helpers.errors import AlstmError
from alstm_helpers.tfrecord import write_videos


def noise(count, frames=1):
    return [a_video(f"v{index}", frames) for index in range(count)]


def told(shards):
    return {shard.name: found.videos for shard, found in told_counts(shards).items()}


@pytest.fixture
def data(tmp_path):
    """Two TFRecords with 3 and 4 videos in ``tf/train``, recorded, and what they become in ``pkl/train``."""
    tf = tmp_path / "tf" / "train"
    for number in range(2):
        write_videos(tf / f"train{number:04d}.tfrecord", noise(3 + number))
    record_counts(tf, tf.iterdir())
    convert(tf, tmp_path / "pkl" / "train", ConvertOptions(workers=1))
    return tmp_path


def shards_of(data, suffix):
    return sorted(data.rglob(f"*.{suffix}"))


SUFFIXES = pytest.mark.parametrize("suffix", ["pkl", "tfrecord"])


@SUFFIXES
def test_a_manifest_tells_the_videos_of_a_copy_too(data, tmp_path, suffix):
    shutil.copytree(data, tmp_path / "copy")
    for root in (data / "tf", data / "pkl", tmp_path / "copy"):
        for shard, videos in told(shards_of(root, suffix)).items():
            assert videos == (3 if "0000" in shard else 4)
    assert len(told(shards_of(tmp_path / "copy", suffix))) == 2


@SUFFIXES
def test_shards_in_the_current_folder(data, monkeypatch, suffix):
    shards = shards_of(data, suffix)
    monkeypatch.chdir(shards[0].parent)
    assert len(told(Path(shard.name) for shard in shards)) == 2


@SUFFIXES
def test_a_shard_that_was_replaced_is_read(data, suffix):
    """By an older file of another size, and by a newer one of the same size."""
    shards = shards_of(data, suffix)
    as_written = shards[0].stat()
    shutil.copyfile(shards[1], shards[0])
    os.utime(shards[0], ns=(as_written.st_atime_ns, as_written.st_mtime_ns))
    assert list(told(shards)) == [shards[1].name] and count_videos(shards) == 4 + 4
    os.truncate(shards[0], as_written.st_size)
    assert list(told(shards)) == [shards[1].name]


@SUFFIXES
@pytest.mark.parametrize("row", [{"videos": None}, {"videos": True}, {"videos": -1}, {"videos": "3"}, {"bytes": None}])
def test_a_row_without_a_number_tells_nothing(data, suffix, row):
    """As in the downloads of earlier versions."""
    shards = shards_of(data, suffix)
    (manifest,) = {found.manifest for found in told_counts(shards).values()}
    lines = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    manifest.write_text("".join(f"{json.dumps(line | row)}\n" for line in lines), encoding="utf-8")
    manifest.with_name(f"{manifest.name}.crc32c").unlink()
    assert told(shards) == {} and count_videos(shards) == 7


@SUFFIXES
def test_a_manifest_that_lies_is_named_by_the_epoch(data, suffix):
    shards = shards_of(data, suffix)
    found = told_counts(shards)
    for videos in (5, 3):
        found[shards[1]] = found[shards[1]]._replace(videos=videos)
        assert count_videos(shards, found) == 3 + videos
        said = rf"train0001\.{suffix}: it holds 4 videos, but .*\.jsonl says {videos}, .*; remove"
        with pytest.raises(AlstmError, match=said):
            list(shuffled_batches(shards, 2, 6, Shuffle(0, 0, 1), told=found))


def test_a_shard_that_is_written_again_with_as_many_bytes_is_told_again(data):
    tf = data / "tf" / "train"
    shards = shards_of(data, "tfrecord")
    manifest = data / "tf" / "train.shards.jsonl"
    before = manifest.read_bytes()
    os.utime(shards[0], ns=(1, manifest.stat().st_mtime_ns + 10**6))
    assert list(told(shards)) == [shards[1].name]
    os.utime(shards[0])
    record_counts(tf, shards)
    assert len(told(shards)) == 2 and manifest.read_bytes() == before
    assert sums_fit(manifest.with_name(f"{manifest.name}.crc32c"))


def test_a_damaged_shard_is_recorded_without_a_number_and_a_removed_one_not_at_all(data):
    tf = data / "tf" / "train"
    shards = shards_of(data, "tfrecord")
    shards[0].write_bytes(b"no record of videos")
    record_counts(tf, shards[:1])
    (row,) = (data / "tf" / "train.shards.jsonl").read_text("utf-8").splitlines()
    assert json.loads(row) == {"shard": "train0000.tfrecord", "bytes": 19} and told(shards) == {}


def test_counts_are_there_when_they_are_of_these_shards_and_whole(data):
    tf, shards = data / "tf" / "train", shards_of(data, "tfrecord")
    assert has_counts(tf, shards)
    assert not has_counts(tf, shards[:1]) and not has_counts(tf, [*shards, tf / "train0002.tfrecord"])
    (data / "tf" / "train.shards.jsonl.crc32c").unlink()
    assert not has_counts(tf, shards)


def test_a_folder_without_shards_is_recorded_as_one(tmp_path):
    """Nothing is written for it, and nothing fails."""
    record_counts(tmp_path / "train", [])
    assert [*tmp_path.iterdir()] == [] and not told_counts([])
