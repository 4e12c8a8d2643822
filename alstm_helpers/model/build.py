"""The network as a configuration describes it, with or without trained weights, and its inputs and modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import Batch
from alstm_helpers.model.network import AttentionLSTM
from alstm_helpers.model.weights import apply_weights, load_arrays
from alstm_helpers.runtime import Tensor, paddle


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


def to_tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb, audio, lengths, labels of a batch on the current device; features stay uint8."""
    return tuple(paddle.to_tensor(array) for array in batch[1:])


@contextmanager
def evaluating(net: AttentionLSTM) -> Iterator[None]:
    """Put the network into evaluation mode (no dropout) for a block, and back into its own mode afterwards."""
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        if was_training:
            net.train()
