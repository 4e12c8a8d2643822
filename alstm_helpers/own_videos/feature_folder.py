"""The output folder of ``alstm features``: what is in it, and which clips in it are done."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from alstm_helpers.config import load_config
from alstm_helpers.data.class_names import read_classes, write_classes
from alstm_helpers.data.counts import record_counts
from alstm_helpers.data.feature_scale import ABOUT, scale_of
from alstm_helpers.data.filelists import write_filelist
from alstm_helpers.data.lists import ONE_VIDEO, SIDES, compile_group, lists_below
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, read_sealed
from alstm_helpers.ledger import Ledger
from alstm_helpers.own_videos.extractor import REMEDY, Extractor
from alstm_helpers.own_videos.jobs import Job
from alstm_helpers.own_videos.projection import CHANGING, with_changes
from alstm_helpers.own_videos.thumbnails import Thumbnail
from alstm_helpers.own_videos.video_files import location_of
from alstm_helpers.paths import course_files
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.tfrecord import STREAM_DIMS, write_videos

CLIPS_PER_SHARD = 500
_PICTURES = "thumbnails"
_DELETE = "delete it, and run again"
_GROUP = "group"  # in features.json
_NAMED = 3  # clips with the same oddity that are named; of more, one is
SAMPLE_SECONDS = 20_000  # that a projection is fitted on, at most
SHARD_NAMES = {"train": "train%04d.tfrecord", "val": "validate%04d.tfrecord", "infer": "infer%04d.tfrecord"}


@dataclass(frozen=True)
class RawFolder:
    """The backbones' numbers of each clip, one pickle per clip, so that a rerun need not decode it again."""

    path: Path

    def file_of(self, video_id: str) -> Path:
        """Return the file of a clip, named by a hash, as an id may hold what the name of a file may not."""
        return self.path / f"{hashlib.sha256(video_id.encode()).hexdigest()[:20]}.pkl"

    def save(self, video_id: str, streams: Mapping[str, np.ndarray], thumbnails: Sequence[Thumbnail] = ()) -> None:
        """Write float32 (T, D) by stream, and pictures of the clip."""
        pictures = [tuple(thumbnail) for thumbnail in thumbnails]
        save_plain(self.file_of(video_id), {**streams, **({_PICTURES: pictures} if pictures else {})})

    def load(self, video_id: str) -> dict[str, np.ndarray]:
        """Return the numbers that :meth:`save` wrote.

        Raises:
            AlstmError: the file is missing or damaged.
        """
        found = self._load(video_id)
        return {stream: found[stream] for stream in STREAM_DIMS}

    def thumbnails(self, video_id: str) -> list[Thumbnail]:
        """Return pictures of a clip, none if an earlier version read it.

        Raises:
            AlstmError: the file is missing or damaged.
        """
        match self._load(video_id).get(_PICTURES, []):
            case list(found) if all(map(_is_thumbnail, found)):
                return [Thumbnail(*each) for each in found]
        raise AlstmError(self.file_of(video_id), "its thumbnails are not seconds with pictures", _DELETE)

    def _load(self, video_id: str) -> dict[str, Any]:
        path = self.file_of(video_id)
        found = load_plain(path, _DELETE)
        if not isinstance(found, dict) or found.keys() - {_PICTURES} != STREAM_DIMS.keys():
            raise AlstmError(path, f"it does not hold {' and '.join(STREAM_DIMS)}", _DELETE)
        return found

    def sample(self, stream: str, ids: Sequence[str]) -> np.ndarray:
        """Return seconds of clips to fit a projection on, see :func:`sampled`; one clip is in memory at a time."""
        return sampled(stream, map(self.load, ids), len(ids))


def _is_thumbnail(found: object) -> bool:
    match found:
        case (int(), bytes()):
            return True
    return False


