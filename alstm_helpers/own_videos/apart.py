"""Work on clips in processes of their own, so that whatever one of them does there, the others are finished.

A process works on one clip at a time. If it crashes, as codecs do on damaged files, or takes too long, another
one takes its place, and the clip has an error instead of a result. A process lives on from clip to clip, so a
network is loaded once per process.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

from alstm_helpers.errors import AlstmError, remedy_of
from alstm_helpers.own_videos.containers import CONVERT
from alstm_helpers.runtime import usable_cores
from alstm_helpers.workers import end_with, without_warnings

CLIP_SECONDS = 1800.0  # that a clip may take, with one more for each megabyte of its file
_INTERVAL = 0.05  # seconds between two looks at the work on one clip
_MEMORY = "pass fewer --workers, or convert it to smaller pictures"


class _Item(Protocol):
    """A clip, or a job on one."""

    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...


ItemT = TypeVar("ItemT", bound=_Item)
ResultT = TypeVar("ResultT")


def work_apart(
    work: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, workers: int = 1, seconds: float | None = None
) -> Generator[tuple[ItemT, ResultT | AlstmError], None, None]:
    """Yield each clip with its result, or with the error that it has instead, in the order in which they finish.

    Args:
        work: called in other processes, so it and its results must be picklable.
        items: clips.
        workers: processes; -1 is one per core. 0 is none: the work is done here, where a crash ends everything.
        seconds: that a clip may take; by default ``CLIP_SECONDS``, and one more for each megabyte of its file.
    """
    if not workers:
        yield from ((item, attempt(work, item)) for item in items)
        return
    waiting = deque(items)
    count = min(usable_cores() if workers < 0 else workers, len(waiting))
    idle = [_Worker(max(1, usable_cores() // count)) for _ in range(count)]
    running: dict[Future[Any], _Running[ItemT]] = {}
    try:
        while waiting or running:
            while idle and waiting:
                started = _Running(idle.pop(), waiting.popleft(), seconds)
                running[started.worker.submit(attempt, work, started.item)] = started
            first = min(each.deadline for each in running.values())
            with without_warnings():
                wait(running, max(0.0, first - time.monotonic()), FIRST_COMPLETED)
            ended = [future for future, each in running.items() if future.done() or each.deadline <= time.monotonic()]
            for future in ended:
                each = running.pop(future)
                idle.append(each.worker)
                if each.is_blameless(future):
                    each.worker.kill()
                    waiting.appendleft(each.item)
                else:
                    yield each.item, each.outcome(future)
    finally:
        for worker in [*idle, *(each.worker for each in running.values())]:
            worker.kill()


async def work_on_one(
    work: Callable[[ItemT], ResultT], item: ItemT, *, seconds: float | None = None
) -> ResultT | AlstmError:
    """Return what :func:`work_apart` yields for one clip; if the task is cancelled, the process ends."""
    started = _Running(_Worker(usable_cores()), item, seconds)
    try:
        future = started.worker.submit(attempt, work, item)
        while not future.done() and time.monotonic() < started.deadline:
            await asyncio.sleep(_INTERVAL)
        return started.outcome(future)
    finally:
        started.worker.kill()


class _Running(Generic[ItemT]):
    """A clip that a worker works on, and the time, by the monotonic clock, at which it has taken too long."""

    def __init__(self, worker: _Worker, item: ItemT, seconds: float | None) -> None:
        self.worker, self.item = worker, item
        self.seconds = CLIP_SECONDS + _megabytes(item.path) if seconds is None else seconds
        self.deadline = time.monotonic() + self.seconds
        self.is_first = not worker.is_running

    def is_blameless(self, future: Future[Any]) -> bool:
        """Tell whether the process ended, but an earlier clip may have been what damaged it."""
        return future.done() and isinstance(future.exception(), BrokenProcessPool) and not self.is_first

    def outcome(self, future: Future[ResultT | AlstmError]) -> ResultT | AlstmError:
        """Return the result or the error of the clip; a worker that died or is too late is ended."""
        if not future.done():
            self.worker.kill()
            problem = f"it is not done after {self.seconds:g} s"
            return AlstmError(self.item.name, problem, "leave it out, or pass a larger --clip_seconds")
        try:
            return future.result()
        except BrokenProcessPool as error:
            self.worker.kill()
            signals = re.findall(r"[A-Z]+\(-?\d+\)", str(error))
            problem = f"the process that worked on it ended ({', '.join(signals) or 'no exit code'})"
            return AlstmError(self.item.name, problem, _MEMORY if "SIGKILL(-9)" in signals else CONVERT)


@dataclass
class _Worker:
    """A process that is started when it is needed.

    Args:
        threads: for the libraries in it.
    """

    threads: int
    _executor: ProcessPoolExecutor | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process has worked before."""
        return self._executor is not None

    def submit(self, *call: Any) -> Future[Any]:
        if self._executor is None:
            threads = {f"{library}_NUM_THREADS": str(self.threads) for library in ("OMP", "MKL", "OPENBLAS")}
            self._executor = ProcessPoolExecutor(1, initializer=_start, initargs=(os.getpid(),), env=threads)
        try:
            future: Future[Any] = self._executor.submit(*call)
        except BrokenProcessPool as error:  # it ended after its last clip
            future = Future()
            future.set_exception(error)
        return future

    def kill(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(kill_workers=True)
            self._executor = None


def _start(parent: int) -> None:
    """Begin the life of a worker: what its libraries print goes nowhere, and it ends with its parent."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # such as the last words of a codec; the clip's error says enough
    end_with(parent)


def _megabytes(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except OSError:
        return 0.0


def attempt(work: Callable[[ItemT], ResultT], item: ItemT) -> ResultT | AlstmError:
    """Return the result for a clip; of whatever is raised, a sentence on that clip."""
    try:
        return work(item)
    except AlstmError as error:
        return error
    except OSError as error:
        return AlstmError(str(error.filename or item.name), error.strerror or str(error), remedy_of(error))
    except MemoryError:
        return AlstmError(item.name, "there is not enough memory for it", _MEMORY)
    except Exception as error:
        return AlstmError(item.name, f"it cannot be used ({type(error).__name__}: {error})", CONVERT)
