"""Training: schedule, steps, validation, checkpoints, and a resume that continues exactly."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alstm_helpers.config import Config, TrainSection, save_config
from alstm_helpers.data.counts import Told, told_counts
from alstm_helpers.data.dataset import (
    Batch,
    Shuffle,
    count_labels,
    count_videos,
    parts_of,
    read_batches,
    shuffled_batches,
)
from alstm_helpers.data.feature_scale import content_of, learnt_from, require_same_scale, scale_of
from alstm_helpers.data.filelists import fingerprint, read_filelist
from alstm_helpers.errors import AlstmError, ConfigError, NotFinite, printable
from alstm_helpers.evaluation.evaluate import evaluate
from alstm_helpers.extras import install_line, is_installed
from alstm_helpers.files import atomic_write, claimed, write_json
from alstm_helpers.metrics import ScoreCounts
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import build_model, evaluating, to_tensors
from alstm_helpers.model.loss import balanced_weights, summed_loss
from alstm_helpers.model.weights import apply_weights, load_arrays, save_weights, state_of
from alstm_helpers.paths import RunFolder
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.ranks import Ranks, join_ranks
from alstm_helpers.runtime import Tensor, how_it_ran, paddle, seed_everything
from alstm_helpers.training.checkpoint import (
    LAST_LAYERS,
    Checkpoint,
    TrainingState,
    find_checkpoint,
    load_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
)
from alstm_helpers.training.curves import Curves
from alstm_helpers.training.log import Kind, LineReport, Log, LogRow, Meter, Step, numbers_of
from alstm_helpers.training.precision import Optimizer, Precision

SHOWN_VIDEOS = 8  # whose attention VisualDL shows
_SMALLER_STEPS = "lower TRAIN.learning_rate, or set TRAIN.clip_norm=25"


def learning_rate_at(step: int, steps_per_epoch: int, section: TrainSection) -> float:
    """Return the learning rate of a step (counted from 0 over the whole training).

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


def make_optimizer(net: AttentionLSTM, section: TrainSection) -> Optimizer:
    """Make a centered RMSProp with the settings of the originals (rho 0.95, epsilon 1e-6, no momentum)."""
    clip = paddle.nn.ClipGradByGlobalNorm(section.clip_norm) if section.clip_norm else None
    decay = paddle.regularizer.L2Decay(section.weight_decay) if section.weight_decay else None
    for name in LAST_LAYERS:
        getattr(net, name).bias.regularizer = paddle.regularizer.L2Decay(0.0)
    optimizer: Optimizer = paddle.optimizer.RMSProp(
        learning_rate=section.learning_rate,
        rho=0.95,
        epsilon=1e-6,
        momentum=0.0,
        centered=True,
        parameters=net.parameters(),
        weight_decay=decay,
        grad_clip=clip,
    )
    return optimizer


@dataclass(frozen=True)
class TrainOptions:
    """How a training starts, and when it logs, validates and saves.

    Args:
        log_interval: steps between rows of the log, besides those at checkpoints; 0 never.
        valid_interval: epochs between validations; 0 never, then the latest checkpoint is the best.
        save_interval: steps between checkpoints inside an epoch, besides the one at its end; 0 none.
        seed: makes the run repeatable; None draws one (and stores it).
        resume: a save_dir or checkpoint from which to continue exactly.
        pretrain: weights to start from; a parameter that they do not fit keeps its random value and is reported.
        visualdl: also write curves for VisualDL.
    """

    log_interval: int = 10
    valid_interval: int = 1
    save_interval: int = 1000
    seed: int | None = None
    resume: str | os.PathLike[str] | None = None
    pretrain: str | os.PathLike[str] | None = None
    visualdl: bool = True


@dataclass(frozen=True)
class Training:
    """The result of :func:`train`.

    Args:
        net: the trained network, with its last weights.
        rows: of the log.
        best_gap: of the validations; -1 without any.
        train_seconds: time spent in training steps.
        config: every setting and the seed, as in the run's ``config.yaml``.
    """

    net: AttentionLSTM
    rows: list[LogRow]
    best_gap: float
    train_seconds: float
    config: Config

    def curve(self, kind: Kind, key: str) -> tuple[list[float], list[float]]:
        """Return the epochs and the values of one logged number; ``kind`` is ``"train"`` or ``"valid"``."""
        return numbers_of(self.rows, kind, "epoch"), numbers_of(self.rows, kind, key)


