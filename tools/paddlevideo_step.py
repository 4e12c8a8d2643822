"""Time a training step as PaddleVideo's port of this model does it: the baseline of ``alstm bench``, not for use.

Every video is padded to 512 frames and passed to the network as float32, with a float32 mask of the features' own
shape; attention is exp / sum, without subtracting the largest score. The script imports nothing from this package, so
Paddle uses the threads that its wheel sets, unless the caller sets the environment.

    python tools/paddlevideo_step.py '[[213, 187], [300, 152, 99]]'      # the seconds of each video, batch by batch

The first batch runs once more beforehand, to warm up. Prints the seconds per step of each batch, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
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


def main() -> None:
    """Train on each batch once, and print the seconds as JSON."""
    batches = json.loads(sys.argv[1])
    paddle.seed(0)
    net = PaddedNetwork()
    optimizer = paddle.optimizer.RMSProp(
        2.5e-4, rho=0.95, epsilon=1e-6, centered=True, parameters=net.parameters(), weight_decay=4e-4
    )
    times = []
    for lengths in (batches[0], *batches):
        streams, labels = make_streams(lengths), paddle.zeros([len(lengths), CLASSES])
        start = time.perf_counter()
        logits = net(streams)
        paddle.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum").backward()
        optimizer.step()
        optimizer.clear_grad()
        times.append(time.perf_counter() - start)
    print(json.dumps(times[1:]))


if __name__ == "__main__":
    main()
