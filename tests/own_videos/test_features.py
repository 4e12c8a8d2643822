"""Test features of your own videos: a file has the features of the generator, and a broken file stops no other."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import numpy_helper
from onnx.helper import make_node
from support import SHORT

from alstm_helpers.commands import own_videos as commands
from alstm_helpers.config import load_config
from alstm_helpers.data.class_names import read_classes
from alstm_helpers.data.counts import told_counts
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.data.flashdigits import CLASS_NAMES, extract_audio, extract_rgb, render
from alstm_helpers.errors import AlstmError, FolderInUse
from alstm_helpers.own_videos.backbones import picture_backbone
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.feature_folder import RawFolder
from alstm_helpers.own_videos.features import Extraction, FeatureOptions, extract_features
from alstm_helpers.own_videos.flashdigits_clips import Encoding, write_mp4, write_video
from alstm_helpers.own_videos.jobs import VAL_SHARE
from alstm_helpers.own_videos.labels import import_labels
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.onnx_backbones import Backbone
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.presets import IMAGENET, SOUNDS
from alstm_helpers.own_videos.projection import Projection, fit_projection, with_changes
from alstm_helpers.progress import no_progress
from alstm_helpers.safe_pickle import save_plain
from alstm_helpers.tfrecord import dequantize, read_videos

CLIPS = 8  # in the fixture


@pytest.fixture
def own(clips, tmp_path):
    """Return a copy that a test may change."""
    return shutil.copytree(clips, tmp_path / "own 自己")


ANEW = "the features are scaled anew: models that were trained on them no longer fit, train again"


def extract(root, out, *, workers=0, progress=no_progress, **options):
    settings = FeatureOptions(**{"labels": root / "labels", "val_share": 0.4, **options})
    return extract_features([root / "clips"], out, settings, workers=workers, progress=progress)


def records(out):
    return {video.id.decode(): video for split in ("train", "val") for shard in sorted((out / "tf" / split).glob("*"))
            for video in read_videos(shard)}  # fmt: skip


def everything(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_a_file_has_the_features_of_the_generator(clips, tmp_path):
    """Through H.264 and AAC, rgb keeps a correlation of 0.999 and audio one of 0.99."""
    extract(clips, tmp_path / "out")
    found = records(tmp_path / "out")
    assert len(found) == CLIPS
    for index in range(CLIPS):
        clip, video = render(0, "val", SHORT[index]), found[f"c{index}"]
        pairs = ((extract_rgb(clip.frames), video.rgb, 0.999), (extract_audio(clip.sound), video.audio, 0.99))
        for right, features, least in pairs:
            assert features.shape == right.shape
            assert np.corrcoef(features.ravel(), right.ravel())[0, 1] >= least


def test_what_is_written_can_be_trained_on(clips, tmp_path):
    done = extract(clips, tmp_path / "out")
    assert done.summary().startswith(f"extracted {CLIPS} clips, ") and not done.failed and not done.notes
    config = load_config(tmp_path / "out" / "own.yaml")
    classes = (tmp_path / "out" / "labels.csv").read_text("utf-8").splitlines()
    assert config.MODEL.num_classes == len(classes) - 1
    assert config.INFER.class_names == str(tmp_path / "out" / "labels.csv")
    names = [line.split(",")[1] for line in classes[1:]]
    sides = {}
    for split, path in (("train", config.TRAIN.filelist), ("val", config.VALID.filelist)):
        for shard in read_filelist(path):
            for video in read_videos(shard):
                sides[video.id.decode()] = split
                clip = render(0, "val", SHORT[int(video.id[1:])])
                assert {names[label] for label in video.labels} == {CLASS_NAMES[event.label] for event in clip.events}
    assert len(sides) == CLIPS and set(sides.values()) == {"train", "val"}
    assert done.splits == {side: list(sides.values()).count(side) for side in ("train", "val")}


def test_a_rerun_does_nothing_and_a_new_clip_only_itself(own, tmp_path):
    extract(own, tmp_path / "out")
    before = everything(tmp_path / "out")
    for half_written in ("tf/.train.shards.jsonl.x.alstm.tmp", "tf/train/.train0000.tfrecord.x.alstm.tmp"):
        (tmp_path / "out" / half_written).touch()  # as a kill would leave it
    again = extract(own, tmp_path / "out")
    assert (again.extracted, again.skipped) == (0, CLIPS)
    assert everything(tmp_path / "out") == before
    write_mp4(own / "clips" / "new.mp4", render(0, "val", 50))
    with (own / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("new.mp4,see 1\n")
    import_labels([own / "labels.csv"], own / "labels")
    third = extract(own, tmp_path / "out")
    assert (third.extracted, third.skipped) == (1, CLIPS)
    assert len(records(tmp_path / "out")) == CLIPS + 1


def test_a_fresh_folder_gives_the_same_bytes(clips, tmp_path):
    extract(clips, tmp_path / "one")
    extract(clips, tmp_path / "two", workers=2)
    one, two = everything(tmp_path / "one"), everything(tmp_path / "two")
    lists = {path for path in one if path.suffix == ".list"}  # they hold the name of the folder
    assert set(one) == set(two) and [path for path in set(one) - lists if one[path] != two[path]] == []


def test_numbers_that_rotted_are_made_again(own, tmp_path):
    extract(own, tmp_path / "out")
    before = everything(tmp_path / "out")
    path = min((tmp_path / "out" / "raw").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    again = extract(own, tmp_path / "out")
    assert again.extracted == 1 and not again.failed and everything(tmp_path / "out") == before


def test_a_clip_that_changed_is_read_again(own, tmp_path):
    extract(own, tmp_path / "out")
    write_mp4(own / "clips" / "c0.mp4", render(0, "val", 60))
    assert extract(own, tmp_path / "out").extracted == 1
    assert records(tmp_path / "out")["c0"].num_frames == len(render(0, "val", 60).frames)


def test_new_labels_need_no_new_extraction(own, tmp_path):
    extract(own, tmp_path / "out")
    text = (own / "labels.csv").read_text("utf-8").replace("c0.mp4,", "c0.mp4,cat;")
    (own / "labels.csv").write_text(text, encoding="utf-8")
    shutil.rmtree(own / "labels")
    import_labels([own / "labels.csv"], own / "labels")
    assert extract(own, tmp_path / "out").extracted == 0
    names = [line.split(",")[1] for line in (tmp_path / "out" / "labels.csv").read_text("utf-8").splitlines()[1:]]
    assert "cat" in {names[label] for label in records(tmp_path / "out")["c0"].labels}
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert names.index("cat") in next(row["labels"] for row in rows if row["video"] == "c0")


def test_broken_clips_are_named_and_the_others_are_extracted(own, tmp_path):
    rows = (own / "labels.csv").read_text("utf-8")
    for index in range(3):
        (own / "clips" / f"bad{index}.mp4").write_bytes(b"x" * 100 * index)
        rows += f"bad{index}.mp4,see 1\n"
    (own / "labels.csv").write_text(rows + "absent.mp4,see 1\n", encoding="utf-8")
    (own / "clips" / "unlabelled.mp4").write_bytes(b"")
    import_labels([own / "labels.csv"], own / "labels")
    done = extract(own, tmp_path / "out", workers=2)
    assert [error.where.rpartition("/")[2] for error in done.failed] == ["bad0.mp4", "bad1.mp4", "bad2.mp4"]
    assert done.extracted == CLIPS and len(records(tmp_path / "out")) == CLIPS
    assert done.notes == ["labelled, but not among the videos: 1, such as absent.mp4",
                          "not labelled, left out: 1, such as unlabelled"]  # fmt: skip


def test_parts_of_a_video_are_records_on_one_side(own, tmp_path):
    rows = "video,start,end,label\n" + "".join(
        f"c{index}.mp4,{start},{start + 5},{name}\n"
        for index in range(CLIPS)
        for start, name in ((0, "see 1"), (6, "hear 2"), (6, "see 3"))
    )
    (own / "labels.csv").write_text(rows, encoding="utf-8")
    shutil.rmtree(own / "labels")
    import_labels([own / "labels.csv"], own / "labels")
    done = extract(own, tmp_path / "out")
    found = records(tmp_path / "out")
    assert len(found) == 2 * CLIPS and all(video.num_frames == 5 for video in found.values())
    whole = render(0, "val", SHORT[0])
    part = found["c0@6-11"]
    assert np.corrcoef(part.rgb.ravel(), extract_rgb(whole.frames[6:11]).ravel())[0, 1] > 0.999
    assert len(part.labels) == 2
    sides: dict[str, set[str]] = {}
    for line in (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        sides.setdefault(row["file"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values()) and done.splits.total() == 2 * CLIPS


def test_silence_and_short_clips(own, tmp_path):
    write_video(own / "clips" / "mute.mp4", np.full((4, 128, 128, 3), 90, np.uint8), None)
    with (own / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("mute.mp4,\n")
    import_labels([own / "labels.csv"], own / "labels")
    done = extract(own, tmp_path / "out")
    assert done.notes == ["mute: no sound: silence takes its place"]
    video = records(tmp_path / "out")["mute"]
    assert video.num_frames == 4 and video.labels == ()
    for grey in (10, 20, 30):
        write_video(own / "clips" / f"mute{grey}.mp4", np.full((4, 128, 128, 3), grey, np.uint8), None)
    notes = extract_features([own / "clips"], tmp_path / "bare", FeatureOptions(backbone="flashdigits")).notes
    assert notes == ["no sound: silence takes its place: 4, such as mute"]  # not a line for each


def test_two_videos_with_the_same_name(own, tmp_path):
    shutil.copy(own / "clips" / "c0.mp4", own / "clips" / "c0.mkv")
    with pytest.raises(AlstmError, match=r"c0\.mp4: .*c0\.mkv has the same name; give each video"):
        extract(own, tmp_path / "out")


def test_one_side_empty(own, tmp_path):
    (tmp_path / "l.csv").write_text("video,labels\nc0.mp4,cat\n", encoding="utf-8")
    import_labels([tmp_path / "l.csv"], tmp_path / "labels")
    with pytest.raises(AlstmError, match=r"no clip of 1 would go to val; label more videos"):
        extract(own, tmp_path / "out", labels=tmp_path / "labels")
    assert not (tmp_path / "out" / "tf").exists()


@pytest.mark.parametrize("share, counts", [(0.0001, {"train": 7, "val": 1}), (0.9999, {"train": 1, "val": 7})])
def test_an_extreme_share_leaves_a_clip_on_each_side(clips, tmp_path, share, counts):
    assert extract(clips, tmp_path / "out", val_share=share).splits == counts


def test_another_backbone_needs_another_folder(clips, tmp_path):
    extract(clips, tmp_path / "out")
    with pytest.raises(AlstmError, match="it has features by flashdigits and flashdigits; pass the same --backbone"):
        extract(clips, tmp_path / "out", audio="logmel")


def test_labels_of_other_videos(clips, tmp_path):
    (tmp_path / "l.csv").write_text("video,labels\nelse.mp4,cat\n", encoding="utf-8")
    import_labels([tmp_path / "l.csv"], tmp_path / "labels")
    with pytest.raises(AlstmError, match="none of the labelled videos was found; name the folder with the videos"):
        extract_features([clips / "clips"], tmp_path / "out", FeatureOptions(labels=tmp_path / "labels"))
    assert not (tmp_path / "out").exists()


def test_a_fifth_is_for_validation_unless_told_otherwise():
    assert FeatureOptions().val_share is None
    [option] = [option for option in commands.features.params if option.name == "val_share"]
    assert VAL_SHARE == 0.2 and "[default: 0.2; " in (option.help or "")


def test_a_configuration_to_begin_with(clips, tmp_path):
    extract(clips, tmp_path / "out")
    config = load_config(tmp_path / "out" / "own.yaml")
    assert (config.MODEL.dataset, config.MODEL.drop_rate) == ("own videos", 0.5)
    found = config.TRAIN
    assert (found.weight_decay, found.warmup_iters, found.schedule) == (0.0008, 10, "cosine")
    assert (found.epoch, found.patience, found.learning_rate) == (30, 8, 0.001)
    assert (config.MODEL.embedding_size, config.MODEL.lstm_size, config.MODEL.fc_sizes) == (512, 128, (256, 128))
    assert config.MODEL.pooling == "attention+deviation"


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_deviation_over_time_is_pooled_where_most_clips_have_more_than_a_second(clips, tmp_path, seconds):
    """In one second nothing changes; one longer clip makes no difference."""
    rows = (clips / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    parts = [row.replace(",", f",0,{seconds},", 1) for row in rows[1:]]
    whole = rows[0].replace(",", f",0,{3 - seconds},", 1)
    (tmp_path / "l.csv").write_text("\n".join(["video,start,end,labels", whole, *parts]), encoding="utf-8")
    import_labels([tmp_path / "l.csv"], tmp_path / "labels")
    extract(clips, tmp_path / "out", labels=tmp_path / "labels")
    pooling = load_config(tmp_path / "out" / "own.yaml").MODEL.pooling
    assert pooling == ("attention" if seconds == 1 else "attention+deviation")


def test_a_new_class_that_the_users_configuration_has_no_room_for_is_noted(own, tmp_path):
    extract(own, tmp_path / "out")
    room = load_config(tmp_path / "out" / "own.yaml").MODEL.num_classes
    with (own / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("c0.mp4,new\n")
    import_labels([own / "labels.csv"], own / "labels")
    [note] = [note for note in extract(own, tmp_path / "out").notes if "room" in note]
    path = tmp_path / "out" / "own.yaml"
    said = f"{path} has room for {room} classes of {room + 1}: set MODEL.num_classes there; earlier models do not fit: "
    assert note == f"{said}train anew, or with --pretrain and TRAIN.keep_classes={room}"
    path.write_text("MODEL: [", encoding="utf-8")
    assert not [note for note in extract(own, tmp_path / "out").notes if "room" in note]


def test_class_numbers_stay_those_that_a_model_was_trained_with(own, tmp_path):
    """Otherwise it would call a clip by another class's name; also if the labels were imported into a fresh folder."""
    extract(own, tmp_path / "out")
    before = read_classes(tmp_path / "out" / "labels.csv")
    gone = next(iter(before))
    text = (own / "labels.csv").read_text("utf-8").replace("c0.mp4,", "c0.mp4,a first one;").replace(gone, "renamed")
    (own / "labels.csv").write_text(text, encoding="utf-8")
    import_labels([own / "labels.csv"], tmp_path / "fresh")
    assert next(iter(read_classes(tmp_path / "fresh" / "labels.csv"))) == "a first one"
    done = extract(own, tmp_path / "out", labels=tmp_path / "fresh")
    after = read_classes(tmp_path / "out" / "labels.csv")
    assert after == before | {"a first one": len(before), "renamed": len(before) + 1}
    assert after["a first one"] in records(tmp_path / "out")["c0"].labels
    assert not done.classes[gone].total() and done.classes["renamed"].total()


