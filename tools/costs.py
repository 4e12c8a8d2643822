"""Measure what each command costs, and how that grows with the data; fill the tables of docs/costs.md.

    python -m tools.costs [--minutes 8]

Every command runs at a small size, and again with more of one thing: videos, shards, seconds, classes or requests. All
these runs are made in turn, round after round until the minutes are over, but in at least two rounds. A growth is the
difference of two runs of one round. Each run is a process of its own, with one thread and one worker, which reports its
processor time and its peak memory itself. Needs Linux.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import requests

from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.filelists import write_filelist
from alstm_helpers.loopback import HOST, free_port, start_server
from alstm_helpers.runtime import package_version, processor_name
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, Video, write_videos
from tools.site import DOCS, ROOT, filled

# Runs a command; at its end writes the seconds of its processor time and its peak memory in MB.
RUN = r"""
import atexit, json, os, pathlib, sys
report = pathlib.Path(sys.argv.pop(1))
def write():
    from alstm_helpers.runtime import peak_memory
    report.write_text(json.dumps([sum(os.times()[:4]), peak_memory() / 2**20]))
atexit.register(write)
from alstm_helpers.cli import main
main()
"""
LEAST_ROUNDS = 2


@dataclass(frozen=True)
class Size:
    """What there is of everything that a cost can grow with."""

    videos: int
    shards: int = 4
    seconds: int = 30
    classes: int = 20
    requests: int = 50


UNITS = {"videos": 1000, "shards": 1000, "seconds": 3600, "classes": 1000, "requests": 1000}  # of a growth


class Cost(NamedTuple):
    """Of one run: seconds of processor time and of the clock, MB of peak memory and of files written."""

    processor: float
    clock: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Inputs:
    """What the commands read, made below ``root`` when it is first asked for."""

    root: Path

    def filled(self, arguments: str, size: Size, out: Path) -> list[str]:
        """Return the words of a command: ``{out}`` is where its output goes, others are a method or a field of Size."""
        words = list[str]()
        for word in arguments.split():
            name, _, rest = word[1:].partition("}") if word.startswith("{") else ("", "", word)
            found = getattr(self, name)(size) if hasattr(self, name) else getattr(size, name, out if name else "")
            words += found if isinstance(found, list) else [f"{found}{rest}"]
        return words

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.root / name
        if not path.exists():
            make(path)
        return path

    def data(self, size: Size) -> Path:
        """Return a folder with videos of noise: ``tf/train``, ``pkl/train``, ``pkl/val`` and ``train.list``."""
        rng = np.random.default_rng(0)

        def video(index: int) -> Video:
            rgb, audio = (rng.integers(0, 256, (size.seconds, dim), np.uint8) for dim in (RGB_DIM, AUDIO_DIM))
            return Video(f"v{index:06d}".encode(), (index % size.classes,), rgb, audio)

        def make(root: Path) -> None:
            for shard, indices in enumerate(np.array_split(np.arange(size.videos), size.shards)):
                write_videos(root / "tf" / "train" / f"train{shard:04d}.tfrecord", map(video, indices.tolist()))
            convert(root / "tf" / "train", root / "pkl" / "train", ConvertOptions(workers=1))
            shutil.copytree(root / "pkl" / "train", root / "pkl" / "val")
            write_filelist(root / "train.list", sorted((root / "pkl" / "train").glob("*.pkl")))

        return self._made(f"data-{size.videos}-{size.shards}-{size.seconds}-{size.classes}", make)

    def unlisted(self, size: Size) -> Path:
        """Return the same folder without lists."""
        for path in self.data(size).glob("*.list"):
            path.unlink()
        return self.data(size)

    def settings(self, size: Size) -> list[str]:
        """Return the flags of the course-size model on these videos."""
        shards = self.data(size) / "train.list"
        flags = [f"{section}.filelist={shards}" for section in ("TRAIN", "VALID", "TEST", "INFER")]
        flags += ["TRAIN.epoch=1", "INFER.class_names=null", f"MODEL.num_classes={size.classes}"]
        return ["--config", f"{ROOT / 'configs' / 'flashdigits.yaml'}", *(f"-o{flag}" for flag in flags)]

    def weights(self, size: Size) -> Path:
        """Return weights for as many classes."""
        few, arguments = Size(16, classes=size.classes), COMMANDS["train"].arguments
        folder = self._made(f"weights-{size.classes}", lambda path: run(self.filled(arguments, few, path)))
        return folder / "AttentionLSTM_best.pdparams"

    def model(self, size: Size) -> Path:
        """Return an exported model."""
        return self._made("model", lambda path: run(self.filled(COMMANDS["export"].arguments, size, path)))

    def clips(self, size: Size) -> Path:
        """Return a folder of video files."""
        from alstm_helpers.data.flashdigits import Scene, render
        from alstm_helpers.own_videos.flashdigits_clips import write_mp4

        def make(root: Path) -> None:
            root.mkdir()
            for index in range(size.videos):
                scene = render(0, "train", index)
                frames, sound = (np.resize(each, (size.seconds, *each.shape[1:])) for each in scene[:2])
                write_mp4(root / f"c{index}.mp4", Scene(frames, sound, ()))

        return self._made(f"clips-{size.videos}-{size.seconds}", make)


class Command(NamedTuple):
    """A command to measure: arguments for :meth:`Inputs.filled`, the smallest size, what other runs have more of."""

    arguments: str
    size: Size
    more: dict[str, int]


ALL = {"videos": 2000, "shards": 400, "seconds": 150, "classes": 2000}
FILES = {key: ALL[key] for key in ("videos", "shards", "seconds")}
SCORED = "{settings} --weights {weights}"
COMMANDS = {
    "make-data": Command("make-data {out} --train {videos} --val 4", Size(40), {"videos": 1000}),
    "convert": Command("convert {data}/tf {out} --workers 1", Size(400), FILES),
    "split": Command("split {data}/pkl/train {out}", Size(400), {"videos": 2000}),
    "lists": Command("lists {unlisted}", Size(400), {"shards": 400}),
    "train": Command("train {settings} --valid_interval 0 --save_dir {out}", Size(400), ALL),
    "eval": Command(f"eval {SCORED} --resamples 20 --save_dir {{out}}", Size(400), ALL),
    "predict": Command(f"predict {SCORED} --batch_size 64 --save_dir {{out}}", Size(400), ALL),
    "explain": Command(f"explain {SCORED} --video v000399 --save_dir {{out}}", Size(400), {"videos": 2000}),
    "crossval": Command("crossval {settings} --folds 2 --save_dir {out}", Size(40), {"videos": 160}),
    "export": Command(f"export {SCORED} --onnx --out {{out}}", Size(16), {"classes": 2000}),
    "serve": Command("serve {model} --threads 1", Size(16), {"requests": 250}),
    "features": Command(
        "features {clips} --backbone flashdigits --workers 1 --out {out}", Size(4), {"videos": 12, "seconds": 90}
    ),
}


def run(arguments: Sequence[str], number: int = 0) -> tuple[float, float]:
    """Run a command, and send a server so many requests; return its processor time, in seconds, and peak memory, in MB.

    Raises:
        SystemExit: it fails; the message says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = ["-c", RUN, str(report), *arguments]
        if arguments[0] == "serve":
            ask(command, number)
        else:
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"alstm {' '.join(arguments)}\n{done.stderr}")
        processor, memory = json.loads(report.read_text(encoding="utf-8"))
    return processor, memory


