"""ICD-10-CM codes as text, from the tabular list (XML), an order file or a code list (text), plain or in CMS's zip.

The tabular list has the hierarchy and inclusion terms of a code; the text files have only the code and its name.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
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
_RANGE = re.compile(r"(.+) \(([A-Z]\w\w(?:-[A-Z]\w\w)?)\)")
_STRUCTURE = {"name", "desc", "section", "diag", "sevenChrDef"}
_NOTES: dict[CodeDetail, dict[str, str]] = {
    "inclusion_terms": {"inclusionTerm": "Inclusion terms"},
    "includes": {"includes": "Includes"},
    "excludes": {"excludes1": "Excludes1", "excludes2": "Excludes2"},
}


class Entry(NamedTuple):
    """A code, with or without its dot; `details` are the lines that follow its name.

    Only the tabular list has `groups`, the codes of its chapter and block.
    """

    code: str
    description: str
    details: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def read(path: Path, source: Icd10CmSource, left_out: Census) -> Iterator[Document]:
    """One document per code; meta holds the code and its category, the first three characters.

    Of the tabular list it also holds the block and the chapter, which `split_by` may name.
    `left_out` counts what the tabular list has and no document.
    """
    crosswalk = read_crosswalk(source.crosswalks, "ICD 9", dotted_codes.icd9, ICD10CM, ICD9_DIAGNOSES)
    any_mapped = False
    for entry in _read_tabular(path, source, left_out) if is_tabular(path) else _read_list(path):
        code = dotted_codes.icd10(entry.code)
        lines = [source.template.format(code=code, description=entry.description), *entry.details]
        if (plain := code.replace(".", "")) in crosswalk:
            any_mapped = True
            lines += filter(None, [crosswalk[plain]])
        meta = {"code": code, **groups_of(code, entry.groups)}
        if source.split_by not in meta:
            raise UserError(
                f"{path}: split_by: {source.split_by}: of this file it may be {', '.join(meta)}; block and chapter "
                "are in the tabular list (XML)"
            )
        yield Document(code, source.name, "\n".join(lines), meta)
    if crosswalk and not any_mapped:
        raise unmatched_crosswalk(path)


def groups_of(code: str, groups: Sequence[str]) -> dict[str, str]:
    """The groups of a code, by which splits are made, from the codes of its chapter and block if they are known."""
    named = {"category": code[:3]} | ({"block": groups[:2][-1], "chapter": groups[0]} if groups else {})
    return {level: f"ICD 10 {group}" for level, group in named.items()}


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


def is_tabular(path: Path) -> bool:
    """Whether the file, or the member of an archive that is read, is XML."""
    with open_wanted(path, _rank, _EXPECTED) as file, explain_read_errors(path, lambda: "its first bytes"):
        return bool(xml_root(file.read(START)))


def _read_tabular(path: Path, source: Icd10CmSource, left_out: Census) -> Iterator[Entry]:
    code = ""
    descriptions: dict[str, str] = {}
    for chapter in read_chapters(path, lambda: code, left_out):  # noqa: B023 - the last code, not the first
        for entry in _below(chapter, [], (), {}, source, left_out):
            check_code(entry.code.replace(".", ""), f"{path}: after {code or 'its start'}", ICD10CM)
            code = entry.code
            if descriptions.setdefault(code, entry.description) != entry.description:
                raise second_description(str(path), code)
            yield entry
    if not code:
        raise without_codes(path)


def read_chapters(path: Path, last_code: Callable[[], str], left_out: Census) -> Iterator[Any]:
    """The chapters of the tabular list as elements, each freed when the next one is read.

    Args:
        last_code: the last code that was read, for messages.
    """
    with (
        open_wanted(path, _rank, _EXPECTED) as file,
        explain_read_errors(path, lambda: f"code {last_code()}" if last_code() else "its first bytes"),
    ):
        try:
            bounded = BoundedXml(file, Budget(str(path), "the file"))
            tags = ("chapter", "introduction")
            for _, chapter in etree.iterparse(bounded, tag=tags, no_network=True, remove_comments=True):
                if chapter.tag == "introduction":
                    left_out.add_element("introduction", chapter)
                else:
                    yield chapter
                chapter.clear()
        except etree.XMLSyntaxError as error:
            near = f"after code {last_code()}" if last_code() else "before any code"
            raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({error.msg})") from error


def without_codes(path: Path) -> UserError:
    """The error for a file in which there is no code of the tabular list."""
    with open_wanted(path, _rank, _EXPECTED) as file:
        root = xml_root(file.read(START))
    seen = f"its root is <{root}>" if root else "it is not XML"
    return UserError(f"{path}: contains no codes; {seen}; expected the tabular list, <{_TABULAR_ROOT}>")


def _below(
    parent: Any,
    ancestors: list[str],
    groups: tuple[str, ...],
    seventh: dict[str, str],
    source: Icd10CmSource,
    left_out: Census,
) -> Iterator[Entry]:
    """The codes under a chapter, section or code, depth first.

    Args:
        ancestors: the names of the ancestors of `parent`.
        groups: the codes of those that are no codes themselves: a chapter, a block.
        seventh: the seventh characters of the codes below, and their meanings.
    """
    name = element_words(parent.find("desc"))
    children = list(parent.iterchildren("section", "diag"))
    _count_others(parent, source, left_out)
    if _is_code(parent):
        code = element_words(parent.find("name"))
        seventh = seventh_characters(parent) or seventh
        yield Entry(code, name, _details(parent, ancestors, source), groups)
        path = [*ancestors, f"{name} ({code})"]
        if not children and source.seventh_characters:
            hierarchy = _hierarchy(path) if "hierarchy" in source.details else ()
            for character, meaning in seventh.items():
                if not _NOT_A_CODE.fullmatch(extended := _padded(code) + character):
                    yield Entry(extended, f"{name}, {meaning}", hierarchy, groups)
    else:
        path, groups = [*ancestors, name], (*groups, range_of(parent)[1])
    for child in children:
        yield from _below(child, path, groups, seventh, source, left_out)


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


def range_of(group: Any) -> tuple[str, str]:
    """The name and the code of a chapter or block: `Diabetes mellitus (E08-E13)` gives both.

    A block of one category, such as `Malignant neuroendocrine tumors (C7A)`, has another code than that: `C7A-C7A`.
    """
    description = element_words(group.find("desc"))
    if match := _RANGE.fullmatch(description):
        return match[1], match[2] if "-" in match[2] else f"{match[2]}-{match[2]}"
    return description, group.get("id") or element_words(group.find("name")) or description


def _is_code(element: Any) -> bool:
    return bool(element.tag == "diag")


def seventh_characters(diagnosis: Any) -> dict[str, str]:
    """The seventh characters that a code defines for those below it, and their meanings."""
    found = diagnosis.iterfind("sevenChrDef/extension")
    return {extension.get("char", ""): element_words(extension) for extension in found}


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
            if notes := [text for note in diagnosis.iterfind(f"{tag}/note") if (text := element_words(note))]:
                lines.append(f"{title}: {'; '.join(notes)}")
    return tuple(lines)


def element_words(element: Any) -> str:
    """The text of an element with single spaces; empty if there is none."""
    return "" if element is None else " ".join("".join(element.itertext()).split())
