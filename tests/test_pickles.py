"""Pickles: every layout that the originals wrote is read, and no pickle can run code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import pickletools
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import a_video, dumped, equal

from alstm_helpers.errors import AlstmError
from alstm_helpers.pickles import load_shard, load_videos, save_videos
from alstm_helpers.tfrecord import Video, write_videos

needs_real_data = pytest.mark.skipif("ALSTM_REAL_DATA" not in os.environ, reason="needs ALSTM_REAL_DATA")


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2's ``str``, which is how tf2pkl.py's files came to be."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)
    write: Callable[[bytes], object]
    memoize: Callable[[object], None]

    def save_python2_str(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str


def as_row(video):
    return {
        "video": video.id,
        "feature": video.rgb,
        "audio": video.audio,
        "label": list(video.labels),
        "nframes": video.num_frames,
    }


def bytes_keys(row):
    return {key.encode(): value for key, value in row.items()}


def refusal(path, kind=AlstmError):
    with pytest.raises(kind) as caught:
        load_videos(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def videos():
    return [a_video("aaaa", 2, [1, 7]), a_video("bbbb", 3, [])]


# --- layouts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ["str", "bytes"])
def test_round_trip(tmp_path, videos, keys):
    path = tmp_path / "new folder" / "a.pkl"
    save_videos(path, iter(videos), keys=keys)
    read = load_videos(path)
    assert len(read) == 2 and all(map(equal, read, videos))
    assert all(isinstance(label, int) for video in read for label in video.labels)


@pytest.mark.parametrize("keys", ["str", "bytes"])
def test_what_is_written_is_tf2pkls_layout(tmp_path, videos, keys):
    long = Video(b"long", (3,), np.zeros((310, 1024), np.uint8), np.zeros((310, 128), np.uint8))
    path = tmp_path / "a.pkl"
    save_videos(path, [*videos, long], keys=keys)
    rows = pickle.loads(path.read_bytes())  # noqa: S301 — our own file, read as the original reader would
    assert type(rows) is list and len(rows) == 3
    names = ["video", "feature", "audio", "label", "nframes"]
    assert list(rows[0]) == (names if keys == "str" else [name.encode() for name in names])
    first, last = (list(row.values()) for row in (rows[0], rows[2]))
    assert first[0] == b"aaaa" and first[3] == [1, 7] and type(first[3]) is list and first[4] == 2
    assert first[1].dtype == np.uint8 and np.array_equal(first[1], videos[0].rgb)
    assert first[2].dtype == np.uint8 and np.array_equal(first[2], videos[0].audio)
    assert last[4] == 300 and last[1].shape == (310, 1024)  # nframes is cut, the arrays are not


def test_protocol_4_is_written(tmp_path, videos):
    path = tmp_path / "a.pkl"
    save_videos(path, videos)
    operation, protocol, _ = next(pickletools.genops(path.read_bytes()))
    assert (operation.name, protocol) == ("PROTO", 4)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("keys", ["str", "bytes"])
@pytest.mark.parametrize("layout", ["list", "dict"])
def test_every_layout_is_read(tmp_path, videos, layout, keys, protocol):
    rows = [as_row(video) if keys == "str" else bytes_keys(as_row(video)) for video in videos]
    path = dumped(tmp_path / "a.pkl", rows if layout == "list" else rows[0], protocol)
    expected = videos if layout == "list" else videos[:1]
    read = load_videos(path)
    assert len(read) == len(expected) and all(map(equal, read, expected))


@pytest.mark.parametrize("module", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_files_of_numpy_1_and_2_are_read(tmp_path, videos, protocol, module):
    content = pickle.dumps(
        [as_row(video) | {"nframes": np.int32(video.num_frames)} for video in videos], protocol=protocol
    )
    path = tmp_path / "a.pkl"
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", module))
    assert module + b".multiarray" in path.read_bytes()
    assert all(map(equal, load_videos(path), videos))


@pytest.mark.parametrize("layout", ["list", "dict"])
def test_files_of_python_2_are_read(tmp_path, videos, layout):
    videos[0] = videos[0]._replace(id=b"\xff\x80-_")
    rows = [as_row(video) for video in videos]
    buffer = io.BytesIO()
    Python2Pickler(buffer, 2).dump(rows if layout == "list" else rows[0])
    path = tmp_path / "a.pkl"
    path.write_bytes(buffer.getvalue().replace(b"numpy._core", b"numpy.core"))  # as NumPy 1 called it
    expected = videos if layout == "list" else videos[:1]
    read = load_videos(path)
    assert len(read) == len(expected) and all(map(equal, read, expected))


def test_numpy_numbers_and_text_ids_are_read(tmp_path, videos):
    row = as_row(videos[0]) | {"video": "aaaa", "label": np.array([1, 7]), "nframes": np.int32(2)}
    (video,) = load_videos(dumped(tmp_path / "a.pkl", [row], 2))
    assert equal(video, videos[0]) and [type(label) for label in video.labels] == [int, int]


@given(
    st.lists(st.tuples(st.binary(max_size=9), st.sets(st.integers(0, 3861)), st.integers(0, 3)), max_size=3),
    st.sampled_from(["str", "bytes"]),
)
@settings(max_examples=30, deadline=None)
def test_round_trip_of_any_videos(tmp_path_factory, drawn, keys):
    videos = [a_video("x", frames, sorted(labels))._replace(id=id) for id, labels, frames in drawn]
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    save_videos(path, videos, keys=keys)
    read = load_videos(path)
    assert len(read) == len(videos) and all(map(equal, read, videos))


def test_load_shard_tells_the_kinds_apart_by_their_ending(tmp_path, videos):
    save_videos(tmp_path / "a.pkl", videos)
    write_videos(tmp_path / "a.tfrecord", videos)
    for name in ("a.pkl", "a.tfrecord"):
        read = load_shard(tmp_path / name)
        assert len(read) == 2 and all(map(equal, read, videos))


# --- damage and other contents ----------------------------------------------------------------------------------


def test_truncation_is_found_everywhere(tmp_path, videos):
    path = tmp_path / "a.pkl"
    save_videos(path, videos)
    whole = path.read_bytes()
    for size in [*range(200), *range(200, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert re.search("not a readable pickle|it is empty|it is damaged: the digests at its end", refusal(path))


def test_damage_never_ends_in_another_kind_of_error(tmp_path, videos):
    path = tmp_path / "a.pkl"
    save_videos(path, videos[:1])
    whole = path.read_bytes()
    structure = [*range(300), *range(len(whole) - 300, len(whole))]
    rng = random.Random(0)
    for _ in range(300):
        place = rng.choice(structure)
        damaged = whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        path.write_bytes(damaged)
        try:
            assert all(isinstance(video, Video) for video in load_videos(path))
        except AlstmError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("text", ["no such thing", "<html>"])
def test_files_that_are_no_pickles(tmp_path, text):
    path = tmp_path / "a.pkl"
    path.write_text(text, encoding="utf-8")
    assert "not a readable pickle" in refusal(path)


def test_a_missing_file_and_a_folder(tmp_path):
    assert "no such file" in refusal(tmp_path / "a.pkl")
    assert "not a file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "it holds a int, not a list of videos"),
        ([3], "video 0: it is a int, not a dict"),
        ([{}], "video 0: it has no audio, feature, label, video"),
        ({"video": b"a", "feature": 1, "audio": 2}, "it has no label"),
    ],
)
def test_other_contents_are_described(tmp_path, value, message):
    assert message in refusal(dumped(tmp_path / "a.pkl", value))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("feature", np.zeros((2, 1024)), "feature is float64 (2, 1024), not uint8 (T, 1024)"),
        ("feature", np.zeros((2, 1000), np.uint8), "feature is uint8 (2, 1000)"),
        ("feature", np.zeros(1024, np.uint8), "feature is uint8 (1024,)"),
        ("audio", np.zeros((2, 600), np.uint8), "audio is uint8 (2, 600), not uint8 (T, 128)"),
        ("audio", [[0] * 128] * 2, "audio is list"),
        ("audio", np.zeros((3, 128), np.uint8), "2 rgb frames but 3 audio frames"),
    ],
)
def test_wrong_arrays_are_described(tmp_path, videos, field, value, message):
    rows = [as_row(videos[0]), as_row(videos[0]) | {field: value}]
    found = refusal(dumped(tmp_path / "a.pkl", rows))
    assert message in found and "video 1" in found


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", [1.5], "label 1.5 is not a class index"),
        ("label", [-1], "label -1 is not a class index"),
        ("label", ["music"], "label 'music' is not a class index"),
        ("label", [10**5000], "label a int is not a class index"),
        ("label", [[[[[]]]] * 99], "label a list is not a class index"),
        ("label", np.array(3), "label is a ndarray, not a list"),
        ("video", b"x" * 5000, "its id has 5000 bytes"),
        ("label", 7, "label is a int, not a list"),
        ("video", 7, "its id is a int, not up to 4096 bytes"),
        ("nframes", 3, "nframes is 3, but it has 2 frames"),
        ("nframes", -1, "nframes is -1"),
        ("nframes", "2", "nframes is '2', but"),
    ],
)
def test_wrong_fields_are_described(tmp_path, videos, field, value, message):
    found = refusal(dumped(tmp_path / "a.pkl", [as_row(videos[0]) | {field: value}]))
    assert message in found and "video 0" in found


def test_a_message_about_lists_in_lists_ends(tmp_path, videos):
    """2^60 lists, if one prints them all."""
    value: list[object] = []
    for _ in range(60):
        value = [value, value]
    for field in ("label", "nframes"):
        refusal(dumped(tmp_path / "a.pkl", [as_row(videos[0]) | {field: value}]))


def test_what_a_file_names_often_is_looked_at_once(tmp_path, videos):
    row = as_row(videos[0]) | {"label": list(range(20_000))}
    read = load_videos(dumped(tmp_path / "a.pkl", [row] * 50_000 + [{**row} for _ in range(5_000)]))
    assert len(read) == 55_000 and len({id(video.labels) for video in read}) == 1


def test_ids_of_any_text(tmp_path, videos):
    (video,) = load_videos(dumped(tmp_path / "a.pkl", [as_row(videos[0]) | {"video": "厨房\ud800"}]))
    assert video.id == "厨房\ud800".encode(errors="surrogatepass")


def test_labels_of_numpy_are_saved_as_numbers(tmp_path, videos):
    save_videos(tmp_path / "a.pkl", [videos[0]._replace(labels=tuple(np.array([1, 7])))])
    assert b"int64" not in (tmp_path / "a.pkl").read_bytes()
    assert equal(load_videos(tmp_path / "a.pkl")[0], videos[0])


def test_labels_come_out_sorted_and_once(tmp_path, videos):
    (video,) = load_videos(dumped(tmp_path / "a.pkl", [as_row(videos[0]) | {"label": [7, 1, 7]}]))
    assert video.labels == (1, 7)


def test_frames_beyond_nframes_are_padding(tmp_path, videos):
    """As the original readers take them; but 300 of more than 300 only says what batches will take."""
    row = as_row(videos[1]) | {"nframes": 2}
    (video,) = load_videos(dumped(tmp_path / "a.pkl", [row]))
    assert video.num_frames == 2 and np.array_equal(video.rgb, videos[1].rgb[:2])
    long = a_video("long", 310)
    save_videos(tmp_path / "b.pkl", [long])
    assert load_videos(tmp_path / "b.pkl")[0].num_frames == 310


def test_what_was_loaded_outlives_its_file(tmp_path, videos):
    path = tmp_path / "a.pkl"
    large = [a_video("large", 200)]
    save_videos(path, large)
    (read,) = load_videos(path)
    save_videos(path, videos)
    assert equal(read, large[0])
    path.unlink()
    assert equal(read, large[0]) and not read.rgb.flags.writeable


def test_frames_in_any_order_of_memory_are_saved(tmp_path, videos):
    """Columns first, every other row, backwards: what is read back is what was there."""
    whole = a_video("x", 20)
    changes = (np.asfortranarray, lambda a: a[::2], lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[:0])
    odd = [whole._replace(rgb=change(whole.rgb), audio=change(whole.audio)) for change in changes]
    save_videos(tmp_path / "a.pkl", odd)
    assert all(map(equal, load_videos(tmp_path / "a.pkl"), odd))
    with pytest.raises(ValueError, match=r"frames are float64 \(20, 1024\), not uint8"):
        save_videos(tmp_path / "a.pkl", [whole._replace(rgb=whole.rgb / 255)])
    assert len(load_videos(tmp_path / "a.pkl")) == len(odd)  # nothing half-written


def test_saving_says_what_it_wrote(tmp_path, videos):
    saved = save_videos(tmp_path / "a.pkl", [a_video("large", 300), *videos])
    content = (tmp_path / "a.pkl").read_bytes()
    assert saved == (3, 305, len(content), hashlib.sha256(content).hexdigest())


# --- a real file ------------------------------------------------------------------------------------------------


@needs_real_data
def test_a_real_video():
    (video,) = load_videos(Path(os.environ["ALSTM_REAL_DATA"], "yt8m-frame-example.pkl"))
    assert (video.id, video.labels, video.num_frames) == (b"SjJ3", (11,), 170)
    assert video.rgb.shape == (170, 1024) and video.audio.shape == (170, 128)
    assert video.rgb.dtype == video.audio.dtype == np.uint8 and video.rgb.std() > 10
