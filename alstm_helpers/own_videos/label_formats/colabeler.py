"""Read labels from 精灵标注助手 (Colabeler): its JSON and XML, and its export as Pascal VOC; one file per video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alstm_helpers.own_videos.label_formats.annotation import (
    Annotation,
    Document,
    Found,
    Place,
    class_names,
    objects,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


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


def is_document(root: Element) -> bool:
    """Tell whether an XML document is Colabeler's."""
    return root.find("path") is not None


def read_root(place: Place, root: Element) -> Found:
    """Yield the annotation of one video.

    Raises:
        AlstmError: the document is not as Colabeler writes it.
    """
    # Colabeler's own form; the same without items; and its export as Pascal VOC.
    found = (item for where in ("outputs/object/item", "outputs/object", "object") for item in root.findall(where))
    items = [{"name": item.findtext("name")} for item in found]
    labelled = (root.findtext("labeled") or "true").strip().lower()
    document = {"path": root.findtext("path"), "labeled": labelled, "outputs": {"object": items}}
    yield from read_document(place, document)
