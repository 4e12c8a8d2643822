"""Commands of the data wing (chapter 3): make-data, download, convert, split, lists."""

from __future__ import annotations

from pathlib import Path

import click

from alstm_helpers.commands.options import fail_after, group_flag, line, of_videos, val_share_flag, workers_flag
from alstm_helpers.progress import progress_bar


@click.command("make-data")
@click.argument("directory", metavar="DIR")
@click.option("--train", default=2500, show_default=True, help="Training videos.")
@click.option("--val", default=500, show_default=True, help="Validation videos.")
@click.option("--shards", default=4, show_default=True, help="Files per split.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
def make_data(directory: str, train: int, val: int, shards: int, seed: int) -> None:
    """Make FlashDigits, the built-in data set, as YouTube-8M frame-level TFRecords in DIR."""
    from alstm_helpers.data import flashdigits

    settings = flashdigits.Settings(train=train, val=val, shards=shards, seed=seed)
    line(flashdigits.make_data(directory, settings, progress=progress_bar).summary())


@click.command()
@click.option("--partition", required=True, help="Such as 2/frame/train.")
@click.option("--mirror", required=True, type=click.Choice(["us", "eu", "asia"]), help="Nearest mirror.")
@click.option("--shard", metavar="X,Y", help="Only part X of Y: 1,100 takes about one file in a hundred.")
@click.option("--out", required=True, metavar="DIR", help="Where the files go.")
@click.option("--base-url", envvar="ALSTM_YT8M_URL", show_envvar=True, help="Another server with the same layout.")
@workers_flag(4, "Files at once.")
def download(partition: str, mirror: str, shard: str | None, out: str, base_url: str | None, workers: int) -> None:
    """Download YouTube-8M shards: resume, retry, and accept a file only if its checksum is right."""
    from alstm_helpers.data.download import DownloadOptions
    from alstm_helpers.data.download import download as run

    options = DownloadOptions(shard=shard, base_url=base_url, workers=workers)
    done = run(partition, mirror, out, options, report=line, progress=progress_bar)
    line(done.summary())
    fail_after(done.failed)


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@workers_flag(-1, "Processes; -1: one per core.")
@click.option(
    "--keys", type=click.Choice(["str", "bytes"]), default="str", show_default=True, help="bytes for the old reader."
)
@click.option("--keep_going", is_flag=True, help="Convert the other shards when one fails; exit with 1 at the end.")
@click.option("--scheduler", metavar="ADDRESS", help="Use a Dask cluster of your own: tcp://host:8786.")
def convert(source: str, target: str, workers: int, keys: str, keep_going: bool, scheduler: str | None) -> None:
    """Convert every *.tfrecord below SRC to a pickle in DST, without TensorFlow."""
    from alstm_helpers.data.convert import ConvertOptions
    from alstm_helpers.data.convert import convert as run

    options = ConvertOptions(workers=workers, keys=keys, keep_going=keep_going, scheduler=scheduler)
    done = run(source, target, options, progress=progress_bar)
    line(done.summary())
    fail_after(done.failed)


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("root", metavar="ROOT")
@val_share_flag
@group_flag()
def split(source: str, root: str, val_share: float, group: str | None) -> None:
    """Divide your own pickles or TFRecords in SRC into ROOT/pkl/train and ROOT/pkl/val by video id."""
    from alstm_helpers.data.lists import split_videos

    done = split_videos(source, root, val_share=val_share, group=group)
    line(f"train {of_videos(done.videos['train'])}, val {done.videos['val']}")
    for side, missing in done.one_sided().items():
        if missing:
            line(f"classes without a video in {side}: {', '.join(map(str, missing))}")


@click.command()
@click.argument("root", metavar="ROOT")
@click.option("--check", is_flag=True, help="Also read every shard: no video may be in both training and validation.")
def lists(root: str, check: bool) -> None:
    """Write train.list, val.list, test.list and infer.list below ROOT."""
    from alstm_helpers.data.lists import check_no_leak, unconverted, write_lists

    if check:
        line(f"{of_videos(check_no_leak(root))}, none in both training and validation")
    for name, count in write_lists(root).items():
        shards = "1 shard" if count == 1 else f"{count} shards"
        line(f"{Path(root, name)}: {shards}")
    missing, total = unconverted(root)
    if missing:
        where = f"TFRecords in {Path(root, 'tf')} without a pickle in {Path(root, 'pkl')}"
        line(f"{where}: {missing} of {total}; the lists leave them out; finish `alstm convert`, then run this again")
