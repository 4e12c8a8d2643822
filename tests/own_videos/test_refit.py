"""Features as other clips determine them: what is made anew, from what, and what stays as it is."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from onnx import TensorProto

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.feature_folder import RawFolder
from alstm_helpers.own_videos.projection import Projection
from alstm_helpers.own_videos.refit import AS_THEY_ARE, Remaker, remaker
from alstm_helpers.safe_pickle import load_plain

NAMES = ("a", "b", "c", "课")


@pytest.fixture
def backbone(onnx_file, tmp_path_factory):
    """Return the name of a network for pictures, which is never run."""
    return onnx_file(tmp_path_factory.mktemp("net") / "mean.onnx", ["N", 3, 8, 8], (2, 3), dtype=TensorProto.UINT8)


@pytest.fixture
def folder(backbone, tmp_path):
    """Return a folder of four clips of three seconds, each of numbers of its own, as `alstm features` leaves it."""
    raw = RawFolder(tmp_path / "raw")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        raw.save(name, {stream: rng.normal(number, 1, (3, 40)).astype(np.float32) for stream in ("rgb", "audio")})
    extractor = Extractor(backbone, "logmel")
    extractor.fitted(lambda stream: raw.sample(stream, NAMES), len(NAMES)).save(tmp_path)
    return tmp_path


def records(folder):
    extractor, raw = Extractor.load(folder), RawFolder(folder / "raw")
    return [extractor.record(name, (number,), raw.load(name)) for number, name in enumerate(NAMES)]


def test_the_features_are_those_that_the_videos_to_learn_from_determine(folder, backbone):
    """Other clips change nothing: not even numbers a thousand times as large."""
    remake, note = remaker(str(folder / "train.list"))
    assert remake and not note
    made = remake(records(folder), [0, 2])
    raw = RawFolder(folder / "raw")
    fresh = Extractor(backbone, "logmel").fitted(lambda stream: raw.sample(stream, ["a", "c"]), 2)
    for number, (name, video) in enumerate(zip(NAMES, made, strict=True)):
        expected = fresh.record(name, (number,), raw.load(name))
        assert (video.id, video.labels) == (name.encode(), (number,))
        assert np.array_equal(video.rgb, expected.rgb) and np.array_equal(video.audio, expected.audio)
    raw.save("b", {stream: 1000 * values for stream, values in raw.load("b").items()})
    again = remake(records(folder), [0, 2])
    assert np.array_equal(again[0].rgb, made[0].rgb) and not np.array_equal(again[1].rgb, made[1].rgb)
    every = remake(records(folder), range(4))
    assert not np.array_equal(every[0].rgb, again[0].rgb)


def test_each_file_is_read_once(folder, monkeypatch):
    read: Counter[str] = Counter()

    def count(path, remedy):
        read[path.name] += 1
        return load_plain(path, remedy)

    videos = records(folder)
    monkeypatch.setattr("alstm_helpers.own_videos.feature_folder.load_plain", count)
    Remaker(Extractor.load(folder), RawFolder(folder / "raw"))(videos, [0, 1])
    assert sorted(read.values()) == [1, 1, 1, 1]


def test_a_missing_file_is_named(folder):
    videos = records(folder)
    path = RawFolder(folder / "raw").file_of("课")
    path.unlink()
    with pytest.raises(AlstmError, match=f"{path.name}: no such file"):
        Remaker(Extractor.load(folder), RawFolder(folder / "raw"))(videos, [0, 1])


def test_what_stays_as_it_is_and_what_is_said_of_it(folder, tmp_path_factory):
    """Features of others and finished ones without a word; whitened ones and those without raw numbers with a note."""
    lists = str(folder / "train.list")
    assert remaker(str(tmp_path_factory.mktemp("other") / "train.list")) == (None, "")
    kept = Extractor.load(folder)
    (folder / "raw").rename(folder / "gone")
    assert remaker(lists) == (None, f"{AS_THEY_ARE}: {folder / 'raw'} is missing")
    dataclasses.replace(kept, clips=None).save(folder)  # scaled like another folder's
    assert remaker(lists) == (None, "")
    parts = (np.zeros(40, np.float32), np.eye(40, 3, dtype=np.float32), np.ones(3, np.float32))
    dataclasses.replace(kept, projections={"audio": Projection(*parts)}).save(folder)
    assert remaker(lists)[0] is None and "run `alstm features` with --refit" in remaker(lists)[1]
    (folder / "projection.pkl").unlink()
    Extractor("flashdigits", "flashdigits").save(folder)
    assert remaker(lists) == (None, "")
