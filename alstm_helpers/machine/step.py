"""What a training step of the course's network takes here, with both streams at once and one after the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alstm_helpers.machine.bench_model import course_model, noise_batch, train_epoch
from alstm_helpers.machine.measure import alternate, here

LENGTH = 40  # seconds of each video
PATIENCE = 1.0  # seconds after which no further round begins


class StepTimes(NamedTuple):
    """Milliseconds of a training step by the wall clock, the median of several."""

    at_once: float
    in_turn: float


def step_times() -> StepTimes:
    """Measure steps of the 64/64 network on 64 videos of noise, both ways by turns; takes a few seconds."""
    batch = noise_batch(LENGTH)
    net, optimizer = course_model()

    def step(at_once: bool) -> None:
        net.streams_at_once = at_once
        train_epoch(net, optimizer, [batch])

    samples = alternate({"once": here(lambda: step(True)), "turn": here(lambda: step(False))}, PATIENCE)
    return StepTimes(*(1000 * float(np.median([sample.wall for sample in samples[way]])) for way in ("once", "turn")))
