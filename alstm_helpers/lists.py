"""The four lists of chapter 3.3: which shard files to train on, validate, test and infer."""

from __future__ import annotations

import os
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write

# YouTube-8M's test split has no labels, so evaluation and inference name the validation shards.
LISTS = {"train.list": "train", "val.list": "val", "test.list": "val", "infer.list": "val"}
LAYOUTS = {"pkl": ".pkl", "tf": ".tfrecord"}


def find_shards(root: Path, split: str) -> list[Path]:
    """The shards of one split: pickles where there are any, else TFRecords; sorted, absolute."""
    for folder, suffix in LAYOUTS.items():
        shards = sorted((root / folder / split).glob(f"*{suffix}"))
        if shards:
            return [shard.resolve() for shard in shards]
    raise AlstmError(
        root / "pkl" / split, "no .pkl here and no .tfrecord in tf/", "make or download data, then convert it"
    )


def write_lists(root: str | os.PathLike[str]) -> dict[str, int]:
    """Write ``train.list``, ``val.list``, ``test.list`` and ``infer.list`` below ``root``.

    Returns:
        how many shards each list names.

    Raises:
        AlstmError: a split has no shards; then no list is written.
    """
    root = Path(root)
    shards = {split: find_shards(root, split) for split in ("train", "val")}
    for name, split in LISTS.items():
        with atomic_write(root / name, "w") as file:
            file.writelines(f"{shard}\n" for shard in shards[split])
    return {name: len(shards[split]) for name, split in LISTS.items()}