def ask(command: Sequence[str], number: int) -> None:
    """Start a server, send it requests of a video of 30 seconds, one after the other, and stop it."""
    file = io.BytesIO()
    np.savez(file, rgb=np.zeros((30, RGB_DIM), np.uint8), audio=np.zeros((30, AUDIO_DIM), np.uint8))
    port = free_port()
    server = start_server([*command, "--port", str(port)], port)
    try:
        with requests.Session() as session:
            for _ in range(number):
                session.post(f"http://{HOST}:{port}/predict", data=file.getvalue(), timeout=60).raise_for_status()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def cost(made: Inputs, command: Command, size: Size) -> Cost:
    """Run a command once."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        arguments = made.filled(command.arguments, size, out)
        start = time.perf_counter()
        processor, memory = run(arguments, size.requests)
        clock = time.perf_counter() - start
        return Cost(processor, clock, memory, sum(path.stat().st_size for path in out.rglob("*.*")) / 1e6)


Round: TypeAlias = dict[tuple[str, str | None], Cost]  # by command and what there is more of; None: the smallest run


def rounds_of(made: Inputs, minutes: float) -> Iterator[Round]:
    """Yield the costs of each round."""
    start, number, took = time.monotonic(), 0, 0.0
    while number < LEAST_ROUNDS or time.monotonic() - start + took < 60 * minutes:
        begun = time.monotonic()
        yield {
            (name, more): cost(made, command, replace(command.size, **({more: command.more[more]} if more else {})))
            for name, command in COMMANDS.items()
            for more in (None, *command.more)
        }
        number, took = number + 1, time.monotonic() - begun


def growth(name: str, more: str, rounds: Sequence[Round]) -> list[list[float]]:
    """Return how much each part of the cost grows with one of ``UNITS``, a value per round."""
    size, many = COMMANDS[name].size, COMMANDS[name].more[more]
    units = (many - getattr(size, more)) * (size.videos if more == "seconds" else 1) / UNITS[more]
    parts = zip(*(zip(costs[name, more], costs[name, None], strict=True) for costs in rounds), strict=True)
    return [[(large - small) / units for large, small in part] for part in parts]


def shown(values: Sequence[float]) -> str:
    """Return the median with the smallest and the largest value; a dash if they do not agree on a growth."""
    if min(values) <= 0:
        return "–"
    places = 0 if max(values) >= 100 else 1 if max(values) >= 10 else 2
    low, middle, high = (f"{find(values):,.{places}f}" for find in (min, statistics.median, max))
    return middle if low == high else f"{middle} ({low}–{high})"


def tables(rounds: Sequence[Round]) -> dict[str, str]:
    """Return the tables of the smallest runs and of the growths."""
    head = "processor, s | clock, s | memory, MB | written, MB |\n|---|---|---|---|---|---|"
    smallest, growths = [f"| command | of | {head}"], [f"| command | for | {head}"]
    for name, command in COMMANDS.items():
        few = f"{command.size.requests} requests" if name == "serve" else f"{command.size.videos} videos"
        parts = zip(*(costs[name, None] for costs in rounds), strict=True)
        smallest.append(f"| `{name}` | {few} | {' | '.join(map(shown, parts))} |")
        for more in command.more:
            unit = "an hour of video" if more == "seconds" else f"{UNITS[more]:,} {more}"
            growths.append(f"| `{name}` | {unit} | {' | '.join(map(shown, growth(name, more, rounds)))} |")
    return {"smallest": "\n".join(smallest), "growth": "\n".join(growths)}


def where_and_when(rounds: int, before: float, after: float) -> str:
    """Return the machine, its load, the versions and the day."""
    versions = ", ".join(f"{name} {package_version(name)}" for name in ("paddlepaddle", "numpy"))
    return (
        f"{processor_name()}, {os.cpu_count()} cores, load {before:.1f} before and "
        f"{after:.1f} after, when 1.0 was the measurement itself; {rounds} rounds; "
        f"Python {platform.python_version()}, {versions}; {datetime.now(UTC).date()}."
    )


def main() -> None:
    """Measure, and fill the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=8)
    minutes = parser.parse_args().minutes
    os.environ |= {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}  # the second keeps the streams in one thread
    before, page = os.getloadavg()[0], DOCS / "costs.md"
    with tempfile.TemporaryDirectory() as folder:
        rounds = list(rounds_of(Inputs(Path(folder)), minutes))
    machine = where_and_when(len(rounds), before, os.getloadavg()[0])
    page.write_text(filled(page, {**tables(rounds), "machine": machine}), encoding="utf-8")


if __name__ == "__main__":
    main()
