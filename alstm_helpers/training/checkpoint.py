"""Checkpoints: the whole state of a training in one file, from which a resume continues exactly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alstm_helpers.config import TrainSection
from alstm_helpers.errors import AlstmError, ConfigError
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.paths import RunFolder
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.training.log import LogRow
from alstm_helpers.training.precision import Optimizer

REMEDY = "pass the save_dir of a training, or train without --resume"
_PARTS = {"weights", "optimizer", "scaler", "progress"}


@dataclass
class TrainingState:
    """The position of a training and its results so far; the file stores the fields under these names."""

    seed: int
    epoch: int = 0  # the next epoch
    step: int = 0  # the next step
    batch: int = 0  # the next batch of that epoch
    batch_size: int = 0  # the batches that ``batch`` counts
    shuffle_shards: int = 0  # the pools that they were mixed in
    filelist: str = ""  # the fingerprint of their shards
    pretrain_base: str | None = None  # weights that the training started from
    best_gap: float = -1.0
    train_seconds: float = 0.0
    rows: list[LogRow] = field(default_factory=list)  # the content of train.jsonl

    def must_fit(self, section: TrainSection, shards: Sequence[Path]) -> None:
        """Check that the settings make the batches that the position counts; between epochs any will do.

        Raises:
            ConfigError: the checkpoint is inside an epoch, and the settings make other batches.
        """
        if not self.batch:
            return
        for key in ("batch_size", "shuffle_shards"):
            then, now = getattr(self, key), getattr(section, key)
            if then != now:
                problem = f"the checkpoint is inside an epoch and was made with {then}, not {now}"
                raise ConfigError(f"TRAIN.{key}", problem, f"resume with -o TRAIN.{key}={then}")
        if self.filelist != fingerprint(shards):
            problem = f"the checkpoint is inside an epoch, and {section.filelist} does not name the same shards"
            raise ConfigError("TRAIN.filelist", problem, "resume with the same shards in the same order")


@dataclass(frozen=True)
class Checkpoint:
    """All that a resume needs.

    Args:
        weights: see :func:`alstm_helpers.model.weights.state_of`.
        optimizer: see :func:`optimizer_state`.
        scaler: see :meth:`alstm_helpers.training.precision.Precision.state`.
        state: the position.
    """

    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    scaler: dict[str, object]
    state: TrainingState


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically: a crash leaves the old one or the new one."""
    values = {key: value for key, value in vars(checkpoint).items() if key != "state"}
    save_plain(path, {**values, "progress": vars(checkpoint.state)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote; never run code from the file.

    Raises:
        AlstmError: the file is not a checkpoint, or one of another version of this package.
    """
    found = load_plain(path, REMEDY)
    try:
        if set(found) != _PARTS:
            raise TypeError
        state = TrainingState(**found["progress"])
        return Checkpoint(found["weights"], found["optimizer"], found["scaler"], state)
    except TypeError:
        raise AlstmError(path, "not a checkpoint of this version of the package", REMEDY) from None


def find_checkpoint(resume: str | os.PathLike[str], name: str) -> Path:
    """Find ``<name>_latest.pdstate``, given a save_dir, a file of the checkpoint, or the files' common prefix.

    Raises:
        AlstmError: there is none.
    """
    path = Path(resume)
    inside = RunFolder(path, name).checkpoint
    candidates = [inside, Path(f"{path}{inside.suffix}")]
    candidates += [path.with_suffix(inside.suffix)] if path.name else []  # "." has no name to give a suffix to
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise AlstmError(path, f"no {inside.name} here", REMEDY)
    return found


def fingerprint(shards: Sequence[Path]) -> str:
    """Return the SHA-256 of the shards' names and sizes, in their order; the folder may change."""
    lines = (f"{shard.name} {shard.stat().st_size}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def optimizer_state(net: AttentionLSTM, optimizer: Optimizer) -> dict[str, np.ndarray]:
    """Return the optimiser's arrays as ``parameter|accumulator``, free of Paddle's process-wide counters."""
    state = optimizer.state_dict()
    found = {}
    for name, parameter in net.named_parameters():
        prefix = parameter.name + "_"
        for key, value in state.items():
            if key.startswith(prefix):
                found[f"{name}|{key[len(prefix) :]}"] = value.numpy()
    return found


def restore_optimizer(net: AttentionLSTM, optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Restore what :func:`optimizer_state` returned; call before the first step.

    Raises:
        AlstmError: an array belongs to a parameter that the network does not have.
    """
    names = {name: parameter.name for name, parameter in net.named_parameters()}
    state = {}
    for key, value in arrays.items():
        name, _, accumulator = key.partition("|")
        if name not in names:
            raise AlstmError(name, "the checkpoint has it, this model does not", "set MODEL.* as in the training")
        state[f"{names[name]}_{accumulator}"] = paddle.to_tensor(value)
    optimizer.set_state_dict(state)
