"""Read labels from 精灵标注助手 (Colabeler): its JSON and XML, and its export as Pascal VOC; one file per video."""

from __future__ import annotations

from pathlib import Path

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_text
from alstm_helpers.own_videos.label_formats.annotation import Annotation, Document, Found, Place

WHOLE_FILE = "the file"


def read_document(place: Place, document: Document) -> Found:
    """Yield the annotation of one video: its ``path``, and the ``name`` of each object under ``outputs``."""
    if document.get("labeled") in (False, "false"):
        return
    labels = tuple(str(item["name"]) for item in _objects(document) if isinstance(item, dict) and item.get("name"))
    yield place, Annotation(str(document.get("path") or ""), labels)


def _objects(document: Document) -> list[object]:
    """Return the objects of a video; an export may wrap them in ``item``, and write a single one without a list."""
    objects = (document.get("outputs") or {}).get("object") or []
    items = objects if isinstance(objects, list) else objects.get("item", objects)
    return items if isinstance(items, list) else [items]


def read_xml(path: Path, fps: float | None) -> Found:
    """Yield the annotation of one video; ``fps`` has no effect.

    Raises:
        AlstmError: the file is not XML, or not Colabeler's.
    """
    from defusedxml.common import DefusedXmlException  # plain XML parsers expand entities without limit, and read files
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root = fromstring(read_text(path))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AlstmError(path, f"not readable as XML ({error})", "export it again") from None
    if root.find("path") is None:
        raise AlstmError(path, "it has no path, as Colabeler's XML has", "export Colabeler's XML or JSON")
    # Colabeler's own form; the same without items; and its export as Pascal VOC.
    found = (item for place in ("outputs/object/item", "outputs/object", "object") for item in root.findall(place))
    items = [{"name": item.findtext("name")} for item in found]
    labelled = (root.findtext("labeled") or "true").strip().lower()
    document = {"path": root.findtext("path"), "labeled": labelled, "outputs": {"object": items}}
    yield from read_document(Place(path, WHOLE_FILE), document)
