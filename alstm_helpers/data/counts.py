"""How many videos a shard holds, recorded when it is written, so that nobody needs to open it to count them.

``convert`` and ``download`` have the number in the manifest that they keep anyway; ``make-data`` and ``features`` write
``tf/train.shards.jsonl`` beside the folder ``tf/train``. A row is believed while the shard has the size that it names
and is not newer than the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from alstm_helpers.errors import AlstmError
from alstm_helpers.ledger import Ledger, LedgerRow
from alstm_helpers.tfrecord import count_records


class Told(NamedTuple):
    """The number of videos that a manifest tells of a shard, and the manifest."""

    videos: int
    manifest: Path


def _manifests(folder: Path) -> dict[Path, tuple[str, str | None]]:
    """Return the manifests of a folder of shards: the key of a shard's name, and its ending if it is not the shard's.

    That of ``convert`` has pickles under the names of their TFRecords.
    """
    return {
        folder / "manifest.jsonl": ("shard", ".tfrecord"),
        folder / "downloads.jsonl": ("file", None),
        _own_manifest(folder): ("shard", None),
    }


def _own_manifest(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.shards.jsonl"


def told_counts(shards: Iterable[Path]) -> dict[Path, Told]:
    """Return the videos of the shards of which a manifest tells; no shard is opened."""
    by_folder: dict[Path, list[Path]] = {}
    for shard in shards:
        by_folder.setdefault(shard.absolute().parent, []).append(shard)
    found = {}
    for folder, inside in by_folder.items():
        for manifest, (key, suffix) in _manifests(folder).items():
            if manifest.is_file():
                written = manifest.stat().st_mtime_ns  # before it is read: it may be growing
                rows = Ledger(manifest, key).rows
                for shard in inside:
                    row = rows.get(shard.stem + (suffix or shard.suffix), {})
                    if _is_of(row, shard.stat(), written):
                        found[shard] = Told(row["videos"], manifest)
    return found


def _is_of(row: LedgerRow, shard: os.stat_result, written: int) -> bool:
    """Return whether a row tells the videos of a shard as it is, in a manifest that was written at that time, in ns."""
    sized = row.get("bytes") == shard.st_size and shard.st_mtime_ns <= written
    return sized and type(row.get("videos")) is int and row["videos"] >= 0


def require_count(shard: Path, videos: int, told: Told | None) -> None:
    """Require that a shard holds as many videos as its manifest tells, if any does.

    Raises:
        AlstmError: it does not.
    """
    if told is not None and told.videos != videos:
        problem = f"it holds {videos} videos, but {told.manifest} says {told.videos}, by which the steps were counted"
        raise AlstmError(shard, problem, "remove its line there, then start again: the shard is read instead")


def counted(row: LedgerRow, shard: Path) -> LedgerRow:
    """Return a row with the number of videos of a TFRecord shard; as it is if the shard is damaged, as readers say."""
    with suppress(AlstmError):
        return {**row, "videos": count_records(shard)}
    return row


def has_counts(folder: Path, shards: Iterable[Path]) -> bool:
    """Return whether :func:`record_counts` has left the counts of these shards, whole, and no others."""
    ledger = Ledger(_own_manifest(folder), "shard")
    return ledger.is_settled and ledger.rows.keys() == {shard.name for shard in shards}


def record_counts(folder: Path, shards: Iterable[Path]) -> None:
    """Record the videos of the TFRecord shards of a folder, and of no others, for :func:`told_counts`."""
    ledger = Ledger(_own_manifest(folder), "shard")
    ledger.rows = {shard.name: counted({"shard": shard.name, "bytes": shard.stat().st_size}, shard) for shard in shards}
    ledger.settle()
    if ledger.rows:
        os.utime(ledger.path)  # a shard that was written again may have the same row
