"""RTF to plain text, by striprtf, with what it leaves to its caller."""

import re
import sys
from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from ...configs.errors import UserError
from ...configs.limits import TooLargeError
from .markup import RTF_START, check_markup

_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What striprtf would write as a vertical bar, or fail at: a number that is missing or is no character.
_REWRITTEN = re.compile(
    r"(?P<backslash>\\\\)|(?P<cell>\\(?:nest)?cell(?![a-z]))|(?P<skip>\\uc(?!-?\d|[a-zA-Z]))|(?P<binary>\\bin(?!\d))"
    r"|\\u(?P<character>-?\d+)"
)
_REPLACEMENTS = {"backslash": r"\'5c", "cell": r"\tab", "skip": r"\uc1", "binary": r"\b"}
_FONT_TABLE = re.compile(r"\{[^{}]*\\fonttbl")
_FONT, _CHARSET = re.compile(r"\\f(\d{1,9})(?!\d)"), re.compile(r"\\fcharset(\d{1,3})(?!\d)")
_MAX_LINKS = 1_000
_SPACES = str.maketrans({"\u00a0": " ", "\u2011": "-", "\u00ad": None})


def convert_rtf(text: str) -> str:
    """The text with each RTF document in it as plain text: one line per paragraph and table row, tabs between cells.

    Left out are what a page repeats or does not show: headers, footers, comments, pictures, field codes.
    """
    if RTF_START not in text:
        return text
    check_markup(text, "RTF")
    parts = (_convert(part) if part.startswith(RTF_START) else part.strip("\r\n") for part in _parts(text))
    return "\n".join(part for part in parts if part.strip())


def _parts(text: str) -> Iterator[str]:
    """RTF documents and the text around them, in order."""
    end = 0
    while (start := text.find(RTF_START, end)) >= 0:
        yield text[end:start]
        end = _group_end(text, start)
        yield text[start:end]
    yield text[end:]


def _group_end(text: str, start: int) -> int:
    depth = 0
    for match in _ESCAPE_OR_BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0 and match[0] == "}":
            return match.end()
    return len(text)  # cut off by the width of a column


def _convert(document: str) -> str:
    rewritten = _REWRITTEN.sub(_rewritten, document.replace("\r\n", "\n"))
    if rewritten.count("HYPERLINK") > _MAX_LINKS:  # for which striprtf's search takes quadratic time
        raise TooLargeError(f"RTF with more than {_MAX_LINKS:,} hyperlinks")
    try:
        text = rtf_to_text(_with_plain_font_table(rewritten), errors="replace")
    except (ValueError, LookupError, TypeError, OverflowError) as error:  # numbers that are none, unknown code pages
        raise UserError(f"RTF that is damaged ({type(error).__name__}); extract its text before") from error
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")  # \uN is UTF-16
    lines = (line.rstrip("\t ") for line in text.translate(_SPACES).split("\n"))
    return "\n".join(lines).strip("\n")


def _with_plain_font_table(document: str) -> str:
    """The document with a font table of numbers and character sets only.

    striprtf's own search takes cubic time in a table that is damaged, and gives a font without a character set that of
    the next one.
    """
    start = _FONT_TABLE.search(document)
    if start is None:
        return document
    end = _group_end(document, start.start())
    fonts = [(_FONT.search(entry), _CHARSET.search(entry)) for entry in document[start.end() : end].split(";")]
    entries = (f"{{\\f{font[1]}\\fcharset{charset[1]} a;}}" for font, charset in fonts if font and charset)
    return f"{document[: start.end()]}{''.join(entries)}}}{document[end:]}"


def _rewritten(match: "re.Match[str]") -> str:
    if number := match["character"]:
        return match[0] if -0x10000 <= int(number[:12]) <= sys.maxunicode else r"\u65533"
    return _REPLACEMENTS[match.lastgroup or ""]
