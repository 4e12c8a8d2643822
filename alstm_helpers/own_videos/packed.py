"""Everything that labels a video file, in one folder: backbones, projections, the model, and the code."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write
from alstm_helpers.own_videos.backbones import ONNX, network_of
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.inputs import AnyInput, PictureInput
from alstm_helpers.own_videos.standalone import ABOUT, ARRAYS, MODEL
from alstm_helpers.tfrecord import STREAM_DIMS

_PACKAGE = Path(__file__).parents[1]
_CODE = "labelling"  # the folder of the modules, and their package's name there
_SCRIPT = "own_videos.standalone"
_IMPORT = re.compile(r"^from alstm_helpers\.([\w.]+) import", re.MULTILINE)  # at the top of a module, when it is loaded
LOG_MEL = "logmel"
_FILES = {"rgb": "backbone.onnx", "audio": "sound.onnx"}


def require_packable(extractor: Extractor) -> None:
    """Check that the backbones run without Paddle.

    Raises:
        AlstmError: one does not.
    """
    if not _networks(extractor)["rgb"]:
        problem = "it is not a network in an ONNX file"
        raise AlstmError(extractor.backbone, problem, "--video needs features of --backbone onnx:PATH, clip or dinov2")
    if extractor.audio != LOG_MEL and not _networks(extractor)["audio"]:
        problem = f"it is neither {LOG_MEL} nor a network in an ONNX file"
        raise AlstmError(extractor.audio, problem, f"--video needs features of --audio {LOG_MEL} or onnx:PATH")


def _networks(extractor: Extractor) -> dict[str, tuple[Path, AnyInput] | None]:
    """Return the file of each stream's network, and what it takes; None for what is no network in a file."""
    return {stream: network_of(stream, name, extractor.inputs.get(stream)) for stream, name in extractor.names.items()}


def pack(extractor: Extractor, folder: Path) -> list[str]:
    """Write beside an exported ``model.onnx`` what labels video files; return the names of the files.

    Args:
        extractor: the one that made the features that the model was trained on, complete.
        folder: with the model; it gets ``features.json``, too, so that `alstm serve` takes videos.

    Raises:
        AlstmError: a backbone does not run without Paddle, or the folder holds features.
    """
    require_packable(extractor)
    if (folder / "manifest.jsonl").exists():
        raise AlstmError(folder, "it holds features", "choose another --out")
    content, about, moved = _code(), _about(folder / MODEL), extractor
    for stream, network in _networks(extractor).items():
        about[stream] = {"file": None, "changes": extractor.projections[stream].changes}
        if network:
            path, takes = network
            fields = {**takes.model_dump(mode="json"), "is_normalised": getattr(takes, "is_normalised", None)}
            about[stream] |= {"file": _FILES[stream], "takes": fields}
            content[_FILES[stream]] = path.read_bytes()
            moved = _renamed(moved, f"{ONNX}{folder.absolute() / _FILES[stream]}", takes)
    content |= {ARRAYS: _arrays(extractor), ABOUT: json.dumps(about, indent=1).encode()}
    for name, value in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / name) as file:
            file.write(value)
    moved.save(folder)
    return [*content]


def _about(model: Path) -> dict[str, Any]:
    names = Predictor(model).class_names
    return {"model": hashlib.sha256(model.read_bytes()).hexdigest(), "class_names": names, "dims": STREAM_DIMS}


def _renamed(extractor: Extractor, name: str, takes: AnyInput) -> Extractor:
    """Return an extractor whose backbone of pictures, or of sound, is a network in another file."""
    if isinstance(takes, PictureInput):
        return dataclasses.replace(extractor, backbone=name, pictures=takes)
    return dataclasses.replace(extractor, audio=name, sound=takes)


def _code() -> dict[str, bytes]:
    """Return the script and the modules that it imports, and those that they import, by their names in the folder."""
    found, waiting = {f"{_CODE}/__init__.py": "", f"{_CODE}/own_videos/__init__.py": ""}, [_SCRIPT]
    while waiting:
        module = waiting.pop()
        path = module.replace(".", "/") + ".py"
        name = "label.py" if module == _SCRIPT else f"{_CODE}/{path}"
        if name not in found:
            found[name] = (_PACKAGE / path).read_text("utf-8")
            waiting += _IMPORT.findall(found[name])
    return {name: text.replace("alstm_helpers", _CODE).encode() for name, text in found.items()}


def _arrays(extractor: Extractor) -> bytes:
    """Return the arrays of the projections as npz."""
    arrays = {
        f"{stream}.{name}": value
        for stream, projection in extractor.projections.items()
        for name, value in projection._asdict().items()
        if isinstance(value, np.ndarray)
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()
