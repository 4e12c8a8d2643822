"""The network: attention over the states of a bidirectional LSTM, one branch per stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from alstm_helpers import runtime
from alstm_helpers.model import streams
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


def equal_weights(mask: Tensor) -> Tensor:
    """Return the same weight for all seconds of a video, float32 (B, T), for a mask (B, T); zeros if it has none."""
    return mask / mask.sum(axis=1, keepdim=True).clip(min=1)  # (B, T) / (B, 1) → (B, T)


def mean_deviation(x: Tensor, mask: Tensor) -> Tensor:
    """Compute how far each number is from its mean over the seconds of a video, on average: ``mean(|x - mean(x)|)``.

    Unlike the standard deviation it has no infinite slope where nothing changes, as in a video of one second. Mixed
    precision would round the mean before it is subtracted, and find a deviation there: so 32 bits are used always.

    Args:
        x: floats (B, T, E).
        mask: float32 (B, T) of 0 and 1.

    Returns:
        float32 (B, E); zeros for a video of 0 seconds.
    """
    share = equal_weights(mask).unsqueeze(1)  # (B, 1, T)
    with paddle.amp.auto_cast(enable=False):
        x = x.astype("float32")  # (B, T, E)
        mean = paddle.bmm(share, x)  # (B, 1, T) @ (B, T, E) → (B, 1, E)
        return paddle.bmm(share, paddle.abs(x - mean)).squeeze(1)  # (B, 1, T) @ (B, T, E) → (B, E)


def random_bits(size: int) -> Tensor:
    """Return ``size`` random numbers of 16 bits, int16 (size,): one draw of 32 bits makes two."""
    return paddle.randint(-(2**31), 2**31 - 1, [(size + 1) // 2], dtype="int32").view("int16")[:size]


def dropout(x: Tensor, rate: float, bits: Tensor | None = None) -> Tensor:
    """Zero each element with probability ``rate`` and divide the others by ``1 - rate`` (N. Srivastava et al., 2014).

    Equivalent to ``paddle.nn.functional.dropout``, whose generator takes a tenth of a training step on a CPU: it draws
    one float per element, whereas here one draw of 32 bits decides about two elements.

    Args:
        x: float32 (…).
        rate: in [0, 1), rounded to a multiple of 1 / 65536.
        bits: what decides, int16 with as many elements as ``x``; by default drawn here.

    Returns:
        float32 (…).
    """
    if bits is None:
        bits = random_bits(math.prod(x.shape))  # (size,)
    lowest = min(round(rate * 2**16) - 2**15, 2**15 - 1)  # smallest 16-bit number that keeps an element
    kept = (bits >= lowest).reshape(x.shape)  # (…), bool
    return x * paddle.scale(kept.astype(x.dtype), 1 / (1 - rate))  # (…)


class AttentionLSTM(paddle.nn.Layer):  # type: ignore[misc]
    """Compute video-level logits from frame-level features.

    ::

        rgb   (B, T, 1024) ─ Linear tanh ─ BiLSTM ─ dropout ─ attention ─┐
        audio (B, T, 128)  ─ Linear tanh ─ BiLSTM ─ dropout ─ attention ─┴ concat ─ Linear relu ─ Linear tanh ─ Linear

    The parameters have PaddleVideo's names, so that its published weights load. Attention: F. Long et
    al., Attention Clusters (arXiv:1711.09550), one cluster per stream; chapter 1 of the source course.

    A subclass that pools differently overrides ``_add_pooling`` and ``_weights`` or ``_pool`` (and, for another size,
    ``_pooled_size``), and has an entry in ``POOLINGS``.

    Args:
        num_classes: how many classes there are, C.
        feature_dims: bytes per second of rgb and of audio.
        embedding_size: E, size of each stream after its first layer.
        lstm_size: H, size of the LSTM state in each direction.
        drop_rate: dropout between the LSTM and the attention.
        fc_sizes: sizes of the two layers after the attention.
    """

    pooling: ClassVar[str] = "attention"  # its name in MODEL.pooling
    streams_at_once: bool | None = None  # on a CPU, see :meth:`alstm_helpers.model.streams.Pace.run`

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
        self._team = streams.Team()
        for stream, dim in enumerate(feature_dims):
            self.add_sublayer(f"fc_feature{stream}", nn.Linear(dim, embedding_size))
            lstm = nn.LSTM(embedding_size, lstm_size, direction="bidirectional")
            self.add_sublayer(f"bi_lstm{stream}", lstm)
            self._add_pooling(stream, 2 * lstm_size)
        pooled_size = self._pooled_size(embedding_size, 2 * lstm_size)  # P, 2H unless a subclass says otherwise
        self.fc_out1 = nn.Linear(len(feature_dims) * pooled_size, fc_sizes[0])
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
            :class:`LastState`; attention's alone for :class:`AttentionAndDeviation`).
        """
        mask = length_mask(lengths.astype("int64"), rgb.shape[1])  # (B, T)
        lengths = (mask > 0).sum(axis=1)  # int64 (B,), at most T: beyond it Paddle's LSTM ends the process
        works = [
            partial(self._stream, index, frames, lengths, mask, self._dropout_bits(index, mask))
            for index, frames in enumerate((rgb, audio))
        ]
        if self._has_team(rgb, audio) and not return_attention:
            pooled = self._team.pool(works, mask.size, self.streams_at_once)
        else:
            pooled = [work() for work in works]
        (rgb_pooled, rgb_weights), (audio_pooled, audio_weights) = pooled  # twice (B, P), (B, T)
        pooled = paddle.concat([rgb_pooled, audio_pooled], axis=1)  # (B, 2P)
        hidden = F.relu(self.fc_out1(pooled))  # (B, fc_sizes[0])
        logits = self.fc_logit(paddle.tanh(self.fc_out2(hidden)))  # (B, C)
        return (logits, (rgb_weights, audio_weights)) if return_attention else logits

    def _has_team(self, rgb: Tensor, audio: Tensor) -> bool:
        """Tell whether two threads may work: on a CPU, unless gradients must pass through to the frames."""
        if self.streams_at_once is False or runtime.usable_cores() < 2:
            return False
        if not paddle.in_dynamic_mode() or not rgb.place.is_cpu_place():
            return False
        return not paddle.is_grad_enabled() or (self.training and rgb.stop_gradient and audio.stop_gradient)

    def _dropout_bits(self, index: int, mask: Tensor) -> Tensor | None:
        """Draw what decides about a stream's dropout; None outside training. ``mask`` is (B, T)."""
        if not self.training or not self.drop_rate:
            return None
        lstm = getattr(self, f"bi_lstm{index}")
        return random_bits(math.prod(mask.shape) * 2 * lstm.hidden_size)

    def _stream(self, index: int, frames: Tensor, lengths: Tensor, mask: Tensor, bits: Tensor | None) -> streams.Pooled:
        """Return one stream, (B, T, dim), pooled to (B, P), and the weights (B, T)."""
        embedded = self._embed(index, frames, mask)  # (B, T, E)
        lstm = getattr(self, f"bi_lstm{index}")
        states, _ = lstm(embedded, sequence_length=lengths)  # (B, T, 2H)
        if bits is not None:
            states = dropout(states, self.drop_rate, bits)  # (B, T, 2H)
        return self._pool(index, embedded, states, lengths, mask)

    def _embed(self, index: int, frames: Tensor, mask: Tensor) -> Tensor:
        """Return the first layer's output (B, T, E) for frames (B, T, dim), computed for real seconds only on a CPU."""
        seconds = None
        if paddle.in_dynamic_mode() and frames.place.is_cpu_place():
            seconds = paddle.nonzero(mask.flatten()).flatten()  # (N,), of B × T
            frames = paddle.gather(frames.reshape([-1, frames.shape[2]]), seconds)  # (N, dim)
        if frames.dtype == paddle.uint8:
            frames = paddle.scale(frames.astype("float32"), 4 / 255, 4 / 512 - 2)  # in [-2, 2]
        embedded = paddle.tanh(getattr(self, f"fc_feature{index}")(frames))  # (N, E) or (B, T, E)
        if seconds is None:
            return embedded
        padded = paddle.zeros([mask.size, embedded.shape[1]])
        return paddle.scatter(padded, seconds, embedded).reshape([*mask.shape, -1])  # (B × T, E) → (B, T, E)

    def _add_pooling(self, index: int, state_size: int) -> None:
        """Add the layer that scores the states, of size 2H, of a stream."""
        self.add_sublayer(f"att_fc{index}", nn.Linear(state_size, 1))

    def _pooled_size(self, embedding_size: int, state_size: int) -> int:
        """Return the size of a pooled stream, P."""
        return state_size

    def _pool(self, index: int, embedded: Tensor, states: Tensor, lengths: Tensor, mask: Tensor) -> streams.Pooled:
        """Pool a stream.

        Args:
            index: 0 for rgb, 1 for audio.
            embedded: the first layer's output, float32 (B, T, E); its padding holds any finite numbers.
            states: float32 (B, T, 2H).
            lengths: int64 (B,).
            mask: float32 (B, T), see :func:`length_mask`.

        Returns:
            pooled (B, P), and the weights (B, T).
        """
        weights = self._weights(index, states, lengths, mask)  # (B, T)
        return paddle.bmm(weights.unsqueeze(1), states).squeeze(1), weights  # (B, 1, T) @ (B, T, 2H) → (B, 2H)

    def _weights(self, index: int, states: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each second, float32 (B, T); arguments as for ``_pool``."""
        scores = getattr(self, f"att_fc{index}")(states).squeeze(2)  # (B, T)
        return masked_softmax(scores, mask)  # (B, T)


class AttentionAndDeviation(AttentionLSTM):
    """The same network, with the mean deviation of the first layer's output beside what attention pools.

    It is not the source course's model: for few clips, see ``data/README.md``. Cf. statistics pooling, K. Okabe et al.,
    arXiv:1803.10963.
    """

    pooling = "attention+deviation"

    def _pooled_size(self, embedding_size: int, state_size: int) -> int:
        """Return 2H + E."""
        return state_size + embedding_size

    def _pool(self, index: int, embedded: Tensor, states: Tensor, lengths: Tensor, mask: Tensor) -> streams.Pooled:
        """Return what attention pools and the mean deviation (B, 2H + E), and the attention (B, T)."""
        attended, weights = super()._pool(index, embedded, states, lengths, mask)  # (B, 2H), (B, T)
        return paddle.concat([attended, mean_deviation(embedded, mask)], axis=1), weights  # (B, 2H), (B, E) → (B, P)


class MeanPooling(AttentionLSTM):
    """The same network with the mean of all states in place of attention, for comparison."""

    pooling = "mean"

    def _add_pooling(self, index: int, state_size: int) -> None:
        """Add nothing: the mean has no parameters."""

    def _weights(self, index: int, states: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Return the same weight, float32 (B, T), for all seconds of a video."""
        return equal_weights(mask)


class LastState(AttentionLSTM):
    """The same network with the final state of each direction in place of attention, for comparison."""

    pooling = "last"

    def _add_pooling(self, index: int, state_size: int) -> None:
        """Add nothing: taking a state needs no parameters."""

    def _pool(self, index: int, embedded: Tensor, states: Tensor, lengths: Tensor, mask: Tensor) -> streams.Pooled:
        """Return the final states (B, 2H) and a weight of 1 on the last second (B, T)."""
        last_second = mask - paddle.concat([mask[:, 1:], paddle.zeros_like(mask[:, :1])], axis=1)  # (B, T)
        size = states.shape[2] // 2
        forward = paddle.bmm(last_second.unsqueeze(1), states[:, :, :size]).squeeze(1)  # (B, 1, T) @ (B, T, H) → (B, H)
        backward = states[:, 0, size:] * mask[:, :1]  # (B, H), after the first second; 0 without seconds
        return paddle.concat([forward, backward], axis=1), last_second  # 2 × (B, H) → (B, 2H)


POOLINGS = {net.pooling: net for net in (AttentionLSTM, AttentionAndDeviation, MeanPooling, LastState)}
