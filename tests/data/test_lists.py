"""The four lists are absolute, sorted, and written all or not at all; a split keeps each video on one side."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from support import a_video

from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.data.lists import Split, check_no_leak, group_of, side_of, split_videos, write_lists
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed
from alstm_helpers.pickles import load_shard, load_videos, save_videos
from alstm_helpers.tfrecord import write_videos

NAMES = ["train.list", "val.list", "test.list", "infer.list"]


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "my 数据"
    make(folder, "pkl/train/train0001.pkl", "pkl/train/train0000.pkl", "pkl/val/validate0000.pkl")
    return folder


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_lists_name_their_split(root, monkeypatch):
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: sorted(glob(folder, pattern), reverse=True))
    assert write_lists(root) == {"train.list": 2, "val.list": 1, "test.list": 1, "infer.list": 1}
    train = [str((root / f"pkl/train/train000{number}.pkl").resolve()) for number in (0, 1)]
    assert lines(root / "train.list") == train  # sorted, whatever the file system's order
    for name in NAMES[1:]:
        assert lines(root / name) == [str((root / "pkl/val/validate0000.pkl").resolve())]


def test_paths_are_absolute_even_from_a_relative_root(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    write_lists(root.name)
    assert all(Path(line).is_absolute() for name in NAMES for line in lines(root / name))
    assert [path.name for path in read_filelist(root / "train.list")] == ["train0000.pkl", "train0001.pkl"]


def test_every_line_ends(root):
    write_lists(root)
    content = (root / "train.list").read_bytes()
    assert content.endswith(b"\n") and content.count(b"\n") == 2 and b"\r" not in content


def test_other_files_are_not_listed(root):
    make(root, "pkl/train/manifest.jsonl", "pkl/train/.train0002.pkl.x.part", "pkl/train/notes.txt")
    make(root, "pkl/train/._train0000.pkl")  # macOS keeps one beside train0000.pkl on a disk of another system
    assert write_lists(root)["train.list"] == 2


def test_tfrecords_are_listed_where_there_are_no_pickles(root):
    make(root, "tf/train/train0000.tfrecord", "tf/val/validate0000.tfrecord", "tf/val/validate0001.tfrecord")
    (root / "pkl/val/validate0000.pkl").unlink()
    assert write_lists(root) == {"train.list": 2, "val.list": 2, "test.list": 2, "infer.list": 2}
    assert all(line.endswith(".pkl") for line in lines(root / "train.list"))
    assert all(line.endswith(".tfrecord") for line in lines(root / "val.list"))


def test_shards_that_are_not_converted_yet_are_told(alstm, root):
    """Of training one of three; of validation, none has been begun."""
    make(root, *(f"tf/train/train000{number}.tfrecord" for number in range(3)), "tf/val/validate0009.tfrecord")
    told = "1 of 3; the lists leave them out; finish `alstm convert`, then run this again"
    assert alstm("lists", root).last == f"TFRecords in {root / 'tf'} without a pickle in {root / 'pkl'}: {told}"
    make(root, "pkl/train/train0002.pkl")
    assert alstm("lists", root).last == f"{root / 'infer.list'}: 1 shard"


def test_links_are_listed_by_their_own_names(tmp_path):
    """What they lead to, such as DVC's blobs, has no suffix that tells how to read it."""
    for side in ("train", "val"):
        blob, link = tmp_path / "blobs" / f"{side}1", tmp_path / "set" / "tf" / side / f"{side}0000.tfrecord"
        write_videos(blob, [a_video(side, 2, [0])])
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    assert write_lists(tmp_path / "set") == dict.fromkeys(NAMES, 1)
    (shard,) = read_filelist(tmp_path / "set" / "train.list")
    assert shard == (tmp_path / "set").resolve() / "tf" / "train" / "train0000.tfrecord"
    assert [video.id for video in load_shard(shard)] == [b"train"]
    assert check_no_leak(tmp_path / "set") == 2


def test_a_rerun_sees_new_shards(root):
    write_lists(root)
    written = (root / "train.list").stat().st_mtime_ns
    write_lists(root)
    assert (root / "train.list").stat().st_mtime_ns == written  # nothing was to be done
    make(root, "pkl/train/train0002.pkl")
    assert write_lists(root)["train.list"] == 3
    assert len(lines(root / "train.list")) == 3


