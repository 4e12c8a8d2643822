"""Training: loss, schedule, checkpoints, and a resume that goes on exactly."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alstm_helpers.config import Config, TrainSection
from alstm_helpers.curves import Curves
from alstm_helpers.dataset import count_videos, read_batches, shuffled_batches
from alstm_helpers.errors import AlstmError, ConfigError
from alstm_helpers.evaluate import build_model, evaluate, summed_loss, to_tensors
from alstm_helpers.files import read_filelist, write_json, write_json_lines
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.pickles import load_plain, save_plain
from alstm_helpers.runtime import paddle, seed_everything
from alstm_helpers.weights import (
    apply_weights,
    load_arrays,
    optimizer_state,
    restore_optimizer,
    save_weights,
    state_of,
)

_RESUME_REMEDY = "pass the save_dir of a training, or train without --resume"


def learning_rate_at(step: int, steps_per_epoch: int, section: TrainSection) -> float:
    """The learning rate of a step (counted from 0 over the whole training).

    Linear warm-up from 0 (P. Goyal et al., arXiv:1706.02677, section 2.2), then steps by ``decay_gamma``
    or a cosine to 2 % of the rate (I. Loshchilov and F. Hutter, arXiv:1608.03983).
    """
    if step < section.warmup_iters:
        return section.learning_rate * (step + 1) / section.warmup_iters
    if section.schedule == "step":
        passed = sum(step >= epoch * steps_per_epoch for epoch in section.decay_epochs)
        return section.learning_rate * section.decay_gamma**passed
    total = max(1, section.epoch * steps_per_epoch - section.warmup_iters)
    share = min(1.0, (step - section.warmup_iters) / total)
    return section.learning_rate * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)


def make_optimizer(net: AttentionLSTM, section: TrainSection) -> Any:
    """Centered RMSProp as the originals set it (rho 0.95, epsilon 1e-6, no momentum)."""
    clip = paddle.nn.ClipGradByGlobalNorm(section.clip_norm) if section.clip_norm else None
    decay = paddle.regularizer.L2Decay(section.weight_decay) if section.weight_decay else None
    for layer in (net.fc_out1, net.fc_out2, net.fc_logit):
        layer.bias.regularizer = paddle.regularizer.L2Decay(0.0)
    return paddle.optimizer.RMSProp(
        learning_rate=section.learning_rate,
        rho=0.95,
        epsilon=1e-6,
        momentum=0.0,
        centered=True,
        parameters=net.parameters(),
        weight_decay=decay,
        grad_clip=clip,
    )


@dataclass
class Progress:
    """Where a training stands; with weights and optimiser, all that a resume needs."""

    seed: int
    epoch: int = 0  # the next epoch
    step: int = 0  # the next step
    best_gap: float = -1.0
    train_seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)  # what train.jsonl holds


@dataclass
class Training:
    """What :func:`train` returns: the network, the log rows by kind, and the seconds spent in training steps."""

    net: AttentionLSTM
    rows: list[dict[str, Any]]
    best_gap: float
    train_seconds: float

    def curve(self, kind: str, key: str) -> tuple[list[float], list[float]]:
        """Epochs and values of one logged number; ``kind`` is ``"train"`` or ``"valid"``."""
        rows = [row for row in self.rows if row["kind"] == kind]
        return [row["epoch"] for row in rows], [row[key] for row in rows]


def train(
    config: Config,
    save_dir: str | os.PathLike[str],
    *,
    log_interval: int = 10,
    valid_interval: int = 1,
    seed: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    pretrain: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[..., Iterable[Any]] = lambda items, **_: items,
    visualdl: bool = True,
) -> Training:
    """Train a network and keep its best and latest checkpoint.

    Args:
        config: model, data and schedule.
        save_dir: gets ``<name>_best.pdparams``, ``<name>_latest.pdparams`` (weights), ``<name>_latest.pdstate``
            (all that a resume needs), ``config.json``, ``train.jsonl`` and, for VisualDL, ``visualdl/``.
        log_interval: steps between lines of the log; 0 never.
        valid_interval: epochs between validations; 0 never, then the last checkpoint is the best.
        seed: makes the run repeatable; None draws one (and stores it).
        resume: a save_dir or checkpoint to go on from, exactly.
        pretrain: weights to start from; what does not fit keeps its random start and is reported.
        report: receives the lines of the log.
        progress: wraps the batches of an epoch, called with ``total`` and ``desc``.
        visualdl: also write curves for VisualDL.

    Raises:
        AlstmError: missing or empty data, a loss that is not finite, checkpoints that do not fit.
    """
    save_dir = Path(save_dir)
    section, name = config.TRAIN, config.MODEL.name
    if section.use_gpu and section.num_gpus > 1:
        raise ConfigError(
            "TRAIN.num_gpus", f"training on {section.num_gpus} cards is not yet built", "pass -o TRAIN.num_gpus=1"
        )
    if resume and pretrain:
        raise AlstmError("--resume and --pretrain", "only one can be the start", "drop one of them")
    train_shards = read_filelist(section.filelist)
    valid_shards = read_filelist(config.VALID.filelist) if valid_interval else []
    num_videos = section.num_samples or count_videos(train_shards)
    if not num_videos:
        raise AlstmError(section.filelist, "its shards hold no video", "convert shards that do")
    steps_per_epoch = math.ceil(num_videos / section.batch_size)

    state = Progress(seed=int.from_bytes(os.urandom(4), "little") if seed is None else seed)
    checkpoint = _load_checkpoint(resume, name) if resume else None
    if checkpoint:
        state = Progress(**checkpoint["progress"])
    seed_everything(state.seed)
    net = build_model(config)
    optimizer = make_optimizer(net, section)
    if checkpoint:
        apply_weights(net, checkpoint["weights"], str(resume))
        restore_optimizer(net, optimizer, checkpoint["optimizer"])
        report(f"resumed after epoch {state.epoch} of {section.epoch}")
    elif pretrain := pretrain or section.pretrain_base:
        left = apply_weights(net, load_arrays(pretrain), str(pretrain), keep_what_fits=True)
        report(f"started from {pretrain}; " + (f"not taken over: {', '.join(left)}" if left else "all of it"))
    save_dir.mkdir(parents=True, exist_ok=True)
    write_json(save_dir / "config.json", {**config.model_dump(), "seed": state.seed})
    curves = Curves(save_dir / "visualdl" if visualdl else None)

    for epoch in range(state.epoch, section.epoch):
        # Reseeding each epoch makes dropout a function of (seed, epoch), which is what a resume can restore.
        seed_everything((state.seed + epoch * 1_000_003) % 2**31)
        batches = shuffled_batches(
            train_shards,
            section.batch_size,
            config.MODEL.num_classes,
            seed=state.seed,
            epoch=epoch,
            shuffle_shards=section.shuffle_shards,
        )
        lap = _Lap(config, epoch, steps_per_epoch)
        net.train()
        start = time.perf_counter()
        for number, batch in enumerate(
            progress(batches, total=steps_per_epoch, desc=f"epoch {epoch + 1}/{section.epoch}")
        ):
            optimizer.set_lr(learning_rate_at(state.step, steps_per_epoch, section))
            rgb, audio, lengths, labels = to_tensors(batch)
            logits = net(rgb, audio, lengths)
            loss = summed_loss(logits, labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            lap.add(batch, logits, float(loss))
            state.step += 1
            if log_interval and (number + 1) % log_interval == 0:
                row = lap.row(state.step, optimizer.get_lr())
                state.rows.append(row)
                curves.add(row)
                report(lap.line(number + 1, row))
        state.train_seconds += time.perf_counter() - start
        state.epoch = epoch + 1
        last = state.epoch == section.epoch
        gap = None
        if valid_interval and (state.epoch % valid_interval == 0 or last):
            valid = read_batches(valid_shards, config.VALID.batch_size, config.MODEL.num_classes)
            result = evaluate(net, valid, top_k=config.MODEL.topk)
            gap = result["gap"]
            row = {"kind": "valid", "epoch": float(state.epoch), "step": state.step, **result}
            state.rows.append(row)
            curves.add(row)
            report(
                f"[VALID] epoch {state.epoch}/{section.epoch}  loss {result['loss']:.4f}"
                f"  Hit@1 {result['hit_at_1']:.4f}  PERR {result['perr']:.4f}  GAP {gap:.4f}"
            )
        if (gap is None and not valid_interval) or (gap is not None and gap > state.best_gap):
            state.best_gap = state.best_gap if gap is None else gap
            save_weights(net, save_dir / f"{name}_best.pdparams")
        _save_checkpoint(save_dir, name, net, optimizer, state)
    curves.close()
    return Training(net, state.rows, state.best_gap, state.train_seconds)


class _Lap:
    """Loss and metrics since the last line of the log."""

    def __init__(self, config: Config, epoch: int, steps_per_epoch: int) -> None:
        self.config, self.epoch, self.steps_per_epoch = config, epoch, steps_per_epoch
        self._restart()

    def _restart(self) -> None:
        self.metrics = YouTube8MMetrics(self.config.MODEL.num_classes, self.config.MODEL.topk)
        self.loss, self.start = 0.0, time.perf_counter()

    def add(self, batch: Any, logits: Any, loss: float) -> None:
        if not math.isfinite(loss):
            first = batch.ids[0].decode(errors="backslashreplace")
            raise AlstmError(
                f"epoch {self.epoch + 1}, the batch that starts with video {first}",
                f"the loss is {loss}",
                "lower TRAIN.learning_rate, or set TRAIN.clip_norm=25",
            )
        self.loss += loss
        self.metrics.update(paddle.nn.functional.sigmoid(logits.detach()).numpy(), batch.labels)

    def row(self, step: int, learning_rate: float) -> dict[str, Any]:
        result = self.metrics.result()
        videos = result["num_videos"]
        row = {
            "kind": "train",
            "epoch": step / self.steps_per_epoch,
            "step": step,
            "loss": self.loss / videos,
            **{key: result[key] for key in ("hit_at_1", "perr", "gap")},
            "learning_rate": learning_rate,
            "videos_per_second": videos / (time.perf_counter() - self.start),
        }
        self._restart()
        return row

    def line(self, step: int, row: dict[str, Any]) -> str:
        return (
            f"[TRAIN] epoch {self.epoch + 1}/{self.config.TRAIN.epoch}  step {step}/{self.steps_per_epoch}"
            f"  loss {row['loss']:.4f}  Hit@1 {row['hit_at_1']:.4f}  PERR {row['perr']:.4f}  GAP {row['gap']:.4f}"
            f"  lr {row['learning_rate']:.2e}  {row['videos_per_second']:.0f} videos/s"
        )


def _save_checkpoint(save_dir: Path, name: str, net: Any, optimizer: Any, state: Progress) -> None:
    """The state in one file, so that no crash can leave halves of two checkpoints."""
    whole = {"weights": state_of(net), "optimizer": optimizer_state(net, optimizer), "progress": vars(state)}
    save_plain(save_dir / f"{name}_latest.pdstate", whole)
    save_weights(net, save_dir / f"{name}_latest.pdparams")
    write_json_lines(save_dir / "train.jsonl", state.rows)


def _load_checkpoint(resume: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Find and read ``<name>_latest.pdstate`` from a save_dir, a file beside it, or its prefix."""
    path = Path(resume)
    candidates = [path / f"{name}_latest.pdstate", path.with_suffix(".pdstate"), Path(f"{path}.pdstate")]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise AlstmError(path, f"no {name}_latest.pdstate here", _RESUME_REMEDY)
    checkpoint = load_plain(found, _RESUME_REMEDY)
    if not isinstance(checkpoint, dict) or set(checkpoint) != {"weights", "optimizer", "progress"}:
        raise AlstmError(found, "not a checkpoint of this package", _RESUME_REMEDY)
    return checkpoint


def read_rows(save_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of ``train.jsonl``."""
    text = Path(save_dir, "train.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
