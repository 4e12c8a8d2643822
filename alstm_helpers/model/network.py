"""The network: attention over the states of a bidirectional LSTM, one branch a stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from alstm_helpers.runtime import paddle

nn, F = paddle.nn, paddle.nn.functional


def length_mask(lengths: Any, num_steps: int) -> Any:
    """1 on the seconds of each video, 0 on padding.

    Args:
        lengths: int64 (B,).
        num_steps: T.

    Returns:
        float32 (B, T).
    """
    return (paddle.arange(num_steps).unsqueeze(0) < lengths.unsqueeze(1)).astype("float32")


def masked_softmax(scores: Any, mask: Any) -> Any:
    """Softmax over time that gives padding a weight of exactly 0.

    The largest score is subtracted first, so no score overflows. Paddle floors the softmax at e^-64, so
    a large negative score alone would leave some weight on padding: the mask multiplies too. A row that
    is all padding gets all zeros.

    Args:
        scores: float32 (B, T).
        mask: float32 (B, T) of 0 and 1.

    Returns:
        float32 (B, T); rows sum to 1, or to 0 where all is padding.
    """
    scores = scores.astype("float32")  # in mixed precision they come in 16 bits, which -1e30 overflows
    scores = paddle.where(mask > 0, scores, paddle.full_like(scores, -1e30))  # (B, T)
    exponents = paddle.exp(scores - scores.max(axis=1, keepdim=True)) * mask  # (B, T)
    return exponents / exponents.sum(axis=1, keepdim=True).clip(min=1e-30)  # (B, T)


def dropout(x: Any, rate: float) -> Any:
    """Zero each element with probability ``rate`` and divide the others by ``1 - rate`` (N. Srivastava et al., 2014).

    As ``paddle.nn.functional.dropout``, whose generator takes a tenth of a training step on a CPU: it draws a float
    an element, where here one draw of 32 bits decides about two.

    Args:
        x: float32 (…).
        rate: at least 0 and below 1, kept to within 1 / 65536.
    """
    size = math.prod(x.shape)
    bits = paddle.randint(-(2**31), 2**31 - 1, [(size + 1) // 2], dtype="int32").view("int16")  # (size or size + 1,)
    lowest = min(round(rate * 2**16) - 2**15, 2**15 - 1)  # of the 16 bits that keep an element
    kept = (bits[:size] >= lowest).reshape(x.shape)  # (…), bool
    return x * kept.astype(x.dtype) / (1 - rate)


class AttentionLSTM(paddle.nn.Layer):  # type: ignore[misc]
    """Video-level logits from frame-level features.

    ::

        rgb   (B, T, 1024) ─ Linear tanh ─ BiLSTM ─ dropout ─ attention ─┐
        audio (B, T, 128)  ─ Linear tanh ─ BiLSTM ─ dropout ─ attention ─┴ concat ─ Linear relu ─ Linear tanh ─ Linear

    The parameters carry PaddleVideo's names, so that its published weights load. Attention: F. Long et
    al., Attention Clusters (arXiv:1711.09550), one cluster a stream; the source course's chapter 1.

    Args:
        num_classes: C.
        feature_dims: bytes a second of rgb and audio.
        embedding_size: E, size of each stream after its first layer.
        lstm_size: H, size of the LSTM state in each direction.
        drop_rate: dropout between the LSTM and the attention.
        fc_sizes: sizes of the two layers after the attention.
        pooling: how T states become one vector: ``"attention"``, or for comparison ``"mean"`` of all states
            or ``"last"``, the final state of each direction.
    """

    def __init__(
        self,
        num_classes: int = 3862,
        feature_dims: Sequence[int] = (1024, 128),
        embedding_size: int = 512,
        lstm_size: int = 1024,
        drop_rate: float = 0.5,
        fc_sizes: Sequence[int] = (8192, 4096),
        pooling: str = "attention",
    ) -> None:
        super().__init__()
        self.drop_rate, self.pooling = drop_rate, pooling
        for stream, dim in enumerate(feature_dims):
            self.add_sublayer(f"fc_feature{stream}", nn.Linear(dim, embedding_size))
            lstm = nn.LSTM(embedding_size, lstm_size, direction="bidirectional")
            self.add_sublayer(f"bi_lstm{stream}", lstm)
            if pooling == "attention":
                self.add_sublayer(f"att_fc{stream}", nn.Linear(2 * lstm_size, 1))
        self.fc_out1 = nn.Linear(len(feature_dims) * 2 * lstm_size, fc_sizes[0])
        self.fc_out2 = nn.Linear(fc_sizes[0], fc_sizes[1])
        self.fc_logit = nn.Linear(fc_sizes[1], num_classes)
        self.num_classes = num_classes

    def forward(self, rgb: Any, audio: Any, lengths: Any, return_attention: bool = False) -> Any:
        """Logits of a batch.

        Args:
            rgb: (B, T, 1024) uint8, or float32 already dequantised.
            audio: (B, T, 128), likewise.
            lengths: integers (B,), seconds of each video, at most T; what lies beyond is ignored. A video of none
                pools to zeros.
            return_attention: also return the weights of both streams.

        Returns:
            float32 (B, C); with ``return_attention`` a pair of it and ``(rgb_weights, audio_weights)``,
            each (B, T), 0 on padding (for ``pooling="mean"``, equal weights; for ``"last"``, all on the last second).
        """
        mask = length_mask(lengths.astype("int64"), rgb.shape[1])  # (B, T)
        lengths = (mask > 0).sum(axis=1)  # int64 (B,), at most T: beyond it Paddle's LSTM ends the process
        rgb_pooled, rgb_weights = self._stream(0, rgb, lengths, mask)  # (B, 2H), (B, T)
        audio_pooled, audio_weights = self._stream(1, audio, lengths, mask)  # (B, 2H), (B, T)
        pooled = paddle.concat([rgb_pooled, audio_pooled], axis=1)  # (B, 4H)
        hidden = F.relu(self.fc_out1(pooled))  # (B, fc_sizes[0])
        logits = self.fc_logit(paddle.tanh(self.fc_out2(hidden)))  # (B, C)
        return (logits, (rgb_weights, audio_weights)) if return_attention else logits

    def _dropout(self, states: Any) -> Any:
        """States (…) of which, in training, a share of drop_rate is 0 and the rest scaled up to the same mean."""
        return dropout(states, self.drop_rate) if self.training and self.drop_rate else states

    def _stream(self, index: int, frames: Any, lengths: Any, mask: Any) -> tuple[Any, Any]:
        """One stream: (B, T, dim) → pooled (B, 2H) and weights (B, T)."""
        if frames.dtype == paddle.uint8:
            frames = paddle.scale(frames.astype("float32"), 4 / 255, 4 / 512 - 2)  # (B, T, dim), in [-2, 2]
        embedded = paddle.tanh(getattr(self, f"fc_feature{index}")(frames))  # (B, T, E)
        states, (final, _) = getattr(self, f"bi_lstm{index}")(embedded, sequence_length=lengths)  # (B, T, 2H)
        if self.pooling == "last":
            final = paddle.concat([final[0], final[1]], axis=1)  # (B, 2H)
            last_second = mask - paddle.concat([mask[:, 1:], paddle.zeros_like(mask[:, :1])], axis=1)  # (B, T)
            return self._dropout(final), last_second
        states = self._dropout(states)  # (B, T, 2H)
        if self.pooling == "mean":
            weights = mask / lengths.astype("float32").unsqueeze(1).clip(min=1)  # (B, T)
        else:
            scores = getattr(self, f"att_fc{index}")(states).squeeze(2)  # (B, T)
            weights = masked_softmax(scores, mask)  # (B, T)
        return paddle.bmm(weights.unsqueeze(1), states).squeeze(1), weights  # (B, 1, T) @ (B, T, 2H) → (B, 2H)
