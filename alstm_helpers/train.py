"""Training: loss, schedule, checkpoints, and a resume that goes on exactly."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import Config, TrainSection
from alstm_helpers.curves import Curves
from alstm_helpers.dataset import Batch, count_videos, parts_of, read_batches, shuffled_batches
from alstm_helpers.errors import AlstmError, ConfigError
from alstm_helpers.evaluate import build_model, evaluate, summed_loss, to_tensors
from alstm_helpers.files import atomic_write, read_filelist, write_json, write_json_lines
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.ranks import Ranks, join_ranks
from alstm_helpers.runtime import paddle, seed_everything
from alstm_helpers.safe_pickle import load_plain, save_plain
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
    batch: int = 0  # the next batch of that epoch
    batch_size: int = 0  # what batches are counted in
    shuffle_shards: int = 0  # and mixed from
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
    save_interval: int = 1000,
    seed: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    pretrain: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
    progress: ProgressBar = no_progress,
    visualdl: bool = True,
) -> Training:
    """Train a network and keep its best and latest checkpoint.

    Args:
        config: model, data and schedule.
        save_dir: gets ``<name>_best.pdparams``, ``<name>_latest.pdparams`` (weights), ``<name>_latest.pdstate``
            (all that a resume needs), ``config.json``, ``train.jsonl`` and, for VisualDL, ``visualdl/``.
        log_interval: steps between lines of the log; 0 never.
        valid_interval: epochs between validations; 0 never, then the last checkpoint is the best.
        save_interval: steps between checkpoints inside an epoch, besides the one at its end; 0 none.
        seed: makes the run repeatable; None draws one (and stores it).
        resume: a save_dir or checkpoint to go on from, exactly.
        pretrain: weights to start from; what does not fit keeps its random start and is reported.
        report: receives the lines of the log.
        progress: wraps the batches of an epoch, see :mod:`alstm_helpers.progress`.
        visualdl: also write curves for VisualDL.

    Raises:
        AlstmError: missing or empty data, a loss that is not finite, checkpoints that do not fit.
    """
    ranks = join_ranks()
    if config.TRAIN.use_gpu and config.TRAIN.num_gpus != ranks.count:
        problem = f"{config.TRAIN.num_gpus} cards are asked for, {ranks.count} processes are running"
        remedy = "start one a card: python -m paddle.distributed.launch --gpus 0,1 … (notebook 04), or set it to 1"
        raise ConfigError("TRAIN.num_gpus", problem, remedy)
    if resume and pretrain:
        raise AlstmError("--resume and --pretrain", "only one can be the start", "drop one of them")
    run = _Run(config, Path(save_dir), log_interval, valid_interval, save_interval, ranks)
    if ranks.rank == 0:  # the others are silent, and write nothing
        run.report, run.progress = report, progress
    if resume:
        run.start_from_checkpoint(resume)
    else:
        run.start_new(seed, pretrain or config.TRAIN.pretrain_base)
    return run.finish(visualdl)


class _Run:
    """One training under way: the network, its optimiser, and where it stands."""

    def __init__(
        self,
        config: Config,
        save_dir: Path,
        log_interval: int,
        valid_interval: int,
        save_interval: int,
        ranks: Ranks,
    ) -> None:
        self.report: Callable[[str], None] = lambda line: None
        self.progress: ProgressBar = no_progress
        self.ranks, self.writes = ranks, ranks.rank == 0
        self.config, self.section, self.name = config, config.TRAIN, config.MODEL.name
        self.save_dir, self.log_interval, self.valid_interval = save_dir, log_interval, valid_interval
        self.save_interval = save_interval
        self.train_shards = read_filelist(self.section.filelist)
        self.valid_shards = read_filelist(config.VALID.filelist) if valid_interval else []
        num_videos = self.section.num_samples or count_videos(self.train_shards)
        if not num_videos:
            raise AlstmError(self.section.filelist, "its shards hold no video", "convert shards that do")
        self.steps_per_epoch = math.ceil(num_videos / self.section.batch_size)

    def _build(self, state: Progress) -> None:
        self.state = state
        seed_everything(state.seed)
        self.net = build_model(self.config)
        self.optimizer = make_optimizer(self.net, self.section)

    def start_new(self, seed: int | None, pretrain: str | os.PathLike[str] | None) -> None:
        """Random weights, or what fits of pretrained ones."""
        drawn = np.array([int.from_bytes(os.urandom(4), "little") if seed is None else seed])
        self._build(Progress(seed=int(self.ranks.gather(drawn)[0])))  # one for all ranks
        if pretrain:
            left = apply_weights(self.net, load_arrays(pretrain), str(pretrain), keep_what_fits=True)
            taken = f"not taken over: {', '.join(left)}" if left else "all of it"
            self.report(f"started from {pretrain}; {taken}")

    def start_from_checkpoint(self, resume: str | os.PathLike[str]) -> None:
        """Weights, optimiser and position as the checkpoint left them."""
        path = find_checkpoint(resume, self.name)
        checkpoint = load_plain(path, _RESUME_REMEDY)
        if not isinstance(checkpoint, dict) or set(checkpoint) != {"weights", "optimizer", "progress"}:
            raise AlstmError(path, "not a checkpoint of this package", _RESUME_REMEDY)
        state = Progress(**checkpoint["progress"])
        self._refuse_other_batches(state)
        self._build(state)
        apply_weights(self.net, checkpoint["weights"], str(path))
        restore_optimizer(self.net, self.optimizer, checkpoint["optimizer"])
        best = path.with_name(f"{self.name}_best.pdparams")
        if self.writes and best.exists() and best.resolve().parent != self.save_dir.resolve():
            with atomic_write(self.save_dir / best.name) as file:  # it may stay the best
                file.write(best.read_bytes())
        inside = f" and {self.state.batch} of {self.steps_per_epoch} steps" if self.state.batch else ""
        self.report(f"resumed after epoch {self.state.epoch} of {self.section.epoch}{inside}")

    def _refuse_other_batches(self, state: Progress) -> None:
        """Inside an epoch the position is a number of batches, which means nothing in other batches."""
        for key in ("batch_size", "shuffle_shards"):
            then, now = getattr(state, key), getattr(self.section, key)
            if state.batch and then != now:
                problem = f"the checkpoint lies inside an epoch and was made with {then}, not {now}"
                raise ConfigError(f"TRAIN.{key}", problem, f"resume with -o TRAIN.{key}={then}")

    def finish(self, visualdl: bool) -> Training:
        """Train the epochs that are left."""
        if self.writes:
            self.save_dir.mkdir(parents=True, exist_ok=True)
            write_json(self.save_dir / "config.json", {**self.config.model_dump(), "seed": self.state.seed})
        self.curves = Curves(self.save_dir / "visualdl" if visualdl and self.writes else None, self.state.rows)
        while self.state.epoch < self.section.epoch:
            self._train_epoch(self.state.epoch)
            self.state.epoch, self.state.batch = self.state.epoch + 1, 0
            self._keep_best()
            self._save()
        self.curves.close()
        return Training(self.net, self.state.rows, self.state.best_gap, self.state.train_seconds)

    def _train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are left."""
        batches = shuffled_batches(
            self.train_shards,
            self.section.batch_size,
            self.config.MODEL.num_classes,
            seed=self.state.seed,
            epoch=epoch,
            shuffle_shards=self.section.shuffle_shards,
            start=self.state.batch,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
        )
        self.net.train()
        logs = self.writes and self.log_interval > 0
        lap = _Lap(self.config, epoch, self.steps_per_epoch, measures=logs)
        title, left = f"epoch {epoch + 1}/{self.section.epoch}", self.steps_per_epoch - self.state.batch
        start = time.perf_counter()
        for batch in self.progress(batches, total=left, desc=title):
            lap.add(batch, *self._step(batch))
            number = self.state.batch
            if logs and number % self.log_interval == 0:
                row = lap.row(self.state.step, self.optimizer.get_lr())
                self._log(row, lap.line(number, row))
            now = time.perf_counter()
            self.state.train_seconds, start = self.state.train_seconds + now - start, now
            if self.save_interval and number % self.save_interval == 0 and number < self.steps_per_epoch:
                self._save()
                start = time.perf_counter()

    def _step(self, batch: Batch) -> tuple[Any, float]:
        """One update; returns the logits (B, C) and the summed loss."""
        # Reseeding each step makes dropout a function of (seed, step, rank), which is what a resume can restore.
        seed_everything((self.state.seed + self.state.step * 1_000_003 + self.ranks.rank * 7_919) % 2**31)
        self.optimizer.set_lr(learning_rate_at(self.state.step, self.steps_per_epoch, self.section))
        parts, losses = [], []
        if not batch.ids:  # the last batch of an epoch may hold fewer videos than there are ranks
            sum(parameter.sum() * 0.0 for parameter in self.net.parameters()).backward()
        for part in parts_of(batch, self.section.accumulate):  # the loss is a sum, so gradients of parts add up
            rgb, audio, lengths, labels = to_tensors(part)
            logits = self.net(rgb, audio, lengths)
            loss = summed_loss(logits, labels)
            loss.backward()
            parts.append(logits.detach())
            losses.append(float(loss))
        self.ranks.sum_gradients(self.net.parameters())
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.state.step, self.state.batch = self.state.step + 1, self.state.batch + 1
        return paddle.concat(parts) if parts else None, sum(losses)

    def _log(self, row: dict[str, Any], line: str) -> None:
        self.state.rows.append(row)
        self.curves.add(row)
        self.report(line)

    def _keep_best(self) -> None:
        """Validate where it is due, and save the weights if they are the best so far."""
        if not self.valid_interval:
            self._save_best()
            return
        epoch, epochs = self.state.epoch, self.section.epoch
        if epoch % self.valid_interval and epoch < epochs:
            return
        batches = read_batches(
            self.valid_shards,
            self.config.VALID.batch_size,
            self.config.MODEL.num_classes,
            by_length=True,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
        )
        result = evaluate(self.net, batches, top_k=self.config.MODEL.topk, ranks=self.ranks)
        line = f"[VALID] epoch {epoch}/{epochs}  loss {result['loss']:.4f}  {metrics_text(result)}"
        self._log({"kind": "valid", "epoch": float(epoch), "step": self.state.step, **result}, line)
        if result["gap"] > self.state.best_gap:
            self.state.best_gap = result["gap"]
            self._save_best()

    def _save_best(self) -> None:
        if self.writes:
            save_weights(self.net, self.save_dir / f"{self.name}_best.pdparams")

    def _save(self) -> None:
        """The whole state in one file, so that no crash can leave halves of two checkpoints."""
        if not self.writes:
            return
        self.state.batch_size, self.state.shuffle_shards = self.section.batch_size, self.section.shuffle_shards
        optimizer = optimizer_state(self.net, self.optimizer)
        whole = {"weights": state_of(self.net), "optimizer": optimizer, "progress": vars(self.state)}
        save_plain(self.save_dir / f"{self.name}_latest.pdstate", whole)
        save_weights(self.net, self.save_dir / f"{self.name}_latest.pdparams")
        write_json_lines(self.save_dir / "train.jsonl", self.state.rows)


