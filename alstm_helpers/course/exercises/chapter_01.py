"""Notebook 01: the softmax, the size of the model, what each pooling learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from alstm_helpers.course.exercises.core import Exercise, Names, as_number, equals
from alstm_helpers.data.flashdigits import CLASS_NAMES


def count(lstm_size: int, *, inputs_of_fc: int | None = None) -> int:
    """Parameters of the full-size network with another LSTM state."""
    inputs = 4 * lstm_size if inputs_of_fc is None else inputs_of_fc
    streams = sum(dim * 512 + 512 for dim in (1024, 128)) + 2 * (8 * lstm_size * (512 + lstm_size + 2))
    return streams + 2 * (2 * lstm_size + 1) + inputs * 8192 + 8192 + 8192 * 4096 + 4096 + 4096 * 3862 + 3862


def mean_scores(names: Names, pooling: str, *, true: bool = True) -> tuple[float, float]:
    """Mean score of true (or of all) see and hear classes over the validation videos."""
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.evaluation.evaluate import score_batches
    from alstm_helpers.files import read_filelist

    shards = read_filelist(names.lab.config().VALID.filelist)
    found = list(score_batches(names.runs[pooling].net, read_batches(shards, 128, 20)))
    scores = np.concatenate([scores for _, scores, _ in found])
    chosen = np.concatenate([batch.labels for batch, _, _ in found]) > 0 if true else np.ones(scores.shape, bool)
    see, hear = (float(scores[:, part][chosen[:, part]].mean()) for part in (slice(0, 10), slice(10, 20)))
    return see, hear


def right_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    scores = np.where(mask > 0, scores, -np.inf)
    largest = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    exponents = np.exp(scores - largest) * mask
    return np.asarray(exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30))


def judge_softmax(answer: Any, names: Names, exercise: Exercise) -> str:
    """A function of scores and mask, tried on what breaks the naive one."""
    if not callable(answer):
        return f"that is a {type(answer).__name__}; give the function itself, without calling it"
    rng = np.random.default_rng(0)
    mask = (np.arange(6) < np.array([[6], [4], [1], [0]])).astype(np.float32)
    scores = rng.normal(0, 3, (4, 6)).astype(np.float32)
    with np.errstate(all="ignore"):
        plain, high, low = (np.asarray(answer(scores + shift, mask)) for shift in (0, 100, -1e4))
    if plain.shape != scores.shape:
        return f"for scores {scores.shape} it gives an array {plain.shape}"
    if not np.isfinite(high[:3]).all() or not np.isfinite(low[:3]).all():
        return "a score of 100 gives NaN: subtract the largest score of the row first"
    if np.abs(plain[:3] * (1 - mask[:3])).max() > 0:
        return "padding gets weight: multiply by the mask before you divide by the sum"
    if not np.isfinite(plain[3]).all() or plain[3].any():
        return "a row that is all padding should give zeros"
    if np.abs(plain - right_softmax(scores, mask)).max() > 1e-5 or np.abs(high - plain).max() > 1e-3:
        return "the weights of a row should sum to 1, and not change when all scores grow by the same"
    return ""


def _naive(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


def _without_mask(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _naive(scores - scores.max(axis=1, keepdims=True), mask)


def _large_negative(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _without_mask(np.where(mask > 0, scores, -1e9), mask)


def _heard(names: Names) -> tuple[int, str]:
    """The second of the sound's highest weight, and the label that sounds there."""
    second = int(np.argmax(names.look_audio[0]))
    events = [event for event in names.clip.events if event.label >= 10 and event.start <= second < event.stop]
    return second, CLASS_NAMES[events[0].label] if events else "none"


def judge_picture(answer: Any, names: Names, exercise: Exercise) -> str:
    """A second and a label, read from the picture."""
    if isinstance(answer, str) or not isinstance(answer, list | tuple) or len(answer) != 2:
        return "give both, as a pair: the second and the label's name"
    second, label = as_number(answer[0]), answer[1]
    if isinstance(answer[0], str) and not isinstance(label, str):
        return "the second comes first, then the label"
    if second is None or not isinstance(label, str):
        return 'the pair is a number and a text, such as (12, "hear 3")'
    right, name = _heard(names)
    if not 0 <= second < len(names.look_audio[0]):
        return "the video has no such second"
    if label.strip().lower().startswith("see"):
        return "that is a label of the pictures; the sound's labels begin with hear"
    if abs(second - right) > 1:
        upper = int(np.argmax(names.look_rgb[0]))
        if abs(second - upper) <= 1:
            return "that second belongs to the upper row, the pictures; the sound's bars are below"
        return "the highest bar of the sound stands elsewhere"
    return "" if " ".join(label.lower().split()) == name else "the second is right; the label there is another one"


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
            "from alstm_helpers.data.dataset import read_batches\n"
            "from alstm_helpers.evaluation.evaluate import score_batches\n"
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
    Exercise(
        "ex-1-4",
        judge_picture,
        hints=(
            "The lower row of bars is the sound's. Find its highest bar, and read the second below it.",
            "Which band does the bar stand in? The table of events at the beginning has the seconds of each label.",
            'The label is one of "hear 0" … "hear 9", or "none" if the bar stands in no band.',
        ),
        solution=(
            "second = int(look_audio[0].argmax())\n"
            "label = next((CLASS_NAMES[e.label] for e in clip.events\n"
            '              if e.label >= 10 and e.start <= second < e.stop), "none")\n'
            "answer = (second, label)"
        ),
        note="A picture of weights is read bar by bar: where is it high, and was something there?",
        mistakes=(
            (
                lambda names: (int(np.argmax(names.look_rgb[0])), _heard(names)[1]),
                "that second belongs to the upper row, the pictures; the sound's bars are below",
            ),
            (lambda names: _heard(names)[0], "give both, as a pair: the second and the label's name"),
            (lambda names: _heard(names)[::-1], "the second comes first, then the label"),
            (
                lambda names: (_heard(names)[0], "see 0"),
                "that is a label of the pictures; the sound's labels begin with hear",
            ),
            (
                lambda names: (len(names.look_audio[0]) + 5, _heard(names)[1]),
                "the video has no such second",
            ),
        ),
    ),
    Exercise(
        "ex-1-5",
        judge_softmax,
        hints=(
            "Two faults: exp of a large number is infinite, and nobody looks at the mask.",
            "Subtract the largest score of each row; multiply the exponents by the mask.",
            "Divide by the sum, but never by 0: np.maximum(sum, 1e-30).",
        ),
        solution=(
            "def softmax(scores, mask):\n"
            "    exponents = np.exp(scores - scores.max(axis=1, keepdims=True)) * mask\n"
            "    return exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30)\n\n\n"
            "answer = softmax"
        ),
        note="Try it on the scores above: no NaN, no weight on padding. `masked_softmax` does the same.",
        mistakes=(
            (lambda names: _naive, "a score of 100 gives NaN: subtract the largest score of the row first"),
            (lambda names: _without_mask, "padding gets weight: multiply by the mask before you divide by the sum"),
            (lambda names: _large_negative, "a row that is all padding should give zeros"),
            (lambda names: 0.5, "that is a float; give the function itself, without calling it"),
        ),
    ),
]
