"""What every notebook starts with: folders, data, a trained model, and the table of expected results."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alstm_helpers.config import Config
from alstm_helpers.course.recipes import finished_settings, load_recipe, mark_finished
from alstm_helpers.course.youtube8m import RealSet
from alstm_helpers.data.convert import convert
from alstm_helpers.data.flashdigits import Settings, make_data
from alstm_helpers.data.lists import write_lists
from alstm_helpers.errors import ConfigError, FolderInUse
from alstm_helpers.files import atomic_write, locked, write_json
from alstm_helpers.loopback import bypass_proxy
from alstm_helpers.paths import RunFolder, course_files, work_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Profile:
    """How much a notebook does: number of videos, and epochs of the main training and of the comparisons."""

    train: int
    val: int
    epochs: int
    compare_epochs: int


PROFILES = {
    "tiny": Profile(train=2000, val=400, epochs=8, compare_epochs=4),
    "small": Profile(train=2500, val=500, epochs=10, compare_epochs=10),
    # FlashDigits as in small, and in the sections named "The real set" YouTube-8M itself.
    "full": Profile(train=2500, val=500, epochs=10, compare_epochs=10),
}
DEVICES = {"cpu": False, "gpu": True, "auto": None}  # DEVICE of a notebook → use_gpu of set_device


class Expected(NamedTuple):
    """One row of the table that ends a notebook: a number, its reference, and the tolerance around that."""

    name: str
    yours: float
    reference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the learner's number is within the tolerance."""
        return abs(self.yours - self.reference) <= self.tolerance

    def stored(self) -> dict[str, object]:
        """Return the row as JSON has it, which knows no NaN."""
        return {**self._asdict(), "yours": self.yours if math.isfinite(self.yours) else None, "ok": self.ok}


