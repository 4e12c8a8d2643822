"""Where things are: the course's files, the folder to work in, and the files of a training's ``save_dir``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alstm_helpers import language
from alstm_helpers.errors import AlstmError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "_course"  # an installed package has the course's files here; in a clone they are beside it
COPIES_RECORD = ".alstm-lab.json"  # marks a folder that `alstm lab` has filled
WEIGHTS_REMEDY = (
    "pass the .pdparams file of a finished training, for example data/checkpoints/AttentionLSTM_best.pdparams"
)


def course_files() -> Path:
    """Return the folder with ``notebooks/``, ``configs/`` and ``docs/``: the clone, or a part of the installed package.

    Nothing is written here.
    """
    return _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent


def notebooks_folder() -> Path:
    """Return the folder of the notebooks in the chosen language."""
    return language.folder_below(course_files() / "notebooks")


def work_folder() -> Path:
    """Return the folder for ``data/`` and ``build/``.

    This is the folder of ``alstm lab`` that the current folder is in; else the clone; without one, the current folder.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / COPIES_RECORD).is_file():
            return folder
    return here if _SHIPPED.is_dir() else _PACKAGE.parent


def clone(purpose: str) -> Path:
    """Return the clone that this package is imported from.

    Args:
        purpose: what needs it, for the message.

    Raises:
        AlstmError: the package was installed without one.
    """
    if _SHIPPED.is_dir():
        raise AlstmError(purpose, "this needs a clone of the course", "clone its repository and run `make setup` there")
    return _PACKAGE.parent


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
        """Return the folder that a weights file is in; ``name`` is the default one."""
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
    def results(self) -> tuple[Path, ...]:
        """What one training leaves, and what says that it is done, which must go before others' take their place."""
        return self.finished, self.best, self.latest, self.checkpoint

    @property
    def log(self) -> Path:
        """The training log, one JSON object per line."""
        return self.folder / "train.jsonl"

    @property
    def config(self) -> Path:
        """Every setting of the run, as ``--config`` reads it."""
        return self.folder / "config.yaml"

    @property
    def scores(self) -> Path:
        """The scores of every video of a cross-validation, each by the network that has not seen it."""
        return self.folder / "scores.pkl"

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
