"""Features as other clips determine them: for cross-validation, whose judging clips must not fit the projection."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from alstm_helpers.data.feature_scale import is_of_own_videos
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.feature_folder import RawFolder, sampled
from alstm_helpers.tfrecord import Video

AS_THEY_ARE = "the features are judged as they are, scaled by all clips of the folder"


def remaker(filelist: str) -> tuple[Remaker | None, str]:
    """Return what makes the features of a list anew, None if they must stay as they are, and a note if that matters.

    Args:
        filelist: the list of training shards, in a folder that ``alstm features`` wrote, or in any other.
    """
    folder = Path(filelist).parent
    if not is_of_own_videos(folder):
        return None, ""
    extractor = Extractor.load(folder)
    if not extractor.projections or (extractor.clips is None and not extractor.is_whitened):
        return None, ""  # finished numbers; or scaled like another folder's, for a model that was trained on those
    if extractor.is_whitened:
        return None, f"{AS_THEY_ARE}, and whitened by an earlier version: run `alstm features` with --refit"
    if not (folder / "raw").is_dir():
        return None, f"{AS_THEY_ARE}: {folder / 'raw'} is missing"
    return Remaker(extractor, RawFolder(folder / "raw")), ""


@dataclasses.dataclass(frozen=True)
class Remaker:
    """Fits the projections on some videos, and projects all of them.

    Args:
        extractor: with the projections of all clips.
        raw: the backbones' numbers.
    """

    extractor: Extractor
    raw: RawFolder

    def __call__(self, videos: Sequence[Video], learn: Sequence[int]) -> list[Video]:
        """Return all videos with projections that are fitted on those of the numbers ``learn``.

        Raises:
            AlstmError: the numbers of a video are missing or damaged.
        """
        names = [video.id.decode() for video in videos]
        numbers = [self.raw.load(name) for name in names]  # each file is read once
        taught = [numbers[number] for number in learn]
        fitting = partial(sampled, clips=taught, count=len(taught))
        fresh = self.extractor.without_projections().fitted(fitting, len(taught))
        return [
            fresh.record(name, video.labels, streams)
            for name, video, streams in zip(names, videos, numbers, strict=True)
        ]
