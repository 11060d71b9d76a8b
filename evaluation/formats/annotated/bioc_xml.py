"""BioC in XML, to and from the structure of its JSON. https://bioc.sourceforge.net"""

from pathlib import Path
from typing import Any

from ....configs.errors import UserError
from .files import read_xml_elements, require_xml_text, xml_content

_LISTS = {
    "document": {"passages": "passage", "annotations": "annotation", "relations": "relation"},
    "passage": {"sentences": "sentence", "annotations": "annotation", "relations": "relation"},
    "sentence": {"annotations": "annotation", "relations": "relation"},
    "annotation": {"locations": "location"},
    "relation": {"nodes": "node"},
}
"""Of each element, the lists in it and the name of their members, in the order of the DTD."""
_FIELDS = {
    "collection": ("source", "date", "key"),
    "document": ("id",),
    "passage": ("offset", "text"),
    "sentence": ("offset", "text"),
    "annotation": ("text",),
}
"""Of each element, the elements that hold one text."""
_ATTRIBUTES = {
    "annotation": ("id",),
    "relation": ("id",),
    "location": ("offset", "length"),
    "node": ("refid", "role"),
}
_AFTER_LISTS = {"annotation"}
"""The elements whose texts follow their lists in the DTD."""


def read_collection(path: Path) -> dict[str, Any]:
    """The collection of a file."""
    collection: dict[str, Any] = {"documents": []}
    for element in read_xml_elements(path, "document"):
        if not collection["documents"] and (parent := element.getparent()) is not None:
            collection = {**_fields(parent, "collection"), **collection}
        collection["documents"].append({"passages": [], **_value(element, "document")})
    if not collection["documents"]:
        raise UserError(f"{path}: not a BioC collection; expected <document> elements in a <collection>")
    return collection


def collection_xml(collection: dict[str, Any], where: str) -> bytes:
    """The file of a collection."""
    from lxml import etree

    root = etree.Element("collection")
    _add_fields(root, collection, "collection", where)
    for document in collection["documents"]:
        _add(root, document, "document", where)
    return xml_content(root)


def _value(element: Any, name: str) -> dict[str, Any]:
    value = _fields(element, name) | {
        key: element.get(key) for key in _ATTRIBUTES.get(name, ()) if key in element.attrib
    }
    for key, member in _LISTS.get(name, {}).items():
        if found := element.findall(member):
            value[key] = [_value(one, member) for one in found]
    return value


def _fields(element: Any, name: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key in _FIELDS.get(name, ()):
        if (child := element.find(key)) is not None:
            value[key] = "".join(child.itertext())
    if infons := {infon.get("key", ""): "".join(infon.itertext()) for infon in element.findall("infon")}:
        value["infons"] = infons
    return value


def _add(parent: Any, value: dict[str, Any], name: str, where: str) -> None:
    from lxml import etree

    named = ((key, value.get(key)) for key in _ATTRIBUTES.get(name, ()))
    attributes = {key: require_xml_text(str(one), where) for key, one in named if one is not None}
    element = etree.SubElement(parent, name, attributes)
    if name not in _AFTER_LISTS:
        _add_fields(element, value, name, where)
    else:
        _add_infons(element, value, where)
    for key, member in _LISTS.get(name, {}).items():
        for one in value.get(key) or []:
            _add(element, one, member, where)
    if name in _AFTER_LISTS:
        _add_texts(element, value, name, where)


def _add_fields(element: Any, value: dict[str, Any], name: str, where: str) -> None:
    """In the DTD, source, date, key and id precede the infons, which precede offset and text."""
    first = name in ("collection", "document")
    if first:
        _add_texts(element, value, name, where)
    _add_infons(element, value, where)
    if not first:
        _add_texts(element, value, name, where)


def _add_infons(element: Any, value: dict[str, Any], where: str) -> None:
    from lxml import etree

    for key, infon in (value.get("infons") or {}).items():
        etree.SubElement(element, "infon", {"key": require_xml_text(str(key), where)}).text = require_xml_text(
            "" if infon is None else str(infon), where
        )


def _add_texts(element: Any, value: dict[str, Any], name: str, where: str) -> None:
    from lxml import etree

    for key in _FIELDS.get(name, ()):
        if (content := value.get(key)) is not None or name == "collection":
            etree.SubElement(element, key).text = require_xml_text("" if content is None else str(content), where)
