"""A training step as PaddleVideo's port of this model does it: the baseline of ``alstm bench``, not for use.

Every video is padded to 512 frames and passed to the network as float32, with a float32 mask of the features' own
shape; attention is exp / sum, without subtracting the largest score. The script imports nothing from this package, so
Paddle uses the threads that its wheel sets, unless the caller sets the environment.
``alstm_helpers/machine/on_request.py`` runs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle.nn import LSTM, Layer, LayerList, Linear

Tensor: TypeAlias = Any  # a paddle.Tensor; Paddle's own stubs do not pass mypy
Stream: TypeAlias = tuple[Tensor, Tensor, Tensor]  # features (B, 512, dim), lengths (B,), mask (B, 512, dim)
FRAMES, CLASSES = 512, 3862
DIMS = (1024, 128)


class PaddedNetwork(Layer):  # type: ignore[misc]
    """The full-size network on padded streams."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = LayerList([Linear(dim, 512) for dim in DIMS])
        self.lstm = LayerList([LSTM(512, 1024, direction="bidirectional") for _ in DIMS])
        self.score = LayerList([Linear(2048, 1) for _ in DIMS])
        self.top = paddle.nn.Sequential(
            Linear(4096, 8192), paddle.nn.ReLU(), Linear(8192, 4096), paddle.nn.Tanh(), Linear(4096, CLASSES)
        )
        self.dropout = paddle.nn.Dropout(0.5)

    def forward(self, streams: list[Stream]) -> Tensor:
        """Return the logits (B, 3862)."""
        pooled = []
        for index, (features, lengths, masks) in enumerate(streams):
            states, _ = self.lstm[index](paddle.tanh(self.embed[index](features)), sequence_length=lengths)
            states = self.dropout(states)  # (B, 512, 2048)
            mask = masks.mean(axis=2, keepdim=True)  # (B, 512, 1)
            exponents = paddle.exp(self.score[index](states))  # (B, 512, 1)
            weights = exponents / (exponents * mask).sum(axis=1, keepdim=True)  # (B, 512, 1)
            pooled.append((states * weights * mask).sum(axis=1))  # (B, 2048)
        return self.top(paddle.concat(pooled, axis=1))  # (B, 3862)


def make_streams(lengths: list[int]) -> list[Stream]:
    """Return both streams of random videos of the given lengths, padded with zeros."""
    rng = np.random.default_rng(0)
    streams = []
    for dim in DIMS:
        features = np.zeros((len(lengths), FRAMES, dim), np.float32)
        masks = np.zeros_like(features)
        for row, length in enumerate(lengths):
            features[row, :length] = rng.uniform(-2, 2, (length, dim))
            masks[row, :length] = 1
        streams.append(
            (paddle.to_tensor(features), paddle.to_tensor(np.array(lengths, np.int64)), paddle.to_tensor(masks))
        )
    return streams


def make_works(lengths: str) -> tuple[str, dict[str, Callable[[], None]]]:
    """Return Paddle's version and a training step on each batch, by its size; the first one warms up.

    Args:
        lengths: the seconds of each video, batch by batch, as JSON.
    """
    paddle.seed(0)
    net = PaddedNetwork()
    optimizer = paddle.optimizer.RMSProp(
        2.5e-4, rho=0.95, epsilon=1e-6, centered=True, parameters=net.parameters(), weight_decay=4e-4
    )

    def step(streams: list[Stream], labels: Tensor) -> None:
        logits = net(streams)
        paddle.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum").backward()
        optimizer.step()
        optimizer.clear_grad()

    works: dict[str, Callable[[], None]] = {
        str(len(batch)): partial(step, make_streams(batch), paddle.zeros([len(batch), CLASSES]))
        for batch in json.loads(lengths)
    }
    next(iter(works.values()))()
    return f"Paddle {paddle.__version__}", works
