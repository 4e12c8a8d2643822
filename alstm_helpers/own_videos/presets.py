"""What well-known families of networks take: fields of :mod:`alstm_helpers.own_videos.inputs` by the name of a flag."""

from __future__ import annotations

DEFAULT_SIDE, LARGEST_SIDE = 224, 2048  # of pictures in pixels
BYTE = 1 / 255
IMAGENET = {"scale": BYTE, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP = {  # of open_clip and of OpenAI's weights
    "scale": BYTE,
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}

_AS_IT_IS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # said, or a file beside the network would say others

NORMALISATIONS: dict[str, dict[str, object]] = {
    "imagenet": IMAGENET,
    "clip": CLIP,
    "unit": {"scale": BYTE, **_AS_IT_IS},  # 0 to 1
    "signed": {"scale": BYTE, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},  # −1 to 1
    "bytes": {"scale": 1.0, **_AS_IT_IS},  # 0 to 255
}
SOUNDS: dict[str, dict[str, object]] = {
    "vggish": {"takes": "logmel"},
    "yamnet": {"takes": "waveform", "rate": 16_000, "frame": 0.96, "hop": 0.48},
    "panns": {"takes": "waveform", "rate": 32_000, "frame": 1.0, "hop": 1.0},
}
