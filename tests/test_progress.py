"""Progress: a bar where one can be drawn, whole lines elsewhere, and always what went in comes out."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from alstm_helpers import progress
from alstm_helpers.progress import no_progress, progress_bar


class Place:
    """Where a bar is drawn: it notes each text."""

    def __init__(self, texts):
        self.texts = texts

    def update(self, bundle, *, raw):
        assert raw and bundle.keys() == {"text/plain"}
        self.texts.append(bundle["text/plain"])


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


def test_in_jupyterlab_the_bars_of_a_cell_are_one_text_that_ends_empty(monkeypatch, capsys):
    """No widget, which a saved notebook cannot display; nothing on stderr; another cell has a place of its own."""
    shell, shown = SimpleNamespace(execution_count=1), list[list[str]]()

    def display(*_, **__):
        shown.append([])
        return Place(shown[-1])

    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/03_data.ipynb")
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("tqdm.std.tqdm.mininterval", 0, raising=False)
    progress._place.cache_clear()
    for desc in ("epoch 1", "epoch 2"):
        assert list(progress_bar(iter([1, 2]), total=2, desc=desc)) == [1, 2]
    ((*texts, last),) = shown
    assert texts[0].startswith("epoch 1:   0%|") and any(text.startswith("epoch 2:") for text in texts) and last == ""
    assert capsys.readouterr() == ("", "")
    shell.execution_count = 2
    list(progress_bar([1], total=1, desc="epoch 1"))
    assert len(shown) == 2
    progress._place.cache_clear()


def test_a_command_that_a_kernel_starts_draws_no_notebook_s_bar(monkeypatch, capsys):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/03_data.ipynb")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(progress_bar([1, 2], total=2, desc="epoch")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_without_a_total(capsys):
    assert list(progress_bar(iter("ab"), desc="scoring")) == ["a", "b"]
    assert no_progress([1], total=1, desc="x") == [1]
