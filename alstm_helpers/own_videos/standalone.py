"""Label video files with the files beside this one, NumPy, ONNX Runtime and PyAV alone: python label.py CLIP.mp4 …

One line of JSON for each: its best labels, best first, and notes on the file. ``alstm export --video`` writes this
module as ``label.py``; what it imports lies beside it in ``labelling``.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import BadZipFile

_INSTALL = "pip install numpy onnxruntime av"
try:
    import numpy as np
except ImportError as error:  # before the modules that import it, too
    sys.exit(f"error: {error.name}: {error}; {_INSTALL}")

from alstm_helpers.errors import OTHER_WEIGHTS, AlstmError, remedy_of
from alstm_helpers.files import read_sealed
from alstm_helpers.levels import dequantize
from alstm_helpers.own_videos.media import Clip, read_frames, read_sound
from alstm_helpers.own_videos.onnx_backbones import check_numbers, log_mel_summary, look, onnx_pictures, onnx_sound
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.projection import Projection

TOP_K = 20
ABOUT, ARRAYS, MODEL = "label.json", "label.npz", "model.onnx"
_AGAIN = "export the model again, with --video"
_TOLD = (AlstmError, OSError, ImportError)


class _Takes(SimpleNamespace):
    """What a network takes: the fields that ``label.json`` keeps."""

    def fit(self, side: int) -> Fit:
        return Fit.described(side, self.resize, self.squeeze, self.filter)


class Labeller:
    """A packed model.

    Args:
        folder: with ``label.json`` and the files that it names.

    Raises:
        AlstmError: the model in it is another than the one that it was packed with, or a file is damaged.
        OSError: a file is missing.
    """

    def __init__(self, folder: Path) -> None:
        about = read_sealed(folder / ABOUT, _AGAIN)
        try:
            self._begin(folder, about)
        except (KeyError, TypeError, AttributeError):  # JSON or arrays, but others
            raise AlstmError(folder / ABOUT, f"it and {ARRAYS} are not as they were written", _AGAIN) from None

    def _begin(self, folder: Path, about: dict[str, Any]) -> None:
        import av  # noqa: F401 - reading a clip imports it; if it is missing, that is said once
        import onnxruntime

        model = (folder / MODEL).read_bytes()
        if hashlib.sha256(model).hexdigest() != about["model"]:
            raise AlstmError(folder / MODEL, f"another model than the one that {ABOUT} is for", _AGAIN)
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._floats = self._session.get_inputs()[0].type == "tensor(float)"
        self._names, self._dims = about["class_names"], about["dims"]
        self._pictures = onnx_pictures(folder / about["rgb"]["file"], _takes(about["rgb"]))
        sound = about["audio"]
        self._sound = onnx_sound(folder / sound["file"], _takes(sound)) if sound["file"] else log_mel_summary()
        found = _arrays(folder / ARRAYS)
        self._projections = {stream: _projection(stream, found, about[stream]["changes"]) for stream in self._dims}

    def __call__(self, path: Path) -> dict[str, object]:
        """Return the best labels of a video file, and notes on it.

        Raises:
            AlstmError: it cannot be read, or a score is not finite.
        """
        clip = Clip(path)
        frames = read_frames(clip, self._pictures.unit)
        rgb = look(self._pictures, frames)
        heard = read_sound(clip, len(rgb), self._sound.unit)
        streams = {"rgb": rgb, "audio": self._sound.call(heard.samples)}
        for stream, values in streams.items():
            check_numbers(values, clip.name, stream)
        features = {name: self._projections[name](streams[name], dim)[None] for name, dim in self._dims.items()}
        inputs = {name: dequantize(each) if self._floats else each for name, each in features.items()}
        (scores,) = self._session.run(["scores"], {**inputs, "lengths": np.array([len(rgb)])})
        if not np.isfinite(scores).all():
            raise AlstmError(MODEL, "its scores are not finite", OTHER_WEIGHTS)
        best = np.argsort(-scores[0], kind="stable")[:TOP_K].tolist()
        names = self._names or [None] * len(scores[0])
        labels = [{"index": each, "name": names[each], "score": float(scores[0][each])} for each in best]
        return {"video": path.name, "labels": labels, "notes": [*frames.notes, *heard.notes]}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (EOFError, ValueError, BadZipFile, zlib.error) as error:
        raise AlstmError(path, f"not readable ({error})", _AGAIN) from None


def _projection(stream: str, arrays: dict[str, np.ndarray], changes: bool) -> Projection:
    mean, scale = (arrays[f"{stream}.{name}"] for name in ("mean", "scale"))
    return Projection(mean, arrays.get(f"{stream}.matrix"), scale, arrays.get(f"{stream}.chosen"), changes)


def _takes(about: dict[str, Any]) -> Any:
    return _Takes(**about["takes"])


def main(arguments: list[str]) -> int:
    """Print a line for each file, and return the exit status: 1 if one could not be labelled."""
    parser = ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("clips", nargs="+", metavar="CLIP.mp4", type=Path, help="a line of JSON is printed for each")
    paths, status = parser.parse_args(arguments).clips, 0
    folder = Path(__file__).resolve().parent
    try:
        labeller = Labeller(folder)
    except _TOLD as error:
        return _complain(error, folder, _AGAIN)
    for path in paths:
        try:
            found = labeller(path)
        except _TOLD as error:
            status = _complain(error, path)
        else:
            print(json.dumps(found))
    return status


def _complain(error: AlstmError | OSError | ImportError, where: Path, remedy: str | None = None) -> int:
    """Print one sentence; what the system says, such as of a name that is too long, lacks a place and a remedy."""
    if isinstance(error, ImportError):
        error = AlstmError(error.name or "a package", str(error), _INSTALL)
    if isinstance(error, OSError):
        problem = error.strerror or type(error).__name__
        error = AlstmError(error.filename or where, problem, remedy or remedy_of(error))
    print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
