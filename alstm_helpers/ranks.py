"""Several processes that train together: which of them this is, and what they exchange.

``python -m paddle.distributed.launch`` starts the processes and tells each its rank. Every rank has the whole
network and takes its share of every batch. The loss is a sum, so the gradients of the shares add up to those of
the batch, and all ranks take the same step. Paddle is imported only where something is exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from alstm_helpers import runtime
from alstm_helpers.runtime import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process, ``rank`` of ``count``. Alone (0 of 1), every exchange returns its argument."""

    rank: int = 0
    count: int = 1

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up each parameter's gradient over all ranks, in place."""
        if self.count > 1:
            for parameter in parameters:
                if parameter.grad is not None:  # None of a frozen one, on every rank
                    runtime.paddle.distributed.all_reduce(parameter.grad)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows (N, …) of all ranks, one rank after the other; N may differ from rank to rank."""
        if self.count == 1:
            return rows
        lengths = self._gather_equal(np.array([len(rows)], dtype=np.int64))
        longest = max(int(length[0]) for length in lengths)
        if not longest:  # Gloo divides by the number of values
            return rows
        padded = np.zeros((longest, *rows.shape[1:]), dtype=rows.dtype)
        padded[: len(rows)] = rows
        parts = self._gather_equal(padded)
        return np.concatenate([part[: int(length[0])] for part, length in zip(parts, lengths, strict=True)])

    def _gather_equal(self, array: np.ndarray) -> list[np.ndarray]:
        found: list[Tensor] = []
        runtime.paddle.distributed.all_gather(found, runtime.paddle.to_tensor(array))
        return [tensor.numpy() for tensor in found]


ALONE = Ranks()


def join_ranks() -> Ranks:
    """Join the other processes if the launcher started several: over NCCL on GPUs, over Gloo on CPUs."""
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
        return ALONE
    distributed = runtime.paddle.distributed
    distributed.init_parallel_env()
    return Ranks(distributed.get_rank(), distributed.get_world_size())
