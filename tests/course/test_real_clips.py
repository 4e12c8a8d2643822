"""Real clips: fetched once and required to be the very files; without a network, pans that say what they are."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from alstm_helpers.course.real_clips import PUBLISHED, Published, real_clips
from alstm_helpers.data.transfer import Retry
from alstm_helpers.own_videos.media import Clip, read_frames

RETRY = Retry(attempts=1, timeout=0.5, pause=0.01)


@pytest.fixture
def published(server, monkeypatch, tmp_path):
    """Two clips on a server of this machine."""
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ALSTM_WEIGHTS_MIRROR", raising=False)
    server.files |= {"a.mp4": b"first", "b.mp4": b"second"}
    return [
        Published(f"{server.url}/commit/{name}", hashlib.sha256(server.files[name]).hexdigest(), "Car", "us, CC0")
        for name in ("a.mp4", "b.mp4")
    ]


def test_clips_are_fetched_once(server, published, tmp_path):
    clips, note = real_clips(tmp_path / "pans", published, RETRY)
    assert [(clip.name, clip.path.read_bytes()) for clip in clips] == [("a", b"first"), ("b", b"second")]
    assert note == "2 clips that a camera recorded"
    server.files.clear()
    assert real_clips(tmp_path / "pans", published, RETRY)[0] == clips and server.gets == ["a.mp4", "b.mp4"]
    assert not (tmp_path / "pans").exists()


@pytest.mark.parametrize("fault", ["missing", "another file"])
def test_pans_stand_in_for_all_clips_if_one_is_missing(server, published, tmp_path, fault):
    if fault == "missing":
        del server.files["b.mp4"]
    else:
        server.files["b.mp4"] = b"a page to log in"
    clips, note = real_clips(tmp_path / "pans", published, RETRY)
    assert [clip.name for clip in clips] == ["temple", "flower"]
    assert note.startswith("no real clips here (") and note.endswith("): these are pans over two photographs")


def test_without_a_network_it_the_flower_is_cut_into_the_temple(monkeypatch, published, tmp_path):
    monkeypatch.setenv("ALSTM_WEIGHTS_MIRROR", "http://127.0.0.1:9")  # nobody listens there
    clips, note = real_clips(tmp_path / "pans", retry=RETRY)
    assert "no answer" in note
    temple, flower = (np.stack(list(read_frames(Clip(clip.path), 64))).astype(int) for clip in clips)
    assert temple.shape == flower.shape == (12, 64, 64, 3)
    same = [abs(a - b).mean() < 3 for a, b in zip(temple, flower, strict=True)]
    assert [second for second, is_flower in enumerate(same) if is_flower] == [7, 8]
    assert abs(flower[0] - flower[-1]).mean() > 10  # it moves


def test_the_addresses_name_a_commit_and_the_licence():
    for clip in PUBLISHED:
        assert re.search(r"/[0-9a-f]{40}/[\w-]+\.mp4$", clip.url) and re.fullmatch(r"[0-9a-f]{64}", clip.sha256)
        assert re.search(r", CC( BY 4\.|)0", clip.source)
