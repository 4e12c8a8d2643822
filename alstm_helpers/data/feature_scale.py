"""A model fits only features that are scaled as those that it learnt from: what a run notes of that, and the check."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from alstm_helpers.config import Config
from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import RunFolder

_KEY = "projection_sha256"  # in run.json


def features_folder(config: Config, features: str | None = None) -> Path:
    """Return the folder with the ``features.json`` of a model: the given one, or that of its training shards."""
    return Path(features) if features else Path(config.TRAIN.filelist).parent


def scale_of(folder: Path) -> dict[str, str | None]:
    """Return what a run notes of the features in a folder.

    Returns:
        the SHA-256 of the projections by which ``alstm features`` scaled them, None if it did not need any; an empty
        dict for features that it did not make.
    """
    if not (folder / "features.json").is_file():
        return {}
    projection = folder / "projection.pkl"
    return {_KEY: hashlib.sha256(projection.read_bytes()).hexdigest() if projection.is_file() else None}


def require_same_scale(weights: str | Path, folder: Path) -> None:
    """Refuse features that are scaled otherwise than those that trained some weights, as far as both sides tell.

    Args:
        weights: in the folder of their training, whose ``run.json`` tells.
        folder: with the ``features.json`` of the features.

    Raises:
        AlstmError: the features were scaled anew since then, or are those of another folder.
    """
    learnt: object = None
    with contextlib.suppress(OSError, ValueError):
        learnt = json.loads(RunFolder.of_weights(weights).description.read_text(encoding="utf-8"))
    found = scale_of(folder)
    if isinstance(learnt, dict) and _KEY in learnt and found and found[_KEY] != learnt[_KEY]:
        problem = f"its features are scaled otherwise than those that {weights} learnt from"
        raise AlstmError(folder, problem, "train again with these, or use the folder of those, if new ones with --like")
