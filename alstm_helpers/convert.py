"""TFRecord shards to pickles (chapter 3.2), without TensorFlow; one shard is one unit of work."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_records_by, write_json_lines
from alstm_helpers.pickles import save_videos
from alstm_helpers.tfrecord import read_videos


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
    """Convert one shard and describe the pickle; an error is returned, so that others can go on."""
    start = time.perf_counter()
    try:
        videos = list(read_videos(source))
        save_videos(target, videos, keys=keys)
    except AlstmError as error:
        return error
    except OSError as error:
        return AlstmError(target, error.strerror or str(error), "free some space or choose another DST, then run again")
    content = target.read_bytes()
    return {
        "shard": source.name,
        "videos": len(videos),
        "frames": sum(video.num_frames for video in videos),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "seconds": round(time.perf_counter() - start, 3),
        **({"keys": keys} if keys != "str" else {}),
    }


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    workers: int = -1,
    keys: str = "str",
    keep_going: bool = False,
    progress: Callable[..., Iterable[Any]] = lambda items, **_: items,
) -> Conversion:
    """Convert every ``*.tfrecord`` below ``source`` to ``target/<name>.pkl``; a rerun does what is missing.

    ``target/manifest.jsonl`` gets one object a shard: ``shard, videos, frames, bytes, sha256, seconds``, of
    which bytes and sha256 are the pickle's. A shard is done when its row is there and its pickle has that size.

    Args:
        source: folder of shards, or one shard.
        target: folder for the pickles.
        workers: processes, -1 for one a core.
        keys: ``"str"`` or ``"bytes"``, see :func:`alstm_helpers.pickles.save_videos`.
        keep_going: convert the other shards when one fails.
        progress: wraps the iterable of finished shards, called with ``total`` and ``desc``.

    Raises:
        AlstmError: no shards, two shards of one name, or without ``keep_going`` the first shard that fails.
    """
    shards = _shards_below(Path(source))
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise AlstmError(target, "this is a file", "name a folder for the pickles")
    manifest = target / "manifest.jsonl"
    rows = read_records_by(manifest, "shard")
    result = Conversion()
    jobs = []
    for name, shard in shards.items():
        if _is_done(rows.get(shard.name), target / f"{name}.pkl", keys):
            result.skipped += 1
        else:
            # Absolute: worker processes that run already have a current folder of their own.
            jobs.append(delayed(convert_shard)(shard.absolute(), (target / f"{name}.pkl").absolute(), keys))
    if jobs:
        target.mkdir(parents=True, exist_ok=True)
    finished = Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
    for row in progress(finished, total=len(jobs), desc="converting"):
        if isinstance(row, AlstmError):
            if not keep_going:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # joblib's remark that the other shards are cancelled
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
    if jobs:
        write_json_lines(manifest, (rows[name] for name in sorted(rows)))
    return result


def _shards_below(source: Path) -> dict[str, Path]:
    """Shards by name, the part before the first dot."""
    if not source.exists():
        raise AlstmError(source, "no such folder", "check the path, or make data with `alstm make-data`")
    found = sorted(source.rglob("*.tfrecord")) if source.is_dir() else [source]
    if not found:
        raise AlstmError(source, "no *.tfrecord below it", "download shards, or make data with `alstm make-data`")
    shards: dict[str, Path] = {}
    for path in found:
        name = path.name.partition(".")[0]
        if name in shards:
            raise AlstmError(path, f"{shards[name]} would become the same {name}.pkl", "convert them to two folders")
        shards[name] = path
    return shards


def _is_done(row: dict[str, Any] | None, pickle: Path, keys: str) -> bool:
    if row is None or row.get("keys", "str") != keys or not pickle.is_file():
        return False
    return bool(pickle.stat().st_size == row.get("bytes"))
