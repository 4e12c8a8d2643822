"""The four lists: absolute, sorted, validation for three of them, and written all or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_filelist
from alstm_helpers.lists import write_lists

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
    assert write_lists(root)["train.list"] == 2


def test_tfrecords_are_listed_where_there_are_no_pickles(root):
    make(root, "tf/train/train0000.tfrecord", "tf/val/validate0000.tfrecord", "tf/val/validate0001.tfrecord")
    (root / "pkl/val/validate0000.pkl").unlink()
    assert write_lists(root) == {"train.list": 2, "val.list": 2, "test.list": 2, "infer.list": 2}
    assert all(line.endswith(".pkl") for line in lines(root / "train.list"))
    assert all(line.endswith(".tfrecord") for line in lines(root / "val.list"))


def test_a_rerun_sees_new_shards(root):
    write_lists(root)
    make(root, "pkl/train/train0002.pkl")
    assert write_lists(root)["train.list"] == 3
    assert len(lines(root / "train.list")) == 3


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
