"""Notebook 01: the softmax, the size of the model, what each pooling learnt."""

from __future__ import annotations

import math

import numpy as np

from alstm_helpers.exercises.core import Exercise, Names, equals


def count(lstm_size: int, *, inputs_of_fc: int | None = None) -> int:
    """Parameters of the full-size network with another LSTM state."""
    inputs = 4 * lstm_size if inputs_of_fc is None else inputs_of_fc
    streams = sum(dim * 512 + 512 for dim in (1024, 128)) + 2 * (8 * lstm_size * (512 + lstm_size + 2))
    return streams + 2 * (2 * lstm_size + 1) + inputs * 8192 + 8192 + 8192 * 4096 + 4096 + 4096 * 3862 + 3862


def mean_scores(names: Names, pooling: str, *, true: bool = True) -> tuple[float, float]:
    """Mean score of true (or of all) see and hear classes over the validation videos."""
    from alstm_helpers.dataset import read_batches
    from alstm_helpers.evaluate import score_batches
    from alstm_helpers.files import read_filelist

    shards = read_filelist(names.lab.config().VALID.filelist)
    found = list(score_batches(names.runs[pooling].net, read_batches(shards, 128, 20)))
    scores = np.concatenate([scores for _, scores, _ in found])
    chosen = np.concatenate([batch.labels for batch, _, _ in found]) > 0 if true else np.ones(scores.shape, bool)
    see, hear = (float(scores[:, part][chosen[:, part]].mean()) for part in (slice(0, 10), slice(10, 20)))
    return see, hear


EXERCISES = [
    Exercise(
        "ex-1-1",
        equals(lambda names: math.log(9), within=0.02),
        hints=(
            "Write s for the difference. The first weight is exp(s) / (exp(s) + 1): only the difference counts.",
            "Set that equal to 0.9 and solve for exp(s).",
            "exp(s) = 0.9 / 0.1. The number asked for is s, not exp(s).",
        ),
        solution="import math\n\nanswer = math.log(0.9 / 0.1)",
        note="A difference of 2.2 already gives 90 %: a softmax is sharp.",
        mistakes=(
            (lambda names: 9.0, "9 is the ratio of the two weights; the scores stand in an exponent"),
            (lambda names: 0.9, "with a difference of 0.9 the first weight is 71 %; the score is not the weight"),
            (lambda names: math.log10(9), "that is the logarithm to base 10; exp belongs to the natural one"),
            (lambda names: math.log(10), "the weights are 0.9 and 0.1, so their ratio is 9, not 10"),
        ),
    ),
    Exercise(
        "ex-1-2",
        equals(lambda names: count(512), within=0.5),
        hints=(
            "The function `count` of the notebook takes H.",
            "Sum its values: it returns the parameters part by part.",
            "sum(count(H=512).values())",
        ),
        solution="answer = sum(count(H=512).values())",
        note="The BiLSTM shrinks by two thirds: its weights from state to state go with H².",
        mistakes=(
            (lambda names: count(1024) / 2, "not everything goes with H: the last Linear layers keep their size"),
            (lambda names: count(1024), "that is the model with H = 1024"),
            (
                lambda names: count(512, inputs_of_fc=4096),
                "the first Linear layer reads 4 H numbers, so it shrinks, too",
            ),
            (lambda names: count(256), "that is a quarter of the state, H = 256"),
        ),
    ),
    Exercise(
        "ex-1-3",
        equals(lambda names: mean_scores(names, "last"), within=0.01),
        hints=(
            'runs["last"].net is the network; read_filelist(lab.config().VALID.filelist) names the shards.',
            "Join the scores of all batches, and the labels. labels > 0 picks the true classes of the true videos.",
            "scores[:, :10][labels[:, :10] > 0].mean() is the first of the two numbers.",
        ),
        solution=(
            "from alstm_helpers.dataset import read_batches\n"
            "from alstm_helpers.evaluate import score_batches\n"
            "from alstm_helpers.files import read_filelist\n\n"
            "shards = read_filelist(lab.config().VALID.filelist)\n"
            'found = list(score_batches(runs["last"].net, read_batches(shards, 128, 20)))\n'
            "s = np.concatenate([scores for _, scores, _ in found])  # (videos, 20)\n"
            "true = np.concatenate([batch.labels for batch, _, _ in found]) > 0\n"
            "answer = (s[:, :10][true[:, :10]].mean(), s[:, 10:][true[:, 10:]].mean())"
        ),
        note="The last state remembers hardly more than what came last; attention scores both streams far higher.",
        mistakes=(
            (lambda names: mean_scores(names, "last")[::-1], "see and hear are swapped: columns 0–9 are see"),
            (lambda names: mean_scores(names, "attention"), 'that is the attention model; take runs["last"]'),
            (
                lambda names: mean_scores(names, "last", true=False),
                "that is the mean over all classes; take only those that are true for the video",
            ),
        ),
    ),
]
