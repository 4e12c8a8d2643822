"""Test which video a label means where names alone do not say it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.meant import videos_meant
from alstm_helpers.own_videos.video_files import videos_by_id

TWO = ("v/walk/01.mp4", "v/run/01.mp4")
ELSEWHERE = "labelled in another folder, taken as the same video"
ABSENT = "labelled, but not among the videos"


def meant(videos, *labelled):
    """Return the ids that labels mean, and the notes without the one on what is not labelled."""
    found, notes = videos_meant(labelled, videos_by_id(map(Path, videos)))
    return found, [note for note in notes if not note.startswith("not labelled")]


@pytest.mark.parametrize(
    ("videos", "labelled", "found", "notes"),
    [
        (TWO, ["walk/01.mp4", "run/01.MP4"], {"walk/01.mp4": "walk/01", "run/01.MP4": "run/01"}, []),
        (TWO, ["walk/01"], {"walk/01": "walk/01"}, []),
        (TWO, ["run/01.mov"], {"run/01.mov": "run/01"},
         ["labelled by another suffix, taken as the same video: 1, such as run/01.mov for run/01.mp4"]),
        (TWO, ["x/walk/01.mp4"], {"x/walk/01.mp4": "walk/01"},
         [f"{ELSEWHERE}: 1, such as x/walk/01.mp4 for walk/01.mp4"]),
        (TWO[:1], ["01.mp4", "v/walk/01.mp4"], {"01.mp4": "01", "v/walk/01.mp4": "01"}, []),
        (TWO[:1], ["run/01.mp4", "walk/01.mp4"], {"walk/01.mp4": "01"}, [f"{ABSENT}: 1, such as run/01.mp4"]),
        (TWO[:1], ["run/01.mp4"], {"run/01.mp4": "01"}, [f"{ELSEWHERE}: 1, such as run/01.mp4 for 01.mp4"]),
        ([*TWO[:1], "v/run/2.mp4"], ["run/01.mp4"], {}, [f"{ABSENT}: 1, such as run/01.mp4"]),
    ],
)  # fmt: skip
def test_the_longest_common_end_of_the_path_decides(videos, labelled, found, notes):
    """What lies in another folder that is here is another video."""
    assert meant(videos, *labelled) == (found, notes)


def test_a_name_that_fits_two_videos_is_refused():
    for name in ("01.mp4", "01", "01.mov"):
        said = f"label of {name}: it fits v/walk/01.mp4 and v/run/01.mp4; write a folder before it"
        with pytest.raises(AlstmError, match=re.escape(said)):
            meant(TWO, name)


def test_labels_that_contradict_each_other_are_refused():
    with pytest.raises(AlstmError, match=r"v/walk/01\.mp4: labels of x/01\.mp4 and y/01\.mp4 both fit it; write"):
        meant(TWO[:1], "x/01.mp4", "y/01.mp4")


@pytest.mark.posix
def test_a_link_lies_where_its_file_does_too(tmp_path):
    for name in ("cat/1.mp4", "dog/1.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "1.mp4").symlink_to("../cat/1.mp4")
    videos = [tmp_path / "ant" / "1.mp4", tmp_path / "dog" / "1.mp4"]
    assert meant(videos, "cat/1.mp4", "ant/1.mp4")[0] == {"cat/1.mp4": "ant/1", "ant/1.mp4": "ant/1"}
