"""Evidence: what is read, how settings are compared, and that a sentence without its numbers stops the notebook."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alstm_helpers.course import evidence
from alstm_helpers.course.evidence import FOLDER, Run, claim, load_evidence
from alstm_helpers.course.lab import Lab
from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import course_files
from tools import evidence as tool
from tools.evidence import EXPERIMENTS, Experiment, Measured, text_of

COMMITTED = sorted(path.stem for path in (course_files() / FOLDER).glob("*.json"))
GAPS = {"a": (0.4, 0.5, 0.6), "b": (0.3, 0.41, 0.49), "c": (0.6, 0.3, 0.5)}  # a is above b, c is neither


def some_runs():
    return [
        Run(setting, seed, {"gap": gap}, {"gap": ([1, 2], [0.1, gap])})
        for setting, gaps in GAPS.items()
        for seed, gap in enumerate(gaps)
    ]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write runs as `make evidence` does, and load them."""
    monkeypatch.setattr(evidence, "course_files", lambda: tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)

    def written(runs):
        (tmp_path / FOLDER / "x.json").write_text(text_of("About é.", "make it", runs), encoding="utf-8")
        return load_evidence("x")

    return written


def test_what_is_written_is_read_again(load):
    found = load(some_runs())
    assert (found.about, found.settings, found.seeds) == ("About é.", ["a", "b", "c"], [0, 1, 2])
    assert found.mean("a", "gap") == pytest.approx(0.5) and found.spread("a", "gap") == pytest.approx(0.1)
    assert found.shown("a", "gap") == "0.500 ± 0.100"
    assert found.all_values("gap", "b") == {"b": [0.3, 0.41, 0.49]}
    assert found.curves("gap", "b")["b"][1] == [[1, 2], [0.1, 0.41]]
    assert "3 seeds; make it; Paddle" in found.source
    with pytest.raises(AlstmError, match="no setting 'd'"):
        found.mean("d", "gap")


def test_a_run_is_a_line_and_its_numbers_are_rounded():
    text = text_of("", "", [Run("a", 0, {"gap": 1 / 3}, {"gap": ([1], [2 / 3])})])
    assert '{"setting": "a", "seed": 0, "numbers": {"gap": 0.3333}, "curves": {"gap": [[1.0], [0.6667]]}}' in text
    assert json.loads(text)["runs"][0]["seed"] == 0


def test_settings_are_compared_seed_by_seed(load):
    found = load(some_runs())
    assert found.compare("a", "b", "gap").higher and not found.compare("a", "b", "gap").lower
    assert found.compare("b", "a", "gap").lower
    assert not found.compare("a", "c", "gap").told_apart
    difference, low, high = found.compare("a", "b", "gap")[2:5]
    assert difference == pytest.approx(0.1)
    half = 4.3027 * np.std([0.1, 0.09, 0.11], ddof=1) / np.sqrt(3)  # Student's t with two degrees of freedom
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-5)
    assert str(found.compare("b", "a", "gap")).startswith("b is lower than a: -0.100, 95 % interval -0.125 to -0.075")
    assert str(found.compare("a", "c", "gap")).startswith("a and c are not told apart: +0.033")


def test_a_single_run_is_placed_among_the_others(load):
    found = load(some_runs())
    assert found.place("a", "gap", 0.95).startswith("0.950 is within")  # 0.5 ± 4.3 · 0.1 · √(1 + 1/3)
    assert found.place("a", "gap", 1.05).startswith("1.050 is outside of")
    assert "range of single runs, 0.003 to 0.900 (3 seeds)" in found.place("a", "gap", 0.5, most=0.9)


def test_a_sentence_that_does_not_hold_is_an_error():
    assert claim("it is", True) == "it is"
    with pytest.raises(AlstmError, match="do not bear out: it is not"):
        claim("it is not", False)