def train(
    config: Config,
    save_dir: str | os.PathLike[str],
    options: TrainOptions = TrainOptions(),
    *,
    report: LineReport = lambda line: None,
    progress: ProgressBar = no_progress,
) -> Training:
    """Train a network; keep its best and latest checkpoint.

    Args:
        config: model, data and schedule.
        save_dir: gets ``<name>_best.pdparams``, ``<name>_latest.pdparams`` (weights), ``<name>_latest.pdstate``
            (all that a resume needs), ``train.jsonl`` (the log, one row per line), ``config.yaml`` (every setting and
            the seed: ``--config`` takes it), ``run.json`` (command, versions, device, shards, scale of own features)
            and, for VisualDL, ``visualdl/``.
        options: see :class:`TrainOptions`.
        report: receives the lines of the log.
        progress: wraps the batches of an epoch, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: missing or empty data, a loss that is not finite, checkpoints that do not fit; another run is
            writing to ``save_dir``.
    """
    ranks = join_ranks()
    _check_options(config, options, ranks)
    if ranks.rank:  # only rank 0 reports; the others write nothing, either
        report, progress = _silent, no_progress
    plan = _make_plan(config, RunFolder(Path(save_dir), config.MODEL.name), options, ranks)
    with claimed(plan.folder.folder) if plan.writes else contextlib.nullcontext():
        return _train(plan, report, progress)


def _train(plan: _Plan, report: LineReport, progress: ProgressBar) -> Training:
    """Train in the claimed folder."""
    precision = Precision(plan.config.TRAIN.amp)
    if plan.options.resume:
        start = _from_checkpoint(plan, precision, plan.options.resume, report)
    else:
        start = _from_scratch(plan, precision, report)
    run = _Run(plan, start, report, progress)
    if plan.options.resume:
        run.save_latest()  # those of the checkpoint before, if the run was killed just after it wrote this one
    try:
        if plan.options.resume and run.lacks_validation():
            run.validate()
            run.save()
        while run.has_epochs_left() and not run.is_out_of_patience():
            run.train_epoch()
            run.validate()
            run.save()
    finally:
        run.log.curves.close()
    _freeze(run.net, False)
    return Training(run.net, run.state.rows, run.state.best_gap, run.state.train_seconds, run.config)


def _silent(line: str) -> None:
    """Report nothing."""


def _check_options(config: Config, options: TrainOptions, ranks: Ranks) -> None:
    """Check what can be checked without reading a file."""
    if config.TRAIN.use_gpu and config.TRAIN.num_gpus != ranks.count:
        problem = f"{config.TRAIN.num_gpus} GPUs are requested, the number of processes is {ranks.count}"
        remedy = "start one per GPU: python -m paddle.distributed.launch --gpus 0,1 … (notebook 04), or set it to 1"
        raise ConfigError("TRAIN.num_gpus", problem, remedy)
    if options.resume and options.pretrain:
        raise AlstmError("--resume and --pretrain", "only one can be the start", "drop one of them")


@dataclass(frozen=True)
class _Plan:
    """What is fixed before the training starts.

    Args:
        config: the caller's settings.
        folder: its save_dir.
        options: the caller's options.
        ranks: the processes that train together.
        train_shards, valid_shards: the files in the lists; without validation the second is empty.
        told: the videos that manifests tell of training shards; empty if ``num_samples`` counts the steps.
        steps_per_epoch: for the schedule.
        positive_weights: float32 (C,), see :func:`alstm_helpers.model.loss.summed_loss`.
    """

    config: Config
    folder: RunFolder
    options: TrainOptions
    ranks: Ranks
    train_shards: list[Path]
    valid_shards: list[Path]
    told: Mapping[Path, Told]
    steps_per_epoch: int
    positive_weights: Tensor | None

    @property
    def writes(self) -> bool:
        """Whether this process writes files: only one of several does."""
        return self.ranks.rank == 0

    @property
    def logs(self) -> bool:
        """Whether this process measures its steps for the log."""
        return self.writes and self.options.log_interval > 0

    def is_logged(self, batch: int) -> bool:
        """Return whether a row of the log ends at a step of an epoch, counted from 1.

        It does wherever a checkpoint is saved, so that a resumed run has the same rows as an uninterrupted one.
        """
        return self.logs and (batch % self.options.log_interval == 0 or self.is_saved(batch))

    def is_saved(self, batch: int) -> bool:
        """Return whether a checkpoint is saved at a step inside an epoch, counted from 1."""
        interval = self.options.save_interval
        return bool(interval) and batch % interval == 0 and batch != self.steps_per_epoch


