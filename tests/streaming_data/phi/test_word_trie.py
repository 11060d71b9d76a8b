"""The pattern of a list of words matches exactly these words, the longest first."""

import re

from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.phi.word_trie import any_of

WORDS = st.lists(st.text("ab.ä/(", min_size=1, max_size=4), min_size=1, max_size=8)


@given(WORDS, st.text("ab.ä/(", max_size=5))
def test_the_pattern_matches_exactly_the_words(words: list[str], text: str) -> None:
    assert bool(re.fullmatch(any_of(words), text)) == (text in words)


@given(WORDS, st.text("ab.ä/(", max_size=6))
def test_the_longest_word_matches(words: list[str], text: str) -> None:
    match = re.match(any_of(words), text)
    assert (match[0] if match else None) == max(
        (word for word in words if text.startswith(word)), key=len, default=None
    )
