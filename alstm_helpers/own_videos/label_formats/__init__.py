"""Readers of what people label with, one file per tool; ``READERS`` chooses one by the suffix of a file.

To add a format, write a ``Reader`` and enter it here; a format that is JSON or XML, too, is told apart in
:func:`read_json` or :func:`read_xml`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.label_formats import colabeler, cvat, label_studio, paddlevideo, via
from alstm_helpers.own_videos.label_formats.annotation import (
    TABLE_REMEDY,
    Document,
    Found,
    Place,
    Reader,
    ReadOptions,
    text_of,
)
from alstm_helpers.own_videos.label_formats.tables import read_table

_DECLARED = re.compile(rb"<\?xml[^>]*\sencoding\s*=\s*[\"']([\w.-]+)[\"']")


def read_json(path: Path, options: ReadOptions) -> Found:
    """Yield the annotations of an export by Label Studio (JSON, JSON-MIN), Colabeler, VIA, or of PaddleVideo's JSON.

    Raises:
        AlstmError: the file is not JSON, or a task in it is of none of these forms.
    """
    text = text_of(path, options)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AlstmError(path, f"not readable as JSON ({error})", "export it again") from None
    place = Place(path, "")
    if not isinstance(document, dict):
        yield from _read_tasks(path, document, options)
    elif "path" in document:
        yield from colabeler.read_document(place, document)
    elif via.is_project(document):
        yield from via.read_project(place, document, options)
    elif paddlevideo.is_actions(document):
        yield from paddlevideo.read_actions(place, document)
    elif paddlevideo.is_segments(document):
        yield from paddlevideo.read_segments(place, document)
    else:
        yield from _read_tasks(path, document, options)


def _read_tasks(path: Path, document: object, options: ReadOptions) -> Found:
    """Yield the annotations of a list of tasks by Label Studio, or of documents by Colabeler, or of a single task."""
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


def read_xml(path: Path, options: ReadOptions) -> Found:
    """Yield the annotations of an export by CVAT or Colabeler.

    Raises:
        AlstmError: the file is not XML, or of neither form.
    """
    from defusedxml.common import DefusedXmlException  # plain XML parsers expand entities without limit, and read files
    from defusedxml.ElementTree import ParseError, fromstring

    declared = _DECLARED.match(path.read_bytes()[:200])
    try:
        root = fromstring(text_of(path, options, declared[1].decode() if declared else None))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AlstmError(path, f"not readable as XML ({error})", "export it again") from None
    if cvat.is_export(root):
        yield from cvat.read_root(Place(path, ""), root, options)
    elif colabeler.is_document(root):
        yield from colabeler.read_root(Place(path, ""), root)
    else:
        raise AlstmError(path, "it is neither CVAT's XML nor Colabeler's, which has a path", TABLE_REMEDY)


def read_txt(path: Path, options: ReadOptions) -> Found:
    """Yield the annotations of a table, as Excel's "Unicode text", or of a list, as PaddleVideo's.

    Raises:
        AlstmError: it is neither.
    """
    is_list = paddlevideo.is_list(text_of(path, options))
    yield from (paddlevideo.read_list if is_list else read_table)(path, options)


READERS: dict[str, Reader] = {
    ".csv": read_table,
    ".tsv": read_table,
    ".txt": read_txt,
    ".list": paddlevideo.read_list,
    ".json": read_json,
    ".xml": read_xml,
}
EXPORTS = tuple(suffix for suffix in READERS if suffix not in (".txt", ".list"))  # in a folder, these may be anything
