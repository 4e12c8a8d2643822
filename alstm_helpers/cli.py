"""The command ``alstm``: parses, calls the package, prints. Nothing is computed here."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from alstm_helpers import __version__
from alstm_helpers.errors import AlstmError
from alstm_helpers.progress import progress_bar

# Flags are spelt with underscores, as in the source document; dashes are accepted too.
CONTEXT = {
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}


class Alstm(click.Group):
    """A group whose commands may be spelt with ``-`` or ``_``."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name.replace("_", "-"))


@click.group(cls=Alstm, context_settings=CONTEXT)
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__)
def alstm(debug: bool) -> None:
    """AttentionLSTM on YouTube-8M: data, training, evaluation, prediction, export, and the course itself."""


def common_flags(command: Callable[..., Any], *, config_required: bool = True) -> Callable[..., Any]:
    """The flags that train, eval, predict and export share."""
    for option in (
        click.option(
            "-o", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the file: -o TRAIN.batch_size=64"
        ),
        click.option(
            "--use_gpu", type=bool, help="Compute on a GPU (True) or not (False). [default: the file's TRAIN.use_gpu]"
        ),
        click.option("--model_name", help="Prefix of checkpoint files. [default: the file's MODEL.name]"),
        click.option("--config", "config_path", required=config_required, metavar="FILE", help="YAML configuration."),
    ):
        command = option(command)
    return command


weights_flag = click.option(
    "--weights", metavar="W", help="A path, a URL or published. [default: data/checkpoints/<model>_best.pdparams]"
)


def configure(
    config_path: str, overrides: Iterable[str], use_gpu: bool | None, model_name: str | None, **flags: Any
) -> Any:
    """The configuration under the precedence flag > ``-o`` > file, and the device set as it says."""
    from alstm_helpers.config import load_config, parse_override
    from alstm_helpers.runtime import set_device

    settings = dict(parse_override(text) for text in overrides)
    flags |= {"TRAIN__use_gpu": use_gpu, "MODEL__name": model_name}
    settings |= {key.replace("__", "."): value for key, value in flags.items() if value is not None}
    config = load_config(config_path, settings)
    device = set_device(config.TRAIN.use_gpu)
    shown = " ".join(f"{key}={value}" for key, value in settings.items())
    click.echo(f"{config_path} on {device}" + (f", with {shown}" if shown else ""))
    return config


@alstm.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(as_json: bool) -> None:
    """Check the set-up: packages, Paddle, GPU, threads, speed."""
    from alstm_helpers.machine.doctor import FAIL, run_checks

    checks = run_checks()
    if as_json:
        click.echo(json.dumps([check._asdict() for check in checks], indent=2))
    else:
        for check in checks:
            click.echo(f"{check.status:<4}  {check.name:<20} {check.detail}")
    if any(check.status == FAIL for check in checks):
        sys.exit(1)


