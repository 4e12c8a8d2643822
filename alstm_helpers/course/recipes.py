"""Recipes of ``configs/`` on a folder of data, and trainings that are reused once they are finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alstm_helpers.config import Config, load_config
from alstm_helpers.data.lists import filelist_settings
from alstm_helpers.files import recorded, write_sealed
from alstm_helpers.paths import RunFolder, course_files


def load_recipe(name: str, data: Path, settings: Mapping[str, object], overrides: Mapping[str, object]) -> Config:
    """Load a configuration of ``configs/`` with the lists of a data folder.

    Args:
        name: file name of the recipe.
        data: folder with ``train.list`` and the other three.
        settings: values by dotted key (``TRAIN.epoch``).
        overrides: values by keyword (``TRAIN__epoch``); they win over the settings.

    Raises:
        ConfigError: an unknown key or a bad value.
    """
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(course_files() / "configs" / name, {**filelist_settings(data), **settings, **dotted})


def finished_settings(run: RunFolder) -> object:
    """Return the settings with which a training ran to its end in this folder; None if none did, or nobody can tell."""
    return recorded(run.finished) if run.best.exists() else None


def mark_finished(run: RunFolder, settings: Mapping[str, object]) -> None:
    """Record that a training with these settings ran to its end in this folder."""
    write_sealed(run.finished, settings)