def test_class_numbers_that_cannot_be_read_are_not_given_anew(own, tmp_path):
    """Excel, for one, saves labels.csv with other ends of lines."""
    extract(own, tmp_path / "out")
    path = tmp_path / "out" / "labels.csv"
    changed = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(changed)
    before = everything(tmp_path / "out")
    with pytest.raises(AlstmError, match=r"labels\.csv: it is not as it was written, .*; put it back as it was"):
        extract(own, tmp_path / "out")
    assert everything(tmp_path / "out") == before


def test_classes_that_another_run_numbers_meanwhile_keep_their_numbers(own, tmp_path, monkeypatch):
    """It ends while this one waits for the folder."""
    identified, found = Extractor.identified, []

    def slow(self):
        with pytest.raises(FolderInUse):
            extract(own, tmp_path / "out")
        found.append(self)
        return identified(self)

    monkeypatch.setattr(Extractor, "identified", slow)
    extract(own, tmp_path / "out")
    assert len(found) == 1


def test_labelled_features_stay_when_labels_are_forgotten(own, tmp_path):
    extract(own, tmp_path / "out")
    before = everything(tmp_path / "out")
    with pytest.raises(AlstmError, match=r"out: it has features of labelled clips; pass their --labels again, or "):
        extract(own, tmp_path / "out", labels=None)
    assert everything(tmp_path / "out") == before


