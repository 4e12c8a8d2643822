"""The capstone: clips to begin with, and what the files of a learner's project say."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.data.flashdigits import Scene
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, csv_text, read_sealed, read_text, require_file
from alstm_helpers.own_videos.flashdigits_clips import Encoding, own_clip, write_mp4, write_video
from alstm_helpers.own_videos.labels import read_imported
from alstm_helpers.pickles import load_shard
from alstm_helpers.tfrecord import Video

BUILT_IN = 20  # clips
_NUMBER = r"(\d\.\d+)"
# In the language of the page, which need not be that of the check.
_CELL = rf"<td>{_NUMBER} <span class=soft>\({_NUMBER} (?:to|到) {_NUMBER}\)</span></td>"


class Quality(NamedTuple):
    """The GAP of a method on all clips, and its 95 % interval."""

    gap: float
    low: float
    high: float


class Results(NamedTuple):
    """The numbers of a project that its report must state: clips with labels, and what both methods reach."""

    clips: int
    network: Quality
    baseline: Quality


def choose_clips(seed: int, count: int = BUILT_IN) -> list[tuple[Scene, dict[str, int]]]:
    """Render the built-in clips: the shortest of four times as many of ``own_clip``, which are quickest to try."""
    made = [own_clip(seed, number) for number in range(4 * count)]
    return sorted(made, key=lambda clip: len(clip[0].frames))[:count]


def make_clips(folder: str | os.PathLike[str], count: int = BUILT_IN, seed: int = 0) -> Path:
    """Write the built-in clips, ``clip00.mp4`` and so on, and ``labels.csv`` beside them; return the folder.

    A folder that has ``labels.csv`` is left as it is.
    """
    folder = Path(folder)
    table = folder / "labels.csv"
    if not table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, (scene, new) in enumerate(choose_clips(seed, count)):
            write_mp4(folder / f"clip{number:02d}.mp4", scene)
            rows.append((f"clip{number:02d}.mp4", ";".join(new)))
        with atomic_write(table, "w") as file:  # last: it says that all clips are there
            file.write(csv_text([("video", "labels"), *rows]))
    return folder


def make_stripes(folder: str | os.PathLike[str]) -> Path:
    """Write the clips of the second example, ``upright/0.mp4`` and so on: stripes in noise, six seconds, no sound."""
    folder, rng = Path(folder), np.random.default_rng(0)
    stripes = np.kron(np.tile([0, 255], 4), np.ones((64, 8)))  # (64, 64)
    for name, picture in (("upright", stripes), ("level", stripes.T)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(BUILT_IN // 2):
            frames = 0.7 * picture + rng.uniform(0, 70, (6, 64, 64))
            colour = frames.astype(np.uint8)[..., None].repeat(3, axis=3)
            write_video(folder / name / f"{number}.mp4", colour, None, Encoding(fps=2))
    return folder


def read_split(project: Path, split: str) -> list[Video]:
    """Return the clips of ``train`` or ``val`` as ``alstm features`` wrote them to ``data``.

    Raises:
        AlstmError: the list or a shard is missing or damaged.
    """
    return [video for shard in read_filelist(project / "data" / f"{split}.list") for video in load_shard(shard)]


def read_crossval(project: Path) -> dict[str, Any]:
    """Return the content of ``crossval/crossval.json``.

    Raises:
        AlstmError: it is missing or was changed by hand.
    """
    remedy = "write it with `alstm crossval --config data/own.yaml --save_dir crossval`"
    return read_sealed(project / "crossval" / "crossval.json", remedy)


def read_results(project: Path) -> Results:
    """Return the numbers that a report must state, from ``labels/annotations.csv`` and ``report.html``.

    Raises:
        AlstmError: one of the two is missing, or the page is not that of the cross-validation in ``crossval``.
    """
    page, remedy = project / "report.html", "write it with `alstm report crossval --out report.html`"
    found = re.search(rf">GAP</th>{_CELL}{_CELL}", read_text(require_file(page, remedy)))
    if found is None:
        raise AlstmError(page, "it has no GAP of a network beside that of a linear baseline", remedy)
    values = [float(number) for number in found.groups()]
    results = Results(len(read_imported(project / "labels")), Quality(*values[:3]), Quality(*values[3:]))
    judgement = read_crossval(project)
    for shown, judged in ((results.network, judgement), (results.baseline, judgement["baseline"])):
        if abs(shown.gap - judged["pooled"]["gap"]) > 0.001:
            raise AlstmError(page, "its GAP is not that of crossval/crossval.json", remedy)
    return results
