"""Exercises of notebook 07: fixing a file, counting what a key saves, changing one key."""

from __future__ import annotations

from pathlib import Path

from alstm_helpers.config import Config, load_config
from alstm_helpers.course.exercises.core import Exercise, Notebook, a_type, always, as_number


def fixed(**changes: object) -> Config:
    """Return the configuration of exercise 7.1 with every fault fixed, then some ``SECTION__key`` changed."""
    values: dict[str, dict[str, object]] = {
        "MODEL": {"embedding_size": 32, "drop_rate": 0.5},
        "TRAIN": {"decay_epochs": (5,), "filelist": "train.list"},
        "VALID": {"batch_size": 64},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section][name] = value
    return Config.model_validate(values)


def judge_fixed(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a loaded configuration: every fault must be fixed, and no line deleted."""
    if not isinstance(answer, Config):
        return f"that is {a_type(answer)}; give what load_config returns"
    if answer.MODEL.embedding_size != 32:
        return "embedding_size is not 32: fix the name of the key, do not delete the line"
    if answer.MODEL.drop_rate == Config().MODEL.drop_rate and answer.MODEL.drop_rate != 0.5:
        return "drop_rate is the default: it is a share below 1, so 50 % are 0.5"
    if answer.MODEL.drop_rate != 0.5:
        return f"drop_rate is {answer.MODEL.drop_rate}; what was 50 meant to be?"
    if tuple(answer.TRAIN.decay_epochs) != (5,):
        return "decay_epochs should hold the one epoch 5, as a list"
    if Path(answer.TRAIN.filelist).name != "train.list":
        return "filelist had no fault: it should still be train.list"
    if answer.VALID.batch_size != 64:
        return "VALID.batch_size is not 64: fix the name of the section, do not delete it"
    return ""


HALVED = {"embedding_size": 256, "lstm_size": 512, "fc_sizes": (4096, 4096)}


def full_size(notebook: Notebook) -> int:
    """Return the number of parameters of the full-size model."""
    return int(sum(notebook.count_parameters(notebook.recipe.MODEL).values()))


def saved(notebook: Notebook) -> dict[str, int]:
    """Return the number of parameters that halving each key saves."""

    def total(overrides: dict[str, object]) -> int:
        model = load_config(notebook.configs / "attention_lstm.yaml", overrides).MODEL
        return int(sum(notebook.count_parameters(model).values()))

    return {key: total({}) - total({f"MODEL.{key}": value}) for key, value in HALVED.items()}


def judge_saved(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge three numbers of parameters by key."""
    if not isinstance(answer, dict):
        return f"that is {a_type(answer)}; write a dict with embedding_size, lstm_size and fc_sizes"
    full = full_size(notebook)
    for key, right in saved(notebook).items():
        found = as_number(answer.get(key))
        if found is None:
            return f"{key} is missing, or not a number"
        if abs(found - (full - right)) < 1:
            return f"{key}: that is how many are left; how many are saved?"
        if abs(found - right) >= 1:
            return (
                f"{key}: {found:,.0f} is not what halving it saves; halve it alone, keeping the others as in the file"
            )
    return ""


def judge_training(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a training: it must be another one than the notebook's first, and validated."""
    rows = getattr(answer, "rows", None)
    if not isinstance(rows, list) or not rows:
        return f"that is {a_type(answer)}; give what train returns for the second file"
    if answer is notebook.trained or rows == notebook.trained.rows:
        return "that is the training of mine.yaml; train the second file, into a folder of its own"
    if not any(row["kind"] == "valid" for row in rows):
        return "it was not validated; leave valid_interval as it is, or there is no [VALID] line to compare"
    return ""


EXERCISES = [
    Exercise(
        "ex-7-1",
        judge_fixed,
        hints=(
            "Each message names the line, the key, and the nearest existing key.",
            "embedding_size; 0.5; [5]; and the section for validation is called VALID.",
            "Write a list as [5]; load_config(scratch / 'mend.yaml') gives the answer.",
        ),
        solution=(
            'mend = scratch / "mend.yaml"\n'
            "lines = ['MODEL:', '  embedding_size: 32', '  drop_rate: 0.5', 'TRAIN:', '  decay_epochs: [5]']\n"
            "lines += ['  filelist: train.list', 'VALID:', '  batch_size: 64']\n"
            'mend.write_text("\\n".join(lines) + "\\n", encoding="utf-8")\n'
            "answer = load_config(mend)"
        ),
        note="Four faults: four runs that would otherwise have trained for hours with unintended settings.",
        mistakes=(
            (
                always(fixed(MODEL__embedding_size=512)),
                "embedding_size is not 32: fix the name of the key, do not delete the line",
            ),
            (always(fixed(MODEL__drop_rate=0.05)), "drop_rate is 0.05; what was 50 meant to be?"),
            (always(fixed(TRAIN__decay_epochs=(5, 8))), "decay_epochs should hold the one epoch 5, as a list"),
            (
                always(fixed(VALID__batch_size=1024)),
                "VALID.batch_size is not 64: fix the name of the section, do not delete it",
            ),
            (always({"MODEL": {}}), "that is a dict; give what load_config returns"),
        ),
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
                lambda notebook: {**saved(notebook), "lstm_size": 16_793_600},
                "lstm_size: 16,793,600 is not what halving it saves; halve it alone, keeping the others as in the file",
            ),
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
            (lambda notebook: notebook.own, "that is a Config; give what train returns for the second file"),
        ),
    ),
]
