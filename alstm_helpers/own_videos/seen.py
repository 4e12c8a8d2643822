"""What is seen in a clip: the backbones' numbers, and small pictures to draw them with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alstm_helpers.own_videos.extractor import Extractor, RawFeatures
from alstm_helpers.own_videos.media import Clip, read_frames

THUMBNAILS = 12


class Seen(NamedTuple):
    """The numbers of a clip and notes on it; some of its seconds, and their pictures, uint8 (N, S, S, 3)."""

    raw: RawFeatures
    seconds: list[int]
    pictures: np.ndarray


def see(extractor: Extractor, clip: Clip) -> Seen:
    """Read a clip.

    Raises:
        AlstmError: it cannot be read.
    """
    raw = extractor.raw(clip)
    return Seen(raw, *thumbnails(clip, len(raw.streams["rgb"])))


def thumbnails(clip: Clip, seconds: int, size: int = 96) -> tuple[list[int], np.ndarray]:
    """Return up to twelve pictures, evenly spaced over a clip: their seconds, and uint8 (N, size, size, 3)."""
    wanted = np.unique(np.linspace(0, seconds - 1, min(THUMBNAILS, seconds)).round().astype(int)).tolist()
    found = [frame for second, frame in enumerate(read_frames(clip, size)) if second in wanted]
    return wanted[: len(found)], np.stack(found)
