"""Small pictures of a clip, kept while its pictures go through a network, so that it is decoded once."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

MOST = 12  # of a clip
SIDE = 96  # pixels, at most


class Thumbnail(NamedTuple):
    """The picture of a second as a JPEG file, square, at most 96 × 96 pixels."""

    second: int
    jpeg: bytes

    def pixels(self) -> np.ndarray:
        """Return uint8 (S, S, 3) in red, green, blue."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.jpeg)).convert("RGB"))


class Thumbnails:
    """Pictures of at most twelve seconds, evenly spaced from the first, however many there turn out to be."""

    def __init__(self) -> None:
        self.pictures: list[Thumbnail] = []
        self._step = 1

    def of(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield pictures, (S, S, 3) from 0 to 255, one per second, as they come."""
        for second, frame in enumerate(frames):
            if second % self._step == 0:
                self.pictures.append(Thumbnail(second, _jpeg(frame)))
            if len(self.pictures) > MOST:
                self.pictures, self._step = self.pictures[::2], 2 * self._step
            yield frame


def film_strip(thumbnails: Sequence[Thumbnail]) -> tuple[list[int], np.ndarray]:
    """Return the seconds of pictures, and the pictures, uint8 (N, S, S, 3)."""
    return [each.second for each in thumbnails], np.stack([each.pixels() for each in thumbnails])


def _jpeg(frame: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(frame.astype(np.uint8))  # those of YouTube-8M's front end are fractions of levels
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
