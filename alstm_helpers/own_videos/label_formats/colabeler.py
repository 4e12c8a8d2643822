"""Read labels from 精灵标注助手 (Colabeler): its JSON and XML, and its export as Pascal VOC; one file per video."""

from __future__ import annotations

import re
from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_text
from alstm_helpers.own_videos.label_formats.annotation import (
    ENCODING_REMEDY,
    TABLE_REMEDY,
    Annotation,
    Document,
    Found,
    Place,
    ReadOptions,
    class_names,
    objects,
)

_DECLARED = re.compile(rb"<\?xml[^>]*\sencoding\s*=\s*[\"']([\w.-]+)[\"']")


def read_document(place: Place, document: Document) -> Found:
    """Yield the annotation of one video: its ``path``, and the ``name`` of each object under ``outputs``.

    Raises:
        AlstmError: the document is not as Colabeler writes it.
    """
    if document.get("labeled") in (False, "false"):
        return
    path = document.get("path")
    if not isinstance(path, str):
        raise place.at("path").wrong_type(path, "the path of a video")
    items = objects(place, "outputs.object", _objects(place, document))
    named = [(here.at("name"), item["name"]) for here, item in items if item.get("name")]
    yield place, Annotation(path, tuple(label for here, name in named for label in class_names(here, name)))


def _objects(place: Place, document: Document) -> object:
    """Return the objects of a video; an export may wrap them in ``item``, and write a single one without a list."""
    outputs = document.get("outputs") or {}
    if not isinstance(outputs, dict):
        raise place.at("outputs").wrong_type(outputs, "an object")
    found = outputs.get("object") or []
    items = found.get("item", found) if isinstance(found, dict) else found
    return [items] if isinstance(items, dict) else items


def read_xml(path: Path, options: ReadOptions) -> Found:
    """Yield the annotation of one video.

    Raises:
        AlstmError: the file is not XML, or not Colabeler's.
    """
    from defusedxml.common import DefusedXmlException  # plain XML parsers expand entities without limit, and read files
    from defusedxml.ElementTree import ParseError, fromstring

    declared = _DECLARED.match(path.read_bytes()[:200])
    encoding = options.encoding or (declared[1].decode() if declared else None)
    try:
        root = fromstring(read_text(path, ENCODING_REMEDY, encoding))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AlstmError(path, f"not readable as XML ({error})", "export it again") from None
    if root.find("path") is None:
        raise AlstmError(path, "it has no path, as Colabeler's XML has", TABLE_REMEDY)
    # Colabeler's own form; the same without items; and its export as Pascal VOC.
    found = (item for place in ("outputs/object/item", "outputs/object", "object") for item in root.findall(place))
    items = [{"name": item.findtext("name")} for item in found]
    labelled = (root.findtext("labeled") or "true").strip().lower()
    document = {"path": root.findtext("path"), "labeled": labelled, "outputs": {"object": items}}
    yield from read_document(Place(path, ""), document)
