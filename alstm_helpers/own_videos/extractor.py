"""The extractor: two backbones and their projections, which turn a clip into a record, kept in ``features.json``."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file, write_json
from alstm_helpers.own_videos.backbones import Backbone, picture_backbone, sound_backbone
from alstm_helpers.own_videos.media import Clip, Frames, read_frames, read_sound
from alstm_helpers.own_videos.projection import Projection, fit_projection
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.tfrecord import STREAM_DIMS, Video, quantize

BATCH = 32  # pictures that are in memory, and go through a network, at once
REMEDY = "make the features again in an empty folder"


class RawFeatures(NamedTuple):
    """The backbones' numbers of a clip, float32 (T, D) by stream, and notes on what is odd about its file."""

    streams: dict[str, np.ndarray]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class Extractor:
    """Everything that turns a clip into two matrices of bytes.

    Args:
        backbone, audio: names, see :mod:`alstm_helpers.own_videos.backbones`.
        projections: by stream; a finished backbone needs none.
        fitted_on: the split whose clips they were fitted on: ``train``, or ``infer`` where no clip has labels.
    """

    backbone: str
    audio: str
    projections: Mapping[str, Projection] = field(default_factory=dict)
    fitted_on: str = "train"

    def backbones(self) -> dict[str, Backbone]:
        """Return the backbone of each stream; they are loaded on the first call.

        Raises:
            AlstmError: one is unknown, or cannot be loaded.
        """
        return {"rgb": picture_backbone(self.backbone), "audio": sound_backbone(self.audio)}

    @property
    def unfitted(self) -> list[str]:
        """Streams whose projection is still to be fitted."""
        parts = self.backbones().items()
        return [stream for stream, part in parts if not part.finished and stream not in self.projections]

    def fitted(self, sample: Callable[[str], np.ndarray]) -> Extractor:
        """Return an extractor with the missing projections, fitted on ``sample(stream)``, float32 (N, D)."""
        missing = {stream: fit_projection(sample(stream), STREAM_DIMS[stream]) for stream in self.unfitted}
        return dataclasses.replace(self, projections={**self.projections, **missing})

    def raw(self, clip: Clip) -> RawFeatures:
        """Return the backbones' numbers for a clip; only a batch of its pictures is in memory at a time.

        Raises:
            AlstmError: the clip cannot be read.
        """
        pictures, sound = self.backbones()["rgb"], self.backbones()["audio"]
        frames = read_frames(clip, pictures.unit)
        rgb = np.concatenate([pictures.call(batch) for batch in _batches(frames)])
        heard = read_sound(clip, len(rgb), sound.unit)
        return RawFeatures({"rgb": rgb, "audio": sound.call(heard.samples)}, [*frames.notes, *heard.notes])

    def finish(self, streams: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return features, uint8 (T, 1024) and (T, 128), from the backbones' numbers."""
        return {
            stream: self.projections[stream](values, STREAM_DIMS[stream])
            if stream in self.projections
            else quantize(values)
            for stream, values in streams.items()
        }

    def record(self, video_id: str, labels: tuple[int, ...], streams: Mapping[str, np.ndarray]) -> Video:
        """Return a record made of the backbones' numbers."""
        features = self.finish(streams)
        return Video(video_id.encode(), labels, features["rgb"], features["audio"])

    def video(self, clip: Clip) -> tuple[Video, list[str]]:
        """Return a clip as a record without labels, and notes on what is odd about its file.

        Raises:
            AlstmError: the clip cannot be read.
        """
        raw = self.raw(clip)
        return self.record(clip.path.stem, (), raw.streams), raw.notes

    def save(self, folder: Path) -> None:
        """Write ``features.json`` and, where there are projections, ``projection.pkl`` (plain arrays)."""
        if self.projections:
            arrays = {stream: tuple(projection) for stream, projection in self.projections.items()}
            save_plain(folder / "projection.pkl", arrays)
        about = {"backbone": self.backbone, "audio": self.audio, "fitted_on": self.fitted_on}
        write_json(folder / "features.json", about)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Extractor:
        """Load what :meth:`save` wrote, without running code from it.

        Raises:
            AlstmError: it is missing, or damaged.
        """
        path = require_file(Path(folder, "features.json"), "name a folder that `alstm features` has made")
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            names = str(about["backbone"]), str(about["audio"])
            return cls(*names, _load_projections(path.with_name("projection.pkl")), str(about["fitted_on"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AlstmError(path, f"not readable ({type(error).__name__}: {error})", REMEDY) from None


def _load_projections(path: Path) -> dict[str, Projection]:
    if not path.exists():
        return {}
    return {stream: Projection(*parts) for stream, parts in load_plain(path, REMEDY).items()}


def _batches(frames: Frames) -> Iterator[np.ndarray]:
    """Yield the pictures together, uint8 (N, S, S, 3), N at most ``BATCH``."""
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