@pytest.mark.parametrize(
    "runs", [some_runs()[:2], some_runs()[:4], [*some_runs()[:3], *some_runs()[:3]], [Run("a", 0, {}, {})] * 3]
)
def test_fewer_than_three_seeds_or_others_are_refused(load, runs):
    with pytest.raises(AlstmError, match="the same 3 seeds"):
        load(runs)


def test_a_file_that_is_missing_or_damaged_is_refused(load, tmp_path):
    with pytest.raises(AlstmError, match=r"python -m tools\.evidence"):
        load_evidence("x")
    (tmp_path / FOLDER / "x.json").write_text("[]", encoding="utf-8")
    with pytest.raises(AlstmError, match="this is no evidence"):
        load_evidence("x")


def test_every_setting_is_run_with_every_seed_and_kept_runs_are_not_repeated(load, tmp_path, monkeypatch):
    ran: list[int] = []

    def trial(lab, seed):
        ran.append(seed)
        return Measured({"gap": seed / 10}, {})

    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setitem(EXPERIMENTS, "x", Experiment("About.", {"a": trial, "b": trial}))
    lab = Lab("x", profile="tiny", seed=0, out_dir=str(tmp_path))
    tool.compute("x", lab, [0, 1, 2], keep=False)
    assert ran == [0, 1, 2, 0, 1, 2] and load_evidence("x").values("b", "gap").tolist() == [0, 0.1, 0.2]
    tool.compute("x", lab, [1, 2, 3], keep=True)
    assert ran[6:] == [3, 3] and load_evidence("x").seeds == [1, 2, 3]
    monkeypatch.setattr(tool, "processor_name", lambda: "another")
    before = (tmp_path / FOLDER / "x.json").read_bytes()
    with pytest.raises(SystemExit, match=r"x\.json: its runs were made with .*, this is .*, another; compute all"):
        tool.compute("x", lab, [1, 2, 3, 4], keep=True)
    assert len(ran) == 8 and (tmp_path / FOLDER / "x.json").read_bytes() == before
    tool.compute("x", lab, [1, 2, 3], keep=False)
    assert ran[8:] == [1, 2, 3, 1, 2, 3] and load_evidence("x").made_with["processor"] == "another"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_file_has_the_settings_of_its_experiment(name):
    found = load_evidence(name)
    assert (found.about, found.settings) == (EXPERIMENTS[name].about, list(EXPERIMENTS[name].settings))


def test_every_file_has_its_experiment():
    assert set(COMMITTED) == set(EXPERIMENTS)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize("setting", EXPERIMENTS["real-clips"].settings)
def test_the_table_of_real_clips_has_the_numbers_of_the_evidence(name, setting):
    found = load_evidence("real-clips")
    text = (Path(__file__).resolve().parents[2] / "data" / name).read_text(encoding="utf-8")
    assert f"| {found.shown(setting, 'baseline')} | {found.shown(setting, 'network')} |" in text
    assert f"\n| {found.mean(setting, 'clips'):.0f} " in text


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize("clips", ["fights", "exercises", "wagons", "digits", "people"])
def test_the_table_of_poolings_has_the_numbers_of_the_evidence(name, clips):
    found, own = load_evidence("other-poolings"), load_evidence("real-clips")
    cells = []
    for pooling in ("attention", "attention+deviation"):
        setting = f"{clips}, {pooling}"
        cells.append(found.shown(setting, "network") if setting in found.settings else own.shown(clips, "network"))
    [baseline] = {found.shown(setting, "baseline") for setting in found.settings if setting.startswith(clips)}
    text = (Path(__file__).resolve().parents[2] / "data" / name).read_text(encoding="utf-8")
    assert f" | {baseline} | {cells[0]} | {cells[1]} |\n" in text


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize("setting", EXPERIMENTS["signers"].settings)
def test_the_table_of_signers_has_the_numbers_of_the_evidence(name, setting):
    found = load_evidence("signers")
    text = (Path(__file__).resolve().parents[2] / "data" / name).read_text(encoding="utf-8")
    assert f"| {found.shown(setting, 'baseline, hit_at_1')} | {found.shown(setting, 'network, hit_at_1')} |" in text