def _make_plan(config: Config, folder: RunFolder, options: TrainOptions, ranks: Ranks) -> _Plan:
    """Read the lists and count the steps."""
    section = config.TRAIN
    train_shards = read_filelist(section.filelist)
    valid_shards = read_filelist(config.VALID.filelist) if options.valid_interval else []
    told = {} if section.num_samples else told_counts(train_shards)
    num_videos = section.num_samples or count_videos(train_shards, told)
    if not num_videos:
        raise AlstmError(section.filelist, "its shards contain no videos", "convert shards that do")
    positive_weights = None
    if section.class_weights == "balanced":
        counts = count_labels(train_shards, config.MODEL.num_classes)  # (C,)
        positive_weights = paddle.to_tensor(balanced_weights(counts))  # (C,)
    return _Plan(
        config=config,
        folder=folder,
        options=options,
        ranks=ranks,
        train_shards=train_shards,
        valid_shards=valid_shards,
        told=told,
        steps_per_epoch=math.ceil(num_videos / section.batch_size),
        positive_weights=positive_weights,
    )


@dataclass(frozen=True)
class _Start:
    """What a training starts with.

    Args:
        net, optimizer, precision, state: from scratch, or as a checkpoint has them; they change from step to step.
        earlier: the folder of the run that is resumed.
    """

    net: AttentionLSTM
    optimizer: Optimizer
    precision: Precision
    state: TrainingState
    earlier: RunFolder | None = None


def _from_scratch(plan: _Plan, precision: Precision, report: LineReport) -> _Start:
    """Start with random weights, or with those of ``pretrain`` that fit."""
    section, options = plan.config.TRAIN, plan.options
    drawn = int.from_bytes(os.urandom(4), "little") if options.seed is None else options.seed
    seed = int(plan.ranks.gather(np.array([drawn]))[0])  # the same on all ranks
    pretrain = options.pretrain or section.pretrain_base
    state = TrainingState(seed, pretrain_base=str(Path(pretrain).absolute()) if pretrain else None)
    net, optimizer = _build(plan.config, seed)
    if pretrain:
        arrays, kept = load_arrays(pretrain), section.keep_classes
        left = apply_weights(net, arrays, str(pretrain), keep_what_fits=True, keep_classes=kept)
        taken = f"these keep random values: {', '.join(left)}" if left else "all of it fits"
        report(f"started from {pretrain}; {taken}")
    return _Start(net, optimizer, precision, state)


def _from_checkpoint(plan: _Plan, precision: Precision, resume: str | os.PathLike[str], report: LineReport) -> _Start:
    """Start with weights, optimiser and position of a checkpoint."""
    section = plan.config.TRAIN
    path = find_checkpoint(resume, plan.folder.name)
    features = Path(section.filelist).parent
    require_same_scale(path, features)
    if (before := learnt_from(path)) and before != content_of(features):
        report("the clips, their labels or their sides have changed since this training began")
    checkpoint = load_checkpoint(path)
    state = checkpoint.state
    state.must_fit(section, plan.train_shards)
    if (state.batch_size, state.filelist) != (section.batch_size, fingerprint(plan.train_shards)):
        state.steps_ahead = state.epoch * plan.steps_per_epoch - state.step  # it counts epochs of a new length
    net, optimizer = _build(plan.config, state.seed)
    apply_weights(net, checkpoint.weights, str(path))
    restore_optimizer(net, optimizer, checkpoint.optimizer, path)
    precision.restore(checkpoint.scaler)
    earlier = RunFolder(path.parent, plan.folder.name)
    if plan.writes:
        _require_best(earlier, state)
    inside = f" and {state.batch} of {plan.steps_per_epoch} steps" if state.batch else ""
    report(f"resumed after epoch {state.epoch} of {section.epoch}{inside}")
    return _Start(net, optimizer, precision, state, earlier)


def _build(config: Config, seed: int) -> tuple[AttentionLSTM, Optimizer]:
    """Build a network with the random weights of a seed, and its optimiser."""
    seed_everything(seed)
    net = build_model(config)
    return net, make_optimizer(net, config.TRAIN)


def _copy_best(source: RunFolder, target: RunFolder) -> None:
    """Copy the best weights of a run that is resumed in another folder: they may remain the best."""
    if source.best.exists():
        with atomic_write(target.best) as file:
            file.write(source.best.read_bytes())


