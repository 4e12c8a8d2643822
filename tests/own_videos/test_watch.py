"""Test labels and timelines of video files, as functions and as the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image
from support import SHORT, changed

from alstm_helpers.data.class_names import read_classes
from alstm_helpers.data.flashdigits import CLASS_NAMES, make_video, render
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.calibration import Calibration
from alstm_helpers.evaluation.explain import explain
from alstm_helpers.files import write_sealed
from alstm_helpers.model.build import build_model
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.flashdigits_clips import write_mp4, write_video
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.timeline import WINDOW, window_of
from alstm_helpers.own_videos.watch import WatchOptions, find_extractor, score_around, watch, watch_files
from alstm_helpers.runtime import seed_everything
from alstm_helpers.tfrecord import Video, read_videos, write_videos
from alstm_helpers.training.train import TrainOptions, train

FLASH = Extractor("flashdigits", "flashdigits")
FLASHDIGITS = ("--backbone", "flashdigits")


@pytest.fixture(scope="module")
def trained(tiny_config, tmp_path_factory):
    """Return the folder of a short training on FlashDigits, and its network."""
    folder = tmp_path_factory.mktemp("run") / "lauf 训练"
    return folder, train(tiny_config, folder, TrainOptions(seed=0, log_interval=0, visualdl=False)).net


def test_a_file_is_labelled_as_the_generator_s_features_are(trained, clips):
    """The labels are the same, in the same order, with scores within 0.02."""
    _, net = trained
    names = dict(enumerate(CLASS_NAMES))
    for index in range(4):
        found = watch(net, FLASH, Clip(clips / "clips" / f"c{index}.mp4"), top_k=3, class_names=names)
        right = explain(net, make_video(0, "val", SHORT[index]), top_k=3, class_names=names)
        pairs = list(zip(found["labels"], right["labels"], strict=True))
        assert all(abs(a["score"] - b["score"]) < 0.02 for a, b in pairs)
        assert found["seconds"] == right["seconds"] == len(found["over_time"])
        video, _ = FLASH.video(Clip(clips / "clips" / f"c{index}.mp4"))
        around = score_around(net, video, found["window"])
        assert found["window"] == WINDOW  # they are long enough
        assert found["over_time"] == pytest.approx(around[:, found["labels"][0]["index"]].tolist())
        assert np.abs(np.array(found["attention"]["rgb"]) - right["attention"]["rgb"]).max() < 0.02


def test_all_scores_of_a_file_are_calibrated(trained, clips, tmp_path):
    scale = Calibration(0.5, -1.0)
    options = WatchOptions(3, calibration=scale)
    done = watch_files(trained[1], FLASH, [clips / "clips" / "c0.mp4"], tmp_path, options)
    raw = watch(trained[1], FLASH, Clip(clips / "clips" / "c0.mp4"), top_k=3)
    report = done.watched[0].report
    assert report["over_time"] == pytest.approx(scale(np.array(raw["over_time"])), abs=1e-6)
    expected = scale(np.array([label["score"] for label in raw["labels"]]))
    for labels in (report["labels"], done.rows[0]["labels"]):
        assert [label["score"] for label in labels] == pytest.approx(expected, abs=1e-5)
        assert [label["index"] for label in labels] == [label["index"] for label in raw["labels"]]


def test_the_score_around_a_second_is_that_of_these_seconds_alone(tiny_config):
    seed_everything(0)
    net = build_model(tiny_config)
    net.eval()
    video = make_video(0, "val", 1)
    scores = score_around(net, video, WINDOW)
    assert scores.shape == (video.num_frames, 20)
    half = WINDOW // 2
    for second in (0, 3, video.num_frames // 2, video.num_frames - 1):
        part = slice(max(0, second - half), second + half + 1)
        alone = explain(net, Video(b"x", (), video.rgb[part], video.audio[part]), top_k=20)
        for label in alone["labels"]:
            assert scores[second, label["index"]] == pytest.approx(label["score"], abs=1e-5)


def test_the_window_is_at_most_half_of_a_short_clip():
    """Otherwise each stretch would be nearly all of it, and the score over time a flat line."""
    windows = [window_of(seconds) for seconds in range(1, 61)]
    assert all(window % 2 and (window <= seconds / 2 or window == 1) for seconds, window in enumerate(windows, 1))
    assert windows[:6] == [1, 1, 1, 1, 1, 3] and windows == sorted(windows) and set(windows[17:]) == {WINDOW}


def test_of_a_short_clip_each_second_is_scored_by_itself(trained, tmp_path):
    write_video(tmp_path / "short.mp4", np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8), None)
    found = watch(trained[1], FLASH, Clip(tmp_path / "short.mp4"))
    video, _ = FLASH.video(Clip(tmp_path / "short.mp4"))
    alone = score_around(trained[1], video, 1)[:, found["labels"][0]["index"]]
    assert found["window"] == 1 and found["over_time"] == pytest.approx(alone.tolist()) and np.ptp(alone) > 0


def test_which_extractor(tiny_config, tmp_path):
    assert find_extractor(tiny_config).backbone == "flashdigits"
    other = changed(tiny_config, MODEL__dataset="own videos")
    with pytest.raises(AlstmError, match=r"no features\.json beside it .*; pass --features FOLDER"):
        find_extractor(other)
    Extractor("flashdigits", "logmel").save(tmp_path)
    assert find_extractor(other, str(tmp_path)).audio == "logmel"
    beside = changed(other, TRAIN__filelist=str(tmp_path / "train.list"))
    assert find_extractor(beside).audio == "logmel"
    with pytest.raises(AlstmError, match=r"features\.json: no such file; name a folder"):
        find_extractor(other, str(tmp_path / "none"))


def test_the_command(alstm, trained, clips, tmp_path):
    """Without --config, the configuration beside the weights is used; a broken file stops no other."""
    folder, _ = trained
    videos = tmp_path / "meine 片段"
    shutil.copytree(clips / "clips", videos)
    for path in sorted(videos.iterdir())[2:]:
        path.unlink()
    (videos / "bad.mp4").write_bytes(b"none")
    weights = folder / "AttentionLSTM_best.pdparams"
    result = alstm("predict", videos, "--weights", weights, "--save_dir", tmp_path / "out", "--infer_topk", 4)
    assert result.code == 1
    assert result.err.splitlines() == [
        line for line in result.err.splitlines() if "bad.mp4: it cannot be opened" in line
    ]
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [row["video"] for row in rows] == ["c0", "c1"] and all(len(row["labels"]) == 4 for row in rows)
    assert rows[0]["labels"][0]["name"] in CLASS_NAMES
    assert (tmp_path / "out" / "predictions.csv").read_text("utf-8").startswith("VideoId,LabelConfidencePairs\nc0,")
    for name in ("c0", "c1"):
        picture = np.asarray(Image.open(tmp_path / "out" / f"{name}.png").convert("L"))
        assert picture.std() > 20
        report = json.loads((tmp_path / "out" / f"{name}.json").read_text("utf-8"))
        assert len(report["over_time"]) == report["seconds"] == len(report["attention"]["audio"])
    assert "2 videos → " in result.out and "1 failed" in result.out
    written = (tmp_path / "out" / "predictions.jsonl").read_bytes()
    result = alstm("predict", videos / "bad.mp4", "--weights", weights, "--save_dir", tmp_path / "out")
    assert result.code == 1 and "videos → " not in result.out
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == written  # not replaced by nothing


def test_without_a_configuration(alstm, tmp_path):
    (tmp_path / "alone.pdparams").touch()
    for more in ([], ["--weights", tmp_path / "alone.pdparams"], ["--weights", "https://localhost/a.pdparams"]):
        result = alstm("predict", "a.mp4", *more)
        assert result.code == 2 and "Missing option '--config'" in result.err


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--group", "(", "--group (: not a regular expression"),
        ("--group", "^x", "--group ^x finds nothing in it"),
        ("--val_share", 5, "5.0 is out of range"),
        ("--backbone", "vgg", "unknown backbone; choose flashdigits"),
        ("--audio", "vgg", "unknown backbone; choose flashdigits, logmel"),
        ("--workers", 0, "0 processes cannot work"),
        ("--labels", "nowhere", "labels.csv: no such file"),
    ],
)
def test_features_with_impossible_options(alstm, clips, tmp_path, option, value, said):
    common = ("--labels", clips / "labels", "--out", tmp_path / "o", *FLASHDIGITS)
    result = alstm("features", clips / "clips", *common, option, value)
    assert result.code == 1 and result.err.count("\n") == 1 and said in result.err, result.err
    assert not (tmp_path / "o").exists()


def test_a_backbone_must_be_chosen(alstm, clips, tmp_path):
    """Any default would be silently wrong for somebody's clips."""
    result = alstm("features", clips / "clips", "--out", tmp_path / "o")
    assert result.code == 2 and "Missing option '--backbone': resnet50 for your own clips" in result.err
    assert alstm("features", clips / "clips", "--out", tmp_path / "o", *FLASHDIGITS).code == 0
    assert alstm("features", clips / "clips", "--out", tmp_path / "like", "--like", tmp_path / "o").code == 0
    for option in ("--backbone", "--audio"):
        result = alstm("features", clips / "clips", "--out", tmp_path / "x", "--like", tmp_path / "o", option, "none")
        assert (
            result.code == 2
            and "leave out --backbone, --audio and what" in result.err
            and not (tmp_path / "x").exists()
        )


