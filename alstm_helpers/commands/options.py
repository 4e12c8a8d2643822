"""Flags that several commands share, each once, and what the commands share in printing."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from alstm_helpers.errors import AlstmError, one_line
from alstm_helpers.paths import WEIGHTS_REMEDY, RunFolder

if TYPE_CHECKING:
    from alstm_helpers.config import Config
    from alstm_helpers.data.class_names import Label
    from alstm_helpers.data.dataset import Batch

Command = TypeVar("Command", bound=Callable[..., Any])  # click calls a command with the flags it declares
Item = TypeVar("Item")
_MOST_WORKERS = 1024
_NAMES_BY_HAND = "fetch it where there is a network, and pass -o INFER.class_names=vocabulary.csv"

# Flags are spelt with underscores, as in the source document; dashes are accepted too.
CONTEXT = {
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}


class DashedGroup(click.Group):
    """A group whose commands may be spelt with ``-`` or ``_``."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name.replace("_", "-"))


class AboveZero(click.FloatRange):
    """A number above 0, at most ``most``; NaN, which is not below any limit, is refused, too."""

    def __init__(self, most: float) -> None:
        super().__init__(min=0, min_open=True, max=most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number that a text says."""
        number = float(super().convert(value, param, ctx))
        if number != number:  # NaN, which is not equal to anything
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


@dataclass(frozen=True)
class Given:
    """What ``--config``, ``-o``, ``--use_gpu`` and ``--model_name`` say."""

    config_path: str | None
    overrides: tuple[str, ...]
    use_gpu: bool | None
    model_name: str | None


def config_flags(*, required: bool = True) -> Callable[[Command], Command]:
    """Add the flags of every command that takes a configuration; the command receives them as ``given``."""
    options = (
        click.option(
            "-o", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the file: -o TRAIN.batch_size=64"
        ),
        click.option(
            "--use_gpu", type=bool, help="Compute on a GPU (True) or not (False). [default: the file's TRAIN.use_gpu]"
        ),
        click.option("--model_name", help="Prefix of checkpoint files. [default: the file's MODEL.name]"),
        click.option("--config", "config_path", required=required, metavar="FILE", help="YAML configuration."),
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_given(
            *,
            config_path: str | None,
            overrides: tuple[str, ...],
            use_gpu: bool | None,
            model_name: str | None,
            **others: Any,
        ) -> None:
            command(given=Given(config_path, overrides, use_gpu, model_name), **others)

        for option in options:
            with_given = option(with_given)
        return with_given  # type: ignore[return-value]

    return decorate


def configure(given: Given, flags: Mapping[str, object] | None = None) -> Config:
    """Return the configuration, flags over ``-o`` over the file, and set the device as it says.

    Args:
        given: the shared flags; ``config_path`` is set.
        flags: values of other flags by dotted key; None leaves a key as it is.
    """
    from alstm_helpers.config import find_config, load_config, parse_override
    from alstm_helpers.runtime import set_device

    asked = {**(flags or {}), "TRAIN.use_gpu": given.use_gpu, "MODEL.name": given.model_name}
    settings = dict(parse_override(text) for text in given.overrides)
    settings |= {key: value for key, value in asked.items() if value is not None}
    path = find_config(str(given.config_path))
    if str(path) != given.config_path:
        line(f"{given.config_path}: none here; taking the course's own, {path}")
    config = load_config(path, settings)
    device = set_device(config.TRAIN.use_gpu)
    shown = " ".join(f"{key}={value}" for key, value in settings.items())
    line(f"{given.config_path} on {device}" + (f", with {shown}" if shown else ""))
    return config


def _require_workers(context: click.Context, parameter: click.Parameter, count: int) -> int:
    if count != -1 and not 1 <= count <= _MOST_WORKERS:
        raise AlstmError("--workers", f"{count} processes cannot work", f"pass 1 to {_MOST_WORKERS}")
    return count


def workers_flag(default: int, help_text: str) -> Callable[[Command], Command]:
    """Return ``--workers``: from 1, or -1."""
    return click.option("--workers", default=default, show_default=True, callback=_require_workers, help=help_text)


def interval_flag(name: str, default: int, help_text: str) -> Callable[[Command], Command]:
    """Return a flag that counts steps, batches or epochs between events; 0 is never."""
    return click.option(name, type=click.IntRange(min=0), default=default, show_default=True, help=help_text)


def save_dir_flag(default: str, help_text: str) -> Callable[[Command], Command]:
    """Return ``--save_dir``."""
    return click.option("--save_dir", default=default, show_default=True, help=help_text)


def filelist_flag(section: str, help_text: str = "Pickles, TFRecords or both.") -> Callable[[Command], Command]:
    """Return ``--filelist``, which replaces the one of a section of the file."""
    return click.option("--filelist", metavar="L", help=f"{help_text} [default: the file's {section}.filelist]")


def batch_size_flag(section: str) -> Callable[[Command], Command]:
    """Return ``--batch_size``, which replaces the one of a section of the file."""
    return click.option("--batch_size", type=int, help=f"[default: the file's {section}.batch_size]")


def group_flag(default: str = "") -> Callable[[Command], Command]:
    """Return ``--group``; its default is said as in ``[default: that of an earlier run]``."""
    help_text = "Keep videos together in whose ids this finds the same text."
    return click.option("--group", metavar="REGEX", help=f"{help_text} {default}".strip())


def topk_flag(default: int, help_text: str) -> Callable[[Command], Command]:
    """Return ``--infer_topk``."""
    return click.option("--infer_topk", type=click.IntRange(min=1), default=default, show_default=True, help=help_text)


weights_flag = click.option(
    "--weights", metavar="W", help="A path, a URL, or published. [default: data/checkpoints/<model>_best.pdparams]"
)
val_share_flag = click.option(
    "--val_share", default=0.2, show_default=True, help="About this share goes to validation."
)
clip_seconds_flag = click.option(
    "--clip_seconds",
    type=AboveZero(1e7),  # four months; locks cannot wait for 300 years
    help="Time for one clip; it fails after that. [default: 1800, and one more per megabyte of its file]",
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
log_batches_flag = interval_flag("--log_interval", 1, "Batches between lines; 0 never.")


def line(text: str, *, err: bool = False) -> None:
    """Print a line without tearing a progress bar apart; ids, names and paths in it cannot steer the terminal.

    Every command prints through this; JSON escapes such characters by itself.
    """
    from tqdm import tqdm

    stream = sys.stderr if err else sys.stdout
    tqdm.write(one_line(text), file=stream)
    stream.flush()


def logged(items: Iterable[Item], interval: int, text: Callable[[Item], str]) -> Iterator[Item]:
    """Pass items on, and print a line about each one whose number is a multiple of ``interval``; 0 prints none."""
    for number, item in enumerate(items, 1):
        if interval and number % interval == 0:
            line(text(item))
        yield item


def logged_batches(batches: Iterable[Batch], interval: int) -> Iterator[Batch]:
    """Pass batches on, and print after every ``interval`` of them how many videos are done; 0 prints nothing."""
    videos = 0
    for number, batch in enumerate(batches, 1):
        yield batch
        videos += len(batch.ids)
        if interval and number % interval == 0:
            line(f"batch {number}  {of_videos(videos)}")


def of_videos(count: int) -> str:
    """Return a number of videos as part of a line."""
    return "1 video" if count == 1 else f"{count} videos"


def of_clips(count: int) -> str:
    """Return a number of clips as part of a line."""
    return "1 clip" if count == 1 else f"{count} clips"


def best_five(labels: Sequence[Label]) -> str:
    """Return the best labels of a video as part of a line."""
    return "  ".join(f"{label['name'] or label['index']} {label['score']:.3f}" for label in labels[:5])


def fail_after(failed: Sequence[AlstmError]) -> None:
    """Print a line for each failure, and exit with status 1 if there was one."""
    for error in failed:
        line(f"error: {error}", err=True)
    if failed:
        sys.exit(1)


def fetched(weights: str) -> str:
    """Return the path of weights; an address is fetched first.

    Raises:
        AlstmError: there is no such file, which a command should know before it imports Paddle.
    """
    from alstm_helpers.data.published import fetch_weights, is_address
    from alstm_helpers.files import require_file

    return str(fetch_weights(weights) if is_address(weights) else require_file(weights, WEIGHTS_REMEDY))


def weights_of(given: str | None, config: Config, features: Path) -> str:
    """Return the path of the weights asked for, or of the best ones in the default ``save_dir``.

    Args:
        given: a path or an address.
        config: names the best ones.
        features: the folder of what the weights are to read.

    Raises:
        AlstmError: the file that is given is missing; none is given, and there is none; or the weights learnt from
            features that are scaled otherwise.
    """
    from alstm_helpers.data.feature_scale import require_same_scale

    best = RunFolder(Path("data/checkpoints"), config.MODEL.name).best
    if not given and not best.is_file():
        remedy = "pass --weights, or train first; --weights published takes PaddleVideo's"
        raise AlstmError(best, "no trained weights here", remedy)
    weights = fetched(given) if given else str(best)
    require_same_scale(weights, features)
    return weights


def quoted(path: Path) -> str:
    """Return a path as a command that is shown needs it: in quotes if it has spaces, for one."""
    import shlex  # here, as --help needs no more than click

    return shlex.quote(str(path))


def class_names_of(config: Config, weights: str | None = None) -> dict[int, str]:
    """Return the class names that ``INFER.class_names`` points to; where it is null, those of published weights."""
    from alstm_helpers.data.class_names import read_class_names

    if config.INFER.class_names:
        return read_class_names(config.INFER.class_names)
    if weights != "published":
        return {}
    from alstm_helpers.data.published import VOCABULARY, NotFetched, fetch_weights

    try:
        return read_class_names(fetch_weights(VOCABULARY, pinned=True, way_out=_NAMES_BY_HAND))
    except NotFetched as error:
        line(f"classes have no names: {error}")
        return {}
