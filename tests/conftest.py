"""Fixtures that several test files share: a small FlashDigits data set, and a small model's settings on it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import english  # noqa: F401 - first
import pytest
from fileserver import Server

from alstm_helpers import cli
from alstm_helpers.config import Config, load_config
from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.flashdigits import Settings, make_data
from alstm_helpers.data.lists import write_lists

ROOT = Path(__file__).resolve().parents[1]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]


# Files that take half a minute or more, the longest first: begun last, they would keep one core while others are idle.
LONG = (
    *("test_features", "test_crashes", "test_watch", "test_crossval", "test_kill", "test_serve", "test_apart"),
    *("test_train", "test_media", "test_against_ffmpeg", "test_ranks", "test_bench", "test_curves", "test_network"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    turn = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: turn.get(item.path.stem, len(LONG)))


@pytest.fixture
def alstm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in this process, as the console script does."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["alstm", *map(str, arguments)])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real YouTube-8M files, which may not be committed; a test that wants them is skipped without."""
    if "ALSTM_REAL_DATA" not in os.environ:
        pytest.skip("needs ALSTM_REAL_DATA")
    return Path(os.environ["ALSTM_REAL_DATA"])


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FlashDigits with 60 training and 20 validation videos, converted and listed; read only.

    Its path has a space and a Chinese character, as the paths of real users have.
    """
    root = tmp_path_factory.mktemp("data") / "tiny 数据"
    make_data(root, Settings(train=60, val=20, shards=2), workers=1)
    for split in ("train", "val"):
        convert(root / "tf" / split, root / "pkl" / split, ConvertOptions(workers=1))
    write_lists(root)
    return root


@pytest.fixture(scope="session")
def tiny_config(tiny_data: Path) -> Config:
    """Sizes of 16, 20 classes, on ``tiny_data``; change it on a copy only."""
    settings = {
        "MODEL.embedding_size": 16,
        "MODEL.lstm_size": 16,
        "MODEL.fc_sizes": (16, 16),
        "TRAIN.epoch": 2,
        "TRAIN.warmup_iters": 2,
        "TRAIN.filelist": str(tiny_data / "train.list"),
        "VALID.filelist": str(tiny_data / "val.list"),
        "TEST.filelist": str(tiny_data / "test.list"),
        "INFER.filelist": str(tiny_data / "infer.list"),
        "INFER.class_names": str(tiny_data / "labels.csv"),
    }
    return load_config(ROOT / "configs" / "flashdigits.yaml", settings)


@pytest.fixture
def server() -> Iterator[Server]:
    """Files over HTTP, with faults on demand."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()
