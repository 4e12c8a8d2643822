"""The page of ``alstm serve`` in a browser: a clip is dropped on it, and labels, timeline and pictures appear."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from browser import window
from support import a_net, labelled_clips, serving

from alstm_helpers.deployment import videos
from alstm_helpers.deployment.export import export
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.deployment.videos import Videos
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.labeller import Labeller

DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dropped = new DataTransfer();
    dropped.items.add(new File([bytes], name));
    window.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, cancelable: true }));
}"""
HTML = "<img src=x onerror=alert(1)>"


def drop(page, name, content):
    page.wait_for_selector("#drop")
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def test_a_clip_is_dropped_and_labels_timeline_and_pictures_appear(tiny_config, tmp_path):
    names = {index: f"{HTML} {index}" for index in range(20)}
    export(a_net(tiny_config), tmp_path / "model", onnx=True, class_names=names)
    labelled_clips(tmp_path / "own", 1)
    clip = (tmp_path / "own" / "clips" / "c0.mp4").read_bytes()
    predictor = Predictor(tmp_path / "model")
    labeller = Labeller(predictor, Extractor("flashdigits", "flashdigits"))
    with serving(predictor, Videos(labeller, 10_000_000)) as port, window(375, 800) as opened:
        page = opened.page
        page.goto(f"http://127.0.0.1:{port}/")
        drop(page, f"{HTML}.mp4", clip)
        page.wait_for_selector("#found:not([hidden])")
        assert page.inner_text("#name") == f"{HTML}.mp4"
        rows = page.locator("#labels li").all_inner_texts()
        assert len(rows) == 10 and all(row.startswith(HTML) and "0." in row for row in rows)
        scores = [float(row.split()[-1]) for row in rows]
        assert scores == sorted(scores, reverse=True) and scores[0] > 0
        points = [(each.get_attribute("points") or "").split() for each in page.locator("#scores polyline").all()]
        seconds = page.locator("#attention svg").first.locator("rect").count()
        assert len(points) == 5 and {len(each) for each in points} == {seconds + 2} and seconds == 20
        sizes = "each => each.map((picture) => picture.complete && picture.naturalWidth)"
        pictures = page.locator("#thumbnails img").evaluate_all(sizes)
        assert 6 <= len(pictures) <= 12 and all(size > 16 for size in pictures)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375  # nothing sticks out on a phone
        drop(page, "notes.mp4", b"no video")
        page.wait_for_selector("#error:not([hidden])")
        assert page.inner_text("#error").startswith("notes.mp4: the video: it cannot be opened as a video")
        assert page.is_hidden("#found") and page.is_hidden("#busy")
        assert opened.hosts == {f"127.0.0.1:{port}"}
        assert [each for each in opened.complaints if "400" not in each] == []  # browsers report that status themselves


MODEL = cast(Predictor, SimpleNamespace(class_names=None, num_classes=20, path=Path("model.onnx")))


def test_the_page_can_be_used_without_a_mouse_and_work_can_be_stopped():
    ended = []

    async def label(path):
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(path.read_bytes())

    with serving(MODEL, Videos(label, 1000)) as port, window() as opened:
        page = opened.page
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#drop")
        page.keyboard.press("Tab")
        assert opened.ask("document.activeElement.id") == "file"
        drop(page, "large.mp4", bytes(1001))
        assert page.inner_text("#error").startswith("large.mp4 has 0 MB; cut it, or start alstm serve with a larger")
        drop(page, "slow.mp4", b"abc")
        page.wait_for_selector("text=Looking at slow.mp4")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("#busy", state="hidden")
        assert page.is_hidden("#error")
    assert ended == [b"abc"]


def test_without_features_the_page_says_how_to_start_it():
    with serving(MODEL) as port, window() as opened:
        opened.page.goto(f"http://127.0.0.1:{port}/")
        assert "alstm serve MODEL --features DIR" in opened.page.locator("#error:not([hidden])").inner_text()
        assert opened.page.is_hidden("#drop") and opened.complaints == []


def test_the_page_speaks_the_language_of_the_server(monkeypatch):
    """What its script says, too; and a text of a label or a file is no part of its HTML."""
    monkeypatch.setenv("ALSTM_LANG", "zh-CN")

    async def label(path):
        raise AlstmError(path, "<b>", "no")

    with serving(MODEL, Videos(label, 1000)) as port, window() as opened:
        page = opened.page
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#drop:not([hidden])")
        assert page.inner_text("h1") == "这个视频里有什么？" and opened.ask("document.documentElement.lang") == "zh-CN"
        shown = page.inner_text("main") + str(page.get_attribute("#notes", "aria-label"))
        assert "只用前五分钟" in shown and not re.search("[a-z]{3,}", shown)
        drop(page, f"{HTML}.mp4", bytes(1001))
        assert page.inner_text("#error").startswith(f"{HTML}.mp4 有 0 MB；请剪短它")
        drop(page, f"{HTML}.mp4", b"abc")
        page.wait_for_selector("text=：the video")
        assert page.inner_text("#error").startswith(f"{HTML}.mp4：the video") and not page.locator("b, img").count()


def test_all_that_the_page_says_is_found_for_translation():
    script = Path(videos.__file__).with_name("page").joinpath("page.js").read_text("utf-8")
    assert len(re.findall(r"\btold\(", script)) == len(videos._TOLD.findall(script)) > 10
    assert {"Drop a video here", "Stop", "Notes on the file", "class {index}"} <= set(videos.page_texts())
    assert not [text for text in videos.page_texts() if re.search(r"[<>]|^\W*$", text)]
