"""A training step as PaddleVideo's port of this model does it, for ``alstm bench``: the baseline, not a model to use.

Every video is padded to 512 frames and goes to the network as float32, with a float32 mask of the features' own shape;
attention is exp / sum without the largest score subtracted. Nothing of this package is imported, so Paddle's threads
are as its wheel ships them, unless the caller sets the environment.

    python tools/paddlevideo_step.py '[[213, 187], [300, 152, 99]]'      # the seconds of each video, batch by batch

The first batch is computed once more beforehand, to warm up. Prints the seconds of a step for each batch, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import paddle
from paddle.nn import LSTM, Layer, LayerList, Linear

FRAMES, CLASSES = 512, 3862
DIMS = (1024, 128)


class PaddedNetwork(Layer):  # type: ignore[misc]
    """The full-size network on streams of (features (B, 512, dim), lengths (B,), masks (B, 512, dim))."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = LayerList([Linear(dim, 512) for dim in DIMS])
        self.lstm = LayerList([LSTM(512, 1024, direction="bidirectional") for _ in DIMS])
        self.score = LayerList([Linear(2048, 1) for _ in DIMS])
        self.top = paddle.nn.Sequential(
            Linear(4096, 8192), paddle.nn.ReLU(), Linear(8192, 4096), paddle.nn.Tanh(), Linear(4096, CLASSES)
        )
        self.dropout = paddle.nn.Dropout(0.5)

    def forward(self, streams: list[tuple[Any, Any, Any]]) -> Any:
        pooled = []
        for index, (features, lengths, masks) in enumerate(streams):
            states, _ = self.lstm[index](paddle.tanh(self.embed[index](features)), sequence_length=lengths)
            states = self.dropout(states)  # (B, 512, 2048)
            mask = masks.mean(axis=2, keepdim=True)  # (B, 512, 1)
            exponents = paddle.exp(self.score[index](states))  # (B, 512, 1)
            weights = exponents / (exponents * mask).sum(axis=1, keepdim=True)  # (B, 512, 1)
            pooled.append((states * weights * mask).sum(axis=1))  # (B, 2048)
        return self.top(paddle.concat(pooled, axis=1))  # (B, 3862)


def make_streams(lengths: list[int]) -> list[tuple[Any, Any, Any]]:
    rng = np.random.default_rng(0)
    streams = []
    for dim in DIMS:
        features = np.zeros((len(lengths), FRAMES, dim), np.float32)
        masks = np.zeros_like(features)
        for row, length in enumerate(lengths):
            features[row, :length] = rng.uniform(-2, 2, (length, dim))
            masks[row, :length] = 1
        streams.append(tuple(map(paddle.to_tensor, (features, np.array(lengths, np.int64), masks))))
    return streams


def main() -> None:
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