def metrics_text(metrics: dict[str, Any]) -> str:
    """Hit@1, PERR and GAP as the log spells them."""
    return f"Hit@1 {metrics['hit_at_1']:.4f}  PERR {metrics['perr']:.4f}  GAP {metrics['gap']:.4f}"


class _Lap:
    """Loss and metrics since the last line of the log; of this rank's share, where there are several."""

    def __init__(self, config: Config, epoch: int, steps_per_epoch: int, *, measures: bool) -> None:
        self.config, self.epoch, self.steps_per_epoch, self.measures = config, epoch, steps_per_epoch, measures
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
        if not self.measures:
            return
        self.loss += loss
        self.metrics.update(paddle.nn.functional.sigmoid(logits).numpy(), batch.labels)

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
            f"  loss {row['loss']:.4f}  {metrics_text(row)}"
            f"  lr {row['learning_rate']:.2e}  {row['videos_per_second']:.0f} videos/s"
        )


def find_checkpoint(resume: str | os.PathLike[str], name: str) -> Path:
    """``<name>_latest.pdstate``, from a save_dir, a file of the checkpoint, or their common prefix.

    Raises:
        AlstmError: there is none.
    """
    path = Path(resume)
    candidates = [path / f"{name}_latest.pdstate", Path(f"{path}.pdstate")]
    candidates += [path.with_suffix(".pdstate")] if path.name else []  # "." has no name to give a suffix to
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise AlstmError(path, f"no {name}_latest.pdstate here", _RESUME_REMEDY)
    return found
