"""Exercises of notebook 08: a large batch's own rate, a GPU's own rate, a warm-up that is not needed, the schedule."""

from __future__ import annotations

import math

from alstm_helpers.course.exercises.answers import a_type, fault_of_number, numbers
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms
from alstm_helpers.course.exercises.trainings import a_training, changed_keys, settings_of

# --- 8.1 and 8.3: trainings, judged by their settings, so that another seed or machine is as good -------------------

EPOCHS = 3  # of the notebook's trainings
LARGE = {"batch_size": 64, "learning_rate": 0.008, "warmup_iters": 12}


def judge_large_batch(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge two trainings, of three and of eight epochs."""
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        return f"that is {a_type(answer)}; give both trainings, as a pair: three epochs, then eight"
    three, eight = (settings_of(training).TRAIN for training in answer)
    for section in (three, eight):
        for key, right in LARGE.items():
            if not math.isclose(getattr(section, key), right):
                return f"a training has a {key} of {getattr(section, key):g}; it should be {right:g}"
    for training in answer:
        if others := _others(training, notebook, *LARGE):
            return others
    if (three.epoch, eight.epoch) == (8, 3):
        return "the training of three epochs comes first"
    if (three.epoch, eight.epoch) != (3, 8):
        return f"the trainings have {three.epoch} and {eight.epoch} epochs; they should have 3 and 8"
    return ""


def judge_no_warm_up(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a training of the recipe without its warm-up."""
    section, recipe = settings_of(answer).TRAIN, notebook.lab.config().TRAIN
    if section.warmup_iters:
        return f"its warmup_iters is {section.warmup_iters}; pass warmup_iters=0"
    for key in ("learning_rate", "batch_size"):
        if getattr(section, key) != getattr(recipe, key):
            return f"its {key} is {getattr(section, key):g}; keep the recipe's, {getattr(recipe, key):g}"
    if section.epoch != EPOCHS:
        return f"its epochs: {section.epoch}; the recipe above has {EPOCHS}"
    return _others(answer, notebook)


def _others(training: object, notebook: Notebook, *asked: str) -> str:
    """Return which key differs from the recipe though the exercise does not ask for that, or an empty text."""
    # `measure` sets epoch and filelist; another seed is as good; each exercise judges the warm-up itself.
    free = {f"TRAIN.{key}" for key in (*asked, "epoch", "filelist", "seed", "warmup_iters")}
    others = [key for key in changed_keys(settings_of(training), notebook.lab.config()) if key not in free]
    return f"{others[0]} is not the recipe's; change only what the exercise names" if others else ""


def _trained(notebook: Notebook, **changes: object) -> object:
    return a_training(notebook.lab.config(), **changes)


def _large(notebook: Notebook, epoch: int, **changes: object) -> object:
    return _trained(notebook, **(LARGE | {"epoch": epoch} | changes))


# --- 8.4: the number of samples -----------------------------------------------------------------------------------

VIDEOS, BATCH = 3_888_919, 1024  # of the 2018 training set; of the original's recipe
STEPS = math.ceil(VIDEOS / BATCH)


def judge_num_samples(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a number of videos by the steps of an epoch that follow from it."""
    if answer is None:
        return "in the file null would be right, as the videos are then counted; here, give their number"
    (found,) = numbers(answer, 1)
    if math.ceil(found / BATCH) == STEPS:
        return ""
    typical = [message for make, message in exercise.mistakes if make(notebook) == found]
    return typical[0] if typical else fault_of_number(found, VIDEOS, 0)


RATE = 1e-3 * 64 / 1024


EXERCISES = [
    Exercise(
        "ex-8-1",
        judge_large_batch,
        hints=(
            'measure("large_3", batch_size=64, learning_rate=0.008, warmup_iters=12) returns that of three epochs.',
            "Add epoch=8 for eight.",
            "Put both into a pair, the three epochs first.",
        ),
        solution=(
            'three = measure("large_3", batch_size=64, learning_rate=0.008, warmup_iters=12)\n'
            'eight = measure("large_8", batch_size=64, learning_rate=0.008, warmup_iters=12, epoch=8)\n'
            "answer = (three, eight)"
        ),
        note="Three epochs of 64 are a quarter of the steps that the batch of 16 takes; eight are two thirds.",
        mistakes=(
            (lambda notebook: (_large(notebook, 8), _large(notebook, 3)), "the training of three epochs comes first"),
            (
                lambda notebook: (_large(notebook, 3), _large(notebook, 3)),
                "the trainings have 3 and 3 epochs; they should have 3 and 8",
            ),
            (
                lambda notebook: (_large(notebook, 3, learning_rate=0.002), _large(notebook, 8)),
                "a training has a learning_rate of 0.002; it should be 0.008",
            ),
            (
                lambda notebook: (_large(notebook, 3, batch_size=16), _large(notebook, 8)),
                "a training has a batch_size of 16; it should be 64",
            ),
            (
                lambda notebook: (_large(notebook, 3, warmup_iters=50), _large(notebook, 8)),
                "a training has a warmup_iters of 50; it should be 12",
            ),
            (
                lambda notebook: (_large(notebook, 3), _large(notebook, 8, weight_decay=0.1)),
                "TRAIN.weight_decay is not the recipe's; change only what the exercise names",
            ),
            (always((0.3, 0.5)), "that is a float; give the training itself, as train or measure returns it"),
            (
                lambda notebook: _large(notebook, 3),
                "that is a SimpleNamespace; give both trainings, as a pair: three epochs, then eight",
            ),
        ),
        right=(
            lambda notebook: [_large(notebook, 3), _large(notebook, 8)],
            lambda notebook: (_large(notebook, 3, seed=7), _large(notebook, 8, warmup_iters=12)),
        ),
    ),
    Exercise(
        "ex-8-2",
        equals(always(RATE), within=0.01 * RATE),
        hints=(
            "The rule: the rate is proportional to the batch.",
            "1e-3 belongs to 1024 videos.",
            "1e-3 * 64 / 1024",
        ),
        solution="answer = 1e-3 * 64 / 1024",
        note="Also try three times as much, and a third. If it is too low, the loss falls, but slowly, without jumps.",
        mistakes=(
            (always(1e-3 * 1024 / 64), "that is larger than 1e-3: a smaller batch needs a smaller rate"),
            (always(1e-3 / 1024), "that is the rate per video; the batch has 64 of them"),
            (always(1e-3 / 64), "that is a 64th of the original's rate; it should be 64 times the rate per video"),
            (
                always(1e-3 * math.sqrt(64 / 1024)),
                "the two recipes scale the rate in proportion to the batch, not with its root",
            ),
            (always(1.25e-4), "that is the rate for 128 videos"),
            (always(6e-5), "the number is rounded too much; give more digits"),
        ),
        right=(always(6.2e-5), always(6.3e-5), *forms(always(RATE))),
    ),
    Exercise(
        "ex-8-3",
        judge_no_warm_up,
        hints=(
            "measure trains with the recipe's settings, unless you name others.",
            "answer = measure(…) with a name of your own and warmup_iters=0",
        ),
        solution='answer = measure("no_ramp", warmup_iters=0)',
        note="At this rate the seeds do not tell the two apart; a warm-up earns its steps at higher rates.",
        mistakes=(
            (always(0.5), "that is a float; give the training itself, as train or measure returns it"),
            (lambda notebook: _trained(notebook, warmup_iters=0, epoch=50), "its epochs: 50; the recipe above has 3"),
            (lambda notebook: _trained(notebook, warmup_iters=50), "its warmup_iters is 50; pass warmup_iters=0"),
            (
                lambda notebook: _trained(notebook, warmup_iters=0, learning_rate=0.006),
                "its learning_rate is 0.006; keep the recipe's, …",
            ),
            (
                lambda notebook: _trained(notebook, warmup_iters=0, epoch=3, schedule="step"),
                "TRAIN.schedule is not the recipe's; change only what the exercise names",
            ),
        ),
        right=(
            lambda notebook: _trained(notebook, warmup_iters=0, epoch=3),
            lambda notebook: _trained(notebook, warmup_iters=0, epoch=3, seed=5, filelist="half.list"),
        ),
    ),
    Exercise(
        "ex-8-4",
        judge_num_samples,
        hints=(
            "In the schedule, an epoch is num_samples / batch_size steps.",
            "How many training videos are in the 2018 set? See notebook 03, or configs/attention_lstm.yaml.",
            "3,888,919",
        ),
        solution="answer = 3_888_919",
        note="Now the rate falls at step 18,990, where the fifth epoch really ends. With null, videos are counted.",
        mistakes=(
            (always(5_000_000), "that is the size of the 2017 set: the fault itself"),
            (always(1_112_356), "those are the validation videos"),
            (always(3844), "that is the number of shards"),
            (always(3.89), "the number looks like millions; give the number itself, such as 1_500_000 for 1.5 million"),
            (always(3_900_000), "the number is rounded too much; give more digits"),
            (always(3_700_000), "the number is too small"),
            (
                always(None),
                "in the file null would be right, as the videos are then counted; here, give their number",
            ),
        ),
        right=(always(STEPS * BATCH), always(3_889_000), *forms(always(VIDEOS))),
    ),
]
