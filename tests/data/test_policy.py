"""The table of odd and broken shards in data/README.md: each row is made, converted with good shards, and read."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from support import a_video

from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.dataset import read_batches
from alstm_helpers.errors import AlstmError
from alstm_helpers.pickles import load_videos
from alstm_helpers.tfrecord import encode_video, masked_crc, sequence_example_class, write_records

TABLE = Path(__file__).resolve().parents[2] / "data" / "README.md"
ROWS = re.findall(r"^\| (.+?) \| (refused|kept) \| (.+?) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
VIDEO = a_video("abcd", 3, [1, 2])
SECOND = 16 + len(encode_video(a_video("good", 4)))  # the byte where a record after a good one begins


def raw(change):
    """A shard's bytes, changed: a good record and the video."""

    def make(path):
        write_records(path, [encode_video(a_video("good", 4)), encode_video(VIDEO)])
        path.write_bytes(change(bytearray(path.read_bytes())))

    return make


def record(change):
    """A shard of a good record and the video's message, changed."""

    def make(path):
        example = sequence_example_class().FromString(encode_video(VIDEO))
        changed = change(example) or example
        payload = changed if isinstance(changed, bytes) else changed.SerializeToString(deterministic=True)
        write_records(path, [encode_video(a_video("good", 4)), payload])

    return make


def flipped(content, place):
    content[place] ^= 4
    return content


def wild_length(content):
    header = struct.pack("<Q", 2**60)
    content[SECOND : SECOND + 12] = header + struct.pack("<I", masked_crc(header))
    return content


def video_level(example):
    del example.feature_lists.feature_list["rgb"], example.feature_lists.feature_list["audio"]
    example.context.feature["mean_rgb"].float_list.value.extend([0.5] * 1024)


def renamed(example):
    for name in ("rgb", "audio"):
        other = example.feature_lists.feature_list[f"{name.upper()}/feature/floats"].feature
        other.extend(example.feature_lists.feature_list[name].feature)
        del example.feature_lists.feature_list[name]


def without(*path):
    def change(example):
        part = example
        for name in path[:-1]:
            part = getattr(part, name)
        del part[path[-1]]

    return change


def frame(example, name, **values):
    feature = example.feature_lists.feature_list[name].feature[1]
    feature.Clear()
    if "floats" in values:
        feature.float_list.value.extend(values["floats"])
    else:
        feature.bytes_list.value.extend(values["bytes"])


def labels(*values):
    def change(example):
        example.context.feature["labels"].Clear()
        if values and isinstance(values[0], bytes):
            example.context.feature["labels"].bytes_list.value.extend(values)
        else:
            example.context.feature["labels"].int64_list.value.extend(values)

    return change


def no_frames(example):
    for name in ("rgb", "audio"):
        del example.feature_lists.feature_list[name].feature[:]


def additional(example):
    example.context.feature["mean_rgb"].float_list.value.extend([0.5] * 1024)
    example.context.feature["segment_labels"].int64_list.value.append(7)
    example.feature_lists.feature_list["flow"].feature.add().bytes_list.value.append(b"x")


def id_of_2017(example):
    example.context.feature["video_id"].CopyFrom(example.context.feature["id"])
    del example.context.feature["id"]


def in_two_parts(example):
    context, lists = type(example)(), type(example)()
    context.context.CopyFrom(example.context)
    lists.feature_lists.CopyFrom(example.feature_lists)
    return lists.SerializeToString() + context.SerializeToString()


LONG = a_video("long", 310, [5])
MAKERS = {
    "one bit flipped in a payload": raw(lambda content: flipped(content, SECOND + 500)),
    "one bit flipped in a length": raw(lambda content: flipped(content, SECOND)),
    "cut short inside a record": raw(lambda content: content[:-100]),
    "a length field of 2^60": raw(wild_length),
    "zero records (an empty file)": raw(lambda _: b""),
    "a gzip file": raw(gzip.compress),
    "a CSV named .tfrecord": raw(lambda _: "video,labels\nclip.mp4,烹饪;music\n".encode()),
    "a payload that is not a SequenceExample": record(lambda _: b"\xff" * 40),
    "a video-level shard": record(video_level),
    "features under other names": record(renamed),
    "no audio": record(without("feature_lists", "feature_list", "audio")),
    "rgb and audio of different lengths": record(
        lambda e: e.feature_lists.feature_list["audio"].feature.pop() and None
    ),
    "features stored as floats": record(lambda e: frame(e, "rgb", floats=[0.5] * 1024)),
    "a wrong dimension": record(lambda e: frame(e, "audio", bytes=[bytes(600)])),
    "two values in one frame": record(lambda e: frame(e, "rgb", bytes=[bytes(1024)] * 2)),
    "no id": record(without("context", "feature", "id")),
    "a negative label": record(labels(3, -1)),
    "labels stored as text": record(labels(b"music")),
    "no labels": record(without("context", "feature", "labels")),
    "a label twice, or not sorted": record(labels(9, 2, 9)),
    "a label ≥ num_classes": record(labels(3862)),
    "more than 300 frames": record(lambda _: encode_video(LONG)),
    "no frames": record(no_frames),
    "additional features, per video or per second": record(additional),
    "video_id instead of id (2017)": record(id_of_2017),
    "another valid encoding of the same message": record(in_two_parts),
}
KEPT = {
    "no labels": VIDEO._replace(labels=()),
    "a label twice, or not sorted": VIDEO._replace(labels=(2, 9)),
    "a label ≥ num_classes": VIDEO._replace(labels=(3862,)),
    "more than 300 frames": LONG,
    "no frames": VIDEO._replace(rgb=VIDEO.rgb[:0], audio=VIDEO.audio[:0]),
}


