"""Chapter 3.3: split your own videos into training and validation; write the four lists of shards by purpose."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alstm_helpers.data.filelists import SUFFIXES, filelist_text, own_name, shards_below, write_filelist
from alstm_helpers.errors import AlstmError, printable
from alstm_helpers.files import claimed, leftovers
from alstm_helpers.pickles import load_shard, save_videos
from alstm_helpers.tfrecord import Video

# YouTube-8M's test split has no labels, so evaluation and inference name the validation shards.
LISTS = {"train.list": "train", "val.list": "val", "test.list": "val", "infer.list": "val"}
ONE_VIDEO = r"^@*[^@]*"  # the text before the @ in an id names the video, even if it begins with @; the rest, a part
SIDES = ("train", "val")
LAYOUTS = {"pkl": ".pkl", "tf": ".tfrecord"}


def find_shards(root: Path, split: str) -> list[Path]:
    """Return the shards of one split, sorted and absolute: pickles if there are any, otherwise TFRecords.

    Raises:
        AlstmError: there are neither.
    """
    for folder in LAYOUTS:
        if shards := _shards_in(root, folder, split):
            return [own_name(shard) for shard in shards]
    raise AlstmError(
        root / "pkl" / split, "no .pkl here and no .tfrecord in tf/", "make or download data, then convert it"
    )


def _shards_in(root: Path, layout: str, split: str) -> list[Path]:
    """Return the shards of one split in one of ``LAYOUTS``, sorted; none that is hidden, as macOS writes."""
    return sorted((root / layout / split).glob(f"[!.]*{LAYOUTS[layout]}"))


def unconverted(root: str | os.PathLike[str]) -> tuple[int, int]:
    """Count the TFRecords that the lists leave out, since a conversion that ended early made pickles of others only.

    Returns:
        how many have no pickle of their name, and how many there are, in the splits that were begun.
    """
    missing = total = 0
    for split in SIDES:
        pickles, records = ({shard.stem for shard in _shards_in(Path(root), layout, split)} for layout in LAYOUTS)
        if pickles & records:  # else the pickles are of other data
            missing, total = missing + len(records - pickles), total + len(records)
    return missing, total


def write_lists(root: str | os.PathLike[str]) -> dict[str, int]:
    """Write ``train.list``, ``val.list``, ``test.list`` and ``infer.list`` below ``root``.

    Returns:
        the number of shards in each list.

    Raises:
        AlstmError: a split has no shards (then no list is written), or another run is writing to ``root``.
    """
    root = Path(root)
    lists = lists_below(root)
    done = all(path.is_file() and path.read_bytes() == filelist_text(own).encode() for path, own in lists.items())
    if not done or leftovers(root):
        with claimed(root):
            for path, own in lists.items():
                write_filelist(path, own)
    return {path.name: len(shards) for path, shards in lists.items()}


def lists_below(root: Path) -> dict[Path, list[Path]]:
    """Return what each list of a folder should name.

    Raises:
        AlstmError: a split has no shards.
    """
    shards = {side: find_shards(root, side) for side in SIDES}
    return {root / name: shards[split] for name, split in LISTS.items()}


def filelist_settings(root: Path) -> dict[str, str]:
    """Return the configuration keys that name the lists below ``root``, with their values."""
    sections = {"TRAIN": "train", "VALID": "val", "TEST": "test", "INFER": "infer"}
    return {f"{section}.filelist": str(root / f"{name}.list") for section, name in sections.items()}


def check_no_leak(root: str | os.PathLike[str]) -> int:
    """Read the video ids of every shard, and require that training and validation have none in common.

    Returns:
        the number of ids compared.

    Raises:
        AlstmError: an id is on both sides, or a shard cannot be read.
    """
    root = Path(root)
    train = {video.id: shard for shard in find_shards(root, "train") for video in load_shard(shard)}
    count = len(train)
    for shard in find_shards(root, "val"):
        for video in load_shard(shard):
            count += 1
            if video.id in train:
                remedy = "split by video with `alstm split`, or remove it from one of them"
                raise AlstmError(shard, f"video {video.name} is in {train[video.id]} too", remedy)
    return count


@dataclass
class Split:
    """The outcome of :func:`split_videos`: for ``train`` and ``val``, the number of videos, and of videos by class."""

    videos: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[int]] = field(default_factory=lambda: {side: Counter() for side in SIDES})

    def add(self, video: Video, side: str) -> None:
        """Count a video on its side."""
        self.videos[side] += 1
        self.classes[side].update(video.labels)

    def one_sided(self) -> dict[str, list[int]]:
        """Return, for each side, the classes without a video there: they cannot be learnt, or not be evaluated."""
        every = set(self.classes["train"]) | set(self.classes["val"])
        return {side: sorted(every - set(found)) for side, found in self.classes.items()}


def check_share(val_share: float) -> None:
    """Require 0 < val_share < 1.

    Raises:
        AlstmError: it is not.
    """
    if not 0 < val_share < 1:
        raise AlstmError("--val_share", f"{val_share} is out of range", "pass a number between 0 and 1, such as 0.2")


def compile_group(group: str) -> re.Pattern[bytes]:
    """Compile the ``--group`` expression.

    Raises:
        AlstmError: not a regular expression.
    """
    try:
        return re.compile(group.encode())
    except re.error as error:
        raise AlstmError(f"--group {group}", f"not a regular expression ({error})", "fix it") from None


def group_of(video_id: bytes, group: re.Pattern[bytes]) -> bytes:
    """Return what the expression matches in an id: its first group if it has one, otherwise the whole match.

    Raises:
        AlstmError: it matches nothing.
    """
    found = group.search(video_id)
    if found is None:
        remedy = "pass an expression that matches the source in every id"
        raise AlstmError(
            f"video {printable(video_id)}", f"--group {group.pattern.decode()} finds nothing in it", remedy
        )
    return found[1] if group.groups else found[0]


def joined(names: Sequence[bytes], contents: Sequence[Hashable]) -> list[bytes]:
    """Return a name for each video that it shares with all of the same name, or of the same content, and so on.

    Args:
        names: of the group of each video.
        contents: equal where two videos show the same.
    """
    links: dict[bytes, bytes] = {}  # from a name to one that it is joined with
    first: dict[Hashable, bytes] = {}  # name of each content
    for name, content in zip(names, contents, strict=True):
        mine, other = _last_of(links, name), _last_of(links, first.setdefault(content, name))
        if mine != other:
            links[other] = mine
    return [_last_of(links, name) for name in names]


def _last_of(links: Mapping[bytes, bytes], name: bytes) -> bytes:
    while name in links:
        name = links[name]
    return name


def side_of(video_id: bytes, val_share: float, group: re.Pattern[bytes] | None = None) -> str:
    """Return ``train`` or ``val``, from the id alone, so that no video changes sides when others are added.

    Args:
        video_id: the id.
        val_share: the approximate share of the videos that goes to validation.
        group: videos in whose ids this matches the same text (see :func:`group_of`) stay together.

    Raises:
        AlstmError: ``group`` matches nothing.
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
    """Divide your own shards into ``root/pkl/train`` and ``root/pkl/val`` by video id, see :func:`side_of`.

    Args:
        source: folder of pickles or TFRecords.
        root: folder of the data set.
        val_share: between 0 and 1.
        group: a regular expression for the part of an id that videos of the same person, camera or day share.

    Raises:
        AlstmError: no shards, shards in a folder that would be written, a side without videos, or a folder that holds
            other pickles.
    """
    check_share(val_share)
    pattern = compile_group(group) if group else None
    shards = shards_below(source, SUFFIXES, "name the folder of your pickles or TFRecords")
    folders = {side: Path(root, "pkl", side) for side in SIDES}
    _refuse_own(shards.values(), folders.values())

    def choose(video: Video) -> str:
        return side_of(video.id, val_share, pattern)

    split = _count(shards.values(), choose)  # every fault of the input is found before anything is written
    for side in SIDES:
        if not split.videos[side]:
            problem = f"no video of {split.videos.total()} would go to {side}"
            raise AlstmError(source, problem, "pass another --val_share, or a --group with more values")
    with claimed(*folders.values()):
        for folder in folders.values():
            _refuse_others(folder, shards)
        for name, shard in shards.items():
            _divide(shard, {side: folder / f"{name}.pkl" for side, folder in folders.items()}, choose)
    return split