def test_files_with_the_same_name_are_called_by_their_folders(trained, clips, tmp_path):
    """In the same folder their predictions could not be told apart."""
    for name in ("one/a.mp4", "two/a.mp4"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / "clips" / "c0.mp4", tmp_path / "v" / name)
    out = tmp_path / "p"
    watch_files(trained[1], FLASH, [tmp_path / "v"], out)
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]
    reports = {json.loads(path.read_text("utf-8"))["video"] for path in out.glob("*.json")}
    assert {row["video"] for row in rows} == reports == {"one/a", "two/a"}
    assert "\ntwo/a," in (out / "predictions.csv").read_text("utf-8")
    (tmp_path / "v" / "two" / "a.mkv").touch()
    with pytest.raises(AlstmError, match="has the same name; give each video a name of its own"):
        watch_files(trained[1], FLASH, [tmp_path / "v"], tmp_path / "q")
    assert not (tmp_path / "q").exists()


@pytest.mark.posix
def test_a_folder_in_which_every_third_file_is_bad(alstm, trained, tmp_path):
    """All others have their reports, each under a name of its own; each bad one has its line."""
    videos = tmp_path / "v"
    videos.mkdir()
    write_mp4(videos / "a.mp4", render(0, "val", SHORT[0]))
    odd = [b"x:y", b"x?y", "很".encode() * 80, "视频".encode("gbk"), b"@user"]
    for name in odd:
        shutil.copy(videos / "a.mp4", os.fsencode(videos) + b"/" + name + b".mp4")
    for bad, content in (("empty", b""), ("text", b"text" * 1000), ("cut", (videos / "a.mp4").read_bytes()[:3000])):
        (videos / f"{bad}.mp4").write_bytes(content)
    weights = trained[0] / "AttentionLSTM_best.pdparams"
    result = alstm("predict", videos, "--weights", weights, "--save_dir", tmp_path / "out")
    assert result.code == 1 and "6 videos → " in result.out and "3 failed" in result.out
    assert sorted(re.findall(r"/(\w+)\.mp4: ", result.err)) == ["cut", "empty", "text"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    reports = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "out").glob("*.json")]
    assert {row["video"] for row in rows} == {report["video"] for report in reports} and len(reports) == 6
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
    assert len({json.dumps(report["attention"]) for report in reports}) == 1


