"""Exercises of notebook 07: fixing a file, counting what a key saves, changing one key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.course.exercises.answers import a_type, as_number, fault_of_number
from alstm_helpers.course.exercises.core import Exercise, Notebook, always
from alstm_helpers.course.exercises.trainings import a_training, changed_keys, settings_of

SET = {  # what the file of exercise 7.1 sets, once its faults are fixed
    "MODEL.embedding_size": 32,
    "MODEL.drop_rate": 0.5,
    "TRAIN.decay_epochs": (5,),
    "TRAIN.filelist": "train.list",
    "VALID.batch_size": 64,
}
WHAT_TO_DO = {
    "MODEL.embedding_size": "its value had no fault",
    "MODEL.drop_rate": "it is a share below 1; what was 50 meant to be?",
    "TRAIN.decay_epochs": "it is a list of epochs, here of one",
    "TRAIN.filelist": "its value had no fault",
    "VALID.batch_size": "its value had no fault",
}


def fixed(**changes: object) -> Config:
    """Return the configuration of exercise 7.1 with every fault fixed, then some ``SECTION__key`` changed.

    None leaves a key out.
    """
    values: dict[str, dict[str, object]] = {"MODEL": {}, "TRAIN": {}, "VALID": {}}
    for key, value in (SET | {key.replace("__", "."): value for key, value in changes.items()}).items():
        section, name = key.split(".")
        if value is not None:
            values[section][name] = value
    return Config.model_validate(values)


def judge_fixed(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a loaded configuration: every fault must be fixed, and no line deleted, nor left to its default."""
    if not isinstance(answer, Config):
        return f"that is {a_type(answer)}; give what load_config returns"
    for key, right in SET.items():
        name, field = key.split(".")
        section = getattr(answer, name)
        found = getattr(section, field)
        if field not in section.model_fields_set:
            return f"{key} is not set any more; do not delete its line"
        if (Path(str(found)).name if field == "filelist" else found) != right:
            return f"{key} is {found}: {WHAT_TO_DO[key]}"
    set_keys = {f"{name}.{key}" for name, keys in answer.model_dump(exclude_unset=True).items() for key in keys}
    added = min(set_keys - SET.keys(), default="")
    return f"{added} was not in the file; add nothing to it" if added else ""


HALVED = {"embedding_size": 256, "lstm_size": 512, "fc_sizes": (4096, 4096)}


def full_size(notebook: Notebook) -> int:
    """Return the number of parameters of the full-size model."""
    return int(sum(notebook.count_parameters(notebook.recipe.MODEL).values()))


def saved(notebook: Notebook) -> dict[str, int]:
    """Return the number of parameters that halving each key saves."""

    def total(**changed: object) -> int:
        return int(sum(notebook.count_parameters(notebook.recipe.MODEL.model_copy(update=changed)).values()))

    return {key: total() - total(**{key: value}) for key, value in HALVED.items()}


