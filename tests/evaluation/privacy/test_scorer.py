"""The attacked model: the hash of its weights, and texts as its packs have them."""

import torch

from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.privacy.scorer import encode, hash_weights, open_scorer
from clinical_modernbert.model.hugging_face import from_pretrained


def test_weights_have_one_hash_in_every_form(ours: EvaluatedModel) -> None:
    model, scorer = from_pretrained(ours.directory), open_scorer(ours)
    assert hash_weights(model) == scorer.weights
    with torch.no_grad():
        model.head.dense.weight[0, 0] += 1e-4
    assert hash_weights(model) != scorer.weights


def test_texts_have_special_tokens_at_both_ends(ours: EvaluatedModel) -> None:
    tokenizer = open_scorer(ours).tokenizer
    [tokens] = encode(tokenizer, ["acute pain"])
    assert tokens.tolist() == ours.tokenizer("acute pain")["input_ids"]
    assert [int(tokens[0]), int(tokens[-1])] == [tokenizer.special_ids[role] for role in ("cls", "sep")]
