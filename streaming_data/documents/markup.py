"""Texts that are not plain: notes exported as RTF or HTML, or as a document that is no text at all.

A model that is trained on markup learns the markup. A source of notes therefore refuses such texts, unless its `clean`
lists the step that converts them.
"""

import html
import re
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from ...configs.errors import UserError
from ...configs.limits import MARKUP_CHARACTERS, TooLargeError

Kind: TypeAlias = Literal["RTF", "HTML", "XML", "an encoded file"]

CONVERTED_BY: "dict[Kind, str]" = {"RTF": "rtf", "HTML": "html"}
"""The cleaning step that converts a kind; the others must be converted before."""

RTF_START = "{\\rtf"
# Names that no note uses in angle brackets for something else, as it may use <address>, <time>, <map> or <section>.
_NAMES = (
    "html|body|div|span|p|br|hr|pre|table|tbody|thead|tr|td|th|ul|ol|li|dl|dt|dd|font|center|b|i|u|em|strong|sub|sup"
    "|h[1-6]|a|img"
)
_ATTRIBUTES = r"""(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'|[^\s"'<>]+))*"""
TAG = re.compile(rf"<(/?)({_NAMES}){_ATTRIBUTES}\s*/?>", re.IGNORECASE)
"""A tag as programs write it: `<br/>` or `<td class="x">`, but neither `<5 mg`, `<b and c>` nor `<ADDRESS>`."""

# A comment is spelled so that there is one way to match it; with `.*?` the time would be exponential in their number.
COMMENT = r"<!--[^-]*(?:-(?!->)[^-]*)*-->"
_HTML_START = re.compile(rf"\s*(?:<\?xml[^>]*>\s*)?(?:{COMMENT}\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_XML_START = re.compile(r"\s*(?:<\?xml\s|<(?:\w+:)?ClinicalDocument\b)")
# RTF, PDF and Office files as bytes, base64 or hexadecimal digits.
_ENCODED = ("e1xydGY", "7B5C727466", "7b5c727466", "0x7B5C", "0x7b5c", "%PDF-", "JVBERi0", "PK\x03\x04", "UEsDB")
_MANY_TAGS = 3
_MAX_COUNTED = 10_000


def find_markup(text: str) -> Kind | None:
    """What a text is if it is not plain. A single `<br>`, `BP < 120` or `{x}` is plain text."""
    if RTF_START in text:
        return "RTF"
    if text.startswith(_ENCODED):
        return "an encoded file"
    tagged = unescape_tags(text)
    if "<" not in tagged:
        return None
    if _HTML_START.match(tagged):
        return "HTML"
    if _XML_START.match(tagged):
        return "XML"
    return "HTML" if _has_tags(tagged) else None


def check_markup(text: str, kind: Kind) -> None:
    """Raise TooLargeError if a text is too long to be converted."""
    if len(text) > MARKUP_CHARACTERS:
        raise TooLargeError(
            f"{kind} of {len(text):,} characters; at most {MARKUP_CHARACTERS:,} are converted: remove its pictures, or "
            "extract its text before"
        )


def unescape_tags(text: str) -> str:
    """The text with its entities decoded if all its angle brackets are entities: HTML that was escaped once more."""
    return html.unescape(text) if "&lt;" in text and "<" not in text else text


def _has_tags(text: str) -> bool:
    """Whether the text has an opening and the closing tag of one name, or many tags such as `<br>`."""
    opened: set[str] = set()
    for number, match in enumerate(TAG.finditer(text), start=1):
        if number == _MANY_TAGS or (match[1] and match[2].lower() in opened):
            return True
        if not match[1]:
            opened.add(match[2].lower())
    return False


def unconverted_markup(text: str, steps: Collection[str]) -> Kind | None:
    """What a text is, unless it is plain or one of the cleaning `steps` converts it."""
    kind = find_markup(text)
    return None if kind is None or CONVERTED_BY.get(kind) in steps else kind


def markup_refused(path: Path, position: str, kind: Kind, rest: Iterable[str], steps: Collection[str]) -> UserError:
    """The error for a file whose text at `position` is of the `kind`; counts those in the `rest`, up to a limit."""
    kinds = [kind]
    total = 0
    for text in islice(rest, _MAX_COUNTED):
        total += 1
        if found := unconverted_markup(text, steps):
            kinds.append(found)
    others = f" (and {len(kinds) - 1:,} of the next {total:,})" if total else ""
    names = [name for name in ("RTF", "HTML", "XML", "an encoded file") if name in kinds]
    missing = [step for name in names if (step := CONVERTED_BY.get(name))]
    advice = [f"to convert, list `{'`, `'.join(missing)}` in `clean` of this source"] if missing else []
    if len(missing) < len(names):
        advice.append("extract the text of XML, PDF or Office files before")
    return UserError(f"{path}: the text of {position}{others} is {' or '.join(names)}, not plain; {'; '.join(advice)}")
