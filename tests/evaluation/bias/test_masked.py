"""Scores of words against a plain computation of one text at a time."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.bias.masked import WordScores, score_words
from clinical_modernbert.evaluation.models.clozes import open_filler
from clinical_modernbert.evaluation.models.model import EvaluatedModel

TEXTS = [("acute ", " and pain"), ("", " with fever at left"), ("cough, lung ", ".")]
WORDS = ["aspirin", "fever", "unheard", "x"]


def plain(model: EvaluatedModel, directory: Path, before: str, word: str, after: str) -> tuple[float, int]:
    """The sum of the log-probabilities of a word's tokens, all masked, by transformers."""
    encoded = model.tokenizer(before + word + after, return_offsets_mapping=True)
    start, end = len(before), len(before + word)
    ids = torch.tensor([encoded["input_ids"]])
    at = [n for n, (first, last) in enumerate(encoded["offset_mapping"]) if first < end and last > start]
    masked = ids.clone()
    masked[0, at] = model.tokenizer.mask_token_id
    with torch.no_grad():
        scores = AutoModelForMaskedLM.from_pretrained(directory).eval()(masked).logits[0].log_softmax(-1)
    return float(scores[at, ids[0, at]].sum()), len(at)


@pytest.mark.parametrize("name", ["our", "bert"])
def test_words_of_several_tokens_are_masked_together(name: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(f"{name}_directory")
    model = request.getfixturevalue({"our": "ours"}.get(name, name))
    found = score_words(open_filler(model), model.tokenizer, TEXTS, WORDS, tokens=24)
    for (row, (before, after)), (column, word) in product(enumerate(TEXTS), enumerate(WORDS)):
        expected, count = plain(model, directory, before, word, after)
        assert found.log_probability[row, column] == pytest.approx(expected, abs=1e-3)
        assert found.tokens[row, column] == count
    assert len(set(found.tokens[0])) > 1
    again = score_words(open_filler(model), model.tokenizer, TEXTS, WORDS, tokens=10_000)
    assert np.allclose(found.log_probability, again.log_probability, atol=1e-4)


def test_log_odds_are_finite_where_a_word_is_certain() -> None:
    scores = WordScores(np.log([[0.5, 0.9, 1.0, 1e-300]]), np.ones((1, 4)))
    odds = scores.log_odds()
    assert odds[0, :2] == pytest.approx([0, np.log(9)])
    assert np.isfinite(odds).all()


def test_a_text_that_the_model_does_not_allow_is_an_error(ours: EvaluatedModel) -> None:
    with pytest.raises(UserError, match="the model allows 128"):
        score_words(open_filler(ours), ours.tokenizer, [("word " * 200, "")], ["pain"], 1000)
