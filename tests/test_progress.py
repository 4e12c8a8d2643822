"""Progress: a bar where one can be drawn, whole lines elsewhere, and always what went in comes out."""

from __future__ import annotations

import sys

import pytest
from tqdm.auto import tqdm as notebook_bar

from alstm_helpers import progress
from alstm_helpers.progress import no_progress, progress_bar


@pytest.fixture(autouse=True)
def no_jupyter(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


def test_a_short_run_in_a_log_prints_nothing(capsys):
    assert list(progress_bar([1, 2, 3], total=3, desc="epoch")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_long_run_in_a_log_prints_whole_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    sizes = [3_000_000, 1_000_000]
    list(progress_bar(sizes, total=2, desc="converting", size=lambda item: item, total_size=sum(sizes)))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("converting:") and "\r" not in first + last
    assert "100%" in last and "4.00M/4.00M" in last and "2/2" in last and "B/s" in last


def test_a_log_between_does_not_draw_it_again(capsys):
    """tqdm's own bars are redrawn after each line of a log."""
    from tqdm import tqdm

    for item in progress_bar([1, 2, 3], total=3, desc="epoch"):
        tqdm.write(f"line {item}")
    assert capsys.readouterr() == ("line 1\nline 2\nline 3\n", "")


def test_a_bar_on_a_terminal_shows_shards_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress_bar(iter([1_000_000] * 4), total=4, desc="converting", size=lambda item: item, total_size=4_000_000)
    monkeypatch.setattr("tqdm.std.tqdm.mininterval", 0, raising=False)
    assert len(list(bar)) == 4
    drawn = capsys.readouterr().err
    assert "converting" in drawn and "4.00M" in drawn and "\r" in drawn


def test_in_jupyterlab_it_is_tqdms_own_choice(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/03_data.ipynb")
    assert progress._bar() is notebook_bar
    assert list(progress_bar(iter([1, 2, 3]), total=3, desc="epoch")) == [1, 2, 3]


def test_without_a_total(capsys):
    assert list(progress_bar(iter("ab"), desc="scoring")) == ["a", "b"]
    assert no_progress([1], total=1, desc="x") == [1]
