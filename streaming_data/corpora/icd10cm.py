"""ICD-10-CM codes as text, from the tabular list (XML or zip) or from an order file or code list of CMS (text).

The tabular list has the hierarchy and inclusion terms of a code; the text files have only the code and its name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lxml import etree
from pydantic import model_validator

from ...configs.errors import UserError
from ..documents.document import Document
from ..documents.files import explain_read_errors, open_binary, open_member, open_text
from . import dotted_codes
from .crosswalks import read_crosswalk, unmatched_crosswalk
from .source import Source, check_template

CodeDetail = Literal["hierarchy", "inclusion_terms", "includes", "excludes"]


class Icd10CmSource(Source):
    """ICD-10-CM: the tabular list (XML or zip), or an order file or code list of CMS (text).

    Attributes:
        template: the first line of each code's text, built from {code} and {description}.
        details: lines that follow it if the file has them (only the tabular list does).
        seventh_characters: whether to include the codes that the tabular list defines only by their seventh character
            (initial encounter, left eye), more than half of all; the text files list these codes.
        crosswalks: CMS files that map ICD-10-CM to ICD-9 (`2018_I10gem.txt`); each code gets a line with its ICD-9
            codes.
    """

    format: Literal["icd10cm"]
    public: bool = True
    split_by: str = "category"
    template: str = "ICD 10 code for {code}: {description}"
    details: list[CodeDetail] = ["hierarchy", "inclusion_terms"]
    seventh_characters: bool = True
    crosswalks: list[str] = []

    @model_validator(mode="after")
    def _check_template(self) -> "Icd10CmSource":
        check_template(self.template, "code", "description")
        return self


_CODE = r"([A-Z][A-Z0-9]{2,6})"
_ORDER_LINE = re.compile(r"\d{5} " + _CODE + r" +([01]) (.{60}) (.+)")
_LIST_LINE = re.compile(_CODE + r"\s+(\S.*)")
_TABULAR = r"(?i:.*tabular.*\.xml)"
# Excluded by a note in prose at category S06, the only such note: after death only the initial encounter is coded.
_NOT_A_CODE = re.compile(r"S06\.\w\w[78][DS]")
_NOTES: dict[CodeDetail, dict[str, str]] = {
    "inclusion_terms": {"inclusionTerm": "Inclusion terms"},
    "includes": {"includes": "Includes"},
    "excludes": {"excludes1": "Excludes1", "excludes2": "Excludes2"},
}


class Entry(NamedTuple):
    """A code, with or without its dot; `details` are the lines that follow its name."""

    code: str
    description: str
    details: tuple[str, ...] = ()


def read(path: Path, source: Icd10CmSource) -> Iterator[Document]:
    """One document per code; meta holds the code and its category, the first three characters."""
    is_xml = path.name.removesuffix(".gz").endswith((".xml", ".zip"))
    crosswalk = read_crosswalk(source.crosswalks, "ICD 9", dotted_codes.icd9)
    any_mapped = False
    for entry in _read_tabular(path, source) if is_xml else _read_list(path):
        code = dotted_codes.icd10(entry.code)
        lines = [source.template.format(code=code, description=entry.description), *entry.details]
        if (plain := code.replace(".", "")) in crosswalk:
            any_mapped = True
            lines += filter(None, [crosswalk[plain]])
        yield Document(code, source.name, "\n".join(lines), {"code": code, "category": f"ICD 10 {code[:3]}"})
    if crosswalk and not any_mapped:
        raise unmatched_crosswalk(path)


def _read_list(path: Path) -> Iterator[Entry]:
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            line = line.rstrip()
            if match := _ORDER_LINE.fullmatch(line):
                yield Entry(match[1], match[4].strip())
            elif match := _LIST_LINE.fullmatch(line):
                yield Entry(match[1], match[2])
            elif line:
                raise UserError(
                    f"{path}: line {number} is neither an order file's ('00001 A00     0 ...') nor a code list's "
                    f"('A000    Cholera ...'); expected an ICD-10-CM file of CMS"
                )


def _read_tabular(path: Path, source: Icd10CmSource) -> Iterator[Entry]:
    code, empty = "", True
    opened = open_member(path, _TABULAR) if path.suffix == ".zip" else open_binary(path)
    with opened as file, explain_read_errors(path, lambda: f"code {code}" if code else "its first bytes"):
        try:
            for _, chapter in etree.iterparse(file, tag="chapter", no_network=True, remove_comments=True):
                for entry in _below(chapter, [], {}, source):
                    code, empty = entry.code, False
                    yield entry
                chapter.clear()
        except etree.XMLSyntaxError as error:
            near = f"after code {code}" if code else "before any code"
            raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({error.msg})") from error
    if empty:
        raise UserError(f"{path}: contains no codes; expected the ICD-10-CM tabular list (ICD10CM.tabular) of CMS")


def _below(parent: Any, ancestors: list[str], seventh: dict[str, str], source: Icd10CmSource) -> Iterator[Entry]:
    """The codes under a chapter, section or code, depth first.

    Args:
        ancestors: the names of the ancestors of `parent`.
        seventh: the seventh characters of the codes below, and their meanings.
    """
    name = _text(parent.find("desc"))
    children = list(parent.iterchildren("section", "diag"))
    if parent.tag == "diag":
        code = _text(parent.find("name"))
        defined = {
            extension.get("char", ""): _text(extension) for extension in parent.iterfind("sevenChrDef/extension")
        }
        seventh = defined or seventh
        yield Entry(code, name, _details(parent, ancestors, source))
        path = [*ancestors, f"{name} ({code})"]
        if not children and source.seventh_characters:
            hierarchy = _hierarchy(path) if "hierarchy" in source.details else ()
            for character, meaning in seventh.items():
                if not _NOT_A_CODE.fullmatch(extended := _padded(code) + character):
                    yield Entry(extended, f"{name}, {meaning}", hierarchy)
    else:
        path = [*ancestors, name]
    for child in children:
        yield from _below(child, path, seventh, source)


def _padded(code: str) -> str:
    """The code with its dot and six characters: a shorter code is padded with X before its seventh character."""
    return (code if "." in code else f"{code}.").ljust(7, "X")


def _hierarchy(ancestors: list[str]) -> tuple[str, ...]:
    return (f"Hierarchy: {' > '.join(ancestors)}",)


def _details(diagnosis: Any, ancestors: list[str], source: Icd10CmSource) -> tuple[str, ...]:
    lines: list[str] = []
    for detail in source.details:
        if detail == "hierarchy":
            lines += _hierarchy(ancestors)
            continue
        for tag, title in _NOTES[detail].items():
            if notes := [_text(note) for note in diagnosis.iterfind(f"{tag}/note")]:
                lines.append(f"{title}: {'; '.join(notes)}")
    return tuple(lines)


def _text(element: Any) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())
