"""Backbones: networks and signal processing that turn pictures and sound into numbers, called on a clip's seconds.

============== ================================================= ==============================================
pictures       numbers per second                                fits published YouTube-8M weights
============== ================================================= ==============================================
yt8m           1024, finished: YouTube-8M's own network and PCA  yes, as far as Google's extractor does
flashdigits    1024, finished                                    no: FlashDigits only
inception_v3   2048, from paddle.vision, before its last layer   no: YouTube-8M's own PCA is missing
resnet50       2048, likewise                                    no
mobilenet_v2   1280, likewise                                    no
clip           512, quantised, from Hugging Face                 no
dinov2         384, likewise                                     no
onnx:PATH      as many as it gives                               only Inception-v3 followed by YouTube-8M's PCA
============== ================================================= ==============================================

============== =========================================================================================
sound          numbers per second
============== =========================================================================================
yt8m           128, finished: VGGish and its PCA, or bytes of 0 where a clip has no sound
none           128, finished: bytes of 0, as Google's extractor writes for every clip
flashdigits    128, finished
logmel         128: mean and standard deviation of 64 log-mel bands over the second, by VGGish's front end
onnx:PATH      from that front end's picture, 96 × 64, as VGGish, or from the samples, as YAMNet and PANNs
============== =========================================================================================

What a network in an ONNX file takes says :mod:`alstm_helpers.own_videos.inputs`.

To add a backbone, add an entry to ``_PICTURES`` or ``_SOUNDS``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from alstm_helpers.data.flashdigits import extract_audio, extract_rgb
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file
from alstm_helpers.own_videos import yt8m
from alstm_helpers.own_videos.flashdigits_clips import FILE_LEVEL, READ_RATE, shrink
from alstm_helpers.own_videos.inputs import (
    AnyInput,
    PictureInput,
    SoundInput,
    input_beside,
    parse_input,
)
from alstm_helpers.own_videos.onnx_backbones import (
    LOG_MEL_RATE,
    Backbone,
    log_mel,
    log_mel_summary,
    onnx_pictures,
    onnx_sound,
    prepared,
)
from alstm_helpers.own_videos.onnx_network import OnnxNetwork
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.presets import CLIP, IMAGENET, NORMALISATIONS, SOUNDS
from alstm_helpers.tfrecord import dequantize

ONNX = "onnx:"  # begins the name of a network of the user's
NO_SOUND = "none"  # among the backbones for sound
_WAY_OUT = "run it once with network access (the weights stay in the cache), or use --backbone onnx:PATH"
_IMAGENET = PictureInput.model_validate(IMAGENET)

Fields: TypeAlias = Mapping[str, object]
NOTHING: Fields = {}


@cache
def picture_backbone(name: str, takes: PictureInput | None = None) -> Backbone[Fit]:
    """Return a backbone for pictures, with its weights loaded.

    Args:
        name: see above.
        takes: what a network in an ONNX file takes; None for what the file beside it says.

    Raises:
        AlstmError: the name is unknown, the weights cannot be fetched, the ONNX file does not take pictures, or nothing
            says how they are normalised.
    """
    if name.startswith(ONNX):
        return onnx_pictures(_path_of(name), takes or picture_input(name))
    if name not in _PICTURES:
        raise _unknown("--backbone", name, _PICTURES)
    return _PICTURES[name]()


@cache
def sound_backbone(name: str, takes: SoundInput | None = None) -> Backbone[int]:
    """Return a backbone for sound; arguments and errors as for pictures."""
    if name.startswith(ONNX):
        return onnx_sound(_path_of(name), takes or sound_input(name))
    if name not in _SOUNDS:
        raise _unknown("--audio", name, _SOUNDS)
    return _SOUNDS[name]()


def _unknown(flag: str, name: str, known: Iterable[str]) -> AlstmError:
    """Return the error for a name that is none, or a path without ``onnx:``."""
    if name.lower().endswith(".onnx"):
        return AlstmError(
            f"{flag} {name}", "a network in an ONNX file is named with onnx:", f"pass {flag} {ONNX}{name}"
        )
    return AlstmError(f"{flag} {name}", "unknown backbone", f"choose {', '.join(known)} or onnx:PATH")


def _path_of(name: str) -> Path:
    """Return the path of the ONNX file, which exists.

    Raises:
        AlstmError: it does not.
    """
    remedy = "check the path after onnx:; if features.json names it, put it back there, or beside features.json"
    return require_file(Path(name.removeprefix(ONNX)), remedy)


def picture_input(name: str, given: Fields = NOTHING) -> PictureInput:
    """Return what a network for pictures in an ONNX file takes.

    Args:
        name: of the backbone, ``onnx:PATH``.
        given: fields that take the place of those in the file beside it.

    Raises:
        AlstmError: nothing says how pictures are normalised, and a guess would give numbers that look like features; or
            what is said is impossible.
    """
    path = _path_of(name)
    beside = input_beside(path, PictureInput)
    takes = parse_input({**_fields(beside), **given}, PictureInput, path)
    if beside or "scale" in given or OnnxNetwork(path, takes).dtype == np.uint8:
        return takes
    remedy = f"pass --normalisation, which is one of {', '.join(NORMALISATIONS)}, or write {path.stem}.json beside it"
    raise AlstmError(path, "nothing says how the pictures that it takes are normalised", remedy)


def sound_input(name: str, given: Fields = NOTHING) -> SoundInput:
    """Return what a network for sound takes; VGGish's pictures if nothing is said. Arguments and errors as above."""
    path = _path_of(name)
    beside = input_beside(path, SoundInput)
    return parse_input({**(_fields(beside) if beside else SOUNDS["vggish"]), **given}, SoundInput, path)


