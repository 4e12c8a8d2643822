"""What a network in an ONNX file takes, and what its output means, which the file itself does not say.

It is read from a JSON file beside it, ``NAME.json`` or ``NAME.onnx.json``, whose keys are the fields of
:class:`PictureInput` or :class:`SoundInput`, or from the ``preprocessor_config.json`` that Hugging Face keeps with a
network. ``features.json`` keeps what was used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.pictures import Filter, Fit
from alstm_helpers.own_videos.presets import BYTE, IMAGENET, LARGEST_SIDE

Pooling: TypeAlias = Literal["mean", "first"]
Colours: TypeAlias = tuple[float, float, float]
_Side: TypeAlias = Annotated[int, Field(ge=4, le=LARGEST_SIDE)]


class _Input(BaseModel):
    """What both kinds have.

    Args:
        output: name of the output with the features, or its number from 0; None for the only one that has a row per
            input.
        pooling: what is taken of an output with a row for each of several tokens, or places: their mean, or the first
            (of a vision transformer the class token).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    output: Annotated[int, Field(ge=0, le=99)] | str | None = None
    pooling: Pooling | None = None


class PictureInput(_Input):
    """How pictures are made ready: squared, multiplied by ``scale``, less ``mean``, divided by ``std``.

    Args:
        size: side of the square, in pixels; None for what the network says, or 224.
        resize: pixels to which the shorter side is scaled before the middle is cut out; None for ``size``.
        squeeze: scale both sides to so many pixels; nothing is cut off then unless ``resize`` is larger than ``size``.
        filter: that it is scaled with.
        colours: their order.
        scale: of the bytes, such as 1/255 for numbers from 0 to 1. A network that takes bytes gets them as they are.
        mean, std: of each colour, in the order red, green, blue.
        layout: of the input; None for what its shape says.
    """

    size: _Side | None = None
    resize: _Side | None = None
    squeeze: bool = False
    filter: Filter = "area"
    colours: Literal["rgb", "bgr"] = "rgb"
    scale: float = Field(BYTE, gt=0)
    mean: Annotated[Colours, Field(strict=False)] = (0.0, 0.0, 0.0)
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False, min_length=3, max_length=3)] = (
        1,
        1,
        1,
    )
    layout: Literal["nchw", "nhwc"] | None = None

    kind: ClassVar[str] = "pictures"

    @property
    def is_normalised(self) -> bool:
        """Whether anything says how, and it is not as features of earlier versions were made."""
        said = self.model_fields_set & {"scale", "mean", "std"}
        return bool(said) and self != EARLIER and (self.scale, self.mean, self.std) != (1.0, (0.0,) * 3, (1.0,) * 3)

    def fit(self, side: int) -> Fit:
        """Return how a picture becomes a square of ``side`` pixels."""
        return Fit.described(side, self.resize, self.squeeze, self.filter)


class SoundInput(_Input):
    """How sound is made ready.

    Args:
        takes: ``logmel``, VGGish's pictures of 96 × 64, or the ``waveform`` itself.
        rate: samples per second, 16,000 for ``logmel``.
        frame, hop: seconds that a row of the output is of, and between two of them. A network whose input is one row of
            samples is given the whole clip and has them inside; others get the frames.
    """

    takes: Literal["logmel", "waveform"] = "waveform"
    rate: int = Field(16_000, ge=4_000, le=96_000)
    frame: float = Field(0.96, gt=0, le=30)
    hop: float = Field(0.96, gt=0.01, le=1)

    kind: ClassVar[str] = "sound"


AnyInput: TypeAlias = PictureInput | SoundInput
InputT = TypeVar("InputT", PictureInput, SoundInput)

EARLIER = PictureInput.model_validate({"output": 0, **IMAGENET})  # before it was kept
EARLIER_SOUND = SoundInput(takes="logmel", output=0)
HUGGING_FACE = "preprocessor_config.json"
_NOT_THREE = {"missing", "too_short", "too_long", "tuple_type"}  # pydantic's names of what is wrong with a tuple
_RESAMPLING: dict[object, Filter] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area", 5: "area"}