def test_nothing_is_kept_of_a_clip_that_is_gone(own, tmp_path):
    extract(own, tmp_path / "out")
    (own / "clips" / "c0.mp4").unlink()
    said = "of an earlier run, and left out now: 1, such as c0; name the files of all clips each time"
    assert said in extract(own, tmp_path / "out").notes and said not in extract(own, tmp_path / "out").notes
    assert len(list((tmp_path / "out" / "raw").glob("*.pkl"))) == len(records(tmp_path / "out")) == CLIPS - 1


def test_many_clips_are_several_shards(clips, tmp_path, monkeypatch):
    """None of an earlier run is left."""
    out = tmp_path / "out"
    monkeypatch.setattr("alstm_helpers.own_videos.feature_folder.CLIPS_PER_SHARD", 3)
    extract(clips, out, labels=None)
    shards = sorted((out / "tf" / "infer").iterdir())
    assert [path.name for path in shards] == [f"infer{number:04d}.tfrecord" for number in range(3)]
    assert [len(list(read_videos(path))) for path in shards] == [3, 3, 2]
    assert [told.videos for told in told_counts(shards).values()] == [3, 3, 2]
    monkeypatch.setattr("alstm_helpers.own_videos.feature_folder.CLIPS_PER_SHARD", 8)
    extract(clips, out, labels=None)
    assert sorted((out / "tf" / "infer").iterdir()) == read_filelist(out / "infer.list") == shards[:1]
    assert [told.videos for told in told_counts(shards[:1]).values()] == [8]


