"""Making text what its author wrote: broken encodings mended, control characters and publishers' phrases taken away.

Each step is chosen by name in the recipe, in the order given here, and counts the documents that it changes. None of
them touches line breaks, blanks or `___`: they are the structure of a note.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection
from typing import Literal
from unicodedata import normalize

from ftfy import TextFixerConfig, fix_text

CleaningStep = Literal["encoding", "control_characters", "boilerplate"]

# Quotes and wide characters stay as they were written; the other steps of ftfy undo damage. Its control characters are
# removed by the next step, which may be chosen alone.
_FTFY = TextFixerConfig(uncurl_quotes=False, fix_character_width=False, remove_control_chars=False)
# Where there is nothing of this ftfy does nothing. A character of several bytes, wrongly decoded, is several
# characters, of which a no-break space may have become a blank.
_MAY_BE_BROKEN = re.compile(
    "[\x80-\U0010ffff](?:[\x80-\U0010ffff]|(?<=[\u00c2-\u00f4]) |(?<=[\x80-\x9f\u2028\u2029\ufb00-\ufb06]))"
)
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
# What publishers add to an abstract, at the end of a line only, each seen in PubMed many times.
_HINTS = ("©", "opyright", "eserved", "TRUNCATED")
_BOILERPLATE = re.compile(
    r"""[ \t]*(?:
      This\ article\ is\ protected\ by\ copyright\.?(?:\ All\ rights\ reserved\.?)?
    | \(PsycInfo\ Database\ Record\ \(c\)\ \d{4}\ APA,\ all\ rights\ reserved\)\.?
    | (?:Copyright\s?)?(?:©|Copyright\ \([cC]\))\s?(?:Copyright\s?)?(?:19|20)\d\d\b[^\n©]{0,200}?
    | All\ rights\ reserved\.?
    | \(ABSTRACT\ TRUNCATED(?:\ AT\ \d+\ WORDS)?\)\.?
    )[ \t]*$""",
    re.VERBOSE | re.MULTILINE,
)


def clean(text: str, steps: Collection[CleaningStep], changed: "Counter[str]") -> str:
    """The text after the steps; `changed` counts those that changed it."""
    for name, step in _STEPS.items():
        if name in steps and (cleaned := step(text)) != text:
            changed[name] += 1
            text = cleaned
    return text


def _mend_encoding(text: str) -> str:
    """Doubly encoded text, HTML entities, ligatures, CR LF, and Unicode's NFC: see ftfy, which is slow."""
    if "&" in text or "\r" in text or (not text.isascii() and _MAY_BE_BROKEN.search(text)):
        return fix_text(text, _FTFY)
    return normalize("NFC", text)


def _drop_control_characters(text: str) -> str:
    return _CONTROL.sub("", text)


def _drop_boilerplate(text: str) -> str:
    return _BOILERPLATE.sub("", text) if any(hint in text for hint in _HINTS) else text


_STEPS: dict[CleaningStep, Callable[[str], str]] = {
    "encoding": _mend_encoding,
    "control_characters": _drop_control_characters,
    "boilerplate": _drop_boilerplate,
}