@alstm.command("make-data")
@click.argument("directory", metavar="DIR")
@click.option("--train", default=2500, show_default=True, help="Training videos.")
@click.option("--val", default=500, show_default=True, help="Validation videos.")
@click.option("--shards", default=4, show_default=True, help="Files a split.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
def make_data(directory: str, train: int, val: int, shards: int, seed: int) -> None:
    """Make FlashDigits, the built-in data set, as YouTube-8M frame-level TFRecords in DIR."""
    from alstm_helpers.data import flashdigits

    done = flashdigits.make_data(directory, train=train, val=val, shards=shards, seed=seed, progress=progress_bar)
    click.echo(f"made {done['made']} shards, {done['skipped']} skipped, {done['videos']} videos in all")


@alstm.command()
@click.option("--partition", required=True, help="Such as 2/frame/train.")
@click.option("--mirror", required=True, type=click.Choice(["us", "eu", "asia"]), help="Nearest mirror.")
@click.option("--shard", metavar="X,Y", help="Only part X of Y: 1,100 takes about one file in a hundred.")
@click.option("--out", required=True, metavar="DIR", help="Where the files go.")
@click.option("--base-url", help="Another server with the same layout.")
@click.option("--workers", default=4, show_default=True, help="Files at once.")
def download(partition: str, mirror: str, shard: str | None, out: str, base_url: str | None, workers: int) -> None:
    """Download YouTube-8M shards; resumes, retries, and believes a file only after its checksum."""
    from alstm_helpers.data.download import download as run

    done = run(
        partition,
        mirror,
        out,
        shard=shard,
        base_url=base_url,
        workers=_workers(workers),
        report=_line,
        progress=progress_bar,
    )
    click.echo(done.summary())
    _fail_after(done.failed)


@alstm.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--workers", default=-1, help="Processes. [default: one a core]")
@click.option(
    "--keys", type=click.Choice(["str", "bytes"]), default="str", show_default=True, help="bytes for the old reader."
)
@click.option("--keep_going", is_flag=True, help="Convert the other shards when one fails; exit 1 at the end.")
@click.option("--scheduler", metavar="ADDRESS", help="Work on a Dask cluster: tcp://host:8786. It must be your own.")
def convert(source: str, target: str, workers: int, keys: str, keep_going: bool, scheduler: str | None) -> None:
    """Convert every *.tfrecord below SRC to a pickle in DST, without TensorFlow."""
    from alstm_helpers.data import convert as conversion

    done = conversion.convert(
        source,
        target,
        workers=_workers(workers),
        keys=keys,
        keep_going=keep_going,
        scheduler=scheduler,
        progress=progress_bar,
    )
    click.echo(done.summary())
    _fail_after(done.failed)


def _workers(count: int) -> int:
    if count < 1 and count != -1:
        raise AlstmError("--workers", f"{count} processes cannot work", "pass 1 or more")
    return count


@alstm.group()
def labels() -> None:
    """Labels of own videos."""


@labels.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="EXPORT...")
@click.option("--out", required=True, metavar="DIR", help="Gets annotations.csv and labels.csv.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Pictures a second, for labels on a timeline.")
def labels_import(sources: tuple[str, ...], out: str, fps: float | None) -> None:
    """Read CSV, Label Studio's JSON, or Colabeler's JSON and XML (files, or folders of them).

    annotations.csv is what these exports say together; labels.csv keeps the classes of earlier imports.
    """
    from alstm_helpers.own_videos.labels import import_labels

    found, new = import_labels(sources, out, fps=fps)
    click.echo(f"{len(found)} clips → {Path(out, 'annotations.csv')}; new classes: {', '.join(new) or 'none'}")


@alstm.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@click.option("--labels", "labels_folder", metavar="DIR", help="What `alstm labels import` wrote. [default: no labels]")
@click.option("--out", required=True, metavar="DIR", help="Gets TFRecords, lists, and own.yaml to train with.")
@click.option(
    "--like", metavar="DIR", help="Make the features as those in an earlier --out, for a model trained on it."
)
@click.option("--backbone", help="For pictures, see above; not needed with --like.")
@click.option("--audio", help="For sound. [default: logmel; flashdigits with that backbone]")
@click.option("--val_share", default=0.2, show_default=True, help="About this share goes to validation.")
@click.option("--group", metavar="REGEX", help="Keep together clips in whose ids this finds the same text.")
@click.option("--workers", default=-1, show_default=True, help="Processes; -1: one a core.")
def features(
    videos: tuple[str, ...],
    labels_folder: str | None,
    out: str,
    like: str | None,
    backbone: str | None,
    audio: str | None,
    val_share: float,
    group: str | None,
    workers: int,
) -> None:
    """Turn videos (files, or folders of them) into a data set that `alstm train` takes, or, without labels, predict.

    Backbones for pictures: flashdigits, inception_v3, resnet50, mobilenet_v2 (fetched once), onnx:PATH.
    For sound: flashdigits, logmel, onnx:PATH.
    """
    from alstm_helpers.data.lists import ONE_VIDEO
    from alstm_helpers.own_videos.features import extract_features

    if backbone is None and like is None:
        raise click.UsageError(
            "Missing option '--backbone': resnet50 for own clips, flashdigits for those of the course."
        )
    done = extract_features(
        videos,
        out,
        labels=labels_folder,
        like=like,
        backbone=backbone or "flashdigits",
        audio=audio,
        val_share=val_share,
        group=group or ONE_VIDEO,
        workers=_workers(workers),
        progress=progress_bar,
    )
    for note in done.notes:
        click.echo(note)
    train = f"alstm train --config {Path(out, 'own.yaml')} --save_dir {Path(out, 'run')}"
    after = train if labels_folder else f"alstm predict --filelist {Path(out, 'infer.list')} --config … --weights …"
    click.echo(f"{done.summary()} → {out}; next: {after}")
    _fail_after(done.failed)


