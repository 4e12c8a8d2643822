"""Predictions: every video once, best label first, named, as JSON lines and as the competition's CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from support import a_video, ids_of, write_shards

from alstm_helpers.data.dataset import collate, read_batches
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.calibration import UNCHANGED, Calibration
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.evaluation.predict import (
    PredictionRow,
    most_uncertain,
    predict,
    read_thresholds,
    write_predictions,
)
from alstm_helpers.evaluation.report import ReportOptions, write_report
from alstm_helpers.metrics import YouTube8MMetrics, best_classes
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import build_model
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import write_videos


@pytest.fixture(scope="module")
def net(tiny_config):
    paddle.seed(3)
    return build_model(tiny_config)


@pytest.fixture(scope="module")
def shards(tiny_config):
    return read_filelist(tiny_config.INFER.filelist)


class FixedNet:
    """A stand-in for the network: it looks up the logits of a video by its first rgb byte."""

    training = False

    def __init__(self, logits):
        self.logits = np.array(logits, dtype=np.float32)

    def eval(self):
        return self

    def __call__(self, rgb, audio, lengths):
        return paddle.to_tensor(self.logits[rgb.numpy()[:, 0, 0]])


def fixed_net(logits: list[list[float]]) -> AttentionLSTM:
    return cast(AttentionLSTM, FixedNet(logits))


def looked_up(count, *, num_classes):
    """Return a batch of one-second videos whose first rgb byte is their number."""
    videos = []
    for number in range(count):
        video = a_video(f"v{number}", 1)
        video.rgb[0, 0] = number
        videos.append(video)
    return [collate(videos, num_classes)]


# --- rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 19, 20, 21])
def test_every_video_once_in_order(net, shards, batch_size):
    rows = list(predict(net, read_batches(shards, batch_size, 20), top_k=3))
    assert [row["video"].encode() for row in rows] == ids_of(shards)
    assert all(len(row["labels"]) == 3 for row in rows)


def test_pickles_and_tfrecords_in_one_list(net, tmp_path):
    videos = [a_video(f"v{index}", 2 + index) for index in range(5)]
    shards = [*write_shards(tmp_path, [videos[:2]]), tmp_path / "b.tfrecord"]
    write_videos(shards[1], videos[2:])
    rows = list(predict(net, read_batches(shards, 3, 20), top_k=20))
    assert [row["video"] for row in rows] == ["v0", "v1", "v2", "v3", "v4"]


def test_labels_are_the_best_scores_best_first(net, shards):
    scores = np.concatenate([found for _, found, _ in score_batches(net, read_batches(shards, 8, 20))])
    for row, expected in zip(predict(net, read_batches(shards, 8, 20), top_k=5), scores, strict=True):
        order = sorted(range(20), key=lambda index: -expected[index])[:5]
        assert [label["index"] for label in row["labels"]] == order
        assert [label["score"] for label in row["labels"]] == pytest.approx(expected[order], abs=1e-6)
        assert [label["name"] for label in row["labels"]] == [None] * 5


def test_scores_are_sigmoids_of_each_class_alone():
    """Unlike PaddleVideo's softmax of sigmoids: two classes can both get nearly 1."""
    (row,) = predict(fixed_net([[10.0, 10.0, 0.0]]), looked_up(1, num_classes=3), top_k=3)
    found = [(label["index"], label["score"]) for label in row["labels"]]
    assert found == [(0, 0.999955), (1, 0.999955), (2, 0.5)]


