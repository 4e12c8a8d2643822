"""Commands for your own videos (chapters 3.1 and 9): labels import, labels suggest, backbones check, features."""

from __future__ import annotations

from pathlib import Path

import click

from alstm_helpers.commands.options import (
    AboveZero,
    DashedGroup,
    clip_seconds_flag,
    fail_after,
    group_flag,
    line,
    of_clips,
    quoted,
    workers_flag,
)
from alstm_helpers.own_videos.presets import NORMALISATIONS, SOUNDS
from alstm_helpers.progress import progress_bar

SHOWN = 5  # clips to look at first


@click.group(cls=DashedGroup)
def labels() -> None:
    """Import labels of your own videos, or suggest some."""


@labels.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="EXPORT...")
@click.option("--out", required=True, metavar="DIR", help="Gets annotations.csv and labels.csv.")
@click.option("--fps", type=AboveZero(1000), help="Frames per second of labels on a timeline.")
@click.option("--separator", help="Between the classes in a cell. [default: ;]")
@click.option(
    "--label_columns",
    multiple=True,
    help="Columns of CSV and JSON-MIN that hold classes. [default: label, labels, class, classes, choice, choices, and"
    " those with Label Studio's results or VIA's choices]",
)
@click.option("--encoding", help="Of the files, such as gbk. [default: UTF-8, or what a byte-order mark says]")
def labels_import(
    sources: tuple[str, ...],
    out: str,
    fps: float | None,
    separator: str | None,
    label_columns: tuple[str, ...],
    encoding: str | None,
) -> None:
    """Read tables, exports of Label Studio, Colabeler, CVAT and VIA, PaddleVideo's JSON and lists, or folders of them
    or of class/clip.mp4.

    annotations.csv is what these exports say together; labels.csv keeps the classes of earlier imports. What can be
    read in two ways is refused: `cat,dog` in a cell (--separator), plain text in Label Studio's JSON-MIN and CSV, which
    may be a class or a comment (--label_columns).
    """
    from alstm_helpers.own_videos.labels import ReadOptions, import_labels

    columns = tuple(name.strip() for names in label_columns for name in names.split(",") if name.strip())
    done = import_labels(sources, out, ReadOptions(fps, separator or None, columns, encoding))
    for note in done.notes:
        line(note)
    new = ", ".join(done.new_classes) or "none"
    line(f"{of_clips(len(done.annotations))} → {Path(out, 'annotations.csv')}; new classes: {new}")


@labels.command("suggest")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@click.option("--classes", required=True, metavar="NAMES", help="cat,dog,bird, or a CSV: name, or name,prompt.")
@click.option("--out", required=True, metavar="DIR", help="Gets suggestions.csv.")
@click.option("--features", metavar="DIR", help="Made with --backbone clip: clips in it need not be read again.")
@click.option("--beside", metavar="FILE", help="Of `alstm predict VIDEOS`: predictions.jsonl, to compare with.")
@workers_flag(-1, "Processes; -1: one per core.")
@clip_seconds_flag
def labels_suggest(
    videos: tuple[str, ...],
    classes: str,
    out: str,
    features: str | None,
    beside: str | None,
    workers: int,
    clip_seconds: float | None,
) -> None:
    """Guess which class each of the VIDEOS (files, or folders of them) shows, from the names of the classes alone.

    suggestions.csv has the least certain first; with --beside, those on which a trained model differs. Look it over,
    correct the column label, and give it to `alstm labels import`. The guesses are CLIP's, which is fetched once and
    knows English only: in a CSV, the column prompt says in English what a class shows.
    """
    from alstm_helpers.own_videos.suggest import SUGGESTIONS, SuggestOptions, suggest_labels

    options = SuggestOptions(classes, features, beside, clip_seconds)
    done = suggest_labels(videos, out, options, workers=workers, progress=progress_bar)
    for note in done.notes:
        line(note)
    line(", ".join(f"{name} {count}" for name, count in done.counts.most_common()))
    for each in done.suggestions[:SHOWN]:
        line(f"look at {each}")
    path = Path(out, SUGGESTIONS)
    line(f"{of_clips(len(done.suggestions))} → {path}: guesses from names alone; look them over before you import them")
    fail_after(done.failed)


normalisation_flag = click.option(
    "--normalisation",
    type=click.Choice([*NORMALISATIONS]),
    help="Of pictures for onnx:PATH, if no file says: unit is 0 to 1, signed −1 to 1, bytes 0 to 255.",
)
pooling_flag = click.option(
    "--pooling", type=click.Choice(["mean", "first"]), help="Of its output, if that has a row for each token."
)
audio_like_flag = click.option(
    "--audio_like", type=click.Choice([*SOUNDS]), help="The onnx:PATH for sound takes what this network takes."
)


def _pictures_as(normalisation: str | None, pooling: str | None) -> dict[str, object]:
    """Return what flags say that a network for pictures takes."""
    return {**NORMALISATIONS.get(normalisation or "", {}), **({"pooling": pooling} if pooling else {})}


