"""The start and the end of every notebook: folders, settings, figures, and the table of expected results."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from support import ids_of

from alstm_helpers.course import lab as lab_module
from alstm_helpers.course.lab import PROFILES, Expected, Lab, Profile, Table, are_numbers
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.errors import AlstmError, ConfigError, DeviceError
from alstm_helpers.paths import course_files
from alstm_helpers.runtime import paddle


@pytest.fixture
def lab(tmp_path):
    return Lab("03_data", profile="tiny", seed=0, data_dir=str(tmp_path / "data"), out_dir=str(tmp_path / "out"))


@pytest.fixture
def small_profile(monkeypatch):
    """A profile whose data is made in a moment."""
    monkeypatch.setitem(PROFILES, "tiny", Profile(train=20, val=10, epochs=1, compare_epochs=1))


def test_a_command_is_shown_with_short_paths_and_its_status_returned(tmp_path, capsys):
    """Its own lines and its errors in their order; it runs in OUT_DIR, where relative paths begin."""
    lab = Lab("09 自己", profile="tiny", seed=0, data_dir=str(tmp_path / "数据"), out_dir=str(tmp_path / "out"))
    scratch = tmp_path / "out" / "09 自己"
    scratch.mkdir()
    (scratch / "labels.csv").write_text("video,labels\na.mp4,cat\n", encoding="utf-8")
    assert lab.alstm("labels", "import", scratch / "labels.csv", "--out", "labels") == 0
    assert lab.alstm("lists", tmp_path / "数据") == 1
    done, failed = capsys.readouterr().out.split("$ alstm ")[1:]
    assert done.startswith("labels import scratch/labels.csv --out labels\n1 clip")
    assert (tmp_path / "out" / "labels" / "annotations.csv").exists()
    assert failed.startswith("lists data\nerror: data") and str(tmp_path) not in done + failed
    assert lab.run("lists", tmp_path / "数据")[0] == 1
    assert lab.short(course_files() / "configs" / "x.yaml") == str(Path("configs", "x.yaml"))


# --- the lab ---------------------------------------------------------------------------------------------------


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab("03_data", profile="small", seed=7, data_dir="d", out_dir="o")
    assert (lab.data_dir, lab.out_dir, lab.seed) == (tmp_path / "d", tmp_path / "o", 7)
    assert lab.out_dir.is_dir() and not lab.data_dir.exists()
    monkeypatch.setattr(lab_module, "work_folder", lambda: tmp_path / "clone")
    lab = Lab("03_data", profile="small", seed=0)
    assert lab.data_dir == tmp_path / "clone/data/course/small"
    assert lab.out_dir == tmp_path / "clone/build/lab/small"


@pytest.mark.parametrize(
    "settings, start",
    [
        ({"profile": "huge"}, "PROFILE: 'huge' is unknown; "),
        ({"device": "tpu"}, "DEVICE: 'tpu' is unknown; "),
    ],
)
def test_unknown_settings_are_rejected(tmp_path, settings, start):
    with pytest.raises(ConfigError, match=f"^{start}.*(tiny|cpu)"):
        Lab("x", **{"profile": "tiny", "seed": 0, "out_dir": str(tmp_path / "out"), **settings})
    assert not (tmp_path / "out").exists()


def test_config_is_the_recipe_with_the_data_of_the_notebook(lab):
    config = lab.config(TRAIN__learning_rate=0.5, MODEL__pooling="mean")
    assert config.MODEL.dataset == "FlashDigits" and config.MODEL.num_classes == 20
    assert config.TRAIN.filelist == str(lab.data_dir / "train.list")
    assert config.INFER.class_names == str(lab.data_dir / "labels.csv")
    assert config.TRAIN.epoch == PROFILES["tiny"].epochs and not config.TRAIN.use_gpu
    assert (config.TRAIN.learning_rate, config.MODEL.pooling) == (0.5, "mean")
    assert lab.config(TRAIN__epoch=2).TRAIN.epoch == 2
    with pytest.raises(ConfigError, match=r"TRAIN\.epochs: unknown key"):
        lab.config(TRAIN__epochs=2)


def test_only_full_has_the_real_set_and_it_compares_as_small(tmp_path):
    labs = {name: Lab("x", profile=name, seed=0, out_dir=str(tmp_path)) for name in PROFILES}
    assert [name for name, lab in labs.items() if lab.real_set()] == ["full"]
    assert {name: lab.scale for name, lab in labs.items()} == {"tiny": "tiny", "small": "small", "full": "small"}


@pytest.mark.parametrize("device, use_gpu", [("cpu", False), ("gpu", None), ("auto", False)])
def test_device(tmp_path, monkeypatch, device, use_gpu):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    lab = Lab("x", profile="tiny", seed=0, out_dir=str(tmp_path), device=device)
    if use_gpu is None:
        with pytest.raises(DeviceError):
            lab.uses_gpu()
    else:
        assert lab.uses_gpu() is use_gpu


def test_ensure_data_makes_it_once(lab, small_profile, capsys):
    """The first call makes shards, pickles and lists; the second makes nothing."""
    lab = Lab("x", profile="tiny", seed=0, data_dir=str(lab.data_dir), out_dir=str(lab.out_dir))
    assert lab.ensure_data() == lab.data_dir
    assert capsys.readouterr().out.startswith("made 30 videos in ")
    assert len(ids_of(read_filelist(lab.data_dir / "train.list"))) == 20
    assert len(ids_of(read_filelist(lab.data_dir / "val.list"))) == 10
    stamps = {path: path.stat().st_mtime_ns for path in lab.data_dir.rglob("*.pkl")}
    assert len(stamps) == 8
    lab.ensure_data()
    assert capsys.readouterr().out == "30 videos are ready\n"
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    other = Lab("x", profile="tiny", seed=1, data_dir=str(lab.data_dir), out_dir=str(lab.out_dir))
    with pytest.raises(AlstmError, match=r"flashdigits\.json: the folder holds .*'seed': 0"):
        other.ensure_data()


def test_ensure_model_trains_once_for_the_same_settings(lab, monkeypatch, small_profile, capsys):
    trainings = []

    def fake(config, save_dir, options):
        trainings.append((config.TRAIN.epoch, options.seed))
        save_dir.mkdir(parents=True, exist_ok=True)
        (save_dir / "AttentionLSTM_best.pdparams").write_bytes(b"weights")

    monkeypatch.setattr("alstm_helpers.training.train.train", fake)
    monkeypatch.setattr(Lab, "ensure_data", lambda self: self.data_dir)
    lab = Lab("06_x", profile="tiny", seed=3, data_dir=str(lab.data_dir), out_dir=str(lab.out_dir))
    assert lab.ensure_model() == lab.checkpoints / "AttentionLSTM_best.pdparams"
    assert "no trained model here yet" in capsys.readouterr().out
    assert trainings == [(PROFILES["tiny"].epochs, 3)]
    assert lab.ensure_model().read_bytes() == b"weights"
    assert len(trainings) == 1 and not capsys.readouterr().out
    other = Lab("06_x", profile="tiny", seed=4, data_dir=str(lab.data_dir), out_dir=str(lab.out_dir))
    other.ensure_model()  # other settings: the checkpoints there do not count
    assert trainings[1:] == [(PROFILES["tiny"].epochs, 4)]
    lab.run_folder.finished.unlink()  # and neither do those of a training that was interrupted
    other.ensure_model()
    assert len(trainings) == 3
    for number, content in enumerate(["", "{", "\xff", "[" * 100_000], 4):  # nor those of one that nobody can tell
        lab.run_folder.finished.write_text(content, encoding="latin-1")
        other.ensure_model()
        assert len(trainings) == number
    assert len(list(lab.checkpoints.iterdir())) == 2


def test_notebooks_that_need_the_model_at_once_train_it_once(lab, monkeypatch, small_profile, capsys):
    trainings = []

    def fake(config, save_dir, options):
        trainings.append(save_dir)
        time.sleep(0.5)  # meanwhile the other one comes
        (save_dir / "AttentionLSTM_best.pdparams").write_bytes(b"weights")

    monkeypatch.setattr("alstm_helpers.training.train.train", fake)
    monkeypatch.setattr(Lab, "ensure_data", lambda self: self.data_dir)
    with ThreadPoolExecutor(3) as notebooks:
        assert len(set(notebooks.map(Lab.ensure_model, [lab] * 3))) == 1
    assert len(trainings) == 1


# --- figures and tables -----------------------------------------------------------------------------------------


def test_show_saves_and_describes_the_figure(lab, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: shown.append((args, kwargs)))
    figure, axes = pyplot.subplots()
    axes.plot([1, 2])
    lab.show(figure, "curve", alt="A line that rises.")
    content = (lab.out_dir / "figures" / "03_data-curve.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    ((bundle,), settings), *more = shown
    assert not more
    assert bundle == {"image/png": content, "text/plain": "A line that rises."}
    assert settings["metadata"] == {"image/png": {"alt": "A line that rises."}} and settings["raw"]
    assert not pyplot.fignum_exists(figure.number)  # closed, or JupyterLab would show it twice


def test_show_needs_a_description(lab):
    with pytest.raises(TypeError, match="alt"):
        lab.show(pyplot.figure(), "curve")
    pyplot.close("all")


def test_table_as_text():
    text = repr(Table(["name", "value"], [["a", 0.123456], ["longer", 12], ["c", np.float64(1e-7)]]))
    assert text.splitlines() == ["name    value", "a       0.1235", "longer  12", "c       1e-07"]


def test_table_as_html_escapes():
    html = Table(["<b>"], [["a & b"], [1.0]])._repr_html_()
    assert "&lt;b&gt;" in html and "a &amp; b" in html and "<b>" not in html
    assert html.count("<tr>") == 3 and html.count("<td") == 2 and html.count("<th ") == 1


def test_numbers_in_a_table_end_at_the_right():
    rows = [["a", 0.5, "1,507 (1–2)", "± 2", "12 %", "", "0:43"], ["2", -1e-7, "–", "± 0.1", "3 MB", 4, "1:10"]]
    html = Table(["name", *"123456"], rows)._repr_html_()
    assert re.findall("text-align:(left|right)", html) == ["left", *["right"] * 6] * 3
    assert not are_numbers(["3 videos"]) and not are_numbers(["[1, 2]"]) and not are_numbers([""])


# --- expected results -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "yours, ok", [(0.5, True), (0.6, True), (0.4, True), (0.61, False), (0.39, False), (float("nan"), False)]
)
def test_expected_is_within_the_tolerance(yours, ok):
    assert Expected("gap", yours, 0.5, 0.1 + 1e-12).ok is ok


def test_expected_results_are_shown_and_stored(lab):
    table = lab.expected_results([("videos", 60, 60, 0), ("GAP", 0.71, 0.8, 0.05)])
    lines = repr(table).splitlines()
    assert lines[0].split() == ["yours", "reference", "tolerance"]
    assert lines[1].split() == ["videos", "60", "60", "±", "0", "✓"]
    assert lines[2].split() == ["GAP", "0.71", "0.8", "±", "0.05", "✗", "outside"]
    stored = json.loads((lab.out_dir / "expected" / "03_data.json").read_text(encoding="utf-8"))
    assert stored == [
        {"name": "videos", "yours": 60, "reference": 60, "tolerance": 0, "ok": True},
        {"name": "GAP", "yours": 0.71, "reference": 0.8, "tolerance": 0.05, "ok": False},
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_result_that_is_not_there_yet_is_stored_as_json_knows_it(lab, number):
    assert "outside" in repr(lab.expected_results([("GAP", number, 0.8, 0.05)]))
    text = (lab.out_dir / "expected" / "03_data.json").read_text(encoding="utf-8")
    (row,) = json.loads(text, parse_constant=pytest.fail)
    assert row["yours"] is None and row["ok"] is False


def test_references_of_another_seed_are_said_to_be(tmp_path):
    lab = Lab("03_data", profile="tiny", seed=7, data_dir=str(tmp_path / "data"), out_dir=str(tmp_path / "out"))
    assert "reference, with SEED = 0" in repr(lab.expected_results([("GAP", 0.71, 0.8, 0.05)]))


@pytest.mark.parametrize("number", [np.float64, np.float32, np.int64, int])
def test_expected_results_take_numpy_s_numbers(lab, number):
    """References may be computed in the notebook, too."""
    lab.expected_results([("a", number(2), number(2), number(1)), ("b", number(5), number(2), number(1))])
    stored = json.loads((lab.out_dir / "expected" / "03_data.json").read_text(encoding="utf-8"))
    assert [row["ok"] for row in stored] == [True, False]
    assert stored[1] == {"name": "b", "yours": 5, "reference": 2, "tolerance": 1, "ok": False}


READY = "from alstm_helpers.course.lab import Lab; import sys; Lab('01_model', profile='tiny', seed=0, "
READY += "data_dir=sys.argv[1], out_dir=sys.argv[1] + '/out').ensure_data()"


def test_notebooks_that_start_together_make_the_data_once(tmp_path):
    """Four start at once on an empty folder, as in a workshop, and wait for each other; then all find it ready."""
    command = [sys.executable, "-c", READY, str(tmp_path / "data")]
    for first in (True, False):
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        said = [run.communicate(timeout=120) for run in runs]
        assert [run.returncode for run in runs] == [0] * 4, said
        assert not any(".tmp" in path.name for path in (tmp_path / "data").rglob("*"))
        ready = ["2400 videos are ready" in out for out, _ in said]
        assert not all(ready) if first else all(ready)
    assert len(list((tmp_path / "data").glob("*.list"))) == 4
