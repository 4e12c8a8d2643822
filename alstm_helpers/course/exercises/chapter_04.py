"""Notebook 04: padding, the first step, a card's own rate, ways to go on, why a resumed cosine is another training."""

from __future__ import annotations

import math
from typing import Any

from alstm_helpers.course.exercises.core import Exercise, Names, as_number, equals


def shares(names: Names, *, longest: int = 0) -> tuple[float, float]:
    """Share of padding in random batches of 64 and of 2."""
    mixed = names.mixed
    of_64, of_2 = ([mixed[first : first + size] for first in range(0, len(mixed), size)] for size in (64, 2))
    return names.padding_share(of_64, longest), names.padding_share(of_2, longest)


def rates(names: Names, step: int = 99) -> tuple[float, float]:
    """The rate of a step in cosine plans of one epoch and of two, 100 steps each."""
    from alstm_helpers.training.train import learning_rate_at

    one, two = (learning_rate_at(step, 100, names.lab.config(TRAIN__epoch=epochs).TRAIN) for epochs in (1, 2))
    return one, two


WAYS = ("resume", "pretrain", "pretrain", "anew")
REASONS = (
    "1: the training is there whole, and nothing about it changes: --resume goes on exactly",
    "2: weights alone, and another last layer: --pretrain takes what fits",
    "3: another rate and other videos are another training; --pretrain starts it from the weights",
    "4: no array fits, so nothing is left to take over",
)


def judge_ways(answer: Any, names: Names, exercise: Exercise) -> str:
    """One word for each of four situations."""
    if isinstance(answer, str) or not isinstance(answer, list | tuple) or len(answer) != len(WAYS):
        return "four words are asked for, as a tuple"
    words = [str(word).strip().lower() for word in answer]
    odd = [word for word in words if word not in WAYS]
    if odd:
        return f"{odd[0][:40]!r} is none of the three: resume, pretrain, anew"
    return next((reason for word, way, reason in zip(words, WAYS, REASONS, strict=True) if word != way), "")


RATE, STEPS = 1e-3 * 48 / 1024, math.ceil(3_888_919 / 48)


