"""PROFILE = "full": the notebooks' own cells, from download to predictions, against a mirror on this machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import yaml

from alstm_helpers.course import youtube8m
from alstm_helpers.course.lab import Lab
from alstm_helpers.data.download import in_shard
from alstm_helpers.data.flashdigits import make_video
from alstm_helpers.data.transfer import Retry
from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import course_files
from alstm_helpers.tfrecord import write_videos

LETTERS = "abcdefghijklmnopqrstuvwxyz"
REAL_SET = ("03_data", "04_training", "05_evaluation", "06_inference")


def names_of_part(split, count):
    """File names that the official protocol assigns to part 1 of 100."""
    every = (f"{split}{first}{second}.tfrecord" for first in LETTERS for second in LETTERS)
    return [name for name in every if in_shard(name, youtube8m.PART)][:count]


@pytest.fixture
def mirror(server, tmp_path, monkeypatch):
    """Two shards per split in the part, and one outside it; a recipe small enough for a test."""
    server.files = {}
    for split, kind in (("train", "train"), ("validate", "val")):
        for index, name in enumerate([*names_of_part(split, 2), f"{split}zz.tfrecord"]):
            shard = tmp_path / "served" / name
            write_videos(shard, [make_video(0, kind, 6 * index + number) for number in range(6)])
            server.files[name] = shard.read_bytes()
    server.plan = {name: hashlib.md5(data).hexdigest() for name, data in server.files.items()}
    recipe = yaml.safe_load((course_files() / "configs" / youtube8m.REAL_RECIPE).read_text(encoding="utf-8"))
    recipe["MODEL"] |= {"embedding_size": 8, "lstm_size": 8, "fc_sizes": [16, 8]}
    recipe["TRAIN"] |= {"epoch": 2, "batch_size": 4}
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    monkeypatch.setattr(youtube8m, "REAL_RECIPE", str(small))
    monkeypatch.setenv(youtube8m.SERVER, server.url)
    return server


@pytest.fixture
def lab(tmp_path):
    return Lab("x", profile="full", seed=0, data_dir=str(tmp_path / "数据"), out_dir=str(tmp_path / "out put"))


def cell_of(notebook):
    cells = nbformat.read(course_files() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    return next(cell.source for cell in cells if cell.id == "real-set")


def test_the_notebooks_walk_the_whole_way(mirror, lab, capsys):
    """Each cell is run as it is, one notebook after the other; nothing is done twice."""
    said = {}
    for notebook in REAL_SET:
        exec(cell_of(notebook), {"lab": lab, "PROFILE": "full"})  # noqa: S102 - the course's own cells
        said[notebook] = capsys.readouterr().out
    real = lab.real_set()
    wanted = sorted(names_of_part("train", 2) + names_of_part("validate", 2))
    assert sorted(mirror.gets) == wanted  # each once, and none from outside the part
    assert "2/frame/train: downloaded 2 files" in said["03_data"]
    assert "{'train.list': 2, 'val.list': 2, 'test.list': 2, 'infer.list': 2}" in said["03_data"]
    assert "AttentionLSTM_best.pdparams" in said["04_training"] and "[VALID]" in said["04_training"]
    assert "'num_videos': 12" in said["05_evaluation"] and "[VALID]" not in said["05_evaluation"]
    assert said["06_inference"].count("'video': ") == 3
    config = real.config()
    assert config.MODEL.num_classes == 3862 and config.TRAIN.num_samples is None


@pytest.mark.parametrize("notebook", REAL_SET)
@pytest.mark.parametrize("profile", ["tiny", "small"])
def test_other_profiles_fetch_nothing(mirror, tmp_path, capsys, notebook, profile):
    lab = Lab("x", profile=profile, seed=0, data_dir=str(tmp_path / "d"), out_dir=str(tmp_path / "o"))
    exec(cell_of(notebook), {"lab": lab, "PROFILE": profile})  # noqa: S102
    assert f"PROFILE is {profile}: nothing is" in capsys.readouterr().out
    assert not mirror.gets and not (tmp_path / "d").exists()


def test_a_failed_download_is_reported_and_the_next_run_continues(mirror, lab, monkeypatch):
    bad = names_of_part("validate", 1)[0]
    whole = mirror.files[bad]
    mirror.files[bad] = b"not what the plan says"
    monkeypatch.setattr(youtube8m, "download", _impatient)
    real = lab.real_set()
    with pytest.raises(AlstmError, match="2/frame/validate: 1 of its files could not be downloaded; run this again"):
        real.get()
    assert not (real.folder / "val.list").exists()
    mirror.files[bad] = whole
    assert real.get()["val.list"] == 2
    assert sum(name.startswith("train") for name in mirror.gets) == 2  # fetched once


def _impatient(partition, mirror, out, options, *, report):
    from alstm_helpers.data.download import download

    return download(partition, mirror, out, replace(options, retry=Retry(attempts=2, pause=0)), report=report)


def test_an_interrupted_training_is_resumed(mirror, lab, monkeypatch):
    from alstm_helpers.training import train as training

    real = lab.real_set()
    real.get()
    lines = []

    def stop(line):
        lines.append(line)
        if real.run_folder.checkpoint.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        real.model(stop)
    assert not real.run_folder.finished.exists()
    again: list[str] = []
    best = real.model(again.append)
    assert best.exists() and any("resumed after epoch 1 of 2" in line for line in again)
    monkeypatch.setattr(training, "train", None)  # a third call does not train
    assert real.model() == best


def test_another_seed_trains_anew(mirror, lab):
    real = lab.real_set()
    real.get()
    first = real.model().read_bytes()
    other = replace(real, seed=real.seed + 1)
    assert other.model().read_bytes() != first
    assert real.model().read_bytes() == first


def test_names_come_from_the_vocabulary(mirror, lab):
    real = lab.real_set()
    assert real.class_names() == {}
    real.folder.mkdir(parents=True)
    (real.folder / "vocabulary.csv").write_text("Index,Name\n3, Game \n1,\n", encoding="utf-8")
    assert real.class_names() == {3: "Game", 1: "class 1"}


def test_the_recipe_is_the_full_size_network():
    folder = course_files() / "configs"
    assert yaml.safe_load(Path(folder, youtube8m.REAL_RECIPE).read_text(encoding="utf-8"))["MODEL"]["lstm_size"] == 1024
    assert json.dumps(youtube8m.PARTITIONS) == '{"train": "2/frame/train", "val": "2/frame/validate"}'
