"""What exercises look at in a training that a learner has run: its settings, and whether it was validated."""

from __future__ import annotations

from types import SimpleNamespace

from alstm_helpers.config import Config
from alstm_helpers.course.exercises.answers import NotYet, a_type


def settings_of(answer: object) -> Config:
    """Return the settings of what ``train`` has returned.

    Raises:
        NotYet: it is anything else, or a training without a validation.
    """
    config, rows = getattr(answer, "config", None), getattr(answer, "rows", None)
    if not isinstance(config, Config) or not isinstance(rows, list):
        raise NotYet(f"that is {a_type(answer)}; give the training itself, as train or measure returns it")
    if not any(row["kind"] == "valid" for row in rows):
        raise NotYet("it was not validated, so there is nothing to compare; leave valid_interval as it is")
    return config


def changed_keys(config: Config, reference: Config) -> list[str]:
    """Return the dotted keys of MODEL, TRAIN and VALID in which two settings differ."""
    return [
        f"{section}.{key}"
        for section in ("MODEL", "TRAIN", "VALID")
        for key, value in getattr(config, section)
        if value != getattr(getattr(reference, section), key)
    ]


def a_training(config: Config, *kinds: str, **changes: object) -> SimpleNamespace:
    """Return what stands for a training, to try a judge on.

    Args:
        config: its settings.
        kinds: of the rows in its log; by default a validation, too.
        changes: other values of keys of TRAIN.
    """
    train = config.TRAIN.model_copy(update=changes)
    rows = [{"kind": kind, "gap": 0.5} for kind in kinds or ("train", "valid")]
    return SimpleNamespace(config=config.model_copy(update={"TRAIN": train}), rows=rows)
