"""Scores and metrics of a network over a list of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from alstm_helpers.data.dataset import Batch
from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import evaluating, to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.ranks import ALONE, Ranks
from alstm_helpers.runtime import paddle


def score_batches(net: AttentionLSTM, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray, float]]:
    """For every batch: the batch, its scores float32 (B, C) in [0, 1], and its summed loss.

    The network scores in evaluation mode (no dropout) and returns to its own mode afterwards.
    """
    with evaluating(net):
        for batch in batches:
            with paddle.no_grad():
                rgb, audio, lengths, labels = to_tensors(batch)
                logits = net(rgb, audio, lengths)
                scores = paddle.nn.functional.sigmoid(logits).numpy()
                loss = float(summed_loss(logits, labels))
            yield batch, scores, loss  # outside no_grad, which is the whole process's: the caller keeps its gradients


def collect(
    net: AttentionLSTM,
    batches: Iterable[Batch],
    *,
    top_k: int = 20,
    ranks: Ranks = ALONE,
    observe: Callable[[Batch, np.ndarray], None] = lambda batch, scores: None,
) -> tuple[YouTube8MMetrics, float]:
    """The metrics of a list, to be asked for more than :func:`evaluate` returns, and the mean loss of a video.

    Args:
        net: the network.
        batches: what to score; with several ranks this one's share of it.
        top_k: predictions of a video that enter GAP.
        ranks: processes whose shares make up the whole; each returns the same figures.
        observe: is shown every batch of this rank and its scores (B, C).

    Raises:
        AlstmError: there is no video, or a score is not finite.
    """
    metrics = YouTube8MMetrics(net.num_classes, top_k)
    loss = 0.0
    for batch, scores, batch_loss in score_batches(net, (batch for batch in batches if batch.ids)):
        metrics.update(scores, batch.labels, batch.ids)
        observe(batch, scores)
        loss += batch_loss
    if ranks.count > 1:
        metrics.gather(ranks.gather)
        loss = float(ranks.gather(np.array([loss])).sum())
    if not metrics.num_videos:
        raise AlstmError("the list", "its shards hold no video", "convert shards that do")
    return metrics, loss / metrics.num_videos


def evaluate(net: AttentionLSTM, batches: Iterable[Batch], **options: Any) -> dict[str, float]:
    """``hit_at_1, perr, gap, map, loss, num_videos`` of a list; options as for :func:`collect`."""
    metrics, loss = collect(net, batches, **options)
    return {**metrics.result(), "loss": loss}
