"""TFRecord shards to pickles (chapter 3.2), without TensorFlow; one shard is one unit of work."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from alstm_helpers.data.filelists import shards_below
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed, leftovers, write_json_lines
from alstm_helpers.ledger import Ledger
from alstm_helpers.pickles import save_videos
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.tfrecord import read_videos

DASK_TIMEOUT = 10  # seconds until a scheduler, and a worker of it, must have answered


@dataclass
class Conversion:
    """What a run did. ``failed`` holds the error of each shard that could not be converted."""

    converted: int = 0
    videos: int = 0
    frames: int = 0
    skipped: int = 0
    failed: list[AlstmError] = field(default_factory=list)

    def summary(self) -> str:
        """The last line of ``alstm convert``."""
        return (
            f"converted {self.converted} shards, {self.videos} videos, {self.frames} frames, "
            f"{self.skipped} skipped, {len(self.failed)} failed"
        )


def convert_shard(source: Path, target: Path, keys: str = "str") -> dict[str, Any] | AlstmError:
    """Convert one shard and describe the pickle; an error is returned, so that others can go on.

    One video at a time is in memory, whatever the shard's size.
    """
    start = time.perf_counter()
    try:
        saved = save_videos(target, read_videos(source), keys=keys)
    except AlstmError as error:
        return error
    except OSError as error:
        where = error.filename or target
        return AlstmError(
            where, error.strerror or str(error), "free some space or mend the permissions, then run again"
        )
    row = {"shard": source.name, **saved._asdict(), "seconds": round(time.perf_counter() - start, 3)}
    return row if keys == "str" else {**row, "keys": keys}


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    workers: int = -1,
    keys: str = "str",
    keep_going: bool = False,
    scheduler: str | None = None,
    progress: ProgressBar = no_progress,
) -> Conversion:
    """Convert every ``*.tfrecord`` below ``source`` to ``target/<name>.pkl``; a rerun does what is missing.

    ``target/manifest.jsonl`` gets one object a shard: ``shard, videos, frames, bytes, sha256, seconds``, of
    which bytes and sha256 are the pickle's. A shard is done when its row is there, and its pickle has that
    size and is no older than the shard.

    Args:
        source: folder of shards, or one shard.
        target: folder for the pickles.
        workers: processes, -1 for one a core.
        keys: ``"str"`` or ``"bytes"``, see :func:`alstm_helpers.pickles.save_videos`.
        keep_going: convert the other shards when one fails.
        scheduler: address of a Dask scheduler (``tcp://host:8786``) whose workers do the work instead; they
            must have this package, and see both folders under the same paths.
        progress: wraps the finished shards, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: no shards, two shards of one name, or without ``keep_going`` the first shard that fails;
            another run is writing to ``target``; workers that die or a scheduler that does not answer.
    """
    shards = shards_below(source, [".tfrecord"], "download shards, or make data with `alstm make-data`")
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise AlstmError(target, "this is a file", "name a folder for the pickles")
    manifest = target / "manifest.jsonl"

    def look() -> tuple[dict[str, dict[str, Any]], dict[Path, Path]]:
        """The rows of the manifest, and what is left to do: shards and their pickles."""
        rows, pickles = Ledger(manifest, "shard").rows, {name: target / f"{name}.pkl" for name in shards}
        left = [
            name for name, shard in shards.items() if not _is_done(rows.get(shard.name), shard, pickles[name], keys)
        ]
        return rows, {shards[name]: pickles[name] for name in left}

    rows, todo = look()
    if not todo and list(rows) == sorted(rows) and not leftovers(target):
        return Conversion(skipped=len(shards))
    with claimed(target):
        rows, todo = look()
        result = Conversion(skipped=len(shards) - len(todo))
        sizes = {shard.name: shard.stat().st_size for shard in todo}

        def read(row: dict[str, Any] | AlstmError) -> int:
            return 0 if isinstance(row, AlstmError) else sizes[row["shard"]]

        finished = _convert_all(todo, keys, workers, scheduler)
        bar = progress(finished, total=len(todo), desc="converting", size=read, total_size=sum(sizes.values()))
        for row in bar:
            if isinstance(row, AlstmError):
                if not keep_going:
                    finished.close()
                    raise row
                result.failed.append(row)
                continue
            rows[row["shard"]] = row
            with manifest.open("a", encoding="utf-8") as file:  # a crash loses at most the last row
                file.write(json.dumps(row) + "\n")
            result.converted += 1
            result.videos += row["videos"]
            result.frames += row["frames"]
        if result.converted or list(rows) != sorted(rows):
            write_json_lines(manifest, (rows[name] for name in sorted(rows)))
    result.failed.sort(key=str)
    return result


def _convert_all(
    todo: dict[Path, Path], keys: str, workers: int, scheduler: str | None
) -> Generator[dict[str, Any] | AlstmError, None, None]:
    """The outcome of each shard as it is finished, by processes of this machine or of a Dask cluster."""
    # Absolute: worker processes that run already have a current folder of their own.
    jobs = [delayed(convert_shard)(shard.absolute(), pickle.absolute(), keys) for shard, pickle in todo.items()]
    if not jobs:
        return
    backend = _dask(scheduler) if scheduler else parallel_config(backend="loky", n_jobs=workers)
    with backend, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="joblib")  # that the others are cancelled
        try:
            yield from Parallel(return_as="generator_unordered")(jobs)
        except Exception as error:
            if not scheduler and not isinstance(error, BrokenProcessPool):
                raise
            problem = f"work was lost before its shard was done ({type(error).__name__}: {error})"
            remedy = "run the same command again, with fewer --workers if memory was short"
            raise AlstmError(f"--scheduler {scheduler}" if scheduler else "--workers", problem, remedy) from error


@contextmanager
def _dask(scheduler: str) -> Iterator[None]:
    """Let joblib hand its work to a Dask cluster.

    Dask sends functions between its processes by pickle: only connect to a cluster of your own.
    """
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # their tracebacks; what matters is raised below
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(scheduler, timeout=DASK_TIMEOUT))
            client.wait_for_workers(1, timeout=DASK_TIMEOUT)
        except (OSError, ValueError, asyncio.TimeoutError) as error:  # until Python 3.10 not the built-in TimeoutError
            problem = f"no Dask scheduler with workers answers ({error})"
            remedy = "start one with `dask scheduler`, and `dask worker ADDRESS` on each machine, and pass its address"
            raise AlstmError(f"--scheduler {scheduler}", problem, remedy) from error
        stack.enter_context(parallel_config(backend="dask", client=client))
        yield


def _is_done(row: dict[str, Any] | None, shard: Path, pickle: Path, keys: str) -> bool:
    if row is None or row.get("keys", "str") != keys or not pickle.is_file():
        return False
    there = pickle.stat()
    return bool(there.st_size == row.get("bytes") and shard.stat().st_mtime_ns <= there.st_mtime_ns)
