"""Scores of masked tokens against transformers, which pads and computes one segment at a time."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from clinical_modernbert.evaluation.models.clozes import (
    Cloze,
    masked_singly,
    masked_together,
    open_filler,
    rank,
    score,
    with_alternative,
)
from clinical_modernbert.evaluation.models.model import EvaluatedModel

VOCAB = 576
MASK = 4


@pytest.mark.parametrize("name", ["our", "bert"])
def test_scores_and_ranks_are_those_of_transformers_in_batches_of_any_size(
    name: str, request: pytest.FixtureRequest
) -> None:
    reference = AutoModelForMaskedLM.from_pretrained(request.getfixturevalue(f"{name}_directory")).eval()
    filler = open_filler(request.getfixturevalue({"our": "ours"}.get(name, name)))
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
        scored = list(score(filler, iter(clozes), tokens_at_once))
        assert [one.shape for one in scored] == [tuple(cloze.targets.shape) for cloze in clozes]
        for one, other in zip(scored, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    true = [cloze for cloze in clozes if cloze.targets.dim() == 1]
    for cloze, ranks in zip(true, rank(filler, true, 50), strict=True):
        every = torch.arange(VOCAB)[:, None].expand(-1, len(ranks))
        [found] = score(filler, [masked_together(cloze.tokens, cloze.positions, MASK, every)])
        assert ranks.tolist() == (found > found[cloze.targets, range(len(ranks))]).sum(axis=0).tolist()


def test_what_is_masked_is_hidden_and_what_is_not_is_seen(ours: EvaluatedModel) -> None:
    filler, tokens, positions = open_filler(ours), torch.tensor([1, 10, 11, 12, 13, 14, 2]), torch.tensor([2, 3])
    other = with_alternative(tokens, positions, torch.tensor([90, 91]))
    assert (tokens.tolist()[2:4], other.tolist()[2:4]) == ([11, 12], [90, 91])
    targets = torch.tensor([[11, 12], [90, 91]])
    [first], [second] = (list(score(filler, [masked_together(t, positions, MASK, targets)])) for t in (tokens, other))
    assert np.array_equal(first, second)  # neither cloze has the secret
    singly = [np.concatenate(list(score(filler, masked_singly(t, positions, MASK)))) for t in (tokens, other)]
    assert not np.allclose(singly[0], first[0])  # each token sees the other
    assert [cloze.tokens.tolist()[2:4] for cloze in masked_singly(tokens, positions, MASK)] == [[MASK, 12], [11, MASK]]


def test_a_segment_that_is_too_long_is_an_error(ours: EvaluatedModel) -> None:
    tokens = torch.full((129,), 7)
    with pytest.raises(ValueError, match="a segment of 129 tokens; the model reads at most 128"):
        list(score(open_filler(ours), [masked_together(tokens, torch.tensor([3]), MASK)]))
