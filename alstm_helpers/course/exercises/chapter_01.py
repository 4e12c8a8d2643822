"""Exercises of notebook 01: the softmax, the size of the model, what each pooling learns."""

from __future__ import annotations

import math

import numpy as np

from alstm_helpers.course.exercises.core import (
    Exercise,
    Function,
    Notebook,
    NotYet,
    always,
    as_number,
    equals,
    is_function,
)
from alstm_helpers.data.flashdigits import CLASS_NAMES


def num_parameters(lstm_size: int, *, inputs_of_fc: int | None = None) -> int:
    """Return the number of parameters of the full-size network with another LSTM state.

    Args:
        lstm_size: H, size of the LSTM state per direction.
        inputs_of_fc: inputs of the first Linear layer; by default 4 H, two directions of two streams.
    """
    inputs = 4 * lstm_size if inputs_of_fc is None else inputs_of_fc
    streams = sum(dim * 512 + 512 for dim in (1024, 128)) + 2 * (8 * lstm_size * (512 + lstm_size + 2))
    return streams + 2 * (2 * lstm_size + 1) + inputs * 8192 + 8192 + 8192 * 4096 + 4096 + 4096 * 3862 + 3862


def mean_scores(notebook: Notebook, pooling: str, *, true_only: bool = True) -> tuple[float, float]:
    """Return the mean score of the *see* and of the *hear* classes over the validation videos.

    Args:
        notebook: has the trained networks, ``runs``, by pooling.
        pooling: of the network.
        true_only: count only the classes that are true for a video.
    """
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.filelists import read_filelist
    from alstm_helpers.evaluation.evaluate import score_batches

    shards = read_filelist(notebook.lab.config().VALID.filelist)
    found = list(score_batches(notebook.runs[pooling].net, read_batches(shards, 128, 20)))
    scores = np.concatenate([scores for _, scores, _ in found])  # (videos, 20)
    chosen = np.concatenate([batch.labels for batch, _, _ in found]) > 0 if true_only else np.ones(scores.shape, bool)
    see, hear = (float(scores[:, part][chosen[:, part]].mean()) for part in (slice(0, 10), slice(10, 20)))
    return see, hear


def right_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the softmax over the seconds that are not padding, (B, T); a row of padding gives zeros."""
    scores = np.where(mask > 0, scores, -np.inf)
    largest = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    exponents = np.exp(scores - largest) * mask
    return np.asarray(exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30))


def fault_of_softmax(softmax: Function) -> str:
    """Try a masked softmax on large scores and on padding, and return what is wrong with it."""
    rng = np.random.default_rng(0)
    mask = (np.arange(6) < np.array([[6], [4], [1], [0]])).astype(np.float32)
    scores = rng.normal(0, 3, (4, 6)).astype(np.float32)
    with np.errstate(all="ignore"):
        plain, high, low = (np.asarray(softmax(scores + shift, mask)) for shift in (0, 100, -1e4))
    if plain.shape != scores.shape:
        return f"for scores of shape {scores.shape} it returns an array of shape {plain.shape}"
    if not np.isfinite([high[:3], low[:3]]).all():
        return "a score of 100 gives NaN: subtract the largest score of the row first"
    if np.abs(plain[:3] * (1 - mask[:3])).max() > 0:
        return "padding gets weight: multiply by the mask before you divide by the sum"
    if not (plain[3] == 0).all():
        return "a row that is all padding should give zeros"
    if np.abs(plain - right_softmax(scores, mask)).max() > 1e-5 or np.abs(high - plain).max() > 1e-3:
        return "the weights of a row should sum to 1, and stay the same when all scores grow by the same amount"
    return ""


def _naive(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


def _without_mask(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _naive(scores - scores.max(axis=1, keepdims=True), mask)


def _large_negative(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _without_mask(np.where(mask > 0, scores, -1e9), mask)


def _loudest(notebook: Notebook) -> tuple[int, str]:
    """Return the second with the highest audio weight, and the label that sounds in it."""
    second = int(np.argmax(notebook.look_audio[0]))
    events = [event for event in notebook.clip.events if event.label >= 10 and event.start <= second < event.stop]
    return second, CLASS_NAMES[events[0].label] if events else "none"


def judge_picture(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a second and a label that were read from the figure of the weights."""
    second, label = _second_and_label(answer)
    right, name = _loudest(notebook)
    if not 0 <= second < len(notebook.look_audio[0]):
        return "the video has no such second"
    if label.startswith("see"):
        return "that is a label of the pictures; the sound's labels begin with hear"
    if abs(second - right) > 1:
        upper = int(np.argmax(notebook.look_rgb[0]))
        if abs(second - upper) <= 1:
            return "that second belongs to the upper row, the pictures; the sound's bars are below"
        return "the highest bar of the sound is elsewhere"
    return "" if label == name else "the second is right, but the label is not"


def _second_and_label(answer: object) -> tuple[float, str]:
    """Return the two parts of an answer, the label in lower case.

    Raises:
        NotYet: it is not a pair of a number and a text.
    """
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise NotYet("give both, as a pair: the second and the label's name")
    second, label = answer
    if isinstance(second, str) and not isinstance(label, str):
        raise NotYet("the second comes first, then the label")
    number = as_number(second)
    if number is None or not isinstance(label, str):
        raise NotYet('the pair is a number and a text, such as (12, "hear 3")')
    return number, " ".join(label.lower().split())


