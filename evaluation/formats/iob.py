"""IOB and CoNLL files: one token and its tag per line, an empty line between sentences."""

import re
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...streaming_data.documents.files import explain_read_errors, open_text

_TAG = re.compile(r"O|[BI]-\S+")


class Sentence(NamedTuple):
    """Words with one tag each, in IOB2: every entity begins with B-."""

    words: list[str]
    tags: list[str]


def read_iob(path: Path) -> list[Sentence]:
    """Read the sentences of a file. The first column is the token, the last its tag. IOB1 is converted to IOB2.

    Raises:
        UserError: a line has no tag, a tag has another scheme, or the file has no sentence.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; set `data` of the task to its directory")
    sentences: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate([*file, ""], start=1):
            columns = line.split("\t") if "\t" in line else line.split()
            columns = [column.strip() for column in columns]
            if not any(columns) or columns[0] == "-DOCSTART-":
                if words:
                    sentences.append(Sentence(words, _iob2(tags)))
                words, tags = [], []
                continue
            if len(columns) < 2 or not columns[0] or not _TAG.fullmatch(columns[-1]):
                raise UserError(
                    f"{path}: line {number} does not end in a tag; expected a token, a tab and O, B-TYPE or I-TYPE"
                )
            words.append(columns[0])
            tags.append(columns[-1])
    if not sentences:
        raise UserError(f"{path}: no sentences; expected lines of a token, a tab and a tag")
    return sentences


def _iob2(tags: list[str]) -> list[str]:
    """In IOB1 an entity begins with I- unless it follows another entity of the same type."""
    return [
        f"B{tag[1:]}" if tag.startswith("I") and before[1:] != tag[1:] else tag
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]
