"""Weights files: pickles of plain NumPy arrays, which Paddle's own ``paddle.load`` reads, too."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from alstm_helpers.data.published import PUBLISHED_WEIGHTS
from alstm_helpers.errors import OTHER_WEIGHTS, AlstmError, printable
from alstm_helpers.model.network import AttentionLSTM
from alstm_helpers.paths import WEIGHTS_REMEDY
from alstm_helpers.runtime import Tensor
from alstm_helpers.safe_pickle import load_plain, save_plain

_SAME_SIZES = "set MODEL.* to the values of that training, as in its config.yaml, or fine-tune with train --pretrain"
_KEEP = "set TRAIN.keep_classes to the number of classes that both have, or to 0"

_LAYERS = ("fc_feature", "bi_lstm", "att_fc")  # of each stream
_LAST_LAYER = ("fc_logit.weight", "fc_logit.bias")  # (in, C) and (C,)


def state_of(net: AttentionLSTM) -> dict[str, np.ndarray]:
    """Return the parameters by structured name, each once (Paddle lists an LSTM's arrays under two names)."""
    return {name: parameter.numpy() for name, parameter in net.named_parameters()}


def save_weights(net: AttentionLSTM, path: str | os.PathLike[str]) -> None:
    """Write the parameters to a ``.pdparams`` file, atomically."""
    save_plain(path, state_of(net))


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of a ``.pdparams`` file by name; never run code from it.

    Raises:
        AlstmError: the file is missing or damaged, or is the static-graph file that old documents link.
    """
    loaded = load_plain(path, WEIGHTS_REMEDY)
    if not isinstance(loaded, dict):
        raise AlstmError(path, f"it holds a {type(loaded).__name__}, not parameters by name", WEIGHTS_REMEDY)
    native: dict[int, np.ndarray] = {}  # a file may name one array many times
    arrays = {}
    for name, value in loaded.items():
        array = _array_in(value)
        if array is None:
            continue
        if id(array) not in native:
            native[id(array)] = array.astype(array.dtype.newbyteorder("="), copy=False)
        arrays[printable(name)] = native[id(array)]
    if any(map(_is_static_graph, arrays)):
        raise AlstmError(
            path,
            "these are weights of the old static-graph model, whose LSTM has peepholes and which cannot be converted",
            f"pass published instead of its path: that is PaddleVideo's file, {PUBLISHED_WEIGHTS}",
        )
    return arrays


def _array_in(value: object) -> np.ndarray | None:
    """Return the array of an entry, which Paddle also writes as ``(name, array)``; None if there is none."""
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    return value if isinstance(value, np.ndarray) else None


def _is_static_graph(name: str) -> bool:
    """Return whether a parameter has a name of the old static-graph LSTM."""
    return "dynamic_lstm" in name or ("lstm" in name and name.endswith((".w_0", ".b_0")))


def apply_weights(
    net: AttentionLSTM,
    arrays: Mapping[str, np.ndarray],
    where: str,
    *,
    keep_what_fits: bool = False,
    keep_classes: int = 0,
) -> list[str]:
    """Copy arrays into the network.

    Args:
        net: the network.
        arrays: by structured name; an LSTM's arrays may be listed a second time, under the names of its cells.
        where: the name of the file, for messages.
        keep_what_fits: for fine-tuning; a parameter whose array is missing or has another shape keeps its value.
        keep_classes: the number of classes, from the first on, that are the same in the file. When the file has
            another number of classes, their part of the last layer is copied nevertheless.

    Returns:
        the parameters that kept their own values.

    Raises:
        AlstmError: an array is missing, does not fit or is of a layer that the network lacks, and ``keep_what_fits``
            is False; or none fits; or one holds other numbers than finite floats; or the two names of an LSTM's array
            hold different values.
    """
    parameters: dict[str, Tensor] = dict(net.named_parameters())
    _check_second_names(net, arrays, where)
    problems = _problems(parameters, arrays) | _other_layers(net, arrays)
    if problems and not keep_what_fits:
        name, problem = next(iter(problems.items()))
        raise AlstmError(f"{where}, {name}", problem, _SAME_SIZES)
    chosen = {name: arrays[name] for name in parameters if name not in problems}
    for name in _LAST_LAYER if keep_classes else ():
        if name in problems:
            chosen[name] = _with_classes(parameters[name].numpy(), arrays.get(name), keep_classes, f"{where}, {name}")
    if not chosen:
        raise AlstmError(where, "no array fits this model", WEIGHTS_REMEDY)
    return _set(parameters, {name: _finite(array, f"{where}, {name}") for name, array in chosen.items()})


def _set(parameters: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Set the parameters that have an array; return the names of the others."""
    for name, array in arrays.items():
        parameters[name].set_value(array)
    return [name for name in parameters if name not in arrays]


def _finite(array: np.ndarray, where: str) -> np.ndarray:
    """Return an array as float32. A ReLU hides NaN, so the scores would not tell."""
    if array.dtype.kind != "f":  # Paddle, for one, stores bfloat16 as uint16
        raise AlstmError(where, f"it holds {array.dtype}, not floating-point numbers", "save the weights as float32")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise AlstmError(where, "it holds NaN or infinity", OTHER_WEIGHTS)
    return array


def _problems(parameters: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Find the parameters that cannot take their array, and say why."""
    problems = {}
    for name, parameter in parameters.items():
        array, wanted = arrays.get(name), list(parameter.shape)
        if array is None:
            problems[name] = "it is missing"
        elif list(array.shape) != wanted:
            problems[name] = f"shape {list(array.shape)}, not {wanted}"
    return problems


def _other_layers(net: AttentionLSTM, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Find the arrays of this model's layers that a network lacks, such as attention's if it takes the mean.

    Without them it would label, but not as it was trained to. Arrays of other names are nobody's.
    """
    known = net.state_dict()
    lacking = (name for name in arrays if name.startswith(_LAYERS) and name not in known)
    return dict.fromkeys(lacking, "the network has no such layer")


def _with_classes(own: np.ndarray, given: np.ndarray | None, classes: int, where: str) -> np.ndarray:
    """Return the network's own array of the last layer, (…, C), with its first classes from the given array.

    Raises:
        AlstmError: one of the two does not have these classes; ``where`` names the given one.
    """
    if own.shape[-1] < classes:
        raise AlstmError(where, f"the network has {own.shape[-1]} classes, and {classes} are to be kept", _KEEP)
    if given is None or not given.ndim or given.shape[-1] < classes or given.shape[:-1] != own.shape[:-1]:
        found = "no such layer" if given is None else f"shape {list(given.shape)}"
        raise AlstmError(where, f"{found}, which does not have {classes} classes to keep", _KEEP)
    own[..., :classes] = given[..., :classes]
    return own


def _check_second_names(net: AttentionLSTM, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse arrays with two names and two values: Paddle would take the one, this package the other."""
    first = {id(parameter): name for name, parameter in net.named_parameters()}
    for second, parameter in net.state_dict().items():
        name = first[id(parameter)]
        if name in arrays and second in arrays and not np.array_equal(arrays[name], arrays[second], equal_nan=True):
            raise AlstmError(
                f"{where}, {second}", f"differs from {name}, the other name of the same parameter", "delete one of them"
            )
