"""Commands of the training wing (chapters 4 and 9): train, crossval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alstm_helpers.commands.options import (
    Given,
    config_flags,
    configure,
    fetched,
    group_flag,
    interval_flag,
    line,
    quoted,
    save_dir_flag,
)
from alstm_helpers.paths import RunFolder
from alstm_helpers.progress import progress_bar

if TYPE_CHECKING:
    from alstm_helpers.evaluation.calibration import Calibrated, Quality


@click.command()
@config_flags()
@interval_flag("--log_interval", 10, "Steps between lines; 0 never.")
@interval_flag("--valid_interval", 1, "Epochs between validations; 0 never.")
@interval_flag("--save_interval", 1000, "Steps between checkpoints inside an epoch; 0 only at its end.")
@save_dir_flag("data/checkpoints", "Where checkpoints go.")
@click.option(
    "--fix_random_seed", type=bool, default=False, show_default=True, help="Use TRAIN.seed: a repeatable run."
)
@click.option("--epoch", type=int, help="Passes over the training data. [default: the file's]")
@click.option("--batch_size", type=int, help="Videos per step over all GPUs. [default: the file's]")
@click.option("--learning_rate", type=float, help="Of RMSProp, after the warm-up. [default: the file's]")
@click.option("--pretrain", metavar="P", help="Start from weights (a path, a URL or published); keeps what fits.")
@click.option("--resume", metavar="P", help="Continue exactly from a checkpoint or a save_dir.")
def train(
    given: Given,
    log_interval: int,
    valid_interval: int,
    save_interval: int,
    save_dir: str,
    fix_random_seed: bool,
    epoch: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    pretrain: str | None,
    resume: str | None,
) -> None:
    """Train; keep the best and the latest checkpoint in --save_dir."""
    flags = {"TRAIN.epoch": epoch, "TRAIN.batch_size": batch_size, "TRAIN.learning_rate": learning_rate}
    config = configure(given, flags)
    start = fetched(pretrain) if pretrain else None  # a wrong path is told before Paddle is imported
    _require_lists(config.TRAIN.filelist, *([config.VALID.filelist] if valid_interval else []))
    from alstm_helpers.training.train import TrainOptions
    from alstm_helpers.training.train import train as run

    options = TrainOptions(
        log_interval=log_interval,
        valid_interval=valid_interval,
        save_interval=save_interval,
        seed=config.TRAIN.seed if fix_random_seed else None,
        resume=resume,
        pretrain=start,
    )
    done = run(config, save_dir, options, report=line, progress=progress_bar)
    best = f"best GAP {done.best_gap:.4f}, " if done.best_gap >= 0 else ""
    weights = RunFolder(Path(save_dir), config.MODEL.name).best
    line(f"{best}{done.train_seconds:.0f} s of training; weights in {weights}")


@click.command()
@config_flags()
@click.option("--folds", default=5, show_default=True, help="Parts; each is judged once.")
@save_dir_flag("data/crossval", "A folder per fold, and crossval.json.")
@click.option("--pretrain", metavar="P", help="Weights to start each training from.")
@group_flag("[default: that of `alstm features`]")
def crossval(given: Given, folds: int, save_dir: str, pretrain: str | None, group: str | None) -> None:
    """Judge every video by a network that has not seen it, and by a linear baseline: for up to a few hundred videos.

    Features that `alstm features` scaled are scaled anew in each fold, by the videos that train.
    """
    config = configure(given)
    start = fetched(pretrain) if pretrain else None
    _require_lists(config.TRAIN.filelist, config.VALID.filelist)
    from alstm_helpers.data.lists import ONE_VIDEO
    from alstm_helpers.evaluation.intervals import verdict
    from alstm_helpers.metrics import METRICS
    from alstm_helpers.own_videos.feature_folder import group_in
    from alstm_helpers.own_videos.refit import remaker
    from alstm_helpers.training.crossval import CrossValidation, cross_validate

    remake, note = remaker(config.TRAIN.filelist)
    if note:
        line(note)
    if not group and (group := group_in(Path(config.TRAIN.filelist).parent)):
        line(f"--group {group}, as `alstm features` was told")
    options = CrossValidation(folds, config.TRAIN.seed, group or ONE_VIDEO, start, remake)
    done = cross_validate(config, save_dir, options, report=line)
    for name, judged in (("network", done), ("linear baseline", done["baseline"])):
        spread = f"{judged['gap_mean']:.4f} ± {judged['gap_std']:.4f} over the folds"
        pooled = "  ".join(f"{metric.title} {judged['pooled'][metric.key]:.4f}" for metric in METRICS)
        line(f"{name}: GAP {spread}; of all videos {pooled}")
    line(f"without any skill, by the frequencies of the classes alone: GAP {done['no_skill_gap']:.4f}")
    path = Path(save_dir, "crossval.json")
    _say_calibration(done["calibration"], path)
    line(f"{verdict(done['difference'])} → {path}")


def _say_calibration(found: Calibrated, path: Path) -> None:
    """Print what the calibration of a cross-validation does, and whether to rely on it."""
    before, after = found["before"], found["after"]
    line(
        f"calibration, judged on the other folds: {_said(before)} → {_said(after)};"
        f" `alstm predict --calibration {quoted(path)}` uses it"
    )
    if after["calibration_error"] >= before["calibration_error"]:
        line("here it does not help: label more videos before you rely on it")


def _require_lists(*filelists: str) -> None:
    """Require lists of shards and what they name, before Paddle is imported."""
    from alstm_helpers.data.filelists import read_filelist

    for filelist in filelists:
        read_filelist(filelist)


def _said(quality: Quality) -> str:
    """Return how well scores are calibrated as part of a line."""
    return f"error of the best score {quality['calibration_error']:.3f}, log loss {quality['log_loss']:.3f}"
