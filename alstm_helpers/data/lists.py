"""Chapter 3.3: own videos into training and validation, and the four lists of which shard files are used for what."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from alstm_helpers.data.filelists import filelist_text, shards_below, write_filelist
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed
from alstm_helpers.pickles import load_shard, save_videos
from alstm_helpers.tfrecord import Video

# YouTube-8M's test split has no labels, so evaluation and inference name the validation shards.
LISTS = {"train.list": "train", "val.list": "val", "test.list": "val", "infer.list": "val"}
ONE_VIDEO = r"^[^@]+"  # what comes before the @ in an id names the video; the rest names a part of it
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
    lists = {root / name: shards[split] for name, split in LISTS.items()}
    if any(not path.exists() or path.read_text(encoding="utf-8") != filelist_text(own) for path, own in lists.items()):
        with claimed(root):
            for path, own in lists.items():
                write_filelist(path, own)
    return {name: len(shards[split]) for name, split in LISTS.items()}


def filelist_settings(root: Path) -> dict[str, str]:
    """The keys of a configuration that name the lists below ``root``."""
    sections = {"TRAIN": "train", "VALID": "val", "TEST": "test", "INFER": "infer"}
    return {f"{section}.filelist": str(root / f"{name}.list") for section, name in sections.items()}


def check_no_leak(root: str | os.PathLike[str]) -> int:
    """Read every shard's video ids, and make sure that training and validation have none in common.

    Returns:
        how many ids were compared.

    Raises:
        AlstmError: an id stands on both sides, or a shard cannot be read.
    """
    root = Path(root)
    train = {video.id: shard for shard in find_shards(root, "train") for video in load_shard(shard)}
    count = len(train)
    for shard in find_shards(root, "val"):
        for video in load_shard(shard):
            count += 1
            if video.id in train:
                name = video.id.decode(errors="backslashreplace")
                remedy = "split by video with `alstm split`, or take it out of one of them"
                raise AlstmError(shard, f"video {name} is in {train[video.id]} too", remedy)
    return count


@dataclass
class Split:
    """What :func:`split_videos` wrote: videos and videos by class, for ``train`` and ``val``."""

    videos: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[int]] = field(default_factory=lambda: {side: Counter() for side in ("train", "val")})

    def one_sided(self) -> dict[str, list[int]]:
        """Classes that a side has no video of: they cannot be learnt, or not be judged."""
        every = set(self.classes["train"]) | set(self.classes["val"])
        return {side: sorted(every - set(found)) for side, found in self.classes.items()}


def check_share(val_share: float) -> None:
    """Refuse what is no share of the videos."""
    if not 0 < val_share < 1:
        raise AlstmError("--val_share", f"{val_share} is no share", "pass a number between 0 and 1, such as 0.2")


def compile_group(group: str) -> re.Pattern[bytes]:
    """The expression by which videos that belong together are known.

    Raises:
        AlstmError: it is none.
    """
    try:
        return re.compile(group.encode())
    except re.error as error:
        raise AlstmError(f"--group {group}", f"not a regular expression ({error})", "mend it") from None


def group_of(video_id: bytes, group: re.Pattern[bytes]) -> bytes:
    """What the expression finds in an id: its first group, if it has one.

    Raises:
        AlstmError: it finds nothing.
    """
    found = group.search(video_id)
    if found is None:
        text = video_id.decode(errors="backslashreplace")
        remedy = "give an expression that finds the source in every id"
        raise AlstmError(f"video {text}", f"--group {group.pattern.decode()} finds nothing in it", remedy)
    return found[1] if group.groups else found[0]


def side_of(video_id: bytes, val_share: float, group: re.Pattern[bytes] | None = None) -> str:
    """``train`` or ``val``, from the id alone, so that a video never changes sides when others are added.

    Args:
        video_id: the id.
        val_share: about this share of the videos goes to validation.
        group: videos in whose ids this finds the same text (its first group, if it has one) stay together.

    Raises:
        AlstmError: ``group`` finds nothing.
    """
    name = video_id if group is None else group_of(video_id, group)
    return "val" if int.from_bytes(hashlib.md5(name).digest(), "big") < val_share * 2**128 else "train"


def split_videos(
    source: str | os.PathLike[str],
    root: str | os.PathLike[str],
    *,
    val_share: float = 0.2,
    group: str | None = None,
) -> Split:
    """Divide own shards into ``root/pkl/train`` and ``root/pkl/val`` by video id, see :func:`side_of`.

    Args:
        source: folder of pickles or TFRecords.
        root: the data set's folder.
        val_share: between 0 and 1.
        group: a regular expression for ids, for videos that belong together (one person, camera or day).

    Raises:
        AlstmError: nothing to split, one side without a video, a folder that holds other pickles.
    """
    check_share(val_share)
    pattern = compile_group(group) if group else None
    shards = shards_below(source, [".pkl", ".tfrecord"], "name the folder of your pickles or TFRecords")
    folders = {side: Path(root, "pkl", side) for side in ("train", "val")}
    split = Split()
    for shard in shards.values():  # everything that can go wrong does so before anything is written
        for video in load_shard(shard):
            side = side_of(video.id, val_share, pattern)
            split.videos[side] += 1
            split.classes[side].update(video.labels)
    for side in folders:
        if not split.videos[side]:
            problem = f"no video of {split.videos.total()} would go to {side}"
            raise AlstmError(source, problem, "pass another --val_share, or a --group with more values")
    with claimed(*folders.values()):
        for folder in folders.values():
            _refuse_others(folder, shards)
        for name, shard in shards.items():
            videos: dict[str, list[Video]] = {side: [] for side in folders}
            for video in load_shard(shard):
                videos[side_of(video.id, val_share, pattern)].append(video)
            for side, folder in folders.items():
                if videos[side]:
                    save_videos(folder / f"{name}.pkl", videos[side])
                else:
                    (folder / f"{name}.pkl").unlink(missing_ok=True)  # of a run with another share
    return split


def _refuse_others(folder: Path, names: Iterable[str]) -> None:
    """A pickle that this split does not write could hold videos of the other side."""
    for path in sorted(folder.glob("*.pkl")):
        if path.stem not in names:
            raise AlstmError(path, "it is not of this split", "choose an empty ROOT, or move it away")