def _fields(takes: AnyInput | None) -> dict[str, object]:
    return takes.model_dump(exclude_unset=True) if takes else {}


def is_backbone(stream: str, name: object) -> bool:
    """Tell whether ``picture_backbone`` (for ``rgb``) or ``sound_backbone`` (for ``audio``) knows a name."""
    known = {*_PICTURES} if stream == "rgb" else {*_SOUNDS}
    return isinstance(name, str) and (name.startswith(ONNX) or name in known)


def is_onnx(name: str, given: Fields, flags: str) -> bool:
    """Tell whether a backbone is a network in an ONNX file; refuse flags that would do nothing for another."""
    if given and name in (*_PICTURES, *_SOUNDS):  # an unknown one is refused as such
        raise AlstmError(name, "what it takes is known", f"leave out {flags}, for onnx:PATH only")
    return name.startswith(ONNX)


def default_sound(pictures: str) -> str:
    """Return the backbone for the sound beside a backbone for pictures: the one of the same name, if there is one."""
    return pictures if pictures in _SOUNDS else "logmel"


def absolute(name: str) -> str:
    """Return the name of a backbone, which is the same from any folder."""
    return f"{ONNX}{Path(name.removeprefix(ONNX)).expanduser().absolute()}" if name.startswith(ONNX) else name


# --- FlashDigits --------------------------------------------------------------------------------------------------


def _flashdigits_pictures() -> Backbone[Fit]:
    return Backbone(Fit(64), lambda frames: dequantize(extract_rgb(shrink(frames))), finished=True)


def _flashdigits_sound() -> Backbone[int]:
    return Backbone(READ_RATE, lambda sound: dequantize(extract_audio(sound * FILE_LEVEL)), finished=True)


# --- networks of paddle.vision ------------------------------------------------------------------------------------


class _VisionNetwork(NamedTuple):
    """Where paddle.vision keeps a network's weights, and the side of its pictures in pixels."""

    module: str
    key: str
    side: int


_VISION_NETWORKS = {
    "inception_v3": _VisionNetwork("inceptionv3", "inception_v3", 299),
    "resnet50": _VisionNetwork("resnet", "resnet50", 224),
    "mobilenet_v2": _VisionNetwork("mobilenetv2", "mobilenetv2_1.0", 224),
}


