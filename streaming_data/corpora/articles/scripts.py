"""Superscripts, subscripts and MathML as plain text, so that `10<sup>9</sup>/l` is not 109/l.

In the style `marked` a raised number is written with a caret (`10^9/l`, `kg/m^2`, `10^-3`), and a lowered one with an
underscore where it follows a digit. Scripts that are read correctly without a mark stay as they are: CO2, Ca2+, 1st,
99mTc, VO2max.
"""

import re
from typing import Any, Literal

from lxml import etree

ScriptStyle = Literal["marked", "plain"]

# Noncharacters of Unicode, which no text has, stand for structure until a line is complete.
SUPERSCRIPT, SUBSCRIPT, END, CITATION, ANCHOR = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4"
MATHML = "{http://www.w3.org/1998/Math/MathML}"

_MARKS = re.compile(f"[{SUPERSCRIPT}{SUBSCRIPT}{END}]")
_NUMBER = r"\s*([-−–]?\d+(?:[./·]\d+)?)\s*"
# Each begins with a character, not with what must precede it, so that it is found fast.
_FRACTION = rf"\s*(\d+)\s*{END}\s*[/⁄∕]\s*{SUBSCRIPT}\s*(\d+)\s*{END}"
_MIXED_FRACTION = re.compile(rf"{SUPERSCRIPT}(?<=\d{SUPERSCRIPT}){_FRACTION}")
_PROPER_FRACTION = re.compile(rf"{SUPERSCRIPT}(?<![^\W\d_]{SUPERSCRIPT}){_FRACTION}")
_RAISED = re.compile(rf"{SUPERSCRIPT}(?<=[\w)\]}}]{SUPERSCRIPT}){_NUMBER}{END}")
_LOWERED = re.compile(rf"{SUBSCRIPT}(?<=\d{SUBSCRIPT}){_NUMBER}{END}")
_RAISED_LETTER = re.compile(
    rf"{SUPERSCRIPT}(?:(?<=[^\W\d_]{{3}}{SUPERSCRIPT})|(?<=[\d)\]]{SUPERSCRIPT}))\s*([a-z])\s*{END}"
)
# A mark before a word, as at the start of a footnote; `14C` is no such mark.
_BEFORE_WORD = re.compile(
    rf"{SUPERSCRIPT}(?<!\S{SUPERSCRIPT})([^\W\d_](?={END}\w)|[^{END}]+(?={END}[^\W\d_]{{3}})){END}"
)
_SIMPLE = re.compile(r"[-+−–±]?\w+|.?")
_NO_MATH = ("annotation", "annotation-xml", "mprescripts", "none", "mphantom")


def mark_scripts(root: Any) -> None:
    """Put marks around the text of each <sup> and <sub> below an element, for `write_scripts`."""
    for script in root.iter("sup", "sub"):
        mark_script(script)


def mark_script(script: Any) -> None:
    script.text = (SUPERSCRIPT if script.tag == "sup" else SUBSCRIPT) + (script.text or "")
    script.tail = END + (script.tail or "")


def write_scripts(text: str, style: ScriptStyle) -> str:
    """The text without marks: numbers that are powers or indices in the given style."""
    if SUPERSCRIPT not in text and SUBSCRIPT not in text and END not in text:
        return text
    text = _BEFORE_WORD.sub(r"\1 ", text)
    if style == "marked":
        text = _PROPER_FRACTION.sub(r"\1/\2", _MIXED_FRACTION.sub(r" \1/\2", text))
        text = _LOWERED.sub(r"_\1", _RAISED_LETTER.sub(r"^\1", _RAISED.sub(r"^\1", text)))
    return _MARKS.sub("", text)


def math_text(element: Any, style: ScriptStyle) -> str:
    """A formula of MathML on one line without spaces: `x^2`, `a/(b+c)`, `√(x)`; annotations are left out."""
    name = etree.QName(element).localname
    if name in _NO_MATH:
        return ""
    parts = [math_text(child, style) for child in element]
    match name, parts:
        case "msup" | "mover", [base, script]:
            return base + (_script("^", script, style) if name == "msup" else script)
        case "msub" | "munder", [base, script]:
            return base + _index(base, script, style)
        case "msubsup" | "munderover", [base, low, high]:
            return base + _index(base, low, style) + _script("^", high, style)
        case "mfrac", [above, below]:
            return f"{_grouped(above)}/{_grouped(below)}"
        case "msqrt", _:
            return f"√{_grouped(''.join(parts))}"
        case "mroot", [base, degree]:
            return f"{_grouped(base)}{_script('^', f'1/{degree}', style)}"
        case "mfenced", _:
            return (
                f"{element.get('open', '(')}{element.get('separators', ',')[:1].join(parts)}{element.get('close', ')')}"
            )
        case "mtr" | "mtd" | "mlabeledtr", _:
            return f" {' '.join(parts)} "
    tails = (part + _squeezed(child.tail) for part, child in zip(parts, element, strict=True))
    return _squeezed(element.text) + "".join(tails)


def _script(mark: str, script: str, style: ScriptStyle) -> str:
    """A script with its mark, unless it is a prime, a degree sign or the like."""
    return mark + _grouped(script) if style == "marked" and any(map(str.isalnum, script)) else script


def _index(base: str, script: str, style: ScriptStyle) -> str:
    return _script("_", script, style) if base[-1:].isdigit() and script[:1].isdigit() else script


def _grouped(formula: str) -> str:
    """In parentheses unless it is one symbol, one name or one number with its sign."""
    return formula if _SIMPLE.fullmatch(formula) else f"({formula})"


def _squeezed(text: str | None) -> str:
    return "".join((text or "").split())
