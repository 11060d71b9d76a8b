"""Offsets of spans, proven by the characters that a file says they cover.

Programs count differently: characters, bytes, UTF-16 units (JavaScript, Java), line ends as one or two characters, a
byte order mark or none. A wrong offset gives a wrong label and no error, so the covered characters are compared
wherever the file repeats them. Errors never show them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ....configs.errors import UserError
from .text import Span

_LONGEST_NUMBER = 12


class Mark(NamedTuple):
    """Pieces [start, end) of a text, and the characters that they cover according to the file; None: it does not say.

    Attributes:
        where: file and line, for errors.
    """

    pieces: Sequence[tuple[int, int]]
    covered: str | None
    where: str


def fitting_text(candidates: Sequence[str], marks: Sequence[Mark]) -> str:
    """The first of several readings of a file in which all marks are right; without one, the first."""
    return next((text for text in candidates if all(is_right(text, mark) for mark in marks)), candidates[0])


def check_mark(text: str, mark: Mark) -> None:
    """Raise UserError unless the pieces are in the text and cover what they should."""
    for start, end in mark.pieces:
        if not 0 <= start < end <= len(text):
            raise UserError(
                f"{mark.where}: characters {start:,} to {end:,} are not in the text, which has {len(text):,}"
                f"{_reason(text, mark)}; expected 0 <= start < end <= {len(text):,}"
            )
    if not is_right(text, mark):
        start, end = mark.pieces[0][0], mark.pieces[-1][1]
        raise UserError(
            f"{mark.where}: characters {start:,} to {end:,} of the text are not those that the annotation repeats"
            f"{_reason(text, mark)}; expected offsets in characters, from 0"
        )


def covering_span(mark: Mark, type: str) -> Span:
    """One span from the first to the last character of all pieces."""
    return Span(min(start for start, _ in mark.pieces), max(end for _, end in mark.pieces), type)


def from_utf16(text: str, offset: int) -> int:
    """The number of characters before an offset in UTF-16 units, which may be behind the text."""
    content = text.encode("utf-16-le")
    behind = max(0, offset - len(content) // 2)
    return len(content[: 2 * offset].decode("utf-16-le", "ignore")) + behind


def whole_number(value: Any, where: str, name: str) -> int:
    """A number that is not negative, as JSON or digits; UserError for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{where}: {name} is not a whole number from 0; expected an offset in characters")
    return value


def type_name(value: Any, where: str, name: str) -> str:
    """The type of a span: a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        kind = "empty" if isinstance(value, str) else f"of the type {type(value).__name__}"
        raise UserError(f"{where}: {name} is {kind}; expected the type of the span, such as Disease")
    return value.strip()


def is_right(text: str, mark: Mark) -> bool:
    """Whether the pieces are in the text and cover what they should, but for white space."""
    return all(0 <= start < end <= len(text) for start, end in mark.pieces) and (
        mark.covered is None or _solid("".join(text[start:end] for start, end in mark.pieces)) == _solid(mark.covered)
    )


def _solid(text: str) -> str:
    """The text without white space: formats write line breaks as spaces, join pieces with one or none, or trim."""
    return "".join(text.split())


def _reason(text: str, mark: Mark) -> str:
    """The other unit in which the offsets are right, if there is one."""
    if mark.covered is None:
        return ""
    for name, encoding, width in (("bytes", "utf-8", 1), ("UTF-16 units", "utf-16-le", 2)):
        content = text.encode(encoding, "replace")
        pieces = [content[width * start : width * end].decode(encoding, "replace") for start, end in mark.pieces]
        if _solid("".join(pieces)) == _solid(mark.covered):
            return f" (they are right if counted in {name})"
    shifted = [(start - 1, end - 1) for start, end in mark.pieces]
    if all(start >= 0 for start, _ in shifted) and is_right(text, Mark(shifted, mark.covered, "")):
        return " (they are right if counted from 1)"
    return ""
