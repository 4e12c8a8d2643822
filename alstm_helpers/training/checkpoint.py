"""Checkpoints: where a training stands, in one file that a resume goes on from exactly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import TrainSection
from alstm_helpers.errors import AlstmError, ConfigError
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain, save_plain

REMEDY = "pass the save_dir of a training, or train without --resume"
_PARTS = {"weights", "optimizer", "scaler", "progress"}


@dataclass
class Progress:
    """Where a training stands; with weights and optimiser, all that a resume needs."""

    seed: int
    epoch: int = 0  # the next epoch
    step: int = 0  # the next step
    batch: int = 0  # the next batch of that epoch
    batch_size: int = 0  # what batches are counted in
    shuffle_shards: int = 0  # and mixed from
    filelist: str = ""  # the fingerprint of those shards
    pretrain_base: str | None = None  # weights that the training started from
    best_gap: float = -1.0
    train_seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)  # what train.jsonl holds

    def must_fit(self, section: TrainSection, shards: Sequence[Path]) -> None:
        """Inside an epoch the position is a number of batches, which means nothing in other batches.

        Raises:
            ConfigError: the checkpoint lies inside an epoch, and the settings make other batches.
        """
        if not self.batch:
            return
        for key in ("batch_size", "shuffle_shards"):
            then, now = getattr(self, key), getattr(section, key)
            if then != now:
                problem = f"the checkpoint lies inside an epoch and was made with {then}, not {now}"
                raise ConfigError(f"TRAIN.{key}", problem, f"resume with -o TRAIN.{key}={then}")
        if self.filelist != fingerprint(shards):
            problem = f"the checkpoint lies inside an epoch, and {section.filelist} names other shards than then"
            raise ConfigError("TRAIN.filelist", problem, "resume with the same shards in the same order")


def fingerprint(shards: Sequence[Path]) -> str:
    """SHA-256 of the shards' names and sizes, in their order; the folder may change."""
    lines = (f"{shard.name} {shard.stat().st_size}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def save_checkpoint(path: Path, **parts: Any) -> None:
    """Write weights, optimizer, scaler and progress into one file, so that no crash leaves halves of two."""
    assert set(parts) == _PARTS
    save_plain(path, {**parts, "progress": vars(parts["progress"])})


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What :func:`save_checkpoint` wrote; ``progress`` is a :class:`Progress`. Never runs code from the file.

    Raises:
        AlstmError: not a checkpoint, or one of another version of this package.
    """
    found = load_plain(path, REMEDY)
    try:
        if set(found) != _PARTS:
            raise TypeError
        return {**found, "progress": Progress(**found["progress"])}
    except TypeError:
        raise AlstmError(path, "not a checkpoint of this version of the package", REMEDY) from None


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
        raise AlstmError(path, f"no {name}_latest.pdstate here", REMEDY)
    return found


def optimizer_state(net: AttentionLSTM, optimizer: Any) -> dict[str, np.ndarray]:
    """Return the optimiser's arrays as ``parameter|accumulator``, free of Paddle's process-wide counters."""
    state = optimizer.state_dict()
    found = {}
    for name, parameter in net.named_parameters():
        prefix = parameter.name + "_"
        for key, value in state.items():
            if key.startswith(prefix):
                found[f"{name}|{key[len(prefix) :]}"] = value.numpy()
    return found


def restore_optimizer(net: AttentionLSTM, optimizer: Any, arrays: Mapping[str, np.ndarray]) -> None:
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
