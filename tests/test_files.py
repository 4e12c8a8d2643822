"""Files are written whole or not at all, and folders are claimed."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import no_file_above

from alstm_helpers.errors import AlstmError, FolderInUse
from alstm_helpers.files import (
    append,
    atomic_write,
    claimed,
    leftovers,
    locked,
    read_text,
    require_file,
    safe_name,
    staging,
    write_json,
    write_json_lines,
)


@pytest.fixture
def old(tmp_path):
    """A file that is to be replaced."""
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    return path


def unchanged(path):
    """The old file is there, and nothing else is."""
    return path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- atomic_write -----------------------------------------------------------------------------------------------


def test_a_file_is_replaced(old):
    with atomic_write(old) as file:
        file.write(b"new content")
    assert old.read_bytes() == b"new content" and list(old.parent.iterdir()) == [old]


def test_readers_see_the_old_file_until_the_end(old):
    with atomic_write(old) as file:
        file.write(b"new content")
        file.flush()
        assert old.read_bytes() == b"old"
        assert [path.suffix for path in old.parent.iterdir() if path != old] == [".tmp"]


def test_folders_are_made(tmp_path):
    path = tmp_path / "数据" / "my results" / "a.txt"
    with atomic_write(path, "w") as file:
        file.write("ß\n")
    assert path.read_bytes() == b"\xc3\x9f\n"


def test_text_has_the_same_bytes_on_every_system(tmp_path, monkeypatch):
    opened, path_open = [], Path.open

    def record(*args, **kwargs):
        opened.append(kwargs)
        return path_open(*args, **kwargs)

    monkeypatch.setattr(Path, "open", record)
    with atomic_write(tmp_path / "a.txt", "w"), atomic_write(tmp_path / "a.bin"):
        pass
    assert opened == [{"encoding": "utf-8", "newline": "\n"}, {"encoding": None, "newline": None}]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError, SystemExit])
def test_an_error_leaves_the_old_file(old, error):
    with pytest.raises(error), atomic_write(old) as file:
        file.write(b"half")
        raise error
    assert unchanged(old)


def test_an_error_leaves_no_new_file(tmp_path):
    with pytest.raises(ValueError), atomic_write(tmp_path / "new.bin") as file:
        file.write(b"half")
        raise ValueError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_is_named(old, monkeypatch, place):
    with pytest.raises(OSError, match="No space left") as caught, monkeypatch.context() as patch:
        if place == "fsync":
            patch.setattr("alstm_helpers.files.os.fsync", full_disk)
        if place == "replace":
            patch.setattr("alstm_helpers.files.Path.replace", full_disk)
        with atomic_write(old) as file:
            file.write(b"half")
            if place == "write":
                full_disk()
    assert caught.value.filename == str(old)
    assert unchanged(old)


@pytest.mark.posix
def test_a_file_that_cannot_grow_is_named(tmp_path):
    log = tmp_path / "log.jsonl"
    with no_file_above(8):
        append(log, "one\ntwo\n")
        with pytest.raises(OSError, match="File too large") as caught:
            append(log, "three\n")
    assert caught.value.filename == str(log)
    append(log, "三\n")
    assert log.read_bytes() == "one\ntwo\n三\n".encode()


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    """Not the temporary file, which is gone."""
    with pytest.raises(OSError) as caught, atomic_write(tmp_path):
        pass
    assert caught.value.filename == str(tmp_path)


def test_an_error_that_names_another_file_keeps_its_name(old, tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(old):
        (tmp_path / "none").read_bytes()
    assert caught.value.filename == str(tmp_path / "none")
    assert unchanged(old)


@pytest.mark.posix
def test_others_may_read_as_the_umask_says(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with atomic_write(tmp_path / "atomic"):
        pass
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.posix
def test_what_is_no_regular_file_stays_as_it_is(tmp_path):
    """As root, --out /dev/null would put a file in its place."""
    os.mkfifo(tmp_path / "pipe")
    said = "pipe: this is no regular file; name another one"
    with pytest.raises(AlstmError, match=said), atomic_write(tmp_path / "pipe"):
        pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_two_writers_do_not_mix(old):
    with atomic_write(old) as first, atomic_write(old) as second:
        first.write(b"first " * 1000)
        second.write(b"second")
    assert old.read_bytes() == b"first " * 1000  # the outer block ends last
    assert list(old.parent.iterdir()) == [old]


# --- JSON -------------------------------------------------------------------------------------------------------


def test_json_is_readable_text(tmp_path):
    write_json(tmp_path / "a.json", {"Größe": [1, 2.5, None], "类": "猫"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "猫" in text and text.endswith("}\n") and text.count("\n") > 4
    assert json.loads(text) == {"Größe": [1, 2.5, None], "类": "猫"}


def test_json_lines(tmp_path):
    rows = [{"a": 1}, {"b": "猫\n"}, []]
    write_json_lines(tmp_path / "a.jsonl", iter(rows))
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows and lines[-1] == ""


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_know_leave_the_old_file(old, number):
    with pytest.raises(
        AlstmError, match="a number that belongs in it is NaN or infinity; use other weights than those"
    ):
        write_json(old, {"a": [number]})
    assert unchanged(old)


def test_what_json_cannot_hold_leaves_the_old_file(old):
    with pytest.raises(TypeError):
        write_json(old, {"a": object()})
    assert unchanged(old)


# --- reading ----------------------------------------------------------------------------------------------------


def test_require_file(old, tmp_path):
    assert require_file(str(old), "") == old
    for path, problem in ((tmp_path / "none", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(AlstmError) as caught:
            require_file(path, "look elsewhere")
        assert str(caught.value) == f"{path}: {problem}; look elsewhere"


@pytest.mark.parametrize(
    "text, name",
    [
        ("v018", "v018"),
        ("my clip@0-2.5", "my clip@0-2.5"),
        ("猫/a b:c?.mp4", "猫_a b_c_.mp4-HASH"),
        ("../../etc/passwd", "etc_passwd-HASH"),
        ("dots...", "dots-HASH"),
        ("...", "video-HASH"),
        ("con", "_con-HASH"),
        ("LPT1.mp4", "_LPT1.mp4-HASH"),
        ("很" * 80, "很" * 50 + "-HASH"),
        ("\udcff", "video-HASH"),
        ("content.aux", "content.aux"),
    ],
)
def test_an_id_becomes_a_file_name_on_every_system(text, name):
    assert re.sub("-[0-9a-f]{12}$", "-HASH", safe_name(text)) == name


def test_no_two_ids_share_a_file_name():
    ids = ["x/y", "x_y", "x:y", "../x/y", "_con", "con", "很" * 80, "很" * 81, "x_y.", "", "video"]
    ids += [safe_name(text) for text in ids if safe_name(text) != text]
    assert len({safe_name(text) for text in ids}) == len(ids)
    assert all(len(safe_name(text).encode()) < 170 for text in ids)


# --- claims -----------------------------------------------------------------------------------------------------

CLAIM = """
import pathlib, sys, time
from alstm_helpers.files import claimed
with claimed(pathlib.Path(sys.argv[1])):
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_claimed_by_one_process_and_free_when_that_is_killed(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", CLAIM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    try:
        assert other.stdout.readline() == "claimed\n"
        with pytest.raises(AlstmError, match="another run is writing here"), claimed(tmp_path / "free", tmp_path):
            pass
        assert not (tmp_path / "free").exists()  # a claim that failed keeps nothing
        with claimed(tmp_path / "free"):
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert [path.name for path in leftovers(tmp_path)] == [".claim.alstm.tmp"]
    with claimed(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["free"]


def test_a_claim_leaves_nothing_of_a_block_that_fails_at_once(tmp_path):
    with pytest.raises(ValueError), claimed(tmp_path / "a" / "b", tmp_path / "a" / "c"):
        raise ValueError
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_text("")
    with pytest.raises(AlstmError, match="a: this is a file; name a folder"), claimed(tmp_path / "a"):
        pass


def test_a_claim_removes_what_a_killed_run_left_and_nothing_else(tmp_path):
    names = [".train0000.pkl.x1y2.alstm.tmp", ".train0001.tfrecord.part", "train0000.pkl", "notes.tmp", ".own.tmp"]
    for name in names:
        (tmp_path / name).touch()
    with claimed(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".claim.alstm.tmp", *names[1:]}
        (tmp_path / names[0]).touch()  # of a worker that is ended
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


@pytest.mark.posix
def test_a_claim_removes_half_made_folders_but_follows_no_link(tmp_path):
    (tmp_path / "kept").mkdir()
    with claimed(tmp_path), staging(tmp_path) as work:
        (work / "half").touch()
        assert leftovers(tmp_path) != [tmp_path / ".claim.alstm.tmp"]
        shutil.copytree(work, tmp_path / ".staging.killed.alstm.tmp")
        (tmp_path / ".link.alstm.tmp").symlink_to("kept", target_is_directory=True)
    with claimed(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.posix
@pytest.mark.parametrize("after", ["nothing", "a file", "another claim", "an error"])
def test_a_claimed_folder_that_is_removed_is_an_error(tmp_path, after):
    folder = tmp_path / "out"
    with pytest.raises(AlstmError) as caught, claimed(folder):
        shutil.rmtree(folder)
        if after == "a file":
            write_json(folder / "a.json", {})
        if after == "another claim":
            folder.mkdir()
            (folder / ".claim.alstm.tmp").touch()
        if after == "an error":
            (folder / "a.json").write_text("")
    assert (
        str(caught.value)
        == f"{folder}: the folder was removed while this was writing to it; run the same command again"
    )
    assert (folder / ".claim.alstm.tmp").exists() == (after == "another claim")


ADD = """
import json, pathlib, sys
from alstm_helpers.files import locked, write_json
path = pathlib.Path(sys.argv[1])
for _ in range(50):
    with locked(path):
        write_json(path, json.loads(path.read_text()) + 1)
"""


def test_nothing_is_lost_where_two_processes_change_a_locked_file(tmp_path):
    path = tmp_path / "数据.json"
    path.write_text("0")
    (tmp_path / ".数据.json.x1y2.alstm.tmp").touch()
    (tmp_path / ".other.json.x1y2.alstm.tmp").touch()
    runs = [subprocess.Popen([sys.executable, "-c", ADD, str(path)]) for _ in range(2)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert path.read_text() == "100\n"
    assert {each.name for each in tmp_path.iterdir()} == {path.name, ".other.json.x1y2.alstm.tmp"}


def test_a_file_that_stays_locked_is_an_error(tmp_path):
    path = tmp_path / "a.json"
    with locked(path), pytest.raises(FolderInUse, match="json: another process is writing it"), locked(path, wait=0):
        pass


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, ""), OSError(errno.ENOLCK, ""), NotImplementedError()])
def test_where_nothing_can_be_locked_there_is_no_claim(tmp_path, monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    done = []
    with claimed(tmp_path), claimed(tmp_path):
        done.append("work")
    assert done == ["work"]


def test_a_claim_waits_for_another_run(tmp_path):
    with ThreadPoolExecutor(1) as threads, ExitStack() as second:
        with claimed(tmp_path):
            later = threads.submit(lambda: second.enter_context(claimed(tmp_path, wait=60)))
            assert not wait([later], timeout=0.2).done
        later.result()


# --- text ---------------------------------------------------------------------------------------------------------

TEXT = "video,标签\na.mp4,猫\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_in_what_its_mark_says(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(TEXT.replace("\n", "\r\n").encode(encoding))
    assert read_text(tmp_path / "a.txt") == TEXT
    (tmp_path / "a.txt").write_bytes("\ufeffé\r".encode("utf-16-be"))
    assert read_text(tmp_path / "a.txt") == "é\n"


def test_text_in_an_encoding_that_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT.encode("gb18030"))
    assert read_text(tmp_path / "a.txt", encoding="gb18030") == TEXT
    (tmp_path / "a.txt").write_bytes(TEXT.encode("utf-16-le"))
    assert read_text(tmp_path / "a.txt", encoding="utf-16-le") == TEXT


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        (TEXT.encode("gbk"), None, "byte 6 is not UTF-8; save it"),
        (b"\xef\xbb\xbfa\xff", None, "byte 1 is not UTF-8; save it"),
        ("a\n".encode("utf-16-le"), None, "it is not text in UTF-8: it has zero bytes"),
        (b"\xff\xfea", None, "byte 2 is not UTF-16; save it"),
        ("é".encode(), "ascii", "byte 0 is not ASCII; save it"),
        (b"a", "no-such", "no-such is not an encoding of text; name one"),
        (b"a", "rot13", "rot13 is not an encoding of text; name one"),
    ],
)
def test_what_is_not_text(tmp_path, data, encoding, says):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(AlstmError) as caught:
        read_text(tmp_path / "a.txt", "save it", encoding)
    assert str(caught.value).startswith(f"{tmp_path / 'a.txt'}: {says}")