def _vision_pictures(name: str) -> Backbone[Fit]:
    """Return a network of paddle.vision without its last layer, with its published weights."""
    from alstm_helpers.runtime import paddle

    arrays = _published_arrays(name)
    net = getattr(paddle.vision.models, name)(num_classes=0)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    missing = [key for key, shape in expected.items() if key not in arrays or arrays[key].shape != shape]
    if missing:
        problem = f"its weights lack {missing[0]}"
        raise AlstmError(f"--backbone {name}", problem, "install the version of Paddle in the lock file")
    net.set_state_dict({key: arrays[key] for key in expected})
    net.eval()

    def call(frames: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            output = net(paddle.to_tensor(prepared(frames, takes=_IMAGENET)))
        return np.asarray(output.numpy()).reshape(len(frames), -1)

    return Backbone(Fit(_VISION_NETWORKS[name].side), call)


def _published_arrays(name: str) -> Mapping[str, np.ndarray]:
    """Return the arrays of a network's published weights by name, fetched once."""
    from alstm_helpers.data.published import fetch_weights
    from alstm_helpers.model.weights import load_arrays

    network = _VISION_NETWORKS[name]
    url, md5 = importlib.import_module(f"paddle.vision.models.{network.module}").model_urls[network.key]
    return load_arrays(fetch_weights(url, md5=md5, way_out=_WAY_OUT))


# --- networks on Hugging Face -------------------------------------------------------------------------------------


class _HubNetwork(NamedTuple):
    """A file of a repository at a commit, the SHA-256 of its content, and what the network takes."""

    repository: str
    commit: str
    file: str
    sha256: str
    takes: PictureInput

    @property
    def address(self) -> str:
        """Where it is; ``HF_ENDPOINT`` names a mirror, as for Hugging Face's own tools."""
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return f"{endpoint.rstrip('/')}/{self.repository}/resolve/{self.commit}/{self.file}#sha256={self.sha256}"


_HUB_NETWORKS = {
    "clip": _HubNetwork(
        "Xenova/clip-vit-base-patch32",
        "d15189d7028b43f1d3e65039190477f6af591c2a",
        "onnx/vision_model_quantized.onnx",
        "583fd1110a514667812fee7d684952aaf82a99b959760c8d7dca7e0ab9839299",
        PictureInput.model_validate({**CLIP, "size": 224, "filter": "bicubic", "output": "image_embeds"}),
    ),
    "dinov2": _HubNetwork(
        "Xenova/dinov2-small",
        "c2bb04a51fab207c420665f1946016107bffc701",
        "onnx/model_quantized.onnx",
        "3afdc8bc63b50558d6e5770f5b799bb82455c2311183a2de43803f343a29d917",
        PictureInput.model_validate(
            {**IMAGENET, "size": 224, "resize": 256, "filter": "bicubic", "output": "last_hidden_state"}
            | {"pooling": "first"}
        ),
    ),
}


def _hub_pictures(name: str) -> Backbone[Fit]:
    """Return a network with one file on Hugging Face, fetched once."""
    return onnx_pictures(*hub_network(name))


def hub_network(name: str) -> tuple[Path, PictureInput]:
    """Return the file of a network on Hugging Face, fetched once, and what it takes.

    Raises:
        AlstmError: no answer, or other content.
    """
    from alstm_helpers.data.published import fetch_weights

    network = _HUB_NETWORKS[name]
    return fetch_weights(network.address, way_out=_WAY_OUT), network.takes


def hub_file(name: str, file: str, sha256: str, way_out: str) -> Path:
    """Return another file that Hugging Face keeps with a network, fetched once.

    Args:
        name: of the network.
        file: path in its repository.
        sha256: of its content.
        way_out: see :func:`alstm_helpers.data.published.fetch_weights`.

    Raises:
        AlstmError: no answer, or other content.
    """
    from alstm_helpers.data.published import fetch_weights

    return fetch_weights(_HUB_NETWORKS[name]._replace(file=file, sha256=sha256).address, way_out=way_out)


def network_of(stream: str, name: str, takes: AnyInput | None) -> tuple[Path, AnyInput] | None:
    """Return the ONNX file of a backbone and what it takes, which is ``takes`` if that is said; None for others."""
    if name.startswith(ONNX):
        return _path_of(name), takes or (picture_input(name) if stream == "rgb" else sound_input(name))
    return hub_network(name) if name in _HUB_NETWORKS else None


# --- YouTube-8M's own ---------------------------------------------------------------------------------------------


def _yt8m_pictures() -> Backbone[Fit]:
    made = yt8m.network("rgb")
    network = OnnxNetwork(made.path, PictureInput())
    fit = Fit(int(network.shape[1] or 0), squeeze=True, filter="tensorflow1")
    return Backbone(fit, lambda frames: yt8m.picture_bytes(network(frames)), finished=True, sha256=made.digest)


def _yt8m_sound() -> Backbone[int]:
    made = yt8m.network("audio")
    network = OnnxNetwork(made.path, SoundInput())

    def call(sound: np.ndarray) -> np.ndarray:
        return yt8m.sound_bytes(network(log_mel(sound)[..., None])) if sound.any() else yt8m.no_sound(len(sound))

    return Backbone(LOG_MEL_RATE, call, finished=True, sha256=made.digest)


def _no_sound() -> Backbone[int]:
    return Backbone(LOG_MEL_RATE, lambda sound: yt8m.no_sound(len(sound)), finished=True)


_PICTURES: dict[str, Callable[[], Backbone[Fit]]] = {
    "flashdigits": _flashdigits_pictures,
    **{name: partial(_vision_pictures, name) for name in _VISION_NETWORKS},
    **{name: partial(_hub_pictures, name) for name in _HUB_NETWORKS},
    "yt8m": _yt8m_pictures,
}
_SOUNDS: dict[str, Callable[[], Backbone[int]]] = {
    "flashdigits": _flashdigits_sound,
    "logmel": log_mel_summary,
    "yt8m": _yt8m_sound,
    NO_SOUND: _no_sound,
}
