"""Pickles: every layout that the originals wrote is read, and no pickle can run code."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import a_video

from alstm_helpers.errors import AlstmError, UnsafePickle
from alstm_helpers.pickles import load_plain, load_shard, load_videos, save_plain, save_videos
from alstm_helpers.tfrecord import Video, write_videos

needs_real_data = pytest.mark.skipif("ALSTM_REAL_DATA" not in os.environ, reason="needs ALSTM_REAL_DATA")


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2's ``str``, which is how tf2pkl.py's files came to be."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_python2_str(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str


def equal(one, other):
    arrays = np.array_equal(one.rgb, other.rgb) and np.array_equal(one.audio, other.audio)
    return arrays and (one.id, one.labels) == (other.id, other.labels)


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


def dumped(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


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


# --- no code ----------------------------------------------------------------------------------------------------


class Trap:
    """Unpickles to a call, as anything can."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [exec, eval, os.system, subprocess.Popen])
def test_a_call_is_refused_before_it_happens(tmp_path, function, protocol):
    marker = tmp_path / "ran"
    command = f"open({str(marker)!r}, 'w').close()"
    if function not in (exec, eval):
        command = f'python -c "{command}"'
    path = dumped(tmp_path / "evil.pkl", Trap(function, command), protocol)
    message = refusal(path, UnsafePickle)
    assert f".{function.__name__}, which is not plain data" in message
    assert not marker.exists()
    if function is exec:  # the trap is a real one
        pickle.loads(path.read_bytes())  # noqa: S301
        assert marker.exists()


def test_a_call_among_good_videos_is_refused(tmp_path, videos):
    marker = tmp_path / "ran"
    row = as_row(videos[0]) | {"label": Trap(builtins.open, str(marker), "w")}
    message = refusal(dumped(tmp_path / "evil.pkl", [row]), UnsafePickle)
    assert "io.open" in message and not marker.exists()


@pytest.mark.parametrize("name", ["numpy.fromfile", "numpy.load", "numpy.ndarray.tofile", "os", "getattr"])
def test_only_the_names_that_arrays_need_are_known(tmp_path, name):
    module, _, attribute = name.partition(".") if "." in name else ("builtins", ".", name)
    strings = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, attribute))
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + strings + b"\x93.")  # SHORT_BINUNICODE twice, STACK_GLOBAL, STOP
    assert f"it names {module}.{attribute}" in refusal(path, UnsafePickle)


@pytest.mark.parametrize("encoding", ["rot13", "zip", "idna"])
def test_codecs_encode_is_latin1_only(tmp_path, encoding):
    import _codecs

    path = dumped(tmp_path / "evil.pkl", [Trap(_codecs.encode, "text", encoding)], 2)
    assert "encoding" in refusal(path)


def test_object_arrays_cannot_smuggle_a_call(tmp_path, videos):
    marker = tmp_path / "ran"
    smuggler = np.empty(1, dtype=object)
    smuggler[0] = Trap(builtins.open, str(marker), "w")
    for protocol in (2, 4, 5):
        path = dumped(tmp_path / "evil.pkl", [as_row(videos[0]) | {"feature": smuggler}], protocol)
        refusal(path, UnsafePickle)
        assert not marker.exists()


def text(value):
    """SHORT_BINUNICODE."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module, name):
    """Two texts and STACK_GLOBAL."""
    return text(module) + text(name) + b"\x93"


DTYPE = named("numpy", "dtype") + text("u1") + b"\x85R"  # numpy.dtype("u1")


@pytest.mark.parametrize(
    "state",
    [
        (3, "|", None, ("a",), {"a": (np.dtype("u1"), 0)}, 8, 1, 27),  # fields: bytes could become pointers
        (3, "|", (np.dtype("u1"), (8,)), None, None, 8, 1, 27),  # a sub-array
    ],
)
def test_a_forged_dtype_is_refused(tmp_path, state):
    """NumPy's own ``dtype.__setstate__`` believes such a state; an array of it reads memory that is not its own."""
    forged = pickle.dumps(state, protocol=4)[2:-1].replace(b"\x95" + pickle.dumps(state, 4)[3:11], b"")
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + DTYPE + forged + b"b.")
    assert "array of structures, which is not plain numbers" in refusal(path, UnsafePickle)


@pytest.mark.parametrize("name", ["O", "O8", "V8", "M8[s]", "U4", "S4", "u1,O", "(8,)u1", "u3"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, name):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + named("numpy", "dtype") + text(name) + b"\x85R.")
    assert f"an array of {name}, which is not plain numbers" in refusal(path, UnsafePickle)


@pytest.mark.parametrize(
    "value",
    [b"}", b"]", b")", named("builtins", "list") + b")R", named("numpy", "ndarray")],
    ids=["dict", "list", "tuple", "called list", "ndarray"],
)
def test_no_state_can_be_set_but_an_arrays(tmp_path, value):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + value + b"}b.")
    assert "it sets the state of a " in refusal(path, UnsafePickle)


