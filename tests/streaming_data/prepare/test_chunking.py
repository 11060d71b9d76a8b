"""Segments hold all tokens of a document, are never too long, and end at section, sentence or word ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.prepare.chunking import Segment, cut_into_segments
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

TEXTS = st.lists(
    st.sampled_from(
        ["fever", " and", ".", ". ", "\n", "\n\n", " \n \n", "5.5 mg", "x" * 40, "  ", "?", "café ", "Plan:"]
    ),
    max_size=120,
).map("".join)


def segments(tokenizer: LoadedTokenizer, text: str, seq_length: int) -> list[Segment]:
    return cut_into_segments("doc", text, tokenizers.encode(tokenizer, [text])[0], tokenizer, seq_length)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, seq_length=st.integers(3, 64))
def test_segments_concatenated_are_the_document(tokenizer: LoadedTokenizer, text: str, seq_length: int) -> None:
    encoded = tokenizers.encode(tokenizer, [text])[0]
    result = segments(tokenizer, text, seq_length)
    cls, sep = tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]
    for segment in result:
        assert 2 < len(segment.tokens) <= seq_length
        assert segment.tokens.dtype == np.uint16
        assert (segment.tokens[0], segment.tokens[-1]) == (cls, sep)
        assert segment.word_starts[1]
        assert not segment.word_starts[0]
        assert not segment.word_starts[-1]
    content = np.concatenate([segment.tokens[1:-1] for segment in result]) if result else np.array([])
    assert content.tolist() == encoded.tokens.tolist()


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, seq_length=st.integers(3, 64))
def test_words_are_cut_only_if_longer_than_a_segment(tokenizer: LoadedTokenizer, text: str, seq_length: int) -> None:
    encoded = tokenizers.encode(tokenizer, [text])[0]
    starts = [*np.flatnonzero(encoded.word_starts).tolist(), len(encoded.tokens)]
    position = 0
    for segment in segments(tokenizer, text, seq_length)[:-1]:
        first = position
        position += len(segment.tokens) - 2
        if position not in starts:
            assert position - first == seq_length - 2
            assert not any(first < start <= position for start in starts)


def test_cuts_prefer_section_ends_then_sentence_ends_then_word_ends(tokenizer: LoadedTokenizer) -> None:
    sentence = "The patient was given intravenous fluids and improved."
    section = " ".join([sentence] * 5)
    one, five = (len(encoded.tokens) for encoded in tokenizers.encode(tokenizer, [sentence, section]))

    def texts(text: str, seq_length: int) -> list[str]:
        return [tokenizer.decode(segment.tokens) for segment in segments(tokenizer, text, seq_length)]

    assert [text.strip() for text in texts(f"{section}\n \n{section}\n \n{section}", five * 5 // 4)] == [section] * 3
    assert [text.count("improved.") for text in texts(section, one * 5 // 2)] == [2, 2, 1]
    run_on = sentence.replace(".", "") * 10
    assert "".join(texts(run_on, one)) == run_on
    assert all(len(segment.tokens) > one // 2 for segment in segments(tokenizer, run_on, one)[:-1])


def test_cuts_are_not_behind_abbreviations_of_the_language(tokenizer: LoadedTokenizer) -> None:
    sentence = "Der Pat. kam am 3. Mai mit Dr. Groß bzw. ca. zwei Std. später zu Prof. Müller und ging."
    text = " ".join([sentence] * 12)
    encoded = tokenizers.encode(tokenizer, [text])[0]
    most = len(encoded.tokens) // 5

    def ends(locales: list[str]) -> list[str]:
        cut = cut_into_segments("doc", text, encoded, tokenizer, most, locales)
        return [tokenizer.decode(segment.tokens).strip() for segment in cut[:-1]]

    assert all(part.endswith("ging.") for part in ends(["de_DE"]))
    assert not all(part.endswith("ging.") for part in ends([])), "no abbreviation where a segment ends"


@pytest.mark.parametrize("text", ["", "one word"])
def test_a_short_document_is_one_segment_and_an_empty_one_none(tokenizer: LoadedTokenizer, text: str) -> None:
    assert len(segments(tokenizer, text, 64)) == bool(text)


def test_segments_of_a_long_note_are_at_least_half_full(tokenizer: LoadedTokenizer, notes: list[str]) -> None:
    text = max(notes, key=len)
    result = segments(tokenizer, text, 1024)
    assert len(result) > 5
    assert all(len(segment.tokens) >= 512 for segment in result[:-1])
    assert "".join(tokenizer.decode(segment.tokens) for segment in result) == text