@alstm.command()
@common_flags
@click.option("--folds", default=5, show_default=True, help="Parts; each is judged once.")
@click.option("--save_dir", default="data/crossval", show_default=True, help="A folder a fold, and crossval.json.")
@click.option("--pretrain", metavar="P", help="Weights to start each training from.")
@click.option("--group", metavar="REGEX", help="Keep together videos in whose ids this finds the same text.")
def crossval(
    config_path: str,
    overrides: tuple[str, ...],
    use_gpu: bool | None,
    model_name: str | None,
    folds: int,
    save_dir: str,
    pretrain: str | None,
    group: str | None,
) -> None:
    """Judge every video by a network that has not seen it: for fewer than about a hundred videos."""
    config = configure(config_path, overrides, use_gpu, model_name)
    from alstm_helpers.data.lists import ONE_VIDEO
    from alstm_helpers.training.crossval import cross_validate

    options: dict[str, Any] = {"seed": config.TRAIN.seed, "group": group or ONE_VIDEO, "pretrain": pretrain}
    done = cross_validate(config, save_dir, folds=folds, report=_line, **options)
    spread = f"{done['gap_mean']:.4f} ± {done['gap_std']:.4f} over the folds"
    click.echo(f"GAP {spread}, {done['pooled']['gap']:.4f} of all videos → {Path(save_dir, 'crossval.json')}")


@alstm.command()
@click.argument("source", metavar="SRC")
@click.argument("root", metavar="ROOT")
@click.option("--val_share", default=0.2, show_default=True, help="About this share goes to validation.")
@click.option("--group", metavar="REGEX", help="Keep together videos in whose ids this finds the same text.")
def split(source: str, root: str, val_share: float, group: str | None) -> None:
    """Divide own pickles or TFRecords in SRC into ROOT/pkl/train and ROOT/pkl/val by video id."""
    from alstm_helpers.data.lists import split_videos

    done = split_videos(source, root, val_share=val_share, group=group)
    click.echo(f"train {done.videos['train']} videos, val {done.videos['val']}")
    for side, missing in done.one_sided().items():
        if missing:
            click.echo(f"classes without a video in {side}: {', '.join(map(str, missing))}")


@alstm.command()
@click.argument("root", metavar="ROOT")
@click.option("--check", is_flag=True, help="Also read every shard: no video may be in both training and validation.")
def lists(root: str, check: bool) -> None:
    """Write train.list, val.list, test.list and infer.list below ROOT."""
    from alstm_helpers.data.lists import check_no_leak, write_lists

    if check:
        click.echo(f"{check_no_leak(root)} videos, none in both training and validation")
    for name, count in write_lists(root).items():
        click.echo(f"{Path(root, name)}: {count} shards")


