"""The network: attention over the states of a bidirectional LSTM, one branch per stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from alstm_helpers.runtime import Tensor, paddle

nn, F = paddle.nn, paddle.nn.functional


def length_mask(lengths: Tensor, num_steps: int) -> Tensor:
    """Return 1 for the seconds of each video and 0 for padding.

    Args:
        lengths: int64 (B,).
        num_steps: seconds of the longest video, T.

    Returns:
        float32 (B, T).
    """
    return (paddle.arange(num_steps).unsqueeze(0) < lengths.unsqueeze(1)).astype("float32")  # (1, T) < (B, 1) → (B, T)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Compute the softmax over time, with a weight of exactly 0 on padding.

    The largest score is subtracted first, so no score overflows. Paddle floors the softmax at e^-64, so a large
    negative score alone would leave some weight on padding: the mask is multiplied in as well. A row that is all
    padding gets only zeros.

    Args:
        scores: float32 (B, T).
        mask: float32 (B, T) of 0 and 1.

    Returns:
        float32 (B, T); rows sum to 1, or to 0 where everything is padding.
    """
    scores = scores.astype("float32")  # (B, T); mixed precision passes 16 bits, which -1e30 overflows
    scores = paddle.where(mask > 0, scores, paddle.full_like(scores, -1e30))  # (B, T)
    exponents = paddle.exp(scores - scores.max(axis=1, keepdim=True)) * mask  # (B, T)
    return exponents / exponents.sum(axis=1, keepdim=True).clip(min=1e-30)  # (B, T)


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero each element with probability ``rate`` and divide the others by ``1 - rate`` (N. Srivastava et al., 2014).

    Equivalent to ``paddle.nn.functional.dropout``, whose generator takes a tenth of a training step on a CPU: it draws
    one float per element, whereas here one draw of 32 bits decides about two elements.

    Args:
        x: float32 (…).
        rate: in [0, 1), rounded to a multiple of 1 / 65536.

    Returns:
        float32 (…).
    """
    size = math.prod(x.shape)
    bits = paddle.randint(-(2**31), 2**31 - 1, [(size + 1) // 2], dtype="int32").view("int16")  # (size or size + 1,)
    lowest = min(round(rate * 2**16) - 2**15, 2**15 - 1)  # smallest 16-bit number that keeps an element
    kept = (bits[:size] >= lowest).reshape(x.shape)  # (…), bool
    return x * kept.astype(x.dtype) / (1 - rate)  # (…)


class AttentionLSTM(paddle.nn.Layer):  # type: ignore[misc]
    """Compute video-level logits from frame-level features.

    ::

        rgb   (B, T, 1024) ─ Linear tanh ─ BiLSTM ─ dropout ─ attention ─┐
        audio (B, T, 128)  ─ Linear tanh ─ BiLSTM ─ dropout ─ attention ─┴ concat ─ Linear relu ─ Linear tanh ─ Linear

    The parameters have PaddleVideo's names, so that its published weights load. Attention: F. Long et
    al., Attention Clusters (arXiv:1711.09550), one cluster per stream; chapter 1 of the source course.

    A subclass that pools differently overrides ``_add_pooling`` and ``_weights`` or ``_pool``, and has
    an entry in ``POOLINGS``.

    Args:
        num_classes: how many classes there are, C.
        feature_dims: bytes per second of rgb and of audio.
        embedding_size: E, size of each stream after its first layer.
        lstm_size: H, size of the LSTM state in each direction.
        drop_rate: dropout between the LSTM and the attention.
        fc_sizes: sizes of the two layers after the attention.
    """

    pooling: ClassVar[str] = "attention"  # its name in MODEL.pooling

    def __init__(
        self,
        num_classes: int = 3862,
        feature_dims: Sequence[int] = (1024, 128),
        embedding_size: int = 512,
        lstm_size: int = 1024,
        drop_rate: float = 0.5,
        fc_sizes: Sequence[int] = (8192, 4096),
    ) -> None:
        super().__init__()
        self.num_classes, self.drop_rate = num_classes, drop_rate
        for stream, dim in enumerate(feature_dims):
            self.add_sublayer(f"fc_feature{stream}", nn.Linear(dim, embedding_size))
            lstm = nn.LSTM(embedding_size, lstm_size, direction="bidirectional")
            self.add_sublayer(f"bi_lstm{stream}", lstm)
            self._add_pooling(stream, 2 * lstm_size)
        self.fc_out1 = nn.Linear(len(feature_dims) * 2 * lstm_size, fc_sizes[0])
        self.fc_out2 = nn.Linear(fc_sizes[0], fc_sizes[1])
        self.fc_logit = nn.Linear(fc_sizes[1], num_classes)

    def forward(
        self, rgb: Tensor, audio: Tensor, lengths: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Compute the logits of a batch.

        Args:
            rgb: (B, T, 1024) uint8, or float32 if already dequantised.
            audio: (B, T, 128), likewise.
            lengths: integers (B,), seconds of each video, at most T; later frames are ignored. A video of 0 seconds
                pools to zeros.
            return_attention: also return the weights of both streams.

        Returns:
            float32 (B, C); with ``return_attention`` a pair: these and ``(rgb_weights, audio_weights)``, float32
            (B, T) each, 0 on padding (equal weights for :class:`MeanPooling`; 1 on the last second for
            :class:`LastState`).
        """
        mask = length_mask(lengths.astype("int64"), rgb.shape[1])  # (B, T)
        lengths = (mask > 0).sum(axis=1)  # int64 (B,), at most T: beyond it Paddle's LSTM ends the process
        rgb_pooled, rgb_weights = self._stream(0, rgb, lengths, mask)  # (B, 2H), (B, T)
        audio_pooled, audio_weights = self._stream(1, audio, lengths, mask)  # (B, 2H), (B, T)
        pooled = paddle.concat([rgb_pooled, audio_pooled], axis=1)  # (B, 4H)
        hidden = F.relu(self.fc_out1(pooled))  # (B, fc_sizes[0])
        logits = self.fc_logit(paddle.tanh(self.fc_out2(hidden)))  # (B, C)
        return (logits, (rgb_weights, audio_weights)) if return_attention else logits

    def _stream(self, index: int, frames: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return one stream, (B, T, dim), pooled to (B, 2H), and the weights (B, T)."""
        if frames.dtype == paddle.uint8:
            frames = paddle.scale(frames.astype("float32"), 4 / 255, 4 / 512 - 2)  # (B, T, dim), in [-2, 2]
        embedded = paddle.tanh(getattr(self, f"fc_feature{index}")(frames))  # (B, T, E)
        lstm = getattr(self, f"bi_lstm{index}")
        states, (final, _) = lstm(embedded, sequence_length=lengths)  # (B, T, 2H), (2, B, H)
        return self._pool(index, states, final, lengths, mask)

    def _add_pooling(self, index: int, state_size: int) -> None:
        """Add the layer that scores the states, of size 2H, of a stream."""
        self.add_sublayer(f"att_fc{index}", nn.Linear(state_size, 1))

    def _pool(self, index: int, states: Tensor, final: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the states of a stream.

        Args:
            index: 0 for rgb, 1 for audio.
            states: float32 (B, T, 2H).
            final: float32 (2, B, H), the state after the last second, and after the first one backwards.
            lengths: int64 (B,).
            mask: float32 (B, T), see :func:`length_mask`.

        Returns:
            pooled (B, 2H), and the weights (B, T).
        """
        states = self._dropout(states)  # (B, T, 2H)
        weights = self._weights(index, states, lengths, mask)  # (B, T)
        return paddle.bmm(weights.unsqueeze(1), states).squeeze(1), weights  # (B, 1, T) @ (B, T, 2H) → (B, 2H)

    def _weights(self, index: int, states: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each second, float32 (B, T); arguments as for ``_pool``."""
        scores = getattr(self, f"att_fc{index}")(states).squeeze(2)  # (B, T)
        return masked_softmax(scores, mask)  # (B, T)

    def _dropout(self, states: Tensor) -> Tensor:
        """Apply dropout to states (…) while training."""
        return dropout(states, self.drop_rate) if self.training and self.drop_rate else states


class MeanPooling(AttentionLSTM):
    """The same network with the mean of all states in place of attention, for comparison."""

    pooling = "mean"

    def _add_pooling(self, index: int, state_size: int) -> None:
        """Add nothing: the mean has no parameters."""

    def _weights(self, index: int, states: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Return the same weight, float32 (B, T), for all seconds of a video."""
        return mask / lengths.astype("float32").unsqueeze(1).clip(min=1)  # (B, T) / (B, 1) → (B, T)


class LastState(AttentionLSTM):
    """The same network with the final state of each direction in place of attention, for comparison."""

    pooling = "last"

    def _add_pooling(self, index: int, state_size: int) -> None:
        """Add nothing: taking a state needs no parameters."""

    def _pool(self, index: int, states: Tensor, final: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the final states (B, 2H) and a weight of 1 on the last second (B, T)."""
        last_second = mask - paddle.concat([mask[:, 1:], paddle.zeros_like(mask[:, :1])], axis=1)  # (B, T)
        return self._dropout(paddle.concat([final[0], final[1]], axis=1)), last_second  # 2 × (B, H) → (B, 2H)


POOLINGS: dict[str, type[AttentionLSTM]] = {"attention": AttentionLSTM, "mean": MeanPooling, "last": LastState}