@pytest.mark.parametrize(
    "shape",
    [(3, 1024), (2**62, 4), (-1, 1024), (-2, -1024), (2**31, 2**33), (1.5, 2), ("2", 1024), (0, 2**62)],
)
def test_an_array_has_the_bytes_that_its_shape_needs(tmp_path, shape):
    content = pickle.dumps(np.ones((2, 1024), np.uint8), protocol=2)
    right = b"K\x02M\x00\x04\x86"  # BININT1 2, BININT2 1024, TUPLE2
    path = tmp_path / "evil.pkl"
    assert content.count(right) == 1
    path.write_bytes(content.replace(right, pickle.dumps(shape, protocol=2)[2:-1]))
    assert "not a readable pickle" in refusal(path)


def doubled(levels):
    """A list that holds one list twice, that holds one list twice …: 2^levels lists for who walks all of them."""
    value = []
    for _ in range(levels):
        value = [value, value]
    return value


def cyclic():
    value = [{}]
    value[0]["again"] = value
    return value


@pytest.mark.parametrize("value", [doubled(60), cyclic()], ids=["doubled", "cyclic"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_lists_that_hold_themselves_end(tmp_path, value, protocol):
    path = dumped(tmp_path / "evil.pkl", value, protocol)
    assert type(load_plain(path, "mend it")) is list
    assert "not a dict" in refusal(path) or "it has no " in refusal(path)


def test_a_list_too_deep_is_refused(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".")
    assert "not a readable pickle" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x8e" + (2**60).to_bytes(8, "little"),  # BINBYTES8
        b"\x96" + (2**33).to_bytes(8, "little"),  # BYTEARRAY8
        b"\x8d" + (2**40).to_bytes(8, "little"),  # BINUNICODE8
        b"\x95" + (2**62).to_bytes(8, "little"),  # FRAME
        b"]r\xff\xff\xff\xff.",  # LONG_BINPUT: Python's own unpickler makes room for four thousand million
        b"]p4000000000\n.",  # PUT
    ],
)
def test_a_wild_number_costs_no_memory(tmp_path, content):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x05" + content)
    tracemalloc.start()
    with contextlib.suppress(AlstmError):
        assert load_videos(path) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_persistent_ids_are_refused(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04\x8c\x01xQ.")  # BINPERSID
    assert "not a readable pickle" in refusal(path)


# --- damage and other contents ----------------------------------------------------------------------------------


def test_truncation_is_found_everywhere(tmp_path, videos):
    path = tmp_path / "a.pkl"
    save_videos(path, videos)
    whole = path.read_bytes()
    for size in [*range(200), *range(200, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert "not a readable pickle" in refusal(path)


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


@pytest.mark.parametrize("text", ["", "no such thing", "<html>"])
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


def test_plain_data_of_a_checkpoint(tmp_path):
    value = {"weights": {"a.weight": np.ones((2, 3), np.float32)}, "progress": {"seed": 3, "rows": [1.5, None, "x"]}}
    save_plain(tmp_path / "a.pdstate", value)
    read = load_plain(tmp_path / "a.pdstate", "train again")
    assert read["progress"] == value["progress"] and np.array_equal(read["weights"]["a.weight"], np.ones((2, 3)))
    with pytest.raises(AlstmError, match="train again"):
        load_plain(tmp_path / "none", "train again")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", [1.5], "label 1.5 is not a class index"),
        ("label", [-1], "label -1 is not a class index"),
        ("label", ["music"], "label 'music' is not a class index"),
        ("label", 7, "label is a int, not a list"),
        ("video", 7, "its id is a int, not bytes"),
        ("nframes", 3, "nframes is 3, but it has 2 frames"),
        ("nframes", -1, "nframes is -1"),
        ("nframes", "2", "nframes is 2, but"),
    ],
)
def test_wrong_fields_are_described(tmp_path, videos, field, value, message):
    found = refusal(dumped(tmp_path / "a.pkl", [as_row(videos[0]) | {field: value}]))
    assert message in found and "video 0" in found


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


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i8", "f2", "?", "u2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_any_numbers_and_order(tmp_path, dtype, order, protocol):
    array = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order=order)
    value = load_plain(dumped(tmp_path / "a.pkl", {"a": array, "again": array, "one": array[1, 1]}, protocol), "")
    assert value["a"].dtype == array.dtype and np.array_equal(value["a"], array)
    assert value["again"] is value["a"] and value["one"] == array[1, 1]


@pytest.mark.parametrize("shape", [(), (0,), (0, 1024), (3, 0)])
def test_small_arrays(tmp_path, shape):
    for protocol in (2, 4, 5):
        value = load_plain(dumped(tmp_path / "a.pkl", [np.ones(shape, np.float32)], protocol), "")
        assert value[0].shape == shape and value[0].sum() == np.ones(shape).sum()


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
