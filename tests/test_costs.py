"""The page on what the commands cost: how a growth is computed and shown, and that the page has every command."""

from __future__ import annotations

import pytest

from tools import costs
from tools.site import DOCS

ROUNDS: list[costs.Round] = [
    {
        (name, more): costs.Cost(2 + noise + 3 * (more is not None), 4, 100 + (noise if more is None else 1), 5)
        for name, command in costs.COMMANDS.items()
        for more in (None, *command.more)
    }
    for noise in (0.0, 0.5, 2.0)
]


@pytest.mark.parametrize(
    ("name", "more", "units"),
    [("convert", "videos", 1.6), ("convert", "shards", 0.396), ("convert", "seconds", 400 * 120 / 3600)],
)
def test_a_growth_is_the_difference_of_two_runs_of_one_round(name, more, units):
    processor, clock, memory, disk = costs.growth(name, more, ROUNDS)
    assert processor == pytest.approx([3 / units] * 3) and clock == disk == [0] * 3
    assert memory == pytest.approx([1 / units, 0.5 / units, -1 / units])


def test_a_number_comes_with_its_spread_and_a_growth_that_may_be_none_is_not_shown():
    assert costs.shown([2.0, 1.0, 4.5]) == "2.00 (1.00–4.50)"
    assert costs.shown([1234.4, 12.0]) == "623 (12–1,234)"
    assert costs.shown([33.333, 33.332]) == "33.3"
    assert costs.shown([0.0, 3.0]) == costs.shown([-1.0, 3.0]) == "–"


def test_the_tables_have_a_row_for_every_run():
    found = costs.tables(ROUNDS)
    assert "| `convert` | 400 videos | 2.50 (2.00–4.00) | 4.00 | 100 (100–102) | 5.00 |" in found["smallest"]
    assert "| `convert` | 1,000 videos | 1.88 | – | – | – |" in found["growth"]
    assert len(found["growth"].splitlines()) == 2 + sum(len(command.more) for command in costs.COMMANDS.values())


def test_the_page_has_the_tables_of_these_commands():
    page = (DOCS / "costs.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for text in costs.tables(ROUNDS).values() for line in text.splitlines()]
    for command, of in rows:
        assert f"|{command}|{of}|" in page, f"{command}: run `make costs`"


def test_the_words_of_a_command(tmp_path):
    made = costs.Inputs(tmp_path)
    (tmp_path / "data-3-1-30-20").mkdir()
    words = made.filled("x {data}/tf {out} --train {videos}", costs.Size(3, 1), tmp_path / "a b")
    assert words == ["x", f"{tmp_path}/data-3-1-30-20/tf", f"{tmp_path}/a b", "--train", "3"]
    assert "-oMODEL.num_classes=20" in made.filled("{settings}", costs.Size(3, 1), tmp_path)