@pytest.mark.posix
def test_a_clip_that_crashes_or_does_not_end_keeps_no_other(trained, clips, tmp_path, monkeypatch):
    """Whatever is in the file, it is read in another process than this one."""

    class Crashing(Extractor):
        def raw(self, clip):
            if clip.path.stem == "c1":
                os.kill(os.getpid(), signal.SIGSEGV)
            if clip.path.stem == "c2":
                time.sleep(1000)
            return super().raw(clip)

    files = [clips / "clips" / f"c{number}.mp4" for number in range(4)]
    done = watch_files(
        trained[1], Crashing(FLASH.backbone, FLASH.audio), files, tmp_path, WatchOptions(clip_seconds=15)
    )
    assert [watched.path.stem for watched in done.watched] == ["c0", "c3"]
    crash, late = (str(error) for error in done.failed)
    assert "c1.mp4: the process that worked on it ended (SIGSEGV(-11))" in crash
    assert "c2.mp4: it is not done after 15 s; leave it out, or pass a larger --clip_seconds" in late


def test_what_the_network_cannot_label_keeps_no_other(trained, clips, tmp_path, monkeypatch):
    def failing(net, video, **options):
        if video.id == b"c1":
            raise RuntimeError("no")
        return explain(net, video, **options)

    monkeypatch.setattr("alstm_helpers.own_videos.watch.explain", failing)
    done = watch_files(trained[1], FLASH, [clips / "clips" / f"c{number}.mp4" for number in (0, 1)], tmp_path)
    assert [watched.path.stem for watched in done.watched] == ["c0"]
    assert "c1.mp4: it cannot be used (RuntimeError: no)" in str(done.failed[0])