def test_own_settings_are_not_overwritten(clips, tmp_path):
    extract(clips, tmp_path / "out")
    (tmp_path / "out" / "own.yaml").write_text("MODEL: {num_classes: 7}\n", encoding="utf-8")
    extract(clips, tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out" / "own.yaml").read_text("utf-8")) == {"MODEL": {"num_classes": 7}}


# --- the projection -----------------------------------------------------------------------------------------------


def test_a_projection_of_the_same_size_only_centres_and_scales():
    raw = np.random.default_rng(0).normal([3, -5], [10, 0.1], (500, 2)).astype(np.float32)
    projection = fit_projection(raw, 2)
    assert projection.matrix is None
    values = dequantize(projection(raw, 2))
    assert values.mean(0) == pytest.approx(0, abs=0.02) and values.std(0) == pytest.approx(0.5, abs=0.01)


def test_of_more_numbers_those_that_vary_most_are_taken():
    raw = np.random.default_rng(0).normal(7, [1, 5, 0.5, 3], (500, 4)).astype(np.float32)
    projection = fit_projection(raw, 2)
    projection.check(2)
    assert projection.chosen is not None and projection.chosen.tolist() == [1, 3]
    values = dequantize(projection(raw, 2))
    right = (raw - raw.mean(0)) / raw.std(0) / 2
    assert np.abs(values - np.clip(right[:, [1, 3]], -1.99, 2)).max() < 0.01


def test_how_much_a_second_differs_from_the_one_before():
    raw = np.array([[1, 5], [4, 5], [2, 0]], np.float32)
    assert with_changes(raw).tolist() == [[1, 5, 3, 0], [4, 5, 3, 0], [2, 0, 2, 5]]
    assert with_changes(raw[:1]).tolist() == [[1, 5, 0, 0]] and with_changes(raw[:0]).shape == (0, 4)


@pytest.mark.parametrize("size, dim, kept", [(6, 4, 3), (3, 4, 3), (2, 8, 2), (20, 8, 6)])
def test_a_quarter_of_the_features_of_pictures_are_changes(size, dim, kept):
    """Or more, where the numbers themselves leave room; a second has the same features at fitting and afterwards."""
    clip = np.random.default_rng(0).normal(size=(300, size)).astype(np.float32) * np.arange(
        1, size + 1, dtype=np.float32
    )
    projection = fit_projection(with_changes(clip), dim, changes=True)
    projection.check(dim)
    assert projection.size == size
    chosen = np.arange(2 * size) if projection.chosen is None else projection.chosen
    assert (chosen < size).sum() == kept and len(chosen) == min(dim, 2 * size)
    assert set(chosen[:kept]) == set(range(size - kept, size))  # those that vary most
    numbers = with_changes(clip)[:, chosen]
    right = (numbers - numbers.mean(0)) / numbers.std(0) / 2
    assert np.abs(dequantize(projection(clip, dim))[:, : len(chosen)] - np.clip(right, -1.99, 2)).max() < 0.01


def test_an_earlier_versions_projection_whitens_as_it_did():
    """As scikit-learn's PCA does; the standard deviation is 0.5."""
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    raw = (rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    pca = PCA(4, whiten=True).fit(raw)
    arrays = (pca.mean_, pca.components_.T, np.sqrt(pca.explained_variance_))
    projection = Projection(*(array.astype(np.float32) for array in arrays))
    projection.check(4)
    right = np.clip(pca.transform(raw) / 2, -1.99, 2)
    assert np.abs(dequantize(projection(raw, 4)) - right).max() < 0.01


def test_the_signal_of_few_clips_stays():
    """A linear classifier does as well with the bytes as with the numbers; with whitening it is far from that."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    rng = np.random.default_rng(0)
    spectrum, labels = np.arange(1, 301) ** -0.5, np.arange(150) % 2  # a long tail, as networks' numbers have
    video = rng.normal(size=(150, 300)) * spectrum
    video[:, :10] += (2 * labels[:, None] - 1) * spectrum[:10] / 2
    seconds = video[:, None] + rng.normal(size=(150, 2, 300)) * spectrum / 2
    raw = (seconds.reshape(-1, 300) @ np.linalg.qr(rng.normal(size=(300, 300)))[0].T).astype(np.float32)

    def accuracy(values):
        means = values.reshape(150, 2, -1).mean(1)
        return max(cross_val_score(LogisticRegression(C=c, max_iter=2000), means, labels, cv=5).mean()
                   for c in (0.001, 0.01, 0.1, 1))  # fmt: skip

    standardised = accuracy((raw - raw.mean(0)) / raw.std(0))
    assert standardised > 0.85 and accuracy(dequantize(fit_projection(raw, 300)(raw, 300))) > standardised - 0.03


@pytest.mark.parametrize("count, size", [(5, 8), (300, 6), (1, 6)])
def test_too_little_for_the_size_is_filled_with_zeros(count, size):
    raw = np.random.default_rng(0).normal(size=(count, size)).astype(np.float32)
    projection = fit_projection(raw, 10)
    projection.check(10)
    values = dequantize(projection(raw, 10))
    assert values.shape == (count, 10) and np.isfinite(values).all()
    assert np.abs(values[:, size:]).max() < 0.01  # a zero is half a level off
    if count == 1:  # there is nothing to scale by
        assert np.abs(dequantize(projection(raw + 0.1, 10))[:, :size]).max() < 0.06


def test_numbers_that_hardly_vary_are_not_blown_up():
    """Standardised, they would be noise as loud as everything else."""
    raw = np.random.default_rng(0).normal(0, [10, 1e-3], (500, 2)).astype(np.float32)
    projection = fit_projection(raw, 2)
    assert projection.scale.min() / projection.scale.max() == pytest.approx(0.01)
    deviation = dequantize(projection(raw, 2)).std(0)
    assert deviation[0] == pytest.approx(0.5, abs=0.01) and deviation[1] < 0.02


def test_a_constant_number_does_no_harm():
    raw = np.ones((50, 3), np.float32)
    assert fit_projection(raw, 3).scale.tolist() == [1, 1, 1]
    assert np.abs(dequantize(fit_projection(raw, 3)(raw, 3))).max() < 0.01
    raw[:, 1] = np.linspace(-1, 1, 50)
    assert np.isfinite(dequantize(fit_projection(raw, 3)(raw * 1000, 3))).all()


def test_an_extractor_is_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    mean, matrix, scale = (rng.normal(size=shape).astype(np.float32) for shape in ((7,), (7, 5), (5,)))
    extractor = Extractor("flashdigits", "logmel", {"audio": Projection(mean, matrix, scale)})
    extractor.save(tmp_path)
    found = Extractor.load(tmp_path)
    assert (found.backbone, found.audio, list(found.projections)) == ("flashdigits", "logmel", ["audio"])
    read = found.projections["audio"]
    assert repr(read) == repr(Projection(mean, matrix, scale)) and (read.chosen, read.changes) == (None, False)
    projection = fit_projection(rng.normal(size=(20, 7)).astype(np.float32), 5)
    Extractor("flashdigits", "logmel", {"audio": projection}, clips=4).save(tmp_path)
    found = Extractor.load(tmp_path)
    assert found.clips == 4
    assert repr(found.projections["audio"]) == repr(projection)
    assert found.unfitted == []


ABOUT = {"backbone": "flashdigits", "audio": "logmel", "fitted_on": "train"}


@pytest.mark.parametrize(
    "spoil, said",
    [
        (b"{", "not readable"),
        (b"[]", "not readable"),
        (b"\xff\xfe", "not readable"),
        (b"[" * 100_000, "not readable"),
        ({"backbone": "flashdigits"}, "not readable"),
        ({**ABOUT, "sha256": 3}, "not readable"),
        ({**ABOUT, "audio": "logmal"}, "it names a backbone for audio that is unknown, 'logmal'"),
        ({**ABOUT, "backbone": "logmel"}, "it names a backbone for rgb that is unknown, 'logmel'"),
        ({**ABOUT, "backbone": ["flashdigits"]}, "it names a backbone for rgb that is unknown"),
        ({**ABOUT, "audio": None}, "it names a backbone for audio that is unknown, None"),
        ({**ABOUT, "clips": "many"}, "clips is 'many', not a number"),
        ({**ABOUT, "fitted_on": 1}, "fitted_on is 1, neither train nor infer"),
    ],
)
def test_a_damaged_description_is_one_sentence(tmp_path, spoil, said):
    (tmp_path / "features.json").write_bytes(spoil if isinstance(spoil, bytes) else json.dumps(spoil).encode())
    with pytest.raises(AlstmError, match=rf"features\.json: {re.escape(said)}.*; make the features again"):
        Extractor.load(tmp_path)


MEAN, MATRIX, SCALE = np.zeros(3, np.float32), np.ones((3, 2), np.float32), np.ones(2, np.float32)


@pytest.mark.parametrize(
    "projections",
    [
        [],
        {"smell": (MEAN, MATRIX, SCALE)},
        {"rgb": (MEAN, MATRIX)},
        {"rgb": (None, None, None)},
        {"rgb": (MEAN, MATRIX, np.ones(3, np.float32))},
        {"rgb": (MEAN[:2], MATRIX, SCALE)},
        {"rgb": (MEAN, MATRIX * np.nan, SCALE)},
        {"rgb": (MEAN.astype(int), MATRIX, SCALE)},
        {"audio": (np.zeros(200, np.float32), None, np.ones(200, np.float32))},
        {"rgb": (MEAN, None, SCALE)},
        {"rgb": (MEAN, None, SCALE, np.array([0, 3]))},
        {"rgb": (MEAN, None, SCALE, np.array([0, -1]))},
        {"rgb": (MEAN, None, SCALE, np.array([0, 1, 2]))},
        {"rgb": (MEAN, None, SCALE, np.array([0.0, 1.0]))},
        {"rgb": (MEAN, MATRIX, SCALE, np.array([0, 1]))},
        {"rgb": (MEAN, None, SCALE, np.array([0, 1]), True)},
    ],
)
def test_a_file_without_projections(tmp_path, projections):
    Extractor("flashdigits", "logmel", {"rgb": Projection(MEAN, MATRIX, SCALE)}).save(tmp_path)
    assert Extractor.load(tmp_path).projections["rgb"].scale.shape == (2,)
    save_plain(tmp_path / "projection.pkl", projections)
    with pytest.raises(AlstmError, match=r"projection\.pkl: it holds no projections; make the features again"):
        Extractor.load(tmp_path)


def test_a_projection_that_is_missing(own, tmp_path):
    """Without it, a model's clips would have other features, and nobody would know."""
    extract(own, tmp_path / "out", audio="logmel")
    (tmp_path / "out" / "projection.pkl").unlink()
    said = "logmel: the projection of its numbers is missing; put projection.pkl back beside features.json, or make"
    with pytest.raises(AlstmError, match=said):
        extract(own, tmp_path / "out", audio="logmel")
    with pytest.raises(AlstmError, match=said):
        extract_features([own / "clips"], tmp_path / "more", FeatureOptions(like=tmp_path / "out"), workers=0)


def test_a_projection_for_other_numbers(tmp_path):
    extractor = Extractor("flashdigits", "logmel", {"audio": Projection(MEAN, MATRIX, SCALE)})
    with pytest.raises(AlstmError, match="logmel: it gives 128 numbers, its projection takes 3; make the features"):
        extractor.finish({"rgb": np.zeros((2, 1024)), "audio": np.zeros((2, 128))})


def test_a_projection_file_cannot_run_code(tmp_path):
    Extractor("flashdigits", "flashdigits").save(tmp_path)

    class Attack:
        def __reduce__(self):
            return (print, ("code ran",))

    (tmp_path / "projection.pkl").write_bytes(pickle.dumps({"rgb": (Attack(), None, None)}))
    with pytest.raises(AlstmError, match=r"projection\.pkl"):
        Extractor.load(tmp_path)


def test_logmel_is_fitted_on_the_training_clips_alone(clips, tmp_path):
    """Centre and scale come from the training seconds; a fit on all seconds would leak validation."""
    extract(clips, tmp_path / "out", audio="logmel")
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]
    raw = {row["video"]: RawFolder(tmp_path / "out" / "raw").load(row["video"])["audio"] for row in rows}
    train = np.concatenate([raw[row["video"]] for row in rows if row["split"] == "train"])
    every = np.concatenate(list(raw.values()))
    mean = Extractor.load(tmp_path / "out").projections["audio"].mean
    assert np.abs(mean - train.mean(0)).max() < 1e-3 < np.abs(mean - every.mean(0)).max()
    values = dequantize(np.concatenate([v.audio for v in records(tmp_path / "out").values()]))
    assert values.std() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("at_most, seconds", [(1, [0]), (5, [0, 4]), (8, [0, 1, 2, 4]), (99, [0, 1, 2, 3, 4])])
def test_a_sample_is_spread_over_each_clip(tmp_path, monkeypatch, at_most, seconds):
    monkeypatch.setattr("alstm_helpers.own_videos.feature_folder.SAMPLE_SECONDS", at_most)
    raw = RawFolder(tmp_path)
    for number in range(3):
        numbers = np.arange(5, dtype=np.float32)[:, None] + 10 * number
        raw.save(f"v{number}", {"rgb": numbers, "audio": -numbers})
    found = raw.sample("audio", ["v0", "v2"])
    assert found.ravel().tolist() == [-second for second in [*seconds, *(20 + second for second in seconds)]]
    assert raw.sample("rgb", ["v0", "v2"]).T.tolist() == [[-number for number in found.ravel()], [1.0] * len(found)]


def test_the_projection_stays_when_clips_are_added(own, tmp_path):
    """A model may have been trained on it."""
    extract(own, tmp_path / "out", audio="logmel")
    before = (tmp_path / "out" / "projection.pkl").read_bytes()
    for index in range(3):
        write_mp4(own / "clips" / f"new{index}.mp4", render(1, "val", index))
        with (own / "labels.csv").open("a", encoding="utf-8") as file:
            file.write(f"new{index}.mp4,see 1\n")
    import_labels([own / "labels.csv"], own / "labels")
    assert extract(own, tmp_path / "out", audio="logmel").extracted == 3
    assert (tmp_path / "out" / "projection.pkl").read_bytes() == before


def test_a_trial_with_few_clips_does_not_scale_for_ever(own, tmp_path):
    """A note says that many more are there now. Scaled anew, it is as if all had been there at once."""
    few = [line for line in (own / "labels.csv").read_text("utf-8").splitlines(keepends=True)][:6]
    (tmp_path / "few.csv").write_text("".join(few), encoding="utf-8")
    import_labels([tmp_path / "few.csv"], tmp_path / "few")
    assert not extract(own, tmp_path / "out", labels=tmp_path / "few", audio="logmel", val_share=None).failed
    before = (tmp_path / "out" / "projection.pkl").read_bytes()
    done = extract(own, tmp_path / "out", audio="logmel")
    said = "the features are scaled by 4 clips, and there are 5 now; --refit scales them anew"
    assert not [note for note in done.notes if note.startswith(said)]  # hardly more
    assert (tmp_path / "out" / "projection.pkl").read_bytes() == before
    done = extract(own, tmp_path / "out", audio="logmel", val_share=0.2)
    [note] = [note for note in done.notes if "scaled by" in note]
    assert note == f"{said.replace('5', '6')}; models that were trained on them then no longer fit"
    done = extract(own, tmp_path / "out", audio="logmel", val_share=0.2, refit=True)
    assert [note for note in done.notes if "scaled" in note] == [ANEW]
    extract(own, tmp_path / "fresh", audio="logmel", val_share=0.2)
    assert (tmp_path / "out" / "projection.pkl").read_bytes() == (tmp_path / "fresh" / "projection.pkl").read_bytes()


def test_features_that_an_earlier_version_whitened_stay_and_are_noted(clips, tmp_path):
    extract(clips, tmp_path / "out", audio="logmel")
    about = json.loads((tmp_path / "out" / "features.json").read_text("utf-8"))
    about.pop("clips"), about.pop("digest", None)
    (tmp_path / "out" / "features.json").write_text(json.dumps(about), encoding="utf-8")
    arrays = (np.zeros(128, np.float32), np.eye(128, 3, dtype=np.float32), np.ones(3, np.float32))
    save_plain(tmp_path / "out" / "projection.pkl", {"audio": arrays})
    done = extract(clips, tmp_path / "out", audio="logmel")
    assert done.notes[0].startswith("the features are whitened, as earlier versions did")
    assert np.abs(dequantize(records(tmp_path / "out")["c0"].audio)[:, 3:]).max() < 0.01
    assert extract(clips, tmp_path / "out", audio="logmel", refit=True).notes == [ANEW]
    assert not extract(clips, tmp_path / "out", audio="logmel", refit=True).notes  # nothing has changed
    assert not Extractor.load(tmp_path / "out").is_whitened


def test_clips_keep_their_side_when_others_are_added(own, tmp_path):
    """Unless a share is given: a model that was trained before has seen the training clips."""
    extract(own, tmp_path / "out", val_share=0.4)
    before = {name: video for name, video in _sides(tmp_path / "out").items()}
    for index in range(4):
        write_mp4(own / "clips" / f"new{index}.mp4", render(1, "val", index))
        with (own / "labels.csv").open("a", encoding="utf-8") as file:
            file.write(f"new{index}.mp4,see 1\n")
    import_labels([own / "labels.csv"], own / "labels")
    done = extract(own, tmp_path / "out", val_share=None)
    after = _sides(tmp_path / "out")
    assert len(after) == 12 and {name: after[name] for name in before} == before
    assert "see 1 5 + 2" in done.class_counts()
    extract(own, tmp_path / "out", val_share=0.2)
    extract(own, tmp_path / "fresh", val_share=0.2)
    assert _sides(tmp_path / "out") == _sides(tmp_path / "fresh")


def test_nothing_is_said_of_a_sound_that_nobody_asked_for(tmp_path):
    write_video(tmp_path / "silent.mp4", np.zeros((3, 64, 64, 3), np.uint8), None)
    notes = {
        audio: Extractor("flashdigits", audio).video(Clip(tmp_path / "silent.mp4"))[1]
        for audio in ("none", "flashdigits")
    }
    assert notes == {"none": [], "flashdigits": ["no sound: silence takes its place"]}


def test_classes_without_a_training_clip_are_named():
    counts = {"a": Counter(train=0, val=3), "b": Counter(train=2, val=0)}
    said = Extraction(classes=counts).class_counts()
    assert said == "clips for training + validation: b 2 + 0, a 0 + 3; no clip to learn a from"
    assert Extraction(classes={"b": counts["b"]}).class_counts().endswith(": b 2 + 0")


def test_a_group_that_is_not_taken_over_is_said(own, tmp_path):
    """The names of other clips need not have it."""
    extract(own, tmp_path / "out", group="^c[0-3]|^c")
    alike = {"backbone": None, "audio": None, "like": tmp_path / "out"}
    note = f"--group ^c[0-3]|^c of {tmp_path / 'out'} does not hold here; pass it to keep related clips together"
    assert note in extract(own, tmp_path / "new", **alike).notes
    assert note not in extract(own, tmp_path / "old", group="^c[0-9]", **alike).notes


def _sides(out):
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]
    return {row["video"]: row["split"] for row in rows}


