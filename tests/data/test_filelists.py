"""Lists of shards are read as people write them, too; shards are found below folders, each under its own name."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alstm_helpers.data.filelists import read_filelist, shards_below, write_filelist
from alstm_helpers.errors import AlstmError


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "数据 of mine"
    folder.mkdir()
    for name in ("a.pkl", "b.pkl"):
        (folder / name).write_bytes(b"x")
    return folder


def write_text(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_of_absolute_paths(shards, tmp_path):
    path = write_text(tmp_path / "x.list", f"{shards / 'b.pkl'}\n{shards / 'a.pkl'}\n")
    assert read_filelist(path) == [shards / "b.pkl", shards / "a.pkl"]  # in the list's order


def test_relative_lines_are_taken_from_the_lists_folder(shards, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read_filelist(write_text(shards / "x.list", "a.pkl\n")) == [shards / "a.pkl"]


def test_blank_lines_spaces_and_windows_ends(shards):
    path = shards / "x.list"
    path.write_bytes(b"\r\n  a.pkl  \r\n\r\nb.pkl")
    assert read_filelist(path) == [shards / "a.pkl", shards / "b.pkl"]


def test_lists_that_cannot_be_used(shards):
    for text in ("", "\n  \n"):
        with pytest.raises(AlstmError, match="the list is empty"):
            read_filelist(write_text(shards / "x.list", text))
    with pytest.raises(AlstmError, match=r"no such file; make it with `alstm lists ROOT`, .* -o TRAIN\.filelist=…"):
        read_filelist(shards / "none.list")
    with pytest.raises(AlstmError) as caught:
        read_filelist(write_text(shards / "x.list", "a.pkl\nc.pkl\n"))
    assert f"it names {shards / 'c.pkl'}, which is missing" in str(caught.value)


def test_a_list_that_was_moved_with_its_shards_says_so(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new 数据"
    new.mkdir()
    write_text(new / "train.list", f"{old}/tf/train/a.tfrecord\n")
    with pytest.raises(AlstmError, match=r"which is missing; name one file per line, .* run `alstm lists ROOT` again"):
        read_filelist(new / "train.list")
    (new / "tf" / "train").mkdir(parents=True)
    (new / "tf" / "train" / "a.tfrecord").touch()
    with pytest.raises(AlstmError, match=f"the folder was moved, so run `alstm lists '{new}'`"):
        read_filelist(new / "train.list")


def test_a_list_is_read_as_it_was_written(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(shards)
    write_filelist(tmp_path / "x.list", [(shards / "b.pkl").relative_to(shards), shards / "a.pkl"])
    monkeypatch.chdir(tmp_path)
    assert read_filelist(tmp_path / "x.list") == [(shards / name).resolve() for name in ("b.pkl", "a.pkl")]


def test_a_list_saved_by_an_editor_of_windows(shards):
    path = shards / "x.list"
    path.write_bytes(b"\xef\xbb\xbfa.pkl\r\n")
    assert read_filelist(path) == [shards / "a.pkl"]
    path.write_bytes("größe.pkl".encode("latin-1"))
    with pytest.raises(AlstmError, match=r"x\.list: byte 2 is not UTF-8; save it as UTF-8"):
        read_filelist(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_encodings_with_a_mark_are_read(shards, encoding):
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    (shards / "猫\u2028\x1b[1m.pkl").touch()
    (shards / "x.list").write_bytes(f"{mark}a.pkl\r\n猫\u2028\x1b[1m.pkl\r\n".encode(encoding))
    assert read_filelist(shards / "x.list") == [shards / "a.pkl", shards / "猫\u2028\x1b[1m.pkl"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.list", "狗 猫.pkl\n".encode("gbk"), "byte 0 is not UTF-8; save it as UTF-8, one path"),
        ("x.list", "a.pkl\n".encode("utf-16-le"), "zero bytes"),
        ("x.list", b"\x80\x04\x95\x00\x01", "byte 0 is not UTF-8"),
        ("a.pkl", b"a.pkl\n", "it is a shard itself, not a list of shards; pass a text file"),
        ("a.tfrecord", b"\x10" + bytes(100), "it is a shard itself"),
        ("x.list", b"a.pkl\n" + b"x" * 5000, "it names"),
        ("x.list", b'"a.pkl"\n', "without quotation marks"),
        ("x.list", b".\n", "which is missing"),
        ("x.list", b"a.pkl\x1b[31m\n", r"a.pkl\x1b[31m, which is missing"),
    ],
)
def test_what_is_not_a_list_of_shards(shards, name, content, problem):
    (shards / name).write_bytes(content)
    with pytest.raises(AlstmError) as caught:
        read_filelist(shards / name)
    assert problem in str(caught.value) and str(caught.value).isprintable()


def test_a_folder_is_not_a_list(shards):
    with pytest.raises(AlstmError, match="not a file; make it with `alstm lists ROOT`"):
        read_filelist(shards)


CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(
    "\udc80\udcff\n\r\u2028 "
)


@given(st.lists(st.text(CHARACTERS, min_size=1), min_size=1))
@settings(max_examples=300, deadline=None)
@example(["a\nb"])
@example(["\u2028b\x1b\x85\x0c"])
@example(["\udcff"])
@example(["a "])
@example(["a\r"])
def test_every_name_is_read_as_it_was_written_or_refused(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "any.list"
    paths = [Path("/shards", name) for name in names]
    try:
        write_filelist(path, paths)
    except AlstmError as error:
        assert not set("\n\r\u2028\udcff") & set(str(error))
        return
    with patch("alstm_helpers.data.filelists.os.path.isfile", lambda _: True):
        assert read_filelist(path) == [name.resolve() for name in paths]


def test_a_name_that_is_not_utf_8_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(AlstmError, match=r"\\udcff/a\.pkl: a list cannot name it: .* is not UTF-8.*; rename"):
        write_filelist(tmp_path / "x.list", [tmp_path / os.fsdecode(b"\xff") / "a.pkl"])
    assert not list(tmp_path.iterdir())


# --- below a folder ---------------------------------------------------------------------------------------------


def test_shards_are_found_by_suffix_and_sorted(shards):
    (shards / "deeper").mkdir()
    (shards / "deeper" / "0.more.tfrecord").touch()
    (shards / "notes.txt").touch()
    found = shards_below(shards, [".pkl", ".tfrecord"], "make some")
    assert list(found.items()) == [
        ("a", shards / "a.pkl"),
        ("b", shards / "b.pkl"),
        ("0", shards / "deeper" / "0.more.tfrecord"),
    ]
    assert list(shards_below(shards, [".pkl"], "make some")) == ["a", "b"]


def test_a_file_is_taken_whatever_its_suffix(shards):
    assert shards_below(shards / "a.pkl", [".tfrecord"], "make some") == {"a": shards / "a.pkl"}


def test_shards_that_cannot_be_told_apart_or_are_not_there(shards):
    (shards / "a.tfrecord").touch()
    with pytest.raises(AlstmError, match=r"a\.tfrecord: .*a\.pkl would become the same a\.pkl; rename one of them"):
        shards_below(shards, [".pkl", ".tfrecord"], "make some")
    with pytest.raises(AlstmError, match=r"no \*\.npz or \*\.npy below it; make some"):
        shards_below(shards, [".npz", ".npy"], "make some")
    with pytest.raises(AlstmError, match="no such folder; check the path, or make some"):
        shards_below(shards / "none", [".pkl"], "make some")


def test_shards_in_linked_folders_are_found_once(tmp_path):
    for name in ("far/b.tfrecord", "tf/a.tfrecord"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "tf" / "._a.tfrecord").touch()  # macOS keeps one beside a.tfrecord on a disk of another system
    for link, target in (("tf/link", "far"), ("tf/again", "far"), ("far/up", "tf")):
        (tmp_path / link).symlink_to(tmp_path / target)
    assert list(shards_below(tmp_path / "tf", [".tfrecord"], "")) == ["a", "b"]


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "a.tfrecord").symlink_to(tmp_path / "none.tfrecord")
    with pytest.raises(AlstmError, match=r"a\.tfrecord: no such file; repair or remove it"):
        shards_below(tmp_path, [".tfrecord"], "")
