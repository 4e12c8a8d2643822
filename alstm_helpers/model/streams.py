"""Work on both streams at once, each in a thread of its own: forward, and backward.

A step of a small network is too little work for OpenMP, whose threads wait for each other at the end of every
operator. Two threads that meet twice per step do not: the streams have nothing to do with each other until they are
pooled. Paddle lets go of the interpreter's lock inside its operators. Where another program has taken a core, even two
threads lose to one, so both ways are tried now and then, and the faster one is taken. Both give the same bits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeAlias, TypeVar

from alstm_helpers.runtime import Tensor, paddle

ResultT = TypeVar("ResultT")
TRIED_EVERY, REMEMBERED = 64, 3  # calls until the slower way is tried again, and how many of each way's are remembered
Pooled: TypeAlias = tuple[Tensor, Tensor]  # what a stream is pooled to (B, P), and its weights (B, T)


def at_once(works: Sequence[Callable[[], ResultT]]) -> list[ResultT]:
    """Return what each work returns; the first one is done by this thread.

    Gradients are on or off in each work as they are here.

    Raises:
        Exception: what the first work that failed raised, once all have ended.
    """
    if not works:
        return []
    recording = paddle.is_grad_enabled()  # a new thread always records
    others = [_threads().submit(_recorded, work, recording) for work in works[1:]]
    try:
        first = works[0]()
    finally:
        for other in others:
            other.exception()  # waits
    return [first, *(other.result() for other in others)]


def _recorded(work: Callable[[], ResultT], recording: bool) -> ResultT:
    with paddle.set_grad_enabled(recording):
        return work()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="stream")


class Pace:
    """Do works at once or one after the other, whichever was faster lately."""

    def __init__(self) -> None:
        self._calls = 0
        self._costs: dict[bool, deque[float]] = {True: deque(maxlen=REMEMBERED), False: deque(maxlen=REMEMBERED)}

    def run(self, works: Sequence[Callable[[], ResultT]], size: int, way: bool | None) -> list[ResultT]:
        """Return what each work returns.

        Args:
            works: see :func:`at_once`.
            size: of the works; calls are compared by their seconds per size.
            way: True for at once, False for one after the other, None for the faster one.
        """
        chosen = self._faster() if way is None else way
        start = time.perf_counter()
        results = at_once(works) if chosen else [work() for work in works]
        self._costs[chosen].append((time.perf_counter() - start) / size)
        return results

    def _faster(self) -> bool:
        """Return the faster way by its best recent call, since one call may be slow by chance; or try the other one."""
        self._calls += 1
        once, turn = (min(self._costs[way], default=None) for way in (True, False))
        faster = turn is None or once is None or once <= turn
        return not faster if self._calls % TRIED_EVERY == REMEMBERED else faster


class Team:
    """Both streams of a network, and how fast their passes are."""

    def __init__(self) -> None:
        self.forward, self.backward, self.scoring = Pace(), Pace(), Pace()

    def pool(self, works: Sequence[Callable[[], Pooled]], size: int, way: bool | None) -> list[Pooled]:
        """Pool every stream, on a CPU.

        ``backward()`` of what is computed from the pooled states adds to ``grad`` of every parameter, as usual.
        ``paddle.grad`` does not see the parameters through this, and the weights pass no gradient on.

        Args:
            works: each pools a stream; it draws no random numbers, since Paddle has one generator for all threads.
            size, way: see :meth:`Pace.run`.
        """
        if not paddle.is_grad_enabled():
            return self.scoring.run(works, size, way)
        anchor = paddle.zeros([1])
        anchor.stop_gradient = False
        found = _Streams.apply(anchor, works, self, size, way)
        return list(zip(found[::2], found[1::2], strict=True))


class _Streams(paddle.autograd.PyLayer):  # type: ignore[misc]
    """The streams as one operator, whose backward pass is that of each stream."""

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, works: Sequence[Callable[[], Pooled]], team: Team, size: int, way: bool | None
    ) -> tuple[Tensor, ...]:
        """Return what the works return, (pooled, weights) of the first one and so on, as one flat tuple.

        ``anchor`` is any tensor that needs a gradient: without one, Paddle would not call ``backward``.
        """
        with paddle.enable_grad():
            found = team.forward.run(works, size, way)
        ctx.pooled = [pooled for pooled, _ in found]
        ctx.backward_pass = partial(team.backward.run, size=size, way=way)
        return tuple(tensor.detach() for pair in found for tensor in pair)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add the gradients of the streams' parameters, given those of the pooled states; see :meth:`Team.pool`."""
        pairs = zip(ctx.pooled, gradients[::2], strict=True)
        learning = [pair for pair in pairs if not pair[0].stop_gradient]  # not those whose layers are frozen
        ctx.backward_pass([partial(paddle.autograd.backward, [pooled], [gradient]) for pooled, gradient in learning])
        return paddle.zeros([1])