def test_any_network_as_onnx_is_scaled(clips, onnx_file, tmp_path):
    """Three numbers per picture, and their changes, become six of standard deviation 0.5, and 1018 zeros."""
    network = onnx_file(tmp_path / "mean.onnx", ["N", 3, 32, 32], [2, 3])
    done = extract(clips, tmp_path / "out", backbone=network, pictures=IMAGENET, workers=2)
    assert (
        done.extracted == CLIPS
        and json.loads((tmp_path / "out" / "features.json").read_text("utf-8"))["audio"] == "logmel"
    )
    train = [video for shard in (tmp_path / "out" / "tf" / "train").iterdir() for video in read_videos(shard)]
    values = dequantize(np.concatenate([video.rgb for video in train]))
    assert np.abs(values[:, 6:]).max() < 0.01 and values[:, 0].std() == pytest.approx(0.5, abs=0.02)
    extractor = Extractor.load(tmp_path / "out")
    again, _ = extractor.video(Clip(clips / "clips" / f"{train[0].id.decode()}.mp4"))
    assert np.array_equal(again.rgb, train[0].rgb) and np.array_equal(again.audio, train[0].audio)


@pytest.fixture
def three(tmp_path):
    """Return a folder of three videos, each of one colour; the second is black."""
    (tmp_path / "three").mkdir()
    for number, level in enumerate((200, 0, 160)):
        frames = np.full((3, 64, 64, 3), level, np.uint8)
        write_video(tmp_path / "three" / f"v{number}.mp4", frames, None)
    return tmp_path / "three"


