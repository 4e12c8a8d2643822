"""k-fold cross-validation, for data sets of which a validation part would be too small to tell anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import Batch, read_batches
from alstm_helpers.data.filelists import read_filelist, write_filelist
from alstm_helpers.data.lists import ONE_VIDEO, compile_group, group_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import evaluate
from alstm_helpers.files import write_json
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.pickles import load_shard, save_videos
from alstm_helpers.tfrecord import Video
from alstm_helpers.training.train import train


def folds_of(ids: Sequence[bytes], folds: int, seed: int, group: str = ONE_VIDEO) -> list[np.ndarray]:
    """Indices of the videos that each fold is judged on; each video once, and what belongs together in one fold.

    Args:
        ids: of the videos.
        folds: how many.
        seed: of the draw.
        group: a regular expression for ids; videos in which it finds the same text belong together.

    Raises:
        AlstmError: fewer groups than folds, or an id in which ``group`` finds nothing.
    """
    from sklearn.model_selection import GroupKFold

    pattern = compile_group(group)
    groups = [group_of(video_id, pattern) for video_id in ids]
    if not 2 <= folds <= len(set(groups)):
        problem = f"{len(set(groups))} videos that stand alone cannot be divided into {folds}"
        raise AlstmError("--folds", problem, f"pass 2 to {len(set(groups))}")
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    return [judged for _, judged in splitter.split(ids, groups=groups)]


def cross_validate(
    config: Config,
    save_dir: str | os.PathLike[str],
    *,
    folds: int = 5,
    seed: int = 0,
    group: str = ONE_VIDEO,
    pretrain: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train once for each fold on the other folds, and judge every video by the network that has not seen it.

    Each network trains for all of ``TRAIN.epoch``, and its last weights are judged: to choose the best epoch by the
    videos that judge would make the result look better than it is. So ``TRAIN.patience`` does not count here.

    Args:
        config: as for a training; the videos are those of its training and validation lists together.
        save_dir: gets a folder a fold, and ``crossval.json``.
        folds: how many.
        seed: of the draw and of each training.
        group: see :func:`folds_of`.
        pretrain: weights to start each training from.
        report: receives lines for the log.

    Returns:
        ``folds``: ``gap, hit_at_1, num_videos`` of each; ``gap_mean``, ``gap_std`` over them; ``pooled``: the metrics
        of all videos together.
    """
    shards = {*read_filelist(config.TRAIN.filelist), *read_filelist(config.VALID.filelist)}
    every = {video.id: video for shard in sorted(shards) for video in load_shard(shard)}
    videos = [every[name] for name in sorted(every)]
    pooled = YouTube8MMetrics(config.MODEL.num_classes, config.MODEL.topk)
    rows = []

    def pool(batch: Batch, scores: np.ndarray) -> None:
        pooled.update(scores, batch.labels, batch.ids)

    for number, judged in enumerate(folds_of([video.id for video in videos], folds, seed, group), 1):
        folder = Path(save_dir, f"fold{number}")
        chosen = set(judged.tolist())
        parts = {
            "train": [video for index, video in enumerate(videos) if index not in chosen],
            "val": [video for index, video in enumerate(videos) if index in chosen],
        }
        own = config.model_copy(deep=True)
        own.TRAIN.filelist = _listed(folder, "train", parts["train"])
        own.VALID.filelist = _listed(folder, "val", parts["val"])
        own.TRAIN.num_samples, own.TRAIN.patience = None, None
        quiet: dict[str, Any] = {"log_interval": 0, "valid_interval": 0, "visualdl": False}
        done = train(own, folder / "run", seed=seed, pretrain=pretrain, **quiet)
        batches = read_batches(read_filelist(own.VALID.filelist), config.VALID.batch_size, config.MODEL.num_classes)
        result = evaluate(done.net, batches, top_k=config.MODEL.topk, observe=pool)
        rows.append({key: result[key] for key in ("gap", "hit_at_1", "num_videos")})
        report(f"fold {number}/{folds}: GAP {result['gap']:.4f} on {result['num_videos']} videos")
    gaps = [row["gap"] for row in rows]
    found = {"folds": rows, "gap_mean": float(np.mean(gaps)), "gap_std": float(np.std(gaps, ddof=1))}
    found["pooled"] = pooled.result()
    write_json(Path(save_dir, "crossval.json"), found)
    return found


def _listed(folder: Path, split: str, videos: Sequence[Video]) -> str:
    """Write the videos as one pickle, and the list that names it; returns the list's path."""
    path = folder / "pkl" / split / "own.pkl"
    save_videos(path, videos)
    target = folder / f"{split}.list"
    write_filelist(target, [path])
    return str(target.absolute())
