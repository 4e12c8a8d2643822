"""The network that a configuration describes, with or without trained weights; its inputs and its modes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from alstm_helpers.config import Config
from alstm_helpers.data.dataset import Batch
from alstm_helpers.errors import ConfigError
from alstm_helpers.model.network import POOLINGS, AttentionLSTM
from alstm_helpers.model.weights import apply_weights, load_arrays
from alstm_helpers.runtime import Tensor, paddle, total_memory


def build_model(config: Config) -> AttentionLSTM:
    """Build the network that a configuration describes, with random weights.

    Raises:
        ConfigError: its parameters alone take more memory than this machine has.
    """
    section = config.MODEL
    needed, memory = 4 * section.parameters(), total_memory()
    if memory is not None and needed > memory:
        problem = f"its parameters take {needed / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f} GB"
        raise ConfigError("MODEL", problem, "lower lstm_size, embedding_size, fc_sizes or num_classes")
    return POOLINGS[section.pooling](
        num_classes=section.num_classes,
        feature_dims=section.feature_dims,
        embedding_size=section.embedding_size,
        lstm_size=section.lstm_size,
        drop_rate=section.drop_rate,
        fc_sizes=section.fc_sizes,
    )


def load_model(config: Config, weights: str | os.PathLike[str]) -> AttentionLSTM:
    """Build the network with trained weights, ready to score (dropout off).

    Raises:
        AlstmError: the file is missing or damaged, or does not fit the configuration.
    """
    net = build_model(config)
    apply_weights(net, load_arrays(weights), str(weights))
    net.eval()
    return net


def to_tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Copy a batch to the current device.

    Returns:
        rgb uint8 (B, T, 1024), audio uint8 (B, T, 128), lengths int64 (B,), labels float32 (B, C).
    """
    rgb, audio, lengths, labels = map(paddle.to_tensor, (batch.rgb, batch.audio, batch.lengths, batch.labels))
    return rgb, audio, lengths, labels


@contextmanager
def evaluating(net: AttentionLSTM) -> Iterator[None]:
    """Put the network into evaluation mode (no dropout) for a block, then back into the mode it was in."""
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        if was_training:
            net.train()