def judge_warm_up(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of the step, beside the package's warm-up."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    if as_number(answer(0)) == 0:
        return "the first step has a rate of 0: it computes, and learns nothing"
    for step in (0, 1, 10, 24, 48, 49, 50, 1000):
        found, right = as_number(answer(step)), 0.002 * min(1, (step + 1) / 50)
        if found is None or abs(found - right) > 1e-9:
            return f"step {step} has a rate of {found}; a line from 0 that reaches 0.002 in step 49 gives {right:.6g}"
    return ""


def _jumps(step: int, base: float = 0.002, warmup: int = 50) -> float:
    return base * min(1, step // warmup)


def _goes_on(step: int, base: float = 0.002, warmup: int = 50) -> float:
    return base * (step + 1) / warmup


EXERCISES = [
    Exercise(
        "ex-4-1",
        equals(shares, within=0.01),
        hints=(
            "The cell above cuts `mixed` into batches of `size`; do the same with 64, and with 2.",
            "padding_share([mixed[first : first + 2] for first in range(0, len(mixed), 2)])",
            "Put both shares into a pair, that of 64 first.",
        ),
        solution=(
            "answer = tuple(\n"
            "    padding_share([mixed[first : first + n] for first in range(0, len(mixed), n)]) for n in (64, 2)\n"
            ")"
        ),
        note="The longest of 64 is nearly always a long one; the longer of 2 is not. Larger batches waste more.",
        mistakes=(
            (lambda names: shares(names)[::-1], "the order is 64 first, then 2"),
            (
                lambda names: shares(names, longest=60),
                "without a fixed length of 60: each batch is padded to its own longest",
            ),
            (
                lambda names: tuple(1 - share for share in shares(names)),
                "that is the share of real seconds; padding is the rest",
            ),
        ),
    ),
    Exercise(
        "ex-4-2",
        equals(lambda names: 1.0, within=0.005),
        hints=(
            "After one gradient g: m = (1 − ρ) g and r = (1 − ρ) g².",
            "The root holds r − m² = (1 − ρ) g² − (1 − ρ)² g² = ρ (1 − ρ) g²: how does that grow with g?",
            "The step is g divided by that root. g is above and below.",
        ),
        solution="answer = 1.0",
        note="The gradient cancels: RMSProp takes its size away, and the learning rate alone decides the first step.",
        mistakes=(
            (lambda names: 100.0, "so it would be with plain SGD; here the step is divided by the gradient's own size"),
            (lambda names: 10.0, "not the root of it: r grows with g², and its root with g"),
            (lambda names: 0.01, "the other way round would need a root that grows faster than g"),
            (lambda names: 1e4, "r grows with g², but the step is divided by its root"),
        ),
    ),
    Exercise(
        "ex-4-3",
        equals(lambda names: (RATE, STEPS), within=(1e-7, 0.5)),
        hints=(
            "The rate is proportional to the batch: it stands in the column lr / batch of the table above.",
            "1e-3 / 1024 for each video of the batch.",
            "The last batch of an epoch may be smaller; it is a step, too: round up.",
        ),
        solution="import math\n\nanswer = (1e-3 * 48 / 1024, math.ceil(3_888_919 / 48))",
        note="4.7e-5 and 81,020 steps: a small card takes many small steps.",
        mistakes=(
            (lambda names: (RATE, STEPS - 1), "the last, smaller batch is a step, too: round up"),
            (lambda names: (1e-3, STEPS), "1e-3 belongs to a batch of 1024; a smaller batch takes a smaller rate"),
            (
                lambda names: (1e-3 * math.sqrt(48 / 1024), STEPS),
                "the published recipes go in proportion, not with the root",
            ),
            (lambda names: (1e-3 * 1024 / 48, STEPS), "that is larger than 1e-3: the ratio is the other way round"),
        ),
    ),
    Exercise(
        "ex-4-4",
        judge_ways,
        hints=(
            "A resume needs everything to be as it was: plan, classes, sizes, data.",
            "--pretrain takes every array whose name and shape fit, and starts a new plan.",
            "Ask of each: may the plan stay as it is? If not: is there any array that fits?",
        ),
        solution='answer = ("resume", "pretrain", "pretrain", "anew")',
        note="A resume is the same training, a fine-tuning another one with a better start.",
        mistakes=(
            (lambda names: ("pretrain", *WAYS[1:]), REASONS[0]),
            (lambda names: ("resume", "resume", "pretrain", "anew"), REASONS[1]),
            (lambda names: ("resume", "pretrain", "resume", "anew"), REASONS[2]),
            (lambda names: ("resume", "pretrain", "pretrain", "pretrain"), REASONS[3]),
            (lambda names: "resume", "four words are asked for, as a tuple"),
        ),
    ),
    Exercise(
        "ex-4-5",
        equals(rates, within=(1e-6, 1e-6)),
        hints=(
            "lab.config(TRAIN__epoch=1).TRAIN is the section of a plan of one epoch; its schedule is the cosine.",
            "learning_rate_at(99, 100, section) is its last rate.",
            "The same step in the plan of two epochs: lab.config(TRAIN__epoch=2).TRAIN.",
        ),
        solution=(
            "from alstm_helpers.training.train import learning_rate_at\n\n"
            "answer = tuple(learning_rate_at(99, 100, lab.config(TRAIN__epoch=n).TRAIN) for n in (1, 2))"
        ),
        note="A cosine of one epoch has come down by then, one of two is half-way: a longer plan is another training.",
        mistakes=(
            (lambda names: rates(names)[::-1], "the plan of one epoch comes first"),
            (lambda names: rates(names, 100), "that is step 100, the first of the second epoch; steps count from 0"),
            (
                lambda names: (rates(names)[0], rates(names)[0]),
                "the second plan has two epochs: lab.config(TRAIN__epoch=2)",
            ),
        ),
    ),
    Exercise(
        "ex-4-6",
        judge_warm_up,
        hints=(
            "Print step // 50 for steps 0, 25, 49, 50: it is a whole number.",
            "With / instead of // it is a line, but the first step still has a rate of 0.",
            "base * min(1, (step + 1) / warmup)",
        ),
        solution=(
            "def rate(step, base=0.002, warmup=50):\n    return base * min(1, (step + 1) / warmup)\n\n\nanswer = rate"
        ),
        note="The package's `learning_rate_at` gives the same: the first step already learns a little.",
        mistakes=(
            (lambda names: _jumps, "the first step has a rate of 0: it computes, and learns nothing"),
            (
                lambda names: _goes_on,
                "step 50 has a rate of 0.00204; a line from 0 that reaches 0.002 in step 49 gives 0.002",
            ),
            (lambda names: 0.002, "that is a float; give the function itself, without calling it"),
        ),
    ),
]
