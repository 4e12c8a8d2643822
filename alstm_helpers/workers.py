"""Processes that end when the process that started them does, however that ends."""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager

from joblib import parallel_config

_INTERVAL = 0.1  # seconds between two looks at the parent


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


def processes(count: int) -> AbstractContextManager[object]:
    """Let joblib's Parallel run its jobs in processes that end with this one.

    Args:
        count: of them; -1 for one per core.
    """
    return parallel_config(backend="loky", n_jobs=count, initializer=end_with, initargs=(os.getpid(),))
