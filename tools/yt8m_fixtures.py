"""Make ``tests/own_videos/yt8m/``: what TensorFlow computes from small random inputs, for the tests to compare with.

Run ``python tools/yt8m_fixtures.py`` with a Python that has TensorFlow 2, which is not among this project's packages.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
OUT = Path(__file__).parents[1] / "tests" / "own_videos" / "yt8m"
SIZES = ((7, 11), (23, 5), (13, 13), (1, 2))  # height and width of pictures
SIDES = (6, 13)  # of the squares that they are squeezed into


def resized() -> dict[str, np.ndarray]:
    """Return pictures ``image_H_W``, uint8, and each in squares ``square_H_W_S``, float32."""
    random, found = np.random.default_rng(0), {}
    for height, width in SIZES:
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        found[f"image_{height}_{width}"] = image
        for side in SIDES:
            square = tf.image.resize_bilinear(image[None], (side, side), align_corners=False)[0]
            found[f"square_{height}_{width}_{side}"] = np.asarray(square.numpy())
    return found


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name."""
    np.savez_compressed(OUT / name, allow_pickle=False, **arrays)


def main() -> None:
    """Write every file."""
    OUT.mkdir(parents=True, exist_ok=True)
    save("resize.npz", resized())


if __name__ == "__main__":
    main()