def sampled(stream: str, clips: Iterable[Mapping[str, np.ndarray]], count: int) -> np.ndarray:
    """Return seconds of clips to fit a projection on, evenly spaced, float32 (N, D).

    Those of pictures come with their changes.

    Args:
        stream: which numbers.
        clips: the numbers of each, float32 (T, D) by stream.
        count: how many clips there are.
    """
    per_clip = max(1, SAMPLE_SECONDS // count)
    parts = []
    for streams in clips:
        values = streams[stream]
        if stream in CHANGING:
            values = with_changes(values)
        parts.append(values[np.linspace(0, len(values) - 1, min(per_clip, len(values))).astype(int)])
    return np.concatenate(parts)


def group_in(folder: Path) -> str | None:
    """Return the expression by which ``alstm features --group`` kept the clips in a folder together."""
    with contextlib.suppress(AlstmError):  # what else reads a file that is missing or damaged, says so
        found = read_sealed(folder / ABOUT, REMEDY).get(_GROUP)
        return found if isinstance(found, str) else None
    return None


def grouping_in(folder: Path) -> re.Pattern[bytes]:
    """Return what finds in the ids of clips in a folder what related ones share: by ``--group``, else by their file."""
    return compile_group(group_in(folder) or ONE_VIDEO)


class FeatureFolder:
    """A folder of features that can be trained on.

    Args:
        path: need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.raw = RawFolder(path / "raw")
        self.ledger = Ledger(path / "manifest.jsonl", "video")

    def has(self, job: Job) -> bool:
        """Return whether the raw numbers of a clip are here, whole, and made from its file as it is now."""
        row = self.ledger.rows.get(job.id, {})
        try:
            about = job.path.stat()
            if (row.get("bytes"), row.get("modified")) != (about.st_size, about.st_mtime_ns):
                return False
            if _is_another(row.get("file"), job.path):
                return False
            self.raw.load(job.id)
        except (AlstmError, OSError):  # of the clip, which was there a moment ago: reading it says why
            return False
        return isinstance(row.get("notes"), list)

    def shard_folders(self) -> list[Path]:
        """Return the folders of shards and of their counts that are here; a killed run may leave something there."""
        shards = self.path / "tf"
        return [each for each in (shards, *(shards / split for split in SHARD_NAMES)) if each.is_dir()]

    def sides(self) -> dict[str, str]:
        """Return the side of each clip of an earlier run with labels by id."""
        return {name: row["split"] for name, row in self.ledger.rows.items() if row.get("split") in SIDES}

    def ids(self) -> dict[str, str]:
        """Return the id of a clip of each video of an earlier run by the location of the video."""
        return {file: name for name, row in self.ledger.rows.items() if isinstance(file := row.get("file"), str)}

    def numbered(self, classes: Mapping[str, int]) -> dict[str, int]:
        """Return indices for classes: those of earlier features stay, since a model may know a class by its index.

        Args:
            classes: as a folder of labels numbers them, which may have been made anew; new ones follow in their order.

        Raises:
            AlstmError: those of earlier features cannot be read.
        """
        path = self.path / "labels.csv"
        known = read_classes(path) if path.exists() else {}
        new = sorted(classes.keys() - known.keys(), key=classes.__getitem__)
        return known | {name: index for index, name in enumerate(new, max(known.values(), default=-1) + 1)}

    def notes(self, jobs: Sequence[Job]) -> list[str]:
        """Return what was odd about the files of clips; what is odd about many of them is one note."""
        clips: dict[str, list[str]] = {}
        for job in jobs:
            for note in self.ledger.rows[job.id]["notes"]:
                clips.setdefault(note, []).append(job.id)
        notes: list[str] = []
        for note, found in clips.items():
            many = len(found) > _NAMED
            notes += [f"{note}: {len(found)}, such as {found[0]}"] if many else [f"{each}: {note}" for each in found]
        return notes

    def write(
        self, jobs: Sequence[Job], extractor: Extractor, classes: Mapping[str, int] | None, group: str | None = None
    ) -> list[str]:
        """Write the data set; return notes on what the user has to do or to change.

        Args:
            jobs: clips whose raw numbers are here.
            extractor: with all projections that it needs.
            classes: indices by name; None for clips without labels.
            group: the expression by which clips are kept together.
        """
        before = scale_of(self.path)
        extractor.save(self.path, {_GROUP: group} if group else {})
        anew = "the features are scaled anew: models that were trained on them no longer fit, train again"
        notes = [anew] if before and before != scale_of(self.path) else []
        self._write_shards(jobs, extractor)
        notes += self._keep_only(jobs)
        if classes is None:
            write_filelist(self.path / "infer.list", sorted((self.path / "tf" / "infer").glob("*.tfrecord")))
            return notes
        for path, shards in lists_below(self.path).items():
            write_filelist(path, shards)
        write_classes(self.path / "labels.csv", classes)
        return notes + self._write_own_config(max(classes.values(), default=0) + 1)

    def _keep_only(self, jobs: Sequence[Job]) -> list[str]:
        """Drop what is here of other clips, with a note; set what changes without extracting: labels and sides."""
        rows = self.ledger.rows
        gone = sorted(rows.keys() - {job.id for job in jobs})
        self.ledger.rows = {
            job.id: {
                **rows[job.id],
                "file": location_of(job.path),
                "labels": list(job.labels),
                "split": job.split,
            }
            for job in jobs
        }
        kept = {self.raw.file_of(job.id) for job in jobs}
        for path in set(self.raw.path.glob("*.pkl")) - kept:
            path.unlink()
        said = "of an earlier run, and left out now: {}, such as {}; name the files of all clips each time"
        return [said.format(len(gone), gone[0])] if gone else []

    def _write_shards(self, jobs: Sequence[Job], extractor: Extractor) -> None:
        """Write the clips of each split as TFRecords, and remove shards of an earlier run."""
        for split, name in SHARD_NAMES.items():
            chosen = [job for job in jobs if job.split == split]
            folder = self.path / "tf" / split
            written = set[Path]()
            for number, first in enumerate(range(0, len(chosen), CLIPS_PER_SHARD)):
                shard = chosen[first : first + CLIPS_PER_SHARD]
                path = folder / (name % number)
                write_videos(path, (extractor.record(job.id, job.labels, self.raw.load(job.id)) for job in shard))
                written.add(path)
            for path in set(folder.glob("*.tfrecord")) - written:
                path.unlink()
            record_counts(folder, written)

    def lacking_room(self) -> tuple[int, int] | None:
        """Return for how many classes ``own.yaml`` has room, and how many there are, if these are more."""
        with contextlib.suppress(AlstmError):  # whoever uses a file that cannot be read will say so
            room = load_config(self.path / "own.yaml").MODEL.num_classes
            classes = max(read_classes(self.path / "labels.csv").values(), default=0) + 1
            return (room, classes) if room < classes else None
        return None

    def _write_own_config(self, num_classes: int) -> list[str]:
        """Write a configuration for few clips to begin with, unless there is one; return a note if that has no room.

        What sets of real clips say of its values is in ``data/README.md``.
        """
        path = self.path / "own.yaml"
        if path.exists():  # it may hold the user's own settings
            if not (lacking := self.lacking_room()):
                return []
            room, needed = lacking
            after = f"earlier models do not fit: train anew, or with --pretrain and TRAIN.keep_classes={room}"
            return [f"{path} has room for {room} classes of {needed}: set MODEL.num_classes there; {after}"]
        settings = yaml.safe_load((course_files() / "configs" / "flashdigits.yaml").read_text(encoding="utf-8"))
        settings["MODEL"] |= {"dataset": "own videos", "drop_rate": 0.5, "num_classes": num_classes}
        settings["MODEL"] |= {"embedding_size": 512, "lstm_size": 128, "fc_sizes": [256, 128]}
        if statistics.median(row["seconds"] for row in self.ledger.rows.values()) > 1:  # in one second nothing changes
            settings["MODEL"] |= {"pooling": "attention+deviation"}
        settings["TRAIN"] |= {"weight_decay": 0.0008, "warmup_iters": 10, "learning_rate": 0.001}
        settings["TRAIN"] |= {"epoch": 30, "patience": 8, "filelist": "train.list"}
        for section, name in (("VALID", "val"), ("TEST", "test"), ("INFER", "infer")):
            settings[section]["filelist"] = f"{name}.list"
        settings["INFER"]["class_names"] = "labels.csv"
        with atomic_write(path, "w") as file:
            file.write("# To begin with: few clips, small layers, stop when validation no longer improves.\n")
            yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
        return []


def _is_another(location: object, video: Path) -> bool:
    """Tell whether the file at the location of an earlier run is still there, and is neither this video nor a copy."""
    known = Path(location) if isinstance(location, str) else Path()
    if not known.is_absolute() or not known.exists():
        return False  # an earlier version wrote its name alone, or it was moved
    return not (known.samefile(video) or filecmp.cmp(known, video, shallow=False))
