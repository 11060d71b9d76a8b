"""Terms of a hierarchy: MeSH's tree and the Human Phenotype Ontology."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...configs.limits import CODE_FILE_BYTES, CODE_LINES, HEADER_CHARACTERS, TooLargeError
from ..documents.bounded import bounded_lines
from ..documents.files import explain_read_errors, open_text

_TREE_NUMBER = re.compile(r"[A-Z](?:\d\d(?:\.\d{3})*)?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Entry(NamedTuple):
    """A term; `category` is the group that it shares with the most similar terms."""

    code: str
    name: str
    category: str
    details: tuple[str, ...]


def read_mesh(path: Path) -> Iterator[Entry]:
    """One `tree number<TAB>heading` or, as in NLM's `mtrees*.bin`, `heading;tree number` per line.

    Details: the headings above the term.
    """
    names: dict[str, str] = {}
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(bounded_lines(path, file, HEADER_CHARACTERS), start=1):
            if number > CODE_LINES:
                raise TooLargeError(f"{path}: more than {CODE_LINES:,} lines; expected MeSH's tree")
            code, separator, name = line.strip().partition("\t")
            if not separator:
                name, separator, code = line.strip().rpartition(";")
            if not separator or not _TREE_NUMBER.fullmatch(code):
                raise UserError(
                    f"{path}: line {number} is not a tree number, a tab and a heading, nor a heading, a semicolon and "
                    "a tree number"
                )
            names[code] = name
    for code, name in names.items():
        parts = code.split(".")
        ancestors = [code[0], *(".".join(parts[:depth]) for depth in range(1, len(parts)))]
        hierarchy = " > ".join(names[parent] for parent in ancestors if parent in names and parent != code)
        yield Entry(code, name, ".".join(parts[:2]), (f"Hierarchy: {hierarchy}",) if hierarchy else ())


def read_hpo(path: Path) -> Iterator[Entry]:
    """The terms of an OBO file that are not obsolete; details: definition, synonyms and parents."""
    with open_text(path) as file, explain_read_errors(path, lambda: "its first terms"):
        text = file.read(CODE_FILE_BYTES + 1)
        if len(text) > CODE_FILE_BYTES:
            raise TooLargeError(f"{path}: more than {CODE_FILE_BYTES:,} characters; expected an OBO file of terms")
        terms = text.replace("\r\n", "\n").split("\n[")
    for term in terms:
        if not term.startswith("Term]"):
            continue
        fields: dict[str, list[str]] = {}
        for line in term.split("\n")[1:]:
            key, colon, value = line.partition(": ")
            if colon:
                fields.setdefault(key, []).append(value)
        if "id" not in fields or "name" not in fields:
            raise UserError(f"{path}: a [Term] has no id or no name; expected a complete OBO file")
        if fields.get("is_obsolete") == ["true"]:
            continue
        parents = [parent.partition(" ! ")[2] for parent in fields.get("is_a", ())]
        details = [
            *(f"Definition: {text}" for text in map(_unquoted, fields.get("def", ()))),
            *([f"Synonyms: {'; '.join(map(_unquoted, fields['synonym']))}"] if "synonym" in fields else []),
            *([f"Is a: {'; '.join(parents)}"] if any(parents) else []),
        ]
        yield Entry(fields["id"][0], fields["name"][0], fields["id"][0], tuple(details))


def _unquoted(value: str) -> str:
    match = _QUOTED.match(value)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else value
