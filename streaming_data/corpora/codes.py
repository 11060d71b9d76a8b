"""Code systems other than ICD-10-CM, and MIMIC's dictionaries: one document per code, by one template.

The same code in two files (ICD-9 from CMS and from MIMIC) gives the same text, so only the first is kept.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import model_validator

from ...configs.errors import UserError
from ...configs.limits import HEADER_CHARACTERS, TooLargeError
from ..documents.archives import Rank, open_wanted, report_choice
from ..documents.bounded import bounded_lines
from ..documents.csv_records import read_csv
from ..documents.document import Document
from ..documents.files import explain_read_errors
from . import dotted_codes
from .code_lists import (
    CPT,
    HCPCS,
    HCPCS_MODIFIER,
    ICD9_DIAGNOSES,
    ICD9_PROCEDURES,
    ICD10CM,
    ICD10PCS,
    CodeForm,
    check_code,
    expected_list,
    list_rank,
    read_code_list,
    second_description,
)
from .crosswalks import read_crosswalk, unmatched_crosswalk
from .ontologies import EXPECTED_HPO, EXPECTED_MESH, hpo_rank, mesh_rank, read_hpo, read_mesh
from .source import Source, check_template

CodeSystem = Literal[
    "icd9_diagnoses",
    "icd9_procedures",
    "icd10pcs",
    "hcpcs",
    "mesh",
    "hpo",
    "mimic_diagnoses",
    "mimic_procedures",
    "mimic_hcpcs",
    "mimic_lab_items",
]

_WITH_CROSSWALK = ("icd9_diagnoses", "icd9_procedures", "icd10pcs")


class CodesSource(Source):
    """Code systems other than ICD-10-CM, from their publishers' files, and MIMIC's dictionaries (`d_*.csv`).

    Attributes:
        template: the first line of each code's text, built from {system}, {code} and {description}.
        details: whether further lines follow if the file has more information (MeSH and HPO do).
        crosswalks: for ICD-9 and ICD-10-PCS, CMS files that map these codes to the other edition (`2018_I9gem.txt`,
            `gem_i9pcs.txt`, `gem_pcsi9.txt`); each code gets a line with the codes of that edition.
    """

    format: Literal["codes"]
    system: CodeSystem
    public: bool = True
    split_by: str = "category"
    template: str = "{system} code for {code}: {description}"
    details: bool = True
    crosswalks: list[str] = []

    @model_validator(mode="after")
    def _check_template(self) -> "CodesSource":
        check_template(self.template, "system", "code", "description")
        return self

    @model_validator(mode="after")
    def _check_crosswalks(self) -> "CodesSource":
        if self.crosswalks and self.system not in _WITH_CROSSWALK:
            raise ValueError(f"crosswalks: {self.system} has none; they exist only for {', '.join(_WITH_CROSSWALK)}")
        return self


_HCPCS_RECORD = re.compile(r"(.{5})\d{5}([3478])(.{80})")
_SYSTEM_OF_FIRST_LINE = {"3": "HCPCS", "7": "HCPCS modifier"}
_EXPECTED_HCPCS = "CMS's alpha-numeric HCPCS file in fixed width (HCPC...ANWEB.txt)"


class Code(NamedTuple):
    """A code as its file gives it; `category` is the prefix or group that it shares with the most similar codes."""

    system: str
    code: str
    description: str
    category: str
    details: tuple[str, ...] = ()


def read(path: Path, source: CodesSource) -> Iterator[Document]:
    """One document per code; meta holds the code and its category."""
    descriptions: dict[tuple[str, str], str] = {}
    any_mapped = False
    crosswalk = read_crosswalk(source.crosswalks, *_CROSSWALKS[source.system]) if source.crosswalks else {}
    for system, code, description, category, details in _READERS[source.system](path):
        if descriptions.setdefault((system, code), description) != description:
            raise second_description(str(path), code)
        lines = [source.template.format(system=system, code=code, description=description)]
        lines += details if source.details else ()
        if (plain := code.replace(".", "")) in crosswalk:
            any_mapped = True
            lines += filter(None, [crosswalk[plain]])
        yield Document(
            f"{system} {code}", source.name, "\n".join(lines), {"code": code, "category": f"{system} {category}"}
        )
    if not descriptions:
        raise UserError(f"{path}: contains no codes; expected a file of {source.system}")
    if crosswalk and not any_mapped:
        raise unmatched_crosswalk(path)


def check_archive(path: Path, source: CodesSource) -> None:
    """Log which member of a zip archive is read; raise UserError if there is none."""
    if source.system in _ARCHIVES:
        report_choice(path, *_ARCHIVES[source.system])


class MimicCodes(NamedTuple):
    """The codes of one edition in a dictionary of MIMIC, and how an entry is made of them."""

    form: CodeForm
    make: Callable[[str, str], Code]


def icd9_diagnosis(code: str, description: str) -> Code:
    return Code("ICD 9", dotted_codes.icd9(code), description, code[: dotted_codes.icd9_category(code)])


def icd9_procedure(code: str, description: str) -> Code:
    return Code("ICD 9 procedure", dotted_codes.icd9_procedure(code), description, code[:2])


def icd10_procedure(code: str, description: str) -> Code:
    """ICD-10-PCS codes have no dot; the first three characters are section, body system and operation."""
    return Code("ICD 10 procedure", code, description, code[:3])


def _read_hcpcs(path: Path) -> Iterator[Code]:
    """Codes and modifiers with long descriptions, from CMS's fixed-width alpha-numeric file or the zip with it."""
    current: Code | None = None
    number = 0
    with (
        open_wanted(path, _hcpcs_rank, _EXPECTED_HCPCS) as file,
        explain_read_errors(path, lambda: f"line {number}"),
    ):
        lines = bounded_lines(path, io.TextIOWrapper(file, "latin-1"), HEADER_CHARACTERS)
        for number, line in enumerate(lines, start=1):
            match = _HCPCS_RECORD.match(line)
            if match is None:
                continue  # disclaimers precede the records
            code, kind, text = match[1].strip(), match[2], match[3].strip()
            if kind in _SYSTEM_OF_FIRST_LINE:
                check_code(code, f"{path}: line {number}", HCPCS if kind == "3" else HCPCS_MODIFIER)
                if current:
                    yield current
                current = Code(_SYSTEM_OF_FIRST_LINE[kind], code, text, code[:3])
            elif current and current.code == code:
                current = current._replace(description=f"{current.description} {text}")
                if len(current.description) > HEADER_CHARACTERS:
                    raise TooLargeError(f"{path}: line {number}: {code} has more than {HEADER_CHARACTERS:,} characters")
            else:
                raise UserError(f"{path}: line {number} continues {code}, whose first line is missing")
    if current:
        yield current


