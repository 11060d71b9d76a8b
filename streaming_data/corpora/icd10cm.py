"""ICD-10-CM codes as text: from the tabular list (XML, or its zip), or an order file or code list of CMS (text).

The tabular list knows where a code stands and what else it is called; the text files know the code and its name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from ...configs.errors import UserError
from ..documents import Document
from ..prepare_config import CodeDetail, Icd10CmSource
from .files import open_binary, open_member, open_text, reading

_CODE = r"([A-Z]\d[A-Z0-9]{1,5})"
_ORDER_LINE = re.compile(r"\d{5} " + _CODE + r" +([01]) (.{60}) (.+)")
_LIST_LINE = re.compile(_CODE + r"\s+(\S.*)")
_TABULAR = r"(?i:.*tabular.*\.xml)"
_NOTES: dict[CodeDetail, dict[str, str]] = {
    "inclusion_terms": {"inclusionTerm": "Inclusion terms"},
    "includes": {"includes": "Includes"},
    "excludes": {"excludes1": "Excludes1", "excludes2": "Excludes2"},
}


def read(path: Path, source: Icd10CmSource) -> Iterator[Document]:
    """One document a code; meta holds the code and its category, the first three characters."""
    is_xml = path.name.removesuffix(".gz").endswith((".xml", ".zip"))
    yield from _read_tabular(path, source) if is_xml else _read_list(path, source)


def _read_list(path: Path, source: Icd10CmSource) -> Iterator[Document]:
    number = 0
    with open_text(path) as file, reading(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            line = line.rstrip()
            if match := _ORDER_LINE.fullmatch(line):
                yield _document(match[1], match[4].strip(), [], source)
            elif match := _LIST_LINE.fullmatch(line):
                yield _document(match[1], match[2], [], source)
            elif line:
                raise UserError(
                    f"{path}: line {number} is neither an order file's ('00001 A00     0 ...') nor a code list's "
                    f"('A000    Cholera ...'); expected an ICD-10-CM file of CMS"
                )


def _read_tabular(path: Path, source: Icd10CmSource) -> Iterator[Document]:
    code, empty = "", True
    opened = open_member(path, _TABULAR) if path.suffix == ".zip" else open_binary(path)
    with opened as file, reading(path, lambda: f"code {code}" if code else "its first bytes"):
        try:
            for _, chapter in etree.iterparse(file, tag="chapter", no_network=True, remove_comments=True):
                for document in _below(chapter, [], source):
                    code, empty = document.id, False
                    yield document
                chapter.clear()
        except etree.XMLSyntaxError as error:
            near = f"after code {code}" if code else "before any code"
            raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({error.msg})") from error
    if empty:
        raise UserError(f"{path}: holds no codes; expected the ICD-10-CM tabular list (ICD10CM.tabular) of CMS")


def _below(parent: Any, ancestors: list[str], source: Icd10CmSource) -> Iterator[Document]:
    """The codes under a chapter, section or code, depth first; `ancestors` are the names above `parent`."""
    name = _text(parent.find("desc"))
    if parent.tag == "diag":
        code = _text(parent.find("name"))
        yield _document(code, name, _details(parent, ancestors, source), source)
        name = f"{name} ({code})"
    for child in parent.iterchildren("section", "diag"):
        yield from _below(child, [*ancestors, name], source)


def _details(diagnosis: Any, ancestors: list[str], source: Icd10CmSource) -> list[str]:
    lines = []
    for detail in source.details:
        if detail == "hierarchy":
            lines.append(f"Hierarchy: {' > '.join(ancestors)}")
            continue
        for tag, title in _NOTES[detail].items():
            if notes := [_text(note) for note in diagnosis.iterfind(f"{tag}/note")]:
                lines.append(f"{title}: {'; '.join(notes)}")
    return lines


def _document(code: str, description: str, details: list[str], source: Icd10CmSource) -> Document:
    code = code if len(code) <= 3 or "." in code else f"{code[:3]}.{code[3:]}"
    first = source.template.format(code=code, description=description)
    return Document(code, source.name, "\n".join([first, *details]), {"code": code, "category": f"ICD 10 {code[:3]}"})


def _text(element: Any) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())
