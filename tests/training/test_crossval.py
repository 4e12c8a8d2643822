"""Cross-validation: every video is judged once, by a network that has not seen it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import changed, default_of

from alstm_helpers.commands import training as commands
from alstm_helpers.config import load_config
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.errors import AlstmError, FolderInUse
from alstm_helpers.evaluation import baseline
from alstm_helpers.evaluation.baseline import no_skill_gap
from alstm_helpers.evaluation.calibration import Calibrated, Quality, calibrate
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import claimed, read_sealed
from alstm_helpers.paths import RunFolder
from alstm_helpers.pickles import load_videos, save_videos
from alstm_helpers.tfrecord import Video
from alstm_helpers.training import crossval
from alstm_helpers.training.crossval import CrossValidation, cross_validate, folds_of, related
from alstm_helpers.training.train import TrainOptions, train


@pytest.fixture(autouse=True)
def few_penalties(monkeypatch):
    """The baseline's regressions take most of the time here; how it chooses among all penalties is tested elsewhere."""
    monkeypatch.setattr(baseline, "STRENGTHS", (1e-3, 0.1))


IDS = [f"{name}@{part}".encode() for name in "abcdefg" for part in range(3)]


def videos_of(ids, pictures=None):
    """Return videos of one second; each has pictures of its own unless told otherwise."""
    codes = pictures or range(len(ids))
    frames = [np.full((1, 1024), code, np.uint8) for code in codes]
    return [Video(name, (0,), rgb, np.zeros((1, 128), np.uint8)) for name, rgb in zip(ids, frames, strict=True)]


GROUPS = related(videos_of(IDS))
NO_LABELS = np.zeros((len(IDS), 1), bool)


def test_every_video_is_judged_once_and_its_parts_stay_together():
    folds = folds_of(GROUPS, NO_LABELS, 3, seed=0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(IDS)))
    for judged in folds:
        names = {IDS[index][:1] for index in judged}
        assert all((IDS[index][:1] in names) == (index in judged) for index in range(len(IDS)))


def test_the_folds_depend_on_the_seed_alone():
    same = [folds_of(GROUPS, NO_LABELS, 3, seed=1) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(same[0], folds_of(GROUPS, NO_LABELS, 3, 2), strict=True))


def test_a_seed_may_be_larger_than_scikit_learn_takes():
    large, small = (folds_of(GROUPS, NO_LABELS, 3, seed) for seed in (2**32 + 1, 1))
    assert all(np.array_equal(a, b) for a, b in zip(large, small, strict=True))


@pytest.mark.parametrize("folds", [0, 1, 8])
def test_impossible_numbers_of_folds(folds):
    with pytest.raises(AlstmError, match=r"--folds: 7 independent videos cannot be divided into .; pass 2 to 7"):
        folds_of(GROUPS, NO_LABELS, folds, seed=0)


@pytest.mark.parametrize("count, remedy", [(1, "label clips of more recordings"), (2, "pass 2"), (3, "pass 2 to 3")])
def test_what_to_do_where_there_are_few_groups(count, remedy):
    groups = [b"%d" % (row % count) for row in range(6)]
    with pytest.raises(AlstmError) as refused:
        folds_of(groups, np.zeros((6, 1), bool), 5, seed=0)
    assert refused.value.remedy == remedy


def test_a_fold_without_labels_says_nothing_of_the_mean(tiny_config, tmp_path):
    """Its GAP is 0 whatever the scores are."""
    own = changed(tiny_config, TRAIN__epoch=1)
    videos = [video for path in read_filelist(own.TRAIN.filelist) for video in load_videos(path)][:12]
    shard = tmp_path / "own.pkl"
    save_videos(
        shard, [v._replace(id=b"%d-%d" % (i % 3, i), labels=v.labels if i % 3 else ()) for i, v in enumerate(videos)]
    )
    (tmp_path / "own.list").write_text(f"{shard}\n", encoding="utf-8")
    own = changed(own, TRAIN__filelist=str(tmp_path / "own.list"), VALID__filelist=str(tmp_path / "own.list"))
    lines: list[str] = []
    found = cross_validate(own, tmp_path / "run", CrossValidation(folds=3, group="^[0-9]"), report=lines.append)
    judged = [row["gap"] for row in found["folds"]]
    assert judged.count(0.0) == 1 and found["gap_mean"] == pytest.approx(sum(judged) / 2)
    assert [line.partition(": ")[2] for line in lines if "none" in line] == ["none of its 4 videos has a label"]


