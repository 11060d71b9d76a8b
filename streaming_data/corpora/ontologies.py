"""Terms of a hierarchy: MeSH's tree and the Human Phenotype Ontology."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...configs.limits import CODE_FILE_BYTES, CODE_LINES, TooLargeError
from ..documents.archives import open_wanted, xml_root
from ..documents.bounded import read_at_once
from ..documents.files import decode_text, explain_read_errors
from .code_lists import HPO, MESH, check_code, first_lines, looks_like, second_description

EXPECTED_MESH = "MeSH's tree, `heading;tree number` in each line, as in NLM's mtrees2026.bin"
EXPECTED_HPO = "HPO's OBO file (hp.obo)"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Entry(NamedTuple):
    """A term; `category` is the group that it shares with the most similar terms."""

    code: str
    name: str
    category: str
    details: tuple[str, ...]


def read_mesh(path: Path) -> Iterator[Entry]:
    """The headings of MeSH's tree; details: the headings above each."""
    names = mesh_names(path)
    for code, name in names.items():
        parts = code.split(".")
        ancestors = [code[0], *(".".join(parts[:depth]) for depth in range(1, len(parts)))]
        hierarchy = " > ".join(names[parent] for parent in ancestors if parent in names and parent != code)
        yield Entry(code, name, ".".join(parts[:2]), (f"Hierarchy: {hierarchy}",) if hierarchy else ())


def mesh_names(path: Path) -> dict[str, str]:
    """Headings by tree number, from one `tree number<TAB>heading` or, as in NLM's `mtrees*.bin`, `heading;tree number`
    per line.
    """
    names: dict[str, str] = {}
    number = 0
    with open_wanted(path, mesh_rank, EXPECTED_MESH) as file, explain_read_errors(path, lambda: f"line {number}"):
        text = decode_text(path, read_at_once(file, CODE_FILE_BYTES, str(path)))
    for number, line in enumerate(text.splitlines(), start=1):
        if number > CODE_LINES:
            raise TooLargeError(f"{path}: more than {CODE_LINES:,} lines; expected MeSH's tree")
        entry = _mesh_entry(line)
        if entry is None:
            raise UserError(
                f"{path}: line {number} is not a tree number, a tab and a heading, nor a heading, a semicolon and "
                f"a tree number; expected {EXPECTED_MESH}{_other_mesh(line)}"
            )
        code, name = entry
        if names.setdefault(code, name) != name:
            raise second_description(f"{path}: line {number}", code)
    return names


def _mesh_entry(line: str) -> tuple[str, str] | None:
    """Tree number and heading; None for another line."""
    code, separator, name = line.strip().partition("\t")
    if not separator:
        name, separator, code = line.strip().rpartition(";")
    return (code, name) if separator and MESH.code.fullmatch(code) else None


def _other_mesh(line: str) -> str:
    """What another file of NLM is, by a line of it, for the message."""
    if line.startswith(("*NEWRECORD", "RECTYPE =")):
        return "; it is of NLM's descriptor records (d2026.bin)"
    if root := xml_root(line.encode()):
        return f"; it is XML, <{root}>"
    return f"; its code {look}" if (look := looks_like(line.partition(" ")[0], MESH)) else ""


def mesh_rank(start: bytes) -> int | None:
    lines = first_lines(start)
    return 0 if lines and all(map(_mesh_entry, lines)) else None


def hpo_rank(start: bytes) -> int | None:
    return 0 if start.startswith(b"format-version:") and b"\nid: HP:" in start else None


def read_hpo(path: Path) -> Iterator[Entry]:
    """The terms of an OBO file that are not obsolete; details: definition, synonyms and parents."""
    for fields in hpo_terms(path):
        if fields.get("is_obsolete") == ["true"]:
            continue
        parents = [parent.partition(" ! ")[2] for parent in fields.get("is_a", ())]
        details = [
            *(f"Definition: {text}" for text in map(unquoted, fields.get("def", ()))),
            *([f"Synonyms: {'; '.join(map(unquoted, fields['synonym']))}"] if "synonym" in fields else []),
            *([f"Is a: {'; '.join(parents)}"] if any(parents) else []),
        ]
        yield Entry(fields["id"][0], fields["name"][0], fields["id"][0], tuple(details))


def hpo_terms(path: Path) -> Iterator[dict[str, list[str]]]:
    """The terms of an OBO file, obsolete ones too: the values of each tag, of which `id` and `name` are there."""
    with open_wanted(path, hpo_rank, EXPECTED_HPO) as file, explain_read_errors(path, lambda: "its first terms"):
        text = decode_text(path, read_at_once(file, CODE_FILE_BYTES, str(path)))
    first = 1
    for term in text.replace("\r\n", "\n").split("\n["):
        lines = term.split("\n")
        position, first = f"{path}: line {first}", first + len(lines)
        if lines[0] != "Term]":
            continue
        fields: dict[str, list[str]] = {}
        for line in lines[1:]:
            key, colon, value = line.partition(": ")
            if colon:
                fields.setdefault(key, []).append(value)
        if "id" not in fields or "name" not in fields:
            raise UserError(f"{position}: a [Term] has no id or no name; expected a complete OBO file")
        check_code(fields["id"][0], f"{position}: a [Term] of {fields['id'][0].partition(':')[0]}", HPO)
        yield fields


def unquoted(value: str) -> str:
    """The text between the first quotes of a value; the value if there are none."""
    match = _QUOTED.match(value)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else value
