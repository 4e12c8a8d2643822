"""Real clips: fetched once and required to be the very files; without a network, pans that say what they are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest

from alstm_helpers.course import real_clips as module
from alstm_helpers.course.lab import Lab, Table
from alstm_helpers.course.real_clips import (
    BOTH_HANDS,
    ONE_HAND,
    PUBLISHED,
    SIGNS,
    Published,
    Sign,
    real_clips,
    sign_clips,
)
from alstm_helpers.data.transfer import Retry
from alstm_helpers.figures import plots
from alstm_helpers.own_videos.flashdigits_clips import write_video
from alstm_helpers.own_videos.labels import read_annotations
from alstm_helpers.own_videos.media import Clip, read_frames

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "09_own_videos.ipynb"
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


@pytest.fixture
def signs(published):
    """One person's sign with one hand, and another's with both."""
    labelled = (replace(clip, labels=hands) for clip, hands in zip(published, (ONE_HAND, BOTH_HANDS), strict=True))
    return [Sign(person, clip) for person, clip in zip("ab", labelled, strict=True)]


def test_the_folders_of_signs_are_their_labels(signs, tmp_path):
    files, note = sign_clips(tmp_path / "signs", signs, RETRY)
    assert note == "2 clips that a camera recorded"
    expected = {
        "a-a": tmp_path / "signs" / "one hand" / "a-a.mp4",
        "b-b": tmp_path / "signs" / "both hands" / "b-b.mp4",
    }
    assert files == expected and [file.read_bytes() for file in files.values()] == [b"first", b"second"]
    labels = {each.video: each.labels for each in read_annotations(tmp_path / "signs")}
    assert labels == {"both hands/b-b.mp4": ("both hands",), "one hand/a-a.mp4": ("one hand",)}
    assert sign_clips(tmp_path / "signs", signs, RETRY)[0] == files  # again, into the same folder


def test_if_one_sign_is_missing_there_are_none(server, signs, tmp_path):
    del server.files["b.mp4"]
    files, note = sign_clips(tmp_path / "signs", signs, RETRY)
    assert not files and note.startswith("no real clips here (") and not (tmp_path / "signs").exists()


def test_five_people_sign_twenty_signs():
    people = {sign.person: [other.hands for other in SIGNS if other.person == sign.person] for sign in SIGNS}
    assert [len(hands) for hands in people.values()] == [6, 5, 4, 3, 2] and len({sign.name for sign in SIGNS}) == 20
    assert set(people["b"]) == {ONE_HAND} and set(people["c"]) == {BOTH_HANDS}
    assert len({sign.clip.sha256 for sign in SIGNS}) == 20


def test_the_addresses_name_a_commit_and_the_licence():
    for clip in (*PUBLISHED, *(sign.clip for sign in SIGNS)):
        assert re.search(r"/[0-9a-f]{40}/[\w/-]+\.(mp4|mkv)$", clip.url) and re.fullmatch(r"[0-9a-f]{64}", clip.sha256)
        assert re.search(r", CC( BY 4\.|)0", clip.source)


def test_the_cells_of_notebook_09_work_where_the_clips_are(monkeypatch, tmp_path, capsys):
    """CI has no network, so the notebook is executed without them: here, clips of noise take their place."""

    def noise(folder):
        rng, files = np.random.default_rng(0), {}
        for sign in SIGNS:
            files[sign.name] = Path(folder, sign.hands, f"{sign.name}.mp4")
            files[sign.name].parent.mkdir(parents=True, exist_ok=True)
            write_video(files[sign.name], rng.integers(0, 255, (2, 64, 64, 3), np.uint8), None)
        return files, f"{len(files)} clips"

    monkeypatch.setattr(module, "sign_clips", noise)
    lab = Lab("09_own_videos", profile="tiny", seed=0, data_dir=str(tmp_path / "data"), out_dir=str(tmp_path / "out"))
    statuses = []

    def alstm(*words):  # one epoch is enough
        statuses.append((words[0], lab.alstm(*words, *(["-o", "TRAIN.epoch=1"] if words[0] == "crossval" else []))))

    names = {"scratch": lab.out_dir / "09_own_videos", "lab": lab, "alstm": alstm, "np": np, "plots": plots}
    names |= {"Clip": Clip, "read_frames": read_frames, "Table": Table}
    cells = {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
    for name in ("signs", "signs-crossval"):
        exec(cells[name], names)  # noqa: S102 (the course's own)
    shown = capsys.readouterr().out
    assert statuses == [("labels", 0), ("features", 0), ("crossval", 0), ("crossval", 0)], shown
    assert (
        "to know only the person: 80% right" in shown and (lab.out_dir / "figures" / "09_own_videos-signs.png").exists()
    )
    assert shown.count("on 4 videos") == 5 + 1 and "5 independent groups of clips are too few" in shown
