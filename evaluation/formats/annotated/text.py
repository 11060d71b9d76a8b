"""Texts with annotated spans, whatever file they came from, and what all formats have in common."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ....configs.errors import UserError

logger = logging.getLogger(__name__)

_SPACES = re.compile(r"\s+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Span(NamedTuple):
    """Characters [start, end) of a text, and their type."""

    start: int
    end: int
    type: str


class Relation(NamedTuple):
    """A relation between two spans of a text, given by their indices."""

    type: str
    first: int
    second: int


class AnnotatedText(NamedTuple):
    """A text and its spans.

    Attributes:
        id: unique in what was read; of a file per document its path without suffix, relative to the directory.
        words: the characters [start, end) of each word, if the format has words; None for free text.
        where: file and line, record or document, for errors.
        relations: those between spans, if the format has them.
    """

    id: str
    text: str
    spans: Sequence[Span]
    words: Sequence[tuple[int, int]] | None = None
    where: str = ""
    relations: Sequence[Relation] = ()


class Columns(NamedTuple):
    """Columns of a table, or keys of JSON; without a name, the usual names are looked for.

    Attributes:
        text: has the text.
        id: has an identifier of the text.
        spans: has its spans, as lists `[start, end, type]` or objects.
    """

    text: str = "text"
    id: str | None = None
    spans: str | None = None


def pair_with_source(
    texts: Sequence[AnnotatedText], originals: Sequence[AnnotatedText], source: Path
) -> Iterator[tuple[AnnotatedText, AnnotatedText]]:
    """Each text with that of the source that it came from; UserError if the source has other texts."""
    if len(texts) != len(originals):
        raise UserError(f"{source}: has {len(originals):,} texts, not the {len(texts):,} to be written; read it again")
    for text, original in zip(texts, originals, strict=True):
        if text.text != original.text:
            raise UserError(f"{original.where}: this is not the text to be written; read the source again")
        yield text, original


def single_token(name: str) -> str:
    """A type as formats need it in which white space ends a name: `Adverse event` becomes `Adverse_event`."""
    return _SPACES.sub("_", name.strip())


def single_line(text: str) -> str:
    """The text with one space for each character of white space, so that it fits into a line and a column."""
    return _SPACES.sub(lambda match: " " * len(match[0]), text)


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which JSON can hold and UTF-8 cannot."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def report(path: Path, counts: Counter[str]) -> None:
    """Log what a file has that is left out or changed."""
    if found := [f"{count:,} {kind}" for kind, count in counts.items() if count]:
        logger.warning(f"{path}: {'; '.join(found)}")
