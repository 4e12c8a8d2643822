"""What `alstm serve` finds in a video file: what `alstm predict` finds, or one sentence, from one decode."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from support import a_net

from alstm_helpers.data.flashdigits import CLASS_NAMES
from alstm_helpers.deployment import serve
from alstm_helpers.deployment.export import export
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.deployment.videos import Videos
from alstm_helpers.loopback import free_port
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.flashdigits_clips import write_video
from alstm_helpers.own_videos.labeller import Labeller
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.timeline import WINDOW
from alstm_helpers.own_videos.watch import watch

FLASH = Extractor("flashdigits", "flashdigits")
NAMES = dict(enumerate(CLASS_NAMES))


@pytest.fixture(scope="module")
def net(tiny_config):
    return a_net(tiny_config)


@pytest.fixture(scope="module")
def model(net, tmp_path_factory):
    """An exported folder with what made its features beside the model."""
    folder = tmp_path_factory.mktemp("labeller") / "model 模型"
    export(net, folder, onnx=True, class_names=NAMES)
    FLASH.save(folder)
    return folder


def test_of_a_short_clip_it_says_what_predict_says(net, model, tmp_path):
    """Each second is scored by itself: nine around it would be all of them."""
    write_video(tmp_path / "short.mp4", np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8), None)
    found = asyncio.run(Labeller(Predictor(model), FLASH, 4)(tmp_path / "short.mp4"))["timeline"]
    right = watch(net, FLASH, Clip(tmp_path / "short.mp4"))
    assert found["window"] == right["window"] == 1
    assert found["labels"][0]["scores"] == pytest.approx(right["over_time"], abs=1e-5)


def test_it_finds_what_predict_finds(net, model, clips):
    clip = clips / "clips" / "c1.mp4"
    found = asyncio.run(Labeller(Predictor(model), FLASH, 4)(clip))
    right = watch(net, FLASH, Clip(clip), top_k=4, class_names=NAMES)
    assert [(each["index"], each["name"]) for each in found["labels"]] == [
        (each["index"], each["name"]) for each in right["labels"]
    ]
    scores = [each["score"] for each in found["labels"]]
    assert scores == pytest.approx([each["score"] for each in right["labels"]], abs=1e-5)
    best, *others = found["timeline"]["labels"]
    assert best["scores"] == pytest.approx(right["over_time"], abs=1e-5) and len(others) == 3
    assert best["index"] == found["labels"][0]["index"] and found["timeline"]["window"] == WINDOW
    assert found["attention"]["audio"] == pytest.approx(right["attention"]["audio"], abs=1e-5)
    assert found["seconds"] == right["seconds"] and found["notes"] == right["notes"] == []
    pictures = found["thumbnails"]
    assert pictures[0]["second"] == 0 and 2 <= len(pictures) <= 12 and pictures[-1]["second"] < found["seconds"]
    assert all(each["jpeg"].startswith("/9j/") for each in pictures)  # how JPEG begins in base64


class Crashing(Extractor):
    """An extractor that ends its process, as a codec may."""

    def raw(self, clip):
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError

    def without_projections(self):
        return self


CUT = "the video: it cannot be opened as a video (Invalid data"


@pytest.mark.posix
def test_a_bad_file_is_one_sentence(model, clips):
    whole = (clips / "clips" / "c1.mp4").read_bytes()
    predictor = Predictor(model)

    def said(content, labeller):
        app = serve.create_app(predictor, videos=Videos(labeller, 10_000_000))
        answer = TestClient(app, base_url="http://127.0.0.1").post("/video", content=content)
        assert answer.status_code == 400 and "\n" not in answer.text
        return answer.json()["error"]

    labeller = Labeller(predictor, FLASH)
    assert said(whole[: len(whole) // 2], labeller).startswith(CUT)
    assert said(b"", labeller).startswith(CUT)
    playlist = b"ffconcat version 1.0\nfile /etc/passwd\n"
    assert said(playlist, labeller).startswith("the video: it is a playlist, a picture, text")
    crashing = Labeller(predictor, Crashing("flashdigits", "flashdigits"))
    assert "the video: the process that worked on it ended (SIGSEGV(-11))" in said(whole, crashing)
    late = Labeller(predictor, FLASH, clip_seconds=0.01)
    assert "the video: it is not done after 0.01 s; leave it out, or pass a larger --clip_seconds" in said(whole, late)


def test_the_command(alstm, model, tmp_path, monkeypatch):
    """It takes videos if the exported folder, or the one that is named, says how their features are made."""
    started: dict[str, Any] = {}
    monkeypatch.setattr(serve, "run_server", lambda predictor, listener, **options: started.update(options))
    alone, port = tmp_path / "alone.onnx", free_port()
    alone.write_bytes((model / "model.onnx").read_bytes())
    limits = ("--max_megabytes", 3, "--infer_topk", 2, "--clip_seconds", 9)
    result = alstm("serve", model, "--port", port, *limits)
    assert result.last == f"drop a video on http://127.0.0.1:{port}/" and started["videos"].max_bytes == 3_000_000
    label = started["videos"].label
    assert (label.top_k, label.clip_seconds, label.extractor.backbone) == (2, 9, "flashdigits")
    assert "drop" not in alstm("serve", alone, "--port", port).out and not started.pop("videos")
    assert "drop" in alstm("serve", alone, "--port", port, "--features", model).out
    assert started["videos"].max_bytes == 200_000_000 and started["videos"].label.top_k == 20
    result = alstm("serve", model, "--port", port, "--features", tmp_path)
    assert result.code == 1 and "features.json: no such file" in result.err
