"""i2b2 and n2c2 XML: one document per file, <TEXT> and <TAGS>, as in the de-identification challenge of 2014.

The type of a tag is its attribute TYPE (2012: type), or without one its name. Links between tags (2012) are relations.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...storage.files import atomic_write
from .annotated.files import read_xml_elements, require_xml_text, xml_content, xml_root_name
from .annotated.offsets import Mark, check_mark, covering_span, type_name, whole_number
from .annotated.text import AnnotatedText, Columns, Relation, Span, pair_with_source, single_line, single_token

_CATEGORIES = {
    "NAME": "PATIENT DOCTOR USERNAME",
    "LOCATION": "ROOM DEPARTMENT HOSPITAL ORGANIZATION STREET CITY STATE COUNTRY ZIP LOCATION-OTHER",
    "CONTACT": "PHONE FAX EMAIL URL IPADDR",
    "ID": "SSN MEDICALRECORD HEALTHPLAN ACCOUNT LICENSE VEHICLE DEVICE BIOID IDNUM",
}
_CATEGORY = {kind: category for category, kinds in _CATEGORIES.items() for kind in kinds.split()}
"""The name of the tag of each type of 2014 that has another name."""


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The document of a file."""
    for root in read_xml_elements(path, xml_root_name(path)):
        yield _annotated(path, root, counts)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write the document of a file. A source gives the name of the root."""
    if len(texts) != 1:
        raise UserError(f"{target}: {len(texts):,} texts do not fit into one file of this format; name a directory")
    name = "deIdi2b2"
    if source:
        list(pair_with_source(texts, list(read(source, columns, Counter())), source))
        name = xml_root_name(source)
    atomic_write(target, _xml(texts[0], name))


def _xml(text: AnnotatedText, name: str) -> bytes:
    from lxml import etree

    where = text.where or text.id
    root = etree.Element(name)
    content = require_xml_text(text.text, where)
    element = etree.SubElement(root, "TEXT")
    element.text = content if "\r" in content else etree.CDATA(content)  # a parser turns \r into \n in CDATA
    tags = etree.SubElement(root, "TAGS")
    for number, span in enumerate(text.spans):
        attributes = {"id": f"P{number}", "start": str(span.start), "end": str(span.end)}
        attributes["text"] = single_line(text.text[span.start : span.end])
        attributes |= {"TYPE": require_xml_text(span.type, where), "comment": ""}
        etree.SubElement(tags, _tag_name(span.type), attributes)
    for number, relation in enumerate(text.relations):
        ends = {"fromID": f"P{relation.first}", "toID": f"P{relation.second}"}
        etree.SubElement(tags, "LINK", {"id": f"L{number}", **ends, "TYPE": require_xml_text(relation.type, where)})
    return xml_content(root)


def _tag_name(kind: str) -> str:
    name = _CATEGORY.get(kind, single_token(kind))
    return name if name.isascii() and name.replace("_", "").isalnum() and name[0].isalpha() else "TAG"


def _annotated(path: Path, root: Any, counts: Counter[str]) -> AnnotatedText:
    content = root.find("TEXT")
    if content is None:
        raise UserError(f"{path}: its root <{root.tag}> has no <TEXT>; expected a document of i2b2 or n2c2")
    text = "".join(content.itertext())
    spans: list[Span] = []
    index: dict[str, int] = {}
    links: list[tuple[str, str, str]] = []
    for tag in root.iterfind("TAGS/*"):
        where = f"{path}: line {tag.sourceline:,}, <{tag.tag}>"
        kind = tag.get("TYPE") or tag.get("type") or tag.tag
        if tag.get("fromID") is not None:
            links.append((kind, tag.get("fromID"), tag.get("toID", "")))
        elif tag.get("start") is None:
            counts["tags without characters, left out"] += 1
        else:
            start = whole_number(tag.get("start"), where, "start")
            mark = Mark([(start, whole_number(tag.get("end"), where, "end"))], tag.get("text"), where)
            check_mark(text, mark)
            index.setdefault(tag.get("id", ""), len(spans))
            spans.append(covering_span(mark, type_name(kind, where, "TYPE")))
    relations = [
        Relation(kind, index[first], index[last]) for kind, first, last in links if {first, last} <= index.keys()
    ]
    counts["links of tags without characters, left out"] += len(links) - len(relations)
    return AnnotatedText(path.name.partition(".")[0], text, spans, None, str(path), relations)
