"""YouTube-8M itself, as ``PROFILE = "full"`` takes it: one part in a hundred, by the same steps as FlashDigits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alstm_helpers.config import Config, load_config
from alstm_helpers.data.convert import convert
from alstm_helpers.data.download import DownloadOptions, download
from alstm_helpers.data.lists import filelist_settings, write_lists
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import write_json
from alstm_helpers.paths import project_root

PART = "1,100"  # about 39 files of 260 MB of train, and as many of validate
PARTITIONS = {"train": "2/frame/train", "val": "2/frame/validate"}
SERVER = "ALSTM_YT8M_URL"  # another server with the official layout, such as a mirror in the house
RECIPE = "attention_lstm-single.yaml"  # of configs/: the full-size network on one card


class RealSet:
    """A part of YouTube-8M in a folder, and the full-size network trained on it.

    Args:
        folder: gets ``tf/``, ``pkl/`` and the lists.
        out: gets ``checkpoints/``.
        seed: of the training.
        use_gpu: whether to train on a card. Without one an epoch of this part takes hours.
    """

    def __init__(self, folder: Path, out: Path, *, seed: int, use_gpu: bool) -> None:
        self.folder, self.checkpoints, self.seed, self.use_gpu = folder, out / "checkpoints", seed, use_gpu

    def get(self, report: Callable[[str], None] = lambda line: None) -> dict[str, int]:
        """Download, convert and list what is missing; the number of shards in each list.

        Raises:
            AlstmError: files are missing after all tries, or a shard is damaged.
        """
        for split, partition in PARTITIONS.items():
            mirror, server = os.environ.get("ALSTM_YT8M_MIRROR", "us"), os.environ.get(SERVER) or None
            options = DownloadOptions(shard=PART, base_url=server)
            done = download(partition, mirror, self.folder / "tf" / split, options, report=report)
            report(f"{partition}: {done.summary()}")
            if done.failed:
                raise AlstmError(partition, f"{len(done.failed)} files could not be had", "run this again: it goes on")
            report(convert(self.folder / "tf" / split, self.folder / "pkl" / split).summary())
        return write_lists(self.folder)

    def config(self, **overrides: Any) -> Config:
        """The one-card recipe on these lists; its decay counts these videos; overrides as ``TRAIN__epoch=3``."""
        settings: dict[str, Any] = {**filelist_settings(self.folder)}
        settings |= {"TRAIN.num_samples": None, "TRAIN.use_gpu": self.use_gpu}
        settings |= {key.replace("__", "."): value for key, value in overrides.items()}
        return load_config(project_root() / "configs" / RECIPE, settings)

    def class_names(self) -> dict[int, str]:
        """Names from ``vocabulary.csv`` in the folder; none when it is not there."""
        from alstm_helpers.data.class_names import read_class_names

        path = self.folder / "vocabulary.csv"
        return read_class_names(path) if path.exists() else {}

    def model(self, report: Callable[[str], None] = lambda line: None) -> Path:
        """The best weights of a training on this part; trains first, or goes on with a training that was cut off."""
        from alstm_helpers.training.train import train

        best, finished = self.checkpoints / "AttentionLSTM_best.pdparams", self.checkpoints / "finished.json"
        if not (best.exists() and finished.exists()):
            begun = (self.checkpoints / "AttentionLSTM_latest.pdstate").exists()
            resume = self.checkpoints if begun else None
            train(self.config(), self.checkpoints, seed=self.seed, resume=resume, report=report)
            write_json(finished, {"seed": self.seed})
        return best