def test_the_table_and_the_makers_name_the_same_shards():
    assert [name for name, _, _ in ROWS] == list(MAKERS)
    assert set(KEPT) <= {name for name, outcome, _ in ROWS if outcome == "kept"}


@pytest.mark.parametrize(("name", "outcome", "says"), ROWS, ids=[row[0] for row in ROWS])
def test_row(tmp_path, name, outcome, says):
    source, target = tmp_path / "tf", tmp_path / "pkl"
    MAKERS[name](source / "odd.tfrecord")
    raw(bytes)(source / "fine.tfrecord")
    done = convert(source, target, ConvertOptions(workers=1, keep_going=True))
    assert (target / "fine.pkl").exists()
    if outcome == "refused":
        (error,) = done.failed
        assert says in error.problem and "\n" not in str(error)
        assert str(error).startswith(str(source / "odd.tfrecord"))
        if name.startswith(("a gzip", "a CSV")):
            assert ", record 0 at byte 0: " in str(error)
        elif not name.startswith("zero"):
            assert f", record 1 at byte {SECOND}" in str(error)
        assert sorted(path.name for path in target.iterdir()) == ["fine.pkl", "manifest.jsonl", "manifest.jsonl.crc32c"]
    else:
        assert done.failed == []
        (_, video) = load_videos(target / "odd.pkl")
        expected = KEPT.get(name, VIDEO)
        assert (video.id, video.labels) == (expected.id, expected.labels)
        assert np.array_equal(video.rgb, expected.rgb) and np.array_equal(video.audio, expected.audio)


def test_nframes_is_cut_at_300_and_so_are_batches(tmp_path):
    MAKERS["more than 300 frames"](tmp_path / "odd.tfrecord")
    convert(tmp_path, tmp_path, ConvertOptions(workers=1))
    assert b"nframes" in (tmp_path / "odd.pkl").read_bytes()
    for shard in ("odd.tfrecord", "odd.pkl"):
        (batch,) = read_batches([tmp_path / shard], 2, 6)
        assert batch.lengths.tolist() == [4, 300]
        assert np.array_equal(batch.rgb[1], LONG.rgb[:300])


@pytest.mark.parametrize("shard", ["odd.tfrecord", "odd.pkl"])
def test_a_label_out_of_range_is_refused_by_the_reader(tmp_path, shard):
    MAKERS["a label ≥ num_classes"](tmp_path / "odd.tfrecord")
    convert(tmp_path, tmp_path, ConvertOptions(workers=1))
    list(read_batches([tmp_path / shard], 2, 3863))
    with pytest.raises(
        AlstmError, match=rf"{re.escape(shard)}, video abcd: label 3862 is out of range for 3862 classes"
    ):
        list(read_batches([tmp_path / shard], 2, 3862))


def test_seven_broken_shards_in_two_hundred(tmp_path):
    """They do not stop the others, and are named once each, in order."""
    source, target = tmp_path / "tf", tmp_path / "pkl"
    broken = [name for name, outcome, _ in ROWS if outcome == "refused"][:7]
    for number in range(193):
        write_records(source / f"train{number:04d}.tfrecord", [encode_video(a_video(f"{number}", 1))])
    for number, name in enumerate(broken, start=193):
        MAKERS[name](source / f"train{number:04d}.tfrecord")
    done = convert(source, target, ConvertOptions(workers=2, keep_going=True))
    assert (done.converted, done.videos, len(done.failed)) == (193, 193, 7)
    assert [f"train{number:04d}.tfrecord" in str(error) for number, error in enumerate(done.failed, 193)] == [True] * 7
    assert len(list(target.glob("*.pkl"))) == 193
    again = convert(source, target, ConvertOptions(workers=2, keep_going=True))
    assert (again.converted, again.skipped, len(again.failed)) == (0, 193, 7)
