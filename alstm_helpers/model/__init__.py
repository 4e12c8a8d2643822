"""The network (chapter 1)."""

from alstm_helpers.model.network import (
    POOLINGS,
    AttentionLSTM,
    LastState,
    MeanPooling,
    dropout,
    length_mask,
    masked_softmax,
)

__all__ = ["POOLINGS", "AttentionLSTM", "LastState", "MeanPooling", "dropout", "length_mask", "masked_softmax"]
