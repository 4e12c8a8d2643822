"""Test the clock that goes on where that of a file jumps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from alstm_helpers.own_videos.decoding import Clock

if TYPE_CHECKING:
    from av import Packet


def packet(stream, time, *, delay=0.5):
    """Return a packet of a second's duration that is shown ``delay`` after it is decoded."""
    dts = None if time is None else round(time * 1024)
    pts = None if dts is None else dts + round(delay * 1024)
    made = SimpleNamespace(stream=SimpleNamespace(index=stream), time_base=1 / 1024, duration=1024, dts=dts, pts=pts)
    return cast("Packet", made)


def times(clock, *given):
    """Return the times of packets (stream, time) by a player's clock."""
    return [clock.correct(packet(stream, time)) for stream, time in given]


def test_the_first_time_of_the_file_is_second_zero():
    clock = Clock(100.0, 10.0)
    first = packet(0, 100)
    assert clock.correct(first) == 0 and first.pts == 512 and clock.jumps == []


@pytest.mark.parametrize(
    "given, expected, jumps",
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], []),
        ([0, 1, 9, 10], [0, 1, 9, 10], []),  # a picture that stays for 8 s
        ([0, 1, 11, 12], [0, 1, 11, 12], []),  # for 10 s, which is the longest
        ([0, 1, 12, 13], [0, 1, 2, 3], [2]),
        ([0, 1, 0, 1], [0, 1, 2, 3], [2]),
        ([0, 1, 0.96875, 2], [0, 1, 0.96875, 2], []),  # a little disorder
        ([0, 1, 0.875, 2], [0, 1, 2, 3.125], [2]),  # more than a tenth of a second
        ([0, 1, None, 2], [0, 1, None, 2], []),
        ([0, 1, 0, 1, 0], [0, 1, 2, 3, 4], [2, 4]),
    ],
)
def test_one_stream(given, expected, jumps):
    clock = Clock(0.0, 10.0)
    assert times(clock, *((0, time) for time in given)) == expected
    assert clock.jumps == jumps


def test_sound_stays_beside_its_pictures():
    """The last sound before a jump comes after the first picture behind it; pictures of 5 s, sound of 4."""
    clock = Clock(0.0, 10.0)
    given = [(0, 0), (1, 0), (0, 4), (1, 2), (0, 0), (1, 3), (1, 0), (0, 1), (1, 1)]
    assert times(clock, *given) == [0, 0, 4, 2, 5, 3, 5, 6, 6]
    assert clock.jumps == [5] and clock.end == 7


@pytest.mark.parametrize("pausing, other", [(0, 1), (1, 0)])
def test_a_pause_of_one_stream_is_no_jump(pausing, other):
    clock = Clock(0.0, 10.0)
    times(clock, (pausing, 0), *((other, second) for second in range(20)))
    assert times(clock, (pausing, 20), (other, 20), (pausing, 21)) == [20, 20, 21] and clock.jumps == []