def infer(videos, out, **options):
    return extract_features([videos], out, FeatureOptions(**options), workers=0)


def test_numbers_that_are_none_are_the_error_of_their_clip(three, onnx_file, tmp_path):
    """Such as the logarithm of a negative number, or a division by the norm of nothing."""
    nodes = [make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0), make_node("Log", ["m"], ["y"])]
    network = onnx_file(tmp_path / "n.onnx", ["N", 3, 32, 32], nodes=nodes)
    done = infer(three, tmp_path / "out", backbone=network, pictures=IMAGENET)
    assert done.extracted == 2
    [error] = done.failed
    assert re.search(r"v1\.mp4: for second 0 onnx:.* gives NaN, infinity or .*; leave the clip out", str(error))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e15])
def test_one_number_that_is_none(three, monkeypatch, value):
    """Cast to a byte, NaN would be 0 without a word."""

    def call(sound):
        numbers = np.zeros((len(sound), 128), np.float32)
        numbers[2, 5] = value
        return numbers

    monkeypatch.setattr("alstm_helpers.own_videos.extractor.sound_backbone", lambda *about: Backbone(16_000, call))
    with pytest.raises(AlstmError, match=r"v0\.mp4: for second 2 logmel gives NaN"):
        Extractor("flashdigits", "logmel").raw(Clip(three / "v0.mp4"))


