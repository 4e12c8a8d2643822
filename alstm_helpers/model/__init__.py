"""The network (chapter 1)."""

from alstm_helpers.model.network import (
    POOLINGS,
    AttentionAndDeviation,
    AttentionLSTM,
    LastState,
    MeanPooling,
    dropout,
    length_mask,
    masked_softmax,
    mean_deviation,
)

__all__ = [
    "POOLINGS",
    "AttentionAndDeviation",
    "AttentionLSTM",
    "LastState",
    "MeanPooling",
    "dropout",
    "length_mask",
    "masked_softmax",
    "mean_deviation",
]
