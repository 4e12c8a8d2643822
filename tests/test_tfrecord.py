"""TFRecords: what is written is read back, what is damaged is found, what is of another kind is named."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import struct
import tracemalloc
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import a_video, equal

from alstm_helpers.errors import AlstmError, CorruptRecord, WrongShard
from alstm_helpers.tfrecord import (
    Video,
    count_records,
    decode_video,
    dequantize,
    encode_video,
    fast_decode,
    general_decode,
    masked_crc,
    quantize,
    read_records,
    read_videos,
    sequence_example_class,
    write_records,
    write_videos,
)

needs_real_data = pytest.mark.skipif("ALSTM_REAL_DATA" not in os.environ, reason="needs ALSTM_REAL_DATA")


def real(name):
    return Path(os.environ["ALSTM_REAL_DATA"], name)


def framed(payload):
    """A record as the format says, put together without the package's writer."""
    header = struct.pack("<Q", len(payload))
    return header + struct.pack("<I", masked_crc(header)) + payload + struct.pack("<I", masked_crc(payload))


def refusal(path, kind=CorruptRecord):
    with pytest.raises(kind) as caught:
        list(read_videos(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def an_example(video=None, **context):
    """A ``SequenceExample`` that a test can spoil before it is serialised."""
    example = sequence_example_class()()
    if video is not None:
        example.ParseFromString(encode_video(video))
    for key, values in context.items():
        feature = example.context.feature[key]
        if isinstance(values, bytes):
            feature.bytes_list.value.append(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example


@pytest.fixture
def shard(tmp_path):
    """Three short videos, and their file."""
    videos = [a_video("aaaa", 2, [1, 7]), a_video("bbbb", 1, []), a_video("cccc", 3, [3861])]
    path = tmp_path / "train0000.tfrecord"
    write_videos(path, videos)
    return path, videos


# --- checksums --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),  # the check value in every catalogue of CRCs
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksum_is_crc32c_with_tensorflows_mask(data, crc):
    assert google_crc32c.value(data) == crc
    rotated = crc >> 15 | crc % 2**15 * 2**17
    assert masked_crc(data) == (rotated + 0xA282EAD8) % 2**32


def test_masked_checksum_of_a_known_text():
    assert masked_crc(b"123456789") == 0xC78AB0E5


# --- framing ----------------------------------------------------------------------------------------------------


def test_records_are_framed_as_the_format_says(tmp_path):
    payloads = [b"", b"x", os.urandom(5000)]
    path = tmp_path / "any.tfrecord"
    write_records(path, payloads)
    assert path.read_bytes() == b"".join(map(framed, payloads))
    assert list(read_records(path)) == payloads


def test_every_single_bit_flip_is_found(shard, tmp_path):
    """1,000 flips, half of them in the 16 bytes that frame a record; each is found, none crashes the reader."""
    path, videos = shard
    whole = path.read_bytes()
    starts = [0, *itertools.accumulate(16 + len(encode_video(video)) for video in videos[:2])]
    ends = [*starts[1:], len(whole)]
    frames = [
        place
        for start, end in zip(starts, ends, strict=True)
        for place in (*range(start, start + 12), *range(end - 4, end))
    ]
    damaged = tmp_path / "damaged.tfrecord"
    rng = random.Random(0)
    found = 0
    for number in range(1000):
        place, bit = rng.choice(frames) if number % 2 else rng.randrange(len(whole)), rng.randrange(8)
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        index = sum(place >= start for start in starts) - 1
        with pytest.raises(CorruptRecord, match=rf"record {index} at byte {starts[index]}: "):
            list(read_videos(damaged))
        found += 1
    assert found == 1000


def test_each_part_of_a_record_is_checked(shard):
    path, videos = shard
    whole = path.read_bytes()
    start = 16 + len(encode_video(videos[0]))  # of the second record
    length = len(encode_video(videos[1]))
    places = [(3, "length"), (9, "length"), (12, "payload"), (11 + length, "payload"), (12 + length, "payload")]
    for place, part in places:
        path.write_bytes(whole[: start + place] + bytes([whole[start + place] ^ 1]) + whole[start + place + 1 :])
        assert f"record 1 at byte {start}: the checksum of the {part} differs" in refusal(path)


def test_truncation_is_found_at_every_byte(tmp_path):
    path = tmp_path / "short.tfrecord"
    whole = framed(b"first") + framed(b"second")
    border = len(framed(b"first"))
    for size in set(range(1, len(whole))) - {border}:
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptRecord, match=f"record {int(size > border)} at byte {border * (size > border)}"):
            list(read_records(path))
    path.write_bytes(whole[:border])  # a cut between two records leaves a whole file
    assert list(read_records(path)) == [b"first"]


def test_records_before_the_damage_are_given(shard):
    path, videos = shard
    path.write_bytes(path.read_bytes()[:-1])
    reader = read_videos(path)
    assert [next(reader).id, next(reader).id] == [video.id for video in videos[:2]]
    with pytest.raises(CorruptRecord, match="record 2 at byte"):
        next(reader)


@pytest.mark.parametrize("length", [2**60, 2**63, 2**64 - 1, 100, 50, 47])
def test_a_wild_length_with_a_good_checksum_is_refused_before_it_is_read(tmp_path, length):
    header = struct.pack("<Q", length)
    path = tmp_path / "wild.tfrecord"
    path.write_bytes(header + struct.pack("<I", masked_crc(header)) + bytes(50))
    assert f"{length} bytes announced, fewer are left" in refusal(path)


def test_files_that_are_no_tfrecords(tmp_path):
    path = tmp_path / "page.tfrecord"
    path.write_text("<html><body>404 Not Found</body></html>\n" * 20, encoding="utf-8")
    assert "this is not a TFRecord file but text that begins with '<html><body>'" in refusal(path)
    path.write_text("\ufeffvideo,labels\n", encoding="utf-8")  # as spreadsheets save
    assert "but text that begins with" in refusal(path)
    path.write_bytes(gzip.compress(b"x" * 99))
    assert "but a gzip file; decompress it with gunzip" in refusal(path)
    path.write_bytes(random.Random(0).randbytes(99))
    assert "the checksum of the length differs, or this is not a TFRecord file" in refusal(path)
    path.write_bytes(b"")
    assert "the file is empty" in refusal(path)
    assert "no such file" in refusal(tmp_path / "none.tfrecord", AlstmError)
    assert "not a file" in refusal(tmp_path, AlstmError)


def test_writing_that_fails_leaves_the_old_shard(shard):
    path, videos = shard
    before = path.read_bytes()

    def failing():
        yield videos[0]
        raise RuntimeError("feature extraction failed")

    with pytest.raises(RuntimeError):
        write_videos(path, failing())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_records_are_counted_without_their_payloads(shard):
    path, _ = shard
    assert count_records(path) == 3
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert count_records(path) == 3  # a damaged payload is not looked at
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptRecord, match="record 2 at byte"):
        count_records(path)


# --- videos -----------------------------------------------------------------------------------------------------


def test_round_trip(shard):
    path, videos = shard
    read = list(read_videos(path))
    assert len(read) == 3 and all(map(equal, read, videos))
    assert read[0].rgb.dtype == read[0].audio.dtype == np.uint8
    assert [video.num_frames for video in read] == [2, 1, 3]


@given(
    st.binary(max_size=40),
    st.lists(st.integers(0, 2**40), max_size=9, unique=True).map(lambda labels: tuple(sorted(labels))),
    st.integers(0, 6),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_round_trip_of_any_video(id, labels, num_frames, seed):
    rng = np.random.default_rng(seed)
    rgb, audio = (rng.integers(0, 256, (num_frames, dim), np.uint8) for dim in (1024, 128))
    video = Video(id, labels, rgb, audio)
    payload = encode_video(video)
    assert equal(decode_video(payload, "here"), video)
    assert equal(general_decode(payload, "here"), video)
    if num_frames:
        fast = fast_decode(payload)
        assert fast and equal(fast, video)  # it is the layout that the fast path is made for


def test_labels_come_out_sorted_and_once():
    payload = encode_video(a_video("abcd", 1, [9, 2, 5, 2]))
    assert decode_video(payload, "").labels == general_decode(payload, "").labels == (2, 5, 9)


def test_the_longest_video():
    video = a_video("long", 300, range(23))
    assert equal(decode_video(encode_video(video), ""), video)


def test_any_other_valid_encoding_is_read_too():
    video = a_video("abcd", 3, [1, 2])
    example = an_example(video)
    context, lists = (type(example)() for _ in range(2))
    context.context.CopyFrom(example.context)
    lists.feature_lists.CopyFrom(example.feature_lists)
    reversed_fields = lists.SerializeToString() + context.SerializeToString()
    unknown_field = example.SerializeToString() + b"\x7a\x03abc"  # field 15, which a newer writer might add
    single = [type(example)() for _ in range(2)]
    for part, name in zip(single, ("rgb", "audio"), strict=True):
        part.feature_lists.feature_list[name].CopyFrom(example.feature_lists.feature_list[name])
    in_two_parts = b"".join(part.SerializeToString() for part in [context, *single])  # protobuf merges repeats
    for payload in (reversed_fields, unknown_field, in_two_parts):
        assert fast_decode(payload) is None
        assert equal(decode_video(payload, ""), video)


def test_the_fast_path_never_disagrees_with_protobuf():
    payload = encode_video(a_video("abcd", 2, [1, 300]))
    rng = random.Random(1)
    agreed = 0
    heads = [*range(60), *range(len(payload) - 2 * 137 - 30, len(payload) - 2 * 137 + 20)]
    for _ in range(3000):
        place = rng.choice(heads) if rng.random() < 0.8 else rng.randrange(len(payload))
        changed = payload[:place] + bytes([rng.randrange(256)]) + payload[place + 1 :]
        changed = changed[: rng.choice([len(changed), len(changed), rng.randrange(len(changed))])]
        fast = fast_decode(changed)
        if fast is not None:
            assert equal(fast, general_decode(changed, ""))
            agreed += 1
    assert agreed > 100  # else nothing was compared


def test_a_length_of_six_bytes_is_left_to_protobuf():
    """Which takes five at the most; a fast path of its own mind would read what others refuse."""
    whole = b"\n\r\n\x0b\n\x02id\x12\x05\n\x03\n\x01x\x12\x14\n\t\n\x05audio\x12\x00\n\x07\n\x03rgb\x12\x00"
    assert general_decode(whole, "").id == b"x"
    longer = whole.replace(b"\x12\x14", b"\x12\x19").replace(b"\n\x07", b"\n\x87\x80\x80\x80\x80\x00")
    assert fast_decode(longer) is None
    with pytest.raises(CorruptRecord):
        general_decode(longer, "")


def mutations():
    """How to spoil a message: cut, overwrite, repeat, insert or drop a piece; several times, anywhere."""
    place, piece = st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=12)
    kinds = st.sampled_from(["cut", "overwrite", "insert", "drop", "repeat"])
    return st.lists(st.tuples(kinds, place, piece), min_size=1, max_size=6)


def mutated(payload, changes):
    for kind, share, piece in changes:
        at = int(share * len(payload))
        if kind == "cut":
            payload = payload[:at]
        elif kind == "overwrite":
            payload = payload[:at] + piece + payload[at + len(piece) :]
        elif kind == "insert":
            payload = payload[:at] + piece + payload[at:]
        elif kind == "drop":
            payload = payload[:at] + payload[at + len(piece) * 40 :]
        else:
            payload = payload[:at] + payload[at // 2 :]
    return payload


# The lists lie at the end and are mostly frames: messages of no or one frame are mutated where it matters.
SMALL = [encode_video(a_video("abcd", frames, [1, 300])) for frames in (0, 1)]


@given(st.sampled_from(SMALL), mutations(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_a_record_holds_only_our_errors_come_out_and_memory_stays_bounded(
    tmp_path_factory, payload, changes, in_the_head
):
    """Records with right checksums and wrong content: a video, or an ``AlstmError`` that names the record."""
    head = payload[:120]
    payload = mutated(head, changes) + payload[120:] if in_the_head else mutated(payload, changes)
    path = tmp_path_factory.getbasetemp() / "mutated.tfrecord"
    write_records(path, [encode_video(a_video("good", 1)), payload])
    tracemalloc.start()
    try:
        read = list(read_videos(path))
        assert len(read) == 2 and len(read[1].rgb) == len(read[1].audio)
    except AlstmError as error:
        assert f"{path}, record 1 at byte " in str(error) and "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * (len(payload) + 10_000)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_whatever_a_file_holds_only_our_errors_come_out(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.tfrecord"
    path.write_bytes(content)
    with pytest.raises(AlstmError):
        list(read_videos(path))


@pytest.mark.parametrize("decode", [decode_video, general_decode])
def test_bytes_that_are_no_video_are_refused(decode):
    rng = random.Random(2)
    whole = encode_video(a_video("abcd", 2, [1]))
    for payload in [b"", b"\xff" * 30, *(rng.randbytes(100) for _ in range(50)), *(whole[:n] for n in range(1, 200))]:
        with pytest.raises((CorruptRecord, WrongShard)):
            decode(payload, "record 5")


def test_additional_context_is_accepted():
    video = a_video("C:\\clips\\厨房.mp4", 2, [4])
    payload = an_example(video, mean_rgb=[0.5] * 1024, mean_audio=[0.25] * 128).SerializeToString()
    assert equal(decode_video(payload, ""), video)


def test_a_record_with_the_id_of_2017_and_without_labels():
    example = an_example(a_video("abcd", 2), video_id=b"xY-_")
    del example.context.feature["id"]
    del example.context.feature["labels"]
    video = decode_video(example.SerializeToString(), "")
    assert (video.id, video.labels, video.num_frames) == (b"xY-_", (), 2)


@pytest.mark.parametrize("key", ["id", "video_id"])
def test_a_video_level_record_is_named_as_such(tmp_path, key):
    example = an_example(**{key: b"abcd", "mean_rgb": [0.5] * 1024, "mean_audio": [0.5] * 128})
    path = tmp_path / "validate0000.tfrecord"
    write_records(path, [encode_video(a_video("good", 1)), example.SerializeToString()])
    message = refusal(path, WrongShard)
    start = 16 + len(encode_video(a_video("good", 1)))
    assert f"{path}, record 1 at byte {start}: this is a video-level record" in message
    assert "2/frame/train" in message


def test_a_record_without_frames(tmp_path):
    path = tmp_path / "none.tfrecord"
    write_records(path, [an_example(id=b"abcd", labels=[1]).SerializeToString()])
    assert "the record has no frames" in refusal(path, WrongShard)


def test_a_record_cannot_write_to_the_terminal(tmp_path):
    """Neither by its id, which is in the place, nor by the names of its lists, which are in the problem."""
    example = an_example(a_video("abcd", 2), id=b"\x1b[31m\n")
    del example.context.feature["id"].bytes_list.value[0]
    for name in ("rgb", "audio"):
        example.feature_lists.feature_list["\x1b[2J" + name].CopyFrom(example.feature_lists.feature_list[name])
        del example.feature_lists.feature_list[name]
    path = tmp_path / "hostile.tfrecord"
    write_records(path, [example.SerializeToString()])
    message = refusal(path, WrongShard)
    assert "\x1b" not in message and r"\x1b[31m\n" in message and r"\x1b[2Jrgb" in message


@pytest.mark.parametrize("missing", ["rgb", "audio"])
def test_a_record_with_one_stream(tmp_path, missing):
    example = an_example(a_video("abcd", 2))
    del example.feature_lists.feature_list[missing]
    path = tmp_path / "half.tfrecord"
    write_records(path, [example.SerializeToString()])
    assert f"it has no {missing} frames" in refusal(path, WrongShard)


def spoil_float(lists):
    lists["audio"].feature[1].float_list.value.extend([0.5] * 128)


def spoil_dim(lists):
    lists["rgb"].feature[1].bytes_list.value[0] = bytes(1023)


def spoil_every_dim(lists):
    for feature in lists["audio"].feature:
        feature.bytes_list.value[0] = bytes(600)


def spoil_count(lists):
    lists["rgb"].feature[1].bytes_list.value.append(bytes(1024))


def spoil_empty(lists):
    lists["rgb"].feature[1].bytes_list.value.pop()


def spoil_lengths(lists):
    del lists["audio"].feature[2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_float, "audio frame 1 holds a float_list, not one bytes value"),
        (spoil_dim, "rgb frame 1 has 1023 bytes, not 1024"),
        (spoil_every_dim, "audio frame 0 has 600 bytes, not 128"),
        (spoil_count, "rgb frame 1 holds 2 values, not one bytes value"),
        (spoil_empty, "rgb frame 1 holds"),
        (spoil_lengths, "3 rgb frames but 2 audio frames"),
    ],
)
def test_malformed_frames_are_described(tmp_path, spoil, message):
    example = an_example(a_video("abcd", 3, [1]))
    spoil(example.feature_lists.feature_list)
    path = tmp_path / "bad.tfrecord"
    write_records(path, [example.SerializeToString()])
    found = refusal(path)
    assert message in found and "record 0 at byte 0 (video abcd)" in found


def test_a_record_without_id(tmp_path):
    example = an_example(a_video("abcd", 1))
    del example.context.feature["id"]
    path = tmp_path / "anonymous.tfrecord"
    write_records(path, [example.SerializeToString()])
    assert "record 0 at byte 0: the record has no id" in refusal(path)


# --- quantisation -----------------------------------------------------------------------------------------------


def test_dequantize():
    levels = np.arange(256, dtype=np.uint8)
    values = dequantize(levels)
    assert values.dtype == np.float32
    assert (values[0], values[255]) == (-1.9921875, np.float32(2.0078125))
    np.testing.assert_allclose(values, np.arange(256) * 4 / 255 + 4 / 512 - 2, atol=3e-7)


def test_quantize_undoes_dequantize_and_clips():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantize(dequantize(levels)), levels)
    assert quantize(np.array([-9.0, -2.0, 2.1, 9.0])).tolist() == [0, 0, 255, 255]
    half = 2 / 255  # half a level
    assert quantize(dequantize(levels[10:11]) + 0.9 * half)[0] == 10
    assert quantize(dequantize(levels[10:11]) + 1.1 * half)[0] == 11


# --- real files -------------------------------------------------------------------------------------------------


@needs_real_data
@pytest.mark.parametrize("number", range(8))
def test_real_video_level_shards_are_refused(number):
    path = real(f"video-level/validate{number:04d}.tfrecord")
    assert "record 0 at byte 0: this is a video-level record" in refusal(path, WrongShard)
    assert sum(1 for _ in read_records(path)) > 200  # framing and checksums are in order


@needs_real_data
def test_a_real_shard_of_2017_is_refused():
    assert "video-level" in refusal(real("odd/v1-video-level-without-labels.tfrecord"), WrongShard)


@needs_real_data
@pytest.mark.parametrize("letter", "ab")
def test_frame_level_records_that_a_stranger_made(letter):
    (video,) = read_videos(real(f"odd/own-video-frame-level-{letter}.tfrecord"))
    assert video.rgb.shape == (184, 1024) and video.audio.shape == (184, 128)
    assert not video.audio.any() and len(np.unique(video.rgb)) > 100
    assert video.id.startswith(b"D:/")  # a Windows path


@needs_real_data
def test_real_malformed_records_are_refused():
    path = real("odd/malformed-frame-level.tfrecord")
    payloads = list(read_records(path))
    assert len(payloads) == 3
    for number, payload in enumerate(payloads):
        with pytest.raises(CorruptRecord, match=r"not one bytes value|bytes, not|rgb frames but"):
            decode_video(payload, f"record {number}")
    refusal(path)


@needs_real_data
def test_bit_flips_in_a_real_file_are_found(tmp_path):
    whole = real("odd/own-video-frame-level-a.tfrecord").read_bytes()
    path = tmp_path / "flipped.tfrecord"
    rng = random.Random(3)
    for place, bit in itertools.product(rng.sample(range(len(whole)), 20), (0, 7)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(AlstmError):
            list(read_videos(path))
