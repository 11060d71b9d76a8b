"""Matches are those of `finditer`, in every text of a batch, whatever the pattern."""

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.phi import first_characters, local_numbers, partial_dates, patterns
from clinical_modernbert.streaming_data.phi.cues import compile_cues
from clinical_modernbert.streaming_data.phi.first_characters import Searcher, compile_heads
from clinical_modernbert.streaming_data.phi.local_forms import find_local_forms

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
    (r"ab?c", "ab|ac"),
    (r"(?i:s)t?x?", "[sSſ]"),
    (r"\d{2,}[a-z]*", r"\d\d"),
    (r"[^a-z]b", "[^a-z]b"),
    (r"(?:a|bc|def|g.)\d", r"a\d|bc|de|g"),
    (r"(?<!a)b\b", "b"),
    (r"\w+\s", None),
    (r"é+\d", r"éé|é\d"),
    (r"(?:ab){2}c", "abab"),
    (r"[\W\d]a", r"[\W\d]a"),
    (r"日本?", "日"),
    (r"", None),
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
@example(texts=["0" * 30 + "b", "?"], dense=1)
@given(
    texts=st.lists(st.text("abcdefgkxyBKS.st0123é² ſ日本\n?", max_size=40), max_size=4), dense=st.sampled_from([1, 32])
)
def test_other_patterns(texts: list[str], dense: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_characters, "_DENSE", dense)
        patch.setattr(first_characters, "_LONG", 30)
        for expression, heads in OTHERS:
            pattern = re.compile(expression)
            compiled = heads and compile_heads(heads)
            found = [(number, *match.span()) for number, match in Searcher(texts).find(pattern, compiled or None)]
            assert sorted(found, key=lambda one: one[0]) == [
                (number, *match.span()) for number, text in enumerate(texts) for match in pattern.finditer(text)
            ]


CUES = [*compile_cues(("de", "fr")).followed_by]
LOCAL = ["SW1A 1AA", "K1A 0B6", "030 1234567", "19.03.1999", "3-Mar-19", "03MAR2019", "1. März 2019", "le 3 août 2020"]
LOCAL += ["+49 30 1234567", "Hauptstraße 12", "12, rue de la Paix", "12345678Z", "80331 München", "Müller, Anna (DOB"]
LOCAL += [" ", ": ", "\n", ", ", "", "œ", "99 ans", "Frau Dr. Müller", "NAME:\tDOE", "(", "A1234567"]


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(CUES) | st.sampled_from([*LOCAL, *FRAGMENTS]), max_size=25).map(
            lambda parts: "".join(part.title() if len(part) % 3 else part for part in parts)
        ),
        max_size=6,
    ),
    locales=st.sampled_from([(), ("de_DE", "fr_FR"), ("en_GB", "es_ES", "nl_NL")]),
    dense=st.sampled_from([1, 32]),
)
@example(texts=["x" * 400 + " frau Meier" + "y " * 200 + "œil Hr. Meier", "", "r. 12"], locales=(), dense=32)
def test_local_forms_are_those_of_texts_that_are_read_completely(
    texts: list[str], locales: tuple[str, ...], dense: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_characters, "_DENSE", dense)
        found = find_local_forms(texts, locales)
        patch.setattr(first_characters, "_FEW", 1 << 60)
        assert find_local_forms(texts, locales) == found


DECLARED = [
    (patterns._DIGIT_RUN, patterns._HEADS_OF_DIGIT_RUN),
    (local_numbers._RUN, local_numbers._RUN_HEADS),
    (local_numbers._SHORT_RUN, local_numbers._SHORT_RUN_HEADS),
    (partial_dates._TWO_NUMBERS, partial_dates._TWO_NUMBERS_HEADS),
    (partial_dates._after_day(), partial_dates._after_day_heads()),
    (patterns._DEGREE, patterns._DEGREE_HEADS),
    *((pattern, heads) for (_, pattern), heads in zip(patterns._PATTERNS, patterns._HEADS, strict=True) if heads),
]


@pytest.mark.slow
def test_matches_made_from_a_pattern_begin_as_declared() -> None:
    """From the pattern itself, so that no branch, optional part or foreign digit was forgotten."""

    def check(pattern: re.Pattern[str], heads: first_characters.Heads) -> None:
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(text=st.from_regex(pattern))
        def every_match_is_found(text: str) -> None:
            found = [match.span() for _, match in Searcher([text]).find(pattern, heads)]
            assert found == [match.span() for match in pattern.finditer(text)]

        every_match_is_found()

    for pattern, heads in DECLARED:
        check(pattern, heads)


def test_only_the_pattern_of_mail_addresses_is_searched_everywhere() -> None:
    """Nearly any character may come first there, but it is only searched in texts with an @."""
    everywhere = [kind for (kind, _), heads in zip(patterns._PATTERNS, patterns._HEADS, strict=True) if not heads]
    assert everywhere == ["email"]
