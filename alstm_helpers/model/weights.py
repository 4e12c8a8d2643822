"""Weights and checkpoints: plain pickles of NumPy arrays, which Paddle's own ``paddle.load`` reads too."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from alstm_helpers.data.published import PUBLISHED_WEIGHTS
from alstm_helpers.errors import AlstmError
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain, save_plain

_REMEDY = "pass the .pdparams file of a finished training, for example data/checkpoints/AttentionLSTM_best.pdparams"

_KEEP = "set TRAIN.keep_classes to how many classes both have, or to 0"


def state_of(net: Any) -> dict[str, np.ndarray]:
    """The parameters by structured name, each once (Paddle lists an LSTM's arrays under two names)."""
    return {name: parameter.numpy() for name, parameter in net.named_parameters()}


def save_weights(net: Any, path: str | os.PathLike[str]) -> None:
    """Write the parameters to a ``.pdparams`` file, atomically."""
    save_plain(path, state_of(net))


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a ``.pdparams`` file by name; never runs code from it.

    Raises:
        AlstmError: missing or damaged file, or the static-graph file that old documents link.
    """
    loaded = load_plain(path, _REMEDY)
    if not isinstance(loaded, dict):
        raise AlstmError(path, f"it holds a {type(loaded).__name__}, not parameters by name", _REMEDY)
    arrays = {}
    for name, value in loaded.items():
        array = value[1] if isinstance(value, tuple) and len(value) == 2 else value  # Paddle also writes (name, array)
        if isinstance(array, np.ndarray):
            text = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
            arrays[text] = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(("lstm" in name and name.endswith((".w_0", ".b_0"))) or "dynamic_lstm" in name for name in arrays):
        raise AlstmError(
            path,
            "these are weights of the old static-graph model, whose LSTM has peepholes and which cannot be converted",
            f"use PaddleVideo's file instead: --weights published, which is {PUBLISHED_WEIGHTS}",
        )
    return arrays


def apply_weights(
    net: Any, arrays: dict[str, np.ndarray], where: str, *, keep_what_fits: bool = False, keep_classes: int = 0
) -> list[str]:
    """Put arrays into the network.

    Args:
        net: the network.
        arrays: by structured name; LSTM arrays may stand there a second time, under the names of the cells.
        where: the file's name, for messages.
        keep_what_fits: for fine-tuning; arrays that are missing or of another shape leave the network's own.
        keep_classes: so many classes, the first ones, are the same in the file: their part of the last layer is taken
            over, too, when the file has another number of classes.

    Returns:
        the parameters that kept their own values.

    Raises:
        AlstmError: an array is missing or does not fit, and ``keep_what_fits`` is False; or none fits; or the two
            names of an LSTM's array hold different values.
    """
    left = []
    parameters = dict(net.named_parameters())
    _check_second_names(net, arrays, where)
    for name, parameter in parameters.items():
        array = arrays.get(name)
        if array is not None and list(array.shape) == list(parameter.shape):
            continue
        if not keep_what_fits:
            problem = "it is missing" if array is None else f"shape {list(array.shape)}, not {list(parameter.shape)}"
            raise AlstmError(
                f"{where}, {name}", problem, "set MODEL.* as in the training, or fine-tune with train --pretrain"
            )
        left.append(name)
    if keep_classes:
        for name in ("fc_logit.weight", "fc_logit.bias"):  # (in, C) and (C,)
            array, parameter = arrays.get(name), parameters[name]
            if name not in left:
                continue
            if array is None or array.shape[-1] < keep_classes or list(array.shape[:-1]) != list(parameter.shape[:-1]):
                found = "no such layer" if array is None else f"shape {list(array.shape)}"
                raise AlstmError(f"{where}, {name}", f"{found}, which has not {keep_classes} classes to keep", _KEEP)
            values = parameter.numpy()
            values[..., :keep_classes] = array[..., :keep_classes]
            arrays = {**arrays, name: values}
            left.remove(name)
    if len(left) == len(parameters):
        raise AlstmError(where, "no array fits this model", _REMEDY)
    for name in parameters.keys() - set(left):
        parameters[name].set_value(arrays[name].astype(np.float32, copy=False))
    return left


def _check_second_names(net: Any, arrays: dict[str, np.ndarray], where: str) -> None:
    """Refuse arrays of which Paddle would take one, and this package the other."""
    first = {id(parameter): name for name, parameter in net.named_parameters()}
    for second, parameter in net.state_dict().items():
        name = first[id(parameter)]
        if name in arrays and second in arrays and not np.array_equal(arrays[name], arrays[second], equal_nan=True):
            raise AlstmError(f"{where}, {second}", f"differs from {name}, of which it is the second name", "delete one")


def optimizer_state(net: Any, optimizer: Any) -> dict[str, np.ndarray]:
    """The optimiser's arrays as ``parameter|accumulator``, free of Paddle's process-wide counters."""
    state = optimizer.state_dict()
    found = {}
    for name, parameter in net.named_parameters():
        prefix = parameter.name + "_"
        for key, value in state.items():
            if key.startswith(prefix):
                found[f"{name}|{key[len(prefix) :]}"] = value.numpy()
    return found


def restore_optimizer(net: Any, optimizer: Any, arrays: dict[str, np.ndarray]) -> None:
    """Put back what :func:`optimizer_state` took; call before the first step."""
    names = {name: parameter.name for name, parameter in net.named_parameters()}
    state = {}
    for key, value in arrays.items():
        name, _, accumulator = key.partition("|")
        if name not in names:
            raise AlstmError(name, "the checkpoint has it, this model has not", "set MODEL.* as in the training")
        state[f"{names[name]}_{accumulator}"] = paddle.to_tensor(value)
    optimizer.set_state_dict(state)
