"""ICD-10-CM codes as text, from the tabular list (XML), an order file or a code list (text), plain or in CMS's zip.

The tabular list has the hierarchy and inclusion terms of a code; the text files have only the code and its name.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lxml import etree
from pydantic import model_validator

from ...configs.errors import UserError
from ..documents.archives import START, open_wanted, report_choice, xml_root
from ..documents.census import Census
from ..documents.document import Document
from ..documents.files import explain_read_errors
from ..documents.xml_bounds import BoundedXml, Budget
from . import dotted_codes
from .code_lists import ICD9_DIAGNOSES, ICD10CM, check_code, list_rank, read_code_list, second_description
from .crosswalks import read_crosswalk, unmatched_crosswalk
from .source import Source, check_template

CodeDetail = Literal["hierarchy", "inclusion_terms", "includes", "excludes"]


class Icd10CmSource(Source):
    """ICD-10-CM: the tabular list (XML), or an order file or code list of CMS (text), plain or in CMS's zip archive.

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


_TABULAR_ROOT = "ICD10CM.tabular"
_EXPECTED = "ICD-10-CM: a tabular list, order file or code list of CMS"
# Excluded by a note in prose at category S06, the only such note: after death only the initial encounter is coded.
_NOT_A_CODE = re.compile(r"S06\.\w\w[78][DS]")
_STRUCTURE = {"name", "desc", "section", "diag", "sevenChrDef"}
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


def read(path: Path, source: Icd10CmSource, left_out: Census) -> Iterator[Document]:
    """One document per code; meta holds the code and its category, the first three characters.

    `left_out` counts what the tabular list has and no document.
    """
    crosswalk = read_crosswalk(source.crosswalks, "ICD 9", dotted_codes.icd9, ICD10CM, ICD9_DIAGNOSES)
    any_mapped = False
    for entry in _read_tabular(path, source, left_out) if _is_tabular(path) else _read_list(path):
        code = dotted_codes.icd10(entry.code)
        lines = [source.template.format(code=code, description=entry.description), *entry.details]
        if (plain := code.replace(".", "")) in crosswalk:
            any_mapped = True
            lines += filter(None, [crosswalk[plain]])
        yield Document(code, source.name, "\n".join(lines), {"code": code, "category": f"ICD 10 {code[:3]}"})
    if crosswalk and not any_mapped:
        raise unmatched_crosswalk(path)


def _read_list(path: Path) -> Iterator[Entry]:
    return itertools.starmap(Entry, read_code_list(path, ICD10CM))


def check_archive(path: Path) -> None:
    """Log which member of a zip archive is read; raise UserError if there is none."""
    report_choice(path, _rank, _EXPECTED)


def _rank(start: bytes) -> int | None:
    """The tabular list, which says most, then an order file, then a code list."""
    if xml_root(start) == _TABULAR_ROOT:
        return 0
    rank = list_rank(ICD10CM)(start)
    return None if rank is None else rank + 1


def _is_tabular(path: Path) -> bool:
    with open_wanted(path, _rank, _EXPECTED) as file, explain_read_errors(path, lambda: "its first bytes"):
        return bool(xml_root(file.read(START)))


def _read_tabular(path: Path, source: Icd10CmSource, left_out: Census) -> Iterator[Entry]:
    code = last = ""
    descriptions: dict[str, str] = {}
    with (
        open_wanted(path, _rank, _EXPECTED) as file,
        explain_read_errors(path, lambda: f"code {code}" if code else "its first bytes"),
    ):
        try:
            bounded = BoundedXml(file, Budget(str(path), "the file"))
            tags = ("chapter", "introduction")
            for _, chapter in etree.iterparse(bounded, tag=tags, no_network=True, remove_comments=True):
                if chapter.tag == "introduction":
                    left_out.add_element("introduction", chapter)
                else:
                    for entry in _below(chapter, [], {}, source, left_out):
                        code = entry.code
                        check_code(code.replace(".", ""), f"{path}: after {last or 'its start'}", ICD10CM)
                        if descriptions.setdefault(code, entry.description) != entry.description:
                            raise second_description(str(path), code)
                        last = code
                        yield entry
                chapter.clear()
        except etree.XMLSyntaxError as error:
            near = f"after code {code}" if code else "before any code"
            raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({error.msg})") from error
    if not code:
        with open_wanted(path, _rank, _EXPECTED) as file:
            root = xml_root(file.read(START))
        raise UserError(
            f"{path}: contains no codes; its root is <{root}>; expected the tabular list, <{_TABULAR_ROOT}>"
        )


def _below(
    parent: Any, ancestors: list[str], seventh: dict[str, str], source: Icd10CmSource, left_out: Census
) -> Iterator[Entry]:
    """The codes under a chapter, section or code, depth first.

    Args:
        ancestors: the names of the ancestors of `parent`.
        seventh: the seventh characters of the codes below, and their meanings.
    """
    name = _text(parent.find("desc"))
    children = list(parent.iterchildren("section", "diag"))
    _count_others(parent, source, left_out)
    if _is_code(parent):
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
        yield from _below(child, path, seventh, source, left_out)


def _count_others(parent: Any, source: Icd10CmSource, left_out: Census) -> None:
    """Count the notes of a chapter, section or code that are not among the details of a code."""
    read = _STRUCTURE | (
        {tag for detail in source.details for tag in _NOTES.get(detail, ())} if _is_code(parent) else set()
    )
    for child in parent:
        if child.tag not in read:
            left_out.add_element(child.tag if _is_code(parent) else f"{child.tag} of chapters and sections", child)
        elif child.tag == "sevenChrDef":
            notes = child.iterchildren("note" if source.seventh_characters else "*")
            for note in notes:
                left_out.add_element("sevenChrDef", note)


def _is_code(element: Any) -> bool:
    return bool(element.tag == "diag")


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
            if notes := [text for note in diagnosis.iterfind(f"{tag}/note") if (text := _text(note))]:
                lines.append(f"{title}: {'; '.join(notes)}")
    return tuple(lines)


def _text(element: Any) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())
