"""Work on both streams at once, each in a thread of its own: forward, and backward.

A step of a small network is too little work for OpenMP, whose threads wait for each other at the end of every
operator, and for long if another process has taken one of the cores. Two threads that meet twice per step do not: the
streams have nothing to do with each other until they are pooled. Paddle lets go of the interpreter's lock inside its
operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeAlias, TypeVar

from alstm_helpers.runtime import Tensor, paddle

Result = TypeVar("Result")
Pooled: TypeAlias = tuple[Tensor, Tensor]  # a stream's pooled states (B, 2H) and its weights (B, T)


def at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
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


def _recorded(work: Callable[[], Result], recording: bool) -> Result:
    with paddle.set_grad_enabled(recording):
        return work()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="stream")


class _Streams(paddle.autograd.PyLayer):  # type: ignore[misc]
    """The streams as one operator, whose backward pass is that of each stream, at once."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, works: Sequence[Callable[[], Pooled]]) -> tuple[Tensor, ...]:
        """Return what the works return, (pooled, weights) of the first one and so on, as one flat tuple.

        ``anchor`` is any tensor that needs a gradient: without one, Paddle would not call ``backward``.
        """
        with paddle.enable_grad():
            found = at_once(works)
        ctx.pooled = [pooled for pooled, _ in found]
        return tuple(tensor.detach() for pair in found for tensor in pair)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add the gradients of the streams' parameters, given those of the pooled states; see :func:`pool`."""
        pairs = zip(ctx.pooled, gradients[::2], strict=True)
        learning = [pair for pair in pairs if not pair[0].stop_gradient]  # not those whose layers are frozen
        at_once([partial(paddle.autograd.backward, [pooled], [gradient]) for pooled, gradient in learning])
        return paddle.zeros([1])


def pool(works: Sequence[Callable[[], Pooled]]) -> list[Pooled]:
    """Pool every stream at once, on a CPU.

    ``backward()`` of what is computed from the pooled states adds to ``grad`` of every parameter, as usual.
    ``paddle.grad`` does not see the parameters through this, and the weights pass no gradient on.

    Args:
        works: each pools a stream; it draws no random numbers, since Paddle has one generator for all threads.
    """
    if not paddle.is_grad_enabled():
        return at_once(works)
    anchor = paddle.zeros([1])
    anchor.stop_gradient = False
    found = _Streams.apply(anchor, works)
    return list(zip(found[::2], found[1::2], strict=True))
