"""Words of free text and their tags, against a plain computation over characters."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.evaluation.formats.annotated.text import Span
from clinical_modernbert.evaluation.formats.words import spans_of, tags_of, words_of

TEXTS = st.text(st.sampled_from("ab1 .-_,\n\té😀\u0301µ"), max_size=40)
TYPES = st.sampled_from(["Disease", "Drug"])


@given(TEXTS)
def test_words_are_all_that_is_not_white_space(text: str) -> None:
    words = words_of(text)
    covered = [position for start, end in words for position in range(start, end)]
    assert covered == [position for position, character in enumerate(text) if not character.isspace()]
    for (_, end), (start, _) in pairwise(words):
        joined = text[end - 1 : start + 1]
        assert end < start or not joined.isalnum(), "letters and digits that touch are one word"
    assert all(end - start == 1 or text[start].isalnum() for start, end in words)


@given(TEXTS, st.data())
def test_spans_of_words_come_back_and_others_are_counted(text: str, data: st.DataObject) -> None:
    words = words_of(text)
    picked = [(one, data.draw(TYPES)) for one in words if data.draw(st.booleans())]
    spans = [Span(start, end, kind) for (start, end), kind in picked]
    tags = tags_of(words, spans)
    assert spans_of(words, tags.tags) == spans
    assert tags[1:] == (0, 0)


@given(TEXTS, st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), TYPES), max_size=6))
def test_the_longest_of_overlapping_spans_stays(text: str, drawn: list[tuple[int, int, str]]) -> None:
    spans = [Span(start, min(start + size, len(text)), kind) for start, size, kind in drawn if start < len(text)]
    words = words_of(text)
    tags, off_borders, overlapping = tags_of(words, spans)
    kept = spans_of(words, tags)
    touched = {
        span: {number for number, (start, end) in enumerate(words) if start < span.end and span.start < end}
        for span in spans
    }
    expected, taken, off = list[Span](), set[int](), 0
    for span in sorted(spans, key=lambda span: (span.start - span.end, span)):
        if (numbers := touched[span]) and not numbers & taken:
            taken |= numbers
            expected.append(Span(words[min(numbers)][0], words[max(numbers)][1], span.type))
            off += expected[-1] != span
    empty = sum(not touched[span] for span in spans)
    assert kept == sorted(expected)
    assert (off_borders, overlapping) == (off + empty, len(spans) - len(expected) - empty)


def test_an_example() -> None:
    text = "Pat. took 5 mg beta-blockers (Crohn's)."
    words = words_of(text)
    assert [text[slice(*word)] for word in words][3:] == [
        "5",
        "mg",
        "beta",
        "-",
        "blockers",
        "(",
        "Crohn",
        "'",
        "s",
        ")",
        ".",
    ]
    spans = [
        Span(15, 28, "Drug"),
        Span(30, 37, "Disease"),
        Span(15, 19, "Class"),
        Span(10, 13, "Dose"),
        Span(4, 5, "X"),
    ]
    tags, off_borders, overlapping = tags_of(words, spans)
    assert (off_borders, overlapping) == (2, 1)
    assert spans_of(words, tags) == [Span(10, 14, "Dose"), Span(15, 28, "Drug"), Span(30, 37, "Disease")]