def test_equal_scores_give_the_smaller_class_first():
    logits = [[1.0, 2.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    rows = list(predict(fixed_net(logits), looked_up(2, num_classes=5), top_k=4))
    assert [[label["index"] for label in row["labels"]] for row in rows] == [[1, 3, 0, 2], [0, 1, 2, 3]]


def test_best_classes_with_equal_scores_at_the_cut():
    scores = np.full((1, 500), 0.5, dtype=np.float32)
    scores[0, 300] = 0.9
    assert best_classes(scores, 4).tolist() == [[300, 0, 1, 2]]


def test_more_labels_requested_than_classes():
    (row,) = predict(fixed_net([[1.0, 3.0, 2.0]]), looked_up(1, num_classes=3), top_k=20)
    assert [label["index"] for label in row["labels"]] == [1, 2, 0]


def test_a_network_that_leaves_out_a_video_is_not_believed():
    class Forgetful(FixedNet):
        def __call__(self, rgb, audio, lengths):
            return super().__call__(rgb, audio, lengths)[:1]

    with pytest.raises(ValueError):
        list(predict(cast(AttentionLSTM, Forgetful([[1.0], [2.0]])), looked_up(2, num_classes=1), top_k=1))


def test_names_are_given_where_known():
    names = {1: "Game", 2: "Vehicle"}
    (row,) = predict(fixed_net([[1.0, 3.0, 2.0]]), looked_up(1, num_classes=3), top_k=3, class_names=names)
    assert [label["name"] for label in row["labels"]] == ["Game", "Vehicle", None]


def test_an_id_that_is_not_utf_8_is_escaped():
    video = a_video("x", 1)._replace(id=b"a\xffb")
    video.rgb[0, 0] = 0
    (row,) = predict(fixed_net([[1.0, 0.0]]), [collate([video], 2)], top_k=1)
    assert row["video"] == "a\\xffb"


def test_the_network_stays_in_training_mode(net, shards):
    net.train()
    list(predict(net, read_batches(shards, 8, 20), top_k=1))
    assert net.training


# --- files ------------------------------------------------------------------------------------------------------


def test_write_predictions(tmp_path):
    rows: list[PredictionRow] = [
        {
            "video": "a,b",
            "labels": [{"index": 3, "name": "看 3", "score": 0.75}, {"index": 0, "name": None, "score": 0}],
        },
        {"video": "v1", "labels": [{"index": 12, "name": "see", "score": 0.000001}]},
    ]
    assert write_predictions(iter(rows), tmp_path / "new" / "folder") == rows
    folder = tmp_path / "new" / "folder"
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert "看" in lines[0]
    text = (folder / "predictions.csv").read_bytes().decode("utf-8")
    assert text == 'VideoId,LabelConfidencePairs\n"a,b",3 0.750000 0 0.000000\nv1,12 0.000001\n'
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.csv", "predictions.jsonl"]


@pytest.mark.parametrize(
    ("video", "in_the_table"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),
        ("-A_b3-", "-A_b3-"),  # as YouTube's
        ("a=1", "a=1"),
        ("'a", "'a"),
        ("", ""),
    ],
)
def test_a_spreadsheet_runs_no_id(tmp_path, video, in_the_table):
    rows = write_predictions([{"video": video, "labels": []}], tmp_path)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [in_the_table, ""]
    assert json.loads((tmp_path / "predictions.jsonl").read_text(encoding="utf-8")) == rows[0]
    assert rows[0]["video"] == video


def test_csv_and_json_lines_agree(net, shards, tmp_path):
    rows = write_predictions(predict(net, read_batches(shards, 8, 20), top_k=4), tmp_path)
    assert len(rows) == 20
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["VideoId", "LabelConfidencePairs"]
    for (video, pairs), row in zip(table[1:], rows, strict=True):
        values = pairs.split()
        assert video == row["video"]
        assert [int(index) for index in values[::2]] == [label["index"] for label in row["labels"]]
        assert [float(score) for score in values[1::2]] == [label["score"] for label in row["labels"]]


def test_a_failure_midway_leaves_the_old_files(tmp_path):
    rows: list[PredictionRow] = [{"video": "v", "labels": []}]
    write_predictions(rows, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken():
        yield {"video": "w", "labels": []}
        raise AlstmError("shard", "broken", "fix it")

    with pytest.raises(AlstmError):
        write_predictions(broken(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- thresholds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, expected", [("0.25", 0.25), ("0", 0), ("1", 1)])
def test_one_number_for_all_classes(text, expected):
    assert read_thresholds(text, 3).tolist() == [expected] * 3


def test_a_spreadsheet_runs_no_class_name(tmp_path):
    metrics = YouTube8MMetrics(3, 3)
    metrics.update(np.array([[0.9, 0.2, 0.1]], np.float32), [[0]])
    names = {0: "=1+1", 1: "-18 °C"}
    write_report(metrics, 1.0, tmp_path / "metrics.json", ReportOptions(2, names, 0))
    with (tmp_path / "classes.csv").open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["'=1+1", "'-18 °C", ""]
    assert read_thresholds(str(tmp_path / "classes.csv"), 3)[0] == pytest.approx(0.9)


def test_thresholds_that_eval_chose(tmp_path):
    metrics = YouTube8MMetrics(3, 3)
    metrics.update(np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.2]], np.float32), [[0], [1]])
    report = write_report(metrics, 1.0, tmp_path / "metrics.json", ReportOptions(batch_size=2, resamples=0))
    chosen = report.details["best_f1"]["threshold"]
    assert read_thresholds(str(tmp_path / "report.json"), 3).tolist() == [chosen] * 3
    content = (tmp_path / "classes.csv").read_bytes()
    for edited in (content, b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")):  # as spreadsheets write it
        (tmp_path / "classes.csv").write_bytes(edited)
        assert read_thresholds(str(tmp_path / "classes.csv"), 3) == pytest.approx([0.9, 0.3, np.inf])


HOLD_NONE = {
    "wrong.json": "{}",
    "null.json": '{"best_f1": {"threshold": null}}',
    "large.json": '{"best_f1": {"threshold": 5}}',
    "deep.json": "[" * 100_000,
    "wrong.csv": "index,name\n0,a\n",
    "more.csv": "index,threshold\n7,0.5\n",
    "negative.csv": "index,threshold\n-1,0.5\n",
    "large.csv": "index,threshold\n0,0.5\n1,50\n",
    "nan.csv": "index,threshold\n0,0.5\n1,nan\n",
    "short.csv": "index,threshold\n0\n",
    "long.csv": f"index,threshold\n0,{'5' * 200_000}\n",
}


@pytest.mark.parametrize("text", ["-0.1", "1.5", "half", "nan", "inf", *sorted(HOLD_NONE)])
def test_what_holds_no_thresholds_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    for name, content in HOLD_NONE.items():
        Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(AlstmError, match=rf"--threshold {text}: no thresholds for these classes; pass a number"):
        read_thresholds(text, 3)
    with pytest.raises(AlstmError, match=r"missing\.json: no such file"):
        read_thresholds("missing.json", 3)


def test_a_score_that_equals_its_threshold_reaches_it():
    (row,) = predict(fixed_net([[0.0, 0.0]]), looked_up(1, num_classes=2), top_k=2, thresholds=np.array([0.5, 0.5001]))
    assert row["labels"] == [{"index": 0, "name": None, "score": 0.5}]


def test_calibrated_scores_keep_labels_and_thresholds_of_eval_apply_to_the_scores_it_saw(net, shards, tmp_path):
    """A number is a limit of the scores that are shown."""
    scale = Calibration(0.3, -0.4)
    raw = list(predict(net, read_batches(shards, 7, 20), top_k=20))
    shown = list(predict(net, read_batches(shards, 7, 20), top_k=20, calibration=scale))
    for row, other in zip(raw, shown, strict=True):
        assert [label["index"] for label in row["labels"]] == [label["index"] for label in other["labels"]]
        expected = scale(np.array([label["score"] for label in row["labels"]]))
        assert [label["score"] for label in other["labels"]] == pytest.approx(expected, abs=2e-6)
    metrics = YouTube8MMetrics(20, 20)
    for batch, scores, _ in score_batches(net, read_batches(shards, 7, 20)):
        metrics.update(scores, batch.labels)
    write_report(metrics, 1.0, tmp_path / "metrics.json", ReportOptions(7, resamples=0))
    for name in ("classes.csv", "report.json"):
        given = str(tmp_path / name)
        kept = [
            list(predict(net, read_batches(shards, 7, 20), top_k=20, thresholds=limits, calibration=each))
            for each, limits in ((UNCHANGED, read_thresholds(given, 20)), (scale, read_thresholds(given, 20, scale)))
        ]
        found = [[[label["index"] for label in row["labels"]] for row in rows] for rows in kept]
        assert found[0] == found[1] and any(found[0])
    assert read_thresholds("0.5", 3, scale).tolist() == [0.5] * 3


def row_of(video: str, *scores: float) -> PredictionRow:
    return {"video": video, "labels": [{"index": 0, "name": None, "score": score} for score in scores]}


def test_the_videos_to_label_next_are_those_whose_best_score_is_lowest():
    rows = [row_of(f"v{number}", 0.9 - number / 100, 0.1) for number in range(8)]
    rows += [row_of("b", 0.3), row_of("a", 0.3, 0.3), row_of("none")]
    assert [row["video"] for row in most_uncertain(rows)] == ["none", "a", "b", "v7", "v6"]
    assert most_uncertain(rows[:10]) == [] and len(most_uncertain(rows[:11])) == 5


def test_only_labels_that_reach_their_threshold(net, shards):
    whole = {row["video"]: row["labels"] for row in predict(net, read_batches(shards, 7, 20), top_k=20)}
    limits = np.full(20, np.inf)
    fives = [label["score"] for labels in whole.values() for label in labels if label["index"] == 5]
    limits[[3, 5]] = 0.0, np.median(fives)
    rows = list(predict(net, read_batches(shards, 7, 20), top_k=20, thresholds=limits))
    assert [row["video"] for row in rows] == list(whole)
    for row in rows:
        assert row["labels"] == [label for label in whole[row["video"]] if label["score"] >= limits[label["index"]]]
    assert sum(label["index"] == 5 for row in rows for label in row["labels"]) == len(fives) // 2


@pytest.mark.parametrize("count", [1, 127, 128, 129])
def test_every_video_of_the_list_exactly_once(net, tmp_path, count):
    shards = write_shards(tmp_path, [[a_video(f"v{number:05d}", 1 + number % 3) for number in range(count)], []])
    rows = write_predictions(predict(net, read_batches(shards, 128, 20), top_k=2), tmp_path)
    assert [row["video"] for row in rows] == [f"v{number:05d}" for number in range(count)]
    assert len((tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()) == count + 1
