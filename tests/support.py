"""Helpers that several test files share: small videos, settings changed on a copy, fresh Pythons, trainings."""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import numpy as np
import pytest

from alstm_helpers.config import Config
from alstm_helpers.deployment.predictor import Prediction, Predictor
from alstm_helpers.digests import crc32c
from alstm_helpers.pickles import load_shard, save_videos
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, Video

if TYPE_CHECKING:
    from alstm_helpers.deployment.videos import Videos
    from alstm_helpers.model import AttentionLSTM


Item = TypeVar("Item")


def a_video(name: str, num_frames: int, labels: Sequence[int] = (), *, seed: int = 0) -> Video:
    """A video of noise; its bytes are never 0, so that padding can be told from frames."""
    rng = np.random.default_rng([seed, num_frames, *name.encode()])
    rgb, audio = (rng.integers(1, 256, (num_frames, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    return Video(name.encode(), tuple(labels), rgb, audio)


def equal(one: Video, other: Video) -> bool:
    arrays = np.array_equal(one.rgb, other.rgb) and np.array_equal(one.audio, other.audio)
    return arrays and (one.id, one.labels) == (other.id, other.labels)


def dumped(path: Path, value: object, protocol: int = 4) -> Path:
    """The file, with the value pickled as anybody would."""
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def write_shards(folder: Path, shards: Sequence[Sequence[Video]]) -> list[Path]:
    """One pickle a list of videos."""
    paths = [folder / f"shard{number}.pkl" for number in range(len(shards))]
    for path, videos in zip(paths, shards, strict=True):
        save_videos(path, videos)
    return paths


def write_list(path: Path, shards: Sequence[Path]) -> Path:
    path.write_text("".join(f"{shard}\n" for shard in shards), encoding="utf-8")
    return path


def changed(config: Config, **settings: object) -> Config:
    """A copy with other settings, as ``TRAIN__epoch=3``."""
    values = config.model_dump()
    for key, value in settings.items():
        section, _, name = key.partition("__")
        assert name in values[section], key
        values[section][name] = value
    return Config.model_validate(values)


def default_of(command: click.Command, flag: str) -> object:
    """What a command takes for a flag that is not given."""
    (found,) = [parameter.default for parameter in command.params if flag in parameter.opts]
    return found


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A system on which no file can have more bytes, as on a disk that is full."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def ids_of(shards: Sequence[Path]) -> list[bytes]:
    return [video.id for shard in shards for video in load_shard(shard)]


SHORT = (9, 46, 62, 87, 10, 15, 22, 30)  # videos of 20 to 23 seconds; the mean is 40


def labelled_clips(root: Path, count: int) -> None:
    """Write FlashDigits videos as ``clips/cN.mp4``, their ``labels.csv``, and what is imported of it to ``labels/``."""
    from alstm_helpers.data.flashdigits import CLASS_NAMES, render
    from alstm_helpers.own_videos.flashdigits_clips import write_mp4
    from alstm_helpers.own_videos.labels import import_labels

    (root / "clips").mkdir(parents=True)
    rows = ["video,labels"]
    for index, number in enumerate(SHORT[:count]):
        scene = render(0, "val", number)
        write_mp4(root / "clips" / f"c{index}.mp4", scene)
        rows.append(f"c{index}.mp4," + ";".join(CLASS_NAMES[event.label] for event in scene.events))
    (root / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    import_labels([root / "labels.csv"], root / "labels")


def sums_fit(sums: Path) -> bool:
    """Tell whether a ``.crc32c`` has the sums of the lines of the file beside it, in their order."""
    lines = sums.with_suffix("").read_bytes().splitlines()
    return sums.read_text("utf-8").split() == [f"{crc32c(line):08x}" for line in lines]


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python; an empty value takes the variable away."""
    variables = {**os.environ, **environment}
    variables = {key: value for key, value in variables.items() if value or key not in environment}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def a_net(config: Config, pooling: str = "attention") -> AttentionLSTM:
    """A network whose attention is far from even, so that a wrong mask shows; ready to score."""
    from alstm_helpers.model.build import build_model
    from alstm_helpers.runtime import paddle

    paddle.seed(3)
    net = build_model(changed(config, MODEL__pooling=pooling, MODEL__drop_rate=0.5))
    if "attention" in pooling:
        for layer in (net.att_fc0, net.att_fc1):
            layer.weight.set_value(layer.weight.numpy() * 20)
    net.eval()
    return net


def unequal_videos(lengths: Sequence[int], *, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb, audio and lengths of random videos; the padding is noise too."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
    return rgb, audio, np.array(lengths, dtype=np.int64)


def score_all(net: AttentionLSTM, batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Prediction:
    """Scores and attention of a batch by the trainer's own network."""
    from alstm_helpers.runtime import paddle

    with paddle.no_grad():
        logits, weights = net(*map(paddle.to_tensor, batch), return_attention=True)
    return Prediction(paddle.nn.functional.sigmoid(logits).numpy(), *(item.numpy() for item in weights))


# --- trainings ----------------------------------------------------------------------------------------------------


@contextmanager
def serving(predictor: Predictor, videos: Videos | None = None) -> Iterator[int]:
    """Serve a model in a thread, as ``alstm serve`` does in a process; yields the port."""
    from alstm_helpers.deployment.serve import make_server

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(predictor, videos=videos)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def best(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the best weights of a training."""
    return _weights(folder, "best")


def latest(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the latest weights of a training."""
    return _weights(folder, "latest")


def _weights(folder: str | os.PathLike[str], which: str) -> dict[str, np.ndarray]:
    from alstm_helpers.model.weights import load_arrays

    return load_arrays(Path(folder, f"AttentionLSTM_{which}.pdparams"))


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether two sets of weights are equal to the bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


class Interrupt:
    """A progress wrapper that stops in the middle of an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int, batch: int = 2) -> None:
        self.epoch, self.batch = epoch, batch

    def __call__(
        self,
        items: Iterable[Item],
        *,
        total: int | None = None,
        desc: str = "",
        size: Callable[[Item], int] | None = None,
        total_size: int | None = None,
    ) -> Iterator[Item]:
        for number, item in enumerate(items):
            if desc.startswith(f"epoch {self.epoch}/") and number == self.batch:
                raise KeyboardInterrupt
            yield item


def pretend_gaps(
    monkeypatch: pytest.MonkeyPatch, values: Iterable[float], losses: Iterable[float] = itertools.repeat(1.0)
) -> None:
    """Make the validations of a training return these GAPs and losses, one pair after the other."""
    given = zip(values, losses, strict=False)

    def fake(net: object, batches: object, *, top_k: int, ranks: object, where: str) -> dict[str, float]:
        gap, loss = next(given)
        return {"hit_at_1": 0.0, "perr": 0.0, "gap": gap, "map": 0.0, "num_videos": 20, "loss": loss}

    monkeypatch.setattr("alstm_helpers.training.train.evaluate", fake)