@alstm.command()
@common_flags
@click.option(
    "--log_interval", type=click.IntRange(min=0), default=10, show_default=True, help="Steps between lines; 0 never."
)
@click.option(
    "--valid_interval",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Epochs between validations; 0 never.",
)
@click.option(
    "--save_interval",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Steps between checkpoints inside an epoch; 0 only at its end.",
)
@click.option("--save_dir", default="data/checkpoints", show_default=True, help="Where checkpoints go.")
@click.option(
    "--fix_random_seed", type=bool, default=False, show_default=True, help="Use TRAIN.seed: a repeatable run."
)
@click.option("--epoch", type=int, help="Passes over the training data. [default: the file's]")
@click.option("--batch_size", type=int, help="Videos a step over all cards. [default: the file's]")
@click.option("--learning_rate", type=float, help="Of RMSProp, after the warm-up. [default: the file's]")
@click.option("--pretrain", metavar="P", help="Start from weights (a path, a URL or published); keeps what fits.")
@click.option("--resume", metavar="P", help="Go on exactly from a checkpoint or a save_dir.")
def train(
    config_path: str,
    overrides: tuple[str, ...],
    use_gpu: bool | None,
    model_name: str | None,
    log_interval: int,
    valid_interval: int,
    save_interval: int,
    save_dir: str,
    fix_random_seed: bool,
    epoch: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    pretrain: str | None,
    resume: str | None,
) -> None:
    """Train; keep the best and the latest checkpoint in --save_dir."""
    flags = {"TRAIN__epoch": epoch, "TRAIN__batch_size": batch_size, "TRAIN__learning_rate": learning_rate}
    config = configure(config_path, overrides, use_gpu, model_name, **flags)
    from alstm_helpers.training.train import train as run

    done = run(
        config,
        save_dir,
        log_interval=log_interval,
        valid_interval=valid_interval,
        save_interval=save_interval,
        seed=config.TRAIN.seed if fix_random_seed else None,
        resume=resume,
        pretrain=_fetched(pretrain) if pretrain else None,
        report=_line,
        progress=progress_bar,
    )
    best = f"best GAP {done.best_gap:.4f}, " if done.best_gap >= 0 else ""
    click.echo(
        f"{best}{done.train_seconds:.0f} s of training; weights in {Path(save_dir, config.MODEL.name)}_best.pdparams"
    )


def _line(text: str) -> None:
    """A line of the log that does not tear a progress bar apart."""
    from tqdm import tqdm

    tqdm.write(text)
    sys.stdout.flush()


def _weights(given: str | None, config: Any) -> str:
    """The weights asked for, fetched if it is an address; else the best of the default save_dir."""
    if given:
        return _fetched(given)
    best = Path("data/checkpoints", f"{config.MODEL.name}_best.pdparams")
    if not best.is_file():
        raise AlstmError(
            best, "no trained weights here", "pass --weights, or train first; for PaddleVideo's, published"
        )
    return str(best)


def _fetched(weights: str) -> str:
    from alstm_helpers.data.published import fetch_weights, is_address

    return str(fetch_weights(weights)) if is_address(weights) else weights


def _batches(filelist: str, batch_size: int, num_classes: int, log_interval: int) -> Any:
    """The batches of a list, with a line in the log every so many."""
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.filelists import read_filelist

    videos = 0
    shards = read_filelist(filelist)
    for number, batch in enumerate(
        progress_bar(read_batches(shards, batch_size, num_classes, by_length=True), desc="scoring"), 1
    ):
        yield batch
        videos += len(batch.ids)
        if log_interval and number % log_interval == 0:
            _line(f"batch {number}  {videos} videos")


