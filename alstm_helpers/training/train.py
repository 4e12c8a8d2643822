"""Training: loss, schedule, log, validation, and a resume that goes on exactly."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import Config, TrainSection, save_config
from alstm_helpers.data.dataset import (
    Batch,
    Shuffle,
    count_labels,
    count_videos,
    parts_of,
    read_batches,
    shuffled_batches,
)
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.errors import AlstmError, ConfigError
from alstm_helpers.evaluation.evaluate import evaluate
from alstm_helpers.files import atomic_write, write_json, write_json_lines
from alstm_helpers.metrics import ScoreCounts, YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import build_model, to_tensors
from alstm_helpers.model.loss import balanced_weights, summed_loss
from alstm_helpers.model.weights import apply_weights, load_arrays, save_weights, state_of
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.ranks import Ranks, join_ranks
from alstm_helpers.runtime import how_it_ran, paddle, seed_everything
from alstm_helpers.training.checkpoint import (
    Progress,
    find_checkpoint,
    fingerprint,
    load_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
)
from alstm_helpers.training.curves import Curves
from alstm_helpers.training.precision import Precision

SHOWN_VIDEOS = 8  # whose attention VisualDL shows


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
            (all that a resume needs), ``train.jsonl`` (the log, a row a line), ``config.yaml`` (every setting and the
            seed: ``--config`` takes it), ``run.json`` (command, versions, device, shards) and, for VisualDL,
            ``visualdl/``.
        log_interval: steps between lines of the log, besides those at checkpoints; 0 never.
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
        self.config = config.model_copy(deep=True)  # its seed will be the one that is used
        self.section, self.name = self.config.TRAIN, config.MODEL.name
        self.save_dir, self.log_interval, self.valid_interval = save_dir, log_interval, valid_interval
        self.save_interval = save_interval
        self.precision = Precision(self.section.amp)
        self.train_shards = read_filelist(self.section.filelist)
        self.valid_shards = read_filelist(config.VALID.filelist) if valid_interval else []
        num_videos = self.section.num_samples or count_videos(self.train_shards)
        if not num_videos:
            raise AlstmError(self.section.filelist, "its shards hold no video", "convert shards that do")
        self.steps_per_epoch = math.ceil(num_videos / self.section.batch_size)
        self.positive_weights = None
        if self.section.class_weights == "balanced":
            counts = count_labels(self.train_shards, config.MODEL.num_classes)
            self.positive_weights = paddle.to_tensor(balanced_weights(counts))
        self.earlier: Path | None = None  # the curves of the run that a resume goes on from

    def _build(self, state: Progress) -> None:
        self.state = state
        seed_everything(state.seed)
        self.net = build_model(self.config)
        self.optimizer = make_optimizer(self.net, self.section)

    def _freeze(self, epoch: int) -> None:
        """In the first ``freeze_epochs`` only the layers after the attention learn: what was pretrained stays."""
        for name, parameter in self.net.named_parameters():
            parameter.stop_gradient = epoch < self.section.freeze_epochs and not name.startswith(("fc_out", "fc_logit"))

    def start_new(self, seed: int | None, pretrain: str | os.PathLike[str] | None) -> None:
        """Random weights, or what fits of pretrained ones."""
        drawn = np.array([int.from_bytes(os.urandom(4), "little") if seed is None else seed])
        self._build(Progress(seed=int(self.ranks.gather(drawn)[0])))  # one for all ranks
        if pretrain:
            self.state.pretrain_base = str(Path(pretrain).absolute())
            kept, arrays = self.section.keep_classes, load_arrays(pretrain)
            left = apply_weights(self.net, arrays, str(pretrain), keep_what_fits=True, keep_classes=kept)
            taken = f"not taken over: {', '.join(left)}" if left else "all of it"
            self.report(f"started from {pretrain}; {taken}")

    def start_from_checkpoint(self, resume: str | os.PathLike[str]) -> None:
        """Weights, optimiser and position as the checkpoint left them."""
        path = find_checkpoint(resume, self.name)
        checkpoint = load_checkpoint(path)
        state = checkpoint["progress"]
        state.must_fit(self.section, self.train_shards)
        self._build(state)
        apply_weights(self.net, checkpoint["weights"], str(path))
        restore_optimizer(self.net, self.optimizer, checkpoint["optimizer"])
        self.precision.restore(checkpoint["scaler"])
        best = path.with_name(f"{self.name}_best.pdparams")
        if self.writes and best.exists() and best.resolve().parent != self.save_dir.resolve():
            with atomic_write(self.save_dir / best.name) as file:  # it may stay the best
                file.write(best.read_bytes())
        self.earlier = path.parent / "visualdl"
        inside = f" and {state.batch} of {self.steps_per_epoch} steps" if state.batch else ""
        self.report(f"resumed after epoch {state.epoch} of {self.section.epoch}{inside}")

    def finish(self, visualdl: bool) -> Training:
        """Train the epochs that are left."""
        self.draws = visualdl
        folder = self.save_dir / "visualdl" if visualdl and self.writes else None
        if self.writes:
            self._describe()
        self.curves = Curves(folder, earlier=self.earlier, step=self.state.step)
        for name, section in self.config.model_dump().items():
            settings = " · ".join(f"{key} = {value}" for key, value in section.items())  # shown as one paragraph
            self.curves.add_text(f"config/{name}", settings, self.state.step)
        try:
            while self.state.epoch < self.section.epoch and not self._runs_out_of_patience():
                self._train_epoch(self.state.epoch)
                self.state.epoch, self.state.batch = self.state.epoch + 1, 0
                self._keep_best()
                self._save()
        finally:
            self.curves.close()
        self._freeze(self.section.freeze_epochs)  # what is given back can be trained
        return Training(self.net, self.state.rows, self.state.best_gap, self.state.train_seconds)

    def _runs_out_of_patience(self) -> bool:
        """Whether the last ``patience`` validations brought no better GAP: the log tells, also after a resume."""
        if self.section.patience is None:
            return False
        gaps = [row["gap"] for row in self.state.rows if row["kind"] == "valid"]
        since_best = len(gaps) - 1 - gaps.index(max(gaps)) if gaps else 0
        if since_best < self.section.patience:
            return False
        self.report(f"stopped after epoch {self.state.epoch}: no better GAP in {since_best} validations")
        return True

    def _describe(self) -> None:
        """The run folder's account of itself, and the log as far as the checkpoint reaches."""
        self.section.seed, self.section.pretrain_base = self.state.seed, self.state.pretrain_base
        save_config(self.save_dir / "config.yaml", self.config)
        shards = {
            key: {"number": len(found), "sha256": fingerprint(found)}
            for key, found in (("train", self.train_shards), ("valid", self.valid_shards))
        }
        write_json(self.save_dir / "run.json", {**how_it_ran(), "processes": self.ranks.count, "shards": shards})
        self.log_file = self.save_dir / "train.jsonl"
        write_json_lines(self.log_file, self.state.rows)

    def _train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are left."""
        order = Shuffle(self.state.seed, epoch, self.section.shuffle_shards, start=self.state.batch)
        batches = shuffled_batches(
            self.train_shards, self.section.batch_size, self.config.MODEL.num_classes, order, ranks=self.ranks
        )
        self._freeze(epoch)
        self.net.train()
        logs = self.writes and self.log_interval > 0
        lap = _Lap(self.config, epoch, self.steps_per_epoch, self.ranks.count, measures=logs)
        title, left = f"epoch {epoch + 1}/{self.section.epoch}", self.steps_per_epoch - self.state.batch
        start = time.perf_counter()
        for batch in self.progress(lap.waits(batches), total=left, desc=title):
            lap.add(batch, *self._step(batch))
            number = self.state.batch
            saves = self.save_interval and number % self.save_interval == 0 and number < self.steps_per_epoch
            # A row of the log ends where a checkpoint does, so that a resume goes on with the same rows.
            if logs and (saves or number % self.log_interval == 0):
                row = lap.row(self.state.step, self.optimizer.get_lr())
                self._log(row, lap.line(number, row))
            now = time.perf_counter()
            self.state.train_seconds, start = self.state.train_seconds + now - start, now
            if saves:
                self._save()
                start = lap.start = time.perf_counter()

    def _step(self, batch: Batch) -> tuple[Any, float]:
        """One update; returns the logits (B, C) and the summed loss."""
        # Reseeding each step makes dropout a function of (seed, step, rank), which is what a resume can restore.
        seed_everything((self.state.seed + self.state.step * 1_000_003 + self.ranks.rank * 7_919) % 2**31)
        self.optimizer.set_lr(learning_rate_at(self.state.step, self.steps_per_epoch, self.section))
        if not batch.ids:  # the last batch of an epoch may hold fewer videos than there are ranks
            self.precision.backward(sum(parameter.sum() * 0.0 for parameter in self.net.parameters()))
        # The loss is a sum, so gradients of parts add up.
        done = [self._gradients(part) for part in parts_of(batch, self.section.accumulate)]
        self.ranks.sum_gradients(self.net.parameters())
        self.precision.step(self.optimizer)
        self.optimizer.clear_grad()
        self.state.step, self.state.batch = self.state.step + 1, self.state.batch + 1
        return paddle.concat([logits for logits, _ in done]) if done else None, sum(loss for _, loss in done)

    def _gradients(self, part: Batch) -> tuple[Any, float]:
        """Add the gradients of part of a batch; returns its logits (b, C) and its summed loss."""
        rgb, audio, lengths, labels = to_tensors(part)
        with self.precision.autocast():
            logits = self.net(rgb, audio, lengths)
        logits = logits.astype("float32")
        loss = summed_loss(logits, labels, self.positive_weights)
        self.precision.backward(loss)
        return logits.detach(), float(loss)

    def _log(self, row: dict[str, Any], line: str) -> None:
        """To the run folder at once, for whoever follows it; to the checkpoint, for a resume."""
        self.state.rows.append(row)
        self.curves.add(row)
        if self.writes:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self.report(line)

    def _keep_best(self) -> None:
        """Validate where it is due, and save the weights if they are the best so far."""
        if not self.valid_interval:
            self._save_best()
            return
        epoch, epochs = self.state.epoch, self.section.epoch
        if epoch % self.valid_interval and epoch < epochs:
            return
        result = self._validate()
        line = f"[VALID] epoch {epoch}/{epochs}  loss {result['loss']:.4f}  {metrics_text(result)}"
        self._log({"kind": "valid", "epoch": float(epoch), "step": self.state.step, **result}, line)
        if result["gap"] > self.state.best_gap:
            self.state.best_gap = result["gap"]
            self._save_best()

    def _validate(self) -> dict[str, Any]:
        """Metrics of the validation list; for VisualDL also the scores, and the attention of the first videos."""
        batches = read_batches(
            self.valid_shards,
            self.config.VALID.batch_size,
            self.config.MODEL.num_classes,
            by_length=True,
            ranks=self.ranks,
        )
        counts, first = ScoreCounts(), list[Batch]()

        def observe(batch: Batch, scores: np.ndarray) -> None:
            if self.draws:
                counts.update(scores, batch.labels)
                first[:] = first or [batch]

        result = evaluate(self.net, batches, top_k=self.config.MODEL.topk, ranks=self.ranks, observe=observe)
        if self.draws:
            counts.gather(self.ranks.gather)
            self.curves.add_scores(self.state.step, *counts.counts)
            for batch in first:
                self._draw_attention(batch)
        return result

    def _draw_attention(self, batch: Batch) -> None:
        part = next(parts_of(batch, math.ceil(len(batch.ids) / SHOWN_VIDEOS)))
        rgb, audio, lengths, _ = to_tensors(part)
        self.net.eval()
        with paddle.no_grad():
            _, (seen, heard) = self.net(rgb, audio, lengths, return_attention=True)
        self.net.train()
        self.curves.add_attention(self.state.step, seen.numpy(), heard.numpy(), part.lengths)

    def _save_best(self) -> None:
        if self.writes:
            save_weights(self.net, self.save_dir / f"{self.name}_best.pdparams")

    def _save(self) -> None:
        """The latest checkpoint, in the place of the one before."""
        if not self.writes:
            return
        self.curves.flush()  # a resume keeps the curves up to its checkpoint
        self.state.batch_size, self.state.shuffle_shards = self.section.batch_size, self.section.shuffle_shards
        self.state.filelist = fingerprint(self.train_shards)
        save_checkpoint(
            self.save_dir / f"{self.name}_latest.pdstate",
            weights=state_of(self.net),
            optimizer=optimizer_state(self.net, self.optimizer),
            scaler=self.precision.state(),
            progress=self.state,
        )
        save_weights(self.net, self.save_dir / f"{self.name}_latest.pdparams")


def metrics_text(metrics: dict[str, Any]) -> str:
    """Hit@1, PERR and GAP as the log spells them."""
    return f"Hit@1 {metrics['hit_at_1']:.4f}  PERR {metrics['perr']:.4f}  GAP {metrics['gap']:.4f}"


class _Lap:
    """Loss, metrics and times since the last line of the log; of this rank's share, where there are several."""

    def __init__(self, config: Config, epoch: int, steps_per_epoch: int, ranks: int, *, measures: bool) -> None:
        self.config, self.epoch, self.steps_per_epoch = config, epoch, steps_per_epoch
        self.ranks, self.measures = ranks, measures
        self._restart()

    def _restart(self) -> None:
        self.metrics = YouTube8MMetrics(self.config.MODEL.num_classes, self.config.MODEL.topk)
        self.loss, self.steps, self.waited, self.start = 0.0, 0, 0.0, time.perf_counter()

    def waits(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; the time until each is there counts as the reader's."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, batch: Batch, logits: Any, loss: float) -> None:
        if not math.isfinite(loss):
            first = batch.ids[0].decode(errors="backslashreplace")
            raise AlstmError(
                f"epoch {self.epoch + 1}, the batch that starts with video {first}",
                f"the loss is {loss}",
                "lower TRAIN.learning_rate, or set TRAIN.clip_norm=25",
            )
        self.steps += 1
        if self.measures and batch.ids:
            self.loss += loss
            self.metrics.update(paddle.nn.functional.sigmoid(logits).numpy(), batch.labels)

    def row(self, step: int, learning_rate: float) -> dict[str, Any]:
        """One row of the log; times in seconds, costs those of a step, ``batch_cost`` with the reader's."""
        result = self.metrics.result()
        seconds, videos = time.perf_counter() - self.start, result["num_videos"]
        row = {
            "kind": "train",
            "epoch": step / self.steps_per_epoch,
            "step": step,
            "loss": self.loss / videos,
            **{key: result[key] for key in ("hit_at_1", "perr", "gap")},
            "learning_rate": learning_rate,
            "batch_cost": seconds / self.steps,
            "reader_cost": self.waited / self.steps,
            "videos_per_second": videos * self.ranks / seconds,
            "seconds_left": seconds / self.steps * (self.config.TRAIN.epoch * self.steps_per_epoch - step),
        }
        self._restart()
        return row

    def line(self, step: int, row: dict[str, Any]) -> str:
        return (
            f"[TRAIN] epoch {self.epoch + 1}/{self.config.TRAIN.epoch}  step {step}/{self.steps_per_epoch}"
            f"  loss {row['loss']:.4f}  {metrics_text(row)}"
            f"  lr {row['learning_rate']:.2e}  {row['videos_per_second']:.0f} videos/s"
            f"  reader {row['reader_cost']:.3f} of {row['batch_cost']:.3f} s"
            f"  left {timedelta(seconds=round(row['seconds_left']))}"
        )