@click.group(cls=DashedGroup)
def backbones() -> None:
    """Try networks that turn pictures or sound into features."""


@backbones.command()
@click.argument("name", metavar="BACKBONE")
@click.option("--sound", is_flag=True, help="It is for sound, not for pictures.")
@normalisation_flag
@pooling_flag
@audio_like_flag
def check(name: str, sound: bool, normalisation: str | None, pooling: str | None, audio_like: str | None) -> None:
    """Show what a BACKBONE (a name, onnx:PATH or the path of an ONNX file) makes of three inputs, and how fast."""
    from alstm_helpers.own_videos.backbones import ONNX
    from alstm_helpers.own_videos.check import check_backbone

    if (normalisation or pooling) if sound else audio_like:
        raise click.UsageError("--normalisation and --pooling are for pictures, --audio_like is for --sound.")
    given = dict(SOUNDS[audio_like]) if audio_like else _pictures_as(normalisation, pooling)
    done = check_backbone(
        f"{ONNX}{name}" if name.endswith(".onnx") and not name.startswith(ONNX) else name, sound=sound, given=given
    )
    if done.takes:
        line(", ".join(f"{key} {value}" for key, value in done.takes.model_dump(exclude_none=True).items()))
    if done.sha256:
        line(f"sha256 {done.sha256}")
    line(f"a second is {done.unit}")
    line(f"{'input':<10}{'smallest':>12}{'largest':>12}{'ms':>10}")
    for each in done.tried:
        line(f"{each.what:<10}{each.smallest:>12.4g}{each.largest:>12.4g}{each.milliseconds:>10.3g}")
    line(f"{done.numbers} numbers a second; they differ between the inputs by {done.apart:.3g} of their size")


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@click.option("--labels", "labels_folder", metavar="DIR", help="What `alstm labels import` wrote. [default: no labels]")
@click.option("--out", required=True, metavar="DIR", help="Gets TFRecords, lists, and own.yaml to train with.")
@click.option(
    "--like", metavar="DIR", help="Make the features as those in an earlier --out, for a model trained on it."
)
@click.option("--backbone", help="For the frames, see above; not needed with --like.")
@click.option("--audio", help="For the sound. [default: logmel; flashdigits and yt8m with those backbones]")
@click.option(
    "--val_share",
    type=float,
    help="About this share of each class goes to validation. [default: 0.2; clips of an earlier run keep their side]",
)
@group_flag("[default: that of an earlier run]")
@workers_flag(-1, "Processes; -1: one per core.")
@clip_seconds_flag
@normalisation_flag
@pooling_flag
@audio_like_flag
@click.option("--refit", is_flag=True, help="Scale the features of an earlier run anew, by the clips there are now.")
def features(
    videos: tuple[str, ...],
    labels_folder: str | None,
    out: str,
    like: str | None,
    backbone: str | None,
    audio: str | None,
    val_share: float | None,
    group: str | None,
    workers: int,
    clip_seconds: float | None,
    normalisation: str | None,
    pooling: str | None,
    audio_like: str | None,
    refit: bool,
) -> None:
    """Turn videos (files, or folders of them) into a data set that `alstm train` takes, or, without labels, predict.

    Backbones for the frames: flashdigits, onnx:PATH, and, fetched once, inception_v3, resnet50, mobilenet_v2, clip,
    dinov2, yt8m. For the sound: flashdigits, logmel, none, onnx:PATH, yt8m. Only yt8m fits published weights.
    """
    from alstm_helpers.own_videos.feature_folder import FeatureFolder
    from alstm_helpers.own_videos.features import FeatureOptions, extract_features

    if backbone is None and like is None:
        raise click.UsageError(
            "Missing option '--backbone': resnet50 for your own clips, flashdigits for those of the course."
        )
    if refit and like:
        raise click.UsageError("--refit and --like: only one can say how the features are scaled.")
    takes = _pictures_as(normalisation, pooling), dict(SOUNDS[audio_like]) if audio_like else {}
    if like and (backbone or audio or any(takes)):
        raise click.UsageError("--like says which networks: leave out --backbone, --audio and what they take.")
    backbone = backbone or "flashdigits"
    options = FeatureOptions(
        labels_folder, like, backbone, audio, val_share, group or None, clip_seconds, refit, *takes
    )
    done = extract_features(videos, out, options, workers=workers, progress=progress_bar)
    for note in done.notes:
        line(note)
    if done.classes:
        line(done.class_counts())
    lacking = FeatureFolder(Path(out)).lacking_room()
    more = f" -o MODEL.num_classes={lacking[1]}" if lacking else ""
    train = f"alstm train --config {quoted(Path(out, 'own.yaml'))}{more} --save_dir {quoted(Path(out, 'run'))}"
    infer = f"alstm predict --filelist {quoted(Path(out, 'infer.list'))} --config … --weights …"
    after = train if labels_folder else infer
    line(f"{done.summary()} → {out}; next: {after}")
    fail_after(done.failed)
