"""Scores of masked tokens against transformers, which pads and computes one segment at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import CLS, MASK, SEP, VOCAB, write_small_data
from transformers import AutoModelForMaskedLM

from clinical_modernbert.evaluation.models.model import open_model
from clinical_modernbert.evaluation.privacy.scoring import (
    Cloze,
    Scorer,
    encode,
    hash_weights,
    masked_singly,
    masked_together,
    open_scorer,
    score,
    with_alternative,
)
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import from_pretrained, save_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scored")
    config = ModelConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = MaskedLM(config)
    initialize(model, seed=0)
    save_pretrained(model.state_dict(), config, root / "model")
    data = root / "data"
    data.mkdir()
    write_small_data(data, packs=2)
    for file in (data / "tokenizer").iterdir():
        (root / "model" / file.name).write_bytes(file.read_bytes())
    return root / "model"


@pytest.fixture(scope="module")
def scorer(directory: Path) -> Scorer:
    return open_scorer(open_model(str(directory)))


def test_scores_are_those_of_transformers_in_batches_of_any_size(directory: Path, scorer: Scorer) -> None:
    reference = AutoModelForMaskedLM.from_pretrained(directory).eval()
    random = torch.Generator().manual_seed(0)
    clozes: list[Cloze] = []
    for length in (3, 9, 40, 64, 17):
        tokens = torch.randint(5, VOCAB, (length,), generator=random)
        positions = torch.randperm(length, generator=random)[: max(1, length // 5)].sort().values
        targets = torch.randint(5, VOCAB, (7, len(positions)), generator=random)
        clozes += [masked_together(tokens, positions, MASK), *masked_singly(tokens, positions, MASK)]
        clozes += [masked_together(tokens, positions, MASK, targets)]
    expected = []
    with torch.no_grad():
        for cloze in clozes:
            values = torch.log_softmax(reference(input_ids=cloze.tokens[None]).logits[0], -1)
            expected.append(values[cloze.positions, cloze.targets].numpy())
    for tokens_at_once in (1, 50, 100_000):
        scored = list(score(scorer, iter(clozes), tokens_at_once))
        assert [one.shape for one in scored] == [tuple(cloze.targets.shape) for cloze in clozes]
        for one, other in zip(scored, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_is_masked_is_hidden_and_what_is_not_is_seen(scorer: Scorer) -> None:
    [tokens] = encode(scorer.tokenizer, ["w10 w11 w12 w13 w14"])
    assert [int(tokens[0]), int(tokens[-1])] == [CLS, SEP]
    assert tokens[1:-1].tolist() == [10, 11, 12, 13, 14]
    positions = torch.tensor([2, 3])
    other = with_alternative(tokens, positions, torch.tensor([90, 91]))
    assert tokens.tolist()[2:4] == [11, 12]
    assert other.tolist()[2:4] == [90, 91]
    targets = torch.tensor([[11, 12], [90, 91]])
    [first], [second] = (list(score(scorer, [masked_together(t, positions, MASK, targets)])) for t in (tokens, other))
    assert np.array_equal(first, second)  # neither cloze has the secret
    singly = [np.concatenate(list(score(scorer, masked_singly(t, positions, MASK)))) for t in (tokens, other)]
    assert not np.allclose(singly[0], first[0])  # each token sees the other
    assert [cloze.tokens.tolist()[2:4] for cloze in masked_singly(tokens, positions, MASK)] == [[MASK, 12], [11, MASK]]


def test_a_segment_that_is_too_long_is_an_error(scorer: Scorer) -> None:
    tokens = torch.full((65,), 7)
    with pytest.raises(ValueError, match="a segment of 65 tokens; the model reads at most 64"):
        list(score(scorer, [masked_together(tokens, torch.tensor([3]), MASK)]))


def test_weights_have_one_hash_in_every_form(directory: Path, scorer: Scorer) -> None:
    model = from_pretrained(directory)
    assert hash_weights(model) == scorer.weights
    with torch.no_grad():
        model.head.dense.weight[0, 0] += 1e-4
    assert hash_weights(model) != scorer.weights
