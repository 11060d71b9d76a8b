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
from ..documents.archives import START, Rank, open_wanted
from ..documents.bounded import read_at_once
from ..documents.files import decode_text, explain_read_errors


class CodeForm(NamedTuple):
    """The codes of a system as CMS writes them.

    Attributes:
        code: matches each of its codes.
        example: a line.
        typical: matches some codes of every complete list and none of another system whose codes match `code`.
        foreign_name: matches the names that CMS gives to the lists of such another system.
    """

    name: str
    code: re.Pattern[str]
    example: str
    typical: re.Pattern[str] | None = None
    foreign_name: re.Pattern[str] | None = None


ICD10CM = CodeForm("ICD-10-CM", re.compile(r"[A-Z]\d[A-Z0-9]{1,5}"), "A000    Cholera due to Vibrio cholerae")
ICD10PCS = CodeForm("ICD-10-PCS", re.compile(r"[0-9BCDFGHX][0-9A-HJ-NP-Z]{6}"), "0016070 Bypass Cerebral Ventricle")
ICD9_DIAGNOSES = CodeForm(
    "ICD-9-CM diagnoses",
    re.compile(r"(?:\d{3}|V\d\d)\d{0,2}|E\d{3}\d?"),
    "0010  Cholera",
    typical=re.compile(r"\d{5}|[EV]\d+"),
    foreign_name=re.compile(r".*_(?:SHORT|LONG)_SG\b.*", re.I),
)
ICD9_PROCEDURES = CodeForm(
    "ICD-9-CM procedures",
    re.compile(r"\d{3,4}"),
    "0001 Therapeutic ultrasound",
    foreign_name=re.compile(r".*_(?:SHORT|LONG)_DX\b.*", re.I),
)
_FORMS = (ICD10CM, ICD10PCS, ICD9_DIAGNOSES, ICD9_PROCEDURES)

_LIST_LINE = re.compile(r"(\S+)\s+(?!\S+\s+\d{5}$)(\S.*)")  # a code and five digits follow in a crosswalk
_ORDER_LINE = re.compile(r"\d{5} ([A-Z0-9]{3,7}) +([01]) (.{60}) (.+)")
_ENOUGH = 200  # codes among which there is a typical one


def read_code_list(path: Path, form: CodeForm) -> Iterator[tuple[str, str]]:
    """The codes and their (long) descriptions; an order file's headings that are no code of the system are left out.

    Raises:
        UserError: a line is something else, a code has two descriptions, or the list is of another system.
    """
    if form.foreign_name and form.foreign_name.fullmatch(path.name):
        raise UserError(f"{path}: by its name it is a list of another system; expected {expected_list(form)}")
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
            raise UserError(
                f"{path}: line {number} describes {code} a second time, differently; expected one description per code"
            )
        typical = typical or bool(form.typical and form.typical.fullmatch(code))
        yield code, description
    if not typical and len(descriptions) >= _ENOUGH:
        raise UserError(
            f"{path}: none of its {len(descriptions):,} codes has five digits or begins with E or V; expected a list "
            f"of {form.name}"
        )


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
    others = [other.name for other in _FORMS if other is not form and other.code.fullmatch(code)]
    seen = f"; its code has the form of {' or '.join(others)}" if others else ""
    if re.fullmatch(r"\d{1,6}", code):
        seen += f"; a code of {len(code)} digits may have lost its leading zeros, as in Excel"
    if line.startswith(("Add", "Delete", "Revise", "No change")):
        seen += "; it looks like an addenda file, which lists changes only"
    return UserError(
        f"{path}: line {number} is not a code and its description, such as `{form.example}`; expected "
        f"{expected_list(form)}{seen}"
    )
