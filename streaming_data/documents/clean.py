"""Text cleaning: convert RTF and HTML, fix broken encodings, remove control characters and publishers' phrases.

A recipe chooses steps by name. They run in the order given here, and each counts the documents that it changes. No step
changes line breaks, spaces or `___` of plain text, which are the structure of a note. `deidentify` runs after all of
them, where the patient is known (`deidentify/replace.py`).
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Literal
from unicodedata import combining, normalize

from ftfy import TextFixerConfig, fix_text
from ftfy.chardata import CHARMAP_ENCODINGS, UTF8_CLUES

from ...configs.limits import TooLargeError
from .html_text import convert_html
from .rtf import convert_rtf

CleaningStep = Literal["rtf", "html", "encoding", "control_characters", "boilerplate", "deidentify"]

# Quotes and wide characters stay as written; ftfy's other steps repair broken text. Control characters are left to the
# next cleaning step, which can be chosen on its own.
_FTFY = TextFixerConfig(uncurl_quotes=False, fix_character_width=False, remove_control_chars=False)
_FTFY_IN_MARKUP = _FTFY._replace(unescape_html=False)
# ftfy changes nothing in text without a match of one of these, or in normal form without one of the second (compiled
# below). A multi-byte character that was decoded wrongly appears as several characters, among which a no-break space
# may have become a space. Ligatures are replaced one by one.
_ALONE = "(?<=[\x80-\x9f\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u2028\u2029\ufb00-\ufb06])"
_MAY_BE_BROKEN = re.compile(f"[\x80-\U0010ffff](?:[\x80-\U0010ffff]|(?<=[\u00c2-\u00f4]) |{_ALONE})")
_ENTITY = re.compile("&#?[0-9A-Za-z]{1,24};")
_LINES = re.compile("[^\n]*\n|[^\n]+")
_MOST_MARKS = 1_000
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
_ASCII_CONTROL = bytes([*range(9), 11, *range(14, 32), 127])  # those of _CONTROL; a table is faster than a pattern
# Phrases that publishers append to abstracts, at line ends only; each occurs many times in PubMed.
_HINTS = ("©", "opyright", "eserved", "TRUNCATED")
_BOILERPLATE = re.compile(
    r"""(?<![ \t])[ \t]*(?:
      This\ article\ is\ protected\ by\ copyright\.?(?:\ All\ rights\ reserved\.?)?
    | \(PsycInfo\ Database\ Record\ \(c\)\ \d{4}\ APA,\ all\ rights\ reserved\)\.?
    | (?:Copyright\s?)?(?:©|Copyright\ \([cC]\))\s?(?:Copyright\s?)?(?:19|20)\d\d\b[^\n©]{0,200}?(?<![ \t])
    | All\ rights\ reserved\.?
    | \(ABSTRACT\ TRUNCATED(?:\ AT\ \d+\ WORDS)?\)\.?
    )[ \t]*$""",
    re.VERBOSE | re.MULTILINE,
)


def clean(text: str, steps: Collection[CleaningStep], changed: "Counter[str]") -> str:
    """The text after the chosen steps; `changed` counts the steps that changed it."""
    for name, step in _STEPS.items():
        if name in steps and (cleaned := step(text)) != text:
            changed[name] += 1
            text = cleaned
    return text


def _fix_encoding(text: str) -> str:
    """Fix doubly encoded text, HTML entities, ligatures and CR LF; apply NFC. The slow ftfy sees lines that need it.

    As ftfy has it, entities stay as written from the first line with a "<" on.
    """
    # A run of so many characters includes one of those that are so far apart.
    if not text.isascii() and any(map(combining, text[::_MOST_MARKS])) and _many_marks().search(text):
        raise TooLargeError(f"{_MOST_MARKS:,} combining characters in a row, which are no text")
    if not _may_change(text):
        return normalize("NFC", text)
    markup = text.find("<")
    with_markup = len(text) if markup < 0 else text.rfind("\n", 0, markup) + 1
    return "".join(
        fix_text(line, _FTFY if match.start() < with_markup else _FTFY_IN_MARKUP)
        if _may_change(line := match[0])
        else normalize("NFC", line)
        for match in _LINES.finditer(text)
    )


def _may_change(text: str) -> bool:
    """Whether ftfy may change the text, beyond its normal form."""
    return (
        "\r" in text
        or "\x1b" in text
        or ("&" in text and _ENTITY.search(text) is not None)
        or (not text.isascii() and _may_be_broken(text))
    )


def _may_be_broken(text: str) -> bool:
    composed = normalize("NFC", text)
    is_plain = composed == text and "\ufffd" not in text and "\x1a" not in text
    return _broken_sequences().search(composed) is not None or not (is_plain or _MAY_BE_BROKEN.search(text) is None)


@cache
def _broken_sequences() -> re.Pattern[str]:
    """As `_MAY_BE_BROKEN`, but the two characters must be the start of one in some encoding: ftfy's own search takes a
    hundred times as long, and Greek letters in a row or a space after an accent are common.
    """
    starts = [_decoded(encoding, range(0xC0, 0xF5)) for encoding in CHARMAP_ENCODINGS]
    following = [_decoded(encoding, range(0x80, 0xC0)) for encoding in CHARMAP_ENCODINGS]
    starts.append("".join(UTF8_CLUES[f"utf8_first_of_{length}"] for length in (2, 3, 4)))
    following.append(UTF8_CLUES["utf8_continuation"].replace(" ", ""))
    pairs = "|".join(f"(?<=[{start}])[{after}]" for start, after in zip(starts, following, strict=True))
    before_space = "".join(_decoded(encoding, [0xE2, 0xE3, 0xF0]) for encoding in CHARMAP_ENCODINGS)
    spaces = f"(?<=[\xc2\xc3\xc5\xce\xd0\xd9]) |(?<=[{before_space}]) (?=[\x80-\U0010ffff])"
    return re.compile(f"[\x80-\U0010ffff](?:{pairs}|{spaces}|[?]|(?<=[\ud800-\udbff])[\udc00-\udfff]|{_ALONE})")


def _decoded(encoding: str, characters: Iterable[int]) -> str:
    return bytes(characters).decode(encoding)


@cache
def _many_marks() -> re.Pattern[str]:
    """Matches combining characters in a row, on which Unicode's normal form takes quadratic time."""
    marks = "".join(chr(code) for code in range(0x300, 0x1E94B) if combining(chr(code)))
    return re.compile(f"[{marks}]{{{_MOST_MARKS}}}")


def _remove_control_characters(text: str) -> str:
    if text.isascii() and len(text.encode().translate(None, _ASCII_CONTROL)) == len(text):
        return text
    return _CONTROL.sub("", text)


def _remove_boilerplate(text: str) -> str:
    return _BOILERPLATE.sub("", text) if any(hint in text for hint in _HINTS) else text


_STEPS: dict[CleaningStep, Callable[[str], str]] = {
    "rtf": convert_rtf,
    "html": convert_html,
    "encoding": _fix_encoding,
    "control_characters": _remove_control_characters,
    "boilerplate": _remove_boilerplate,
}
