"""Test which files of a folder count as videos."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.video_files import find_video_files, location_of, videos_by_id


def test_find_video_files(tmp_path):
    for name in ("b.MP4", "a.mkv", "sub/c.webm", "notes.txt", "sub/d.srt"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).touch()
    found = find_video_files([tmp_path / "v", tmp_path / "v" / "a.mkv"])
    assert [path.name for path in found] == ["a.mkv", "b.MP4", "c.webm"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(AlstmError, match="no video in this folder"):
        find_video_files([tmp_path / "empty"])
    with pytest.raises(AlstmError, match=r"none\.mp4"):
        find_video_files([tmp_path / "none.mp4"])


def test_links_are_followed_once(tmp_path):
    for name in ("far/b.mp4", "far/deep/c.mp4", "v/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for link, target in (("v/0", "far"), ("v/z", "far"), ("far/deep/up", "v"), ("v/other.mp4", "v/a.mp4")):
        (tmp_path / link).symlink_to(tmp_path / target)
    found = find_video_files([tmp_path / "v", tmp_path / "far"])
    assert [path.name for path in found] == ["b.mp4", "c.mp4", "a.mp4", "other.mp4"]
    (tmp_path / "v" / "sub").mkdir()
    (tmp_path / "v" / "sub" / "a.mp4").symlink_to(tmp_path / "v" / "a.mp4")
    assert len(find_video_files([tmp_path / "v"])) == 4  # the same file by the same name


def test_no_folder_is_entered_twice(tmp_path, monkeypatch):
    """With two links back from each of many folders, the ways through them would be beyond counting."""
    for name in "abc":
        (tmp_path / "v" / name).mkdir(parents=True)
        (tmp_path / "v" / name / "x.mp4").touch()
        for other in "abc":
            (tmp_path / "v" / name / f"to {other}").symlink_to(tmp_path / "v" / other)
    entered: list[str] = []
    scandir = os.scandir

    def once(path):
        entered.append(os.path.realpath(path))
        assert len(entered) == len(set(entered))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", once)
    assert len(find_video_files([tmp_path / "v"])) == 3 and len(entered) == 4


def test_a_real_folder_comes_before_a_link_to_it(tmp_path):
    (tmp_path / "v" / "real").mkdir(parents=True)
    (tmp_path / "v" / "real" / "a.mp4").touch()
    (tmp_path / "v" / "alias").symlink_to(tmp_path / "v" / "real")
    assert find_video_files([tmp_path / "v"]) == [tmp_path / "v" / "real" / "a.mp4"]


@pytest.mark.posix
def test_what_cannot_be_read_is_found_so_that_its_reader_says_why(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "nothing.mp4").symlink_to(tmp_path / "none.mp4")
    (tmp_path / "itself.mp4").symlink_to(tmp_path / "itself.mp4")
    names = ["fifo.mp4", "folder.mp4", "itself.mp4", "nothing.mp4"]
    assert [path.name for path in find_video_files([tmp_path])] == names
    assert find_video_files([tmp_path / name for name in names if name != "folder.mp4"])


@pytest.mark.posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(AlstmError, match=r"shut: it cannot be listed \(Permission denied\); make it readable"):
        find_video_files([tmp_path])


def test_listing_fails(tmp_path, monkeypatch):
    """As for a folder without permission, also where everything is permitted."""

    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(AlstmError, match=r"it cannot be listed \(Permission denied\); make it readable"):
        find_video_files([tmp_path])


def test_hidden_files_and_folders_are_no_clips_and_a_gif_is_one(tmp_path):
    for name in ("a.GIF", "._a.mp4", ".b.mp4", ".trash/c.mp4", "x/._d.mp4", "x/.y/e.mp4", "x/f.mp4"):
        (tmp_path / ".hidden itself" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".hidden itself" / name).touch()
    folder = tmp_path / ".hidden itself"
    assert find_video_files([folder]) == [folder / "a.GIF", folder / "x" / "f.mp4"]
    assert find_video_files([folder / ".b.mp4"]) == [folder / ".b.mp4"]


def ids_of(*videos, earlier=None):
    """Return the ids of videos by their paths."""
    return {path.as_posix(): name for name, path in videos_by_id(map(Path, videos), earlier or {}).items()}


def test_an_id_has_the_folders_that_no_other_video_of_the_name_has():
    assert ids_of("v/walk/01.mp4", "v/run/01.mp4", "v/run/02.mp4", "w/x/run/03.mp4", "v/x/run/03.mp4") == {
        "v/walk/01.mp4": "walk/01",
        "v/run/01.mp4": "run/01",
        "v/run/02.mp4": "02",
        "w/x/run/03.mp4": "w/x/run/03",
        "v/x/run/03.mp4": "v/x/run/03",
    }
    assert ids_of("/01.mp4", "/v/01.mp4")["/v/01.mp4"] == "v/01"


def test_videos_keep_their_ids_when_others_come_or_go():
    """So do those of which only parts have ids; another video of the name is called by its folder."""
    earlier = {location_of(Path("v/walk/01.mp4")): "01@0-5", location_of(Path("v/walk/2.mp4")): "walk/2"}
    found = ids_of("v/walk/01.mp4", "v/run/01.mp4", "v/walk/2.mp4", earlier=earlier)
    assert found == {"v/walk/01.mp4": "01", "v/run/01.mp4": "run/01", "v/walk/2.mp4": "walk/2"}
    other = {location_of(Path("v/walk/01.mp4")): "else"}  # of a file that was renamed
    assert ids_of("v/walk/01.mp4", earlier=other) == {"v/walk/01.mp4": "01"}


def test_two_suffixes_in_a_folder_are_one_name():
    with pytest.raises(AlstmError, match=r"v/a\.mp4: v/a\.mkv has the same name; give each video a name of its own"):
        ids_of("v/a.mkv", "w/a.mp4", "v/a.mp4")


@pytest.mark.parametrize("name", ["a.MP4", "a.gif", "raw.h264", "raw.H265", "raw.hevc"])
def test_a_folder_gives_what_is_read_when_it_is_named(tmp_path, name):
    """Bare streams, too: they are read if they are named alone, so they must not be left out without a word."""
    (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert find_video_files([tmp_path]) == find_video_files([tmp_path / name]) == [tmp_path / name]
