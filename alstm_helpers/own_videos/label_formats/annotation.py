"""What every reader of labels yields: an annotation, and the place in the file that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from alstm_helpers.errors import AlstmError

SEPARATOR = ";"  # between the labels in a cell
Document: TypeAlias = dict[str, Any]  # a JSON object, as json.loads gives it


class Annotation(NamedTuple):
    """Labels of a video, or of its seconds ``start`` to ``end``; without a label it says that no class fits."""

    video: str
    labels: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    @property
    def stem(self) -> str:
        """The name of the file without its suffix."""
        return Path(self.video).stem

    @property
    def video_id(self) -> str:
        """The id of its record: the stem, followed by the seconds if it is a part."""
        return self.stem if self.start is None else f"{self.stem}@{self.start:g}-{self.end:g}"


@dataclass(frozen=True)
class Place:
    """A place in a file of labels, for error messages.

    Args:
        path: of the file.
        where: the row or task in it, such as ``row 3``.
    """

    path: Path
    where: str

    def error(self, problem: str, remedy: str) -> AlstmError:
        """Return an error about this place."""
        return AlstmError(f"{self.path}, {self.where}", problem, remedy)


Found: TypeAlias = Iterator[tuple[Place, Annotation]]
Reader: TypeAlias = Callable[[Path, float | None], Found]  # the file, and frames per second of labels on a timeline