def judge_saved(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge three numbers of parameters by key."""
    if not isinstance(answer, Mapping):
        return f"that is {a_type(answer)}; write a dict with embedding_size, lstm_size and fc_sizes"
    full = full_size(notebook)
    for key, right in saved(notebook).items():
        found = as_number(answer.get(key))
        if found is None:
            return f"{key} is missing, or not a number"
        if abs(found - (full - right)) < 1:
            return f"{key}: that is how many are left; how many are saved?"
        fault = fault_of_number(found, right, 0.5, f"{key}: the number")
        if fault.endswith(("too small", "too large")):
            fault += "; halve this key alone, and keep the others as in the file"
        if fault:
            return fault
    return ""


TO_CHOOSE: dict[str, Callable[[Config], float]] = {  # key: what the exercise asks for
    "TRAIN.learning_rate": lambda own: 10 * own.TRAIN.learning_rate,
    "TRAIN.warmup_iters": lambda own: 0,
    "TRAIN.batch_size": lambda own: 256,
}


def judge_training(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a training: it must differ from the notebook's first in one of three keys, and be validated."""
    if answer is notebook.trained:
        return "that is the training of mine.yaml; train the second file, into a folder of its own"
    changed = changed_keys(settings_of(answer), settings_of(notebook.trained))
    changed = [key for key in changed if key != "TRAIN.use_gpu"]  # not in the file: it is where one trains
    if "TRAIN.seed" in changed:
        return "its seed differs, too, so a difference has two causes: TrainOptions(seed=SEED)"
    if not changed:
        return "it was trained with the settings of mine.yaml; change one key"
    if len(changed) > 1:
        return f"{len(changed)} keys differ, {' and '.join(changed)}; change one at a time"
    (key,) = changed
    if key not in TO_CHOOSE:
        return f"{key} differs; change learning_rate, warmup_iters or batch_size"
    found = getattr(settings_of(answer).TRAIN, key.partition(".")[2])
    right = TO_CHOOSE[key](settings_of(notebook.trained))
    return "" if math.isclose(found, right) else f"{key} is {found:g}; the exercise asks for {right:g}"


def _second(notebook: Notebook, *kinds: str, **changes: object) -> SimpleNamespace:
    return a_training(notebook.trained.config, *kinds, **changes)


def _judged_by_others(notebook: Notebook) -> object:
    training = _second(notebook)
    config = training.config
    training.config = config.model_copy(update={"VALID": config.VALID.model_copy(update={"batch_size": 3})})
    return training


EXERCISES = [
    Exercise(
        "ex-7-1",
        judge_fixed,
        hints=(
            "Each message names the line, the key, and the nearest existing key.",
            "embedding_size; 0.5; [5]; and the section for validation is called VALID.",
            "Write a list as [5]; load_config(scratch / 'fixed.yaml') gives the answer.",
        ),
        solution=(
            'fixed = scratch / "fixed.yaml"\n'
            "lines = ['MODEL:', '  embedding_size: 32', '  drop_rate: 0.5', 'TRAIN:', '  decay_epochs: [5]']\n"
            "lines += ['  filelist: train.list', 'VALID:', '  batch_size: 64']\n"
            'fixed.write_text("\\n".join(lines) + "\\n", encoding="utf-8")\n'
            "answer = load_config(fixed)"
        ),
        note="Four faults: four runs that would otherwise have trained for hours with unintended settings.",
        mistakes=(
            (
                always(fixed(MODEL__embedding_size=None)),
                "MODEL.embedding_size is not set any more; do not delete its line",
            ),
            (always(fixed(MODEL__embedding_size=64)), "MODEL.embedding_size is 64: its value had no fault"),
            (always(fixed(MODEL__drop_rate=None)), "MODEL.drop_rate is not set any more; do not delete its line"),
            (
                always(fixed(MODEL__drop_rate=0.05)),
                "MODEL.drop_rate is 0.05: it is a share below 1; what was 50 meant to be?",
            ),
            (always(fixed(TRAIN__decay_epochs=None)), "TRAIN.decay_epochs is not set any more; do not delete its line"),
            (
                always(fixed(TRAIN__decay_epochs=(5, 8))),
                "TRAIN.decay_epochs is (5, 8): it is a list of epochs, here of one",
            ),
            (always(fixed(TRAIN__filelist="val.list")), "TRAIN.filelist is val.list: its value had no fault"),
            (always(fixed(VALID__batch_size=None)), "VALID.batch_size is not set any more; do not delete its line"),
            (always(fixed(TRAIN__epoch=3)), "TRAIN.epoch was not in the file; add nothing to it"),
            (always({"MODEL": {}}), "that is a dict; give what load_config returns"),
        ),
        right=(always(fixed()), always(fixed(TRAIN__filelist="data/train.list"))),
    ),
    Exercise(
        "ex-7-2",
        judge_saved,
        hints=(
            'load_config(configs / "attention_lstm.yaml", {"MODEL.lstm_size": 512}).MODEL is the smaller model.',
            "count_parameters(…) returns the parts; sum its values, and subtract that from the full recipe's sum.",
            'fc_sizes is a pair: {"MODEL.fc_sizes": (4096, 4096)} halves the first.',
        ),
        solution=(
            "def total(overrides):\n"
            '    model = load_config(configs / "attention_lstm.yaml", overrides).MODEL\n'
            "    return sum(count_parameters(model).values())\n\n\n"
            'halved = {"embedding_size": 256, "lstm_size": 512, "fc_sizes": (4096, 4096)}\n'
            'answer = {key: total({}) - total({f"MODEL.{key}": value}) for key, value in halved.items()}'
        ),
        note="lstm_size, by a narrow margin: half of its saving is in the Linear layer that reads the states.",
        mistakes=(
            (
                lambda notebook: {key: full_size(notebook) - value for key, value in saved(notebook).items()},
                "embedding_size: that is how many are left; how many are saved?",
            ),
            (always({"lstm_size": 1}), "embedding_size is missing, or not a number"),
            (always("lstm_size"), "that is a str; write a dict with embedding_size, lstm_size and fc_sizes"),
            (
                lambda notebook: {**saved(notebook), "lstm_size": 16_000_000},
                "lstm_size: the number is too small; halve this key alone, and keep the others as in the file",
            ),
            (
                lambda notebook: {key: round(value / 1e6, 2) for key, value in saved(notebook).items()},
                "embedding_size: the number looks like millions; give the number itself, …",
            ),
            (
                lambda notebook: {key: -value for key, value in saved(notebook).items()},
                "embedding_size: the number has the wrong sign",
            ),
        ),
        right=(
            lambda notebook: {key: np.array([value]) for key, value in reversed(saved(notebook).items())},
            lambda notebook: saved(notebook) | {"all": 1},
        ),
    ),
    Exercise(
        "ex-7-3",
        judge_training,
        hints=(
            "Take own_text, replace one value, and write it to another file next to mine.yaml.",
            'load_config(that file, {"TRAIN.use_gpu": lab.uses_gpu()}) loads it, as above.',
            'answer = train(second, scratch / "second", TrainOptions(seed=SEED), report=print)',
        ),
        solution=(
            "from alstm_helpers.training.train import TrainOptions\n\n"
            'second_file = own_file.with_name("second.yaml")\n'
            'second_file.write_text(own_text, encoding="utf-8")\n'
            'changed = {"TRAIN.use_gpu": lab.uses_gpu(), "TRAIN.batch_size": 256}\n'
            "second = load_config(second_file, changed)\n"
            'answer = train(second, scratch / "second", TrainOptions(seed=SEED), report=print)'
        ),
        note="One key at a time: only then does the difference have one cause.",
        mistakes=(
            (
                lambda notebook: notebook.trained,
                "that is the training of mine.yaml; train the second file, into a folder of its own",
            ),
            (
                lambda notebook: notebook.own,
                "that is a Config; give the training itself, as train or measure returns it",
            ),
            (_second, "it was trained with the settings of mine.yaml; change one key"),
            (
                lambda notebook: _second(notebook, seed=9),
                "its seed differs, too, so a difference has two causes: TrainOptions(seed=SEED)",
            ),
            (
                lambda notebook: _second(notebook, batch_size=256, warmup_iters=0),
                "2 keys differ, TRAIN.warmup_iters and TRAIN.batch_size; change one at a time",
            ),
            (
                lambda notebook: _second(notebook, epoch=2),
                "TRAIN.epoch differs; change learning_rate, warmup_iters or batch_size",
            ),
            (
                lambda notebook: _second(notebook, learning_rate=notebook.trained.config.TRAIN.learning_rate / 10),
                "TRAIN.learning_rate is …; the exercise asks for …",
            ),
            (lambda notebook: _second(notebook, batch_size=31), "TRAIN.batch_size is 31; the exercise asks for 256"),
            (_judged_by_others, "VALID.batch_size differs; change learning_rate, warmup_iters or batch_size"),
            (
                lambda notebook: _second(notebook, "train", batch_size=256),
                "it was not validated, so there is nothing to compare; leave valid_interval as it is",
            ),
        ),
        right=(
            lambda notebook: _second(notebook, batch_size=256),
            lambda notebook: _second(notebook, warmup_iters=0),
            lambda notebook: _second(notebook, warmup_iters=0, use_gpu=not notebook.trained.config.TRAIN.use_gpu),
            lambda notebook: _second(notebook, learning_rate=10 * notebook.trained.config.TRAIN.learning_rate),
        ),
    ),
]
