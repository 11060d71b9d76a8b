"""Evaluation tokenizes texts as they are tokenized for training."""

import shutil
from pathlib import Path

import pytest
import tokenizer_kinds
import torch

from clinical_modernbert.evaluation.formats.words import words_as_text
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.models.tokens import Lengths, are_cut, encode_long_texts, encode_texts, encode_words
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

from ..conftest import WORDS

TEXTS = [
    "take [DRUG] with water",
    "[MASK] is text, as [SEP] and [CLS] are",
    "fever, <ICD>E11.9 and [DRUG][DRUG]",
    "no pain",
]


@pytest.fixture(scope="module")
def model(our_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluatedModel, Path]:
    """A model whose tokenizer has special tokens of the user's own."""
    directory = tmp_path_factory.mktemp("own") / "model"
    shutil.copytree(our_directory, directory)
    words = ["fever", "pain", "water", "take", "text"] * 30
    tokenizer_kinds.save(tokenizer_kinds.byte_level, [" ".join(words)], directory, ["[DRUG]", "<ICD>"])
    return open_model(str(directory)), directory


def test_texts_have_the_tokens_of_packs(model: tuple[EvaluatedModel, Path]) -> None:
    evaluated, directory = model
    tokenizer = tokenizers.load(directory)
    cls, sep = tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]
    expected = [[cls, *encoded.tokens.tolist(), sep] for encoded in tokenizers.encode(tokenizer, TEXTS)]
    assert [ids.tolist() for ids in encode_texts(evaluated, TEXTS)] == expected
    assert tokenizer.backend.token_to_id("[DRUG]") in expected[0]
    assert tokenizer.special_ids["mask"] not in expected[1]
    texts, words = zip(*(words_as_text(text.split()) for text in TEXTS), strict=True)
    assert [encoded.windows[0].tolist() for encoded in encode_words(evaluated, texts, words)] == expected
    pairs = encode_texts(evaluated, [TEXTS[0]], pairs=[TEXTS[1]])[0].tolist()
    assert pairs == [*expected[0], *expected[1][1:]]


def test_truncated_texts_are_counted(ours: EvaluatedModel) -> None:
    texts = [" ".join(["fever"] * count) for count in (1, *range(115, 135), 400)] + ["ä" * 70]
    limit = ours.max_length
    expected = [len(ours.tokenizer(text)["input_ids"]) > limit for text in texts]
    assert are_cut(ours, texts) == expected
    assert 0 < sum(expected) < len(texts)
    assert are_cut(ours, ["fever"]) == [False]


def test_every_word_of_a_long_text_has_its_first_token_in_a_window(ours: EvaluatedModel) -> None:
    words = [word for number in range(90) for word in ("fever", "unheardof", WORDS[number % len(WORDS)])]
    text, ranges = words_as_text(words)
    [alone] = encode_words(ours, [text], [ranges], Lengths(None, 16))
    assert len(alone.windows) > 2
    assert not alone.cut
    assert alone.words.tolist() == list(range(len(words)))
    tokens = torch.cat(alone.windows)
    for word, token in zip(words, tokens[alone.positions].tolist(), strict=True):
        first = ours.tokenizer.decode([token]).strip()
        assert first
        assert word.startswith(first)
    # No word is read at the end of a window if another window has more of its context.
    starts = [0, *torch.tensor([len(window) for window in alone.windows]).cumsum(0).tolist()]
    for position in alone.positions.tolist():
        window = max(n for n, start in enumerate(starts) if start <= position)
        inside, length = position - starts[window], len(alone.windows[window])
        assert window == 0 or inside >= 8
        assert window == len(alone.windows) - 1 or length - inside > 6


def test_a_pair_is_divided_at_its_longer_text(ours: EvaluatedModel) -> None:
    short, long = "is there fever", "heart pain " * 200
    for pair in ((short, long), (long, short)):
        [one] = encode_long_texts(ours, [pair[0]], Lengths(None, 8), [pair[1]])
        assert len(one.windows) > 2
        assert not one.cut
        texts = [ours.tokenizer.decode(window) for window in one.windows]
        assert all(short in text for text in texts)
    [both] = encode_long_texts(ours, [long], Lengths(None, 8), [long])
    assert both.cut
    assert all(len(window) <= ours.max_length for window in both.windows)
