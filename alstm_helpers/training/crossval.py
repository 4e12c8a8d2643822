"""k-fold cross-validation, for data sets whose validation part would be too small to be conclusive."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypedDict

import numpy as np

from alstm_helpers.config import Config, save_config
from alstm_helpers.data.dataset import read_batches
from alstm_helpers.data.feature_scale import content_of
from alstm_helpers.data.filelists import read_filelist, write_filelist
from alstm_helpers.data.lists import ONE_VIDEO, compile_group, group_of, joined
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.baseline import baseline_scores, no_skill_gap, pooled
from alstm_helpers.evaluation.calibration import Calibrated, calibrate
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.evaluation.intervals import Difference, difference
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import claimed, write_sealed
from alstm_helpers.metrics import METRICS, YouTube8MMetrics, multi_hot
from alstm_helpers.paths import RunFolder
from alstm_helpers.pickles import checked, load_shard, save_videos
from alstm_helpers.tfrecord import Video
from alstm_helpers.training.log import LineReport
from alstm_helpers.training.train import TrainOptions, train

# What crossval.json has for each fold: GAP, by which folds are compared, comes first.
_OTHERS = [metric.key for metric in METRICS if metric.in_folds and metric.key != "gap"]
FOLD_KEYS = ("gap", *_OTHERS, "num_videos")

# Makes the features of all videos as the videos of these numbers alone determine them; see ``own_videos.refit``.
Remake: TypeAlias = Callable[[Sequence[Video], Sequence[int]], list[Video]]


@dataclass(frozen=True)
class CrossValidation:
    """How to cross-validate.

    Args:
        folds: number of folds.
        seed: of the division into folds and of each training.
        group: see :func:`related`.
        pretrain: weights to start each training from.
        remake: makes the features anew in each fold, where they depend on the videos that train; None leaves them.
    """

    folds: int = 5
    seed: int = 0
    group: str = ONE_VIDEO
    pretrain: str | os.PathLike[str] | None = None
    remake: Remake | None = None


class Judged(TypedDict):
    """What a method reaches.

    ``folds`` has ``FOLD_KEYS`` for each fold; ``gap_mean`` and ``gap_std`` (sample standard deviation) are over
    the folds; ``pooled`` has the metrics of all videos together.
    """

    folds: list[dict[str, float]]
    gap_mean: float
    gap_std: float
    pooled: dict[str, float]


class CrossValidated(Judged):
    """The content of ``crossval.json``.

    What the network reaches, beside it the linear baseline, their difference, and the network's calibration.
    """

    baseline: Judged
    difference: Difference
    calibration: Calibrated
    no_skill_gap: float  # see ``baseline.no_skill_gap``
    features_sha256: str | None  # see ``feature_scale.content_of``


def related(videos: Sequence[Video], group: str = ONE_VIDEO) -> list[bytes]:
    """Return a name for each video that related ones share: videos of the same bytes, and groups.

    Args:
        videos: any.
        group: a regular expression; videos in whose ids it finds the same text are related.

    Raises:
        AlstmError: ``group`` finds nothing in an id.
    """
    pattern = compile_group(group)
    digests = [hashlib.sha256(video.rgb.tobytes() + video.audio.tobytes()).digest() for video in map(checked, videos)]
    return joined([group_of(video.id, pattern) for video in videos], digests)


def folds_of(groups: Sequence[bytes], labels: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Return the numbers of the videos that judge each fold: each video once, related videos in the same fold.

    Each class is spread over the folds as evenly as the groups allow; a video with several labels counts as of the
    rarest.

    Args:
        groups: one name per video, see :func:`related`.
        labels: bool (N, C).
        folds: number of folds.
        seed: of the division.

    Raises:
        AlstmError: there are fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    count = len(set(groups))
    if not 2 <= folds <= count:
        problem = f"{count} independent videos cannot be divided into {folds}"
        few = "label clips of more recordings" if count < 2 else f"pass 2 to {count}" if count > 2 else "pass 2"
        raise AlstmError("--folds", problem, few)
    rarity = np.where(labels, labels.sum(axis=0), len(labels) + 1)  # (N, C)
    rarest = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])  # (N,)
    even = np.bincount(rarest).max() >= folds  # otherwise scikit-learn refuses to stratify
    state = seed % 2**32  # scikit-learn takes no larger one
    splitter = (StratifiedGroupKFold if even else GroupKFold)(folds, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        return [judged for _, judged in splitter.split(groups, rarest, groups)]


def cross_validate(
    config: Config,
    save_dir: str | os.PathLike[str],
    options: CrossValidation = CrossValidation(),
    *,
    report: LineReport = lambda line: None,
) -> CrossValidated:
    """Train once per fold on the other folds, and judge every video by the network that has not seen it.

    Each network trains for all of ``TRAIN.epoch``, and its last weights are judged: choosing the best epoch by the
    videos that judge would make the result look better than it is. So ``TRAIN.patience`` is ignored. The linear
    baseline (:mod:`alstm_helpers.evaluation.baseline`) learns from, and is judged by, the same videos.

    Args:
        config: as for a training; the videos are those of its training and validation lists together.
        save_dir: gets one folder per fold, ``crossval.json``, and for ``alstm report`` scores and settings.
        options: see :class:`CrossValidation`.
        report: receives lines for the log.

    Returns:
        the content of ``crossval.json``.

    Raises:
        AlstmError: see :func:`folds_of` and :func:`alstm_helpers.training.train.train`; another run is writing to
            ``save_dir``.
    """
    with claimed(Path(save_dir)):
        return _cross_validate(config, Path(save_dir), options, report)


def _cross_validate(config: Config, save_dir: Path, options: CrossValidation, report: LineReport) -> CrossValidated:
    """Cross-validate in the claimed folder."""
    content, videos = content_of(Path(config.TRAIN.filelist).parent), _all_videos(config)
    names = [video.name for video in videos]
    groups = related(videos, options.group)
    labels = multi_hot([video.labels for video in videos], config.MODEL.num_classes, names)  # (N, C)
    network, baseline = (np.zeros(labels.shape, np.float32) for _ in range(2))
    folds = np.zeros(len(videos), np.int64)

    def divide(rows: np.ndarray, parts: int) -> list[np.ndarray]:
        mine = [groups[row] for row in rows]
        parts = min(parts, len(set(mine)))
        return [rows[part] for part in folds_of(mine, labels[rows], parts, options.seed)] if parts > 1 else []

    made = videos
    inputs = None if options.remake else pooled(videos)  # the same in every fold
    for number, judged in enumerate(folds_of(groups, labels, options.folds, options.seed), 1):
        learn = np.setdiff1d(np.arange(len(videos)), judged)
        if options.remake:
            made = options.remake(videos, learn.tolist())
        own = _write_fold(config, save_dir / f"fold{number}", made, set(judged.tolist()))
        folds[judged] = number
        network[judged] = _judge(own, save_dir / f"fold{number}" / "run", options)
        baseline[judged] = baseline_scores(pooled(made) if inputs is None else inputs, labels, learn, judged, divide)
        gaps = [_gap(config, scores[judged], labels[judged]) for scores in (network, baseline)]
        said = f"GAP {gaps[0]:.4f}, linear baseline {gaps[1]:.4f} on {len(judged)} videos"
        if not labels[judged].any():
            said = f"none of its {len(judged)} videos has a label"
        report(f"fold {number}/{options.folds}: {said}")
    ids = [video.id for video in videos]
    scored = Scored(ids, labels, network, config.MODEL.topk, groups, folds, baseline)
    return _write(config, save_dir, scored, options.seed, content)


def _gap(config: Config, scores: np.ndarray, labels: np.ndarray) -> float:
    metrics = YouTube8MMetrics(config.MODEL.num_classes, config.MODEL.topk)
    metrics.update(scores, labels)
    return metrics.gap()


def _write(config: Config, save_dir: Path, scored: Scored, seed: int, content: str | None) -> CrossValidated:
    """Write the results, and the settings and scores for ``alstm report``; return the content of ``crossval.json``."""
    network, baseline = scored.metrics, scored.baseline_metrics
    assert baseline is not None and scored.folds is not None
    folds = [np.flatnonzero(scored.folds == number) for number in np.unique(scored.folds)]
    found: CrossValidated = {
        **_judged(network, folds),
        "baseline": _judged(baseline, folds),
        "difference": difference(network, baseline, scored.groups, seed),
        "calibration": calibrate(scored),
        "no_skill_gap": no_skill_gap(scored.labels, scored.top_k),
        "features_sha256": content,
    }
    run = RunFolder(save_dir, config.MODEL.name)
    save_config(run.config, config)
    scored.save(run.scores)
    write_sealed(save_dir / "crossval.json", found)
    return found


def _judged(whole: YouTube8MMetrics, folds: Sequence[np.ndarray]) -> Judged:
    """Return what a method reached on all videos, and on those of each fold, given by their numbers."""
    parts = [whole.subset(fold) for fold in folds]
    results = [part.result() for part in parts]
    # A fold in which no video has a label says nothing: its GAP is 0 for any scores.
    gaps = [row["gap"] for row, part in zip(results, parts, strict=True) if part.positives().any()]
    mean, deviation = float(np.mean(gaps or 0.0)), float(np.std(gaps, ddof=1)) if len(gaps) > 1 else 0.0
    rows = [{key: row[key] for key in FOLD_KEYS} for row in results]
    return {"folds": rows, "gap_mean": mean, "gap_std": deviation, "pooled": whole.result()}


def _all_videos(config: Config) -> list[Video]:
    """Read the videos of the training and validation lists, each once, sorted by id."""
    shards = {*read_filelist(config.TRAIN.filelist), *read_filelist(config.VALID.filelist)}
    every = {video.id: video for shard in sorted(shards) for video in load_shard(shard)}
    return [every[name] for name in sorted(every)]


def _write_fold(config: Config, folder: Path, videos: Sequence[Video], judged: set[int]) -> Config:
    """Write the shards and lists of a fold; return the settings with which it is trained and judged.

    Args:
        config: the caller's settings.
        folder: of the fold.
        videos: of all folds.
        judged: indices of those that judge this fold; the others train it.
    """
    own = config.model_copy(deep=True)
    with claimed(folder):
        own.TRAIN.filelist = _write_split(folder, "train", [v for index, v in enumerate(videos) if index not in judged])
        own.VALID.filelist = _write_split(folder, "val", [v for index, v in enumerate(videos) if index in judged])
    own.TRAIN.num_samples, own.TRAIN.patience = None, None
    return own


def _write_split(folder: Path, split: str, videos: Sequence[Video]) -> str:
    """Write videos as one pickle, and a list that names it; return the path of the list."""
    path = folder / "pkl" / split / "own.pkl"
    with claimed(path.parent):
        save_videos(path, videos)
    target = folder / f"{split}.list"
    write_filelist(target, [path])
    return str(target.absolute())


def _judge(config: Config, save_dir: Path, options: CrossValidation) -> np.ndarray:
    """Train a network, and return its scores of its validation list, float32 (M, C), in their order."""
    quiet = TrainOptions(log_interval=0, valid_interval=0, seed=options.seed, pretrain=options.pretrain, visualdl=False)
    net = train(config, save_dir, quiet).net
    batches = read_batches(read_filelist(config.VALID.filelist), config.VALID.batch_size, config.MODEL.num_classes)
    return np.concatenate([scores for _, scores, _ in score_batches(net, batches)])
