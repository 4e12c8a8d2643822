"""The network (chapter 1)."""

from alstm_helpers.model.network import AttentionLSTM, dropout, length_mask, masked_softmax

__all__ = ["AttentionLSTM", "dropout", "length_mask", "masked_softmax"]
