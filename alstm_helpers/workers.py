"""Processes that end when the process that started them does, however that ends."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from joblib import Parallel, parallel_config
from joblib.externals.loky import get_reusable_executor

from alstm_helpers.runtime import usable_cores

_INTERVAL = 0.1  # seconds between two looks at the parent


def begin(parent: int, cores: int) -> None:
    """Begin as one of several processes: see :func:`end_with`, and take no more than a share of the cores."""
    os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)
    end_with(parent)


def end_with(parent: int) -> None:
    """End this process as soon as the process that started it is gone, even if that was killed; call it in the child.

    Without this, joblib's processes wait five minutes for more work. On Windows they still do: a process keeps its
    parent's number there.

    Args:
        parent: number of the process that started this one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()


def processes(count: int, jobs: int) -> AbstractContextManager[object]:
    """Let joblib's Parallel run its jobs in processes that end with this one, and that share the cores.

    Each has its share of cores and threads, whatever number this process has: the package sets that when it is
    imported.

    Args:
        count: of processes; -1 for one per core. No more are started than there are jobs.
        jobs: number of jobs.
    """
    needed = max(1, min(usable_cores() if count < 0 else count, jobs))
    share = max(1, usable_cores() // needed)
    where: AbstractContextManager[object] = parallel_config(
        backend="loky",
        n_jobs=needed,
        initializer=begin,
        initargs=(os.getpid(), share),
        inner_max_num_threads=share,
    )
    return where


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep joblib's warnings from users: that jobs are cancelled, or that a process with much memory was replaced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
        yield


def results(
    jobs: Iterable[object], where: AbstractContextManager[object], *, ahead: str = "2 * n_jobs"
) -> Generator[Any, None, None]:
    """Run jobs and yield what each returns as soon as it is done; once the generator is closed, none is running.

    Args:
        jobs: made by joblib's ``delayed``.
        where: the processes, see :func:`processes`, or another configuration of joblib.
        ahead: how many jobs are taken before the first is done; ``n_jobs`` where the order may depend on the results.
    """
    with where, without_warnings():
        yield from Parallel(return_as="generator_unordered", pre_dispatch=ahead)(jobs)


def end_idle() -> None:
    """End joblib's processes, which would wait for more work, and hold what they have in memory."""
    get_reusable_executor().shutdown(wait=True)
