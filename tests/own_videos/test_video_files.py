"""Test which files of a folder count as videos."""

from __future__ import annotations

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.video_files import find_video_files


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
