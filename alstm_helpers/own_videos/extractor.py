"""The extractor: two backbones and their projections, which turn a clip into a record, kept in ``features.json``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from alstm_helpers.data.feature_scale import ABOUT
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_sealed, require_file, write_sealed
from alstm_helpers.own_videos import yt8m
from alstm_helpers.own_videos.backbones import (
    NO_SOUND,
    ONNX,
    absolute,
    is_backbone,
    picture_backbone,
    sound_backbone,
)
from alstm_helpers.own_videos.inputs import EARLIER, EARLIER_SOUND, AnyInput, PictureInput, SoundInput, parse_input
from alstm_helpers.own_videos.media import Clip, Sound, read_frames, read_sound
from alstm_helpers.own_videos.onnx_backbones import Backbone, check_numbers, look
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.projection import CHANGING, Projection, fit_projection
from alstm_helpers.own_videos.thumbnails import Thumbnail, Thumbnails
from alstm_helpers.own_videos.video_files import id_of
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.tfrecord import STREAM_DIMS, Video, quantize

REMEDY = "make the features again in an empty folder"


class RawFeatures(NamedTuple):
    """The backbones' numbers of a clip, float32 (T, D) by stream, notes on its file, and pictures to show it by."""

    streams: dict[str, np.ndarray]
    notes: list[str]
    thumbnails: list[Thumbnail]


