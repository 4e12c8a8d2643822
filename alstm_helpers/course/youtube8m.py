"""YouTube-8M itself for ``PROFILE = "full"``: one part in a hundred, in the same steps as FlashDigits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alstm_helpers.config import Config, load_config
from alstm_helpers.course.recipes import finished_settings, load_recipe, mark_finished
from alstm_helpers.data.convert import convert
from alstm_helpers.data.download import DownloadOptions, download
from alstm_helpers.data.lists import write_lists
from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import RunFolder

PART = "1,100"  # about 39 files of 260 MB of train, and as many of 75 MB of validate
PARTITIONS = {"train": "2/frame/train", "val": "2/frame/validate"}
SERVER = "ALSTM_YT8M_URL"  # environment variable: another server with the official layout, such as a local mirror
REAL_RECIPE = "attention_lstm-single.yaml"  # of configs/: the full-size network on one GPU


@dataclass(frozen=True)
class RealSet:
    """A part of YouTube-8M in a folder, and the full-size network trained on it.

    Args:
        folder: gets ``tf/``, ``pkl/`` and the lists.
        out: gets ``checkpoints/``.
        seed: seed of the training.
        use_gpu: whether to train on a GPU; without one, an epoch takes hours.
    """

    folder: Path
    out: Path
    seed: int
    use_gpu: bool

    @property
    def run_folder(self) -> RunFolder:
        """The files of the training."""
        return RunFolder(self.out / "checkpoints")

    def get(self, report: Callable[[str], None] = lambda line: None) -> dict[str, int]:
        """Download and convert what is missing, and write the lists; return the number of shards in each list.

        Args:
            report: receives lines about the progress.

        Raises:
            AlstmError: files could not be downloaded, or a shard is damaged.
        """
        for split, partition in PARTITIONS.items():
            mirror, server = os.environ.get("ALSTM_YT8M_MIRROR", "us"), os.environ.get(SERVER) or None
            options = DownloadOptions(shard=PART, base_url=server)
            done = download(partition, mirror, self.folder / "tf" / split, options, report=report)
            report(f"{partition}: {done.summary()}")
            if done.failed:
                problem = f"{len(done.failed)} of its files could not be downloaded"
                raise AlstmError(partition, problem, "run this again to continue")
            report(convert(self.folder / "tf" / split, self.folder / "pkl" / split).summary())
        return write_lists(self.folder)

    def config(self, **overrides: object) -> Config:
        """Return the recipe for one GPU on these lists, with overrides such as ``TRAIN__epoch=3``.

        The schedule of the learning rate counts the videos of this part.
        """
        settings = {"TRAIN.num_samples": None, "TRAIN.use_gpu": self.use_gpu}
        return load_recipe(REAL_RECIPE, self.folder, settings, overrides)

    def class_names(self) -> dict[int, str]:
        """Return the names in ``vocabulary.csv`` of the folder; none if there is no such file."""
        from alstm_helpers.data.class_names import read_class_names

        path = self.folder / "vocabulary.csv"
        return read_class_names(path) if path.exists() else {}

    def model(self, report: Callable[[str], None] = lambda line: None) -> Path:
        """Return the best weights of a training on this part; train first, or resume, unless that is finished.

        Args:
            report: receives the lines of the training log.
        """
        run, settings = self.run_folder, {"seed": self.seed}
        if finished_settings(run) != settings:
            from alstm_helpers.training.train import TrainOptions, train

            resume = run.folder if self._is_begun() else None
            train(self.config(), run.folder, TrainOptions(seed=self.seed, resume=resume), report=report)
            mark_finished(run, settings)
        return run.best

    def _is_begun(self) -> bool:
        """Return whether there is a training to resume, with this seed, as far as its configuration is still there."""
        run = self.run_folder
        return run.checkpoint.exists() and (not run.config.exists() or load_config(run.config).TRAIN.seed == self.seed)
