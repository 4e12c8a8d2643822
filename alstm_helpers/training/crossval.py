"""k-fold cross-validation, for data sets whose validation part would be too small to be conclusive."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypedDict

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import read_batches
from alstm_helpers.data.filelists import read_filelist, write_filelist
from alstm_helpers.data.lists import ONE_VIDEO, compile_group, group_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.baseline import baseline_scores, pooled
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.evaluation.intervals import Difference, difference
from alstm_helpers.files import claimed, write_json
from alstm_helpers.metrics import METRICS, YouTube8MMetrics, multi_hot
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
    """The content of ``crossval.json``: what the network reaches, beside it the linear baseline, their difference."""

    baseline: Judged
    difference: Difference


def related(videos: Sequence[Video], group: str = ONE_VIDEO) -> list[bytes]:
    """Return a name for each video that related ones share: videos of the same bytes, and groups.

    Args:
        videos: any.
        group: a regular expression; videos in whose ids it finds the same text are related.

    Raises:
        AlstmError: ``group`` finds nothing in an id.
    """
    pattern = compile_group(group)
    names = [group_of(video.id, pattern) for video in videos]
    first: dict[bytes, bytes] = {}  # links from names, and from digests of content, to names
    for name, video in zip(names, videos, strict=True):
        content = checked(video)
        digest = hashlib.sha256(content.rgb.tobytes() + content.audio.tobytes()).digest()
        mine, other = _last_of(first, name), _last_of(first, digest)
        if mine != other:
            first[other] = mine
    return [_last_of(first, name) for name in names]


def _last_of(links: Mapping[bytes, bytes], name: bytes) -> bytes:
    while name in links:
        name = links[name]
    return name


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
        raise AlstmError("--folds", problem, f"pass 2 to {count}")
    rarity = np.where(labels, labels.sum(axis=0), len(labels) + 1)  # (N, C)
    rarest = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])  # (N,)
    even = np.bincount(rarest).max() >= folds  # otherwise scikit-learn refuses to stratify
    splitter = (StratifiedGroupKFold if even else GroupKFold)(folds, shuffle=True, random_state=seed)
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
    groups = related(videos, options.group)
    names = [video.name for video in videos]
    labels = multi_hot([video.labels for video in videos], config.MODEL.num_classes, names)  # (N, C)
    network, baseline = _Pool(config), _Pool(config)

    def divide(rows: np.ndarray, parts: int) -> list[np.ndarray]:
        mine = [groups[row] for row in rows]
        parts = min(parts, len(set(mine)))
        return [rows[part] for part in folds_of(mine, labels[rows], parts, options.seed)] if parts > 1 else []

    order, made = [], videos
    inputs = None if options.remake else pooled(videos)  # the same in every fold
    for number, judged in enumerate(folds_of(groups, labels, options.folds, options.seed), 1):
        learn = np.setdiff1d(np.arange(len(videos)), judged)
        if options.remake:
            made = options.remake(videos, learn.tolist())
        own = _write_fold(config, save_dir / f"fold{number}", made, set(judged.tolist()))
        network.add(_judge(own, save_dir / f"fold{number}" / "run", options))
        scores = baseline_scores(pooled(made) if inputs is None else inputs, labels, learn, judged, divide)
        baseline.add([(scores, labels[judged])])
        gaps = f"GAP {network.rows[-1]['gap']:.4f}, linear baseline {baseline.rows[-1]['gap']:.4f}"
        report(f"fold {number}/{options.folds}: {gaps} on {len(judged)} videos")
        order += judged.tolist()
    apart = difference(network.whole, baseline.whole, [groups[row] for row in order], options.seed)
    found: CrossValidated = {**network.judged(), "baseline": baseline.judged(), "difference": apart}
    write_json(save_dir / "crossval.json", found)
    return found


class _Pool:
    """The metrics of a method: of each fold, and of all videos together."""

    def __init__(self, config: Config) -> None:
        self._empty = partial(YouTube8MMetrics, config.MODEL.num_classes, config.MODEL.topk)
        self.whole = self._empty()
        self.rows: list[dict[str, float]] = []

    def add(self, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Add a fold: scores (B, C) and labels (B, C) of its videos in their order."""
        fold = self._empty()
        for scores, labels in batches:
            fold.update(scores, labels)
        self.whole.merge(fold)
        result = fold.result()
        self.rows.append({key: result[key] for key in FOLD_KEYS})

    def judged(self) -> Judged:
        """Return what the method reached."""
        gaps = [row["gap"] for row in self.rows]
        mean, deviation = float(np.mean(gaps)), float(np.std(gaps, ddof=1))
        return {"folds": self.rows, "gap_mean": mean, "gap_std": deviation, "pooled": self.whole.result()}


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


def _judge(config: Config, save_dir: Path, options: CrossValidation) -> list[tuple[np.ndarray, np.ndarray]]:
    """Train a network, and return its scores (B, C) of its validation list with the labels (B, C), in their order."""
    quiet = TrainOptions(log_interval=0, valid_interval=0, seed=options.seed, pretrain=options.pretrain, visualdl=False)
    net = train(config, save_dir, quiet).net
    batches = read_batches(read_filelist(config.VALID.filelist), config.VALID.batch_size, config.MODEL.num_classes)
    return [(scores, batch.labels) for batch, scores, _ in score_batches(net, batches)]
