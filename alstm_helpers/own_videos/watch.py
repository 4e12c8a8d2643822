"""Straight from a video file: its labels, and a picture of which seconds they come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import collate
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.evaluation.explain import explain, write_report_with_figure
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.own_videos.features import Extractor
from alstm_helpers.own_videos.media import Clip, read_frames
from alstm_helpers.tfrecord import Video

WINDOW = 9  # seconds that the score over time looks at, the second in its middle
THUMBNAILS = 12


def find_extractor(config: Config, features: str | None = None) -> Extractor:
    """What made the features that a model was trained on.

    Args:
        config: its configuration; ``features.json`` lies beside its list of training shards.
        features: the folder, where it lies elsewhere.

    Raises:
        AlstmError: there is nothing of the kind.
    """
    folder = Path(features) if features else Path(config.TRAIN.filelist).parent
    if features or (folder / "features.json").exists():
        return Extractor.load(folder)
    if config.MODEL.dataset == "FlashDigits":
        return Extractor("flashdigits", "flashdigits")
    problem = "no features.json beside it says how features of this model's videos are made"
    raise AlstmError(config.TRAIN.filelist, problem, "pass --features FOLDER, one that `alstm features` made")


def watch(
    net: AttentionLSTM,
    extractor: Extractor,
    clip: Clip,
    *,
    top_k: int = 5,
    class_names: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """The best labels of a clip and where they come from.

    Args:
        net: the network.
        extractor: as for the clips it was trained on.
        clip: what to look at.
        top_k: labels.
        class_names: of the classes.

    Returns:
        as :func:`alstm_helpers.evaluation.explain.explain`, and ``file``; ``notes`` on the file; ``window`` W; and
        ``over_time`` [T], the score of the best label from the W seconds around each second alone.

    Raises:
        AlstmError: the file cannot be read.
    """
    video = extractor.video(clip)
    report = explain(net, video, top_k=top_k, class_names=class_names)
    scores = score_around(net, video, WINDOW)
    best = report["labels"][0]["index"]
    about = {"file": str(clip.path), "notes": list(clip.notes), "window": WINDOW}
    return {**report, **about, "over_time": scores[:, best].tolist()}


def score_around(net: AttentionLSTM, video: Video, window: int) -> np.ndarray:
    """The scores (T, C) of the ``window`` seconds around each second, each as a video of its own."""
    half = window // 2
    parts = []
    for second in range(video.num_frames):
        stretch = slice(max(0, second - half), second + half + 1)
        parts.append(Video(video.id, (), video.rgb[stretch], video.audio[stretch]))
    batches = (collate(parts[first : first + 64], net.num_classes) for first in range(0, len(parts), 64))
    return np.concatenate([scores for _, scores, _ in score_batches(net, batches)])


def thumbnails(clip: Clip, seconds: int, size: int = 96) -> tuple[list[int], np.ndarray]:
    """Up to twelve pictures, evenly over the clip: their seconds, and uint8 (N, size, size, 3)."""
    wanted = np.unique(np.linspace(0, seconds - 1, min(THUMBNAILS, seconds)).round().astype(int)).tolist()
    found = [frame for second, frame in enumerate(read_frames(clip, size)) if second in wanted]
    return wanted[: len(found)], np.stack(found)


def write_timeline(report: Any, save_dir: str | os.PathLike[str]) -> Path:
    """``<video>.png`` and ``<video>.json``; returns the path of the picture."""
    from alstm_helpers.figures import plots

    figure = plots.timeline(report, *thumbnails(Clip(Path(report["file"])), report["seconds"]))
    return write_report_with_figure(report, figure, save_dir, tight=True)


def predictions_of(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows that ``predictions.jsonl`` has for these clips."""
    keys = ("index", "name", "score")
    return [
        {
            "video": report["video"],
            "labels": [
                {**{key: label[key] for key in keys}, "score": round(label["score"], 6)} for label in report["labels"]
            ],
        }
        for report in reports
    ]
