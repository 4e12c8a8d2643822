"""Test the small pictures of a clip."""

from __future__ import annotations

import numpy as np
import pytest

from alstm_helpers.own_videos.thumbnails import Thumbnails, film_strip


@pytest.mark.parametrize(
    "count, seconds", [(1, [0]), (12, list(range(12))), (13, list(range(0, 13, 2))), (40, list(range(0, 40, 4)))]
)
def test_at_most_twelve_evenly_spaced(count, seconds):
    """However many there are, all go on to the network as they are."""
    frames = np.repeat(np.uint8(np.arange(count) * 6), 128 * 128 * 3).reshape(count, 128, 128, 3)
    small = Thumbnails()
    assert np.array_equal(np.stack(list(small.of(frames))), frames)
    found, pictures = film_strip(small.pictures)
    assert found == seconds and pictures.shape == (len(seconds), 96, 96, 3) and pictures.dtype == np.uint8
    assert np.abs(pictures.astype(int) - 6 * np.array(seconds)[:, None, None, None]).max() <= 3


def test_small_pictures_are_not_blown_up():
    small, frame = Thumbnails(), np.zeros((16, 16, 3), np.uint8)
    frame[:, 8:] = (250, 0, 0)
    list(small.of([frame]))
    pixels = small.pictures[0].pixels()
    assert pixels.shape == (16, 16, 3) and pixels[8, 15, 0] > 200 > 60 > pixels[8, 0].max()
