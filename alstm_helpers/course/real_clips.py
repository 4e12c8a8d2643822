"""Real clips for the first minutes of the course: fetched once, or, without a network, pans over two photographs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from alstm_helpers.data.published import fetch_weights
from alstm_helpers.data.transfer import Retry
from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.flashdigits_clips import write_video

_INTEL = "https://raw.githubusercontent.com/intel-iot-devkit/sample-videos/57978890822836f2b4743852f04f62fc511757e4"
_HOPPE = "https://raw.githubusercontent.com/hhoppe/data/cd020f423e5a2d128c87b2a72bbbe361df2b2067"
_IMPATIENT = Retry(attempts=1, timeout=2.0)  # nobody should wait for a network that is not there
_PART = (240, 320)  # of a photograph, in pixels


class Shown(NamedTuple):
    """A clip to look at: its file, names of YouTube-8M's vocabulary that fit (our choice), and where it comes from."""

    name: str
    path: Path
    labels: str
    source: str


@dataclass(frozen=True)
class Published:
    """A clip on a server, in a version that never changes.

    Args:
        url: with the commit in it.
        sha256: of the file, in hexadecimal.
        labels: names of YouTube-8M's vocabulary that fit; nobody has labelled these clips but us.
        source: author and licence.
    """

    url: str
    sha256: str
    labels: str
    source: str

    def fetched(self, retry: Retry) -> Shown:
        """Fetch the file into the cache unless it is there; ``ALSTM_WEIGHTS_MIRROR`` may have it, too.

        Raises:
            AlstmError: no answer, or other content.
        """
        path = fetch_weights(f"{self.url}#sha256={self.sha256}", pinned=True, retry=retry)
        return Shown(PurePosixPath(self.url).stem, path, self.labels, self.source)


PUBLISHED = (
    Published(
        f"{_INTEL}/car-detection.mp4",
        "d31e0ebf194cc16e50eea784e7c3b0b1bb7976a4fb9b3fec26cb92a6704cca34",
        "Vehicle, Car, Road",
        "Intel, CC BY 4.0",
    ),
    Published(
        f"{_INTEL}/bottle-detection.mp4",
        "d52ba94aedf8a923c342fe9ea1d2bd85f712c4cc0f49a6de1bac43eebe3a48ff",
        "Bottle, Plastic bottle",
        "Intel, CC BY 4.0",
    ),
    Published(
        f"{_HOPPE}/brink_loop_256.mp4",
        "bdc9e81976e9b3537b5b7c38bbd97e8f84b6d07386954aaeb7d308d41e09021b",
        "River, Nature",
        "Hugues Hoppe, CC0",
    ),
)


def real_clips(
    folder: str | os.PathLike[str], published: Sequence[Published] = PUBLISHED, retry: Retry = _IMPATIENT
) -> tuple[list[Shown], str]:
    """Return real clips, and a sentence that says what they are; if one cannot be fetched, return the stand-ins.

    The stand-ins are pans over two photographs that scikit-learn ships, written to ``folder`` within a second.

    Args:
        folder: for the stand-ins.
        published: the clips to fetch.
        retry: attempts and pauses.
    """
    try:
        clips = [each.fetched(retry) for each in published]
    except AlstmError as error:
        return _pans(Path(folder)), f"no real clips here ({error.problem}): these are pans over two photographs"
    return clips, f"{len(clips)} clips that a camera recorded"


def _pans(folder: Path) -> list[Shown]:
    """Write two clips: a pan over a temple into which two seconds of a flower are cut, and a pan over the flower."""
    from sklearn.datasets import load_sample_image

    temple, flower = (_pan(load_sample_image(f"{name}.jpg"), seconds=12) for name in ("china", "flower"))
    temple[7:9] = flower[7:9]
    clips = [
        Shown("temple", folder / "temple.mp4", "Temple, Building, Plant", "danielbuechele, vultilion, CC BY 2.0"),
        Shown("flower", folder / "flower.mp4", "Plant, Garden", "vultilion, CC BY 2.0"),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for clip, frames in zip(clips, (temple, flower), strict=True):
        write_video(clip.path, frames, None)
    return clips


def _pan(photograph: np.ndarray, *, seconds: int) -> np.ndarray:
    """Return uint8 (seconds, h, w, 3): the middle of a photograph, from its left edge to its right one."""
    height, width = _PART
    top = (photograph.shape[0] - height) // 2
    lefts = np.linspace(0, photograph.shape[1] - width, seconds).astype(int)
    return np.stack([photograph[top : top + height, left : left + width] for left in lefts])