@alstm.command("eval")
@common_flags
@click.option(
    "--weights", metavar="W", help="A path, a URL, or published. [default: data/checkpoints/<model>_best.pdparams]"
)
@click.option("--filelist", metavar="L", help="Pickles, TFRecords or both. [default: the file's TEST.filelist]")
@click.option("--batch_size", type=int, help="[default: the file's TEST.batch_size]")
@click.option(
    "--log_interval", type=click.IntRange(min=0), default=1, show_default=True, help="Batches between lines; 0 never."
)
@click.option("--save_dir", default="data/evaluate_results", show_default=True, help="Where metrics.json goes.")
@click.option("--out", metavar="FILE", help="Another place for metrics.json; the other files go beside it.")
@click.option(
    "--resamples", type=click.IntRange(min=0), default=200, show_default=True, help="For the intervals; 0 for none."
)
def evaluate(
    config_path: str,
    overrides: tuple[str, ...],
    use_gpu: bool | None,
    model_name: str | None,
    weights: str | None,
    filelist: str | None,
    batch_size: int | None,
    log_interval: int,
    save_dir: str,
    out: str | None,
    resamples: int,
) -> None:
    """Print Hit@1, PERR, GAP, mAP and loss of trained weights, and save them with more about each class."""
    flags = {"TEST__filelist": filelist, "TEST__batch_size": batch_size}
    config = configure(config_path, overrides, use_gpu, model_name, **flags)
    from alstm_helpers.evaluation import evaluate as evaluation
    from alstm_helpers.evaluation.report import write_report
    from alstm_helpers.model.build import load_model

    net = load_model(config, _weights(weights, config))
    names = _class_names(config)
    batches = _batches(config.TEST.filelist, config.TEST.batch_size, config.MODEL.num_classes, log_interval)
    metrics, loss = evaluation.collect(net, batches, top_k=config.MODEL.topk)
    path = Path(out) if out else Path(save_dir, "metrics.json")
    size = config.TEST.batch_size
    done = write_report(metrics, loss, path, batch_size=size, names=names, resamples=resamples, progress=progress_bar)
    if resamples:
        shown = (f"{key} {low:.4f} to {high:.4f}" for key, (low, high) in done["interval_95"].items())
        click.echo(f"95 % of resampled splits: {'  '.join(shown)}")
    click.echo(
        f"Hit@1 {done['hit_at_1']:.4f}  PERR {done['perr']:.4f}  GAP {done['gap']:.4f}"
        f"  mAP {done['map']:.4f}  loss {done['loss']:.4f}  over {done['num_videos']} videos → {path}"
    )


def _class_names(config: Any) -> dict[int, str]:
    from alstm_helpers.data.class_names import read_class_names

    return read_class_names(config.INFER.class_names) if config.INFER.class_names else {}