def _count(shards: Iterable[Path], choose: Callable[[Video], str]) -> Split:
    """Read every video and count the sides."""
    split = Split()
    for shard in shards:
        for video in load_shard(shard):
            split.add(video, choose(video))
    return split


def _divide(shard: Path, pickles: Mapping[str, Path], choose: Callable[[Video], str]) -> None:
    """Write the videos of one shard to a pickle per side; a side without videos has none."""
    videos: dict[str, list[Video]] = {side: [] for side in pickles}
    for video in load_shard(shard):
        videos[choose(video)].append(video)
    for side, path in pickles.items():
        if videos[side]:
            save_videos(path, videos[side])
        else:
            path.unlink(missing_ok=True)  # of a run with another share


def _refuse_own(shards: Iterable[Path], folders: Iterable[Path]) -> None:
    """Require that no shard, nor what it links to, lies in a folder to be written: it would be written over.

    Raises:
        AlstmError: one does.
    """
    written = {folder.resolve() for folder in folders}
    for shard in shards:
        if not written.isdisjoint((shard.parent.resolve(), shard.resolve().parent)):
            raise AlstmError(shard, "the split would write over it", "name another ROOT")


def _refuse_others(folder: Path, names: Iterable[str]) -> None:
    """Require that a folder has no pickles except those of this split: others could hold videos of the other side.

    Raises:
        AlstmError: it has.
    """
    for path in sorted(folder.glob("*.pkl")):
        if path.stem not in names:
            raise AlstmError(path, "it is not part of this split", "choose an empty ROOT, or move it away")