def test_a_group_that_finds_nothing():
    with pytest.raises(AlstmError, match=r"video a@0: --group \^x finds nothing in it"):
        related(videos_of(IDS), "^x")


@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_spread_evenly_over_the_folds(seed):
    """Of a class of n videos each fold judges n / 5, rounded up or down; the rarest label of a video counts."""
    labels = np.zeros((57, 4), bool)
    labels[:, 3] = True  # everywhere, so it says nothing
    for index, count in enumerate((30, 20, 7)):
        labels[[0, 30, 50][index] :][:count, index] = True
    for judged in folds_of([b"%d" % row for row in range(57)], labels, 5, seed):
        assert all(abs(labels[judged, index].sum() - count / 5) < 1 for index, count in enumerate((30, 20, 7)))


@pytest.mark.parametrize("count", [2, 5])
def test_few_videos_of_many_classes_can_be_divided(count):
    folds = folds_of([b"%d" % row for row in range(count)], np.eye(count, dtype=bool), count, seed=0)
    assert sorted(map(len, folds)) == [1] * count


def test_the_same_clip_under_two_names_is_in_one_fold():
    """Through several names, and with the groups of an expression."""
    found = related(videos_of([b"a1", b"b1", b"c1", b"c2", b"d1"], [1, 1, 1, 2, 3]), "^.")
    assert len(set(found[:4])) == 1 and found[4] not in found[:4]
    sounds = videos_of([b"a", b"b"], [0, 0])
    other = sounds[1]._replace(audio=sounds[1].audio + 1)
    assert len(set(related([sounds[0], other]))) == 2  # black pictures, but another sound


def test_five_folds_unless_told_otherwise():
    assert CrossValidation().folds == default_of(commands.crossval, "--folds") == 5


def test_cross_validate(tiny_config, tmp_path):
    config = tiny_config.model_copy(deep=True)
    config.TRAIN.epoch = 1
    lines: list[str] = []
    found = cross_validate(config, tmp_path / "折", CrossValidation(folds=3), report=lines.append)
    assert read_sealed(tmp_path / "折" / "crossval.json", "") == found
    assert sum(row["num_videos"] for row in found["folds"]) == found["pooled"]["num_videos"] == 80
    gaps = [row["gap"] for row in found["folds"]]
    assert found["gap_mean"] == pytest.approx(np.mean(gaps)) and found["gap_std"] == pytest.approx(np.std(gaps, ddof=1))
    linear = [row["gap"] for row in found["baseline"]["folds"]]
    assert lines[0].startswith(f"fold 1/3: GAP {gaps[0]:.4f}, linear baseline {linear[0]:.4f} on ")
    assert found["baseline"]["pooled"]["num_videos"] == 80
    low, high = found["difference"]["interval_95"]
    assert found["difference"]["gap"] == pytest.approx(found["pooled"]["gap"] - found["baseline"]["pooled"]["gap"])
    assert low <= found["difference"]["gap"] <= high and low < high
    judged: list[bytes] = []
    for number in (1, 2, 3):
        train, val = ({video.id for video in load_videos(tmp_path / "折" / f"fold{number}" / "pkl" / split / "own.pkl")}
                      for split in ("train", "val"))  # fmt: skip
        assert not train & val and len(train | val) == 80
        judged += val
    assert len(judged) == len(set(judged)) == 80
    assert cross_validate(config, tmp_path / "again", CrossValidation(folds=3)) == found
    for name in ("scores.pkl", "crossval.json", "config.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "折" / name).read_bytes()
    kept = Scored.load(RunFolder(tmp_path / "折").scores)
    assert kept.metrics.result() == found["pooled"] and len(kept.ids) == len(set(kept.groups)) == 80
    assert kept.baseline_metrics and kept.baseline_metrics.result() == found["baseline"]["pooled"]
    assert calibrate(kept) == found["calibration"]
    assert no_skill_gap(kept.labels, kept.top_k) == found["no_skill_gap"] and found["features_sha256"] is None
    assert load_config(RunFolder(tmp_path / "折").config) == config
    assert [list(row) for row in found["folds"]] == [["gap", "hit_at_1", "num_videos"]] * 3


def test_each_training_has_all_its_epochs_and_writes_no_more_than_is_judged(tiny_config, tmp_path, monkeypatch):
    seen = []

    def record(config, save_dir, options):
        seen.append((config.TRAIN.patience, config.TRAIN.num_samples, options))
        return train(config, save_dir, options)

    monkeypatch.setattr(crossval, "train", record)
    own = changed(tiny_config, TRAIN__epoch=1, TRAIN__patience=1, TRAIN__num_samples=7)
    cross_validate(own, tmp_path, CrossValidation(folds=2, seed=3))
    quiet = TrainOptions(log_interval=0, valid_interval=0, seed=3, visualdl=False)
    assert seen == [(None, None, quiet)] * 2 and (own.TRAIN.patience, own.TRAIN.num_samples) == (1, 7)


def test_two_at_once_are_refused_and_what_a_killed_one_left_goes(tiny_config, tmp_path):
    config = changed(tiny_config, TRAIN__epoch=1)
    with claimed(tmp_path), pytest.raises(FolderInUse, match="another run is writing here"):
        cross_validate(config, tmp_path, CrossValidation(folds=2))
    for left in ("fold1/.train.list.x.alstm.tmp", "fold1/pkl/train/.own.pkl.x.alstm.tmp", "fold2/run/.x.alstm.tmp"):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).write_text("half")
    cross_validate(config, tmp_path, CrossValidation(folds=2))
    assert [path for path in tmp_path.rglob(".*")] == []


