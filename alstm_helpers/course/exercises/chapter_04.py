"""Exercises of notebook 04: padding, the first step, a GPU's own rate, resume or fine-tune, a cosine, a warm-up."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from alstm_helpers.course.exercises.answers import a_type, as_number
from alstm_helpers.course.exercises.attempts import Attempt
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms, is_function


def padding_shares(notebook: Notebook, *, longest: int = 0) -> tuple[float, float]:
    """Return the share of padding in random batches of 64 and of 2; ``longest`` fixes the length in seconds."""
    mixed = notebook.mixed
    of_64, of_2 = ([mixed[first : first + size] for first in range(0, len(mixed), size)] for size in (64, 2))
    return notebook.padding_share(of_64, longest), notebook.padding_share(of_2, longest)


def cosine_rates(notebook: Notebook, step: int = 99) -> tuple[float, float]:
    """Return the rate of a step in cosine plans of one epoch and of two, with 100 steps per epoch."""
    sections = [notebook.lab.config(TRAIN__epoch=epochs).TRAIN for epochs in (1, 2)]

    from alstm_helpers.training.train import learning_rate_at

    one, two = (learning_rate_at(step, 100, section) for section in sections)
    return one, two


WAYS = ("resume", "pretrain", "pretrain", "scratch")
REASONS = (
    "1: the whole training is there, and nothing about it changes: --resume continues exactly",
    "2: only weights, and a different last layer: --pretrain takes what fits",
    "3: another rate and other videos make another training; --pretrain starts it from the weights",
    "4: no array fits, so nothing can be reused",
)


def judge_ways(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge one word for each of four situations."""
    given: object = [answer] if isinstance(answer, str) else answer
    if isinstance(answer, Mapping):
        keys = sorted(answer) if all(isinstance(key, int) for key in answer) else list(answer)
        given = [answer[key] for key in keys]
    text = ", ".join(map(str, given)).lower() if isinstance(given, list | tuple | np.ndarray) else ""
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", re.sub(r"\bfrom\W", "", text))
    if len(words) != len(WAYS):
        if words and not isinstance(answer, str):
            return f"the number of words is {len(words)}; give four, as a tuple"
        return f"that is {a_type(answer)}; give four words, as a tuple"
    unknown = [word for word in words if word not in WAYS]
    if unknown:
        return f"{unknown[0][:40]!r} is none of the three: resume, pretrain, scratch"
    return next((reason for word, way, reason in zip(words, WAYS, REASONS, strict=True) if word != way), "")


RATE, STEPS = 1e-3 * 48 / 1024, math.ceil(3_888_919 / 48)


def fault_of_warm_up(rate: Attempt, rng: np.random.Generator) -> str:
    """Compare a function of the step with a line over the warm-up, and return where they differ."""
    for options in ({}, {"base": float(rng.uniform(0.01, 1)), "warmup": int(rng.integers(5, 90))}):
        base, warmup = options.get("base", 0.002), int(options.get("warmup", 50))
        for step in (0, 1, *rng.integers(2, warmup, 3).tolist(), warmup - 2, warmup - 1, warmup, warmup + 1, 9999):
            returned = rate(step, **options)
            found, right = as_number(returned), base * min(1, (step + 1) / warmup)
            if found is None:
                shown = returned if isinstance(returned, float | np.floating) else a_type(returned)
                return f"for step {step} it returns {shown}; return one number"
            if step == found == 0:
                return "the first step has a rate of 0: it computes, but learns nothing"
            if not math.isclose(found, right, rel_tol=1e-6):
                line = f"on a line that rises by {base / warmup:.4g} with each step, step 0 included, up to {base:.4g}"
                return f"step {step} has a rate of {found:.6g}; {line}, it is {right:.6g}"
    return ""