def _hcpcs_rank(start: bytes) -> int | None:
    return 0 if any(map(_HCPCS_RECORD.match, start.decode("latin-1").splitlines())) else None


def _read_mimic_icd(path: Path, ninth: "MimicCodes", tenth: "MimicCodes") -> Iterator[Code]:
    """d_icd_diagnoses.csv or d_icd_procedures.csv of MIMIC-IV, or of MIMIC-III, which has only ICD-9."""
    edition = {"9": ninth, "10": tenth}
    for number, row in read_csv(path, ["long_title"]):
        code, version = row.get("icd_code", row.get("icd9_code", "")).strip(), row.get("icd_version", "9").strip()
        if not code or version not in ("9", "10"):
            raise UserError(f"{path}: record {number}: expected an icd_code, and an icd_version of 9 or 10")
        form, make = edition[version]
        check_code(code, f"{path}: record {number}", form)
        yield make(code, row["long_title"].strip())


def icd10_diagnosis(code: str, description: str) -> Code:
    return Code("ICD 10", dotted_codes.icd10(code), description, code[:3])


def _read_mimic_hcpcs(path: Path) -> Iterator[Code]:
    for number, row in read_csv(path, ["code", "short_description"]):
        check_code(row["code"].strip(), f"{path}: record {number}", HCPCS, HCPCS_MODIFIER, CPT)
        description = (row.get("long_description") or row["short_description"]).strip()
        if description:
            yield Code("HCPCS", row["code"].strip(), description, row["code"].strip()[:3])


def _read_mimic_lab_items(path: Path) -> Iterator[Code]:
    for number, row in read_csv(path, ["itemid", "label", "fluid", "category"]):
        if not re.fullmatch(r"\d{5,6}", row["itemid"].strip()):
            raise UserError(f"{path}: record {number}: itemid is not a number of five or six digits")
        if row["label"].strip():
            description = f"{row['label'].strip()} ({row['fluid'].strip()}, {row['category'].strip()})"
            yield Code("MIMIC lab item", row["itemid"].strip(), description, row["itemid"].strip())


_CROSSWALKS: dict[CodeSystem, tuple[str, Callable[[str], str], CodeForm, CodeForm]] = {
    "icd9_diagnoses": ("ICD 10", dotted_codes.icd10, ICD9_DIAGNOSES, ICD10CM),
    "icd9_procedures": ("ICD 10 procedure", str, ICD9_PROCEDURES, ICD10PCS),
    "icd10pcs": ("ICD 9 procedure", dotted_codes.icd9_procedure, ICD10PCS, ICD9_PROCEDURES),
}
_ARCHIVES: dict[CodeSystem, tuple[Rank, str]] = {
    "icd9_diagnoses": (list_rank(ICD9_DIAGNOSES), expected_list(ICD9_DIAGNOSES)),
    "icd9_procedures": (list_rank(ICD9_PROCEDURES), expected_list(ICD9_PROCEDURES)),
    "icd10pcs": (list_rank(ICD10PCS), expected_list(ICD10PCS)),
    "hcpcs": (_hcpcs_rank, _EXPECTED_HCPCS),
    "mesh": (mesh_rank, EXPECTED_MESH),
    "hpo": (hpo_rank, EXPECTED_HPO),
}
_READERS: dict[CodeSystem, Callable[[Path], Iterator[Code]]] = {
    "icd9_diagnoses": lambda path: itertools.starmap(icd9_diagnosis, read_code_list(path, ICD9_DIAGNOSES)),
    "icd9_procedures": lambda path: itertools.starmap(icd9_procedure, read_code_list(path, ICD9_PROCEDURES)),
    "icd10pcs": lambda path: itertools.starmap(icd10_procedure, read_code_list(path, ICD10PCS)),
    "hcpcs": _read_hcpcs,
    "mesh": lambda path: (Code("MeSH", *entry) for entry in read_mesh(path)),
    "hpo": lambda path: (Code("HPO", *entry) for entry in read_hpo(path)),
    "mimic_diagnoses": lambda path: _read_mimic_icd(
        path, MimicCodes(ICD9_DIAGNOSES, icd9_diagnosis), MimicCodes(ICD10CM, icd10_diagnosis)
    ),
    "mimic_procedures": lambda path: _read_mimic_icd(
        path, MimicCodes(ICD9_PROCEDURES, icd9_procedure), MimicCodes(ICD10PCS, icd10_procedure)
    ),
    "mimic_hcpcs": _read_mimic_hcpcs,
    "mimic_lab_items": _read_mimic_lab_items,
}
