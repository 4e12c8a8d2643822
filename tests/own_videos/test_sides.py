"""Test that each class is on both sides in proportion, that groups stay together, and that fixed sides stay."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alstm_helpers.own_videos.sides import ALL, balanced_sides


def unit(*classes, clips=1):
    return Counter({ALL: clips, **dict.fromkeys(classes, clips)})


def in_validation(units, sides, key=ALL):
    return sum(units[name][key] for name, side in sides.items() if side == "val")


@settings(deadline=None)
@given(st.lists(st.integers(3, 40), min_size=1, max_size=9), st.floats(0.1, 0.5))
def test_each_class_has_its_share(counts, share):
    """To the clip: a hash gave 18 to 2 in a class of twenty."""
    units = {b"%d-%d" % (c, row): unit(c) for c, count in enumerate(counts) for row in range(count)}
    sides = balanced_sides(units, share, {})
    for c, count in enumerate(counts):
        assert abs(in_validation(units, sides, c) - share * count) <= 1
    assert abs(in_validation(units, sides) - share * sum(counts)) <= len(counts)


@given(st.dictionaries(st.binary(min_size=1), st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=2))
def test_no_side_is_empty(drawn):
    units = {name: unit(c, clips=clips) for name, (c, clips) in drawn.items()}
    for share in (0.001, 0.2, 0.999):
        assert set(balanced_sides(units, share, {}).values()) == {"train", "val"}


def test_one_unit_trains():
    assert balanced_sides({b"a": unit(0, clips=30)}, 0.2, {}) == {b"a": "train"}


def test_an_empty_side_gets_the_smallest_unit_that_is_new():
    units = {b"large": unit(0, clips=9), b"small": unit(0, clips=2), b"middle": unit(0, clips=4)}
    for share, side, other in ((0.001, "val", "train"), (0.999, "train", "val")):
        found = balanced_sides(units, share, {})
        assert found == {b"large": other, b"middle": other, b"small": side}
    fixed = {b"large": "train", b"middle": "train"}  # one new unit may leave a side empty
    assert balanced_sides(units, 0.001, fixed)[b"small"] == "train"


def test_classes_of_two_clips_have_their_share_together():
    """A clip of such a class is more than its share, but none in validation would be less than that of all."""
    units = {b"%d-%d" % (c, row): unit(c) for c in range(20) for row in range(2)}
    sides = balanced_sides(units, 0.2, {})
    assert in_validation(units, sides) == 8
    assert all(in_validation(units, sides, c) <= 1 for c in range(20))


def test_a_large_group_does_not_fill_validation():
    """A video of 30 parts among 20 of one part."""
    units = {b"long": unit(0, clips=30), **{b"%d" % row: unit(0) for row in range(20)}}
    sides = balanced_sides(units, 0.2, {})
    assert sides[b"long"] == "train" and in_validation(units, sides) == 10


@pytest.mark.parametrize("large", [b"a", b"b", b"c", b"d"])
def test_large_units_are_placed_first_as_small_ones_even_out_what_they_leave(large):
    """The other way round two small ones would keep the large one out, and 2 of 8 clips be where 4.8 should be."""
    units = {large: unit(0, clips=6), b"x": unit(0), b"y": unit(0)}
    assert balanced_sides(units, 0.6, {}) == {large: "val", b"x": "train", b"y": "train"}


def test_fixed_sides_stay_and_count():
    units = {b"%d" % row: unit(0) for row in range(20)}
    fixed = {b"%d" % row: "val" for row in range(3)} | {b"gone": "val"}
    sides = balanced_sides(units, 0.2, fixed)
    assert {name: sides[name] for name in units.keys() & fixed} == {b"0": "val", b"1": "val", b"2": "val"}
    assert in_validation(units, sides) == 4 and sides.keys() == units.keys()
    assert set(balanced_sides(units, 0.2, dict.fromkeys(units, "val")).values()) == {"val"}  # nothing is free
    long = balanced_sides({**units, b"long": unit(0, clips=5)}, 0.2, {b"long": "val"})  # counts with all of its clips
    assert [name for name, side in long.items() if side == "val"] == [b"long"]


def test_the_order_of_the_clips_does_not_matter():
    units = {b"%d" % row: unit(row % 3) for row in range(30)}
    assert balanced_sides(units, 0.3, {}) == balanced_sides(dict(reversed(units.items())), 0.3, {})


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_clips_with_several_classes(share):
    """Every other clip has a second class; both classes get their share."""
    units = {b"%d" % row: unit(*([0, 1] if row % 2 else [0])) for row in range(60)}
    sides = balanced_sides(units, share, {})
    for key, count in ((ALL, 60), (0, 60), (1, 30)):
        assert abs(in_validation(units, sides, key) - share * count) <= 2
