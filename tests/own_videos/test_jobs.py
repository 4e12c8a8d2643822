"""Test which labels go to which video, by the names of files, and that no two clips have the same id."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from alstm_helpers.data.lists import ONE_VIDEO
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.jobs import Division, labelled_jobs, unlabelled_jobs
from alstm_helpers.own_videos.labels import Annotation

CLASSES = {"cat": 0, "dog": 1}


def plan(videos, labelled, group=ONE_VIDEO):
    """Return the labels by id and file, and the notes; ``labelled`` holds a class, or start, end and class, by name."""
    annotations = []
    for name, (*times, label) in labelled:
        annotations.append(Annotation(name, (label,), *times))
    jobs, notes = labelled_jobs([Path("v", name) for name in videos], annotations, CLASSES, Division(0.5, group))
    return {(job.id, job.path.name): job.labels for job in jobs}, notes


@pytest.mark.parametrize(
    "video, name",
    [
        ("b.mp4", "b.mp4"),
        ("b.MP4", "b.mp4"),
        ("b.mp4", "b"),
        ("b.1.mp4", "b.1"),
        ("@user.mp4", "@user.mp4"),
        (unicodedata.normalize("NFD", "é.mp4"), "é.mp4"),
        ("é.mp4", unicodedata.normalize("NFD", "é.mp4")),
    ],
)
def test_names_of_one_file(video, name):
    found, notes = plan([video], [(name, ["dog"])])
    assert list(found.values()) == [(1,)] and not notes


def test_labels_of_a_file_that_is_not_there_go_to_no_other_that_is_labelled():
    found, notes = plan(["b.mp4"], [("b.mov", ["cat"]), ("b.mp4", ["dog"])])
    assert found == {("b", "b.mp4"): (1,)}
    assert notes == ["labelled, but not among the videos: 1, such as b.mov"]


def test_a_converted_video_has_the_labels_of_the_one_it_was_made_from():
    found, notes = plan(["b.mp4", "c.mp4"], [("b.mov", ["cat"]), ("c.mp4", ["dog"])])
    assert found == {("b", "b.mp4"): (0,), ("c", "c.mp4"): (1,)}
    assert notes == ["labelled by another suffix, taken as the same video: 1, such as b.mov for b.mp4"]


def test_two_names_that_could_be_the_converted_video_are_neither():
    found, notes = plan(["b.mp4", "c.mp4"], [("b.mov", ["cat"]), ("b.avi", ["dog"]), ("c.mp4", ["dog"])])
    assert found == {("c", "c.mp4"): (1,)}
    assert notes == [
        "labelled, but not among the videos: 2, such as b.avi",
        "not labelled, left out: 1, such as b",
    ]


def test_a_part_and_a_file_do_not_share_an_id():
    both = [("a.mp4", [0, 2, "cat"]), ("a@0-2.mp4", ["dog"])]
    with pytest.raises(AlstmError, match=r"has the same id, a@0-2; rename one of the files") as caught:
        plan(["a.mp4", "a@0-2.mp4"], both)
    assert "a.mp4 (0–2 s)" in str(caught.value) and "a@0-2.mp4" in str(caught.value)
    assert plan(["a.mp4", "a@0-2.mp4"], both[:1])[0] == {("a@0-2", "a.mp4"): (0,)}


def test_close_parts_have_ids_of_their_own():
    parts = [("a.mp4", [first, first + 0.5, "cat"]) for first in (100000.25, 100000.75, 1234.125, 0.5)]
    assert len(plan(["a.mp4"], parts)[0]) == 4


@pytest.mark.parametrize("name", ["a", "@user", "@", "@@", "a@b"])
def test_parts_of_a_video_are_on_one_side_whatever_its_name(name):
    parts = [Annotation(f"{name}.mp4", ("cat",), start, start + 1.0) for start in map(float, range(30))]
    jobs, _ = labelled_jobs([Path(f"{name}.mp4")], parts, CLASSES, Division(0.5))
    assert len({job.split for job in jobs}) == 1 and len({job.id for job in jobs}) == 30
    jobs, _ = labelled_jobs([Path(f"{name}.mp4")], parts, CLASSES, Division(0.5, ".*"))
    assert len({job.split for job in jobs}) == 2


@pytest.mark.parametrize(
    "name, video_id",
    [
        (b"plain 1", "plain 1"),
        ("视频".encode("gbk"), r"\xca\xd3Ƶ"),
        (b"two\nlines", r"two\nlines"),
        (b"\x1b[31m", r"\x1b[31m"),
        ("a\u2028b".encode(), r"a\u2028b"),
        ("視\u3000頻".encode(), "視\u3000頻"),
        (unicodedata.normalize("NFD", "é").encode(), "é"),
    ],
)
def test_any_name_gives_an_id_that_can_be_written(name, video_id):
    [job] = unlabelled_jobs([Path(os.fsdecode(name + b".mp4"))])
    assert job.id == video_id and job.id.encode()


def test_two_names_that_would_be_one_id_are_refused():
    """On macOS, and after unzipping, the same name is composed or decomposed."""
    with pytest.raises(AlstmError, match="has the same name; give each video a name of its own"):
        unlabelled_jobs([Path("é.mp4"), Path(unicodedata.normalize("NFD", "é.mov"))])


def test_files_of_the_same_content_are_on_one_side(tmp_path):
    """Under other names, too; a file of the same size is not enough."""
    content = {"a.mp4": b"xy", "b.mp4": b"xy", "c.mp4": b"yx", "d.mp4": b"", "e.mp4": b""}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    annotations = [Annotation(name, ("cat",)) for name in content]
    for share in (0.2, 0.5, 0.8):
        jobs, notes = labelled_jobs([tmp_path / name for name in content], annotations, CLASSES, Division(share))
        sides = {job.id: job.split for job in jobs}
        assert sides["a"] == sides["b"] and set(sides.values()) == {"train", "val"}
        assert notes == ["files with the content of another, kept on its side: 1, such as b.mp4 as a.mp4"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_copies_bring_their_groups_to_one_side(tmp_path, share):
    """All of a group, since it must not be divided either; groups without copies go their own ways."""
    names = [f"rec{number}_{part}.mp4" for number in range(10) for part in "xy"]
    for name in names:
        (tmp_path / name).write_bytes(b"rec0_x" if name == "rec1_x.mp4" else name[:6].encode())
    annotations = [Annotation(name, ("cat",)) for name in names]
    division = Division(share, "^rec[0-9]+")
    jobs, notes = labelled_jobs([tmp_path / name for name in names], annotations, CLASSES, division)
    sides = {job.id: job.split for job in jobs}
    assert len({sides[f"rec{number}_{part}"] for number in (0, 1) for part in "xy"}) == 1
    assert all(sides[f"rec{number}_x"] == sides[f"rec{number}_y"] for number in range(10))
    assert set(sides.values()) == {"train", "val"} and "rec1_x.mp4 as rec0_x.mp4" in notes[0]


def test_parts_of_one_file_may_be_of_several_groups(tmp_path):
    (tmp_path / "day.mp4").write_bytes(b"xy")
    annotations = [Annotation("day.mp4", ("cat",), float(n), n + 0.5) for n in range(8)]
    jobs, _ = labelled_jobs([tmp_path / "day.mp4"], annotations, CLASSES, Division(0.5, "@[0-9]"))
    assert sorted(job.split for job in jobs) == ["train"] * 4 + ["val"] * 4


def test_each_class_is_on_both_sides():
    names = [f"{number:02d}.mp4" for number in range(40)]
    annotations = [Annotation(name, ("cat",) if number < 30 else ("dog",)) for number, name in enumerate(names)]
    jobs, _ = labelled_jobs(map(Path, names), annotations, CLASSES, Division())
    assert sorted(job.labels for job in jobs if job.split == "val") == [(0,)] * 6 + [(1,)] * 2
    earlier = {job.id: job.split for job in jobs}
    other = {name: "train" if side == "val" else "val" for name, side in earlier.items()}
    kept, _ = labelled_jobs(map(Path, names), annotations, CLASSES, Division(earlier=other))
    assert {job.id: job.split for job in kept} == other
