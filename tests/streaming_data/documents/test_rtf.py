"""RTF to text: any text that is written as RTF, in any of the ways that RTF has, comes back."""

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.documents.rtf import convert_rtf

CODE_PAGES = ("1252", "1250", "1251", "932")
HIDDEN = (
    r"{\*\generator GONE;}",
    r"{\header GONE\par}",
    r"{\info{\author GONE}{\title GONE}}",
    r"{\pict\wmetafile8 474f4e45}",
    r"{\stylesheet{\s1 GONE;}}",
    r"{\*\bkmkstart GONE}",
    r"{\field{\*\fldinst GONE}{\fldrslt }}",
)
FORMATS = (r"\b ", r"\b0 ", r"\f0\fs20 ", r"\cf1 ", r"\pard\plain ", "\r\n", "\n")
# Spaces and hyphens that do not break become ordinary ones.
CHARACTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="\u2011")
WORDS = st.lists(st.text(CHARACTERS, min_size=1, max_size=8), max_size=5)
LINES = st.lists(WORDS.map(" ".join), min_size=1, max_size=6)
FRAGMENTS = [*"\\{}'*u;- \n5a", "\\u", "\\uc", "\\bin", "\\pict", "\\'f", "\\u99999999", "\\cell"]


def written(draw: st.DrawFn, character: str, page: str) -> str:
    if character in "\\{}":
        return draw(st.sampled_from([f"\\{character}", f"\\'{ord(character):02x}"]))
    if character.isascii():
        return character
    encoded = character.encode(f"cp{page}", "replace")
    if encoded.decode(f"cp{page}") == character and draw(st.booleans()):
        return "".join(draw(st.sampled_from([f"\\'{byte:02x}", f"\\'{byte:02X}"])) for byte in encoded)
    skip, fallback = draw(st.sampled_from([("", "?"), (r"\uc0", ""), (r"\uc2 ", r"\'3f?")]))
    units = [unit for (unit,) in struct.iter_unpack(draw(st.sampled_from("Hh")), character.encode("utf-16-le"))]
    return "{" + skip + "".join(f"\\u{unit} {fallback}" for unit in units) + "}"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str]:
    """A text and an RTF document of it."""
    lines = draw(LINES)
    page = draw(st.sampled_from(CODE_PAGES))
    parts = [rf"{{\rtf1\ansi\ansicpg{page}\deff0{{\fonttbl{{\f0\fswiss Arial;}}}}{{\colortbl ;\red0\green0\blue0;}}"]
    for number, line in enumerate(lines):
        if number:
            parts.append(draw(st.sampled_from(["\\par\n", r"\line ", "\\\r\n"])))
        for word in line.split(" "):
            depth = draw(st.integers(0, 2))
            parts.append("{" * depth + draw(st.sampled_from(FORMATS)) + draw(st.sampled_from(("", *HIDDEN))))
            parts += [written(draw, character, page) for character in word]
            parts.append("}" * depth + " ")
        parts.pop()
        parts.append("}" * depth)
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    return text, "".join(parts) + "}"


@given(documents())
def test_any_text_comes_back(document: tuple[str, str]) -> None:
    text, rtf = document
    assert convert_rtf(rtf) == text


@given(documents(), documents(), st.text(st.sampled_from("ab <&"), max_size=9).map(str.strip))
def test_documents_between_plain_text(one: tuple[str, str], two: tuple[str, str], plain: str) -> None:
    expected = "\n".join(part for part in (plain, one[0], two[0]) if part.strip())
    assert convert_rtf(plain + one[1] + two[1]) == expected


@given(st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_any_rest_of_a_document_is_read(rest: str) -> None:
    assert "{\\rtf" not in convert_rtf("{\\rtf1" + rest)


@given(st.lists(st.sampled_from([*"{}\\ \nabc", "\\par", "{rtf", "\\rt"])).map("".join))
def test_other_text_is_unchanged(text: str) -> None:
    assert convert_rtf(text) == text


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (r"\trowd\cellx9 Drug\cell Dose\cell\row\trowd ASA\cell 5\cell\row end", "Drug\tDose\nASA\t5\nend"),
        (r"{\listtext\'b7\tab}one\par{\listtext\'b7\tab}two", "·\tone\n·\ttwo"),
        (r"5\~mg\emdash x\tab y", "5 mg—x\ty"),
        (r"a\\cell b", r"a\cell b"),
        (r"cut off \'e9\'e", "cut off ée"),
        (r"\pard PLAN\par\par 1. rest\par", "PLAN\n\n1. rest"),
    ],
)
def test_structure(rtf: str, text: str) -> None:
    assert convert_rtf(r"{\rtf1\ansi " + rtf + "}") == text
    assert convert_rtf(r"{\rtf1\ansi " + rtf) == text


def test_fonts_have_their_own_character_set_only() -> None:
    table = r"{\fonttbl{\f0\fnil Arial;}{\f1\fnil\fcharset204{\*\falt Times} Arial Cyr;}}"
    assert convert_rtf(rf"{{\rtf1\ansi\ansicpg1252{table}\f0 caf\'e9 \f1 \'cf\'f0}}") == "café Пр"


@pytest.mark.parametrize("damage", ["0" * 100_000, "\\" * 100_000, r"\f0\fcharset0 x" * 300, "{" * 50_000])
def test_a_damaged_font_table_takes_no_longer(damage: str) -> None:
    started = time.process_time()
    convert_rtf(rf"{{\rtf1\ansi{{\fonttbl{{\f0{damage}\fcharset0 Arial;}}}}\f0 BP 120/80}}")
    assert time.process_time() - started < 5
