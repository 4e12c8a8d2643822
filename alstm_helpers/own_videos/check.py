"""Try a backbone on three inputs before it works on all clips: its numbers, and whether they tell the inputs apart."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.backbones import (
    ONNX,
    Fields,
    absolute,
    is_onnx,
    picture_backbone,
    picture_input,
    sound_backbone,
    sound_input,
)
from alstm_helpers.own_videos.inputs import AnyInput
from alstm_helpers.own_videos.onnx_backbones import LARGEST, Backbone
from alstm_helpers.own_videos.pictures import Fit


class Tried(NamedTuple):
    """An input, the range of the numbers for it, and the milliseconds that it took."""

    what: str
    smallest: float
    largest: float
    milliseconds: float


@dataclass(frozen=True)
class BackboneCheck:
    """What :func:`check_backbone` found.

    Args:
        takes: what a network in an ONNX file is given.
        sha256: of a network that was fetched, or that the user named.
        unit: what a second of a clip is for it.
        numbers: per second.
        tried: one for each input.
        apart: how far the inputs are from each other, as a share of the numbers' own size.
    """

    takes: AnyInput | None
    sha256: str | None
    unit: str
    numbers: int
    tried: list[Tried]
    apart: float


def check_backbone(name: str, *, sound: bool = False, given: Fields | None = None) -> BackboneCheck:
    """Turn three inputs into numbers, one at a time.

    Args:
        name: of the backbone.
        sound: whether it is for sound.
        given: what a network in an ONNX file takes, see :mod:`alstm_helpers.own_videos.inputs`.

    Raises:
        AlstmError: it cannot be used, some number is NaN or infinite, or all inputs have the same numbers.
    """
    name, given = absolute(name), given or {}
    takes: AnyInput | None
    if sound:
        takes = sound_input(name, given) if is_onnx(name, given, "--audio_like") else None
        hearing = sound_backbone(name, takes)
        return _tried(name, takes, hearing, _sounds(hearing.unit))
    takes = picture_input(name, given) if is_onnx(name, given, "--normalisation and --pooling") else None
    seeing = picture_backbone(name, takes)
    return _tried(name, takes, seeing, _pictures(seeing.unit))


def _pictures(fit: Fit) -> dict[str, np.ndarray]:
    """Return inputs of one second, (1, S, S, 3): one colour, a gradient with a disc, and noise."""
    side = fit.side
    across = np.linspace(0, 255, side)[None, :, None] * np.array([1, 0.5, 0.2])
    down = np.linspace(0, 120, side)[:, None, None] * np.array([0, 0.5, 1])
    rows, columns = np.mgrid[:side, :side]
    disc = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 4) ** 2
    shapes = np.where(disc[..., None], 255 - across, across + down).clip(0, 255)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3))
    pictures = {"grey": np.full((side, side, 3), 127), "a disc": shapes, "noise": noise}
    kind = np.float32 if fit.filter == "tensorflow1" else np.uint8
    return {what: picture[None].astype(kind) for what, picture in pictures.items()}


def _sounds(rate: int) -> dict[str, np.ndarray]:
    """Return inputs of one second, float32 (1, rate): silence, a tone of 440 Hz, and noise."""
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    noise = 0.3 * np.random.default_rng(0).standard_normal(rate)
    sounds = {"silence": np.zeros(rate), "440 Hz": tone, "noise": noise}
    return {what: sound[None].astype(np.float32) for what, sound in sounds.items()}


def _tried(
    name: str, takes: AnyInput | None, backbone: Backbone[Fit] | Backbone[int], inputs: dict[str, np.ndarray]
) -> BackboneCheck:
    rows, tried = [], []
    for what, values in inputs.items():
        backbone.call(values)  # the first call of a shape is slower
        start = time.perf_counter()
        row = backbone.call(values)[0]
        taken = (time.perf_counter() - start) * 1e3
        if not (np.abs(row) < LARGEST).all():
            problem = f"for {what} it gives NaN, infinity or a number beyond {LARGEST:g}"
            raise AlstmError(name, problem, "check its normalisation, or export another layer")
        rows.append(row)
        tried.append(Tried(what, float(row.min()), float(row.max()), taken))
    found = np.stack(rows)  # (3, D)
    apart = float(np.abs(found - found.mean(axis=0)).mean() / max(1e-12, float(np.abs(found).mean())))
    if apart < 1e-6:
        problem = "it gives the same numbers for different inputs, so it cannot tell clips apart"
        remedy = "check its normalisation and which output it has" if name.startswith(ONNX) else "use another"
        raise AlstmError(name, problem, remedy)
    unit = backbone.unit
    said = f"{unit.side} × {unit.side} pixels" if isinstance(unit, Fit) else f"{unit} samples"
    return BackboneCheck(takes, backbone.sha256, said, found.shape[1], tried, apart)