def _require_best(folder: RunFolder, state: TrainingState) -> None:
    """Require the best weights of a training that goes on: they may remain the best.

    Raises:
        AlstmError: the validations had a best epoch, and its weights are missing or damaged.
    """
    if state.best_gap >= 0:
        try:
            load_arrays(folder.best)
        except AlstmError as error:
            raise AlstmError(error.where, error.problem, "put it back, or train again without --resume") from None


class _Run:
    """A training in progress.

    Args:
        plan: what is fixed.
        start: what changes from step to step.
        report: receives the lines of the log.
        progress: wraps the batches of an epoch.
    """

    def __init__(self, plan: _Plan, start: _Start, report: LineReport, progress: ProgressBar) -> None:
        self.plan, self.report, self.progress = plan, report, progress
        self.net, self.optimizer, self.precision, self.state = start.net, start.optimizer, start.precision, start.state
        self.config = plan.config.model_copy(deep=True)  # with the seed and weights of the start: it repeats the run
        self.config.TRAIN.seed, self.config.TRAIN.pretrain_base = self.state.seed, self.state.pretrain_base
        self.draws = plan.options.visualdl and is_installed("visualdl")  # the same on all ranks, though one draws
        if plan.options.visualdl and not self.draws:
            report(f"no curves are written: VisualDL is not installed; {install_line('course')} brings it")
        folder = plan.folder.curves if self.draws and plan.writes else None
        earlier = start.earlier.curves if start.earlier else None
        curves = Curves(folder, earlier=earlier, step=self.state.step, waits=True)
        for name, section in self.config.model_dump().items():
            settings = " · ".join(f"{key} = {value}" for key, value in section.items())  # shown as one paragraph
            curves.add_text(f"config/{name}", settings, self.state.step)
        self.log = Log(self.state.rows, curves, report)
        self._earlier, self._has_taken_over = start.earlier, not plan.writes
        if not any(path.exists() for path in plan.folder.results):  # else they stay, with what describes them, at first
            self._take_over()
        elif not self._continues():
            report(f"{plan.folder.folder} has an earlier training, which this one replaces at its first result")

    def _continues(self) -> bool:
        """Return whether this training goes on in the folder of the one that it resumes."""
        return self._earlier is not None and self._earlier.folder.resolve() == self.plan.folder.folder.resolve()

    def _take_over(self) -> None:
        """Before the first result: remove those of an earlier run, unless it is this one, and say what this one is."""
        if not self._has_taken_over:
            folder, earlier = self.plan.folder, self._earlier
            if not self._continues():
                for path in folder.results:
                    path.unlink(missing_ok=True)
                if earlier:
                    _copy_best(earlier, folder)
            _describe(self.plan, self.config)
            self.log.begin(self.plan.folder.log)
            self.log.curves.begin()
            self._has_taken_over = True

    def has_epochs_left(self) -> bool:
        """Return whether some of ``TRAIN.epoch`` epochs are left."""
        return self.state.epoch < self.config.TRAIN.epoch

    def is_out_of_patience(self) -> bool:
        """Return whether the last ``patience`` validations brought no better weights, and report it."""
        since_best = self._since_best()
        if self.config.TRAIN.patience is None or since_best < self.config.TRAIN.patience:
            return False
        self.report(f"stopped after epoch {self.state.epoch}: no better GAP in {since_best} validations")
        return True

    def _since_best(self) -> int:
        """Return the number of validations after the best one: with the highest GAP, and of equal ones the least loss.

        A few clips soon have a GAP of 1.0, epoch after epoch, while the network still learns to tell them apart.
        The log is counted, so a resume continues to count.
        """
        gaps, losses = (numbers_of(self.state.rows, "valid", key) for key in ("gap", "loss"))
        order = [(gap, -loss) for gap, loss in zip(gaps, losses, strict=True)]
        return len(order) - 1 - order.index(max(order)) if order else 0

    def train_epoch(self) -> None:
        """Take the steps of an epoch, or those left of it."""
        plan, state, section = self.plan, self.state, self.config.TRAIN
        _freeze(self.net, state.epoch < section.freeze_epochs)
        self.net.train()
        order = Shuffle(state.seed, state.epoch, section.shuffle_shards, start=state.batch)
        num_classes = self.config.MODEL.num_classes
        batches = shuffled_batches(
            plan.train_shards, section.batch_size, num_classes, order, ranks=plan.ranks, told=plan.told
        )
        meter = Meter(self.config, plan.steps_per_epoch, plan.ranks.count)
        title, left = f"epoch {state.epoch + 1}/{section.epoch}", max(0, plan.steps_per_epoch - state.batch)
        start = time.perf_counter()
        for batch in self.progress(meter.timed(batches), total=left, desc=title):
            step = self._step(batch)
            _check_loss(step, state.epoch)
            if plan.logs:
                meter.add(step)
            if plan.is_logged(state.batch):
                self.log.add("train", f"{title}  step {state.batch}/{plan.steps_per_epoch}", meter.row())
            now = time.perf_counter()
            state.train_seconds, start = state.train_seconds + now - start, now
            if plan.is_saved(state.batch):
                _check_weights(self.net, state.epoch)
                self.save()
                meter.restart()
                start = time.perf_counter()
        _check_weights(self.net, state.epoch)
        state.epoch, state.batch = state.epoch + 1, 0

    def _step(self, batch: Batch) -> Step:
        """Update the weights once, on a batch of B videos."""
        state, ranks, section = self.state, self.plan.ranks, self.config.TRAIN
        # Reseeding at each step makes dropout a function of (seed, step, rank), which a resume can restore.
        seed_everything((state.seed + state.step * 1_000_003 + ranks.rank * 7_919) % 2**31)
        learning_rate = learning_rate_at(state.step + state.steps_ahead, self.plan.steps_per_epoch, section)
        self.optimizer.set_lr(learning_rate)
        if not batch.ids:  # the last batch of an epoch may have fewer videos than there are ranks
            self.precision.backward(sum(parameter.sum() * 0.0 for parameter in self.net.parameters()))
        # The loss is a sum, so the gradients of the parts add up to those of the batch.
        parts = [self._gradients(part) for part in parts_of(batch, section.accumulate)]
        ranks.sum_gradients(self.net.parameters())
        self.precision.step(self.optimizer)
        self.optimizer.clear_grad()
        state.step, state.batch = state.step + 1, state.batch + 1
        logits = paddle.concat([logits for logits, _ in parts]) if parts else None  # (B, C)
        return Step(state.step, batch, logits, sum(loss for _, loss in parts), learning_rate, state.steps_ahead)

    def _gradients(self, part: Batch) -> tuple[Tensor, float]:
        """Add the gradients of b videos; return their logits (b, C) and summed loss."""
        rgb, audio, lengths, labels = to_tensors(part)  # (b, T, 1024), (b, T, 128), (b,), (b, C)
        with self.precision.autocast():
            logits = self.net(rgb, audio, lengths)  # (b, C)
        logits = logits.astype("float32")  # (b, C)
        loss = summed_loss(logits, labels, self.plan.positive_weights)  # scalar
        self.precision.backward(loss)
        return logits.detach(), float(loss)

    def lacks_validation(self) -> bool:
        """Return whether an epoch is done whose validation is due and failed."""
        is_done = self.state.epoch > 0 and not self.state.batch
        return is_done and self._is_due() and self.state.epoch not in numbers_of(self.state.rows, "valid", "epoch")

    def _is_due(self) -> bool:
        epoch, interval = self.state.epoch, self.plan.options.valid_interval
        return interval > 0 and (epoch % interval == 0 or epoch == self.config.TRAIN.epoch)

    def validate(self) -> None:
        """Validate if it is due, and save the weights if they are the best so far."""
        if not self.plan.options.valid_interval:
            self._save_best()
        elif self._is_due():
            try:
                result = self._evaluate()
            except NotFinite as error:  # the weights are spoiled: the checkpoint before stays
                where = f"epoch {self.state.epoch}, validation"
                raise NotFinite(where, f"{error.where}: {error.problem}", _SMALLER_STEPS) from error
            except BaseException:  # a damaged shard or Ctrl-C, for two: the epoch is kept, and a resume validates it
                self.save()
                raise
            epoch, epochs = self.state.epoch, self.config.TRAIN.epoch
            numbers = {"epoch": float(epoch), "step": self.state.step, **result}
            self.log.add("valid", f"epoch {epoch}/{epochs}", numbers)
            if not self._since_best():
                self.state.best_gap = result["gap"]
                self._save_best()

    def _evaluate(self) -> dict[str, float]:
        """Compute the metrics of the validation list; for VisualDL also draw its scores and attention."""
        ranks, model, batch_size = self.plan.ranks, self.config.MODEL, self.config.VALID.batch_size
        where = self.config.VALID.filelist
        batches = read_batches(self.plan.valid_shards, batch_size, model.num_classes, by_length=True, ranks=ranks)
        if not self.draws:
            return evaluate(self.net, batches, top_k=model.topk, ranks=ranks, where=where)
        seen = _Seen()
        result = evaluate(self.net, batches, top_k=model.topk, ranks=ranks, observe=seen.observe, where=where)
        seen.counts.gather(ranks.gather)
        self.log.curves.add_scores(self.state.step, *seen.counts.counts)
        if seen.first and self.plan.writes:
            self._draw_attention(seen.first)
        return result

    def _draw_attention(self, batch: Batch) -> None:
        """Draw the attention of the first N videos of a batch, at most SHOWN_VIDEOS."""
        part = next(parts_of(batch, math.ceil(len(batch.ids) / SHOWN_VIDEOS)))
        rgb, audio, lengths, _ = to_tensors(part)  # (N, T, 1024), (N, T, 128), (N,)
        with evaluating(self.net), paddle.no_grad():
            _, (rgb_weights, audio_weights) = self.net(rgb, audio, lengths, return_attention=True)  # (N, T) each
        self.log.curves.add_attention(self.state.step, rgb_weights.numpy(), audio_weights.numpy(), part.lengths)

    def _save_best(self) -> None:
        """Save the weights as the best ones."""
        if self.plan.writes:
            self._take_over()
            save_weights(self.net, self.plan.folder.best)

    def save(self) -> None:
        """Save the latest checkpoint, replacing the one before."""
        if not self.plan.writes:
            return
        self._take_over()
        self.log.curves.flush()  # a resume keeps the curves up to its checkpoint
        state, section = self.state, self.config.TRAIN
        state.batch_size, state.shuffle_shards = section.batch_size, section.shuffle_shards
        state.filelist = fingerprint(self.plan.train_shards)
        arrays, scaler = optimizer_state(self.net, self.optimizer), self.precision.state()
        save_checkpoint(self.plan.folder.checkpoint, Checkpoint(state_of(self.net), arrays, scaler, state))
        self.save_latest()

    def save_latest(self) -> None:
        """Save the weights of the latest checkpoint as a file of their own."""
        if self.plan.writes:
            self._take_over()
            save_weights(self.net, self.plan.folder.latest)


