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
from alstm_helpers.own_videos.label_formats.annotation import (
    ENCODING_REMEDY,
    TABLE_REMEDY,
    Document,
    Found,
    Place,
    Reader,
    ReadOptions,
)
from alstm_helpers.own_videos.label_formats.tables import read_table


def read_json(path: Path, options: ReadOptions) -> Found:
    """Yield the annotations of an export by Label Studio (JSON, JSON-MIN) or Colabeler.

    Raises:
        AlstmError: the file is not JSON, or a task in it is of neither form.
    """
    text = read_text(path, ENCODING_REMEDY, options.encoding)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AlstmError(path, f"not readable as JSON ({error})", "export it again") from None
    if isinstance(document, dict) and "path" in document:
        yield from colabeler.read_document(Place(path, ""), document)
        return
    minimal: list[tuple[Place, Document]] = []
    for number, task in enumerate(document if isinstance(document, list) else [document], 1):
        place = Place(path, f"task {number}")
        if not isinstance(task, dict):
            raise place.error(f"it is of type {type(task).__name__}", "export Label Studio's JSON")
        if "path" in task and "outputs" in task:
            yield from colabeler.read_document(place, task)
        elif task.keys() & {"annotations", "completions"} or isinstance(task.get("data"), dict):
            yield from label_studio.read_task(place, task, options)
        elif document is task:  # JSON-MIN is a list
            raise AlstmError(path, "it is of another tool, or an answer without labels", TABLE_REMEDY)
        else:
            minimal.append((place, task))
    if minimal:
        yield from label_studio.read_min(path, minimal, options)


READERS: dict[str, Reader] = {
    ".csv": read_table,
    ".tsv": read_table,
    ".txt": read_table,  # as Excel calls its "Unicode text"
    ".json": read_json,
    ".xml": colabeler.read_xml,
}
EXPORTS = tuple(suffix for suffix in READERS if suffix != ".txt")  # in a folder, .txt may be anything