EXERCISES = [
    Exercise(
        "ex-1-1",
        equals(always(math.log(9)), within=0.02),
        hints=(
            "Write s for the difference. The first weight is exp(s) / (exp(s) + 1): only the difference counts.",
            "Set that equal to 0.9 and solve for exp(s).",
            "exp(s) = 0.9 / 0.1. The number asked for is s, not exp(s).",
        ),
        solution="import math\n\nanswer = math.log(0.9 / 0.1)",
        note="A difference of 2.2 already gives 90 %: a softmax is sharp.",
        mistakes=(
            (always(9.0), "9 is the ratio of the two weights; the scores are in the exponent"),
            (always(0.9), "with a difference of 0.9 the first weight is 71 %; the score is not the weight"),
            (always(math.log10(9)), "that is the logarithm to base 10; exp belongs to the natural one"),
            (always(math.log(10)), "the weights are 0.9 and 0.1, so their ratio is 9, not 10"),
        ),
    ),
    Exercise(
        "ex-1-2",
        equals(always(num_parameters(512)), within=0.5),
        hints=(
            "The notebook's function `count` takes H.",
            "It returns the parameters of each part: sum its values.",
            "sum(count(H=512).values())",
        ),
        solution="answer = sum(count(H=512).values())",
        note="The BiLSTM shrinks by two thirds: its state-to-state weights grow with H².",
        mistakes=(
            (
                always(num_parameters(1024) / 2),
                "not everything is proportional to H: the last Linear layers keep their size",
            ),
            (always(num_parameters(1024)), "that is the model with H = 1024"),
            (
                always(num_parameters(512, inputs_of_fc=4096)),
                "the first Linear layer reads 4 H numbers, so it shrinks as well",
            ),
            (always(num_parameters(256)), "that is H = 256, a quarter of the state"),
        ),
    ),
    Exercise(
        "ex-1-3",
        equals(lambda notebook: mean_scores(notebook, "last"), within=0.01),
        hints=(
            'runs["last"].net is the network; read_filelist(lab.config().VALID.filelist) returns the shards.',
            "Concatenate the scores of all batches, and their labels. labels > 0 selects each video's true classes.",
            "scores[:, :10][labels[:, :10] > 0].mean() is the first of the two numbers.",
        ),
        solution=(
            "from alstm_helpers.data.dataset import read_batches\n"
            "from alstm_helpers.data.filelists import read_filelist\n"
            "from alstm_helpers.evaluation.evaluate import score_batches\n\n"
            "shards = read_filelist(lab.config().VALID.filelist)\n"
            'found = list(score_batches(runs["last"].net, read_batches(shards, 128, 20)))\n'
            "s = np.concatenate([scores for _, scores, _ in found])  # (videos, 20)\n"
            "true = np.concatenate([batch.labels for batch, _, _ in found]) > 0\n"
            "answer = (s[:, :10][true[:, :10]].mean(), s[:, 10:][true[:, 10:]].mean())"
        ),
        note="The last state remembers little but the end of the video; attention scores both streams far higher.",
        mistakes=(
            (lambda notebook: mean_scores(notebook, "last")[::-1], "see and hear are swapped: columns 0–9 are see"),
            (lambda notebook: mean_scores(notebook, "attention"), 'that is the attention model; take runs["last"]'),
            (
                lambda notebook: mean_scores(notebook, "last", true_only=False),
                "that is the mean over all classes; take only the classes that are true for the video",
            ),
        ),
    ),
    Exercise(
        "ex-1-4",
        judge_picture,
        hints=(
            "The lower row of bars belongs to the sound. Find its highest bar, and read the second below it.",
            "Which band is the bar in? The table of events at the beginning gives the seconds of each label.",
            'The label is one of "hear 0" … "hear 9", or "none" if the bar is outside every band.',
        ),
        solution=(
            "second = int(look_audio[0].argmax())\n"
            "label = next((CLASS_NAMES[e.label] for e in clip.events\n"
            '              if e.label >= 10 and e.start <= second < e.stop), "none")\n'
            "answer = (second, label)"
        ),
        note="Read a figure of weights bar by bar: where are they high, and did something happen there?",
        mistakes=(
            (
                lambda notebook: (int(np.argmax(notebook.look_rgb[0])), _loudest(notebook)[1]),
                "that second belongs to the upper row, the pictures; the sound's bars are below",
            ),
            (lambda notebook: _loudest(notebook)[0], "give both, as a pair: the second and the label's name"),
            (lambda notebook: _loudest(notebook)[::-1], "the second comes first, then the label"),
            (
                lambda notebook: (_loudest(notebook)[0], "see 0"),
                "that is a label of the pictures; the sound's labels begin with hear",
            ),
            (
                lambda notebook: (len(notebook.look_audio[0]) + 5, _loudest(notebook)[1]),
                "the video has no such second",
            ),
        ),
    ),
    Exercise(
        "ex-1-5",
        is_function(fault_of_softmax),
        hints=(
            "Two faults: exp of a large number is infinite, and the mask is not used.",
            "Subtract the largest score of each row; multiply the exponents by the mask.",
            "Divide by the sum, but never by 0: use np.maximum(sum, 1e-30).",
        ),
        solution=(
            "def softmax(scores, mask):\n"
            "    exponents = np.exp(scores - scores.max(axis=1, keepdims=True)) * mask\n"
            "    return exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30)\n\n\n"
            "answer = softmax"
        ),
        note="Try it on the scores above: no NaN, no weight on padding. `masked_softmax` does the same.",
        mistakes=(
            (always(_naive), "a score of 100 gives NaN: subtract the largest score of the row first"),
            (always(_without_mask), "padding gets weight: multiply by the mask before you divide by the sum"),
            (always(_large_negative), "a row that is all padding should give zeros"),
            (always(0.5), "that is a float; give the function itself, without calling it"),
        ),
    ),
]
