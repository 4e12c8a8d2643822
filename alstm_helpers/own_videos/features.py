"""Own videos into features, and these into the TFRecords from which everything else goes on.

::

    clip.mp4 ─ frames, sound ─ backbone ─ raw/ (float32) ─ projection ─ quantised ─ tf/train, tf/val ─ lists, own.yaml
                                                           └ fitted on the training clips

YouTube-8M made its features in the same way: a network's numbers, centred, reduced to 1024 by PCA with whitening, and
quantised to a byte each (S. Abu-El-Haija et al., arXiv:1609.08675, section 3.3). Here every projected number has a
deviation of one half, so that a byte's range, ±2, holds four deviations.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from joblib import Parallel, delayed

from alstm_helpers.data.class_names import read_classes, write_classes
from alstm_helpers.data.filelists import write_filelist
from alstm_helpers.data.lists import ONE_VIDEO, check_share, compile_group, side_of, write_lists
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, claimed, require_file, write_json, write_json_lines
from alstm_helpers.ledger import Ledger
from alstm_helpers.own_videos.backbones import Backbone, picture_backbone, sound_backbone
from alstm_helpers.own_videos.labels import Annotation, read_annotations
from alstm_helpers.own_videos.media import Clip, find_videos, read_frames, read_sound
from alstm_helpers.paths import project_root
from alstm_helpers.progress import ProgressBar, no_progress
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, Video, quantize, write_videos

SHARD = 500  # clips a TFRecord
TOGETHER = 32  # pictures that are in memory, and go through a network, at once
SAMPLE = 20_000  # seconds that a projection is fitted on, at most
DIMS = {"rgb": RGB_DIM, "audio": AUDIO_DIM}
SPLITS = {"train": "train%04d.tfrecord", "val": "validate%04d.tfrecord", "infer": "infer%04d.tfrecord"}
_AGAIN = "make the features again in an empty folder"


class Projection(NamedTuple):
    """From a backbone's D numbers to K ≤ ``dim`` of deviation one half: ``(x − mean) @ matrix / scale / 2``.

    ``matrix`` (D, K) is None where D is the final size already: then each number is only centred and scaled.
    """

    mean: np.ndarray
    matrix: np.ndarray | None
    scale: np.ndarray

    def __call__(self, raw: np.ndarray, dim: int) -> np.ndarray:
        """uint8 (T, dim) from float32 (T, D); what is missing to ``dim`` is zero before it is quantised."""
        centred = raw - self.mean
        values = (centred if self.matrix is None else centred @ self.matrix) / self.scale * 0.5
        return quantize(np.pad(values, ((0, 0), (0, dim - values.shape[1]))))


def fit_projection(raw: np.ndarray, dim: int) -> Projection:
    """Centre and scale (N, D) numbers; by PCA with whitening where D is not ``dim``.

    Directions that hardly vary would be nothing but noise after whitening, so no scale is below a hundredth of the
    largest. With fewer seconds or numbers than ``dim`` there are fewer directions.
    """
    from sklearn.decomposition import PCA

    raw = raw.astype(np.float64)
    mean = raw.mean(axis=0)
    if raw.shape[1] == dim:
        matrix, scale = None, raw.std(axis=0)
    elif len(raw) == 1:  # nothing varies
        matrix, scale = np.eye(raw.shape[1], min(dim, raw.shape[1]), dtype=np.float32), np.ones(1)
    else:
        pca = PCA(min(dim, raw.shape[1], max(1, len(raw) - 1)), svd_solver="covariance_eigh").fit(raw)
        matrix, scale = pca.components_.T.astype(np.float32), np.sqrt(pca.explained_variance_)
    scale = np.maximum(scale, max(1e-6, 0.01 * float(scale.max())))
    return Projection(mean.astype(np.float32), matrix, scale.astype(np.float32))


class Extractor:
    """Everything that turns a clip into two matrices of bytes: two backbones, and the projections behind them.

    Args:
        backbone, audio: names, see :mod:`alstm_helpers.own_videos.backbones`.
        projections: by stream; a finished backbone needs none.
        fitted_on: the split whose clips they were fitted on: ``train``, or ``infer`` where there were no others.
    """

    def __init__(
        self,
        backbone: str,
        audio: str,
        projections: Mapping[str, Projection] | None = None,
        fitted_on: str = "train",
    ) -> None:
        self.backbone, self.audio, self.fitted_on = backbone, audio, fitted_on
        self.projections = dict(projections or {})

    @property
    def parts(self) -> dict[str, Backbone]:
        """The backbone of each stream; large ones are loaded when they are first asked for."""
        return {"rgb": picture_backbone(self.backbone), "audio": sound_backbone(self.audio)}

    @property
    def unfitted(self) -> list[str]:
        """Streams whose projection is still to be fitted."""
        return [stream for stream, part in self.parts.items() if not part.finished and stream not in self.projections]

    def raw(self, clip: Clip) -> dict[str, np.ndarray]:
        """The backbones' numbers, float32 (T, D) by stream; the pictures pass in small parts.

        Raises:
            AlstmError: the clip cannot be read.
        """
        pictures, sound = self.parts["rgb"], self.parts["audio"]
        frames, found = [], []
        for frame in read_frames(clip, pictures.unit):
            frames.append(frame)
            if len(frames) == TOGETHER:
                found.append(pictures.call(np.stack(frames)))
                frames = []
        if frames:
            found.append(pictures.call(np.stack(frames)))
        rgb = np.concatenate(found)
        return {"rgb": rgb, "audio": sound.call(read_sound(clip, len(rgb), sound.unit))}

    def finish(self, raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """uint8 (T, 1024) and (T, 128) from the backbones' numbers."""
        return {
            stream: self.projections[stream](values, DIMS[stream]) if stream in self.projections else quantize(values)
            for stream, values in raw.items()
        }

    def video(self, clip: Clip, labels: tuple[int, ...] = ()) -> Video:
        """A clip as a record."""
        features = self.finish(self.raw(clip))
        return Video(clip.path.stem.encode(), labels, features["rgb"], features["audio"])

    def save(self, folder: Path) -> None:
        """Write ``features.json`` and, where there are projections, ``projection.pkl`` (plain arrays)."""
        if self.projections:
            arrays = {stream: tuple(projection) for stream, projection in self.projections.items()}
            save_plain(folder / "projection.pkl", arrays)
        about = {"backbone": self.backbone, "audio": self.audio, "fitted_on": self.fitted_on}
        write_json(folder / "features.json", about)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Extractor:
        """What :meth:`save` wrote; never runs code from it.

        Raises:
            AlstmError: it is not there, or damaged.
        """
        path = require_file(Path(folder, "features.json"), "name a folder that `alstm features` has made")
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            extractor = cls(str(about["backbone"]), str(about["audio"]), fitted_on=str(about["fitted_on"]))
            if (path.parent / "projection.pkl").exists():
                arrays = load_plain(path.parent / "projection.pkl", _AGAIN)
                extractor.projections = {stream: Projection(*parts) for stream, parts in arrays.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AlstmError(path, f"not readable ({type(error).__name__}: {error})", _AGAIN) from None
        return extractor


class Job(NamedTuple):
    """A clip to extract: its id, where it is, its class indices, and its side."""

    id: str
    path: Path
    start: float
    end: float | None
    labels: tuple[int, ...]
    split: str


@dataclass
class Extraction:
    """What :func:`extract_features` did; ``failed`` holds the error of each clip without features."""

    extracted: int = 0
    skipped: int = 0
    seconds: int = 0
    failed: list[AlstmError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        """The last line of ``alstm features``."""
        sides = ", ".join(f"{count} {split}" for split, count in sorted(self.splits.items()))
        return (
            f"extracted {self.extracted} clips, {self.seconds} seconds, {self.skipped} skipped, "
            f"{len(self.failed)} failed; {sides or 'nothing to write'}"
        )


def videos_by_id(videos: Iterable[Path]) -> dict[str, Path]:
    """The videos by their ids, which are the files' names without suffix.

    Raises:
        AlstmError: two have one name.
    """
    by_name: dict[str, Path] = {}
    for path in videos:
        other = by_name.setdefault(path.stem, path)
        if other != path:
            raise AlstmError(path, f"{other} has the same name", "give each video a name of its own")
    return by_name


def plan_jobs(
    videos: Sequence[Path], annotations: Sequence[Annotation], classes: Mapping[str, int], val_share: float, group: str
) -> tuple[list[Job], list[str]]:
    """One job for each annotation whose video is there, and notes on what is left out.

    Raises:
        AlstmError: two videos of one name, a class without an index, no labelled video at all.
    """
    by_name = videos_by_id(videos)
    check_share(val_share)
    pattern = compile_group(group)
    jobs, absent = [], list[str]()
    for each in annotations:
        if Path(each.video).stem not in by_name:
            absent.append(each.video)
            continue
        unknown = [label for label in each.labels if label not in classes]
        if unknown:
            raise AlstmError(f"{each.video}: {unknown[0]}", "labels.csv has no such class", "import the labels again")
        labels = tuple(sorted(classes[label] for label in each.labels))
        side = side_of(each.video_id.encode(), val_share, pattern)
        path = by_name[Path(each.video).stem]
        jobs.append(Job(each.video_id, path, each.start or 0.0, each.end, labels, side))
    if not jobs:
        raise AlstmError("--labels", "none of the labelled videos is there", "name the folder with the videos")
    labelled = {Path(each.video).stem for each in annotations}
    rest = [name for name in by_name if name not in labelled]
    notes = []
    for what, names in (("labelled, but not among the videos", absent), ("not labelled, left out", rest)):
        if names:
            notes.append(f"{what}: {len(names)}, such as {sorted(names)[0]}")
    return jobs, notes


def extract_features(
    videos: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    like: str | os.PathLike[str] | None = None,
    backbone: str = "flashdigits",
    audio: str | None = None,
    val_share: float = 0.2,
    group: str = ONE_VIDEO,
    workers: int = -1,
    progress: ProgressBar = no_progress,
) -> Extraction:
    """Features of videos as a data set that ``alstm train`` or ``alstm predict`` takes; a rerun does what is missing.

    Args:
        videos: files, and folders of them.
        out: gets ``tf/train`` and ``tf/val``, the lists, ``labels.csv`` and ``own.yaml`` (a configuration to begin
            with); without labels ``tf/infer`` and ``infer.list``. And ``manifest.jsonl`` (an object a clip), ``raw/``,
            and what :meth:`Extractor.save` writes.
        labels: folder that :func:`alstm_helpers.own_videos.labels.import_labels` wrote; None for videos without labels.
        like: an earlier ``out``, whose backbones and projections are taken: for a model that was trained on it.
        backbone, audio: see :mod:`alstm_helpers.own_videos.backbones`; by default sound is ``logmel``, but with
            FlashDigits' pictures ``flashdigits``. With ``like`` they do not count.
        val_share, group: see :func:`alstm_helpers.data.lists.side_of`; by default parts of one video stay together.
        workers: processes, -1 for one a core.
        progress: wraps the finished clips, see :mod:`alstm_helpers.progress`.

    Raises:
        AlstmError: labels and videos do not fit, ``out`` has features of another backbone, no clip could be used, or
            one side has none. A clip that cannot be read is in ``failed``, and the others go on.
    """
    out, found = Path(out), find_videos(videos)
    extractor = Extractor(backbone, audio or ("flashdigits" if backbone == "flashdigits" else "logmel"))
    if like is not None:
        extractor = Extractor.load(like)
    if labels is None:
        extractor.fitted_on = extractor.fitted_on if extractor.projections else "infer"
        classes, notes = {}, list[str]()
        jobs = [Job(name, path, 0.0, None, (), "infer") for name, path in videos_by_id(found).items()]
    else:
        classes = read_classes(Path(labels, "labels.csv"))
        annotations = read_annotations(Path(labels, "annotations.csv"))
        jobs, notes = plan_jobs(found, annotations, classes, val_share, group)
    extractor.parts  # noqa: B018 - what cannot be had is said before anything is written
    with claimed(out, out / "raw"):
        if (out / "features.json").exists():
            before = Extractor.load(out)
            if (before.backbone, before.audio) != (extractor.backbone, extractor.audio):
                problem = f"it has features by {before.backbone} and {before.audio}"
                raise AlstmError(out, problem, "take the same --backbone and --audio, or another --out")
            if like is None and before.fitted_on == extractor.fitted_on:
                extractor.projections = before.projections  # what was trained on them must still fit
        rows, result = Ledger(out / "manifest.jsonl", "video").rows, Extraction(notes=notes)
        todo = [job for job in jobs if not _is_done(rows.get(job.id), job, out)]
        result.skipped = len(jobs) - len(todo)
        calls = (delayed(_extract_one)(extractor.backbone, extractor.audio, job, out.absolute()) for job in todo)
        finished = Parallel(n_jobs=workers, return_as="generator_unordered")(calls) if todo else ()
        for row in progress(finished, total=len(todo), desc="extracting"):
            if isinstance(row, AlstmError):
                result.failed.append(row)
                continue
            rows[row["video"]] = row
            with (out / "manifest.jsonl").open("a", encoding="utf-8") as file:  # a crash loses at most the last row
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            result.extracted += 1
            result.seconds += row["seconds"]
        result.failed.sort(key=str)
        whole = [job for job in sorted(jobs) if _is_done(rows.get(job.id), job, out)]
        for job in whole:
            result.notes += [f"{job.id}: {note}" for note in rows[job.id]["notes"]]
        result.splits = Counter(job.split for job in whole)
        _refuse_one_sided(result, out, ("infer",) if labels is None else ("train", "val"))
        for stream in extractor.unfitted:
            if labels is None:
                result.notes.append(f"{stream}: scaled by these clips; for a trained model pass --like its features")
            extractor.projections[stream] = fit_projection(_sampled(whole, stream, out), DIMS[stream])
        extractor.save(out)
        _write_shards(whole, extractor, out)
        # What the labels say may have changed without a new look at the clip.
        kept = {job.id: {**rows[job.id], "labels": list(job.labels), "split": job.split} for job in whole}
        write_json_lines(out / "manifest.jsonl", (kept[name] for name in sorted(kept)))
        if labels is None:
            shards = sorted((out / "tf" / "infer").glob("*.tfrecord"))
            write_filelist(out / "infer.list", shards)
        else:
            write_classes(out / "labels.csv", classes)
            _write_own_config(out, max(classes.values(), default=0) + 1)
    if labels is not None:
        write_lists(out)
    return result


def _refuse_one_sided(result: Extraction, out: Path, splits: Iterable[str]) -> None:
    for split in splits:
        if not result.splits[split]:
            first = f" ({result.failed[0]})" if result.failed else ""
            problem = f"no clip of {result.splits.total()} would go to {split}{first}"
            raise AlstmError(out, problem, "label more videos, or pass another --val_share")


def _raw_path(out: Path, video_id: str) -> Path:
    """An id may hold what a file's name may not."""
    return out / "raw" / f"{hashlib.sha256(video_id.encode()).hexdigest()[:20]}.pkl"


def _extract_one(backbone: str, audio: str, job: Job, out: Path) -> dict[str, Any] | AlstmError:
    """Write the raw numbers of one clip; its row of the manifest, or why it has none."""
    clip = Clip(job.path, job.start, job.end)
    try:
        about = job.path.stat()
        raw = Extractor(backbone, audio).raw(clip)
        save_plain(_raw_path(out, job.id), raw)
    except AlstmError as error:
        return error
    except OSError as error:
        return AlstmError(str(error.filename or job.path), error.strerror or str(error), "mend that, and run it again")
    found = {"video": job.id, "file": job.path.name, "seconds": len(raw["rgb"]), "bytes": about.st_size}
    return {**found, "modified": about.st_mtime_ns, "notes": clip.notes, "labels": list(job.labels), "split": job.split}


def _is_done(row: Mapping[str, Any] | None, job: Job, out: Path) -> bool:
    """Whether the raw numbers of a clip are there, and its file is still the one they were made of."""
    if row is None or not _raw_path(out, job.id).exists():
        return False
    about = job.path.stat()
    return (row["bytes"], row["modified"]) == (about.st_size, about.st_mtime_ns)


def _load_raw(out: Path, video_id: str) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_plain(_raw_path(out, video_id), "delete it, and run again")
    return found


def _sampled(jobs: Iterable[Job], stream: str, out: Path) -> np.ndarray:
    """Seconds of the training clips (or of clips without labels), evenly taken, (N, D)."""
    train = [job.id for job in jobs if job.split in ("train", "infer")]
    each = max(1, SAMPLE // len(train))
    parts = []
    for video_id in train:
        raw = _load_raw(out, video_id)[stream]
        parts.append(raw[np.linspace(0, len(raw) - 1, min(each, len(raw))).astype(int)])
    return np.concatenate(parts)


def _write_shards(jobs: Sequence[Job], extractor: Extractor, out: Path) -> None:
    """The clips of each side as TFRecords, and none from an earlier run beside them."""
    for split, name in SPLITS.items():
        chosen = [job for job in jobs if job.split == split]
        folder = out / "tf" / split
        written = set()
        for number, first in enumerate(range(0, len(chosen), SHARD)):
            path = folder / (name % number)
            write_videos(path, (_record(job, extractor, out) for job in chosen[first : first + SHARD]))
            written.add(path)
        for path in set(folder.glob("*.tfrecord")) - written:
            path.unlink()


def _record(job: Job, extractor: Extractor, out: Path) -> Video:
    features = extractor.finish(_load_raw(out, job.id))
    return Video(job.id.encode(), job.labels, features["rgb"], features["audio"])


def _write_own_config(out: Path, num_classes: int) -> None:
    """A configuration to begin with, for few clips; one that is there is the user's."""
    path = out / "own.yaml"
    if path.exists():
        return
    settings = yaml.safe_load((project_root() / "configs" / "flashdigits.yaml").read_text(encoding="utf-8"))
    settings["MODEL"] |= {"dataset": "own videos", "drop_rate": 0.5, "num_classes": num_classes}
    settings["TRAIN"] |= {"weight_decay": 0.0008, "warmup_iters": 10, "schedule": "step", "decay_epochs": []}
    settings["TRAIN"] |= {"epoch": 40, "patience": 8, "filelist": "train.list"}
    for section, name in (("VALID", "val"), ("TEST", "test"), ("INFER", "infer")):
        settings[section]["filelist"] = f"{name}.list"
    settings["INFER"]["class_names"] = "labels.csv"
    with atomic_write(path, "w") as file:
        file.write("# To begin with: few clips, small layers, stop when validation no longer improves.\n")
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
