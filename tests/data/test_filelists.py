"""Lists of shards are read as people write them, too; shards are found below folders, each under its own name."""

from __future__ import annotations

import pytest

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
    with pytest.raises(AlstmError, match="no such file; make it with `alstm lists ROOT`"):
        read_filelist(shards / "none.list")
    with pytest.raises(AlstmError) as caught:
        read_filelist(write_text(shards / "x.list", "a.pkl\nc.pkl\n"))
    assert f"it names {shards / 'c.pkl'}, which is missing" in str(caught.value)


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
