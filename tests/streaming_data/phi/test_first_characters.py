"""Matches are those of `finditer`, in every text of a batch, whatever the pattern."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.phi import first_characters, patterns
from clinical_modernbert.streaming_data.phi.first_characters import Searcher, heads_of

FRAGMENTS = [
    *(
        "Dr",
        ". ",
        "Smith",
        "MRN",
        "Medical Record Number",
        "#",
        ": ",
        "12345",
        "90",
        "-year-old",
        " y/o",
        "Jan",
        "MAY ",
    ),
    *(
        "3",
        "/",
        "-",
        ".",
        " ",
        "\n",
        "(617) ",
        "555",
        "www.",
        "http://a.b",
        "//www.x",
        "@",
        "a.b",
        "NY ",
        "10 ",
        "Main ",
    ),
    *("Street", ", MD", "É", "中文", "٣", "²", "?", "\u2019", "\x00", "Name:", "M", "Unit No", "1999", "ſ", "İ"),
]
TEXTS = st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join), max_size=6)
OTHERS = [
    *(
        r"ab?c",
        r"(?i:st|ſ)x?",
        r"\d{2,}[a-z]*",
        r"[^a-z]b",
        r"(?:a|bc|def|g.)\d",
        r"x*y",
        r"(?<!a)b\b",
        r"\w+\s",
        r"é+\d",
    ),
    *(r"(a)(?(1)b|c)", r"", r"a|", r"(?:ab){2}c", r"[\W\d]a", r"(?i)k\d", r"日本?"),
]


@pytest.fixture(autouse=True)
def small_batches_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_characters, "_FEW", 0)


@settings(max_examples=300, deadline=None)
@given(texts=TEXTS)
@example(texts=["Dr. Smith" + "." * 400 + "MRN 123456", "", "٣/٣/1999 " + "中" * 90 + "12/24/1999", "x" * 99 + "M"])
def test_identifiers_are_those_of_every_pattern(texts: list[str]) -> None:
    worded = [(kind, pattern) for kind, pattern in patterns._PATTERNS]
    for text, found in zip(texts, patterns._find_us_forms(texts), strict=True):
        expected = [
            (str(match.lastgroup), match.start(), match.end())
            for run in patterns._DIGIT_RUN.finditer(text)
            for match in patterns._IN_DIGIT_RUN.finditer(text, run.start(), run.end())
        ]
        expected += [(kind, *match.span()) for kind, pattern in worded for match in pattern.finditer(text)]
        assert [tuple(one) for one in found] == expected


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(st.text("abcdefgkxyBKS.st0123é² ſ日本\n?", max_size=40), max_size=4), dense=st.sampled_from([1, 32])
)
def test_other_patterns(texts: list[str], dense: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_characters, "_DENSE", dense)
        patch.setattr(first_characters, "_LONG", 30)
        for pattern in map(re.compile, OTHERS):
            found = [(number, *match.span()) for number, match in Searcher(texts).find(pattern, heads_of(pattern))]
            assert sorted(found, key=lambda one: one[0]) == [
                (number, *match.span()) for number, text in enumerate(texts) for match in pattern.finditer(text)
            ]


def test_all_patterns_of_the_audit_are_understood() -> None:
    """One that is not would be searched the slow way, and nothing would say so."""
    assert len(patterns._HEADS) == 1 + len(patterns._PATTERNS)
    slow = [kind for (kind, _), heads in zip(patterns._PATTERNS, patterns._HEADS[1:], strict=True) if not heads]
    assert slow == ["email"]  # which is searched only where there is an @
    assert patterns._HEADS[0]
    assert heads_of(re.compile(r"(a)(?(1)b|c)")) is None
    assert heads_of(re.compile(r".a")) is None
    assert heads_of(re.compile(r"x*")) is None
