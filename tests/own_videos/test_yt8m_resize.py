"""TensorFlow 1's bilinear resize, against TensorFlow's own numbers (made by tools/yt8m_fixtures.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alstm_helpers.own_videos.yt8m_resize import tensorflow_bilinear


def test_odd_sizes_are_as_tensorflow_resizes_them():
    """Shrunk and enlarged, long and tall, the same size, a single row."""
    with np.load(Path(__file__).parent / "yt8m" / "resize.npz") as file:
        made = dict(file)
    squares = [name.split("_")[1:] for name in made if name.startswith("square")]
    assert len(squares) == 8
    for height, width, side in squares:
        found = tensorflow_bilinear(made[f"image_{height}_{width}"], int(side))
        assert found.dtype == np.float32
        assert found == pytest.approx(made[f"square_{height}_{width}_{side}"], abs=1e-4), (height, width, side)


def test_nothing_is_shifted_by_half_a_pixel():
    """Pixel x of four is read at twice x from eight: the first of each pair, not their mean."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, ::2] = 200
    assert (tensorflow_bilinear(image, 4) == 200).all()
