"""A network in an ONNX file as a backbone calls it: which output, in what batches, and pooled to a row per input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.onnx_file import read_onnx

if TYPE_CHECKING:
    from alstm_helpers.own_videos.inputs import AnyInput

MOST_NUMBERS = 8192  # per second; more is a map that was not pooled
_TYPES = {  # of the input
    **{"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64},
    "tensor(uint8)": np.uint8,
}


class OnnxValue(Protocol):
    """The part of ``onnxruntime.NodeArg`` that is used here."""

    name: str
    type: str
    shape: list[int | str | None]  # a dimension of any size has a name or None


class OnnxSession(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used here."""

    def get_inputs(self) -> Sequence[OnnxValue]: ...

    def get_outputs(self) -> Sequence[OnnxValue]: ...

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, np.ndarray]) -> Sequence[object]: ...


class OnnxNetwork:
    """A network with one input in an ONNX file.

    Args:
        path: of the file.
        takes: says which output has the features, and how they are pooled.

    Attributes:
        path: of the file.
        sha256: of the file.
        dtype: of its input.
        shape: of its input, with None where any size will do. One with a single dimension takes one input at a time,
            and has a row of output for each of its frames.

    Raises:
        AlstmError: the file is missing, is not ONNX, takes other inputs, or has no such output.
    """

    def __init__(self, path: Path, takes: AnyInput) -> None:
        self.path, self._takes = path, takes
        content = read_onnx(path)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = open_session(path, content)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise AlstmError(path, f"it takes {len(inputs)} inputs", "export a network with one")
        if inputs[0].type not in _TYPES:
            raise AlstmError(path, f"its input is a {inputs[0].type}", "export a network that takes float32")
        self._input = inputs[0].name
        self.dtype = np.dtype(_TYPES[inputs[0].type])
        self.shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self._batch = self.shape[0] if len(self.shape) > 1 else None  # how many it takes at once, if not any number
        self._output = self._chosen_output(self._session.get_outputs())

    def _chosen_output(self, outputs: Sequence[OnnxValue]) -> str:
        """Return the name of the output with the features.

        Raises:
            AlstmError: it has none of the name, or several that could be meant.
        """
        wanted = self._takes.output
        found = [each for number, each in enumerate(outputs) if wanted in (None, number, each.name)]
        if len(found) > 1:
            found = [each for each in found if len(each.shape or ()) == 2]
        if len(found) != 1:
            names = ", ".join(f"{each.name} {each.shape}" for each in outputs)
            problem = (
                f"it has no output {wanted}"
                if wanted is not None
                else "it has several outputs that could be the features"
            )
            raise AlstmError(self.path, problem, f"name one as output in the JSON file beside it: {names}")
        return found[0].name

    def tried(self, values: np.ndarray) -> None:
        """Turn a few inputs into numbers.

        Raises:
            AlstmError: it cannot, or it does not give a row for each.
        """
        try:
            self(values)
        except AlstmError:
            if self._batch is not None or len(self.shape) == 1:
                raise
            self._batch = 1  # some say that they take any number, and do not
            self(values)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the features of inputs, (N, …) → float32 (N, D), or of the frames of a single one, (S,) → (R, D).

        Raises:
            AlstmError: the network cannot take such an input, or has other output.
        """
        if len(self.shape) == 1:
            return self._pooled(self._run(values))
        size = self._batch or len(values)
        parts = (values[first : first + size] for first in range(0, len(values), size))
        return np.concatenate([self._run_filled(part, size) for part in parts])

    def _run_filled(self, values: np.ndarray, size: int) -> np.ndarray:
        """Return the features of at most ``size`` inputs, to which copies of the last are added up to that size."""
        count = len(values)
        output = self._run(np.concatenate([values, np.repeat(values[-1:], size - count, axis=0)]))
        if output.shape[:1] != (size,):
            problem = f"its output for a batch of {size} has the shape {output.shape}, not (N, D)"
            raise AlstmError(self.path, problem, "export the network with a row of output for each input")
        return self._pooled(output)[:count]

    def _run(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(self.dtype)
        try:
            output = np.asarray(self._session.run([self._output], {self._input: values})[0])
        except Exception as error:
            problem = f"it cannot take an input of shape {values.shape} ({_short(error)})"
            raise AlstmError(self.path, problem, "leave its first dimension open when you export it") from None
        if output.dtype.kind not in "fiu":
            raise AlstmError(self.path, "its output is not numbers", "export the layer with the features")
        return output

    def _pooled(self, output: np.ndarray) -> np.ndarray:
        """Return a row for each input: of a map the mean over its places, of tokens, (N, K, D), what the user says."""
        places = [axis for axis in range(1, output.ndim) if output.shape[axis] != 1]
        if len(places) > 1 and output.ndim == 4:  # a map, whose colours are where those of the input are
            channels = 3 if getattr(self._takes, "layout", None) == "nhwc" or self.shape[-1] == 3 else 1
            output = output.mean(axis=tuple(axis for axis in (1, 2, 3) if axis != channels))
        elif len(places) > 1 and output.ndim == 3 and self._takes.pooling:
            output = output[:, 0] if self._takes.pooling == "first" else output.mean(axis=1)
        elif len(places) > 1:
            problem = f"its output has the shape {output.shape}, not (N, D)"
            raise AlstmError(
                self.path, problem, "pass --pooling mean or first, or export it with a mean over all but N and D"
            )
        output = output.reshape(len(output), -1)
        if output.shape[1] > MOST_NUMBERS:
            problem = f"its output has {output.shape[1]} numbers per input, more than {MOST_NUMBERS}"
            raise AlstmError(self.path, problem, "pool it before you flatten it, or export an earlier or later layer")
        return output.astype(np.float32)


def open_session(path: Path, content: bytes) -> OnnxSession:
    """Open a network.

    Args:
        path: of its file, for errors.
        content: of that file, see :func:`alstm_helpers.onnx_file.read_onnx`.

    Raises:
        AlstmError: it is not readable.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # ONNX Runtime does not ask; "4,2" nests
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    there = onnxruntime.get_available_providers()
    providers = [each for each in ("CUDAExecutionProvider", "CPUExecutionProvider") if each in there]
    try:
        session: OnnxSession = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        raise AlstmError(path, f"not readable as ONNX ({_short(error)})", "export it again") from None
    return session


def _short(error: Exception) -> str:
    """Return an error of ONNX Runtime as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
