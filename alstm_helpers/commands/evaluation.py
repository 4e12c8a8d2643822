"""Commands of the evaluation wing (chapter 5): eval, report, predict, explain."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alstm_helpers.commands.options import (
    Given,
    batch_size_flag,
    best_five,
    class_names_of,
    clip_seconds_flag,
    config_flags,
    configure,
    fail_after,
    fetched,
    filelist_flag,
    line,
    log_batches_flag,
    logged,
    logged_batches,
    of_videos,
    save_dir_flag,
    topk_flag,
    weights_flag,
    weights_of,
)
from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import RunFolder
from alstm_helpers.progress import progress_bar

if TYPE_CHECKING:
    from alstm_helpers.config import Config
    from alstm_helpers.evaluation.calibration import Calibration
    from alstm_helpers.evaluation.evaluate import Observer
    from alstm_helpers.evaluation.html_report import FindPictures, Picture
    from alstm_helpers.evaluation.predict import PredictionRow
    from alstm_helpers.evaluation.scored import Scored
    from alstm_helpers.model import AttentionLSTM
    from alstm_helpers.own_videos.watch import Watched, WatchOptions


@click.command("eval")
@config_flags()
@weights_flag
@filelist_flag("TEST")
@batch_size_flag("TEST")
@log_batches_flag
@save_dir_flag("data/evaluate_results", "Where metrics.json goes.")
@click.option("--out", metavar="FILE", help="Another place for metrics.json; the other files go beside it.")
@click.option(
    "--resamples",
    type=click.IntRange(0, 100_000),
    default=200,
    show_default=True,
    help="Resampled splits for the intervals; 0 for none.",
)
def evaluate(
    given: Given,
    weights: str | None,
    filelist: str | None,
    batch_size: int | None,
    log_interval: int,
    save_dir: str,
    out: str | None,
    resamples: int,
) -> None:
    """Print Hit@1, PERR, GAP, mAP and loss of trained weights, and save them with more about each class."""
    _require_metrics_name(out)
    config = configure(given, {"TEST.filelist": filelist, "TEST.batch_size": batch_size})
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.filelists import read_filelist

    named, weights = weights, weights_of(weights, config, Path(config.TEST.filelist).parent)  # fails before Paddle
    shards = read_filelist(config.TEST.filelist)
    from alstm_helpers.evaluation.evaluate import collect
    from alstm_helpers.evaluation.intervals import FEWEST_GROUPS
    from alstm_helpers.evaluation.report import ReportOptions, write_report
    from alstm_helpers.files import checksum, claimed
    from alstm_helpers.metrics import metrics_text
    from alstm_helpers.model.build import load_model

    path, groups = Path(out) if out else Path(save_dir, "metrics.json"), list[bytes]()
    with claimed(path.parent):
        net = load_model(config, weights)
        names = class_names_of(config, named)
        size, classes = config.TEST.batch_size, config.MODEL.num_classes
        batches = read_batches(shards, size, classes, by_length=True)
        shown = logged_batches(progress_bar(batches, desc="scoring"), log_interval)
        observe, where = _collector(groups, Path(config.TEST.filelist).parent), config.TEST.filelist
        metrics, loss = collect(net, shown, top_k=config.MODEL.topk, observe=observe, where=where)
        options = ReportOptions(size, names, resamples, groups or None, checksum(Path(weights), "sha256"), where)
        found, details = write_report(metrics, loss, path, options, progress=progress_bar)
    if "interval_95" in details:
        intervals = (f"{key} {low:.4f} to {high:.4f}" for key, (low, high) in details["interval_95"].items())
        line(f"95 % of resampled splits: {'  '.join(intervals)}")
    if resamples and groups and (count := len(set(groups))) < FEWEST_GROUPS:
        line(
            f"independent groups of clips: {count}; too few for an interval to rely on, so see that of `alstm crossval`"
        )
    line(f"{metrics_text(found)}  loss {found['loss']:.4f}  over {of_videos(int(found['num_videos']))} → {path}")


def _require_metrics_name(out: str | None) -> None:
    """Check before any work that metrics can go where --out says.

    Raises:
        click.UsageError: it is a folder, or has the name of what goes beside it.
    """
    _require_no_folder(out)
    from alstm_helpers.evaluation.report import BESIDE

    if out and Path(out).name.lower() in BESIDE:  # some systems do not tell letters of both sizes apart
        raise click.UsageError(f"--out: {Path(out).name} is what eval writes beside it; name another file.")


def _require_no_folder(out: str | None) -> None:
    if out and (Path(out).is_dir() or out.endswith(("/", os.sep))):
        raise click.UsageError(f"--out: {out} is a folder; name a file.")


def _grouping(folder: Path) -> Callable[[bytes], bytes] | None:
    """Return what names, for the id of a clip, what related ones share; None if `alstm features` made no clips here."""
    from alstm_helpers.data.feature_scale import is_of_own_videos
    from alstm_helpers.data.lists import group_of
    from alstm_helpers.own_videos.feature_folder import grouping_in

    if not is_of_own_videos(folder):
        return None
    pattern = grouping_in(folder)
    return lambda name: group_of(name, pattern)


def _collector(groups: list[bytes], folder: Path) -> Observer:
    """Return what collects the groups of clips, see :func:`_grouping`."""
    if (group_of := _grouping(folder)) is None:
        return lambda batch, scores: None  # YouTube-8M's ids would be a million
    return lambda batch, scores: groups.extend(map(group_of, batch.ids))


@click.command()
@click.argument("videos", nargs=-1, metavar="[CLIP.mp4]...")
@config_flags(required=False)
@click.option(
    "--features", metavar="DIR", help="What made the features the model learnt from. [default: beside its lists]"
)
@weights_flag
@filelist_flag("INFER")
@batch_size_flag("INFER")
@topk_flag(20, "Labels per video.")
@click.option(
    "--threshold",
    metavar="T",
    help="Only labels with at least this score: a number, or eval's report.json or classes.csv.",
)
@click.option(
    "--calibration", metavar="FILE", help="crossval.json of `alstm crossval` on the videos that taught the model."
)
@clip_seconds_flag
@log_batches_flag
@save_dir_flag("data/predict_results", "Where predictions go.")
def predict(
    given: Given,
    videos: tuple[str, ...],
    features: str | None,
    weights: str | None,
    filelist: str | None,
    batch_size: int | None,
    infer_topk: int,
    threshold: str | None,
    calibration: str | None,
    log_interval: int,
    clip_seconds: float | None,
    save_dir: str,
) -> None:
    """Write the best labels of every video as JSON lines and as the competition's CSV.

    For video files, if some are named, also draw the seconds that the labels come from. Of more than ten videos, name
    those whose best score is lowest: to label them teaches a model most.
    """
    given = given if given.config_path else _with_config_of(given, weights)
    config = configure(given, {"INFER.filelist": filelist, "INFER.batch_size": batch_size})
    if videos and (filelist or threshold):
        raise click.UsageError("--filelist and --threshold are for lists; with video files leave them out")
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.feature_scale import features_folder
    from alstm_helpers.data.filelists import read_filelist

    folder = features_folder(config, features) if videos else Path(config.INFER.filelist).parent
    path, shards = weights_of(weights, config, folder), [] if videos else read_filelist(config.INFER.filelist)
    from alstm_helpers.evaluation.predict import predict as run
    from alstm_helpers.evaluation.predict import read_thresholds, write_predictions
    from alstm_helpers.files import claimed
    from alstm_helpers.model.build import load_model

    scale = _calibration(calibration, config.MODEL.num_classes)
    limits = read_thresholds(threshold, config.MODEL.num_classes, scale) if threshold else None
    with claimed(Path(save_dir)):
        net = load_model(config, path)
        names = class_names_of(config, weights)
        if videos:
            from alstm_helpers.own_videos.watch import WatchOptions

            _watch(videos, net, config, features, WatchOptions(infer_topk, names, scale, clip_seconds), save_dir)
            return
        size = config.INFER.batch_size
        batches = progress_bar(read_batches(shards, size, config.MODEL.num_classes), desc="predicting")
        rows = run(net, batches, top_k=infer_topk, class_names=names, thresholds=limits, calibration=scale)
        done = write_predictions(logged(rows, log_interval * size, _about), save_dir)
    line(f"{of_videos(len(done))} → {Path(save_dir, 'predictions.jsonl')} and predictions.csv")
    _ask_for_labels(done)


def _calibration(path: str | None, num_classes: int) -> Calibration:
    """Return the calibration of a file, and say that it is used; one that changes nothing without a file."""
    from alstm_helpers.evaluation.calibration import UNCHANGED, Calibration

    if path is None:
        return UNCHANGED
    found = Calibration.load(path, num_classes)
    line(f"scores are calibrated by {path}: logit × {found.slope:.3f} {found.offset:+.3f}")
    return found


def _ask_for_labels(rows: Sequence[PredictionRow]) -> None:
    """Name the videos to label next."""
    from alstm_helpers.evaluation.predict import best_score, most_uncertain

    if asked := most_uncertain(rows):
        named = ", ".join(f"{row['video']} (best score {best_score(row):.3f})" for row in asked)
        line(f"most uncertain, label these next: {named}")


def _about(row: PredictionRow) -> str:
    return f"{row['video']}  {best_five(row['labels'])}"


def _with_config_of(given: Given, weights: str | None) -> Given:
    """Add the configuration of the published weights, or the one that a training left beside its weights."""
    if weights == "published":
        from alstm_helpers.runtime import set_device

        use_gpu = set_device(None) != "cpu" if given.use_gpu is None else given.use_gpu  # its recipe asks for GPUs
        return replace(given, config_path="configs/attention_lstm.yaml", use_gpu=use_gpu)
    from alstm_helpers.data.published import is_address

    if weights and not is_address(weights):
        fetched(weights)  # a path that is missing is told as that, and not as a missing --config
    path = RunFolder.of_weights(weights).config if weights else None
    if path is None or not path.is_file():
        raise click.UsageError(
            "Missing option '--config'; only published weights, and those in the folder of a training, bring their own."
        )
    return replace(given, config_path=str(path))


def _watch(
    videos: tuple[str, ...],
    net: AttentionLSTM,
    config: Config,
    features: str | None,
    options: WatchOptions,
    save_dir: str,
) -> None:
    """Label video files one by one; those that cannot be read are named, and the others are labelled."""
    from alstm_helpers.own_videos.watch import find_extractor, watch_files

    done = watch_files(net, find_extractor(config, features, report=line), videos, save_dir, options, report=_show)
    if done.watched:
        where = Path(save_dir, "predictions.jsonl")
        line(f"{of_videos(len(done.watched))} → {where} and predictions.csv, {len(done.failed)} failed")
    _ask_for_labels(done.rows)
    fail_after(done.failed)


def _show(found: Watched) -> None:
    name = f"{found.report['video']}{found.path.suffix}"
    line(f"{name}  {best_five(found.report['labels'])}  → {found.picture}")
    for note in found.report["notes"]:
        line(f"{name}: {note}")


@click.command()
@click.argument("run_folder", metavar="RUN")
@config_flags(required=False)
@click.option("--out", metavar="FILE.html", help="[default: RUN/report.html]")
def report(given: Given, run_folder: str, out: str | None) -> None:
    """Make one HTML page of results: metrics beside a baseline, confusion, classes, worst and most uncertain videos.

    RUN is the --save_dir of `alstm crossval`, whose networks have not seen the videos that they judge, or that of
    `alstm train`, whose validation list judges its best weights. Thumbnails are those that `alstm features` kept.
    """
    _require_no_folder(out)
    if out and Path(out).suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"--out: {out} does not end with .html; name a file that does.")
    run = RunFolder(Path(run_folder))
    from alstm_helpers.files import atomic_write, claimed, require_file

    if not given.config_path:
        path = require_file(run.config, "name the --save_dir of `alstm crossval` or `alstm train`")
        given = replace(given, config_path=str(path))
    config = configure(given)
    from alstm_helpers.evaluation.html_report import PageOptions, report_page

    path = Path(out) if out else run.folder / "report.html"
    with claimed(path.parent):
        scored, how = _judged(replace(run, name=config.MODEL.name), config)
        names, seed = class_names_of(config), config.TRAIN.seed
        options = PageOptions(f"Results of {run.folder}", how, names, _thumbnails_of(config), seed)
        page = report_page(scored, options, progress=progress_bar)
        with atomic_write(path, "w") as file:
            file.write(page)
    line(f"{of_videos(len(scored.ids))} → {path}")


def _judged(run: RunFolder, config: Config) -> tuple[Scored, str]:
    """Return the scores by which a run is judged, and a sentence on them."""
    from alstm_helpers.evaluation.scored import Scored

    if run.scores.is_file():
        return Scored.load(run.scores), "Each is scored by a network that has not learnt from it (cross-validation)."
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.feature_scale import require_same_scale
    from alstm_helpers.data.filelists import read_filelist
    from alstm_helpers.evaluation.evaluate import score_all
    from alstm_helpers.model.build import load_model

    weights = run.best if run.best.is_file() else run.latest
    where = config.VALID.filelist
    require_same_scale(weights, Path(where).parent)
    net = load_model(config, str(weights))
    shards, size = read_filelist(where), config.VALID.batch_size
    batches = progress_bar(read_batches(shards, size, config.MODEL.num_classes, by_length=True), desc="scoring")
    how = f"They are the training's validation list, scored by {weights.name}."
    if weights == run.best:
        how += " They also chose the best epoch, so the numbers are somewhat too good."
    group_of = _grouping(Path(where).parent)
    return score_all(net, batches, top_k=config.MODEL.topk, group_of=group_of, where=where), how


def _thumbnails_of(config: Config) -> FindPictures:
    """Return what finds the thumbnails of a video beside the features that the run learnt from, none without them."""
    from alstm_helpers.own_videos.feature_folder import RawFolder

    raw = RawFolder(Path(config.TRAIN.filelist).parent / "raw")

    def find(video_id: str) -> Sequence[Picture]:
        try:
            return raw.thumbnails(video_id)
        except AlstmError:  # the page is worth having without them
            return ()

    return find


@click.command()
@config_flags()
@weights_flag
@filelist_flag("INFER")
@click.option("--video", metavar="ID", multiple=True, required=True, help="Of the list; may be given several times.")
@topk_flag(5, "Labels to explain.")
@save_dir_flag("data/explain_results", "Where the reports go.")
def explain(
    given: Given, weights: str | None, filelist: str | None, video: tuple[str, ...], infer_topk: int, save_dir: str
) -> None:
    """Show which seconds of a video carried which label: a picture and JSON for each."""
    config = configure(given, {"INFER.filelist": filelist})
    from alstm_helpers.data.filelists import read_filelist

    named, weights = weights, weights_of(weights, config, Path(config.INFER.filelist).parent)  # fails before Paddle
    shards = read_filelist(config.INFER.filelist)
    from alstm_helpers.evaluation import explain as explaining
    from alstm_helpers.files import claimed
    from alstm_helpers.model.build import load_model

    with claimed(Path(save_dir)):
        net = load_model(config, weights)
        names = class_names_of(config, named)
        for found in explaining.videos_with_ids(shards, video):
            report = explaining.explain(net, found, top_k=infer_topk, class_names=names)
            path = explaining.write_explanation(report, save_dir)
            best = report["labels"][0]
            stream, second = explaining.strongest_second(best)
            name = best["name"] or f"class {best['index']}"
            line(f"{report['video']}: {name} {best['score']:.3f}, most by second {second} of {stream} → {path}")