def test_thirty_two_pictures_go_through_the_network_at_once(tmp_path, monkeypatch):
    """So memory does not grow with the length of a clip."""
    sizes = []

    def call(frames):
        sizes.append(len(frames))
        return np.zeros((len(frames), 1024), np.float32)

    monkeypatch.setattr("alstm_helpers.own_videos.extractor.picture_backbone", lambda *about: Backbone(Fit(16), call))
    write_video(tmp_path / "a.mp4", np.full((70, 64, 64, 3), 90, np.uint8), None, Encoding(fps=1))
    raw = Extractor("resnet50", "flashdigits").raw(Clip(tmp_path / "a.mp4"))
    assert sizes == [32, 32, 6] and len(raw.streams["rgb"]) == 70


def test_a_network_is_known_by_its_content(three, onnx_file, tmp_path, monkeypatch):
    """Neither its path, nor the folder that it is named from, say which network it is."""
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    network, other = (onnx_file(Path("nets", name), ["N", 3, 32, 32], [2, 3]) for name in ("a.onnx", "b.onnx"))
    infer(three, "out", backbone=network, pictures=IMAGENET)
    assert json.loads(Path("out/features.json").read_text())["backbone"] == f"onnx:{tmp_path / 'nets' / 'a.onnx'}"
    assert infer(three, "out", backbone=other, pictures=IMAGENET).skipped == 3  # a copy
    assert infer(three, "out", backbone=network, pictures=IMAGENET).skipped == 3
    monkeypatch.chdir(tmp_path / "nets")
    assert infer(three, tmp_path / "more", like=tmp_path / "out").extracted == 3
    onnx_file(tmp_path / "nets" / "a.onnx", ["N", 3, 64, 64], [2, 3])
    picture_backbone.cache_clear()
    said = "it has features by onnx:.*a.onnx and logmel, of another content then; put the earlier network back, or"
    with pytest.raises(AlstmError, match=said):
        infer(three, tmp_path / "out", backbone="onnx:a.onnx", pictures=IMAGENET)
    with pytest.raises(AlstmError, match=r"a\.onnx: not the network that made .* \(its sha256 is not [0-9a-f]{12}…\)"):
        infer(three, tmp_path / "again", like=tmp_path / "out")
    assert not (tmp_path / "again").exists()


def test_a_network_that_was_moved_is_found_beside_the_features(three, onnx_file, tmp_path):
    infer(three, tmp_path / "out", backbone=onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3]), pictures=IMAGENET)
    (tmp_path / "a.onnx").rename(tmp_path / "out" / "a.onnx")
    picture_backbone.cache_clear()
    assert infer(three, tmp_path / "more", like=tmp_path / "out").extracted == 3
    (tmp_path / "out" / "a.onnx").unlink()
    picture_backbone.cache_clear()
    with pytest.raises(AlstmError, match=r"a\.onnx: no such file; .* put it back there, or beside features\.json"):
        infer(three, tmp_path / "third", like=tmp_path / "out")


def test_features_without_the_content_of_their_network(three, onnx_file, tmp_path, monkeypatch):
    """Earlier versions wrote the path as it was typed, and nothing else."""
    monkeypatch.chdir(tmp_path)
    network = onnx_file(Path("a.onnx"), ["N", 3, 32, 32], [2, 3])
    infer(three, "out", backbone=network, pictures=IMAGENET)
    Path("out/features.json").write_text(json.dumps({**ABOUT, "backbone": "onnx:a.onnx", "fitted_on": "infer"}))
    assert infer(three, "out", backbone=network, pictures=IMAGENET).skipped == 3
    assert len(json.loads(Path("out/features.json").read_text())["sha256"]["rgb"]) == 64


def test_what_the_network_takes_is_kept(three, onnx_file, tmp_path):
    """The same clip has the same features later, whatever lies beside the network then."""
    network = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])
    (tmp_path / "a.json").write_text('{"scale": 0.01, "mean": [1, 0, 0], "resize": 40}')
    infer(three, tmp_path / "out", backbone=network)
    kept = {"scale": 0.01, "mean": [1.0, 0.0, 0.0], "resize": 40}
    assert json.loads((tmp_path / "out" / "features.json").read_text())["inputs"] == {"rgb": kept}
    (tmp_path / "a.json").unlink()
    assert infer(three, tmp_path / "more", like=tmp_path / "out").extracted == 3
    raw, more = (RawFolder(tmp_path / name / "raw").load("v0")["rgb"] for name in ("out", "more"))
    assert np.array_equal(raw, more) and raw[0] == pytest.approx([1, 2, 2], abs=0.03)
    with pytest.raises(AlstmError, match="nothing says how the pictures that it takes are normalised"):
        infer(three, tmp_path / "out", backbone=network)
    with pytest.raises(AlstmError, match=r"it has features by .*, given other inputs then; .* --normalisation, or"):
        infer(three, tmp_path / "out", backbone=network, pictures=IMAGENET)


def test_flags_for_a_network_that_needs_none(three, tmp_path):
    with pytest.raises(AlstmError, match="flashdigits: what it takes is known; leave out --normalisation and"):
        infer(three, tmp_path / "out", pictures=IMAGENET)
    with pytest.raises(AlstmError, match="logmel: what it takes is known; leave out --audio_like, for onnx:PATH only"):
        infer(three, tmp_path / "out", audio="logmel", sound=SOUNDS["yamnet"])


