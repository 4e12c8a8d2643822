"""TFRecord shards to pickles (chapter 3.2), without TensorFlow; one shard is one unit of work."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from joblib import delayed, parallel_config

from alstm_helpers.data.filelists import shards_below
from alstm_helpers.errors import AlstmError, remedy_of
from alstm_helpers.files import leftovers
from alstm_helpers.ledger import Ledger, LedgerRow
from alstm_helpers.pickles import save_videos
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.tfrecord import read_videos
from alstm_helpers.workers import processes, results

DASK_TIMEOUT = 10  # seconds within which a scheduler, and one of its workers, must answer


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert shards.

    Args:
        workers: processes; -1 for one per core.
        keys: ``"str"`` or ``"bytes"``, see :func:`alstm_helpers.pickles.save_videos`.
        keep_going: convert the other shards when one fails.
        scheduler: address of a Dask scheduler (``tcp://host:8786``) whose workers do the work instead; they need
            this package, and must see both folders under the same paths.
    """

    workers: int = -1
    keys: str = "str"
    keep_going: bool = False
    scheduler: str | None = None


@dataclass(frozen=True)
class Conversion:
    """The outcome of a run. ``failed`` holds the error of each shard that could not be converted."""

    converted: int = 0
    videos: int = 0
    frames: int = 0
    skipped: int = 0
    failed: list[AlstmError] = field(default_factory=list)

    def summary(self) -> str:
        """Return the last line of ``alstm convert``."""
        return (
            f"converted {self.converted} shards, {self.videos} videos, {self.frames} frames, "
            f"{self.skipped} skipped, {len(self.failed)} failed"
        )


def convert_shard(source: Path, target: Path, keys: str = "str") -> LedgerRow | AlstmError:
    """Convert one shard and describe the pickle. Return an error instead of raising it, so that others can continue.

    Only one video at a time is in memory, whatever the size of the shard.
    """
    start = time.perf_counter()
    try:
        saved = save_videos(target, read_videos(source), keys=keys)
    except AlstmError as error:
        return error
    except OSError as error:
        return AlstmError(error.filename or target, error.strerror or str(error), remedy_of(error))
    row = {"shard": source.name, **saved._asdict(), "seconds": round(time.perf_counter() - start, 3)}
    return row if keys == "str" else {**row, "keys": keys}


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: ConvertOptions = ConvertOptions(),
    *,
    progress: ProgressBar = no_progress,
) -> Conversion:
    """Convert every ``*.tfrecord`` below ``source`` to ``target/<name>.pkl``; a rerun converts the missing ones.

    ``target/manifest.jsonl`` gets one object per shard: ``shard, videos, frames, bytes, sha256, seconds``, where
    bytes and sha256 are the pickle's. A shard is done when it has a row, and its pickle has that size and is not
    older than the shard.

    Args:
        source: folder of shards, or one shard.
        target: folder for the pickles.
        options: see :class:`ConvertOptions`.
        progress: wraps the finished shards, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: no shards, or two shards of the same name; without ``keep_going`` the first shard that fails;
            another run is writing to ``target``; workers that die, or a scheduler that does not answer.
    """
    shards = shards_below(source, [".tfrecord"], "download shards, or make data with `alstm make-data`")
    target = Path(target)
    pickles = {shard: target / f"{name}.pkl" for name, shard in shards.items()}
    ledger = Ledger(target / "manifest.jsonl", "shard")
    if not _to_do(pickles, ledger.rows, options.keys) and ledger.is_settled and not leftovers(target):
        return Conversion(skipped=len(shards))
    with ledger.claimed():
        todo = _to_do(pickles, ledger.rows, options.keys)
        sizes = {shard.name: shard.stat().st_size for shard in todo}

        def read(outcome: LedgerRow | AlstmError) -> int:
            return 0 if isinstance(outcome, AlstmError) else sizes[outcome["shard"]]

        with closing(_convert_all(todo, options)) as outcomes:  # an error here must end the workers at once
            bar = progress(outcomes, total=len(todo), desc="converting", size=read, total_size=sum(sizes.values()))
            done, failed = ledger.add_all(bar, keep_going=options.keep_going)
    videos, frames = (sum(row[count] for row in done) for count in ("videos", "frames"))
    return Conversion(len(done), videos, frames, len(shards) - len(todo), failed)


def _to_do(pickles: Mapping[Path, Path], rows: Mapping[str, LedgerRow], keys: str) -> dict[Path, Path]:
    """Return the shards that are not done, each with its pickle."""
    return {
        shard: pickle for shard, pickle in pickles.items() if not _is_done(rows.get(shard.name), shard, pickle, keys)
    }


def _is_done(row: LedgerRow | None, shard: Path, pickle: Path, keys: str) -> bool:
    """Return whether a pickle is the one that its row of the manifest describes, and not older than its shard."""
    if row is None or row.get("keys", "str") != keys or not pickle.is_file():
        return False
    found = pickle.stat()
    return bool(found.st_size == row.get("bytes") and shard.stat().st_mtime_ns <= found.st_mtime_ns)


def _convert_all(todo: Mapping[Path, Path], options: ConvertOptions) -> Generator[LedgerRow | AlstmError, None, None]:
    """Yield the outcome of each shard as it finishes, from processes of this machine or of a Dask cluster.

    Raises:
        AlstmError: workers that die, or a scheduler that does not answer.
    """
    # Absolute: worker processes that are already running have a current folder of their own.
    jobs = [delayed(convert_shard)(shard.absolute(), pickle.absolute(), options.keys) for shard, pickle in todo.items()]
    if not jobs:
        return
    scheduler = options.scheduler
    backend = _dask(scheduler) if scheduler else processes(options.workers, len(jobs))
    try:
        yield from results(jobs, backend)
    except (AlstmError, ImportError):
        raise
    except Exception as error:
        if not scheduler and not isinstance(error, BrokenProcessPool):
            raise
        problem = f"work was lost before its shard was done ({type(error).__name__}: {error})"
        remedy = "run the same command again, with fewer --workers if memory was short"
        raise AlstmError(f"--scheduler {scheduler}" if scheduler else "--workers", problem, remedy) from error


@contextmanager
def _dask(scheduler: str) -> Iterator[None]:
    """Let joblib send its work to a Dask cluster.

    Dask sends functions between its processes by pickle: only connect to a cluster of your own.

    Raises:
        AlstmError: no scheduler with a worker answers.
    """
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # silence their tracebacks; the error below says enough
        logging.getLogger(name).setLevel(logging.CRITICAL)
    gc.collect()  # An earlier client, finalised while this one starts, would wait for a lock that the start holds.
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(scheduler, timeout=DASK_TIMEOUT))
            client.wait_for_workers(1, timeout=DASK_TIMEOUT)
        except (OSError, ValueError) as error:  # OSError: also a timeout
            problem = f"no Dask scheduler with workers answers ({error})"
            remedy = "start one with `dask scheduler` and, on each machine, `dask worker ADDRESS`; pass its address"
            raise AlstmError(f"--scheduler {scheduler}", problem, remedy) from error
        stack.enter_context(parallel_config(backend="dask", client=client))
        yield