def test_features_are_made_anew_by_the_videos_that_train(tiny_config, tmp_path):
    seen = []

    def remake(videos, learn):
        seen.append([videos[number].id for number in learn])
        return [video._replace(audio=np.full_like(video.audio, len(seen))) for video in videos]

    cross_validate(changed(tiny_config, TRAIN__epoch=1), tmp_path, CrossValidation(folds=2, remake=remake))
    for number, learnt in enumerate(seen, 1):
        for split in ("train", "val"):
            for video in load_videos(tmp_path / f"fold{number}" / "pkl" / split / "own.pkl"):
                assert (video.id in learnt) == (split == "train") and (video.audio == number).all()


@pytest.mark.parametrize("names, parts", [("abcdefg", {3}), ("abc", {0, 2}), ("ab", {0})])
def test_the_baseline_is_tuned_on_parts_of_the_videos_that_train(tiny_config, tmp_path, monkeypatch, names, parts):
    """On as many as they have recordings, up to three; on none if those of one recording train."""
    ids = [f"{name}@{part}".encode() for name in names for part in range(3)]
    asked = []

    def baseline(inputs, labels, learn, judged, divide):
        asked.append((learn, divide(learn, 3)))
        return np.zeros((len(judged), labels.shape[1]), np.float32)

    monkeypatch.setattr(crossval, "_all_videos", lambda config: videos_of(ids))
    monkeypatch.setattr(crossval, "_judge", lambda config, save_dir, options: np.zeros((1, 20), np.float32))
    monkeypatch.setattr(crossval, "baseline_scores", baseline)
    cross_validate(tiny_config, tmp_path, CrossValidation(folds=2))
    assert {len(divided) for _, divided in asked} == parts
    for learn, divided in asked:
        recordings = [{ids[row][:1] for row in part} for part in divided]
        assert sum(map(len, recordings)) == len(set().union(*recordings))
        assert not divided or sorted(np.concatenate(divided).tolist()) == learn.tolist()


@pytest.mark.parametrize("after, warned", [(0.1, False), (0.2, True), (0.3, True)])
def test_a_calibration_that_brings_scores_no_nearer_to_the_truth_is_said_to_be_one(capsys, after, warned):
    before, quality = (Quality(calibration_error=error, log_loss=1.0) for error in (0.2, after))
    found = Calibrated(slope=1, offset=0, num_videos=8, num_classes=2, before=before, after=quality)
    commands._say_calibration(found, Path("crossval.json"))
    said = capsys.readouterr().out
    assert f"score 0.200, log loss 1.000 → error of the best score {after:.3f}" in said
    assert ("label more videos before you rely on it" in said) == warned
