"""Contributions of seconds to labels: equal to finite differences, and exact for a network that can be read."""

from __future__ import annotations

import hashlib
import json
from typing import cast

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from support import a_net, a_video, default_of, score_all, write_shards

from alstm_helpers.commands import evaluation as commands
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.explain import (
    explain,
    strongest_second,
    videos_with_ids,
    write_explanation,
    write_report_with_figure,
)
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import paddle


@pytest.fixture(scope="module")
def net(tiny_config):
    return a_net(tiny_config)


@pytest.fixture(scope="module")
def video():
    return a_video("v/1", 12, [3])


def test_scores_and_attention_are_those_of_the_network(net, video):
    report = explain(net, video, top_k=20, class_names={0: "zero"})
    expected = score_all(net, (video.rgb[None], video.audio[None], np.array([12])))
    assert report["video"] == "v/1" and report["seconds"] == 12
    assert [label["score"] for label in report["labels"]] == pytest.approx(np.sort(expected.scores[0])[::-1].tolist())
    assert {label["index"]: label["name"] for label in report["labels"]}[0] == "zero"
    assert report["attention"]["rgb"] == pytest.approx(expected.rgb_attention[0].tolist())
    assert report["attention"]["audio"] == pytest.approx(expected.audio_attention[0].tolist())


def test_contributions_are_the_slope_of_the_logit(net, video):
    """By finite differences: change the attention weight of one second, and nothing else."""
    report = explain(net, video, top_k=1)
    label = report["labels"][0]
    contributions = {"rgb": label["rgb"], "audio": label["audio"]}
    attention = {"rgb": report["attention"]["rgb"], "audio": report["attention"]["audio"]}
    inputs = [paddle.to_tensor(array) for array in (video.rgb[None], video.audio[None], np.array([12]))]
    original = type(net)._stream
    step = 1e-2

    def logit(stream, second, by):
        def changed(self, index, frames, lengths, mask, bits):
            states, _ = getattr(self, f"bi_lstm{index}")(
                paddle.tanh(getattr(self, f"fc_feature{index}")(frames.astype("float32") * (4 / 255) + 4 / 512 - 2)),
                sequence_length=lengths,
            )
            _, weights = original(self, index, frames, lengths, mask, bits)
            values = weights.numpy()
            if index == stream:
                values[0, second] += by
            return paddle.bmm(paddle.to_tensor(values).unsqueeze(1), states).squeeze(1), weights

        type(net)._stream = changed
        try:
            with paddle.no_grad():
                return float(net(*inputs)[0, label["index"]])
        finally:
            type(net)._stream = original

    for stream, name in enumerate(("rgb", "audio")):
        for second in (0, 5, 11):
            slope = (logit(stream, second, step) - logit(stream, second, -step)) / (2 * step)
            expected = attention[name][second] * slope
            assert contributions[name][second] == pytest.approx(expected, rel=0.02, abs=2e-5)


def test_mode_and_gradients_of_the_network_stay_as_they_were(net, video):
    expected = explain(net, video)
    net.train()
    try:
        assert explain(net, video) == expected  # no dropout, which draws anew each time
        assert net.training
        assert all(parameter.grad is None for parameter in net.parameters())
    finally:
        net.eval()


def test_more_labels_requested_than_classes(net, video):
    assert len(explain(net, video, top_k=99)["labels"]) == 20


def test_what_cannot_be_explained_is_refused(net, tiny_config, video):
    with pytest.raises(AlstmError, match="video empty: it has no seconds"):
        explain(net, a_video("empty", 0))
    with pytest.raises(AlstmError, match=r"MODEL\.pooling: mean has no attention"):
        explain(a_net(tiny_config, "mean"), video)


def test_strongest_second():
    assert strongest_second({"rgb": [0.1, -9.0, 0.3], "audio": [0.2, 0.25, -1.0]}) == ("rgb", 2)
    assert strongest_second({"rgb": [0.1], "audio": [0.2]}) == ("audio", 0)


def test_videos_with_ids(tmp_path):
    shards = write_shards(tmp_path, [[a_video("a", 1), a_video("b", 2)], [a_video("c", 3)]])
    shards.append(tmp_path / "never read.pkl")  # all videos are found before it
    assert [video.id for video in videos_with_ids(shards, ["c", "a"])] == [b"c", b"a"]
    with pytest.raises(AlstmError, match=r"--video z: no shard of the list has it"):
        videos_with_ids(shards[:2], ["a", "z"])