class Table:
    """Rows that are shown as HTML in JupyterLab and as aligned text elsewhere.

    In HTML, columns of numbers end at the right.

    Args:
        header: one title per column.
        rows: the cells; floats are shown with four significant digits, everything else as ``str`` writes it.
    """

    def __init__(self, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
        self.header, self.rows = list(header), [[_cell(value) for value in row] for row in rows]

    def __repr__(self) -> str:
        grid = [self.header, *self.rows]
        widths = [max(len(row[column]) for row in grid) for column in range(len(self.header))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid
        )

    def _repr_html_(self) -> str:
        columns = [[row[column] for row in self.rows] for column in range(len(self.header))]
        sides = ["right" if are_numbers(column) else "left" for column in columns]

        def line(tag: str, cells: Sequence[str]) -> str:
            parts = (
                f"<{tag} style='text-align:{side}'>{escape(cell)}</{tag}>"
                for side, cell in zip(sides, cells, strict=True)
            )
            return f"<tr>{''.join(parts)}</tr>"

        body = "".join(line("td", row) for row in self.rows)
        return f"<table><thead>{line('th', self.header)}</thead><tbody>{body}</tbody></table>"


# A sign or a bound, a number, and perhaps a unit, another number, or a remark in parentheses.
_NUMBER = re.compile(r"[^\w(]*\d[\d.,:eE+−–-]*(\s?(%|×|[kMGT]?i?B|m?s))?(\s?(±|/)\s?[\d.,]+)?(\s?\(.*\))?")


def are_numbers(column: Iterable[str]) -> bool:
    """Return whether the cells of a column that are not empty are numbers, with or without a unit or a remark."""
    filled = [cell.strip() for cell in column if cell.strip(" -–—")]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


class Lab:
    """A notebook's environment: its folders, profile, data and model.

    Args:
        notebook: name of the notebook, such as ``03_data``.
        profile: ``tiny``, ``small`` or ``full``.
        seed: seed of data and training.
        data_dir: data folder; if empty, ``data/course/<profile>`` of the work folder.
        out_dir: folder for results; if empty, ``build/lab/<profile>`` there.
        device: ``cpu``, ``gpu``, or ``auto`` for a GPU if there is one.

    Raises:
        ConfigError: unknown profile or device.
    """

    def __init__(
        self, notebook: str, *, profile: str, seed: int, data_dir: str = "", out_dir: str = "", device: str = "cpu"
    ) -> None:
        if profile not in PROFILES:
            raise ConfigError("PROFILE", f"{profile!r} is unknown", f"set it to one of {', '.join(PROFILES)}")
        if device not in DEVICES:
            raise ConfigError("DEVICE", f"{device!r} is unknown", "set it to cpu, gpu or auto")
        self.notebook, self.seed, self.profile_name, self.device = notebook, seed, profile, device
        self.profile = PROFILES[profile]
        self.data_dir = Path(data_dir or work_folder() / "data" / "course" / profile).resolve()
        self.out_dir = Path(out_dir or work_folder() / "build" / "lab" / profile).resolve()
        self.out_dir.mkdir(parents=True, exist_ok=True)
        bypass_proxy()  # notebooks 03 and 06 start servers of their own

    def ensure_data(self) -> Path:
        """Make FlashDigits, its pickles and its lists if they are missing; return their folder.

        If another notebook is making them, wait for it.
        """
        while True:
            try:
                self._make_data()
                return self.data_dir
            except FolderInUse:
                time.sleep(0.5)

    def _make_data(self) -> None:
        start = time.perf_counter()
        settings = Settings(train=self.profile.train, val=self.profile.val, seed=self.seed)
        done = make_data(self.data_dir, settings)
        parts = [convert(self.data_dir / "tf" / split, self.data_dir / "pkl" / split) for split in ("train", "val")]
        write_lists(self.data_dir)
        if done.made or any(part.converted for part in parts):
            print(f"made {done.videos} videos in {time.perf_counter() - start:.0f} s")
        else:
            print(f"{done.videos} videos are ready")

    def config(self, **overrides: object) -> Config:
        """Return the FlashDigits recipe on this notebook's data, with overrides such as ``TRAIN__epoch=3``."""
        settings = {
            "INFER.class_names": str(self.data_dir / "labels.csv"),
            "TRAIN.epoch": self.profile.epochs,
            "TRAIN.use_gpu": self.uses_gpu(),
        }
        return load_recipe("flashdigits.yaml", self.data_dir, settings, overrides)

    def real_set(self) -> RealSet | None:
        """Return YouTube-8M, in folders below those of FlashDigits; None in all profiles but ``full``."""
        if self.profile_name != "full":
            return None
        folder, out = self.data_dir / "youtube8m", self.out_dir / "youtube8m"
        return RealSet(folder, out, seed=self.seed, use_gpu=self.uses_gpu())

    def uses_gpu(self) -> bool:
        """Set the device and return whether it is a GPU.

        Raises:
            DeviceError: the device is ``gpu`` and there is none.
        """
        from alstm_helpers.runtime import set_device

        return set_device(DEVICES[self.device]).startswith("gpu")

    @property
    def scale(self) -> str:
        """``tiny`` or ``small``: which of the two reference numbers to compare a FlashDigits result with."""
        return "tiny" if self.profile == PROFILES["tiny"] else "small"

    @property
    def run_folder(self) -> RunFolder:
        """The files of notebook 04's training."""
        return RunFolder(self.out_dir / "checkpoints")

    @property
    def checkpoints(self) -> Path:
        """The folder of notebook 04's training."""
        return self.run_folder.folder

    def ensure_model(self) -> Path:
        """Return the best weights of notebook 04's training; train first unless that is finished."""
        self.ensure_data()
        with locked(self.run_folder.finished, wait=float("inf")):  # another notebook may be training it
            if finished_settings(self.run_folder) != self._training_settings():
                from alstm_helpers.training.train import TrainOptions, train

                print(f"no trained model here yet: training {self.profile.epochs} epochs first, about half a minute")
                start = time.perf_counter()
                train(self.config(), self.checkpoints, TrainOptions(seed=self.seed, log_interval=50))
                self.mark_trained()
                print(f"trained in {time.perf_counter() - start:.0f} s")
        return self.run_folder.best

    def mark_trained(self) -> None:
        """Record that the training in :attr:`checkpoints` is finished, so that other notebooks reuse its weights."""
        mark_finished(self.run_folder, self._training_settings())

    def _training_settings(self) -> dict[str, object]:
        return {"seed": self.seed, "profile": self.profile_name, "data": str(self.data_dir)}

    def run(self, *arguments: object) -> tuple[int, str]:
        """Run ``alstm …`` in a process of its own, in ``OUT_DIR``; return its exit status, and what it prints."""
        command = [sys.executable, "-m", "alstm_helpers", *map(str, arguments)]
        both, out = subprocess.STDOUT, subprocess.PIPE
        done = subprocess.run(command, stdout=out, stderr=both, encoding="utf-8", cwd=self.out_dir, check=False)
        return done.returncode, done.stdout.strip()

    def alstm(self, *arguments: object) -> int:
        """Run ``alstm …``, show the command and what it prints, return its exit status."""
        status, printed = self.run(*arguments)
        print(self.short("\n".join([" ".join(map(str, ("$ alstm", *arguments))), printed]).rstrip()))
        return status

    def short(self, text: object) -> str:
        """Return text with short names for folders: ``scratch``, the notebook's own, ``data``, ``out``, ``configs``."""
        folders = {"scratch": self.out_dir / self.notebook, "data": self.data_dir, "out": self.out_dir}
        shown = str(text)
        for name, folder in (folders | {"configs": course_files() / "configs"}).items():
            shown = shown.replace(str(folder), name)
        return shown

    def show(self, figure: Figure, name: str, *, alt: str, update: bool = False) -> None:
        """Display a figure with its description, save it as PNG in ``OUT_DIR/figures``, and close it.

        Args:
            figure: what to show.
            name: name of the file, after the notebook's.
            alt: one sentence for readers who cannot see the figure: what it shows.
            update: take the place of the figure that was displayed under this name.
        """
        import matplotlib.pyplot as plt
        from IPython.display import display

        path = self.out_dir / "figures" / f"{self.notebook}-{name}.png"
        with locked(path), atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
        plt.close(figure)
        bundle = {"image/png": path.read_bytes(), "text/plain": alt}
        place = {"display_id": path.stem, "update": update}
        display(bundle, metadata={"image/png": {"alt": alt}}, raw=True, **place)  # type: ignore[no-untyped-call]

    def expected_results(self, rows: Sequence[tuple[str, float, float, float]]) -> Table:
        """Return the closing table, and store its rows for ``alstm course`` and CI to check.

        Args:
            rows: name, the learner's number, reference and tolerance, as in :class:`Expected`.
        """
        results = [Expected(name, *map(float, numbers)) for name, *numbers in rows]
        path = self.out_dir / "expected" / f"{self.notebook}.json"
        with locked(path):
            write_json(path, [row.stored() for row in results])
        # Some references are the numbers of one seed: draws differ by more than a tolerance that would notice a fault.
        return Table(
            ["", "yours", "reference" if self.seed == 0 else "reference, with SEED = 0", "tolerance", ""],
            [
                [row.name, row.yours, row.reference, f"± {row.tolerance:g}", "✓" if row.ok else "✗ outside"]
                for row in results
            ],
        )
