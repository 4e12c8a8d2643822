"""A flipped bit or a lost end of what the package writes is found; files of others are read as they are."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess

import numpy as np
import pytest

from alstm_helpers.data.dataset import collate
from alstm_helpers.digests import sealed, unsealed
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_sealed, read_text, write_sealed, write_with_sum
from alstm_helpers.ledger import Ledger
from alstm_helpers.pickles import checked, load_shard, load_videos, save_videos
from alstm_helpers.safe_pickle import load_plain, load_plain_unchecked, save_plain
from alstm_helpers.tfrecord import Video

FLIPS = 200  # in each kind of file


def flipped(path, rng):
    """Flip one bit of a file, drawn at random; return its content before."""
    before = path.read_bytes()
    content = bytearray(before)
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    return before


def assert_every_flip_is_found(path, read, seed):
    expected = read()
    rng = np.random.default_rng(seed)
    for _ in range(FLIPS):
        before = flipped(path, rng)
        with pytest.raises(AlstmError):
            read()
        path.write_bytes(before)
    assert read() is not None and type(read()) is type(expected)


def video(name, seconds, seed):
    rng = np.random.default_rng(seed)
    frames = (rng.integers(0, 256, (seconds, dim), dtype=np.uint8) for dim in (1024, 128))
    return Video(name, (seed % 5, 7), *frames)


@pytest.fixture
def shard(tmp_path):
    save_videos(tmp_path / "a.pkl", [video(b"short", 2, 1), video(b"long", 200, 2), video(b"middle", 60, 3)])
    return tmp_path / "a.pkl"


# --- pickles ------------------------------------------------------------------------------------------------------


def test_every_flip_in_a_shard_is_found(shard):
    assert_every_flip_is_found(shard, lambda: load_videos(shard), 0)
    assert_every_flip_is_found(shard, lambda: collate(load_shard(shard, unchecked=True), 8), 1)


@pytest.mark.parametrize("size", [3, 100_000])
def test_every_flip_in_plain_data_is_found(tmp_path, size):
    path = tmp_path / "a.pdparams"
    save_plain(
        path, {"small": np.arange(3), "large": np.arange(size, dtype=np.float32), "name": "x", "rows": [1.5, None]}
    )
    assert_every_flip_is_found(path, lambda: load_plain(path, "mend it"), size)


def test_a_lost_end_is_found_wherever_it_begins(tmp_path):
    path = tmp_path / "a.pkl"
    save_plain(path, {"a": np.arange(3)})
    whole = path.read_bytes()
    end = len(pickle.dumps({"a": np.arange(3)}, protocol=4))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size == end:  # exactly the digests are missing: all of the content is there
            assert load_plain(path, "")["a"].tolist() == [0, 1, 2]
        else:
            with pytest.raises(AlstmError, match=r"mend it$"):
                load_plain(path, "mend it")


def test_bytes_added_at_the_end_are_found(shard):
    shard.write_bytes(shard.read_bytes() + b"\0")
    with pytest.raises(AlstmError, match="digests at its end"):
        load_videos(shard)


def test_a_damaged_video_is_found_when_its_frames_are_used(shard):
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1  # in the pictures of the long one
    shard.write_bytes(content)
    short, long, middle = load_shard(shard, unchecked=True)
    assert checked(short).num_frames == 2 and checked(middle).num_frames == 60
    with pytest.raises(AlstmError, match=r"a\.pkl: it is damaged: bytes \d+ to \d+ have changed since .* convert its"):
        checked(long)
    with pytest.raises(AlstmError, match="it is damaged"):
        load_videos(shard)


def test_the_readers_of_others_do_not_mind_the_digests(shard, tmp_path):
    rows = pickle.loads(shard.read_bytes())  # noqa: S301
    assert [row["video"] for row in rows] == [b"short", b"long", b"middle"] and rows[1]["feature"].shape == (200, 1024)
    from alstm_helpers.runtime import paddle

    save_plain(tmp_path / "a.pdparams", {"w": np.ones((2, 3), np.float32)})
    assert paddle.load(str(tmp_path / "a.pdparams"), return_numpy=True)["w"].sum() == 6


def test_pickles_of_others_are_read_without_digests(tmp_path):
    rows = [
        {"video": b"a", "feature": np.ones((2, 1024), np.uint8), "audio": np.ones((2, 128), np.uint8), "label": [1]}
    ]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(rows) + pickle.dumps("what else is in the file"))
    assert load_videos(tmp_path / "a.pkl")[0].rgb.sum() == 2048
    _, pieces = load_plain_unchecked(tmp_path / "a.pkl", "")
    pieces.check(0, pieces.size)


def test_videos_that_were_checked_are_plain_ones(shard):
    """They can be sent to another process, and changed with ``_replace``."""
    first = load_videos(shard)[0]
    sent = pickle.loads(pickle.dumps(first._replace(labels=())))  # noqa: S301
    assert type(first) is Video and sent.labels == ()


# --- JSON ---------------------------------------------------------------------------------------------------------


def test_every_flip_in_a_json_object_is_found(tmp_path):
    path = tmp_path / "features.json"
    about = {
        "backbone": "onnx:/网/net.onnx",
        "audio": "logmel",
        "sizes": [1, 2.5, None, True],
        "nested": {"b": 1, "a": ""},
    }
    write_sealed(path, about)
    assert read_sealed(path, "mend it") == about
    assert_every_flip_is_found(path, lambda: read_sealed(path, "mend it"), 0)


@pytest.mark.parametrize("text", ["", "[]", "{", "nul", '"a"', '{"a": 1', "[" * 100_000])
def test_what_is_not_a_json_object_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(AlstmError, match=r"a\.json: not readable .*; mend it$"):
        read_sealed(tmp_path / "a.json", "mend it")


def test_json_without_a_digest_is_read_and_its_spelling_does_not_matter(tmp_path):
    (tmp_path / "a.json").write_text('{"b": 1}')
    assert read_sealed(tmp_path / "a.json", "") == {"b": 1}
    reformatted = json.dumps(sealed({"b": 1, "a": "é"}), sort_keys=True, indent=8, ensure_ascii=True)
    (tmp_path / "a.json").write_text(reformatted)
    assert read_sealed(tmp_path / "a.json", "") == {"a": "é", "b": 1}


def test_a_digest_under_a_damaged_key_is_recognised():
    value = sealed({"a": 1})
    with pytest.raises(ValueError, match="changed"):
        unsealed({"a": 1, "digesu": value["digest"]})
    with pytest.raises(ValueError, match="changed"):
        unsealed({"a": 1, "digest": None})


def test_a_flipped_row_of_a_ledger_is_left_out_and_the_others_stay(tmp_path):
    path = tmp_path / "manifest.jsonl"
    ledger = Ledger(path, "shard")
    rows = [{"shard": f"{name}.tfrecord", "videos": 3, "seconds": 0.25} for name in "abc"]
    with ledger.claimed():
        ledger.add_all(rows)
    rng = np.random.default_rng(0)
    for _ in range(FLIPS):
        before = flipped(path, rng)
        again = Ledger(path, "shard")
        assert again.rows != ledger.rows and not again.is_settled
        assert all(row in rows for row in again.rows.values())
        path.write_bytes(before)
    assert Ledger(path, "shard").rows == {row["shard"]: row for row in rows}


def test_rows_of_an_earlier_version_are_read(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"shard": "a.tfrecord", "videos": 3}\n')
    assert Ledger(path, "shard").rows == {"a.tfrecord": {"shard": "a.tfrecord", "videos": 3}}


# --- tables -------------------------------------------------------------------------------------------------------


def test_every_flip_in_a_table_or_its_sum_is_found(tmp_path):
    path = tmp_path / "labels.csv"
    write_with_sum(path, "index,name\n0,猫\n1,狗\n")
    assert_every_flip_is_found(path, lambda: read_text(path), 0)
    assert_every_flip_is_found(tmp_path / "labels.csv.sha256", lambda: read_text(path), 1)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_the_sum_is_what_sha256sum_reads(tmp_path):
    write_with_sum(tmp_path / "labels.csv", "index,name\n0,a\n")
    write_with_sum(tmp_path / "labels.csv", "index,name\n0,b\n")
    done = subprocess.run(["sha256sum", "-c", "labels.csv.sha256"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "labels.csv: OK\n"


def test_a_table_that_its_user_changed_says_how_to_go_on(tmp_path):
    path = tmp_path / "labels.csv"
    write_with_sum(path, "index,name\n0,a\n")
    path.write_text("index,name\n0,b\n")
    with pytest.raises(AlstmError, match=r"if you changed it yourself, delete labels\.csv\.sha256"):
        read_text(path)
    (tmp_path / "labels.csv.sha256").unlink()
    assert read_text(path) == "index,name\n0,b\n"


def test_a_crash_at_any_point_leaves_a_table_that_can_be_read(tmp_path, monkeypatch):
    path = tmp_path / "labels.csv"
    write_with_sum(path, "old\n")
    from alstm_helpers import files

    real = files._write_text
    for steps in range(3):
        calls = iter(range(10))

        def crash(target, text, steps=steps, calls=calls):
            if next(calls) == steps:
                raise KeyboardInterrupt
            real(target, text)

        monkeypatch.setattr(files, "_write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            write_with_sum(path, f"new {steps}\n")
        assert read_text(path) in ("old\n", *(f"new {step}\n" for step in range(steps + 1)))