class _Seen:
    """What VisualDL shows of a validation: a histogram of the scores, and the first batch."""

    def __init__(self) -> None:
        self.counts = ScoreCounts()
        self.first: Batch | None = None

    def observe(self, batch: Batch, scores: np.ndarray) -> None:
        """Add a batch and its scores (B, C)."""
        self.counts.update(scores, batch.labels)
        self.first = self.first or batch


def _describe(plan: _Plan, config: Config) -> None:
    """Write ``config.yaml`` and ``run.json``."""
    save_config(plan.folder.config, config)
    shards = {
        key: {"number": len(found), "sha256": fingerprint(found)}
        for key, found in (("train", plan.train_shards), ("valid", plan.valid_shards))
    }
    features = Path(config.TRAIN.filelist).parent
    content = content_of(features)
    own = {**scale_of(features), "features_sha256": content} if content else {}
    about = {"processes": plan.ranks.count, "shards": shards, **own}
    write_json(plan.folder.description, {**how_it_ran(), **about})


def _freeze(net: AttentionLSTM, frozen: bool) -> None:
    """Freeze the layers up to the attention, so that pretrained ones stay as they are; or unfreeze them."""
    for name, parameter in net.named_parameters():
        parameter.stop_gradient = frozen and not name.startswith(LAST_LAYERS)


def _check_loss(step: Step, epoch: int) -> None:
    """Require a finite loss.

    Raises:
        AlstmError: it is infinite or not a number.
    """
    if not math.isfinite(step.loss):
        raise AlstmError(
            f"epoch {epoch + 1}, the batch that starts with video {printable(step.batch.ids[0])}",
            f"the loss is {step.loss}",
            _SMALLER_STEPS,
        )


def _check_weights(net: AttentionLSTM, epoch: int) -> None:
    """Require finite weights: those of the last step have no loss yet, and a ReLU hides NaN from it.

    Raises:
        AlstmError: one is infinite or not a number.
    """
    for name, parameter in net.named_parameters():
        if not bool(paddle.isfinite(parameter).all()):
            raise AlstmError(f"epoch {epoch + 1}, {name}", "the weights are no longer finite", _SMALLER_STEPS)
