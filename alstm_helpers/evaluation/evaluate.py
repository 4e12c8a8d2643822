"""Scores and metrics of a network over batches of videos."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

import numpy as np

from alstm_helpers.data.dataset import Batch
from alstm_helpers.errors import OTHER_WEIGHTS, AlstmError, NotFinite
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.metrics import YouTube8MMetrics, require_finite
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import evaluating, to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.ranks import ALONE, Ranks
from alstm_helpers.runtime import paddle

ScoredBatch: TypeAlias = tuple[Batch, np.ndarray, float]  # a batch, its scores (B, C), and its summed loss
MOST_SCORES = 50_000_000  # that are in memory at once; 200 MB
Observer: TypeAlias = Callable[[Batch, np.ndarray], None]  # receives a batch and its scores (B, C)


def score_batches(net: AttentionLSTM, batches: Iterable[Batch]) -> Generator[ScoredBatch, None, None]:
    """Yield each batch with its scores, float32 (B, C) in [0, 1], and its loss summed over classes and videos.

    The network scores in evaluation mode (no dropout) and returns to its own mode when the iterator ends or
    is closed.

    Raises:
        NotFinite: a logit is not finite.
    """
    with evaluating(net):
        for batch in batches:
            with paddle.no_grad():
                rgb, audio, lengths, labels = to_tensors(batch)
                logits = net(rgb, audio, lengths)  # (B, C)
                require_finite(logits.numpy(), batch.ids)
                scores = paddle.nn.functional.sigmoid(logits).numpy()
                loss = float(summed_loss(logits, labels))
            yield batch, scores, loss  # outside no_grad, which is global: the caller keeps its gradients


def collect(
    net: AttentionLSTM,
    batches: Iterable[Batch],
    *,
    top_k: int = 20,
    ranks: Ranks = ALONE,
    observe: Observer = lambda batch, scores: None,
    where: str = "the list",
) -> tuple[YouTube8MMetrics, float]:
    """Return the metrics of all videos as an object that answers more than :func:`evaluate`, and the mean loss.

    Args:
        net: the network.
        batches: the videos to score; with several ranks, the share of this rank.
        top_k: predictions per video that enter GAP.
        ranks: processes that share the videos; every rank returns the results for all of them.
        observe: called with every batch of this rank and its scores (B, C).
        where: the batches come from, for errors.

    Raises:
        AlstmError: there is no video.
        NotFinite: a score or the loss is not finite.
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
        raise AlstmError(where, "its shards contain no videos", "convert shards that do")
    if not math.isfinite(loss):  # finite logits can have a sum that is not
        raise NotFinite(where, f"the loss is {loss}", OTHER_WEIGHTS)
    return metrics, loss / metrics.num_videos


def score_all(
    net: AttentionLSTM,
    batches: Iterable[Batch],
    *,
    top_k: int = 20,
    group_of: Callable[[bytes], bytes] | None = None,
    where: str = "the list",
) -> Scored:
    """Return the scores and labels of all videos, which must fit into memory, for ``alstm report``.

    Args:
        net: the network.
        batches: the videos to score.
        top_k: predictions per video that enter GAP.
        group_of: returns the name that related videos share for the id of one; None if each stands alone.
        where: the batches come from, for errors.

    Raises:
        AlstmError: there is no video, or there are too many.
    """
    ids: list[bytes] = []
    labels, scores = [np.zeros((0, net.num_classes), bool)], [np.zeros((0, net.num_classes), np.float32)]
    for batch, found, _ in score_batches(net, batches):
        ids += batch.ids
        labels.append(batch.labels > 0)
        scores.append(found)
        if len(ids) * net.num_classes > MOST_SCORES:
            problem = f"it has more than {MOST_SCORES:,} scores of videos and classes"
            raise AlstmError(where, problem, "use `alstm eval`, or a shorter list")
    if not ids:
        raise AlstmError(where, "its shards contain no videos", "convert shards that do")
    groups = list(map(group_of, ids)) if group_of else ids
    return Scored(ids, np.concatenate(labels), np.concatenate(scores), top_k, groups)


def evaluate(
    net: AttentionLSTM,
    batches: Iterable[Batch],
    *,
    top_k: int = 20,
    ranks: Ranks = ALONE,
    observe: Observer = lambda batch, scores: None,
    where: str = "the list",
) -> dict[str, float]:
    """Return ``hit_at_1, perr, gap, map, loss, num_videos`` of all videos; see :func:`collect`."""
    metrics, loss = collect(net, batches, top_k=top_k, ranks=ranks, observe=observe, where=where)
    return {**metrics.result(), "loss": loss}