def _jumps(step: int, base: float = 0.002, warmup: int = 50) -> float:
    return base * min(1, step // warmup)


def _never_levels_off(step: int, base: float = 0.002, warmup: int = 50) -> float:
    return base * (step + 1) / warmup


def _reaches_late(step: int, base: float = 0.002, warmup: int = 50) -> float:
    return base * min(1, (step + 1) / (warmup + 1))


def _typed_in(step: int, base: float = 0.002, warmup: int = 50) -> float:
    return 0.002 * min(1, (step + 1) / 50)


def _by_cases(step: int, base: float = 0.002, warmup: int = 50) -> np.float64:
    return np.float64(base) if step >= warmup - 1 else np.float64(base / warmup + step * base / warmup)


EXERCISES = [
    Exercise(
        "ex-4-1",
        equals(padding_shares, within=0.01),
        hints=(
            "The cell above cuts `mixed` into batches of `size`; do the same with 64, and with 2.",
            "padding_share([mixed[first : first + 2] for first in range(0, len(mixed), 2)])",
            "Put both shares into a pair, with that of 64 first.",
        ),
        solution=(
            "answer = tuple(\n"
            "    padding_share([mixed[first : first + n] for first in range(0, len(mixed), n)]) for n in (64, 2)\n"
            ")"
        ),
        note="The longest of 64 is nearly always a long one; the longer of 2 often is not. Larger batches waste more.",
        mistakes=(
            (lambda notebook: padding_shares(notebook)[::-1], "64 comes first, then 2"),
            (
                lambda notebook: padding_shares(notebook, longest=60),
                "that is with a fixed length of 60, or with 64 for both; pad each batch to its own longest video",
            ),
            (
                lambda notebook: tuple(1 - share for share in padding_shares(notebook)),
                "that is the share of real seconds; padding is the rest",
            ),
            (
                lambda notebook: tuple(100 * share for share in padding_shares(notebook)),
                "the first number looks like a percentage; give the share, such as 0.25 for 25 %",
            ),
        ),
        right=(
            lambda notebook: tuple(round(share, 2) for share in padding_shares(notebook)),
            *forms(padding_shares),
        ),
    ),
    Exercise(
        "ex-4-2",
        equals(always(1.0), within=0.005),
        hints=(
            "After one gradient g: m = (1 − ρ) g and r = (1 − ρ) g².",
            "The root holds r − m² = (1 − ρ) g² − (1 − ρ)² g² = ρ (1 − ρ) g²: how does that grow with g?",
            "The step is g divided by that root. g is in the numerator and in the denominator.",
        ),
        solution="answer = 1.0",
        note="The gradient cancels: RMSProp removes its size, and the learning rate alone sets the first step.",
        mistakes=(
            (always(100.0), "that would be plain SGD; here the step is divided by the gradient's own size"),
            (always(10.0), "that is the root of 100; r grows with g², so its root grows with g"),
            (always(0.01), "a smaller step would need a root that grows faster than g"),
            (always(1e4), "r grows with g², but the step is divided by its root"),
        ),
        right=(always(1), *forms(always(1.0))),
    ),
    Exercise(
        "ex-4-3",
        equals(always((RATE, STEPS)), within=(0.01 * RATE, 0.5)),
        hints=(
            "The rate is proportional to the batch: see the column lr / batch of the table above.",
            "1e-3 / 1024 per video of the batch.",
            "The last batch of an epoch may be smaller; it still counts as a step: round up.",
        ),
        solution="import math\n\nanswer = (1e-3 * 48 / 1024, math.ceil(3_888_919 / 48))",
        note="4.7e-5 and 81,020 steps: a small GPU takes many small steps.",
        mistakes=(
            (always((RATE, STEPS - 1)), "the last, smaller batch counts as a step, too: round up"),
            (always((1e-3, STEPS)), "1e-3 belongs to a batch of 1024; a smaller batch needs a smaller rate"),
            (
                always((1e-3 * math.sqrt(48 / 1024), STEPS)),
                "the published recipes scale the rate in proportion to the batch, not with its root",
            ),
            (always((1e-3 * 1024 / 48, STEPS)), "that is larger than 1e-3: the ratio is inverted"),
            (always((RATE, 81_000)), "the second number is rounded too much; give more digits"),
            (always((STEPS, RATE)), "the numbers are right, but in the wrong order"),
            (always((f"{RATE}", STEPS)), "not every element is a number; give 2 numbers, as a tuple"),
        ),
        right=(always((4.7e-5, 81_020)), always((RATE, float(STEPS))), *forms(always((RATE, STEPS)))),
    ),
    Exercise(
        "ex-4-4",
        judge_ways,
        hints=(
            "A resume needs everything unchanged: plan, classes, sizes, data.",
            "--pretrain takes every array whose name and shape fit, and starts a new plan.",
            "For each, ask: can the plan stay as it is? If not: does any array fit?",
        ),
        solution='answer = ("resume", "pretrain", "pretrain", "scratch")',
        note="A resume is the same training; fine-tuning is another one with a better start.",
        mistakes=(
            (always(("pretrain", *WAYS[1:])), REASONS[0]),
            (always(("resume", "resume", "pretrain", "scratch")), REASONS[1]),
            (always(("resume", "pretrain", "resume", "scratch")), REASONS[2]),
            (always(("resume", "pretrain", "pretrain", "pretrain")), REASONS[3]),
            (
                always(("resume", "finetune", "pretrain", "scratch")),
                "'finetune' is none of the three: resume, pretrain, scratch",
            ),
            (always("resume"), "that is a str; give four words, as a tuple"),
            (always(("resume", "fine tune", "pretrain", "scratch")), "the number of words is 5; give four, as a tuple"),
            (always(WAYS[:3]), "the number of words is 3; give four, as a tuple"),
        ),
        right=(
            always(list(WAYS)),
            always("1. resume, 2. pretrain, 3. pretrain, 4. from-scratch"),
            always(np.array(["Resume ", "--pretrain", "pretrain", "from scratch"])),
            always(dict(zip(("first", "second", "third", "fourth"), WAYS, strict=True))),
            always({number: WAYS[number - 1] for number in (4, 2, 1, 3)}),
        ),
    ),
    Exercise(
        "ex-4-5",
        equals(cosine_rates, within=(1e-6, 1e-5)),
        hints=(
            "lab.config(TRAIN__epoch=1).TRAIN is the section for a plan of one epoch; its schedule is the cosine.",
            "learning_rate_at(99, 100, section) is its last rate.",
            "The same step in the plan of two epochs: lab.config(TRAIN__epoch=2).TRAIN.",
        ),
        solution=(
            "from alstm_helpers.training.train import learning_rate_at\n\n"
            "answer = tuple(learning_rate_at(99, 100, lab.config(TRAIN__epoch=n).TRAIN) for n in (1, 2))"
        ),
        note="By then a cosine of one epoch has ended, and one of two is half-way: a longer plan is another training.",
        mistakes=(
            (lambda notebook: cosine_rates(notebook)[::-1], "the plan of one epoch comes first"),
            (
                lambda notebook: cosine_rates(notebook, 100),
                "that is step 100, the first of the second epoch; steps count from 0",
            ),
            (
                lambda notebook: (cosine_rates(notebook)[0], cosine_rates(notebook)[0]),
                "the second plan has two epochs: lab.config(TRAIN__epoch=2)",
            ),
        ),
        right=forms(cosine_rates),
    ),
    Exercise(
        "ex-4-6",
        is_function(fault_of_warm_up),
        hints=(
            "Print step // 50 for steps 0, 25, 49, 50: // gives a whole number.",
            "With / instead of // the rate is a line, but the first step still has a rate of 0.",
            "base * min(1, (step + 1) / warmup)",
        ),
        solution=(
            "def rate(step, base=0.002, warmup=50):\n    return base * min(1, (step + 1) / warmup)\n\n\nanswer = rate"
        ),
        note="The package's `learning_rate_at` gives the same: the first step already learns a little.",
        mistakes=(
            (always(_jumps), "the first step has a rate of 0: it computes, but learns nothing"),
            (
                always(_never_levels_off),
                "step 50 has a rate of 0.00204; "
                "on a line that rises by 4e-05 with each step, step 0 included, up to 0.002, it is 0.002",
            ),
            (
                always(_reaches_late),
                "step 0 has a rate of 3.92157e-05; "
                "on a line that rises by 4e-05 with each step, step 0 included, up to 0.002, it is 4e-05",
            ),
            (
                always(_typed_in),
                "step 0 has a rate of 4e-05; "
                "on a line that rises by … with each step, step 0 included, up to …, it is …",
            ),
            (always(lambda step: _by_cases(step)), "it raises a TypeError: …got an unexpected keyword argument 'base'"),
            (
                always(lambda step, base=0.002, warmup=50: str(_by_cases(step, base, warmup))),
                "for step 0 it returns a str; return one number",
            ),
            (always(0.002), "that is a float; give the function itself, without calling it"),
        ),
        right=(
            always(_by_cases),
            always(lambda step, *, warmup=50, base=0.002: _by_cases(step, base, warmup)),
            always(lambda step, base=0.002, warmup=50: np.array([base * np.minimum(1.0, (step + 1) / warmup)])),
        ),
    ),
]
