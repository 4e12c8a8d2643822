"""What ``alstm serve`` finds in a video file, with an exported model; Paddle is needed only if the model needs it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from alstm_helpers.data.class_names import Label, best_labels
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.errors import AlstmError
from alstm_helpers.figures.parts import Streams
from alstm_helpers.own_videos.apart import work_on_one
from alstm_helpers.own_videos.extractor import Extractor, RawFeatures
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.timeline import DRAWN_LABELS, around_each_second, window_of


class LabelOverTime(Label):
    """A label, and ``scores`` [T], each from the seconds around one second alone."""

    scores: list[float]


class ScoresOverTime(TypedDict):
    """The best labels over time, and how many seconds a score is from."""

    window: int
    labels: list[LabelOverTime]


class Picture(TypedDict):
    """A picture of a second: JPEG in base64."""

    second: int
    jpeg: str


class VideoAnswer(TypedDict):
    """What is found in a video of ``seconds`` T: its best labels, best first, the attention of each second, notes."""

    labels: list[Label]
    seconds: int
    attention: Streams
    timeline: ScoresOverTime
    thumbnails: list[Picture]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class Labeller:
    """Labels video files, each of which is decoded once, in a process of its own.

    Args:
        predictor: the model.
        extractor: the one that made the features that the model was trained on, complete.
        top_k: labels per video.
        clip_seconds: that the work on one may take, see :func:`alstm_helpers.own_videos.apart.work_apart`.
    """

    predictor: Predictor
    extractor: Extractor
    top_k: int = 20
    clip_seconds: float | None = None

    async def __call__(self, path: Path) -> VideoAnswer:
        """Return what is found in a file; if the task is cancelled, the process that reads it ends.

        Raises:
            AlstmError: it cannot be read.
        """
        raw = await work_on_one(self.extractor.without_projections().raw, Clip(path), seconds=self.clip_seconds)
        if isinstance(raw, AlstmError):
            raise raw
        return await asyncio.to_thread(self._answer, raw)

    def _answer(self, raw: RawFeatures) -> VideoAnswer:
        video = self.extractor.record("video", (), raw.streams)
        (whole,) = self.predictor.predict([video])
        window = window_of(video.num_frames)
        stretches = self.predictor.predict(around_each_second(video, window), batch_size=64)
        over_time = np.stack([each.scores for each in stretches])  # (T, C)
        labels = best_labels(whole.scores, self.top_k, dict(enumerate(self.predictor.class_names or ())))
        best: list[LabelOverTime] = [
            {**label, "scores": over_time[:, label["index"]].tolist()} for label in labels[:DRAWN_LABELS]
        ]
        return {
            "labels": labels,
            "seconds": video.num_frames,
            "attention": {"rgb": whole.rgb_attention.tolist(), "audio": whole.audio_attention.tolist()},
            "timeline": {"window": window, "labels": best},
            "thumbnails": [
                {"second": each.second, "jpeg": base64.b64encode(each.jpeg).decode()} for each in raw.thumbnails
            ],
            "notes": raw.notes,
        }
