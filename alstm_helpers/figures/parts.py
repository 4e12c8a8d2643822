"""Types of what the figures of one video show: numbers per second and stream, and labels with their contributions."""

from __future__ import annotations

from typing import TypedDict

from alstm_helpers.data.class_names import Label


class Streams(TypedDict):
    """One number per second for each stream; lists of T floats."""

    rgb: list[float]
    audio: list[float]


class ExplainedLabel(Label, Streams):
    """A label, and what each second contributed to its logit."""


class Explanation(TypedDict):
    """The attention of one video of ``seconds`` T (each stream sums to 1), and its best labels, best first."""

    video: str
    seconds: int
    attention: Streams
    labels: list[ExplainedLabel]


class Timeline(Explanation):
    """An explanation, and the score of the best label over time.

    ``over_time`` has T scores, each from the ``window`` seconds around one second alone.
    """

    window: int
    over_time: list[float]