def test_lists_that_another_run_may_be_writing_are_left_alone(root):
    with claimed(root), pytest.raises(AlstmError, match="another run is writing here"):
        write_lists(root)
    write_lists(root)
    assert not list(root.glob(".*"))
    (root / ".train.list.x.alstm.tmp").touch()  # of a run that was killed
    write_lists(root)
    assert not list(root.glob(".*"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_shards_writes_no_list(root, split):
    for path in (root / "pkl" / split).iterdir():
        path.unlink()
    with pytest.raises(AlstmError, match=r"no \.pkl here and no \.tfrecord in tf/") as caught:
        write_lists(root)
    assert Path(caught.value.where) == root / "pkl" / split
    assert not list(root.glob("*.list"))


def test_a_missing_folder(tmp_path):
    with pytest.raises(AlstmError, match="make or download data"):
        write_lists(tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_the_tiny_data_set_is_listed(tiny_data):
    assert [len(read_filelist(tiny_data / name)) for name in NAMES] == [2, 2, 2, 2]


# --- your own videos, split by id ---------------------------------------------------------------------------------


def people(count, *, clips=3, start=0):
    """``count`` people with a few clips each: ``p07/clip1`` …, of two classes."""
    return [
        a_video(f"p{person:02d}/clip{clip}", 1 + clip, [person % 2])
        for person in range(start, start + count)
        for clip in range(clips)
    ]


def sides(root):
    return {
        side: [v.id for path in sorted((root / "pkl" / side).glob("*.pkl")) for v in load_videos(path)]
        for side in ("train", "val")
    }


@pytest.fixture
def own(tmp_path):
    """30 people in a pickle and a TFRecord."""
    videos = people(30)
    save_videos(tmp_path / "own" / "a.pkl", videos[:50])
    write_videos(tmp_path / "own" / "deeper" / "b.tfrecord", videos[50:])
    return tmp_path / "own"


def test_a_split_takes_every_video_to_one_side(own, tmp_path):
    done = split_videos(own, tmp_path / "set")
    found = sides(tmp_path / "set")
    assert sorted(found["train"] + found["val"]) == sorted(video.id for video in people(30))
    assert dict(done.videos) == {side: len(videos) for side, videos in found.items()}
    assert found["val"] == [video.id for video in people(30) if side_of(video.id, 0.2) == "val"]
    assert done.one_sided() == {"train": [], "val": []}
    assert check_no_leak(tmp_path / "set") == 90
    assert write_lists(tmp_path / "set")["train.list"] == 2


def test_a_class_without_videos_on_one_side_is_named():
    split = Split()
    for labels, side in (((1, 2), "train"), ((2,), "val"), ((3,), "val"), ((2,), "train")):
        split.add(a_video("v", 1, labels), side)
    assert split.one_sided() == {"train": [3], "val": [1]}


def test_a_video_keeps_its_side_when_others_are_added(own, tmp_path):
    split_videos(own, tmp_path / "one")
    save_videos(own / "c.pkl", people(10, start=30))
    split_videos(own, tmp_path / "two")
    before, after = sides(tmp_path / "one"), sides(tmp_path / "two")
    assert set(before["train"]) < set(after["train"]) and set(before["val"]) < set(after["val"])


def test_videos_that_belong_together_stay_together(own, tmp_path):
    def persons(found):
        return {side: {video[:3] for video in videos} for side, videos in found.items()}

    split_videos(own, tmp_path / "by video")
    split_videos(own, tmp_path / "by person", group=r"^(p\d+)/")
    by_video, by_person = persons(sides(tmp_path / "by video")), persons(sides(tmp_path / "by person"))
    assert by_video["train"] & by_video["val"]  # which the group prevents
    assert not by_person["train"] & by_person["val"] and len(by_person["train"] | by_person["val"]) == 30
    assert side_of(b"p07/clip1", 0.2, re.compile(rb"^p\d+")) == side_of(b"p07/clip9", 0.2, re.compile(rb"^(p\d+)"))


def test_a_group_is_its_first_parentheses_or_the_whole_match():
    assert group_of(b"p07/clip1", re.compile(rb"p(\d+)/")) == b"07"
    assert group_of(b"p07/clip1", re.compile(rb"p\d+/")) == b"p07/"


@pytest.mark.parametrize("name", [b"v000", b"p07/clip1"])
def test_a_side_is_the_ids_md5_as_a_share_of_all(name):
    place = int(hashlib.md5(name).hexdigest(), 16) / 16**32
    assert side_of(name, place - 1e-9) == "train" and side_of(name, place + 1e-9) == "val"


def test_a_split_keeps_out_of_folders_that_another_run_writes_to(own, tmp_path):
    for side in ("train", "val"):
        with claimed(tmp_path / "set" / "pkl" / side), pytest.raises(AlstmError, match="another run is writing here"):
            split_videos(own, tmp_path / "set")
    assert sides(tmp_path / "set") == {"train": [], "val": []}


def test_a_split_run_again_gives_the_same_bytes(own, tmp_path):
    def content():
        return {str(path): path.read_bytes() for path in sorted((tmp_path / "set").rglob("*.pkl"))}

    split_videos(own, tmp_path / "set")
    first = content()
    split_videos(own, tmp_path / "set", val_share=0.5)
    assert content() != first
    split_videos(own, tmp_path / "set")
    assert content() == first


def test_another_share_leaves_no_empty_or_old_pickle(own, tmp_path):
    save_videos(own / "c.pkl", people(1, clips=1, start=40))
    for share in (0.1, 0.9, 0.1):
        split_videos(own, tmp_path / "set", val_share=share)
        assert len(list((tmp_path / "set").rglob("c.pkl"))) == 1
        assert sum(map(len, sides(tmp_path / "set").values())) == 91


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"val_share": 0}, "--val_share: 0 is out of range"),
        ({"val_share": 1.0}, "is out of range"),
        ({"group": "("}, "--group (: not a regular expression"),
        ({"group": "clip9"}, "video p00/clip0: --group clip9 finds nothing in it"),
        ({"group": "^p"}, "no video of 90 would go to "),
    ],
)
def test_a_split_that_cannot_be_writes_nothing(own, tmp_path, options, says):
    with pytest.raises(AlstmError) as caught:
        split_videos(own, tmp_path / "set", **options)
    assert says in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_a_split_keeps_out_of_folders_with_other_pickles(own, tmp_path):
    save_videos(tmp_path / "set" / "pkl" / "val" / "older.pkl", people(1))
    with pytest.raises(AlstmError, match=r"older\.pkl: it is not part of this split"):
        split_videos(own, tmp_path / "set")
    assert sides(tmp_path / "set") == {"train": [], "val": [video.id for video in people(1)]}


