"""How much each second of a video contributed to each of its labels, as numbers and as a picture.

Attention says which seconds the network used, and it is the same for all labels. The contribution of a second to one
label is its attention weight times the gradient of the label's logit with respect to that weight (gradient × input;
A. Shrikumar et al., arXiv:1605.01713): to first order, the part of the logit that is due to this second.

With the pooling ``attention+deviation`` this is what a second contributes through attention. What the deviation adds
is left out: it is of the whole video, and of no second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alstm_helpers.data.class_names import best_labels
from alstm_helpers.data.dataset import collate
from alstm_helpers.errors import AlstmError
from alstm_helpers.figures.parts import Explanation, Streams
from alstm_helpers.files import safe_name, write_json
from alstm_helpers.metrics import require_finite
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import evaluating
from alstm_helpers.pickles import load_shard
from alstm_helpers.runtime import Tensor, paddle
from alstm_helpers.tfrecord import Video

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def explain(
    net: AttentionLSTM, video: Video, *, top_k: int = 5, class_names: Mapping[int, str] | None = None
) -> Explanation:
    """Return the attention of a video, and what each second contributed to each of its best labels.

    Args:
        net: a network with attention pooling; dropout is off, and its mode is restored afterwards.
        video: its labels are not used.
        top_k: labels to explain.
        class_names: class names by index.

    Returns:
        ``video``, ``seconds`` T, ``attention`` ``{"rgb": [T], "audio": [T]}`` (each sums to 1), and ``labels``, best
        first: ``index``, ``name``, ``score``, ``rgb`` [T] and ``audio`` [T], the contributions to the label's logit.

    Raises:
        AlstmError: the video has no seconds, the network has no attention, or a score is not finite.
    """
    _require_attention(net, video)
    batch = collate([video._replace(labels=())], 0)
    inputs = [paddle.to_tensor(array) for array in (batch.rgb, batch.audio, batch.lengths)]
    with evaluating(net):
        logits, weights = net(*inputs, return_attention=True)  # (1, C); (1, T) for each stream
        require_finite(logits.numpy(), [video.name])
        scores = paddle.nn.functional.sigmoid(logits).numpy().ravel()  # (C,)
        best = best_labels(scores, top_k, class_names)
        parts = [_contributions(logits.flatten()[label["index"]], weights) for label in best]
    return {
        "video": video.name,
        "seconds": batch.lengths.item(),
        "attention": _streams(weights),
        "labels": [{**label, **part} for label, part in zip(best, parts, strict=True)],
    }


def _require_attention(net: AttentionLSTM, video: Video) -> None:
    if not video.num_frames:
        raise AlstmError(f"video {video.name}", "it has no seconds", "choose another video")
    if "attention" not in net.pooling:
        raise AlstmError("MODEL.pooling", f"{net.pooling} has no attention to explain", "set it to attention")


def _contributions(logit: Tensor, weights: Sequence[Tensor]) -> Streams:
    """Return weight × gradient for every second of both streams.

    Args:
        logit: float32 (), of one label.
        weights: the attention of rgb and audio, float32 (1, T) each.
    """
    # The gradient goes back to the weights only: Paddle's LSTM has no backward pass in evaluation mode.
    gradients = paddle.grad(logit, weights, retain_graph=True)
    return _streams([gradient * weight for gradient, weight in zip(gradients, weights, strict=True)])


def _streams(values: Sequence[Tensor]) -> Streams:
    """Return the values of rgb and audio, (1, T) each, as lists."""
    rgb, audio = (value.numpy().ravel().tolist() for value in values)
    return {"rgb": rgb, "audio": audio}


def strongest_second(label: Streams) -> tuple[str, int]:
    """Return the stream and the second that contributed most to one of the ``labels``; in a tie, rgb and the first."""
    streams = {"rgb": label["rgb"], "audio": label["audio"]}
    stream = max(streams, key=lambda name: max(streams[name]))
    return stream, int(np.argmax(streams[stream]))


def videos_with_ids(shards: Iterable[Path], ids: Sequence[str]) -> list[Video]:
    """Return the videos with these ids, in the order of the ids; reading stops at the shard that completes them.

    Raises:
        AlstmError: no shard has a video with one of the ids.
    """
    found: dict[str, Video] = {}
    for shard in shards:
        for video in load_shard(shard):
            if video.name in ids:
                found.setdefault(video.name, video)
        if len(found) == len(set(ids)):
            break
    missing = [name for name in ids if name not in found]
    if missing:
        raise AlstmError(f"--video {missing[0]}", "no shard of the list has it", "use an id from predictions.jsonl")
    return [found[name] for name in ids]


def write_explanation(report: Explanation, save_dir: str | os.PathLike[str]) -> Path:
    """Write ``<video>.json`` and a picture of it, ``<video>.png``; return the path of the picture."""
    from alstm_helpers.figures import plots

    return write_report_with_figure(report, plots.contributions(report), save_dir)


def write_report_with_figure(
    report: Explanation, figure: Figure, save_dir: str | os.PathLike[str], *, tight: bool = False
) -> Path:
    """Write a report on a video as JSON and its figure as PNG beside it; return the path of the picture.

    Args:
        report: an explanation, or one with more keys; its ``video`` names the files.
        figure: closed afterwards, also if the report cannot be written.
        save_dir: folder.
        tight: crop the picture to what is drawn.
    """
    from matplotlib.pyplot import close

    from alstm_helpers.figures import plots

    path = Path(save_dir, safe_name(report["video"]))
    picture = path.with_name(f"{path.name}.png")
    try:
        write_json(path.with_name(f"{path.name}.json"), report)
        plots.save_png(figure, picture, tight=tight)
    finally:
        close(figure)
    return picture
