"""Exercises of notebook 08: a large batch's own rate, a GPU's own rate, a warm-up that is not needed, the schedule."""

from __future__ import annotations

import json
import math

from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, numbers

NO_RUN = 'there is no such run yet: measure("low_rate_no_warmup", warmup_iters=0)'


def judge_pair_of_gaps(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge the GAPs after three and after eight epochs by whether they are plausible: trainings differ by machine."""
    three, eight = numbers(answer, 2)
    if max(three, eight) > 1:
        return "a GAP is at most 1; is that the loss?"
    if min(three, eight) < notebook.floor_gap - 0.05:
        return "that is below the floor; take the validation GAP of the last epoch"
    if eight <= three:
        return "eight epochs should end above three; the pair is (three, eight)"
    return ""


def logged_gap(notebook: Notebook) -> float:
    """Return the last validation GAP in the log of the run of exercise 8.3, or NaN if there is no such run."""
    log = notebook.lab.out_dir / "sweep" / "low_rate_no_warmup" / "train.jsonl"
    if not log.exists():
        return float("nan")
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return float([row for row in rows if row["kind"] == "valid"][-1]["gap"])


def judge_no_warm_up(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge the GAP by the log of the learner's own run."""
    if math.isnan(logged_gap(notebook)):
        return NO_RUN
    return equals(logged_gap, within=1e-6, otherwise="that is not the GAP that the run ended with")(
        answer, notebook, exercise
    )


RATE = 1e-3 * 32 / 1024


EXERCISES = [
    Exercise(
        "ex-8-1",
        judge_pair_of_gaps,
        hints=(
            'measure("large_3", batch_size=64, learning_rate=0.008) trains three epochs.',
            "Add epoch=8 for eight; outcome(…)[1] is the validation GAP at the end.",
            "Put both into a pair, and compare with outcome(by_batch[16])[1].",
        ),
        solution=(
            'three = measure("large_3", batch_size=64, learning_rate=0.008)\n'
            'eight = measure("large_8", batch_size=64, learning_rate=0.008, epoch=8)\n'
            "answer = (outcome(three)[1], outcome(eight)[1])"
        ),
        note="In three epochs it hardly leaves the floor; in eight it reaches the batch of 16. It needed steps.",
        mistakes=(
            (
                lambda notebook: (0.9, notebook.floor_gap),
                "eight epochs should end above three; the pair is (three, eight)",
            ),
            (always((7.9, 6.5)), "a GAP is at most 1; is that the loss?"),
            (always((0.0, 0.5)), "that is below the floor; take the validation GAP of the last epoch"),
            (always(0.4), "that is a float; give 2 numbers, as a tuple"),
        ),
    ),
    Exercise(
        "ex-8-2",
        equals(always(RATE), within=1e-7),
        hints=(
            "The rule: the rate is proportional to the batch.",
            "1e-3 belongs to 1024 videos.",
            "1e-3 * 32 / 1024",
        ),
        solution="answer = 1e-3 * 32 / 1024",
        note="Also try three times as much, and a third. If it is too low, the loss falls, but slowly, without jumps.",
        mistakes=(
            (always(1e-3 * 1024 / 32), "that is larger than 1e-3: a smaller batch needs a smaller rate"),
            (always(1e-3 / 1024), "that is the rate per video; the batch has 32 of them"),
            (
                always(1e-3 * math.sqrt(32 / 1024)),
                "the two recipes scale the rate in proportion to the batch, not with its root",
            ),
            (always(1.25e-4), "that is the rate for 128 videos"),
        ),
    ),
    Exercise(
        "ex-8-3",
        judge_no_warm_up,
        hints=(
            'done = measure("low_rate_no_warmup", warmup_iters=0) runs it.',
            "outcome(done) returns the loss and the GAP of the last validation.",
            "answer = outcome(done)[1]",
        ),
        solution='answer = outcome(measure("low_rate_no_warmup", warmup_iters=0))[1]',
        note="At this rate the warm-up costs steps and has no visible benefit: leave it out when steps are few.",
        mistakes=((always(0.5), NO_RUN),),
    ),
    Exercise(
        "ex-8-4",
        equals(always(3_888_919), within=0.5),
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
        ),
    ),
]
