"""Notebook 08: a large batch's own rate, a card's own rate, a ramp that is not needed."""

from __future__ import annotations

import json
import math
from typing import Any

from alstm_helpers.course.exercises.core import Exercise, Names, equals, numbers

NO_RUN = 'there is no such run yet: measure("low_rate_no_warmup", warmup_iters=0)'


def judge_pair_of_gaps(answer: Any, names: Names, exercise: Exercise) -> str:
    """GAP after three and after eight epochs; trainings differ from machine to machine, so what is plausible."""
    found = numbers(answer, 2)
    if isinstance(found, str):
        return found
    three, eight = found
    if max(found) > 1:
        return "a GAP is at most 1; is that the loss?"
    if min(found) < names.floor_gap - 0.05:
        return "that is below the floor; take the validation GAP of the last epoch"
    if eight <= three:
        return "eight epochs should end above three; the pair is (three, eight)"
    return ""


def logged_gap(names: Names) -> float:
    """The last validation GAP that the run of exercise 8.3 left in its log."""
    log = names.lab.out_dir / "sweep" / "low_rate_no_warmup" / "train.jsonl"
    if not log.exists():
        return float("nan")
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return float([row for row in rows if row["kind"] == "valid"][-1]["gap"])


def judge_no_ramp(answer: Any, names: Names, exercise: Exercise) -> str:
    """The GAP that the learner's own run has in its log."""
    right = logged_gap(names)
    if math.isnan(right):
        return NO_RUN
    return equals(lambda _: right, within=1e-6, otherwise="that is not the GAP that the run ended with")(
        answer, names, exercise
    )


RATE = 1e-3 * 32 / 1024


EXERCISES = [
    Exercise(
        "ex-8-1",
        judge_pair_of_gaps,
        hints=(
            'measure("large_3", batch_size=64, learning_rate=0.008) trains three epochs.',
            "epoch=8 besides, for eight; outcome(…)[1] is the validation GAP at the end.",
            "Put both into a pair, and compare with outcome(by_batch[16])[1].",
        ),
        solution=(
            'three = measure("large_3", batch_size=64, learning_rate=0.008)\n'
            'eight = measure("large_8", batch_size=64, learning_rate=0.008, epoch=8)\n'
            "answer = (outcome(three)[1], outcome(eight)[1])"
        ),
        note="In three epochs it hardly leaves the floor; in eight it reaches the batch of 16. It needed steps.",
        mistakes=(
            (lambda names: (0.9, names.floor_gap), "eight epochs should end above three; the pair is (three, eight)"),
            (lambda names: (7.9, 6.5), "a GAP is at most 1; is that the loss?"),
            (lambda names: (0.0, 0.5), "that is below the floor; take the validation GAP of the last epoch"),
            (lambda names: 0.4, "that is a float of 1; 2 numbers are asked for, as a tuple"),
        ),
    ),
    Exercise(
        "ex-8-2",
        equals(lambda names: RATE, within=1e-7),
        hints=(
            "The rule: the rate goes in proportion to the batch.",
            "1e-3 belongs to 1024 videos.",
            "1e-3 * 32 / 1024",
        ),
        solution="answer = 1e-3 * 32 / 1024",
        note="Try three times as much and a third, too. Too low: the loss falls, but slowly, and never jumps.",
        mistakes=(
            (lambda names: 1e-3 * 1024 / 32, "that is larger than 1e-3: a smaller batch takes a smaller rate"),
            (lambda names: 1e-3 / 1024, "that is the rate for each video of the batch; there are 32"),
            (lambda names: 1e-3 * math.sqrt(32 / 1024), "the two recipes go in proportion, not with the root"),
            (lambda names: 1.25e-4, "that is the rate of 128 videos"),
        ),
    ),
    Exercise(
        "ex-8-3",
        judge_no_ramp,
        hints=(
            'done = measure("low_rate_no_warmup", warmup_iters=0) runs it.',
            "outcome(done) gives loss and GAP of the last validation.",
            "answer = outcome(done)[1]",
        ),
        solution='answer = outcome(measure("low_rate_no_warmup", warmup_iters=0))[1]',
        note="At this rate the ramp costs steps and saves nothing that shows: leave it out where steps are few.",
        mistakes=((lambda names: 0.5, NO_RUN),),
    ),
    Exercise(
        "ex-8-4",
        equals(lambda names: 3_888_919, within=0.5),
        hints=(
            "The schedule counts its epochs in num_samples / batch_size steps.",
            "How many training videos has the 2018 set? Notebook 03 says it, and so does configs/attention_lstm.yaml.",
            "3,888,919",
        ),
        solution="answer = 3_888_919",
        note="With it the rate falls at step 18,990, where the fifth epoch really ends. Null counts the videos itself.",
        mistakes=(
            (lambda names: 5_000_000, "that is the number of the 2017 set, the fault itself"),
            (lambda names: 1_112_356, "those are the validation videos"),
            (lambda names: 3844, "that is the number of shards"),
        ),
    ),
]
