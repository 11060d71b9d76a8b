"""CMS's general equivalence mappings (GEMs): what a code of ICD-9 or ICD-10 is called in the other.

A line is `source target flags`, five digits: approximate, no map, combination, scenario, choice list. A combination
takes one code from each choice list of a scenario (CMS, Diagnosis Code Set General Equivalence Mappings, user's guide).
Read as CMS publishes them (text) and as the NBER does (CSV with a header).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ..documents.csv_records import read_csv
from ..documents.files import find, open_text, reading

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


def read_crosswalk(paths: Sequence[str], system: str, dotted: Callable[[str], str]) -> dict[str, str]:
    """For each code without its dot: `Same in ICD 9: 001.0`, or `Near in ICD 9: 995.92 with 785.52`.

    A code without equivalent is there with an empty line.

    Args:
        paths: files of one direction, none for no crosswalk.
        system: what the other system is called in the line.
        dotted: writes a code of it as notes do.
    """
    mappings: dict[str, list[Mapping]] = {}
    for path in find(paths):
        for mapping in read_mappings(path):
            mappings.setdefault(mapping.source, []).append(mapping)
    return {code: _line(found, system, dotted) for code, found in mappings.items()}


def _line(mappings: Sequence[Mapping], system: str, dotted: Callable[[str], str]) -> str:
    alternatives: list[str] = []
    scenarios: dict[int, dict[int, list[str]]] = {}
    for mapping in mappings:
        if mapping.combination:
            choices = scenarios.setdefault(mapping.scenario, {})
            choices.setdefault(mapping.choice, []).append(dotted(mapping.target))
        elif not mapping.no_map:
            alternatives.append(dotted(mapping.target))
    for _, choices in sorted(scenarios.items()):
        alternatives.append(" with ".join(" or ".join(codes) for _, codes in sorted(choices.items())))
    nearness = "Near" if any(mapping.approximate for mapping in mappings) else "Same"
    return f"{nearness} in {system}: {'; '.join(alternatives)}" if alternatives else ""


def stranger(path: Path) -> UserError:
    """Of a crosswalk that knows none of a file's codes: it is the other direction's, or another system's."""
    return UserError(
        f"{path}: `crosswalks` names none of its codes; of CMS's two files take the one that leads away from them"
    )


def read_mappings(path: Path) -> Iterator[Mapping]:
    """The lines of one file."""
    is_csv = path.name.removesuffix(".gz").endswith(".csv")
    for where, source, target, flags in _read_csv(path) if is_csv else _read_text(path):
        if not re.fullmatch(r"[01]{3}\d\d", flags):
            raise UserError(f"{path}: {where}: flags {flags!r}; expected five digits, such as 10000")
        approximate, no_map, combination, scenario, choice = map(int, flags)
        yield Mapping(source, target, bool(approximate), bool(no_map), bool(combination), scenario, choice)


def _read_text(path: Path) -> Iterator[tuple[str, str, str, str]]:
    number = 0
    with open_text(path) as file, reading(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            if match := _LINE.fullmatch(line.strip()):
                yield f"line {number}", match[1], match[2], match[3]
            elif line.strip():
                raise UserError(f"{path}: line {number} is not two codes and five flags, such as `0010  A000  00000`")


def _read_csv(path: Path) -> Iterator[tuple[str, str, str, str]]:
    for number, row in read_csv(path, ["flags"]):
        source, target = list(row.values())[:2]
        yield f"record {number}", source.strip(), target.strip(), row["flags"].strip()
