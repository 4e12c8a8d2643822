"""Exercises of notebook 01: the softmax, the size of the model, what each pooling learns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

from alstm_helpers.course.exercises.answers import NotYet, a_type, as_number
from alstm_helpers.course.exercises.attempts import Attempt
from alstm_helpers.course.exercises.core import Exercise, Notebook, always, equals, forms, is_function
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


def mean_scores(notebook: Notebook, *, true_only: bool = True) -> tuple[float, float]:
    """Return the mean score of the *see* and of the *hear* classes over the validation videos.

    Args:
        notebook: has the trained network, ``net``.
        true_only: count only the classes that are true for a video.
    """
    lab, net = notebook.lab, notebook.net

    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.filelists import read_filelist
    from alstm_helpers.evaluation.evaluate import score_batches

    found = list(score_batches(net, read_batches(read_filelist(lab.config().VALID.filelist), 128, 20)))
    scores = np.concatenate([scores for _, scores, _ in found])  # (videos, 20)
    chosen = np.concatenate([batch.labels for batch, _, _ in found]) > 0 if true_only else np.ones(scores.shape, bool)
    see, hear = (float(scores[:, part][chosen[:, part]].mean()) for part in (slice(0, 10), slice(10, 20)))
    return see, hear


INFINITE = "exp of a large score on padding is infinite, and infinity times 0 is NaN: overwrite padding before exp"


def right_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the softmax over the seconds that are not padding, (B, T); a row of padding gives zeros."""
    scores = np.where(mask > 0, scores, -np.inf)
    largest = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    exponents = np.exp(scores - largest) * mask
    return np.asarray(exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30))


def fault_of_softmax(softmax: Attempt, rng: np.random.Generator) -> str:
    """Try a masked softmax on large scores and on padding, and return what is wrong with it."""
    longest = int(rng.integers(4, 9))
    lengths = np.array([longest, rng.integers(2, longest), 1, 0])
    mask = (np.arange(longest) < lengths[:, None]).astype(np.float32)  # (4, T)
    plain = rng.normal(0, 3, mask.shape).astype(np.float32)
    apart = plain + np.array([[0], [-1000], [-3000], [0]], np.float32)  # rows of very different sizes
    spread = plain + 2000 * mask * (np.arange(longest) == 1)  # second 1, where it is real
    trials = (
        (plain, "the weights of a row should be exp(score), divided by their sum over the row's real seconds"),
        (plain + 100, "a score of 100 gives a wrong result: subtract the largest score of the row first"),
        (apart, "a row of scores around -1000 gives a wrong result: subtract from each row its own largest score"),
        (spread, "a row with scores that are far apart gives a wrong result: subtract its largest real score"),
        (np.where(mask > 0, plain, 500), "a large score on padding spoils the row: look for the largest real score"),
    )
    for scores, message in trials:
        found, overflows = _tried(softmax, scores.astype(np.float32), mask)
        fault = _fault_of_weights(found, mask) if scores is plain else ""
        if fault:
            return fault
        if not np.abs(found - right_softmax(scores, mask)).max() < 1e-4:  # NaN is wrong, too
            is_last = scores is trials[-1][0]  # in which nothing but padding can overflow
            return INFINITE if is_last and overflows else message
    return ""


