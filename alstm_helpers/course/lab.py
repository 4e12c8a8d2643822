"""What every notebook starts with: its folders, its data, a trained model, and its expected results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from alstm_helpers.config import Config, load_config
from alstm_helpers.course.youtube8m import RealSet
from alstm_helpers.data.convert import convert
from alstm_helpers.data.flashdigits import make_data
from alstm_helpers.data.lists import filelist_settings, write_lists
from alstm_helpers.errors import ConfigError, FolderInUse
from alstm_helpers.files import atomic_write, write_json
from alstm_helpers.paths import project_root


@dataclass(frozen=True)
class Profile:
    """How much a notebook does: videos, and epochs of the main and of the comparison training."""

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


class Expected(NamedTuple):
    """One row of the table that ends a notebook: within ``tolerance`` of ``reference`` is as expected."""

    name: str
    yours: float
    reference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the learner's number is as expected."""
        return abs(self.yours - self.reference) <= self.tolerance


class Table:
    """Rows that show as HTML in JupyterLab and as aligned text elsewhere."""

    def __init__(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.header, self.rows = list(header), [[_cell(value) for value in row] for row in rows]

    def __repr__(self) -> str:
        grid = [self.header, *self.rows]
        widths = [max(len(row[column]) for row in grid) for column in range(len(self.header))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{escape(cell)}</th>" for cell in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


class Lab:
    """A notebook's bench: folders, profile, data and model.

    Args:
        notebook: its name, as ``03_data``.
        profile: ``tiny``, ``small`` or ``full``.
        seed: of data and training.
        data_dir, out_dir: folders; empty takes ``data/course/<profile>`` and ``build/lab/<profile>`` of the clone.
        device: ``cpu``, ``gpu``, or ``auto`` for a GPU when there is one.

    Raises:
        ConfigError: unknown profile or device.
    """

    def __init__(
        self, notebook: str, *, profile: str, seed: int, data_dir: str = "", out_dir: str = "", device: str = "cpu"
    ) -> None:
        if profile not in PROFILES:
            raise ConfigError("PROFILE", f"{profile!r} is unknown", f"set it to one of {', '.join(PROFILES)}")
        if device not in ("cpu", "gpu", "auto"):
            raise ConfigError("DEVICE", f"{device!r} is unknown", "set it to cpu, gpu or auto")
        self.notebook, self.seed, self.profile_name, self.device = notebook, seed, profile, device
        self.profile = PROFILES[profile]
        self.data_dir = Path(data_dir or project_root() / "data" / "course" / profile).resolve()
        self.out_dir = Path(out_dir or project_root() / "build" / "lab" / profile).resolve()
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def ensure_data(self) -> Path:
        """Make FlashDigits, its pickles and its lists if they are missing; return their folder.

        Another notebook may be at it: then this one waits.
        """
        start = time.perf_counter()
        while True:
            try:
                made = make_data(self.data_dir, train=self.profile.train, val=self.profile.val, seed=self.seed)
                splits = ("train", "val")
                done = [convert(self.data_dir / "tf" / split, self.data_dir / "pkl" / split) for split in splits]
                write_lists(self.data_dir)
                break
            except FolderInUse:
                time.sleep(0.5)
        if made["made"] or any(part.converted for part in done):
            print(f"made {made['videos']} videos in {time.perf_counter() - start:.0f} s")
        else:
            print(f"{made['videos']} videos are ready")
        return self.data_dir

    def config(self, **overrides: Any) -> Config:
        """The FlashDigits recipe on this notebook's data; overrides as ``TRAIN__epoch=3``."""
        settings: dict[str, Any] = {"INFER.class_names": str(self.data_dir / "labels.csv")}
        settings |= filelist_settings(self.data_dir)
        settings |= {"TRAIN.epoch": self.profile.epochs, "TRAIN.use_gpu": self.uses_gpu()}
        settings |= {key.replace("__", "."): value for key, value in overrides.items()}
        return load_config(project_root() / "configs" / "flashdigits.yaml", settings)

    def real_set(self) -> RealSet | None:
        """YouTube-8M, beside FlashDigits in the same folders, in the profile ``full``; None in the others."""
        if self.profile_name != "full":
            return None
        folder, out = self.data_dir / "youtube8m", self.out_dir / "youtube8m"
        return RealSet(folder, out, seed=self.seed, use_gpu=self.uses_gpu())

    def uses_gpu(self) -> bool:
        """Set the device and tell whether it is a GPU."""
        from alstm_helpers.runtime import set_device

        return set_device({"cpu": False, "gpu": True, "auto": None}[self.device]).startswith("gpu")

    @property
    def scale(self) -> str:
        """``tiny`` or ``small``: which of the two reference numbers a FlashDigits result compares with."""
        return "tiny" if self.profile == PROFILES["tiny"] else "small"

    @property
    def checkpoints(self) -> Path:
        """Where notebook 04's training keeps its checkpoints."""
        return self.out_dir / "checkpoints"

    def ensure_model(self) -> Path:
        """The best weights of notebook 04's training; trains first if that has not run here."""
        self.ensure_data()
        best = self.checkpoints / "AttentionLSTM_best.pdparams"
        finished = self.checkpoints / "finished.json"
        if not best.exists() or not finished.exists() or json.loads(finished.read_text("utf-8")) != self._settings():
            from alstm_helpers.training.train import train

            print(f"no trained model here yet: training {self.profile.epochs} epochs first, about half a minute")
            start = time.perf_counter()
            train(self.config(), self.checkpoints, seed=self.seed, log_interval=50)
            self.mark_trained()
            print(f"trained in {time.perf_counter() - start:.0f} s")
        return best

    def mark_trained(self) -> None:
        """Tell later notebooks that the checkpoints are those of a whole training with these settings."""
        write_json(self.checkpoints / "finished.json", self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"seed": self.seed, "profile": self.profile_name, "data": str(self.data_dir)}

    def show(self, figure: Any, name: str, *, alt: str) -> None:
        """Display a figure with its description, save it as PNG in ``OUT_DIR/figures``, and close it.

        Args:
            figure: a Matplotlib figure.
            name: of the file, after the notebook's.
            alt: one sentence for those who cannot see the figure: what it shows.
        """
        import matplotlib.pyplot as plt
        from IPython.display import display

        path = self.out_dir / "figures" / f"{self.notebook}-{name}.png"
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
        plt.close(figure)
        bundle = {"image/png": path.read_bytes(), "text/plain": alt}
        display(bundle, metadata={"image/png": {"alt": alt}}, raw=True)  # type: ignore[no-untyped-call]

    def expected_results(self, rows: Sequence[tuple[str, float, float, float]]) -> Table:
        """The closing table, yours / reference / tolerance; also stored, for ``alstm course`` and CI to assert."""
        expected = [Expected(name, *map(float, numbers)) for name, *numbers in rows]
        path = self.out_dir / "expected" / f"{self.notebook}.json"
        write_json(path, [{**row._asdict(), "ok": row.ok} for row in expected])
        return Table(
            ["", "yours", "reference", "tolerance", ""],
            [
                [row.name, row.yours, row.reference, f"± {row.tolerance:g}", "✓" if row.ok else "✗ outside"]
                for row in expected
            ],
        )