@pytest.mark.parametrize("constant", [True, False])
def test_a_network_that_tells_nothing_is_noted(three, onnx_file, tmp_path, constant):
    nodes = [make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0)]
    nodes += [make_node("Mul", ["m", "zero"], ["y"]) if constant else make_node("Identity", ["m"], ["y"])]
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    network = onnx_file(tmp_path / "n.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=[zero])
    done = infer(three, tmp_path / "out", backbone=network, pictures=IMAGENET)
    noted = [note for note in done.notes if "gives the same numbers for all pictures, which tell nothing" in note]
    assert len(noted) == constant


def test_thumbnails_are_kept(three, tmp_path):
    infer(three, tmp_path / "out")
    raw = RawFolder(tmp_path / "out" / "raw")
    assert [each.second for each in raw.thumbnails("v0")] == [0, 1, 2]
    assert np.abs(raw.thumbnails("v0")[1].pixels().astype(int) - 200).max() < 5
    raw.save("v0", raw.load("v0"))  # as earlier versions did
    assert raw.thumbnails("v0") == []


@pytest.mark.parametrize("spoil", ['"modified"', '"bytes"', '"notes"', '"video"'])
def test_a_row_of_the_manifest_that_lacks_something_is_made_again(three, tmp_path, spoil):
    infer(three, tmp_path / "out")
    before = everything(tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(spoil, '"nothing"', 1))
    assert infer(three, tmp_path / "out").extracted == 1
    assert everything(tmp_path / "out") == before


@pytest.mark.posix
def test_odd_names_and_bad_files_stop_no_other(three, tmp_path):
    names = [b"@user", "视频".encode("gbk"), b"two\nlines", b"\x1b[31m", "a\u2028b".encode(), "很".encode() * 80]
    for name in names:
        shutil.copy(three / "v0.mp4", os.fsencode(three) + b"/" + name + b".mp4")
    (three / "empty.mp4").touch()
    (three / "nothing.mp4").symlink_to(three / "none")
    (three / "folder.mp4").mkdir()
    os.mkfifo(three / "fifo.mp4")
    done = extract_features([three], tmp_path / "out", workers=2)
    assert (done.extracted, len(done.failed)) == (3 + len(names), 4)
    for bad in ("empty", "nothing", "folder", "fifo"):
        assert sum(f"{bad}.mp4: " in str(error) for error in done.failed) == 1
    ids = {video.id for path in read_filelist(tmp_path / "out" / "infer.list") for video in read_videos(path)}
    assert {b"@user", rb"two\nlines", rb"\x1b[31m", rb"a\u2028b"} < ids
    assert extract_features([three], tmp_path / "out", workers=2).skipped == 3 + len(names)


def test_names_that_begin_with_at_are_split(three, tmp_path):
    for number in range(8):
        write_video(three / f"@{number}.mp4", np.full((1, 64, 64, 3), 25 * number, np.uint8), None)
    rows = "".join(f"@{number}.mp4,cat\n" for number in range(8))
    (tmp_path / "l.csv").write_text(f"video,labels\n{rows}", encoding="utf-8")
    import_labels([tmp_path / "l.csv"], tmp_path / "labels")
    done = extract_features([three], tmp_path / "out", FeatureOptions(tmp_path / "labels", val_share=0.4), workers=0)
    assert done.splits.total() == 8 and set(done.splits) == {"train", "val"}


def test_where_all_clips_fail_the_remedy_is_to_mend_them(tmp_path):
    (tmp_path / "a.mp4").touch()
    said = r"no clip of 0 would go to infer; 1 failed, the first: .*a\.mp4: .*; fix that, and run again$"
    with pytest.raises(AlstmError, match=said):
        infer(tmp_path, tmp_path / "out")


def test_interrupted_and_run_again_it_ends_in_the_same_bytes(clips, tmp_path):
    def stop(rows, *, total, desc):
        for number, row in enumerate(rows):
            if number == 3:
                raise KeyboardInterrupt
            yield row

    with pytest.raises(KeyboardInterrupt):
        extract(clips, tmp_path / "cut", progress=stop)
    assert not (tmp_path / "cut" / "tf").exists()
    assert extract(clips, tmp_path / "cut").skipped == 3
    extract(clips, tmp_path / "whole")
    cut, whole = everything(tmp_path / "cut"), everything(tmp_path / "whole")
    lists = {path for path in whole if path.suffix == ".list"}
    assert [path for path in set(cut) | set(whole) if path not in lists and cut.get(path) != whole.get(path)] == []


def test_videos_without_labels(clips, tmp_path):
    """There is one list, for prediction; later the same folder takes the same clips with labels."""
    done = extract(clips, tmp_path / "out", labels=None)
    assert done.splits == {"infer": CLIPS} and not done.notes
    found = [video for path in read_filelist(tmp_path / "out" / "infer.list") for video in read_videos(path)]
    assert sorted(video.id.decode() for video in found) == [f"c{index}" for index in range(CLIPS)]
    assert all(video.labels == () for video in found)
    assert not (tmp_path / "out" / "own.yaml").exists() and not (tmp_path / "out" / "train.list").exists()
    again = extract(clips, tmp_path / "out")
    assert again.skipped == CLIPS and len(records(tmp_path / "out")) == CLIPS
    assert not list((tmp_path / "out" / "tf" / "infer").glob("*"))


def test_new_videos_like_those_of_a_trained_model(own, tmp_path):
    """They get the projection of the model, not their own, so the same clip has the same features."""
    extract(own, tmp_path / "old", audio="logmel")
    (tmp_path / "new").mkdir()
    shutil.copy(own / "clips" / "c3.mp4", tmp_path / "new" / "c3.mp4")
    extract_features([tmp_path / "new"], tmp_path / "like", FeatureOptions(like=tmp_path / "old"), workers=0)
    [shard] = read_filelist(tmp_path / "like" / "infer.list")
    [video] = read_videos(shard)
    assert np.array_equal(video.audio, records(tmp_path / "old")["c3"].audio)
    assert (tmp_path / "like" / "projection.pkl").read_bytes() == (tmp_path / "old" / "projection.pkl").read_bytes()
    alone = extract_features([tmp_path / "new"], tmp_path / "alone", FeatureOptions(audio="logmel"), workers=0)
    assert alone.notes == ["audio: scaled by these clips; for a trained model pass --like its features"]


def test_a_rerun_like_another_folder_has_the_projection_of_that_one(own, tmp_path):
    extract(own, tmp_path / "old", audio="logmel")
    extract(own, tmp_path / "out", audio="logmel", val_share=0.7)
    old, new = ((tmp_path / name / "projection.pkl") for name in ("old", "out"))
    assert old.read_bytes() != new.read_bytes()
    extract(own, tmp_path / "out", like=tmp_path / "old", val_share=0.7)
    assert old.read_bytes() == new.read_bytes()


def test_a_projection_of_unlabelled_clips_is_not_kept_for_training(clips, tmp_path):
    """It was fitted on future validation clips, too."""
    extract(clips, tmp_path / "out", labels=None, audio="logmel")
    extract(clips, tmp_path / "out", audio="logmel")
    extract(clips, tmp_path / "fresh", audio="logmel")
    assert (tmp_path / "out" / "projection.pkl").read_bytes() == (tmp_path / "fresh" / "projection.pkl").read_bytes()


def test_one_clip_alone(clips):
    video, _ = Extractor("flashdigits", "flashdigits").video(Clip(clips / "clips" / "c0.mp4"))
    assert video.id == b"c0" and video.rgb.shape[1:] == (1024,) and video.audio.shape[1:] == (128,)
