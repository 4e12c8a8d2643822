"""The course-size model's training step in PyTorch: the baseline of ``alstm bench --pytorch PYTHON``.

``alstm_helpers/machine/on_request.py`` runs it in a Python that has PyTorch. The network, the summed loss and the
optimiser are those of the package; the frames are noise. In ``packed``, the backward direction of the LSTM starts at
the end of each video, as in the package. In ``padded``, the LSTM also runs over the padding: that is faster, but a
different network for all videos shorter than the longest of their batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Tensor: TypeAlias = Any  # torch.Tensor; PyTorch is not among this project's packages
Batch: TypeAlias = tuple[list[Tensor], Tensor, Tensor]  # the streams, the lengths, the labels
DIMS, CLASSES, SIZE, FC, DROP = (1024, 128), 20, 64, (128, 64), 0.2


class Network(nn.Module):  # type: ignore[misc]
    """The package's network at the size of the course, on packed or on padded sequences."""

    def __init__(self, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embed = nn.ModuleList(nn.Linear(dim, SIZE) for dim in DIMS)
        self.lstm = nn.ModuleList(nn.LSTM(SIZE, SIZE, batch_first=True, bidirectional=True) for _ in DIMS)
        self.score = nn.ModuleList(nn.Linear(2 * SIZE, 1) for _ in DIMS)
        self.dropout = nn.Dropout(DROP)
        self.top = nn.Sequential(
            nn.Linear(4 * SIZE, FC[0]), nn.ReLU(), nn.Linear(FC[0], FC[1]), nn.Tanh(), nn.Linear(FC[1], CLASSES)
        )

    def forward(self, streams: list[Tensor], lengths: Tensor) -> Tensor:
        """Return the logits (B, C) of uint8 streams (B, T, dim) with lengths (B,)."""
        padding = torch.arange(streams[0].shape[1])[None] >= lengths[:, None]  # (B, T)
        pooled = []
        for index, frames in enumerate(streams):
            embedded = torch.tanh(self.embed[index](frames.float() * (4 / 255) + (4 / 512 - 2)))  # (B, T, E)
            states = self.dropout(self._states(index, embedded, lengths))  # (B, T, 2H)
            scores = self.score[index](states).squeeze(2).masked_fill(padding, -1e30)  # (B, T)
            pooled.append(torch.bmm(torch.softmax(scores, 1).unsqueeze(1), states).squeeze(1))  # (B, 2H)
        return self.top(torch.cat(pooled, 1))

    def _states(self, index: int, embedded: Tensor, lengths: Tensor) -> Tensor:
        if not self.packed:
            return self.lstm[index](embedded)[0]
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm[index](packed)[0], batch_first=True)[0]


def make_batch(lengths: list[int]) -> Batch:
    """Return a batch of random videos of the given lengths, with random labels."""
    rng = np.random.default_rng(0)
    shape = (len(lengths), max(lengths))
    streams = [torch.from_numpy(rng.integers(0, 256, (*shape, dim), dtype=np.uint8)) for dim in DIMS]
    labels = torch.from_numpy((rng.random((len(lengths), CLASSES)) < 0.15).astype(np.float32))
    return streams, torch.tensor(lengths), labels


def make_epoch(batches: list[Batch], packed: bool) -> Callable[[], None]:
    """Return a function that trains for an epoch."""
    torch.manual_seed(0)
    net = Network(packed)
    optimizer = torch.optim.RMSprop(net.parameters(), 1e-4, alpha=0.95, eps=1e-6, centered=True)
    loss_of = nn.BCEWithLogitsLoss(reduction="sum")

    def epoch() -> None:
        for streams, lengths, labels in batches:
            loss_of(net(streams, lengths), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def make_works(lengths: str) -> tuple[str, dict[str, Callable[[], None]]]:
    """Return PyTorch's version and an epoch of each network.

    Args:
        lengths: the seconds of each video, batch by batch, as JSON.
    """
    batches = [make_batch(batch) for batch in json.loads(lengths)]
    works = {name: make_epoch(batches, name == "packed") for name in ("packed", "padded")}
    return f"PyTorch {torch.__version__.split('+')[0]}", works
