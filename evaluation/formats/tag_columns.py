"""Errors for lines that do not end in a tag: what is there instead, and where the tags are. They never show a token."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...configs.errors import UserError
from .tag_schemes import STYLES, find_style, parse_tag

_EXPECTED = "a token, a tab and O, B-TYPE or I-TYPE (or IOE, BIOES, BILOU; or B, I and O without a type)"
_PART_OF_SPEECH = re.compile(
    r"CC|CD|DT|EX|FW|IN|JJ[RS]?|LS|MD|NNP?S?|PDT|POS|PRP\$?|RB[RS]?|RP|SYM|TO|UH|VB[DGNPZ]?|WDT|WP\$?|WRB|"
    r"ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|VERB|X"
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_PARTS = re.compile(r"([^-_\s]+)[-_](\S+)")


def not_tags(path: Path, columns: Sequence[Sequence[str]]) -> UserError:
    """The error for a file whose last columns are no tags."""
    rows = [(number, row) for number, row in enumerate(columns, start=1) if row and not row[0].startswith("#")]
    if not rows:
        return UserError(f"{path}: no sentences; expected lines of a token, a tab and a tag")
    rows = [(number, row) for number, row in rows if row[0] != "-DOCSTART-"] or rows
    number, row = next((one for one in rows if not _is_tag(one[1][-1])), rows[0])
    return UserError(
        f"{path}: line {number:,} does not end in a tag: it {_seen(row)}, as in half of the lines or more; "
        f"expected {_EXPECTED}{_where_tags_are([row for _, row in rows])}"
    )


def misfit(path: Path, number: int, row: Sequence[str], style: str, columns: Sequence[Sequence[str]]) -> UserError:
    """The error for one line whose last column is no tag, in a file of tags."""
    seen = _seen(row)
    if len(row) > 1 and (tag := _shown(row[-1], style, columns)):
        seen = f"ends in {tag}"
    form = "" if style == "B-TYPE" else f"; the others have the form {style}"
    return UserError(f"{path}: line {number:,} does not end in a tag: it {seen}; expected {_EXPECTED}{form}")


def _seen(row: Sequence[str]) -> str:
    if len(row) == 1:
        return "has one column"
    last = row[-1]
    if _NUMBER.fullmatch(last):
        return f"has {len(row)} columns, the last with a number, such as an offset"
    if _PART_OF_SPEECH.fullmatch(last):
        return f"has {len(row)} columns, the last with a part of speech, {last}"
    return f"has {len(row)} columns, the last with something else ({len(last):,} characters)"


def _is_tag(value: str) -> bool:
    return any(parse_tag(value, style) for style in STYLES)


def _where_tags_are(rows: Sequence[Sequence[str]]) -> str:
    """The other column that has tags, for a message."""
    width = Counter(map(len, rows)).most_common(1)[0][0]
    full = [row for row in rows if len(row) == width]
    for column in range(width - 2, -1, -1):
        tags = Counter(row[column] for row in full)
        if (style := find_style(tags)) and any(tag != "O" and parse_tag(tag, style) for tag in tags):
            return f"; column {column + 1} of {width} has tags: make it the last"
    return ""


def _shown(tag: str, style: str, columns: Sequence[Sequence[str]]) -> str | None:
    """The value, if it has a type that other tags of the file have too, so that it cannot be a token."""
    types = {found.type for row in columns if len(row) > 1 and (found := parse_tag(row[-1], style))} - {""}
    parts = _PARTS.fullmatch(tag)
    known = tag in types or (parts and (parts[1] in types or parts[2] in types))
    return tag if known else None