@pytest.mark.parametrize("side", ["train", "val"])
@pytest.mark.parametrize("through", ["itself", "a linked folder", "a linked file"])
def test_a_split_does_not_write_over_its_own_shards(own, tmp_path, side, through):
    """Through a linked file, either end of which may lie there."""
    root, shards = tmp_path / "set", sorted(own.iterdir())
    folder = root / "pkl" / side
    folder.parent.mkdir(parents=True)
    if through == "a linked folder":
        folder.symlink_to(own)
        source = own
    elif through == "a linked file":
        folder.mkdir()
        source = tmp_path / "links"
        source.mkdir()
        for shard in shards:
            shard.rename(folder / shard.name)
            (source / shard.name).symlink_to(folder / shard.name)
    else:
        own.rename(folder)
        source = root
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(AlstmError, match=r": the split would write over it; name another ROOT$"):
        split_videos(source, root)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_leak_is_found_and_named(tmp_path):
    save_videos(tmp_path / "pkl" / "train" / "a.pkl", people(3))
    save_videos(tmp_path / "pkl" / "val" / "b.pkl", people(3, start=3))
    assert check_no_leak(tmp_path) == 18
    save_videos(tmp_path / "pkl" / "val" / "c.pkl", people(1, start=2))
    with pytest.raises(AlstmError, match=r"c\.pkl: video p02/clip0 is in .*a\.pkl too"):
        check_no_leak(tmp_path)
