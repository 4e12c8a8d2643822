"""Which seconds carried which label of a video, as numbers and as a picture.

Attention alone says which seconds the network used, the same for all labels. What a label owes to a second is its
weight times the gradient of the label's logit for that weight (gradient × input; A. Shrikumar et al.,
arXiv:1605.01713): how much the logit rests on it, to first order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.data.dataset import collate
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, safe_name, write_json
from alstm_helpers.metrics import best_classes
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.pickles import load_shard
from alstm_helpers.runtime import paddle
from alstm_helpers.tfrecord import Video

STREAMS = ("rgb", "audio")


def explain(
    net: AttentionLSTM, video: Video, *, top_k: int = 5, class_names: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """The attention of a video, and for each of its best labels what every second contributed.

    Args:
        net: with attention pooling; it scores as in evaluation.
        video: its labels are not needed.
        top_k: labels to explain.
        class_names: of the classes.

    Returns:
        ``video``, ``seconds`` T, ``attention`` ``{"rgb": [T], "audio": [T]}`` (each sums to 1), and ``labels``, best
        first: ``index``, ``name``, ``score``, ``rgb`` [T] and ``audio`` [T], the contributions to the label's logit.

    Raises:
        AlstmError: the video has no second, or the network has no attention.
    """
    name = video.id.decode(errors="backslashreplace")
    if not video.num_frames:
        raise AlstmError(f"video {name}", "it has no second", "choose another one")
    if net.pooling != "attention":
        raise AlstmError("MODEL.pooling", f"{net.pooling} has no attention to explain", "set it to attention")
    batch = collate([video._replace(labels=())], 0)
    inputs = [paddle.to_tensor(array) for array in (batch.rgb, batch.audio, batch.lengths)]
    training = net.training
    net.eval()
    try:
        logits, weights = net(*inputs, return_attention=True)
        scores = paddle.nn.functional.sigmoid(logits).numpy()
        best = best_classes(scores, top_k)[0].tolist()
        # Only back to the weights: Paddle's LSTM has no way back in evaluation mode, and none is needed.
        gradients = [paddle.grad(logits[0, index], weights, retain_graph=True) for index in best]
    finally:
        if training:
            net.train()
    labels = []
    for index, parts in zip(best, gradients, strict=True):
        found = {stream: (part * weight)[0] for stream, part, weight in zip(STREAMS, parts, weights, strict=True)}
        label = {"index": index, "name": (class_names or {}).get(index), "score": float(scores[0, index])}
        labels.append({**label, **{stream: value.numpy().tolist() for stream, value in found.items()}})
    return {
        "video": name,
        "seconds": int(batch.lengths[0]),
        "attention": {stream: weight[0].numpy().tolist() for stream, weight in zip(STREAMS, weights, strict=True)},
        "labels": labels,
    }


def strongest_second(label: Mapping[str, Any]) -> tuple[str, int]:
    """The stream and the second that contributed most to one of the ``labels``."""
    stream = max(STREAMS, key=lambda name: max(label[name]))
    return stream, int(np.argmax(label[stream]))


def find_videos(shards: Iterable[Path], ids: Sequence[str]) -> list[Video]:
    """The videos with these ids, in the order of the ids; reads shards until all are found.

    Raises:
        AlstmError: one is in no shard.
    """
    found: dict[str, Video] = {}
    for shard in shards:
        for video in load_shard(shard):
            name = video.id.decode(errors="backslashreplace")
            if name in ids:
                found.setdefault(name, video)
        if len(found) == len(set(ids)):
            break
    missing = [name for name in ids if name not in found]
    if missing:
        raise AlstmError(f"--video {missing[0]}", "no shard of the list has it", "take an id of predictions.jsonl")
    return [found[name] for name in ids]


def write_explanation(report: Mapping[str, Any], save_dir: str | os.PathLike[str]) -> Path:
    """``<video>.json`` and ``<video>.png``; returns the path of the picture."""
    from alstm_helpers.figures import plots

    return write_report(report, plots.contributions(report), save_dir)


def write_report(report: Mapping[str, Any], figure: Any, save_dir: str | os.PathLike[str], **options: Any) -> Path:
    """A report on a video as JSON, and the figure of it as PNG beside it; returns the path of the picture.

    Args:
        report: its ``video`` names the files.
        figure: a Matplotlib figure, closed afterwards.
        save_dir: folder.
        options: of ``savefig``.
    """
    import matplotlib.pyplot as plt

    path = Path(save_dir, safe_name(report["video"]))
    picture = path.with_name(f"{path.name}.png")
    with atomic_write(picture) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None}, **options)
    plt.close(figure)
    write_json(path.with_name(f"{path.name}.json"), report)
    return picture
