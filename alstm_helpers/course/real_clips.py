"""Real clips, fetched once: three for the first minutes of the course, and the twenty signs that notebook 09 labels.

Without a network, pans over two photographs take the place of the three; nothing takes the place of the signs.
"""

from __future__ import annotations

import os
import shutil
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

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return PurePosixPath(self.url).stem

    def fetched(self, retry: Retry) -> Shown:
        """Fetch the file into the cache unless it is there; ``ALSTM_WEIGHTS_MIRROR`` may have it, too.

        Raises:
            AlstmError: no answer, or other content.
        """
        path = fetch_weights(f"{self.url}#sha256={self.sha256}", pinned=True, retry=retry)
        return Shown(self.name, path, self.labels, self.source)


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

ONE_HAND, BOTH_HANDS = "one hand", "both hands"
_SIGNS = (  # the person who signs, the sign, the hands that it needs, and the file's SHA-256
    ("a", "again", BOTH_HANDS, "e6c640c718e26f2ace77fd36cade8cd10d0ccfc27fa59ce1e6be549e9235f882"),
    ("a", "brother", BOTH_HANDS, "f856ae0909b8045edf8ca447f7cb9d6e070a5073e3bea76d8ea8ce615ce99317"),
    ("a", "help", BOTH_HANDS, "cd3c77280546591cbbc74b4f642f6c712f1fc988a33b1839412345d1e708cb63"),
    ("a", "no", ONE_HAND, "523a6e491878c48ba57bdcc32b73273f75485681080325f6fce9461f5605eb75"),
    ("a", "student", BOTH_HANDS, "5fa9fefef04219204edc3685db3acee0f02cabdddfe0ab4d59665d0a71312072"),
    ("a", "yes", ONE_HAND, "7123d9ed4c51dd0895fb039d7aaffbc6151f6a3a72c735ca0c22303240136f9c"),
    ("b", "bird", ONE_HAND, "16eba5058612b570ff4f9af2de276b3483b7ab50f303961fa3b907a66627416a"),
    ("b", "milk", ONE_HAND, "86e4de796b29a0b65f7ade6aa0c4fd10be6d7f40def7c3bde73a821a63ce0518"),
    ("b", "please", ONE_HAND, "dfac357244c49db6461889926a32364b5708f78f178f1f6eb1772f97892e60b9"),
    ("b", "sorry", ONE_HAND, "c3fa8df84bc29410baa6afe7b649f4bd4691a38de2c7a11e6dc605f73622f0f8"),
    ("b", "thanks", ONE_HAND, "91315d3bd66314d329f18876e16ddaa362775af0724b30905584fdc517213ed8"),
    ("c", "book", BOTH_HANDS, "6ddf59ef6c4fdb6907802c33dec01ed5db2e0401ecf4f3b68c6c78fede62b4dc"),
    ("c", "learn", BOTH_HANDS, "9e05d501b897fb95f2f0ca31b8c3d055bdbbe8f168003260bc6244fdf7f4166c"),
    ("c", "school", BOTH_HANDS, "3b39a9bad86871018e67f20bba4c831cc6a725b604a880b678e24145d539e3ae"),
    ("c", "walk", BOTH_HANDS, "395c10f2ce5c8e6cf6545ce35c47b4b7124f8579099dda3646b04694a0b36be7"),
    ("d", "eat", ONE_HAND, "1a252672404cbbc56fe75deaf6425a12e8db428bcf119f7e88556eb445eeff36"),
    ("d", "night", BOTH_HANDS, "402fcf62d26c69b4e510a1677e86909644dc7ef7f4920b77d0c8e24edf9ab070"),
    ("d", "sister", BOTH_HANDS, "2fadd1e2d9f6bd634098190c209cd02549a6af66739b1a57b4b5e325464ad2af"),
    ("e", "hungry", ONE_HAND, "4e8fc203206b2caeb2b8f591db02b8f5fae2947940e201bfedec2f906a60290b"),
    ("e", "want", BOTH_HANDS, "788fe01c04420605fbe56b905b64444f75ebee7e4831213d00406bc50a6f2b0a"),
)


class Sign(NamedTuple):
    """A sign of American Sign Language, signed by one of five people; person and hands are what we see in the clip."""

    person: str
    clip: Published

    @property
    def hands(self) -> str:
        """The class: one hand, or both."""
        return self.clip.labels

    @property
    def name(self) -> str:
        """``person-sign``, so that ``--group '^.'`` keeps a person's clips together."""
        return f"{self.person}-{self.clip.name}"


SIGNS = tuple(
    Sign(person, Published(f"{_INTEL}/asl_gestures/{sign}.mkv", sha256, hands, "Intel, CC BY 4.0"))
    for person, sign, hands, sha256 in _SIGNS
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


def sign_clips(
    folder: str | os.PathLike[str], signs: Sequence[Sign] = SIGNS, retry: Retry = _IMPATIENT
) -> tuple[dict[str, Path], str]:
    """Copy the clips of signs into a folder for each class, as ``alstm labels import`` takes it; say what they are.

    Args:
        folder: for ``one hand/a-no.mkv`` and the others.
        signs: the signs to fetch.
        retry: attempts and pauses.

    Returns:
        The files by name; none, and the reason, if one cannot be fetched.
    """
    try:
        fetched = {sign: sign.clip.fetched(retry).path for sign in signs}
    except AlstmError as error:
        return {}, f"no real clips here ({error.problem}): below is what they gave elsewhere"
    files = {sign.name: Path(folder, sign.hands, sign.name + path.suffix) for sign, path in fetched.items()}
    for file, path in zip(files.values(), fetched.values(), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, file)
    return files, f"{len(files)} clips that a camera recorded"


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