@dataclass(frozen=True, eq=False)
class Extractor:
    """Everything that turns a clip into two matrices of bytes.

    Args:
        backbone, audio: names, see :mod:`alstm_helpers.own_videos.backbones`.
        projections: by stream; a finished backbone needs none.
        fitted_on: the split whose clips they were fitted on: ``train``, or ``infer`` where no clip has labels.
        clips: how many clips those were; None where an earlier version fitted them, or another folder's clips did.
        sha256: by stream, of the networks from files that made the features; only these will do.
        pictures, sound: what the user's networks take; None for those that say so themselves.
    """

    backbone: str
    audio: str
    projections: Mapping[str, Projection] = field(default_factory=dict)
    fitted_on: str = "train"
    clips: int | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    pictures: PictureInput | None = None
    sound: SoundInput | None = None

    @property
    def names(self) -> dict[str, str]:
        """The names of the backbones by stream."""
        return {"rgb": self.backbone, "audio": self.audio}

    @property
    def inputs(self) -> dict[str, AnyInput]:
        """What the user's networks take by stream."""
        found = {"rgb": self.pictures, "audio": self.sound}
        return {stream: takes for stream, takes in found.items() if takes}

    def backbones(self) -> tuple[Backbone[Fit], Backbone[int]]:
        """Return the backbones for pictures and for sound; they are loaded on the first call.

        Raises:
            AlstmError: one is unknown, cannot be loaded, or is another network than the one that made the features.
        """
        rgb, audio = picture_backbone(self.backbone, self.pictures), sound_backbone(self.audio, self.sound)
        for stream, found in (("rgb", rgb.sha256), ("audio", audio.sha256)):
            if found != self.sha256.get(stream, found):
                problem = f"not the network that made the features (its sha256 is not {self.sha256[stream][:12]}…)"
                raise AlstmError(self.names[stream], problem, f"put that one back, or {REMEDY}")
        return rgb, audio

    def identified(self) -> Extractor:
        """Return an extractor that takes its networks only as they are now."""
        sums = zip(STREAM_DIMS, (backbone.sha256 for backbone in self.backbones()), strict=True)
        return dataclasses.replace(self, sha256={stream: sha256 for stream, sha256 in sums if sha256})

    def provenance(self) -> list[str]:
        """Return a line on each published file whose content nobody but the first fetch vouches for."""
        return yt8m.provenance([stream for stream, name in self.names.items() if name == yt8m.NAME])

    def without_projections(self) -> Extractor:
        """Return an extractor for :meth:`raw` alone, which is small."""
        return dataclasses.replace(self, projections={})

    def is_like(self, other: Extractor) -> bool:
        """Tell whether another one has the same backbones: networks of the user's by their content, if it is known."""
        if not (_alike(self.pictures, other.pictures) and _alike(self.sound, other.sound)):
            return False
        mine, theirs = ({**each.names, **each.sha256} for each in (self, other))
        if self.sha256.keys() != other.sha256.keys():  # one was saved when the content was not
            mine, theirs = ({stream: absolute(name) for stream, name in each.names.items()} for each in (self, other))
        return mine == theirs

    @property
    def is_whitened(self) -> bool:
        """Whether an earlier version fitted a projection by PCA with whitening."""
        return any(projection.matrix is not None for projection in self.projections.values())

    @property
    def unfitted(self) -> list[str]:
        """Streams whose projection is still to be fitted."""
        parts = zip(STREAM_DIMS, (backbone.finished for backbone in self.backbones()), strict=True)
        return [stream for stream, finished in parts if not finished and stream not in self.projections]

    def complete(self) -> Extractor:
        """Return this extractor, which has every projection that it needs.

        Raises:
            AlstmError: one is missing; without it the same clip would have other features.
        """
        for stream in self.unfitted:
            remedy = f"put projection.pkl back beside features.json, or {REMEDY}"
            raise AlstmError(self.names[stream], "the projection of its numbers is missing", remedy)
        return self

    def fitted(self, sample: Callable[[str], np.ndarray], clips: int) -> Extractor:
        """Return an extractor with the missing projections.

        Args:
            sample: returns the numbers of a stream to fit on, float32 (N, D), see ``RawFolder.sample``.
            clips: how many clips these are of.
        """
        missing = {
            stream: fit_projection(sample(stream), STREAM_DIMS[stream], changes=stream in CHANGING)
            for stream in self.unfitted
        }
        if not missing:
            return self
        return dataclasses.replace(self, projections={**self.projections, **missing}, clips=clips)

    def raw(self, clip: Clip) -> RawFeatures:
        """Return the backbones' numbers for a clip; only a batch of its pictures is in memory at a time.

        Raises:
            AlstmError: the clip cannot be read.
        """
        pictures, sound = self.backbones()
        frames, small = read_frames(clip, pictures.unit), Thumbnails()
        rgb = look(pictures, small.of(frames))
        unheard = Sound(np.zeros((len(rgb), 1), np.float32), [])  # without a look at the file's sound
        heard = unheard if self.audio == NO_SOUND else read_sound(clip, len(rgb), sound.unit)
        streams = {"rgb": rgb, "audio": sound.call(heard.samples)}
        for stream, values in streams.items():
            check_numbers(values, clip.name, self.names[stream])
        return RawFeatures(streams, [*frames.notes, *heard.notes], small.pictures)

    def finish(self, streams: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return features, uint8 (T, 1024) and (T, 128), from the backbones' numbers."""
        for stream, projection in self.projections.items():
            if streams[stream].shape[1] != projection.size:
                problem = f"it gives {streams[stream].shape[1]} numbers, its projection takes {projection.size}"
                raise AlstmError(self.names[stream], problem, REMEDY)
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
        return self.record(id_of(clip.path), (), raw.streams), raw.notes

    def save(self, folder: Path, more: Mapping[str, object] = MappingProxyType({})) -> None:
        """Write ``features.json`` with ``more``, and where there are projections ``projection.pkl`` (plain arrays)."""
        if self.projections:
            arrays = {stream: tuple(projection) for stream, projection in self.projections.items()}
            save_plain(folder / "projection.pkl", arrays)
        about = {"backbone": self.backbone, "audio": self.audio, "fitted_on": self.fitted_on, "clips": self.clips}
        sums = {"sha256": dict(self.sha256)} if self.sha256 else {}
        takes = {stream: each.model_dump(mode="json", exclude_unset=True) for stream, each in self.inputs.items()}
        write_sealed(folder / ABOUT, {**about, **sums, **({"inputs": takes} if takes else {}), **more})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Extractor:
        """Load what :meth:`save` wrote, without running code from it.

        Raises:
            AlstmError: it is missing, or damaged.
        """
        path = require_file(Path(folder, ABOUT), "name a folder that `alstm features` has made")
        about = read_sealed(path, REMEDY)
        try:
            backbone, audio, fitted_on = (about[key] for key in ("backbone", "audio", "fitted_on"))
            sha256 = {
                stream: str(about["sha256"][stream]) for stream in STREAM_DIMS if stream in about.get("sha256", ())
            }
            inputs = dict(about.get("inputs", {}))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise AlstmError(path, f"not readable ({type(error).__name__}: {error})", REMEDY) from None
        for stream, name in (("rgb", backbone), ("audio", audio)):
            if not is_backbone(stream, name):
                raise AlstmError(path, f"it names a backbone for {stream} that is unknown, {name!r}", REMEDY)
        if fitted_on not in ("train", "infer"):
            raise AlstmError(path, f"fitted_on is {fitted_on!r}, neither train nor infer", REMEDY)
        clips = about.get("clips")
        if clips is not None and (isinstance(clips, bool) or not isinstance(clips, int)):
            raise AlstmError(path, f"clips is {clips!r}, not a number", REMEDY)
        backbone, audio = (_found(name, path.parent) for name in (backbone, audio))
        projections = _load_projections(path.with_name("projection.pkl"))
        pictures = parse_input(inputs.get("rgb", EARLIER), PictureInput, path) if backbone.startswith(ONNX) else None
        sound = parse_input(inputs.get("audio", EARLIER_SOUND), SoundInput, path) if audio.startswith(ONNX) else None
        return cls(backbone, audio, projections, fitted_on, clips, sha256, pictures, sound)


def _alike(mine: AnyInput | None, theirs: AnyInput | None) -> bool:
    """Tell whether two networks take the same; what an earlier version took it for was not kept."""
    for one, other in ((mine, theirs), (theirs, mine)):
        if one in (EARLIER, EARLIER_SOUND) and other is not None:
            unsaid = not other.model_fields_set & {"scale", "mean", "std", "takes"}
            return unsaid or other.model_copy(update={"output": 0}) == one
    return mine == theirs


def _found(name: str, folder: Path) -> str:
    """Return the name of a backbone; if its file is not where it was, but beside ``features.json``, with that path."""
    if not name.startswith(ONNX) or Path(name.removeprefix(ONNX)).is_file():
        return name
    beside = folder / Path(name.removeprefix(ONNX)).name
    return f"{ONNX}{beside}" if beside.is_file() else name


def _load_projections(path: Path) -> dict[str, Projection]:
    if not path.exists():
        return {}
    found = load_plain(path, REMEDY)
    try:
        projections = {stream: Projection(*parts) for stream, parts in found.items()}
        for stream, projection in projections.items():
            projection.check(STREAM_DIMS[stream])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise AlstmError(path, "it holds no projections", REMEDY) from None
    return projections