@pytest.mark.parametrize("name, file", [("v1", "v1"), ("v/1", "v_1"), ("..\\..\\x", "x"), ("../", "video")])
def test_files_stay_in_their_folder(net, tmp_path, name, file):
    report = explain(net, a_video(name, 3), top_k=2)
    file += "" if name == file else f"-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    assert write_explanation(report, tmp_path / "out") == tmp_path / "out" / f"{file}.png"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{file}.json", f"{file}.png"]
    assert json.loads((tmp_path / "out" / f"{file}.json").read_text(encoding="utf-8")) == report
    assert np.array(Image.open(tmp_path / "out" / f"{file}.png").convert("L")).min() < 100


@pytest.mark.parametrize("tight", [False, True])
def test_a_picture_is_cropped_only_if_asked_for(net, tmp_path, tight):
    report = explain(net, a_video("v", 3), top_k=1)
    figure = Figure(figsize=(6, 6), dpi=100)
    figure.text(0.5, 0.5, "small")
    size = {"tight": True} if tight else {}
    with Image.open(write_report_with_figure(report, figure, tmp_path, **size)) as picture:
        assert (picture.width >= 600) is not tight


def test_five_labels_are_explained_unless_said_otherwise(net, video):
    assert len(explain(net, video)["labels"]) == default_of(commands.explain, "--infer_topk") == 5


def test_a_video_that_is_asked_for_twice_is_given_twice(tmp_path):
    shards = [*write_shards(tmp_path, [[a_video("a", 1), a_video("a", 2)]]), tmp_path / "never read.pkl"]
    assert [video.num_frames for video in videos_with_ids(shards, ["a", "a"])] == [1, 1]  # the first of that id


def test_each_label_is_due_to_its_own_seconds():
    """A network that can be read: its states are the frames, and the first three bytes of a second are votes."""

    class Readable:
        pooling, training = "attention", False

        def eval(self):
            self.training = False

        def __call__(self, rgb, audio, lengths, return_attention):
            streams = [(rgb, paddle.to_tensor([[0.2, 0.3, 0.5]])), (audio, paddle.to_tensor([[0.6, 0.3, 0.1]]))]
            for _, weights in streams:
                weights.stop_gradient = False
            pooled = [
                paddle.bmm(w.unsqueeze(1), frames[:, :, :3].astype("float32")).squeeze(1) for frames, w in streams
            ]
            return pooled[0] + 2 * pooled[1], [weights for _, weights in streams]

    rgb, audio = np.zeros((3, 1024), np.uint8), np.zeros((3, 128), np.uint8)
    rgb[:, :3], audio[0, 1] = np.diag([1, 2, 3]), 5
    video = a_video("r", 3)._replace(rgb=rgb, audio=audio)
    labels = {label["index"]: label for label in explain(cast(AttentionLSTM, Readable()), video, top_k=3)["labels"]}
    assert labels[0]["rgb"] == pytest.approx([0.2, 0, 0]) and labels[0]["audio"] == pytest.approx([0, 0, 0])
    assert labels[1]["rgb"] == pytest.approx([0, 0.6, 0]) and labels[1]["audio"] == pytest.approx([6, 0, 0])
    assert labels[2]["rgb"] == pytest.approx([0, 0, 1.5])
    assert strongest_second(labels[1]) == ("audio", 0)


@pytest.mark.parametrize("logit", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_not_explained(tiny_config, video, logit):
    net = a_net(tiny_config)
    net.fc_logit.bias.set_value(np.full(20, logit, dtype=np.float32))
    with pytest.raises(AlstmError, match="scores of video v/1: not finite; use other weights"):
        explain(net, video)


def test_contributions_that_are_not_finite_leave_no_file(net, video, tmp_path):
    report = explain(net, video, top_k=1)
    report["labels"][0]["rgb"][3] = np.inf
    with pytest.raises(AlstmError, match=r"\.json: a number that belongs in it is NaN or infinity; use other weights"):
        write_report_with_figure(report, plt.figure(), tmp_path)
    assert not list(tmp_path.iterdir()) and not plt.get_fignums()