def input_beside(path: Path, kind: type[InputT]) -> InputT | None:
    """Return what the file beside a network says that it takes; None where there is none.

    Raises:
        AlstmError: the file cannot be used.
    """
    for beside in (path.with_suffix(".json"), path.with_name(f"{path.name}.json")):
        if beside.is_file():
            return parse_input(_read(beside), kind, beside)
    folders = [path.parent, *([path.parent.parent] if path.parent.name == "onnx" else [])]  # as Hugging Face lays out
    for beside in (folder / HUGGING_FACE for folder in folders if kind.kind == PictureInput.kind):
        if beside.is_file():
            try:
                values = _from_hugging_face(_read(beside), beside)
            except (TypeError, ValueError, KeyError, ZeroDivisionError) as error:
                remedy = "write a NAME.json beside the network instead"
                raise AlstmError(beside, f"not as transformers writes it ({error!r})", remedy) from None
            return parse_input(values, kind, beside)
    return None


def parse_input(values: object, kind: type[InputT], where: Path) -> InputT:
    """Check what a file says.

    Raises:
        AlstmError: a key is unknown, or its value impossible.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(map(str, first["loc"][:1]))
        remedy = f"it says what a network for {kind.kind} takes; its keys are {', '.join(kind.model_fields)}"
        problem = "not an object" if first["type"] == "model_type" else f"{key}: {first['msg'].lower()}"
        if first["type"] in _NOT_THREE:  # no key is required, but each of the numbers
            problem = f"{key}: it must be three numbers, for red, green and blue"
        raise AlstmError(where, problem, remedy) from None


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AlstmError(path, f"not readable as JSON ({error})", "correct it, or move it away") from None


def _from_hugging_face(found: object, where: Path) -> dict[str, object]:
    """Return the fields of :class:`PictureInput` for an image processor of Hugging Face's transformers.

    Raises:
        AlstmError: it has no numbers for its pictures, or not those that normalise them.
    """
    if not isinstance(found, dict) or not {"size", "image_mean", "do_resize", "do_normalize"} & found.keys():
        raise AlstmError(where, "it says nothing about pictures", "write a NAME.json beside the network instead")
    family = str(found.get("image_processor_type") or found.get("feature_extractor_type"))  # has defaults of its own
    mobile = family.startswith("MobileViT")
    values: dict[str, object] = {"colours": "bgr" if found.get("do_flip_channel_order", mobile) else "rgb"}
    values["filter"] = _RESAMPLING[found.get("resample", 2)]
    rescaled = found.get("do_rescale", True)
    values["scale"] = found.get("rescale_factor", BYTE) if rescaled else 1.0
    shift = 1.0 if rescaled and found.get("rescale_offset") else 0.0  # EfficientNet's: from -1
    mean: tuple[Any, ...] = (0.0,) * 3
    std: tuple[Any, ...] = (1.0,) * 3
    if found.get("do_normalize", not mobile):
        if not {"image_mean", "image_std"} <= found.keys():
            problem = "it normalises pictures, and does not say by which image_mean and image_std"
            raise AlstmError(where, problem, "add them, or write a NAME.json beside the network instead")
        mean, std = _three(found["image_mean"]), _three(found["image_std"])
        if found.get("include_top", family.startswith("EfficientNet")):
            std = tuple(each * each for each in std)  # it divides twice, by the root of the deviation
    numbers = all(type(each) in (int, float) for each in mean)
    values["mean"] = tuple(each + shift for each in mean) if numbers else mean
    share = 224 / 256 if family.startswith(("ConvNext", "Levit")) else None
    return {**values, "std": std, **_hugging_face_sides(found, share)}


def _three(values: Any) -> tuple[Any, ...]:
    """Return a value for each colour; some files have one for all."""
    return tuple(values) if isinstance(values, (list, tuple)) else (values,) * 3


def _hugging_face_sides(found: dict[str, Any], share: float | None) -> dict[str, object]:
    """Return ``size`` and ``resize``; ``share`` of the shorter side is cut out unless the file says how much."""
    size, crop = found.get("size"), found.get("crop_size")
    cropped = found.get("do_center_crop", crop is not None)
    side = _one_side(crop) if cropped and crop is not None else None
    if not found.get("do_resize", True):
        return {"size": side}
    share = found.get("crop_pct", share)
    shorter = size.get("shortest_edge") if isinstance(size, dict) else size if cropped or share else None
    if shorter is None:  # the whole picture, also where height and width are given
        whole = _one_side(size)
        return {"size": side or whole, "resize": whole, "squeeze": True}
    if share and side is None and shorter >= 384:  # ConvNeXt's; it cuts nothing from large pictures
        return {"size": shorter, "resize": shorter, "squeeze": True}
    if share:
        return {"size": side or shorter, "resize": int(shorter / share)}
    return {"size": side or shorter, "resize": shorter}


def _one_side(size: object) -> object:
    return size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