def _tried(softmax: Attempt, scores: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the weights, and whether a number became infinite on the way.

    Raises:
        NotYet: what it returns is no array.
    """
    overflows: list[str] = []
    with np.errstate(all="ignore", over="call", call=lambda kind, _: overflows.append(kind)):
        returned = softmax(scores, mask)
    try:
        return np.asarray(returned, dtype=float), bool(overflows)
    except (TypeError, ValueError):
        if isinstance(returned, list | tuple | np.ndarray) and len({np.size(row) for row in returned}) > 1:
            text = "it returns rows of different lengths; return as many numbers as there are scores, 0 on padding"
            raise NotYet(text) from None
        raise NotYet(f"it returns {a_type(returned)}; return an array") from None


def _fault_of_weights(found: np.ndarray, mask: np.ndarray) -> str:
    if found.shape != mask.shape:
        return f"for scores of shape {mask.shape} it returns an array of shape {found.shape}"
    if np.abs(found[:3] * (1 - mask[:3])).max() > 0:
        return "padding gets weight: multiply by the mask before you divide by the sum"
    return "" if (found[3] == 0).all() else "a row that is all padding should give zeros"


def _naive(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    exponents = np.exp(scores) * mask
    return np.asarray(exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30))


def _without_mask(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _large_negative(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _without_mask(np.where(mask > 0, scores, -1e9), mask)


def _masked_afterwards(scores: np.ndarray, mask: np.ndarray) -> object:
    return _without_mask(scores, mask) * mask


def _in_place(scores: np.ndarray, mask: np.ndarray) -> object:
    scores[mask == 0] = -1e9
    return _large_negative(scores, mask) * mask


def _by_hand(scores: np.ndarray, mask: np.ndarray, largest: Callable[[np.ndarray, np.ndarray], float]) -> object:
    """Apply the notebook's own function to each row."""
    rows = []
    for row, real in zip(scores, mask > 0, strict=True):
        exponents = np.exp(row - largest(row, real)) * real if real.any() else 0 * row
        rows.append(exponents / exponents.sum() if real.any() else exponents)
    return np.stack(rows)


def _row_by_row(scores: np.ndarray, mask: np.ndarray) -> list[list[float]]:
    rows = []
    for row, length in zip(scores, mask.sum(axis=1).astype(int), strict=True):
        exponents = np.exp(row[:length] - row[:length].max()) if length else row[:0]
        rows.append([*(exponents / max(exponents.sum(), 1e-30)).tolist(), *[0.0] * (len(row) - length)])
    return rows


# --- 1.4: the picture of the weights ------------------------------------------------------------------------------


def _loudest(notebook: Notebook) -> list[tuple[int, str]]:
    """Return the seconds with the highest audio weight, or nearly so, each with the label that sounds in it."""
    weights = np.asarray(notebook.look_audio[0])
    seconds = np.argsort(-weights)[: (weights > 0.95 * weights.max()).sum()].tolist()
    return [(second, _label_at(notebook, second)) for second in seconds]


def _label_at(notebook: Notebook, second: int) -> str:
    events = [event for event in notebook.clip.events if event.label >= 10 and event.start <= second < event.stop]
    return CLASS_NAMES[events[0].label] if events else "none"


def _beside(notebook: Notebook) -> tuple[int, str]:
    second = max(0, _loudest(notebook)[0][0] - 1)
    return second, _label_at(notebook, second)


def judge_picture(answer: object, notebook: Notebook, exercise: Exercise) -> str:
    """Judge a second and a label that were read from the figure of the weights."""
    second, label = _second_and_label(answer)
    if not 0 <= second < len(notebook.look_audio[0]):
        return "the video has no such second"
    if label.startswith("see"):
        return "that is a label of the pictures; the sound's labels begin with hear"
    labels = [name for right, name in _loudest(notebook) if abs(second - right) <= 1]
    if labels and label in (*labels, _label_at(notebook, round(second))):  # of the bar, or of the second as given
        return ""
    if labels:
        return "the second is right, but the label is not"
    if abs(second - int(np.argmax(notebook.look_rgb[0]))) <= 1:
        return "that second belongs to the upper row, the pictures; the sound's bars are below"
    return "the highest bar of the sound is elsewhere"


def _second_and_label(answer: object) -> tuple[float, str]:
    """Return the two parts of an answer, the label as the class is called.

    Raises:
        NotYet: it is not a pair of a number and a text.
    """
    if not isinstance(answer, list | tuple | np.ndarray) or len(answer) != 2:
        raise NotYet("give both, as a pair: the second and the label's name")
    second, label = answer
    if isinstance(second, str) and not isinstance(label, str):
        raise NotYet("the second comes first, then the label")
    number = as_number(second)
    if number is None or not isinstance(label, str | None):
        raise NotYet('the pair is a number and a text, such as (12, "hear 3")')
    return number, " ".join(re.findall("[a-z]+|[0-9]+", str(label).lower()))


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
            (always(2.0), "the number is too small"),
            (always("2.2"), "that is a str; give one number, without quotes"),
            (always(None), "that is None; give one number"),
        ),
        right=(always(2.2), always(np.float32(2.19)), *forms(always(math.log(9)))),
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
            (
                always(round(num_parameters(512) / 1e6, 1)),
                "the number looks like millions; give the number itself, such as 1_500_000 for 1.5 million",
            ),
            (always(round(num_parameters(512), -5)), "the number is rounded too much; give more digits"),
        ),
        right=forms(always(num_parameters(512))),
    ),
    Exercise(
        "ex-1-3",
        equals(lambda notebook: mean_scores(notebook), within=0.01),
        hints=(
            "net is your network; read_filelist(lab.config().VALID.filelist) returns the shards.",
            "Concatenate the scores of all batches, and their labels. labels > 0 selects each video's true classes.",
            "scores[:, :10][labels[:, :10] > 0].mean() is the first of the two numbers.",
        ),
        solution=(
            "from alstm_helpers.data.dataset import read_batches\n"
            "from alstm_helpers.data.filelists import read_filelist\n"
            "from alstm_helpers.evaluation.evaluate import score_batches\n\n"
            "shards = read_filelist(lab.config().VALID.filelist)\n"
            "found = list(score_batches(net, read_batches(shards, 128, 20)))\n"
            "s = np.concatenate([scores for _, scores, _ in found])  # (videos, 20)\n"
            "true = np.concatenate([batch.labels for batch, _, _ in found]) > 0\n"
            "answer = (s[:, :10][true[:, :10]].mean(), s[:, 10:][true[:, 10:]].mean())"
        ),
        note="The digits are learnt first; notebook 05 draws when each class is.",
        mistakes=(
            (lambda notebook: mean_scores(notebook)[::-1], "see and hear are swapped: columns 0–9 are see"),
            (
                lambda notebook: mean_scores(notebook, true_only=False),
                "that is the mean over all classes; take only the classes that are true for the video",
            ),
        ),
        right=forms(lambda notebook: mean_scores(notebook))[1:3],
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
                lambda notebook: (int(np.argmax(notebook.look_rgb[0])), _loudest(notebook)[0][1]),
                "that second belongs to the upper row, the pictures; the sound's bars are below",
            ),
            (lambda notebook: _loudest(notebook)[0][0], "give both, as a pair: the second and the label's name"),
            (lambda notebook: _loudest(notebook)[0][::-1], "the second comes first, then the label"),
            (
                lambda notebook: (_loudest(notebook)[0][0], "see 0"),
                "that is a label of the pictures; the sound's labels begin with hear",
            ),
            (
                lambda notebook: (_loudest(notebook)[0][0], "hear 99"),
                "the second is right, but the label is not",
            ),
            (
                lambda notebook: (len(notebook.look_audio[0]) + 5, _loudest(notebook)[0][1]),
                "the video has no such second",
            ),
        ),
        right=(
            lambda notebook: _loudest(notebook)[0],
            lambda notebook: [np.int64(_loudest(notebook)[0][0]), _loudest(notebook)[0][1].upper()],
            _beside,
            lambda notebook: (_loudest(notebook)[0][0] + 0.5, f" {_loudest(notebook)[0][1].replace(' ', '')} "),
        ),
    ),
    Exercise(
        "ex-1-5",
        is_function(fault_of_softmax),
        hints=(
            "Two faults: exp of a large number is infinite, and the mask is not used.",
            "Subtract the largest real score of each row (padding may hold anything); multiply by the mask.",
            "Divide by the sum, but never by 0: use np.maximum(sum, 1e-30).",
        ),
        solution=(
            "def softmax(scores, mask):\n"
            "    scores = np.where(mask > 0, scores, -1e9)  # padding never has the largest score of a row\n"
            "    exponents = np.exp(scores - scores.max(axis=1, keepdims=True)) * mask\n"
            "    return exponents / np.maximum(exponents.sum(axis=1, keepdims=True), 1e-30)\n\n\n"
            "answer = softmax"
        ),
        note="Try it on the scores above: no NaN, no weight on padding. `masked_softmax` does the same.",
        mistakes=(
            (always(_naive), "a score of 100 gives a wrong result: subtract the largest score of the row first"),
            (always(_without_mask), "padding gets weight: multiply by the mask before you divide by the sum"),
            (always(_large_negative), "a row that is all padding should give zeros"),
            (
                always(_masked_afterwards),
                "the weights of a row should be exp(score), divided by their sum over the row's real seconds",
            ),
            (
                always(lambda scores, mask: _naive(scores - scores[mask > 0].max(), mask)),
                "a row of scores around -1000 gives a wrong result: subtract from each row its own largest score",
            ),
            (
                always(lambda scores, mask: _naive(scores.astype(np.float64), mask)),
                "a row of scores around -1000 gives a wrong result: subtract from each row its own largest score",
            ),
            (
                always(lambda scores, mask: _naive(np.where(mask > 0, scores - scores[:, :1], 0), mask)),
                "a row with scores that are far apart gives a wrong result: subtract its largest real score",
            ),
            (
                always(lambda scores, mask: _naive(scores - scores.max(axis=1, keepdims=True), mask)),
                "a large score on padding spoils the row: look for the largest real score",
            ),
            (
                always(lambda scores, mask: _by_hand(scores, mask, lambda row, real: row.max())),
                "a large score on padding spoils the row: look for the largest real score",
            ),
            (always(lambda scores, mask: _by_hand(scores, mask, lambda row, real: row[real].max())), INFINITE),
            (
                always(lambda scores, mask: [row[: sum(real)] for row, real in zip(scores, mask > 0, strict=True)]),
                "it returns rows of different lengths; return as many numbers as there are scores, 0 on padding",
            ),
            (always(lambda scores, mask: "weights"), "it returns a str; return an array"),
            (always(_in_place), "it changes the data that it is given; work on a copy"),
            (always(lambda scores, mask: right_softmax(scores, mask)[0]), "for scores of shape … an array of shape …"),
            (always(lambda scores, mask: None), "it returns None; does it end with return?"),
            (always(lambda scores: scores), "it raises a TypeError: …takes 1 positional argument but 2 were given"),
            (always(0.5), "that is a float; give the function itself, without calling it"),
        ),
        right=(
            always(right_softmax),
            always(_row_by_row),
            always(lambda scores, mask: right_softmax(scores.astype(np.float64), mask > 0)),
        ),
    ),
]
