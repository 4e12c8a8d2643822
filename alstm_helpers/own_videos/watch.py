"""Predict the labels of video files, and draw which seconds they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.data.class_names import label_row
from alstm_helpers.data.dataset import collate
from alstm_helpers.data.feature_scale import features_folder, is_of_own_videos
from alstm_helpers.data.published import NotFetched
from alstm_helpers.errors import AlstmError, printable
from alstm_helpers.evaluation.calibration import UNCHANGED, Calibration
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.evaluation.explain import explain, write_report_with_figure
from alstm_helpers.evaluation.predict import DIGITS, PredictionRow, write_predictions
from alstm_helpers.extras import require
from alstm_helpers.figures.parts import Timeline
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.own_videos import yt8m
from alstm_helpers.own_videos.apart import attempt, work_apart
from alstm_helpers.own_videos.backbones import NO_SOUND, picture_backbone, sound_backbone
from alstm_helpers.own_videos.extractor import Extractor, RawFeatures
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.own_videos.thumbnails import film_strip
from alstm_helpers.own_videos.timeline import DRAWN_LABELS, around_each_second, window_of
from alstm_helpers.own_videos.video_files import find_video_files, videos_by_id
from alstm_helpers.tfrecord import Video


class WatchReport(Timeline):
    """A timeline, the file it is of, and notes on that file."""

    file: str
    notes: list[str]


@dataclass(frozen=True)
class Watched:
    """A video file that has been labelled, the report on it, and the path of the picture of its timeline."""

    path: Path
    report: WatchReport
    picture: Path


@dataclass(frozen=True)
class WatchResult:
    """What :func:`watch_files` did: ``rows`` is what it wrote, ``failed`` the error of each file without labels."""

    watched: list[Watched] = field(default_factory=list)
    rows: list[PredictionRow] = field(default_factory=list)
    failed: list[AlstmError] = field(default_factory=list)


@dataclass(frozen=True)
class WatchOptions:
    """Which labels :func:`watch_files` predicts.

    Args:
        top_k: labels per video.
        class_names: class names by index.
        calibration: of the scores, in all that is written.
        clip_seconds: that the work on one clip may take, see :func:`alstm_helpers.own_videos.apart.work_apart`.
    """

    top_k: int = 5
    class_names: Mapping[int, str] = field(default_factory=dict)
    calibration: Calibration = UNCHANGED
    clip_seconds: float | None = None


def find_extractor(
    config: Config, features: str | None = None, *, report: Callable[[str], object] = lambda note: None
) -> Extractor:
    """Return the extractor that made the features which a model was trained on.

    Args:
        config: of the model; ``features.json`` is beside its list of training shards.
        features: the folder with ``features.json``, if it is elsewhere.
        report: receives notes on what was fetched.

    Raises:
        AlstmError: there is no ``features.json``, and the model was trained neither on FlashDigits nor on YouTube-8M,
            or what made YouTube-8M's features cannot be fetched.
    """
    folder = features_folder(config, features)
    if features or is_of_own_videos(folder):
        return Extractor.load(folder)
    if config.MODEL.dataset == "FlashDigits":
        return Extractor("flashdigits", "flashdigits")
    if config.MODEL.dataset == "YouTube-8M":
        return _youtube8m_extractor(report)
    problem = "no features.json beside it says how features of this model's videos are made"
    raise AlstmError(config.TRAIN.filelist, problem, "pass --features FOLDER, one that `alstm features` made")


def _youtube8m_extractor(report: Callable[[str], object]) -> Extractor:
    """Return YouTube-8M's own; where VGGish cannot be fetched, the one that takes every clip for silent.

    Raises:
        NotFetched: what it needs for pictures cannot be fetched.
    """
    extractor = Extractor(yt8m.NAME, yt8m.NAME)
    picture_backbone(extractor.backbone)
    try:
        sound_backbone(extractor.audio)
    except NotFetched as error:
        extractor = Extractor(yt8m.NAME, NO_SOUND)
        report(f"the sound is left out, which costs about two points of GAP: {error}")
    for line in extractor.provenance():
        report(line)
    return extractor


def watch_files(
    net: AttentionLSTM,
    extractor: Extractor,
    videos: Sequence[str | os.PathLike[str]],
    save_dir: str | os.PathLike[str],
    options: WatchOptions = WatchOptions(),
    *,
    report: Callable[[Watched], object] = lambda watched: None,
) -> WatchResult:
    """Label video files one by one; write a timeline for each, and ``predictions.jsonl`` and ``predictions.csv``.

    Args:
        net: the network.
        extractor: the one that made the features it was trained on.
        videos: files, and folders of them.
        save_dir: folder for all output.
        options: which labels.
        report: called after each file.

    Raises:
        AlstmError: a source is missing, or two videos have the same name in the same folder. A file that cannot be read
            is in ``failed``, and the others are labelled.
    """
    require("av")
    result = WatchResult()
    ids = {path: name for name, path in videos_by_id(find_video_files(videos)).items()}
    extractor.complete()  # if a backbone or a projection is missing, that is said once
    for outcome in _Watcher(net, extractor, Path(save_dir), options, ids).outcomes():
        if isinstance(outcome, AlstmError):
            result.failed.append(outcome)
        else:
            result.watched.append(outcome)
            report(outcome)
    if result.watched:  # else those of an earlier run would be replaced by nothing
        rows = (_prediction_row(each.report, options.class_names) for each in result.watched)
        result.rows.extend(write_predictions(rows, save_dir))
    return result


@dataclass(frozen=True)
class _Watcher:
    """Labels clips that are read in another process, as a file may crash the one that reads it."""

    net: AttentionLSTM
    extractor: Extractor
    save_dir: Path
    options: WatchOptions
    ids: Mapping[Path, str]

    def outcomes(self) -> Iterator[Watched | AlstmError]:
        """Yield what is found in each clip, or why nothing is."""
        look = self.extractor.without_projections().raw
        with closing(work_apart(look, map(Clip, self.ids), seconds=self.options.clip_seconds)) as read:
            for clip, raw in read:
                yield raw if isinstance(raw, AlstmError) else attempt(partial(self._watched, raw), clip)

    def _watched(self, raw: RawFeatures, clip: Clip) -> Watched:
        """Label a clip and draw its timeline."""
        from alstm_helpers.figures import plots

        video = self.extractor.record(self.ids[clip.path], (), raw.streams)
        report = _report(self.net, video, clip, raw.notes, self.options)
        drawn: WatchReport = {**report, "labels": report["labels"][:DRAWN_LABELS]}
        figure = plots.timeline(drawn, *film_strip(raw.thumbnails))
        return Watched(clip.path, report, write_report_with_figure(drawn, figure, self.save_dir, tight=True))


def watch(
    net: AttentionLSTM,
    extractor: Extractor,
    clip: Clip,
    *,
    top_k: int = 5,
    class_names: Mapping[int, str] | None = None,
) -> WatchReport:
    """Return the best labels of a clip, and where they come from.

    Args:
        net: the network.
        extractor: the one that made the features it was trained on.
        clip: what to label.
        top_k: labels.
        class_names: class names by index.

    Returns:
        What :func:`alstm_helpers.evaluation.explain.explain` returns; ``file``, and ``notes`` on it; and ``over_time``
        [T], the score of the best label from the ``window`` seconds around each second alone.

    Raises:
        AlstmError: the file cannot be read.
    """
    video, notes = extractor.video(clip)
    return _report(net, video, clip, notes, WatchOptions(top_k, class_names or {}))


def _report(net: AttentionLSTM, video: Video, clip: Clip, notes: list[str], options: WatchOptions) -> WatchReport:
    explanation = explain(net, video, top_k=options.top_k, class_names=options.class_names)
    best = explanation["labels"][0]["index"]
    window = window_of(video.num_frames)
    scores = options.calibration(score_around(net, video, window)[:, best])  # (T,)
    labels = explanation["labels"]
    shown = options.calibration(np.array([label["score"] for label in labels])).tolist()  # (K,)
    return {
        **explanation,
        "labels": [{**label, "score": score} for label, score in zip(labels, shown, strict=True)],
        "file": printable(os.fsencode(clip.path)),
        "notes": notes,
        "window": window,
        "over_time": scores.tolist(),
    }


def score_around(net: AttentionLSTM, video: Video, window: int) -> np.ndarray:
    """Return the scores, float32 (T, C), of the ``window`` seconds around each second, each as a video of its own."""
    parts = around_each_second(video, window)
    batches = (collate(parts[first : first + 64], net.num_classes) for first in range(0, len(parts), 64))
    return np.concatenate([scores for _, scores, _ in score_batches(net, batches)])


def _prediction_row(report: WatchReport, class_names: Mapping[int, str]) -> PredictionRow:
    """Return the row of ``predictions.jsonl`` for a clip."""
    labels = [label_row(each["index"], each["score"], class_names, digits=DIGITS) for each in report["labels"]]
    return {"video": report["video"], "labels": labels}
