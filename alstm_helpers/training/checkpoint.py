"""Checkpoints: the whole state of a training in one file, from which a resume continues exactly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from alstm_helpers.config import TrainSection
from alstm_helpers.data.filelists import fingerprint
from alstm_helpers.errors import AlstmError, ConfigError, printable
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.paths import RunFolder
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.training.log import LogRow
from alstm_helpers.training.precision import Optimizer

REMEDY = "pass the save_dir of a training, or train without --resume"
LAST_LAYERS = ("fc_out1", "fc_out2", "fc_logit")  # those after the attention
_PARTS = {"weights", "optimizer", "scaler", "progress"}
_ACCUMULATORS = ("mean_square_0", "mean_grad_0")  # of a centered RMSProp, for each parameter that has been updated


@with_config(ConfigDict(extra="forbid"))
@dataclass
class TrainingState:
    """The position of a training and its results so far; the file stores the fields under these names."""

    seed: int
    epoch: int = 0  # the next epoch
    step: int = 0  # the next step
    steps_ahead: int = 0  # by which the schedule is ahead of it, since the batches of earlier epochs were others
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
    parts = found if isinstance(found, dict) else {}
    if parts.keys() != _PARTS or not all(isinstance(part, dict) for part in parts.values()):
        raise AlstmError(path, "not a checkpoint of this version of the package", REMEDY)
    for key in ("weights", "optimizer"):
        for name, array in found[key].items():
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise AlstmError(f"{path}, {printable(name)}", "it is not an array of finite numbers", REMEDY)
    return Checkpoint(found["weights"], found["optimizer"], found["scaler"], _state_of(path, found["progress"]))


def _state_of(path: Path, values: Mapping[str, Any]) -> TrainingState:
    """Return the position that a checkpoint holds, after checking the type of each field."""
    try:
        TypeAdapter(TrainingState).validate_python(values)
        return TrainingState(**values)  # as they are: the check turns whole numbers of the log into floats
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = f"{path}, {'.'.join(map(str, fault['loc'][:2]))}"
        raise AlstmError(where, f"not as this version of the package writes it ({fault['msg']})", REMEDY) from None


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


def restore_optimizer(net: AttentionLSTM, optimizer: Optimizer, arrays: Mapping[str, np.ndarray], where: Path) -> None:
    """Restore what :func:`optimizer_state` returned; call before the first step.

    Args:
        net, optimizer: of this training.
        arrays: those of the checkpoint.
        where: its file, for messages.

    Raises:
        AlstmError: an array belongs to a parameter that the network does not have, has another shape, or is missing.
    """
    parameters = dict(net.named_parameters())
    state = {}
    for key, value in arrays.items():
        name, _, accumulator = key.partition("|")
        if name not in parameters or list(value.shape) != list(parameters[name].shape):
            raise AlstmError(f"{where}, {key}", "this model has no such parameter", "set MODEL.* as in the training")
        state[f"{parameters[name].name}_{accumulator}"] = paddle.to_tensor(value)
    updated = {key.partition("|")[0] for key in arrays}
    last = [name for name in parameters if name.startswith(LAST_LAYERS)]  # the others may have been frozen so far
    for name in parameters if updated - set(last) else last:
        if any(f"{name}|{accumulator}" not in arrays for accumulator in _ACCUMULATORS):
            raise AlstmError(f"{where}, {name}", "the state of its optimiser is missing", REMEDY)
    optimizer.set_state_dict(state)
