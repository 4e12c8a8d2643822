"""Scores and metrics of a network over a list of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import Batch
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.errors import AlstmError
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.weights import apply_weights, load_arrays
from alstm_helpers.ranks import ALONE, Ranks
from alstm_helpers.runtime import paddle

F = paddle.nn.functional


def build_model(config: Config) -> AttentionLSTM:
    """The network that a configuration describes."""
    section = config.MODEL
    return AttentionLSTM(
        num_classes=section.num_classes,
        feature_dims=section.feature_dims,
        embedding_size=section.embedding_size,
        lstm_size=section.lstm_size,
        drop_rate=section.drop_rate,
        fc_sizes=section.fc_sizes,
        pooling=section.pooling,
    )


def load_model(config: Config, weights: str) -> AttentionLSTM:
    """The network with trained weights, ready to score (dropout off)."""
    net = build_model(config)
    apply_weights(net, load_arrays(weights), str(weights))
    net.eval()
    return net


def to_tensors(batch: Batch) -> tuple[Any, Any, Any, Any]:
    """rgb, audio, lengths, labels of a batch on the current device; features stay uint8."""
    return tuple(paddle.to_tensor(array) for array in batch[1:])


def summed_loss(logits: Any, labels: Any, positive_weights: Any = None) -> Any:
    """Sigmoid cross-entropy summed over classes and over the batch, as the originals train with.

    Args:
        logits, labels: float32 (B, C).
        positive_weights: float32 (C,), how much a true label of each class counts; None for 1.
    """
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum", pos_weight=positive_weights)


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """How much a true label of each class counts, from how often it occurs: the mean count divided by its own.

    So all classes weigh the same in the loss (G. King and L. Zeng, Logistic Regression in Rare Events Data, 2001, as
    scikit-learn's ``class_weight="balanced"``). Kept within a tenth and ten, for a class seen once says little.

    Args:
        counts: videos with each class, (C,).

    Returns:
        float32 (C,); 1 for a class that does not occur.
    """
    present = counts > 0
    mean = counts[present].mean() if present.any() else 1.0
    weights = np.where(present, mean / np.maximum(counts, 1), 1.0)
    return np.clip(weights, 0.1, 10).astype(np.float32)


def score_batches(net: AttentionLSTM, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray, float]]:
    """For every batch: the batch, its scores float32 (B, C) in [0, 1], and its summed loss.

    The network is put into evaluation mode for the run and back into its own mode afterwards.
    """
    training = net.training
    net.eval()
    try:
        for batch in batches:
            with paddle.no_grad():
                rgb, audio, lengths, labels = to_tensors(batch)
                logits = net(rgb, audio, lengths)
                scores, loss = F.sigmoid(logits).numpy(), float(summed_loss(logits, labels))
            yield batch, scores, loss  # outside no_grad, which is the whole process's: the caller keeps its gradients
    finally:
        if training:
            net.train()


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


def gap_of(predictor: Predictor, batches: Iterable[Batch], num_classes: int, top_k: int) -> float:
    """GAP of an exported model."""
    metrics = YouTube8MMetrics(num_classes, top_k)
    for batch in batches:
        metrics.update(predictor(batch.rgb, batch.audio, batch.lengths).scores, batch.labels, batch.ids)
    return metrics.gap()
