"""Where things are: the project's own folders, and the files of a training's ``save_dir``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def project_root() -> Path:
    """Return the clone that this package is imported from, or the current folder if there is none."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "notebooks").is_dir() else Path.cwd()


@dataclass(frozen=True)
class RunFolder:
    """The files of one training, in its ``save_dir``.

    Args:
        folder: the ``save_dir``.
        name: ``MODEL.name``, the prefix of the checkpoint files.
    """

    folder: Path
    name: str = "AttentionLSTM"

    @classmethod
    def of_weights(cls, weights: str | Path) -> RunFolder:
        """Return the folder that a weights file is in; :attr:`name` is the default one."""
        return cls(Path(weights).parent)

    @property
    def best(self) -> Path:
        """Weights of the best validation."""
        return self.folder / f"{self.name}_best.pdparams"

    @property
    def latest(self) -> Path:
        """Weights of the latest checkpoint."""
        return self.folder / f"{self.name}_latest.pdparams"

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint: weights, optimiser and position, all that a resume needs."""
        return self.folder / f"{self.name}_latest.pdstate"

    @property
    def log(self) -> Path:
        """The training log, one JSON object per line."""
        return self.folder / "train.jsonl"

    @property
    def config(self) -> Path:
        """Every setting of the run, as ``--config`` reads it."""
        return self.folder / "config.yaml"

    @property
    def description(self) -> Path:
        """Command, versions, device and shards."""
        return self.folder / "run.json"

    @property
    def curves(self) -> Path:
        """The folder of VisualDL's event files."""
        return self.folder / "visualdl"

    @property
    def finished(self) -> Path:
        """Settings of a whole training of the course; written when it is done."""
        return self.folder / "finished.json"