def test_the_best_five_are_drawn_and_all_are_predicted(trained, clips, tmp_path):
    [watched] = watch_files(trained[1], FLASH, [clips / "clips" / "c0.mp4"], tmp_path, WatchOptions(7)).watched
    drawn = json.loads((tmp_path / "c0.json").read_text("utf-8"))
    predicted = json.loads((tmp_path / "predictions.jsonl").read_text("utf-8"))
    assert drawn["labels"] == watched.report["labels"][:5] and drawn["window"] == 9
    assert [label["index"] for label in predicted["labels"]] == [each["index"] for each in watched.report["labels"]]
    assert len(predicted["labels"]) == 7
    assert len(watch(trained[1], FLASH, Clip(watched.path))["labels"]) == WatchOptions().top_k == 5


def test_a_network_that_is_missing_is_said_once(trained, clips, tmp_path):
    with pytest.raises(AlstmError, match=r"none\.onnx: no such file"):
        watch_files(trained[1], Extractor(f"onnx:{tmp_path}/none.onnx", "logmel"), [clips / "clips"], tmp_path)


def test_a_projection_that_is_missing_is_said_once(trained, clips, tmp_path):
    with pytest.raises(AlstmError, match=r"logmel: the projection of its numbers is missing"):
        watch_files(trained[1], Extractor("flashdigits", "logmel"), [clips / "clips"], tmp_path)


def test_lists_and_files_exclude_each_other(alstm, trained, tmp_path):
    write_mp4(tmp_path / "a.mp4", render(0, "val", SHORT[0]))
    weights = trained[0] / "AttentionLSTM_best.pdparams"
    result = alstm("predict", tmp_path / "a.mp4", "--weights", weights, "--filelist", "x.list", "--save_dir", tmp_path)
    assert result.code == 2 and "--filelist and --threshold are for lists" in result.err


