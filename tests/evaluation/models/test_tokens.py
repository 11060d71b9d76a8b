"""Evaluation tokenizes texts as they are tokenized for training."""

import shutil
from pathlib import Path

import pytest
import tokenizer_kinds

from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.models.tokens import encode_texts, encode_words
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

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
    sentences = [text.split() for text in TEXTS]
    assert [encoded.ids.tolist() for encoded in encode_words(evaluated, sentences)] == expected
    pairs = encode_texts(evaluated, [TEXTS[0]], pairs=[TEXTS[1]])[0].tolist()
    assert pairs == [*expected[0], *expected[1][1:]]
