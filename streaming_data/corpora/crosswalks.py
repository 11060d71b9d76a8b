"""CMS's general equivalence mappings (GEMs) between the codes of ICD-9 and ICD-10.

A line is `source target flags`; the flags are five digits: approximate, no map, combination, scenario, choice list. A
combination consists of one code from each choice list of a scenario (CMS, Diagnosis Code Set General Equivalence
Mappings, user's guide). Both CMS's text files and the NBER's CSV files with a header are read.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...configs.limits import CODE_FILE_BYTES
from ..documents.archives import Rank, open_wanted
from ..documents.bounded import read_at_once
from ..documents.csv_records import read_csv
from ..documents.files import decode_text, explain_read_errors, find_files
from .code_lists import CodeForm, first_lines

_LINE = re.compile(r"([A-Z0-9]{2,7})\s+([A-Z0-9]{2,7}|NoDx|NoPCS|NoPx)\s+([01]{3}\d\d)")


class Mapping(NamedTuple):
    """One line; codes without dots."""

    source: str
    target: str
    approximate: bool
    no_map: bool
    combination: bool
    scenario: int
    choice: int


def read_crosswalk(
    paths: Sequence[str], system: str, dotted: Callable[[str], str], form: CodeForm, target_form: CodeForm
) -> dict[str, str]:
    """By code without its dot, a line such as `Same in ICD 9: 001.0` or `Near in ICD 9: 995.92 with 785.52`.

    The line of a code without an equivalent is empty.

    Args:
        paths: files of one direction; none for no crosswalk.
        system: the name of the other system in the line.
        dotted: formats a code of the other system as clinical notes write it.
        form: of the codes that are mapped; it and `target_form` select the file of this direction in CMS's archives.
        target_form: of the codes of the other system.
    """
    mappings = read_by_code(paths, form, target_form)
    return {code: _line(lines, system, dotted) for code, lines in mappings.items()}


def read_by_code(paths: Sequence[str], form: CodeForm, target_form: CodeForm) -> dict[str, list[Mapping]]:
    """The lines of the files of one direction, by the code that they map."""
    mappings: dict[str, list[Mapping]] = {}
    for path in find_files(paths):
        for mapping in read_mappings(path, form, target_form):
            mappings.setdefault(mapping.source, []).append(mapping)
    return mappings


def _line(mappings: Sequence[Mapping], system: str, dotted: Callable[[str], str]) -> str:
    exact, alternatives = equivalents(mappings, dotted)
    return f"{'Same' if exact else 'Near'} in {system}: {'; '.join(alternatives)}" if alternatives else ""


def equivalents(mappings: Sequence[Mapping], show: Callable[[str], str]) -> tuple[bool, list[str]]:
    """Whether the mappings of one code are exact, and the alternatives, each a code or a combination of codes.

    Args:
        show: a code of the other system as text.
    """
    alternatives: list[str] = []
    scenarios: dict[int, dict[int, list[str]]] = {}
    for mapping in mappings:
        if mapping.combination:
            choices = scenarios.setdefault(mapping.scenario, {})
            choices.setdefault(mapping.choice, []).append(show(mapping.target))
        elif not mapping.no_map:
            alternatives.append(show(mapping.target))
    for _, choices in sorted(scenarios.items()):
        alternatives.append(" with ".join(" or ".join(codes) for _, codes in sorted(choices.items())))
    return not any(mapping.approximate for mapping in mappings), alternatives


def unmatched_crosswalk(path: Path) -> UserError:
    """The error for a crosswalk with none of a file's codes: it is of the other direction or another system."""
    return UserError(
        f"{path}: `crosswalks` maps none of its codes; use the CMS file that maps from these codes, not to them"
    )


def read_mappings(path: Path, form: CodeForm, target_form: CodeForm) -> Iterator[Mapping]:
    """The lines of one file, or of the file in a zip archive that maps from codes of one form to those of the other."""
    is_csv = path.name.removesuffix(".gz").endswith(".csv")
    for position, source, target, flags in _read_csv(path) if is_csv else _read_text(path, form, target_form):
        if not re.fullmatch(r"[01]{3}\d\d", flags):
            raise UserError(f"{path}: {position}: flags {flags!r}; expected five digits, such as 10000")
        approximate, no_map, combination, scenario, choice = map(int, flags)
        yield Mapping(source, target, bool(approximate), bool(no_map), bool(combination), scenario, choice)


def _read_text(path: Path, form: CodeForm, target: CodeForm) -> Iterator[tuple[str, str, str, str]]:
    number = 0
    with (
        open_wanted(path, _rank(form, target), f"a crosswalk from {form.name} to {target.name}") as file,
        explain_read_errors(path, lambda: f"line {number}"),
    ):
        text = decode_text(path, read_at_once(file, CODE_FILE_BYTES, str(path)))
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _LINE.fullmatch(line.strip()):
            yield f"line {number}", match[1], match[2], match[3]
        elif line.strip():
            raise UserError(f"{path}: line {number} is not two codes and five flags, such as `0010  A000  00000`")


def _rank(form: CodeForm, target: CodeForm) -> Rank:
    def is_mapping(line: str) -> bool:
        match = _LINE.fullmatch(line)
        return bool(
            match and form.code.fullmatch(match[1]) and (match[2].startswith("No") or target.code.fullmatch(match[2]))
        )

    def rank(start: bytes) -> int | None:
        lines = first_lines(start)
        return 0 if lines and all(map(is_mapping, lines)) else None

    return rank


def _read_csv(path: Path) -> Iterator[tuple[str, str, str, str]]:
    for number, row in read_csv(path, ["flags"]):
        source, target = list(row.values())[:2]
        yield f"record {number}", source.strip(), target.strip(), row["flags"].strip()
