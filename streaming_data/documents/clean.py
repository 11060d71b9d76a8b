"""Text cleaning: convert RTF and HTML, fix broken encodings, remove control characters and publishers' phrases.

A recipe chooses steps by name. They run in the order given here, and each counts the documents that it changes. No step
changes line breaks, spaces or `___` of plain text, which are the structure of a note.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection
from functools import cache
from typing import Literal
from unicodedata import combining, normalize

from ftfy import TextFixerConfig, fix_text

from ...configs.limits import TooLargeError
from .html_text import convert_html
from .rtf import convert_rtf

CleaningStep = Literal["rtf", "html", "encoding", "control_characters", "boilerplate"]

# Quotes and wide characters stay as written; ftfy's other steps repair broken text. Control characters are left to the
# next cleaning step, which can be chosen on its own.
_FTFY = TextFixerConfig(uncurl_quotes=False, fix_character_width=False, remove_control_chars=False)
_FTFY_IN_MARKUP = _FTFY._replace(unescape_html=False)
# ftfy changes nothing in text without a match of this. A multi-byte character that was decoded wrongly appears as
# several characters, among which a no-break space may have become a space. Ligatures are replaced one by one.
_MAY_BE_BROKEN = re.compile(
    "[\x80-\U0010ffff](?:[\x80-\U0010ffff]|(?<=[\u00c2-\u00f4]) "
    "|(?<=[\x80-\x9f\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u2028\u2029\ufb00-\ufb06]))"
)
_ENTITY = re.compile("&#?[0-9A-Za-z]{1,24};")
_LINES = re.compile("[^\n]*\n|[^\n]+")
_MOST_MARKS = 1_000
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
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
        or (not text.isascii() and _MAY_BE_BROKEN.search(text) is not None)
    )


@cache
def _many_marks() -> re.Pattern[str]:
    """Matches combining characters in a row, on which Unicode's normal form takes quadratic time."""
    marks = "".join(chr(code) for code in range(0x300, 0x1E94B) if combining(chr(code)))
    return re.compile(f"[{marks}]{{{_MOST_MARKS}}}")


def _remove_control_characters(text: str) -> str:
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
