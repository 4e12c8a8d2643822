"""An exported model behind one class, whichever engine runs it: Paddle Inference or ONNX Runtime.

The network's code is not needed, and Paddle is imported only to load a Paddle Inference model. ``model.onnx`` also
runs without this module, with NumPy and ONNX Runtime alone; notebook 06 shows how.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np

from alstm_helpers.data.dataset import Batch, collate
from alstm_helpers.digests import crc32c
from alstm_helpers.errors import OTHER_WEIGHTS, AlstmError, NotFinite
from alstm_helpers.extras import explained
from alstm_helpers.files import read_sealed, require_file
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.onnx_file import read_onnx
from alstm_helpers.runtime import usable_cores
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, Video, dequantize

INPUTS = ("rgb", "audio", "lengths")
OUTPUTS = ("scores", "rgb_attention", "audio_attention")
LOGITS = "logits"  # one more output of an ONNX file
DESCRIPTION = "description"  # key of the description in the metadata of an ONNX file
_AGAIN = "export the model again"


class Classes(TypedDict):
    """What a predictor reads from the description of a model; None if it has no description."""

    class_names: list[str] | None
    num_classes: int | None


class Prediction(NamedTuple):
    """``scores`` float32 (…, C) in [0, 1]; ``rgb_attention`` and ``audio_attention`` float32 (…, T), 0 on
    padding.
    """

    scores: np.ndarray
    rgb_attention: np.ndarray
    audio_attention: np.ndarray


# An engine takes the arrays of INPUTS by name and returns those of OUTPUTS in order.
Engine: TypeAlias = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]
# A loader makes the engine of a file, for a number of threads, and reads the file's classes.
Loader: TypeAlias = Callable[[Path, int], tuple[Engine, Classes]]


def _load_paddle(path: Path, threads: int) -> tuple[Engine, Classes]:
    """Load a Paddle Inference model; its description is in ``export.json`` beside it."""
    from alstm_helpers.runtime import paddle

    description = _described(path, path.with_name("model.pdiparams"))
    config = paddle.inference.Config(str(path), str(path.with_name("model.pdiparams")))
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(threads)
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    outputs = predictor.get_output_names()  # by number: Paddle names them itself
    _require_ours(path, predictor.get_input_names(), returns_ours=len(outputs) == len(OUTPUTS))

    def run(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name, array in arrays.items():
            predictor.get_input_handle(name).copy_from_cpu(array)
        predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in outputs]

    return run, _classes_of(description)


def _load_onnx(path: Path, threads: int) -> tuple[Engine, Classes]:
    """Load an ONNX file; its description is in its metadata."""
    import onnxruntime

    _described(path)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(read_onnx(path), options, providers=["CPUExecutionProvider"])
    outputs = {item.name for item in session.get_outputs()}
    _require_ours(path, [item.name for item in session.get_inputs()], returns_ours=outputs >= set(OUTPUTS))
    floats = {item.name for item in session.get_inputs() if item.type == "tensor(float)"}  # alstm export --onnx_frames

    def run(arrays: dict[str, np.ndarray]) -> Sequence[np.ndarray]:
        wanted = {name: dequantize(array) if name in floats else array for name, array in arrays.items()}
        found: Sequence[np.ndarray] = session.run(OUTPUTS, wanted)
        return found

    return run, _classes_of(json.loads(session.get_modelmeta().custom_metadata_map.get(DESCRIPTION, "{}")))


def _require_ours(path: Path, inputs: Iterable[str], *, returns_ours: bool) -> None:
    """Check that a file has the inputs and outputs of the network.

    Raises:
        AlstmError: it has others, and would fail at each request.
    """
    if set(inputs) != set(INPUTS) or not returns_ours:
        problem = f"it is another network: it does not take {', '.join(INPUTS)} and return {', '.join(OUTPUTS)}"
        raise AlstmError(path, problem, "name a file that `alstm export` made")


def _described(*files: Path) -> dict[str, object]:
    """Return the ``export.json`` beside a model's files, or nothing, after checking them against their digests in it.

    Raises:
        AlstmError: one of them is damaged, missing, or from another export.
    """
    beside = files[0].with_name("export.json")
    description = read_sealed(beside, _AGAIN) if beside.is_file() else {}
    sums = description.get("crc32c")
    for path in files:
        wanted = sums.get(path.name) if isinstance(sums, dict) else None
        if wanted and wanted != sum_of(path):
            problem = f"it is damaged, or another file than the one that {beside.name} describes"
            raise AlstmError(path, problem, f"{_AGAIN}, or delete {beside.name} if the file is as you want it")
    return description


def sum_of(path: Path) -> str:
    """Return the CRC-32C of a file in hexadecimal, as ``export.json`` has it."""
    return f"{crc32c(require_file(path, _AGAIN).read_bytes()):08x}"


def _classes_of(description: object) -> Classes:
    """Return the classes in a description.

    Raises:
        ValueError: they are not as the export writes them.
    """
    found = description if isinstance(description, dict) else {}
    names, count = found.get("class_names"), found.get("num_classes")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("its class names are not a list of texts")
    if count is not None and type(count) is not int:
        raise ValueError("its number of classes is not a number")
    return {"class_names": names, "num_classes": count}


# The files of an exported folder that can be loaded, the preferred one first.
ENGINES: dict[str, Loader] = {"model.onnx": _load_onnx, "model.json": _load_paddle, "model.pdmodel": _load_paddle}
_BY_SUFFIX = {Path(name).suffix: load for name, load in ENGINES.items()}


class Predictor:
    """An exported model, ready to score videos on the CPU.

    ::

        predictor = Predictor("build/model")
        prediction = predictor(rgb, audio, lengths)     # a batch, padded
        predictions = predictor.predict(videos)         # any number of videos, batched by length

    Args:
        path: an exported folder (its ``model.onnx``, else its Paddle model), or one of the files in it.
        threads: CPU threads; by default one per usable core.

    Raises:
        AlstmError: there is no exported model, it cannot be read, or its engine is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self.path = find_model(path)
        try:
            self._run, classes = _BY_SUFFIX[self.path.suffix](self.path, threads or usable_cores())
        except ImportError as error:
            raise explained(error) from error
        except AlstmError:
            raise
        except Exception as error:  # each engine raises exceptions of its own
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise AlstmError(self.path, f"it cannot be read ({reason})", _AGAIN) from error
        self._lock = threading.Lock()
        self.class_names = classes["class_names"]
        self.num_classes = classes["num_classes"]

    def __call__(self, rgb: np.ndarray, audio: np.ndarray, lengths: np.ndarray) -> Prediction:
        """Score a padded batch.

        Args:
            rgb: uint8 (B, T, 1024).
            audio: uint8 (B, T, 128).
            lengths: integers (B,), the seconds of each video; later frames are ignored.

        Raises:
            AlstmError: an array has the wrong shape or type, or the batch is empty.
            NotFinite: what comes out is not finite.
        """
        rgb, audio, lengths = np.asarray(rgb), np.asarray(audio), np.asarray(lengths)
        _require_batch(rgb, audio, lengths)
        arrays = {"rgb": rgb, "audio": audio, "lengths": lengths.astype(np.int64)}
        with self._lock:  # Paddle's engine takes one batch at a time, and each takes all threads
            found = Prediction(*self._run({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        if not all(np.isfinite(array).all() for array in found):  # its name alone: who asks a server knows no path
            raise NotFinite(self.path.name, "its scores are not finite", OTHER_WEIGHTS)
        return found

    def predict(self, videos: Sequence[Video], *, batch_size: int = 16) -> list[Prediction]:
        """Score videos, batched with others of similar length; return predictions in the order given.

        Args:
            videos: their labels are not used; frames beyond 300 are left out.
            batch_size: videos per batch.

        Returns:
            one per video: scores (C,), and weights (T,) with the video's own T.
        """
        order = np.argsort([video.num_frames for video in videos], kind="stable")
        found: dict[int, Prediction] = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size].tolist()
            batch = collate([videos[row]._replace(labels=()) for row in rows], 0)
            scores, *weights = self(batch.rgb, batch.audio, batch.lengths)
            for place, (row, length) in enumerate(zip(rows, batch.lengths, strict=True)):
                found[row] = Prediction(scores[place], *(part[place, :length] for part in weights))
        return [found[row] for row in range(len(videos))]


def _require_batch(rgb: np.ndarray, audio: np.ndarray, lengths: np.ndarray) -> None:
    batch, seconds = lengths.shape[:1], rgb.shape[1:2]
    for name, found, dim in (("rgb", rgb, RGB_DIM), ("audio", audio, AUDIO_DIM)):
        if found.dtype != np.uint8 or found.shape != (*batch, *seconds, dim):
            problem = f"{found.dtype} {found.shape}, with lengths {lengths.shape}"
            raise AlstmError(name, problem, f"pass uint8 (B, T, {dim}), the same B and T for both, and B lengths")
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise AlstmError("lengths", f"{lengths.dtype} {lengths.shape}", "pass one integer per video")
    if not len(lengths):
        raise AlstmError("the batch", "it contains no video", "pass at least one")


def find_model(path: str | os.PathLike[str]) -> Path:
    """Return the file to load: ``path`` itself, or the preferred one of an exported folder.

    Raises:
        AlstmError: there is no exported model.
    """
    path = Path(path)
    candidates = [path] if path.suffix in _BY_SUFFIX else [path / name for name in ENGINES]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise AlstmError(path, "no exported model here", "make one with `alstm export`")
    return found


def gap_of(predictor: Predictor, batches: Iterable[Batch], num_classes: int, top_k: int) -> float:
    """Return the global average precision of an exported model.

    Args:
        predictor: the model.
        batches: labelled videos.
        num_classes: how many classes there are, C.
        top_k: predictions per video that count.
    """
    metrics = YouTube8MMetrics(num_classes, top_k)
    for batch in batches:
        metrics.update(predictor(batch.rgb, batch.audio, batch.lengths).scores, batch.labels, batch.ids)
    return metrics.gap()
