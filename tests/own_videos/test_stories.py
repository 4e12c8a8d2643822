"""Test what people do with a folder of clips later: add clips, add a class, label anew, try another backbone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from alstm_helpers.data.class_names import read_classes
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.feature_folder import FeatureFolder, group_in
from alstm_helpers.own_videos.features import Extraction, FeatureOptions, extract_features
from alstm_helpers.own_videos.flashdigits_clips import write_video
from alstm_helpers.own_videos.labels import import_labels
from alstm_helpers.tfrecord import read_videos


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Return a folder of clips of one second and one colour, all different; read only."""
    folder = tmp_path_factory.mktemp("pool")
    for number in range(12):
        write_video(folder / f"{number}.mp4", np.full((1, 64, 64, 3), 20 * number, np.uint8), None)
    return folder


class Own:
    """Somebody's folder: clips by class, the labels that these folders are, and features.

    Args:
        root: of the folder.
        pool: of clips to take from.
    """

    def __init__(self, root: Path, pool: Path) -> None:
        self.root, self.pool = root, sorted(pool.iterdir())

    def take(self, *names: str) -> None:
        """Add clips under these names."""
        for name in names:
            (self.root / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.pool.pop(), self.root / "clips" / name)

    def features(
        self, of: str = "clips", *, import_first: bool = True, audio: str | None = None, group: str | None = None
    ) -> Extraction:
        """Import the folders as labels, and extract features."""
        if import_first:
            import_labels([self.root / "clips"], self.root / "labels")
        settings = FeatureOptions(self.root / "labels", audio=audio, group=group)
        return extract_features([self.root / of], self.root / "data", settings, workers=0)

    def rows(self) -> dict[str, dict[str, object]]:
        """Return the rows of the manifest by id."""
        lines = (self.root / "data" / "manifest.jsonl").read_text("utf-8").splitlines()
        return {row["video"]: row for row in map(json.loads, lines)}

    def labels(self) -> dict[str, tuple[int, ...]]:
        """Return the labels in the shards by id."""
        shards = sorted((self.root / "data" / "tf").rglob("*.tfrecord"))
        return {video.name: video.labels for shard in shards for video in read_videos(shard)}


@pytest.fixture
def own(pool, tmp_path):
    """Return a folder of two clips of walking and three of running, with features."""
    folder = Own(tmp_path, pool)
    folder.take("walk/01.mp4", "walk/02.mp4", "run/01.mp4", "run/02.mp4", "run/03.mp4")
    folder.features()
    return folder


def test_add_clips(own):
    """Only they are extracted; the others keep their ids and sides, also where a new one has the same name."""
    before = own.rows()
    assert set(before) == {"walk/01", "walk/02", "run/01", "run/02", "03"}
    own.take("walk/03.MP4", "walk/04.mp4")
    done = own.features()
    after = own.rows()
    assert (done.extracted, done.skipped) == (2, 5) and set(after) == {*before, "walk/03", "04"}
    assert {name: after[name]["split"] for name in before} == {name: row["split"] for name, row in before.items()}
    assert own.labels() == {name: ((1,) if "walk" in str(row["file"]) else (0,)) for name, row in after.items()}


def test_add_a_class(own):
    """It comes after the others; what has no room for it, and what no longer fits, is said."""
    own.take("a jump/01.mp4", "a jump/02.mp4")
    done = own.features()
    assert read_classes(own.root / "data" / "labels.csv") == {"run": 0, "walk": 1, "a jump": 2}
    assert own.labels()["a jump/01"] == (2,) and own.labels()["run/01"] == (0,)
    [note] = [note for note in done.notes if "room for 2 classes of 3" in note]
    assert "set MODEL.num_classes there; earlier models do not fit" in note
    assert FeatureFolder(own.root / "data").lacking_room() == (2, 3)


def test_add_clips_of_people_who_are_kept_together(pool, tmp_path):
    """They go where the others of that person are, though ``--group`` is not said again; another one divides anew."""
    own = Own(tmp_path, pool)
    own.take(*(f"{what}/{who}{what[0]}.mp4" for who in ("ann", "ben", "cem") for what in ("walk", "run")))
    own.features(group="^[a-z]{3}")
    before = {name: row["split"] for name, row in own.rows().items()}
    assert set(before.values()) == {"train", "val"}
    own.take("walk/ann2.mp4", "walk/ben2.mp4", "walk/cem2.mp4")
    own.features()
    after = {name: row["split"] for name, row in own.rows().items()}
    assert after == {**before, **{f"{name[:3]}2": side for name, side in before.items()}}
    assert group_in(tmp_path / "data") == "^[a-z]{3}"
    own.features(group=".$")
    sides = {(name[-1], row["split"]) for name, row in own.rows().items()}
    assert len(sides) == len({end for end, _ in sides}) == 3 and group_in(tmp_path / "data") == ".$"


def test_label_anew(own):
    """No clip is read again; the shards have the new label."""
    table = own.root / "labels" / "annotations.csv"
    text = table.read_text("utf-8").replace("walk/01.mp4,,,walk", "walk/01.mp4,,,run")
    (own.root / "table.csv").write_text(text, "utf-8")
    import_labels([own.root / "table.csv"], own.root / "labels")
    done = own.features(import_first=False)
    assert (done.extracted, done.skipped) == (0, 5)
    assert own.labels()["walk/01"] == (0,) and own.rows()["walk/01"]["labels"] == [0]


def test_another_backbone_into_the_same_folder(own):
    before = own.labels(), own.rows()
    with pytest.raises(AlstmError, match=r"it has features by flashdigits and flashdigits; .* or another --out"):
        own.features(audio="logmel")
    assert (own.labels(), own.rows()) == before


def test_another_file_of_the_same_name_size_and_time_is_another_video(pool, tmp_path):
    """As archives unpack them. The same file elsewhere, or a copy of it, is the same one."""
    own = Own(tmp_path, pool)
    own.take("x/walk/01.mp4", "x/walk/02.mp4", "y/walk/01.mp4", "y/walk/02.mp4")
    clips = sorted((tmp_path / "clips").rglob("*.mp4"))
    for path in clips:
        path.write_bytes(path.read_bytes().ljust(5000, b"\0"))
        os.utime(path, (1e9, 1e9))
    (tmp_path / "table.csv").write_text("video,labels\n01.mp4,walk\n02.mp4,walk\n", "utf-8")
    import_labels([tmp_path / "table.csv"], tmp_path / "labels")
    found = [own.features(of, import_first=False).extracted for of in ("clips/x", "clips/y", "clips/y")]
    shutil.copytree(tmp_path / "clips" / "y", tmp_path / "copy")
    found += [own.features("copy", import_first=False).extracted]
    shutil.move(tmp_path / "copy", tmp_path / "moved")
    assert [*found, own.features("moved", import_first=False).extracted] == [2, 2, 0, 0, 0]
