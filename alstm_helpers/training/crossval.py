"""k-fold cross-validation, for data sets whose validation part would be too small to be conclusive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import Batch, read_batches
from alstm_helpers.data.filelists import read_filelist, write_filelist
from alstm_helpers.data.lists import ONE_VIDEO, compile_group, group_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import evaluate
from alstm_helpers.files import claimed, write_json
from alstm_helpers.metrics import METRICS, YouTube8MMetrics
from alstm_helpers.pickles import load_shard, save_videos
from alstm_helpers.tfrecord import Video
from alstm_helpers.training.log import LineReport
from alstm_helpers.training.train import TrainOptions, train

# What crossval.json has for each fold: GAP, by which folds are compared, comes first.
_OTHERS = [metric.key for metric in METRICS if metric.in_folds and metric.key != "gap"]
FOLD_KEYS = ("gap", *_OTHERS, "num_videos")


@dataclass(frozen=True)
class CrossValidation:
    """How to cross-validate.

    Args:
        folds: number of folds.
        seed: of the division into folds and of each training.
        group: see :func:`folds_of`.
        pretrain: weights to start each training from.
    """

    folds: int = 5
    seed: int = 0
    group: str = ONE_VIDEO
    pretrain: str | os.PathLike[str] | None = None


class CrossValidated(TypedDict):
    """The content of ``crossval.json``.

    ``folds`` has ``FOLD_KEYS`` for each fold; ``gap_mean`` and ``gap_std`` (sample standard deviation) are over
    the folds; ``pooled`` has the metrics of all videos together.
    """

    folds: list[dict[str, float]]
    gap_mean: float
    gap_std: float
    pooled: dict[str, float]


def folds_of(ids: Sequence[bytes], folds: int, seed: int, group: str = ONE_VIDEO) -> list[np.ndarray]:
    """Return the indices of the videos that judge each fold: each video once, related videos in the same fold.

    Args:
        ids: of the videos.
        folds: number of folds.
        seed: of the division.
        group: a regular expression; videos in whose ids it finds the same text are related.

    Raises:
        AlstmError: there are fewer groups than folds, or ``group`` finds nothing in an id.
    """
    from sklearn.model_selection import GroupKFold

    pattern = compile_group(group)
    groups = [group_of(video_id, pattern) for video_id in ids]
    if not 2 <= folds <= len(set(groups)):
        problem = f"{len(set(groups))} independent videos cannot be divided into {folds}"
        raise AlstmError("--folds", problem, f"pass 2 to {len(set(groups))}")
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    return [judged for _, judged in splitter.split(ids, groups=groups)]


def cross_validate(
    config: Config,
    save_dir: str | os.PathLike[str],
    options: CrossValidation = CrossValidation(),
    *,
    report: LineReport = lambda line: None,
) -> CrossValidated:
    """Train once per fold on the other folds, and judge every video by the network that has not seen it.

    Each network trains for all of ``TRAIN.epoch``, and its last weights are judged: choosing the best epoch by the
    videos that judge would make the result look better than it is. So ``TRAIN.patience`` is ignored.

    Args:
        config: as for a training; the videos are those of its training and validation lists together.
        save_dir: gets one folder per fold, and ``crossval.json``.
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
    videos = _all_videos(config)
    folds = folds_of([video.id for video in videos], options.folds, options.seed, options.group)
    pooled = YouTube8MMetrics(config.MODEL.num_classes, config.MODEL.topk)
    rows = []
    for number, judged in enumerate(folds, 1):
        folder = save_dir / f"fold{number}"
        own = _write_fold(config, folder, videos, set(judged.tolist()))
        result = _judge(own, folder / "run", options, pooled)
        rows.append({key: result[key] for key in FOLD_KEYS})
        report(f"fold {number}/{options.folds}: GAP {result['gap']:.4f} on {result['num_videos']} videos")
    gaps = [row["gap"] for row in rows]
    found: CrossValidated = {
        "folds": rows,
        "gap_mean": float(np.mean(gaps)),
        "gap_std": float(np.std(gaps, ddof=1)),
        "pooled": pooled.result(),
    }
    write_json(save_dir / "crossval.json", found)
    return found


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


def _judge(config: Config, save_dir: Path, options: CrossValidation, pooled: YouTube8MMetrics) -> dict[str, float]:
    """Train a network, and return the metrics of its validation list; add its videos to ``pooled``."""
    quiet = TrainOptions(log_interval=0, valid_interval=0, seed=options.seed, pretrain=options.pretrain, visualdl=False)
    net = train(config, save_dir, quiet).net

    def pool(batch: Batch, scores: np.ndarray) -> None:
        pooled.update(scores, batch.labels, batch.ids)

    batches = read_batches(read_filelist(config.VALID.filelist), config.VALID.batch_size, config.MODEL.num_classes)
    return evaluate(net, batches, top_k=config.MODEL.topk, observe=pool)