def test_own_videos_from_labels_to_prediction(alstm, clips, tmp_path):
    """Run the five commands of notebook 09."""
    labels, data, save = tmp_path / "labels", tmp_path / "data", tmp_path / "data" / "run"
    assert alstm("labels", "import", clips / "labels.csv", "--out", labels).code == 0
    options = ("--labels", labels, "--out", data, "--val_share", 0.4, *FLASHDIGITS, "--audio", "logmel")
    done = alstm("features", clips / "clips", *options, "--group", r"\d")
    assert done.code == 0 and "next: alstm train --config" in done.out
    common = ("--config", data / "own.yaml", "-o", "TRAIN.epoch=2")
    assert alstm("train", *common, "--save_dir", save, "--log_interval", 0, "--fix_random_seed", True).code == 0
    about = json.loads((data / "features.json").read_text("utf-8"))
    about.pop("digest")
    write_sealed(data / "features.json", {**about, "group": "^c"})
    best = ("--weights", save / "AttentionLSTM_best.pdparams")
    one = alstm("eval", *common, *best, "--out", tmp_path / "one" / "m.json").out
    assert "interval_95" not in json.loads((tmp_path / "one" / "report.json").read_text("utf-8"))
    assert "independent groups of clips: 1; too few" in one and "resampled" not in one  # there is nothing to draw
    write_sealed(data / "features.json", about)
    found = alstm("eval", *common, *best, "--out", tmp_path / "m.json")
    assert re.search(r"independent groups of clips: [2-9]; too few", found.out) and "resampled" in found.out
    assert found.code == 0 and json.loads((tmp_path / "m.json").read_text("utf-8"))["num_videos"] >= 1
    weights = save / "AttentionLSTM_best.pdparams"
    last = alstm("predict", clips / "clips" / "c0.mp4", "--weights", weights, "--save_dir", tmp_path / "out")
    assert last.code == 0 and (tmp_path / "out" / "c0.png").exists()
    cross = alstm("crossval", *common, "--folds", 2, "--save_dir", tmp_path / "cv")
    assert cross.code == 0 and json.loads((tmp_path / "cv" / "crossval.json").read_text("utf-8"))["folds"]
    assert "\n--group \\d, as `alstm features` was told\n" in cross.out
    assert re.search(r"\nwithout any skill, by the frequencies of the classes alone: GAP 0\.\d{4}\n", cross.out)
    assert alstm("export", *common, "--weights", weights, "--out", tmp_path / "earlier").code == 0
    more = ("train", *common, "-o", "TRAIN.epoch=3", "--save_dir", save, "--log_interval", 0, "--resume", save)
    told = "the clips, their labels or their sides have changed since this training began"
    assert told not in alstm(*more).out
    shard = next((data / "tf" / "train").iterdir())
    write_videos(shard, [video._replace(labels=()) for video in read_videos(shard)])
    assert told in alstm(*more).out
    before = (data / "projection.pkl").read_bytes()
    fewer = shutil.copytree(clips / "clips", tmp_path / "fewer")
    (fewer / f"{next(read_videos(shard)).id.decode()}.mp4").unlink()  # one of those that scale the features
    assert "scaled anew" in alstm("features", fewer, *options, "--refit").out
    assert (data / "projection.pkl").read_bytes() != before
    refused = (
        ("predict", clips / "clips" / "c0.mp4", "--weights", weights),
        ("predict", *common, "--weights", weights, "--filelist", data / "val.list"),
        ("eval", *common, "--weights", weights),
        ("explain", *common, "--weights", weights, "--filelist", data / "val.list", "--video", "c0"),
        ("export", *common, "--weights", weights, "--out", tmp_path / "model", "--video"),
        ("serve", tmp_path / "earlier", "--features", data),
        ("report", save),
        ("train", *common, "--save_dir", save, "--resume", save),
    )
    for command in refused:
        done = alstm(*command)
        assert done.code == 1 and f"{data}: its features are scaled otherwise than those that" in done.err, command
    own, classes = data / "own.yaml", len(read_classes(data / "labels.csv"))
    own.write_text(own.read_text("utf-8").replace(f"num_classes: {classes}", "num_classes: 1"), encoding="utf-8")
    said = alstm("features", fewer, *options).last
    assert f"next: alstm train --config {own} -o MODEL.num_classes={classes} --save_dir {data / 'run'}" in said
