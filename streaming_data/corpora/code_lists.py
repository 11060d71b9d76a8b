"""CMS's lists of codes as text, plain or in the zip archives that CMS publishes: code lists and order files.

A code list has lines such as `A000    Cholera ...`, an order file `00002 A000    1 Cholera ...  Cholera ...` with a
short and a long title. The form of a code tells the systems apart; a file of another system is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...configs.limits import CODE_FILE_BYTES
from ..documents.archives import START, Rank, open_wanted, xml_root
from ..documents.bounded import read_at_once
from ..documents.files import decode_text, explain_read_errors


class CodeForm(NamedTuple):
    """The codes of a system as its publisher writes them, without dots.

    Attributes:
        code: matches each of its codes.
        example: a line.
        typical: matches some codes of every complete list and none of another system whose codes match `code`.
        mistaken: that other system.
        file_name: matches the names that CMS gives to the lists, if the codes alone do not tell them from others.
    """

    name: str
    code: re.Pattern[str]
    example: str
    typical: re.Pattern[str] | None = None
    mistaken: str = ""
    file_name: re.Pattern[str] | None = None


HCPCS = CodeForm("HCPCS", re.compile(r"[A-V]\d{4}"), "A0021")
HCPCS_MODIFIER = CodeForm("HCPCS modifiers", re.compile(r"[A-Z0-9]{2}"), "LT")
CPT = CodeForm("CPT", re.compile(r"\d{5}|\d{4}[AFMTU]"), "99213")
MESH = CodeForm("MeSH tree numbers", re.compile(r"[A-NVZ](?:\d\d(?:\.\d{3})*)?"), "C14.280")
HPO = CodeForm("HPO", re.compile(r"HP:\d{7}"), "HP:0000003")
ICD10PCS = CodeForm("ICD-10-PCS", re.compile(r"[0-9BCDFGHX][0-9A-HJ-NP-Z]{6}"), "0016070 Bypass Cerebral Ventricle")
ICD10CM = CodeForm(
    "ICD-10-CM",
    re.compile(r"[A-Z][0-9A][0-9AB][A-Z0-9]{0,4}"),  # QA0 since 2026
    "A000    Cholera due to Vibrio cholerae",
    typical=re.compile(rf"(?!(?:{HCPCS.code.pattern}|{ICD10PCS.code.pattern})$).+"),
    mistaken="HCPCS or ICD-10-PCS",
)
ICD9_DIAGNOSES = CodeForm(
    "ICD-9-CM diagnoses",
    re.compile(r"(?:(?!000)\d{3}|V\d\d)\d{0,2}|E(?:0[0-3]|[89]\d)\d\d?"),
    "0010  Cholera",
    typical=re.compile(r"\d{5}|[EV]\d+"),
    mistaken="ICD-9-CM procedures",
    file_name=re.compile(r".*_(?:SHORT|LONG)_DX\b.*", re.I),
)
ICD9_PROCEDURES = CodeForm(
    "ICD-9-CM procedures",
    re.compile(r"\d{3,4}"),
    "0001 Therapeutic ultrasound",
    file_name=re.compile(r".*_(?:SHORT|LONG)_SG\b.*", re.I),
)
_FORMS = (ICD10CM, ICD10PCS, ICD9_DIAGNOSES, ICD9_PROCEDURES, HCPCS, MESH, HPO)

_LIST_LINE = re.compile(r"(\S+)\s+(?!\S+\s+\d{5}$)(\S.*)")  # a code and five digits follow in a crosswalk
_CROSSWALK_LINE = re.compile(r"\S+\s+\S+\s+\d{5}")
_ORDER_LINE = re.compile(r"\d{5} ([A-Z0-9]{3,7}) +([01]) (.{60}) (.+)")
_ENOUGH = 200  # codes among which there is a typical one


def read_code_list(path: Path, form: CodeForm) -> Iterator[tuple[str, str]]:
    """The codes and their (long) descriptions; an order file's headings that are no code of the system are left out.

    Raises:
        UserError: a line is something else, a code has two descriptions, or the list is of another system.
    """
    for other in _FORMS:
        if form.file_name and other is not form and other.file_name and other.file_name.fullmatch(path.name):
            raise UserError(f"{path}: by its name it is a list of {other.name}; expected {expected_list(form)}")
    number = 0
    with (
        open_wanted(path, list_rank(form), expected_list(form)) as file,
        explain_read_errors(path, lambda: f"line {number}"),
    ):
        text = decode_text(path, read_at_once(file, CODE_FILE_BYTES, str(path)))
    descriptions: dict[str, str] = {}
    typical = form.typical is None
    for number, line in enumerate(text.splitlines(), start=1):
        if not (line := line.strip()):
            continue
        entry = _parse(line, form)
        if entry is None:
            raise _not_a_code(path, number, line, form)
        code, description = entry
        if not description:
            continue
        if descriptions.setdefault(code, description) != description:
            raise second_description(f"{path}: line {number}", code)
        typical = typical or bool(form.typical and form.typical.fullmatch(code))
        yield code, description
    if not typical and len(descriptions) >= _ENOUGH:
        raise UserError(
            f"{path}: each of its {len(descriptions):,} codes has the form of {form.mistaken} too, which no complete "
            f"list of {form.name} has; expected {expected_list(form)}"
        )


def second_description(position: str, code: str) -> UserError:
    return UserError(f"{position} describes {code} a second time, differently; expected one description per code")


def check_code(code: str, position: str, *forms: CodeForm) -> None:
    """Raise UserError, with what the code looks like, unless it has one of the forms."""
    if not any(form.code.fullmatch(code) for form in forms):
        expected = " or ".join(f"{form.name}, such as {form.example.split()[0]}" for form in forms)
        seen = looks_like(code, *forms)
        raise UserError(f"{position}: the code is none of {expected}" + (f"; it {seen}" if seen else ""))


def looks_like(code: str, *forms: CodeForm) -> str:
    """What a code that has none of the forms has instead, for messages; empty if nothing is known."""
    others = [other.name for other in _FORMS if other not in forms and other.code.fullmatch(code)]
    digits = any(form.code.fullmatch(code.zfill(size)) for form in forms for size in range(len(code) + 1, 8))
    seen = [f"has the form of {' or '.join(others)}"] if others else []
    if re.fullmatch(r"\d{1,6}", code) and digits:
        seen.append(f"has {len(code)} digits, as a code that lost its leading zeros in a spreadsheet or in pandas")
    if "." in code and any(form.code.fullmatch(code.replace(".", "")) for form in forms):
        seen.append("has a dot, which the publisher's codes do not have")
    return " and ".join(seen)


def expected_list(form: CodeForm) -> str:
    return f"a code list or order file of {form.name}"


def list_rank(form: CodeForm) -> Rank:
    """Ranks an order file before a code list; both must have nothing but codes of this form in their first lines."""

    def rank(start: bytes) -> int | None:
        lines = first_lines(start)
        entries = [entry for line in lines if (entry := _parse(line, form))]
        if not entries or len(entries) < len(lines):
            return None
        if form.typical and not any(form.typical.fullmatch(code) for code, _ in entries):
            return None
        return 0 if _ORDER_LINE.fullmatch(lines[0]) else 1

    return rank


def first_lines(start: bytes) -> list[str]:
    """The lines in the first bytes of a file that are complete and not blank."""
    lines = start.decode("latin-1").splitlines()
    return [line.strip() for line in (lines[:-1] if len(start) == START else lines) if line.strip()]


def _parse(line: str, form: CodeForm) -> tuple[str, str] | None:
    """Code and description; the description is empty for a heading; None for another line."""
    if match := _ORDER_LINE.fullmatch(line):
        if form.code.fullmatch(match[1]):
            return match[1], match[4].strip()
        return (match[1], "") if match[2] == "0" and form is ICD10PCS and len(match[1]) == 3 else None
    match = _LIST_LINE.fullmatch(line)
    return (match[1], match[2]) if match and form.code.fullmatch(match[1]) else None


def _not_a_code(path: Path, number: int, line: str, form: CodeForm) -> UserError:
    """The error for a line of another kind; it names what the line could be, and shows none of it."""
    order, listed = _ORDER_LINE.fullmatch(line), _LIST_LINE.fullmatch(line)
    code = order[1] if order else listed[1] if listed else ""
    seen = f"; its code {look}" if (look := looks_like(code, form)) else ""
    if form.code.fullmatch(line):
        seen += "; it has a code and no description"
    if _LIST_LINE.fullmatch(line) is None and _CROSSWALK_LINE.fullmatch(line):
        seen += "; it has two codes and flags, as a crosswalk has"
    if line.count(",") >= 2 and not _ORDER_LINE.fullmatch(line) and not listed:
        seen += "; it has columns separated by commas, as a table has"
    if line.startswith("<"):
        seen += f"; it is XML, <{xml_root(line.encode())}>"
    if line.startswith(("Add", "Delete", "Revise", "No change")):
        seen += "; it looks like an addenda file, which lists changes only"
    return UserError(
        f"{path}: line {number} is not a code and its description, such as `{form.example}`; expected "
        f"{expected_list(form)}{seen}"
    )
