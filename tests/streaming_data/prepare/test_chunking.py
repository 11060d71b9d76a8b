"""Splitting: nothing lost, nothing too long, and cut where a reader would cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.prepare.chunking import Piece, split
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

TEXTS = st.lists(
    st.sampled_from(
        ["fever", " and", ".", ". ", "\n", "\n\n", " \n \n", "5.5 mg", "x" * 40, "  ", "?", "café ", "Plan:"]
    ),
    max_size=120,
).map("".join)


def pieces(tokenizer: LoadedTokenizer, text: str, seq_length: int) -> list[Piece]:
    return split("doc", text, tokenizers.encode(tokenizer, [text])[0], tokenizer, seq_length)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, seq_length=st.integers(3, 64))
def test_the_pieces_are_the_document(tokenizer: LoadedTokenizer, text: str, seq_length: int) -> None:
    encoded = tokenizers.encode(tokenizer, [text])[0]
    got = pieces(tokenizer, text, seq_length)
    cls, sep = tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]
    for piece in got:
        assert 2 < len(piece.tokens) <= seq_length
        assert piece.tokens.dtype == np.uint16
        assert (piece.tokens[0], piece.tokens[-1]) == (cls, sep)
        assert piece.word_starts[1]
        assert not piece.word_starts[0]
        assert not piece.word_starts[-1]
    content = np.concatenate([piece.tokens[1:-1] for piece in got]) if got else np.array([])
    assert content.tolist() == encoded.tokens.tolist()


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, seq_length=st.integers(3, 64))
def test_a_cut_inside_a_word_only_where_the_word_is_longer_than_a_piece(
    tokenizer: LoadedTokenizer, text: str, seq_length: int
) -> None:
    encoded = tokenizers.encode(tokenizer, [text])[0]
    starts = [*np.flatnonzero(encoded.word_starts).tolist(), len(encoded.tokens)]
    place = 0
    for piece in pieces(tokenizer, text, seq_length)[:-1]:
        first = place
        place += len(piece.tokens) - 2
        if place not in starts:
            assert place - first == seq_length - 2
            assert not any(first < start <= place for start in starts)


def test_cuts_prefer_sections_then_sentences_then_words(tokenizer: LoadedTokenizer) -> None:
    sentence = "The patient was given intravenous fluids and improved."
    section = " ".join([sentence] * 5)
    one, five = (len(encoded.tokens) for encoded in tokenizers.encode(tokenizer, [sentence, section]))

    def texts(text: str, seq_length: int) -> list[str]:
        return [tokenizer.decode(piece.tokens) for piece in pieces(tokenizer, text, seq_length)]

    assert [text.strip() for text in texts(f"{section}\n \n{section}\n \n{section}", five * 5 // 4)] == [section] * 3
    assert [text.count("improved.") for text in texts(section, one * 5 // 2)] == [2, 2, 1]
    run_on = sentence.replace(".", "") * 10
    assert "".join(texts(run_on, one)) == run_on
    assert all(len(piece.tokens) > one // 2 for piece in pieces(tokenizer, run_on, one)[:-1])


@pytest.mark.parametrize("text", ["", "one word"])
def test_short_documents_are_one_piece_or_none(tokenizer: LoadedTokenizer, text: str) -> None:
    assert len(pieces(tokenizer, text, 64)) == bool(text)


def test_a_long_note_fills_its_pieces(tokenizer: LoadedTokenizer, notes: list[str]) -> None:
    text = max(notes, key=len)
    got = pieces(tokenizer, text, 1024)
    assert len(got) > 5
    assert all(len(piece.tokens) >= 512 for piece in got[:-1])
    assert "".join(tokenizer.decode(piece.tokens) for piece in got) == text
