"""Readers of what people label with, one file per tool; ``READERS`` chooses one by the suffix of a file.

To add a format, write a ``Reader`` and enter it here; a format
that is JSON, too, is told apart in :func:`read_json`.
"""

from __future__ import annotations

import json
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_text
from alstm_helpers.own_videos.label_formats import colabeler, label_studio
from alstm_helpers.own_videos.label_formats.annotation import Document, Found, Place, Reader
from alstm_helpers.own_videos.label_formats.tables import read_csv


def read_json(path: Path, fps: float | None) -> Found:
    """Yield the annotations of an export by Label Studio (JSON, JSON-MIN) or Colabeler.

    Raises:
        AlstmError: the file is not JSON, or a task in it is of neither form.
    """
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise AlstmError(path, f"not readable as JSON ({error})", "export it again") from None
    if isinstance(document, dict) and "path" in document:
        yield from colabeler.read_document(Place(path, colabeler.WHOLE_FILE), document)
        return
    for number, task in enumerate(document if isinstance(document, list) else [document], 1):
        place = Place(path, f"task {number}")
        if not isinstance(task, dict):
            raise place.error(f"it is of type {type(task).__name__}", "export Label Studio's JSON")
        yield from _read_task(place, task, fps)


def _read_task(place: Place, task: Document, fps: float | None) -> Found:
    if "path" in task and "outputs" in task:
        return colabeler.read_document(place, task)
    if "annotations" in task or "completions" in task:
        return label_studio.read_task(place, task, fps)
    return label_studio.read_min_task(place, task, fps)


READERS: dict[str, Reader] = {".csv": read_csv, ".json": read_json, ".xml": colabeler.read_xml}
