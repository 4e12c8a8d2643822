"""What a run notes of the features that it learnt from, and the check that others are scaled alike: only those fit."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, TypedDict

from alstm_helpers.config import Config
from alstm_helpers.data.lists import SIDES
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import checksum
from alstm_helpers.paths import RunFolder

ABOUT = "features.json"  # says what made the features of a folder; ``alstm features`` writes it


class Scale(TypedDict, total=False):
    """What ``run.json`` and ``export.json`` note of features that ``alstm features`` made.

    The SHA-256 of the projections by which it scaled them, None if it did not need any.
    """

    projection_sha256: str | None


def features_folder(config: Config, features: str | None = None) -> Path:
    """Return the folder with the ``features.json`` of a model: the given one, or that of its training shards."""
    return Path(features) if features else Path(config.TRAIN.filelist).parent


def is_of_own_videos(folder: Path) -> bool:
    """Tell whether ``alstm features`` made what is in a folder."""
    return (folder / ABOUT).is_file()


def scale_of(folder: Path) -> Scale:
    """Return what a run notes of the features in a folder; an empty dict if ``alstm features`` did not make them."""
    if not is_of_own_videos(folder):
        return {}
    projection = folder / "projection.pkl"
    return {"projection_sha256": checksum(projection, "sha256") if projection.is_file() else None}


def content_of(folder: Path) -> str | None:
    """Return the SHA-256 of the shards that ``alstm features`` wrote to a folder, by names and content, if it did.

    It changes with any clip, label, side or scale, and not when the folder is moved.
    """
    if not is_of_own_videos(folder):
        return None
    shards = sorted(path for side in SIDES for path in (folder / "tf" / side).glob("*.tfrecord"))
    lines = (f"{path.parent.name}/{path.name} {checksum(path, 'sha256')}\n" for path in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def learnt_from(model: str | Path) -> str | None:
    """Return what the run of some weights noted of :func:`content_of` its features, None if nothing."""
    return _noted(model).get("features_sha256")


def learnt_scale(model: str | Path) -> Scale:
    """Return what is noted of the features that a model learnt from, see :func:`scale_of`; nothing if nothing is.

    Args:
        model: weights or a checkpoint, in the folder of their training, whose ``run.json`` tells; or an exported model,
            beside its ``export.json``.
    """
    noted = _noted(model)
    return {"projection_sha256": noted["projection_sha256"]} if "projection_sha256" in noted else {}


def _noted(model: str | Path) -> dict[str, Any]:
    run = RunFolder.of_weights(model)
    is_trained = Path(model).suffix in (run.best.suffix, run.checkpoint.suffix)
    path = run.description if is_trained else run.folder / "export.json"
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def require_same_scale(model: str | Path, folder: Path) -> None:
    """Refuse features that are scaled otherwise than those that a model learnt from, as far as both sides tell.

    Args:
        model: as for :func:`learnt_scale`.
        folder: with the ``features.json`` of the features.

    Raises:
        AlstmError: the features were scaled anew since then, or are those of another folder.
    """
    learnt, found = learnt_scale(model), scale_of(folder)
    if learnt and found and found != learnt:
        problem = f"its features are scaled otherwise than those that {model} learnt from"
        raise AlstmError(folder, problem, "train again with these, or use the folder of those, if new ones with --like")