@alstm.command()
@click.argument("videos", nargs=-1, metavar="[CLIP.mp4]...")
@partial(common_flags, config_required=False)
@click.option(
    "--features", metavar="DIR", help="What made the features the model learnt from. [default: beside its lists]"
)
@click.option(
    "--weights", metavar="W", help="A path, a URL, or published. [default: data/checkpoints/<model>_best.pdparams]"
)
@click.option("--filelist", metavar="L", help="Pickles, TFRecords or both. [default: the file's INFER.filelist]")
@click.option("--batch_size", type=int, help="[default: the file's INFER.batch_size]")
@click.option("--infer_topk", type=click.IntRange(min=1), default=20, show_default=True, help="Labels a video.")
@click.option(
    "--threshold",
    metavar="T",
    help="Only labels from this score on: a number, or eval's report.json or classes.csv.",
)
@click.option(
    "--log_interval", type=click.IntRange(min=0), default=1, show_default=True, help="Batches between lines; 0 never."
)
@click.option("--save_dir", default="data/predict_results", show_default=True, help="Where predictions go.")
def predict(
    videos: tuple[str, ...],
    features: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
    use_gpu: bool | None,
    model_name: str | None,
    weights: str | None,
    filelist: str | None,
    batch_size: int | None,
    infer_topk: int,
    threshold: str | None,
    log_interval: int,
    save_dir: str,
) -> None:
    """Write the best labels of every video as JSON lines and as the competition's CSV; of video files, if some are
    named, with a picture of which seconds the labels come from."""
    config_path = config_path or _config_beside(weights)
    flags = {"INFER__filelist": filelist, "INFER__batch_size": batch_size}
    config = configure(config_path, overrides, use_gpu, model_name, **flags)
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.filelists import read_filelist
    from alstm_helpers.evaluation import predict as prediction
    from alstm_helpers.model.build import load_model

    limits = prediction.read_thresholds(threshold, config.MODEL.num_classes) if threshold else None
    net = load_model(config, _weights(weights, config))
    names = _class_names(config)
    if videos:
        if filelist or limits is not None:
            raise click.UsageError("--filelist and --threshold are for lists; with video files leave them out")
        _watch(videos, net, config, features, infer_topk, names, Path(save_dir))
        return
    shards = read_filelist(config.INFER.filelist)
    batches = progress_bar(read_batches(shards, config.INFER.batch_size, config.MODEL.num_classes), desc="predicting")

    def logged(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        for number, row in enumerate(rows, 1):
            if log_interval and number % (log_interval * config.INFER.batch_size) == 0:
                _line(f"{row['video']}  {_best_five(row['labels'])}")
            yield row

    rows = prediction.write_predictions(
        logged(prediction.predict(net, batches, top_k=infer_topk, class_names=names, thresholds=limits)), save_dir
    )
    click.echo(f"{len(rows)} videos → {Path(save_dir, 'predictions.jsonl')} and predictions.csv")


def _best_five(labels: list[dict[str, Any]]) -> str:
    """The best labels of a video, for a line of the log."""
    return "  ".join(f"{label['name'] or label['index']} {label['score']:.3f}" for label in labels[:5])


def _config_beside(weights: str | None) -> str:
    """The configuration that a training left beside its weights."""
    path = Path(weights).with_name("config.yaml") if weights else None
    if path is None or not path.is_file():
        raise click.UsageError("Missing option '--config'; only weights in the folder of a training bring their own.")
    return str(path)


def _watch(
    videos: tuple[str, ...], net: Any, config: Any, features: str | None, top_k: int, names: dict[int, str], out: Path
) -> None:
    """Label video files one by one; those that cannot be read are named, and the others go on."""
    from alstm_helpers.evaluation.predict import write_predictions
    from alstm_helpers.own_videos import watch as timeline
    from alstm_helpers.own_videos.features import videos_by_id
    from alstm_helpers.own_videos.media import Clip, find_videos

    extractor, reports, failed = timeline.find_extractor(config, features), [], []
    for path in videos_by_id(find_videos(videos)).values():
        try:
            report = timeline.watch(net, extractor, Clip(path), top_k=top_k, class_names=names)
            picture = timeline.write_timeline({**report, "labels": report["labels"][:5]}, out)
        except AlstmError as error:
            failed.append(error)
            continue
        reports.append(report)
        _line(f"{path.name}  {_best_five(report['labels'])}  → {picture}")
        for note in report["notes"]:
            _line(f"{path.name}: {note}")
    write_predictions(timeline.predictions_of(reports), out)
    click.echo(f"{len(reports)} videos → {out / 'predictions.jsonl'} and predictions.csv, {len(failed)} failed")
    _fail_after(failed)


def _fail_after(failed: list[AlstmError]) -> None:
    """A line for each failure, and exit status 1 if there was one."""
    for error in failed:
        click.echo(f"error: {error}", err=True)
    if failed:
        sys.exit(1)


@alstm.command()
@common_flags
@click.option(
    "--weights", metavar="W", help="A path, a URL, or published. [default: data/checkpoints/<model>_best.pdparams]"
)
@click.option("--filelist", metavar="L", help="Pickles, TFRecords or both. [default: the file's INFER.filelist]")
@click.option("--video", metavar="ID", multiple=True, required=True, help="Of the list; may be given several times.")
@click.option("--infer_topk", type=click.IntRange(min=1), default=5, show_default=True, help="Labels to explain.")
@click.option("--save_dir", default="data/explain_results", show_default=True, help="Where the reports go.")
def explain(
    config_path: str,
    overrides: tuple[str, ...],
    use_gpu: bool | None,
    model_name: str | None,
    weights: str | None,
    filelist: str | None,
    video: tuple[str, ...],
    infer_topk: int,
    save_dir: str,
) -> None:
    """Show which seconds of a video carried which label: a picture and JSON for each."""
    config = configure(config_path, overrides, use_gpu, model_name, INFER__filelist=filelist)
    from alstm_helpers.data.filelists import read_filelist
    from alstm_helpers.evaluation import explain as explaining
    from alstm_helpers.model.build import load_model

    net = load_model(config, _weights(weights, config))
    videos = explaining.find_videos(read_filelist(config.INFER.filelist), video)
    for found in videos:
        report = explaining.explain(net, found, top_k=infer_topk, class_names=_class_names(config))
        path = explaining.write_explanation(report, save_dir)
        best = report["labels"][0]
        stream, second = explaining.strongest_second(best)
        name = best["name"] or f"class {best['index']}"
        click.echo(f"{report['video']}: {name} {best['score']:.3f}, most by second {second} of {stream} → {path}")


@alstm.command()
@common_flags
@click.option("--weights", metavar="W", required=True, help="Trained .pdparams.")
@click.option("--out", metavar="D", required=True, help="Folder for the exported model.")
@click.option("--onnx", is_flag=True, help="Also write model.onnx, which ONNX Runtime runs without Paddle.")
@click.option("--int8", is_flag=True, help="Also write model.int8.onnx: a quarter of the size; its GAP is measured.")
@click.option("--filelist", metavar="L", help="Where --int8 measures GAP. [default: the file's VALID.filelist]")
def export(
    config_path: str,
    overrides: tuple[str, ...],
    use_gpu: bool | None,
    model_name: str | None,
    weights: str,
    out: str,
    onnx: bool,
    int8: bool,
    filelist: str | None,
) -> None:
    """Export a Paddle Inference model and ONNX, checked against the trainer on a batch of unequal lengths."""
    config = configure(config_path, overrides, use_gpu, model_name, VALID__filelist=filelist)
    from alstm_helpers.deployment.export import export as run
    from alstm_helpers.deployment.predictor import gap_of
    from alstm_helpers.model.build import load_model

    def measure(predictor: Any) -> float:
        size, classes, top_k = config.VALID.batch_size, config.MODEL.num_classes, config.MODEL.topk
        return gap_of(predictor, _batches(config.VALID.filelist, size, classes, log_interval=0), classes, top_k)

    net = load_model(config, _fetched(weights))
    done = run(net, out, onnx=onnx, class_names=_class_names(config), int8_gap=measure if int8 else None)
    if int8:
        gaps = done["int8"]
        click.echo(f"GAP {gaps['gap_float32']:.4f}, with weights as bytes {gaps['gap_int8']:.4f}")
    click.echo(
        f"{', '.join(done['files'])} in {out}; differs from the trainer by at most {done['largest_difference']:.1e}"
    )


@alstm.command()
@click.argument("model", metavar="MODEL")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Of 127.0.0.1.")
@click.option("--infer_topk", type=click.IntRange(min=1), default=20, show_default=True, help="Labels an answer.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores for the model. [default: all]")
def serve(model: str, port: int, infer_topk: int, threads: int | None) -> None:
    """Answer HTTP requests with an exported MODEL (a folder or model.onnx), on this machine only."""
    from alstm_helpers.deployment.predictor import Predictor
    from alstm_helpers.deployment.serve import run_server

    predictor = Predictor(model, threads=threads)
    click.echo(f"{predictor.path} on http://127.0.0.1:{port}/predict; stop with Ctrl-C")
    sys.stdout.flush()
    run_server(predictor, port, top_k=infer_topk)


@alstm.command()
@click.option("--profile", default="tiny", show_default=True, help="tiny, small, or full: also the real data set.")
@click.option("--notebooks", multiple=True, metavar="NN", help="Only these: --notebooks 03 05.")
@click.option("--answers", "variant", flag_value="answers", help="For instructors: notes, and every exercise answered.")
@click.option("--behind", "variant", flag_value="behind", help="Start each notebook at its cell for who is behind.")
@click.option("--out", default=None, metavar="D", help="Where executed copies go. [default: build/course of the clone]")
@click.argument("more", nargs=-1, metavar="")
def course(
    profile: str, notebooks: tuple[str, ...], variant: str | None, out: str | None, more: tuple[str, ...]
) -> None:
    """Run the notebooks headless; write executed copies, HTML and summary.json."""
    if more and not notebooks:
        raise click.UsageError(f"unexpected {' '.join(more)}; select notebooks with --notebooks")
    from alstm_helpers.course.runner import run_course
    from alstm_helpers.paths import project_root

    folder = Path(out) if out else project_root() / "build" / "course"
    done = run_course(folder, profile=profile, notebooks=[*notebooks, *more], variant=variant or "", report=_line)
    good = [row for row in done["notebooks"] if row["status"] == "ok"]
    click.echo(f"{len(good)} of {len(done['notebooks'])} notebooks ok in {done['seconds']:.0f} s → {folder}")
    if len(good) < len(done["notebooks"]):
        sys.exit(1)


@alstm.command()
def progress() -> None:
    """Show which exercises of the course are done; kept on this machine alone."""
    from alstm_helpers.course.exercises import CHAPTERS, exercises_of
    from alstm_helpers.course.exercises.progress import Progress

    done = Progress.load()
    for chapter in CHAPTERS:
        marks = {"correct": "✓", "not yet": "…", "not attempted": "·"}
        shown = [f"{item.name} {marks[done.status(item.name)]}" for item in exercises_of(chapter)]
        click.echo(f"{chapter:02d}  {'  '.join(shown)}")
    click.echo(f"{done.path}: ✓ correct, … tried, · not attempted")


@alstm.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--tensorflow", metavar="PYTHON", help="A Python with TensorFlow 2: also measure tf2pkl's logic on it.")
@click.option("--pytorch", metavar="PYTHON", help="A Python with PyTorch: also measure the small model on it.")
@click.option(
    "--only", multiple=True, metavar="PART", help="data, metrics, model, parts, full_size, server, or latency (4 min)."
)
def bench(as_json: bool, tensorflow: str | None, pytorch: str | None, only: tuple[str, ...]) -> None:
    """Measure this machine: conversion, reading, metrics, training steps, the server; about two minutes."""
    from alstm_helpers.machine.bench import PARTS, run_bench

    for name in only:
        if name not in PARTS:
            raise AlstmError(f"--only {name}", "no such part", f"choose from {', '.join(PARTS)}")
    figures = run_bench(tensorflow, pytorch, progress_bar, only)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        for name, row in figures.items():
            click.echo(f"{name:<20} {row['value']:>10.4g} {row['unit']:<10} {row['what']}")


def main() -> None:
    """Run the command; failures become one line and exit status 1, wrong usage 2."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # accepted anywhere
    try:
        alstm.main(args=arguments, prog_name="alstm", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except AlstmError as error:
        _fail(str(error), debug)
    except OSError as error:
        where = error.filename or error.filename2 or "system"
        where = os.fsdecode(where) if isinstance(where, bytes | str | os.PathLike) else str(where)
        _fail(f"{where}: {error.strerror or error}; check free space and permissions, then run again", debug)
    except MemoryError:
        _fail("memory: not enough for this batch; lower the batch size", debug)
    except Exception as error:  # a fault of ours; still one line, and the traceback for who wants to report it
        _fail(
            f"alstm: {type(error).__name__}: {error}; this is a fault of alstm, report it with what --debug shows",
            debug,
        )


def _fail(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(1)
