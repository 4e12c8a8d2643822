"""Every command that writes: killed, stopped, without its folder, or twice at once, at any of its file operations."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from crashes import Crashes, Ended, started
from fileserver import Server
from nbformat.v4 import new_code_cell, new_notebook
from support import changed, labelled_clips, sums_fit

from alstm_helpers.config import save_config
from alstm_helpers.files import claimed
from alstm_helpers.model.build import build_model
from alstm_helpers.model.weights import save_weights
from alstm_helpers.runtime import seed_everything

pytestmark = pytest.mark.posix
KILLS = int(os.environ.get("ALSTM_KILLS", "2"))  # of each command
# What a run takes, and what it says about itself, differs from run to run; so does a digest over that.
OTHER = {"seconds", "digest", "wait", "rate", "videos_per_second", "command", "started"}


@dataclass(frozen=True)
class World:
    """A folder with the input of every command, and ``out``, in which it works."""

    folder: Path
    crashes: Crashes
    url: str

    @property
    def out(self) -> Path:
        return self.folder / "out"


def content(path: Path) -> object:
    if path.is_dir():
        return "folder"
    if path.suffix in (".json", ".jsonl") and path.name != "model.json":
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
        values = [json.loads(line) for line in lines]
        return [{key: each[key] for key in each.keys() - OTHER} if isinstance(each, dict) else each for each in values]
    if path.suffix == ".crc32c":
        return sums_fit(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_data, tiny_config) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("crashes") / "world 世界"
    given = folder / "in"
    shutil.copytree(tiny_data / "pkl", given / "pkl")
    shutil.copytree(tiny_data / "tf" / "val", given / "tf")
    config = changed(tiny_config, TRAIN__epoch=1, VALID__batch_size=20, TEST__batch_size=20)
    save_config(given / "config.yaml", config)
    seed_everything(0)
    save_weights(build_model(config), given / "weights.pdparams")
    labelled_clips(given, 6)
    parameters = new_code_cell("PROFILE = DATA_DIR = OUT_DIR = ''", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(CELLS)], metadata=kernel), given / "01_own.ipynb")
    crashes, server = started(folder), Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield World(folder, crashes, server.url)
    crashes.process.communicate()
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Command:
    """A command line, in which IN, OUT and URL stand for folders and an address.

    Args:
        line: its words.
        given: what is in OUT beforehand: a folder of IN.
        claims: the folder of OUT that another run must not claim, too.
        varies: patterns of files whose content differs from run to run.
        setup: Python that runs first, to replace what is slow.
        slow: takes seconds; only where ALSTM_SLOW is set.
    """

    line: str
    given: str = ""
    claims: str = ""
    varies: tuple[str, ...] = ()
    setup: str = ""
    slow: bool = False


NETWORK = "--config IN/config.yaml --weights IN/weights.pdparams"
TIMES = ("**/train.jsonl", "**/run.json", "**/visualdl/*", "**/*.pdstate")
COURSE = """
from pathlib import Path
from alstm_helpers.course import lab, runner
runner.find_notebooks = lambda names: [Path('IN/01_own.ipynb')]
lab.Lab.ensure_data = lambda self: self.data_dir.mkdir(exist_ok=True)
"""
CELLS = """
from alstm_helpers.course.lab import Lab
Lab('01_own', profile=PROFILE, seed=0, data_dir=DATA_DIR, out_dir=OUT_DIR).expected_results([('one', 1, 1, 0)])
"""
IMPATIENT = "from alstm_helpers.own_videos import labels; labels._PATIENCE = 0"
COMMANDS = {
    "make-data": Command("make-data OUT --train 6 --val 2 --shards 2"),
    "download": Command("download --partition 2/frame/train --mirror us --out OUT --base-url URL --workers 1"),
    "convert": Command("convert IN/tf OUT --workers 1"),
    "lists": Command("lists OUT", given="pkl"),
    "split": Command("split IN/pkl/train OUT", claims="pkl/train"),
    "labels": Command("labels import IN/labels.csv --out OUT", setup=IMPATIENT),
    "features": Command("features IN/clips --labels IN/labels --backbone flashdigits --out OUT --workers 1", slow=True),
    "train": Command(
        "train --config IN/config.yaml --fix_random_seed=True --log_interval 0 --save_dir OUT", varies=TIMES
    ),
    "crossval": Command("crossval --config IN/config.yaml --folds 2 --save_dir OUT", varies=TIMES, slow=True),
    "eval": Command(f"eval {NETWORK} --save_dir OUT --resamples 2"),
    "predict": Command(f"predict {NETWORK} --save_dir OUT"),
    "predict clips": Command(f"predict IN/clips/c0.mp4 {NETWORK} --save_dir OUT", slow=True),
    "explain": Command(f"explain {NETWORK} --video v000 --save_dir OUT", slow=True),
    "export": Command(f"export {NETWORK} --out OUT --onnx", slow=True),
    "lab": Command("lab OUT --copy_only"),
    "course": Command("course --out OUT", varies=("*.ipynb", "*.html", "*.json"), setup=COURSE, slow=True),
}


class Whole:
    """A command that nothing hits: how many file operations it takes, and what it leaves."""

    def __init__(self, world: World, command: Command) -> None:
        self.world, self.command = world, command
        places = {"IN": str(world.folder / "in"), "OUT": str(world.out), "URL": world.url}
        self.arguments = command.line.split()
        for name, place in places.items():
            self.arguments = [word.replace(name, place) for word in self.arguments]
        self.setup = command.setup.replace("IN", places["IN"])
        ended = self.run()
        assert ended.status == 0, ended.said
        self.operations, self.found = ended.operations, self.look()

    def begin(self) -> None:
        """Go back to where it begins."""
        shutil.rmtree(self.world.out, ignore_errors=True)
        if self.command.given:
            shutil.copytree(self.world.folder / "in" / self.command.given, self.world.out / self.command.given)

    def run(self, **hit: Any) -> Ended:
        """Run it from the beginning, and hit it."""
        self.begin()
        return self.again(**hit)

    def again(self, **hit: Any) -> Ended:
        """Run it again on what is there."""
        return self.world.crashes.run(self.arguments, setup=self.setup, **hit)

    def look(self) -> dict[str, object]:
        """Everything there is, hidden and temporary, too; of files a digest, but of those that vary."""
        folder = self.world.folder
        varies = {path for pattern in self.command.varies for path in self.world.out.glob(pattern)}
        found = {path: content(path) if path not in varies else "a file" for path in folder.rglob("*")}
        names = {
            path: re.sub(r"vdlrecords\.\d+", "vdlrecords", str(path.relative_to(folder))) for path in sorted(found)
        }
        return {name: found[path] for path, name in names.items()}

    def points(self, count: int) -> list[int]:
        """Numbers of operations, evenly spaced."""
        return sorted({*np.linspace(1, self.operations, count).round().astype(int).tolist()})


@pytest.fixture(scope="module", params=COMMANDS)
def whole(request, world) -> Iterator[Whole]:
    if COMMANDS[request.param].slow and "ALSTM_SLOW" not in os.environ:
        pytest.skip("CI sets ALSTM_SLOW")
    yield Whole(world, COMMANDS[request.param])
    shutil.rmtree(world.out, ignore_errors=True)


def test_killed_anywhere_a_rerun_ends_as_if_nothing_had_happened(whole):
    for at in whole.points(KILLS):
        ended = whole.run(at=at)
        assert ended.status == -signal.SIGKILL or ended.operations < at  # Jupyter's are not always as many
        again = whole.again()
        assert again.status == 0, again.said
        assert whole.look() == whole.found, f"killed before operation {at} of {whole.operations}"


def test_stopped_it_leaves_nothing_half_written(whole):
    """SIGTERM comes in the middle, where most commands have something open."""
    ended = whole.run(at=whole.operations // 2, what="SIGTERM")
    assert (ended.status, ended.said) == (128 + signal.SIGTERM, "")
    left = {name for name in whole.look() if not name.endswith(".part")}  # which a rerun continues
    assert left <= whole.found.keys()


def test_two_at_once_are_refused(whole):
    """The other one is this process."""
    whole.begin()
    with claimed(whole.world.out / whole.command.claims):
        ended = whole.again()
    assert ended.status == 1
    assert "out: another run is writing here; wait until it is done, or choose another folder\n" in ended.said.replace(
        f"out/{whole.command.claims}", "out"
    )


def test_a_folder_that_vanishes_is_an_error_or_made_anew(whole):
    for at in whole.points(KILLS + 2)[1:-1]:
        ended = whole.run(at=at, what=str(whole.world.out))
        if ended.status == 0:
            assert whole.look() == whole.found
        else:
            assert ended.status == 1 and "this is a bug" not in ended.said, ended.said
            assert len(re.findall("^error: .+: .+; .+$", ended.said, re.MULTILINE)) == 1  # a kernel may say more
