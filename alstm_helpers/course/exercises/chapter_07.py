"""Notebook 07: mending a file, counting what a key saves, changing one key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alstm_helpers.config import Config
from alstm_helpers.course.exercises.core import Exercise, Names, as_number

KEYS = {"embedding_size": 256, "lstm_size": 512, "fc_sizes": (4096, 4096)}


def mended(**changes: Any) -> Config:
    values: dict[str, dict[str, Any]] = {
        "MODEL": {"embedding_size": 32, "drop_rate": 0.5},
        "TRAIN": {"decay_epochs": (5,), "filelist": "train.list"},
        "VALID": {"batch_size": 64},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section][name] = value
    return Config.model_validate(values)


def judge_mended(answer: Any, names: Names, exercise: Exercise) -> str:
    """A loaded configuration in which every fault is mended, none deleted."""
    if not isinstance(answer, Config):
        return f"that is a {type(answer).__name__}; give what load_config returns"
    defaults = Config()
    if answer.MODEL.embedding_size != 32:
        return "embedding_size is not 32: mend the name of the key, do not delete the line"
    if answer.MODEL.drop_rate == defaults.MODEL.drop_rate and answer.MODEL.drop_rate != 0.5:
        return "drop_rate is the default: it is a share below 1, so 50 % are 0.5"
    if answer.MODEL.drop_rate != 0.5:
        return f"drop_rate is {answer.MODEL.drop_rate}; what was meant by 50?"
    if tuple(answer.TRAIN.decay_epochs) != (5,):
        return "decay_epochs should hold the one epoch 5, as a list"
    if Path(answer.TRAIN.filelist).name != "train.list":
        return "filelist had no fault: it should still be train.list"
    if answer.VALID.batch_size != 64:
        return "VALID.batch_size is not 64: the section has another name, do not delete it"
    return ""


def saved(names: Names) -> dict[str, int]:
    """Parameters that halving each key saves."""
    from alstm_helpers.config import load_config

    def total(**changes: Any) -> int:
        values = {f"MODEL.{key}": value for key, value in changes.items()}
        return sum(names.count_parameters(load_config(names.configs / "attention_lstm.yaml", values).MODEL).values())

    return {key: total() - total(**{key: value}) for key, value in KEYS.items()}


def judge_saved(answer: Any, names: Names, exercise: Exercise) -> str:
    """Three numbers by key."""
    if not isinstance(answer, dict):
        return f"that is a {type(answer).__name__}; write a dict with embedding_size, lstm_size and fc_sizes"
    right, full = saved(names), sum(names.count_parameters(names.recipe.MODEL).values())
    for key, value in right.items():
        found = as_number(answer.get(key))
        if found is None:
            return f"{key} is missing, or no number"
        if abs(found - (full - value)) < 1:
            return f"{key}: that is how many are left; how many are saved?"
        if abs(found - value) >= 1:
            return f"{key}: {found:,.0f} is not what halving it saves; halve it alone, the others as in the file"
    return ""


def judge_training(answer: Any, names: Names, exercise: Exercise) -> str:
    """Another training than the first, of a file that differs in one key."""
    rows = getattr(answer, "rows", None)
    if not isinstance(rows, list) or not rows:
        return f"that is a {type(answer).__name__}; give what train returns for the second file"
    if answer is names.trained or rows == names.trained.rows:
        return "that is the training of mine.yaml; train the second file, into a folder of its own"
    if not any(row["kind"] == "valid" for row in rows):
        return "it was not validated; leave valid_interval as it is, or there is no [VALID] line to compare"
    return ""


EXERCISES = [
    Exercise(
        "ex-7-1",
        judge_mended,
        hints=(
            "Each message names the line, the key, and the nearest key that there is.",
            "embedding_size; 0.5; [5]; and the section for validation is called VALID.",
            "A list is written [5]; load_config(scratch / 'mend.yaml') gives the answer.",
        ),
        solution=(
            'mend = scratch / "mend.yaml"\n'
            "lines = ['MODEL:', '  embedding_size: 32', '  drop_rate: 0.5', 'TRAIN:', '  decay_epochs: [5]']\n"
            "lines += ['  filelist: train.list', 'VALID:', '  batch_size: 64']\n"
            'mend.write_text("\\n".join(lines) + "\\n", encoding="utf-8")\n'
            "answer = load_config(mend)"
        ),
        note="Four faults, four runs that would else have gone on for hours with other settings than meant.",
        mistakes=(
            (
                lambda names: mended(MODEL__embedding_size=512),
                "embedding_size is not 32: mend the name of the key, do not delete the line",
            ),
            (lambda names: mended(MODEL__drop_rate=0.05), "drop_rate is 0.05; what was meant by 50?"),
            (lambda names: mended(TRAIN__decay_epochs=(5, 8)), "decay_epochs should hold the one epoch 5, as a list"),
            (
                lambda names: mended(VALID__batch_size=1024),
                "VALID.batch_size is not 64: the section has another name, do not delete it",
            ),
            (lambda names: {"MODEL": {}}, "that is a dict; give what load_config returns"),
        ),
    ),
    Exercise(
        "ex-7-2",
        judge_saved,
        hints=(
            'load_config(configs / "attention_lstm.yaml", {"MODEL.lstm_size": 512}).MODEL is the smaller model.',
            "count_parameters(…) gives the parts; sum its values, and subtract from the sum of the whole recipe.",
            'fc_sizes is a pair: {"MODEL.fc_sizes": (4096, 4096)} halves the first.',
        ),
        solution=(
            "def total(overrides):\n"
            '    model = load_config(configs / "attention_lstm.yaml", overrides).MODEL\n'
            "    return sum(count_parameters(model).values())\n\n\n"
            'halved = {"embedding_size": 256, "lstm_size": 512, "fc_sizes": (4096, 4096)}\n'
            'answer = {key: total({}) - total({f"MODEL.{key}": value}) for key, value in halved.items()}'
        ),
        note="lstm_size, by a hair: half of its saving is in the Linear layer that reads the states.",
        mistakes=(
            (
                lambda names: {key: full_size(names) - value for key, value in saved(names).items()},
                "embedding_size: that is how many are left; how many are saved?",
            ),
            (lambda names: {"lstm_size": 1}, "embedding_size is missing, or no number"),
            (lambda names: "lstm_size", "that is a str; write a dict with embedding_size, lstm_size and fc_sizes"),
            (
                lambda names: {**saved(names), "lstm_size": 16_793_600},
                "lstm_size: 16,793,600 is not what halving it saves; halve it alone, the others as in the file",
            ),
        ),
    ),
    Exercise(
        "ex-7-3",
        judge_training,
        hints=(
            "Take own_text, replace one value, and write it to another file beside mine.yaml.",
            'load_config(that file, {"TRAIN.use_gpu": lab.uses_gpu()}) loads it, as above.',
            'answer = train(second, scratch / "second", seed=SEED, report=print)',
        ),
        solution=(
            'second_file = own_file.with_name("second.yaml")\n'
            'second_file.write_text(own_text, encoding="utf-8")\n'
            'changed = {"TRAIN.use_gpu": lab.uses_gpu(), "TRAIN.batch_size": 256}\n'
            'answer = train(load_config(second_file, changed), scratch / "second", seed=SEED, report=print)'
        ),
        note="One key at a time: only then does the difference have one cause.",
        mistakes=(
            (
                lambda names: names.trained,
                "that is the training of mine.yaml; train the second file, into a folder of its own",
            ),
            (lambda names: names.own, "that is a Config; give what train returns for the second file"),
        ),
    ),
]


def full_size(names: Names) -> int:
    return int(sum(names.count_parameters(names.recipe.MODEL).values()))
