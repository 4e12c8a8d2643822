"""Plain data from pickles: right arrays or one clear error, and never code, a crash or wild memory."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
from support import dumped, run_python

from alstm_helpers.errors import AlstmError, UnsafePickle
from alstm_helpers.safe_pickle import load_plain, save_plain


def refusal(path, kind=AlstmError):
    with pytest.raises(kind) as caught:
        load_plain(path, "mend it")
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith("mend it")
    return str(caught.value)


# --- data -------------------------------------------------------------------------------------------------------


def test_plain_data_of_a_checkpoint(tmp_path):
    value = {"weights": {"a.weight": np.ones((2, 3), np.float32)}, "progress": {"seed": 3, "rows": [1.5, None, "x"]}}
    save_plain(tmp_path / "a.pdstate", value)
    read = load_plain(tmp_path / "a.pdstate", "train again")
    assert read["progress"] == value["progress"] and np.array_equal(read["weights"]["a.weight"], np.ones((2, 3)))
    with pytest.raises(AlstmError, match="train again"):
        load_plain(tmp_path / "none", "train again")


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


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"")
    assert refusal(tmp_path / "a.pkl") == f"{tmp_path / 'a.pkl'}: it is empty; mend it"


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


def test_a_call_among_good_data_is_refused(tmp_path):
    marker = tmp_path / "ran"
    row = {"video": b"abcd", "feature": np.zeros((2, 1024), np.uint8), "label": Trap(builtins.open, str(marker), "w")}
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


def test_object_arrays_cannot_smuggle_a_call(tmp_path):
    marker = tmp_path / "ran"
    smuggler = np.empty(1, dtype=object)
    smuggler[0] = Trap(builtins.open, str(marker), "w")
    for protocol in (2, 4, 5):
        path = dumped(tmp_path / "evil.pkl", [{"feature": smuggler}], protocol)
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
    value: list[object] = []
    for _ in range(levels):
        value = [value, value]
    return value


def cyclic():
    value: list[dict[str, object]] = [{}]
    value[0]["again"] = value
    return value


@pytest.mark.parametrize("value", [doubled(60), cyclic()], ids=["doubled", "cyclic"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_lists_that_hold_themselves_end(tmp_path, value, protocol):
    path = dumped(tmp_path / "evil.pkl", value, protocol)
    assert type(load_plain(path, "mend it")) is list


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
        assert load_plain(path, "") == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_persistent_ids_are_refused(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04\x8c\x01xQ.")  # BINPERSID
    assert "not a readable pickle" in refusal(path)


def pushed(data):
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(data)) + data


ENCODE = named("_codecs", "encode") + b"\x94(X\x50\x34\x03\x00" + b"x" * 210_000 + text("latin1") + b"t\x94"
FROMBUFFER = named("numpy._core.numeric", "_frombuffer")


@pytest.mark.parametrize(
    "body",
    [
        b"})" + b"\x85" * 900_000 + b"Ns",  # the hash of a tuple so deep ends the process
        b"})" + b"2\x86" * 60 + b"Ns",  # that of a tuple of the same tuple twice, sixty times, takes for ever
        b"()" + b"2\x86" * 60 + b"\x91",  # in a frozenset, too
        b"\x8f()" + b"2\x86" * 60 + b"\x90",  # in a set
        FROMBUFFER + b"(C\x01x" + DTYPE + b"N" + b"2\x86" * 60 + b"N" + b"2\x86" * 60 + b"\x86" + text("C") + b"tR",
        FROMBUFFER + b"(C\x01x" + DTYPE + pushed(b"\xff" * 900_000) + text("C") + b"tR",  # so many dimensions
        b"}(" + b"".join(b"\x8a\x08" + struct.pack("<q", k * (2**61 - 1)) + b"N" for k in (1, 2, 3)) + b"u",
        b"](K\x01K\x02d",  # a dict by number
        b"]K\x01K\x02s",  # an item into a list
        b"}K\x01a",  # one onto a dict
        b"cos\n",  # cut off
        b"(iposix\nsystem\n",  # INST
        b"(c__builtin__\ntuple\no",  # OBJ
        b"c__builtin__\ntuple\n)\x81",  # NEWOBJ
        named("builtins", "tuple") + b"K\x05\x85R",
        b"\x82\x01",  # EXT1
        b"]\x97",  # NEXT_BUFFER
        b"C\x01xQ",  # BINPERSID
        named("builtins", "list"),  # the names themselves are no data
        named("numpy._core.multiarray", "scalar"),
        DTYPE,
        named("numpy._core.multiarray", "_reconstruct") + b")R",  # an array that never comes
        b"]\x94h\x00\x85\x94h\x00h\x01a0h\x01",  # a tuple that holds itself
    ],
)
def test_no_time_and_no_memory_for_what_is_not_plain_data(tmp_path, body):
    """In a process of its own, as some of these would end it: one error."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + body + b".")
    code = """
import sys
from alstm_helpers.errors import AlstmError
from alstm_helpers.safe_pickle import load_plain
try:
    load_plain(sys.argv[1], "mend it")
except AlstmError as error:
    print("refused:", error)
"""
    done = run_python(code, str(path))
    assert done.returncode == 0 and done.stdout.startswith("refused: ") and done.stdout.count("\n") == 1, done.stderr


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "body",
    [
        pushed(bytes(500_000)) + b"\x94(" + b"h\x00" * 100_000 + b"l",  # the same bytes, a hundred thousand times
        ENCODE + b"0(" + b"h\x00h\x01R" * 50_000 + b"l",  # the same text, encoded each time
        named("builtins", "list") + b"\x94(" + b"h\x00)R" * 50_000 + b"l",
    ],
)
def test_what_a_file_says_often_is_made_once(tmp_path, body):
    path = tmp_path / "often.pkl"
    path.write_bytes(b"\x80\x04" + body + b".")
    tracemalloc.start()
    assert len(load_plain(path, "mend it")) >= 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_a_message_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x04" + named("\x1b[31m\n" + "x" * 200, "y") + b".")
    message = refusal(path, UnsafePickle)
    assert "\x1b" not in message and "\n" not in message and r"\x1b[31m\n" in message
    strings = b"X" + struct.pack("<I", 10**6) + b"x" * 10**6
    path.write_bytes(b"\x80\x04" + strings + strings + b"\x93.")
    assert len(refusal(path, UnsafePickle)) < 1000
