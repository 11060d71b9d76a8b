"""The encoder on packed sequences: a sequence's logits and gradients depend only on that sequence."""

from collections.abc import Sequence

import pytest
import torch
from gradients import gradient_of
from model_fixtures import Packed, RandomModel
from torch import Tensor

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM

LENGTHS = (40, 1, 17, 130, 16, 2)


def sequence_logits(model: MaskedLM, ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        logits = model.logits(ids, PackedBatch.from_lengths(lengths, "cpu"), torch.arange(len(ids)))
    return logits.split(list(lengths))


@pytest.mark.parametrize("changed", range(len(LENGTHS)))
def test_changing_one_sequence_leaves_the_others_bit_identical(
    changed: int, config: ModelConfig, random_model: RandomModel, packed: Packed
) -> None:
    model = random_model(config)
    ids, _ = packed(config, LENGTHS)
    other, _ = packed(config, LENGTHS, seed=1)
    before = sequence_logits(model, ids, LENGTHS)
    sequences = list(ids.split(list(LENGTHS)))
    sequences[changed] = other.split(list(LENGTHS))[changed]
    after = sequence_logits(model, torch.cat(sequences), LENGTHS)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(old, new) == (index != changed)


def test_the_order_of_packing_does_not_matter(config: ModelConfig, random_model: RandomModel, packed: Packed) -> None:
    model = random_model(config)
    ids, _ = packed(config, LENGTHS)
    sequences = ids.split(list(LENGTHS))
    in_order = sequence_logits(model, ids, LENGTHS)
    reverse_order = sequence_logits(model, torch.cat(sequences[::-1]), LENGTHS[::-1])
    unpacked = [sequence_logits(model, sequence, (len(sequence),))[0] for sequence in sequences]
    for packed_logits, other_logits, single_logits in zip(in_order, reversed(reverse_order), unpacked, strict=True):
        torch.testing.assert_close(packed_logits, other_logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(packed_logits, single_logits, atol=1e-5, rtol=0)


def test_loss_and_gradients_of_a_batch_are_sums_over_its_sequences(
    config: ModelConfig, random_model: RandomModel, packed: Packed
) -> None:
    model = random_model(config)
    ids, _ = packed(config, LENGTHS)
    targets, _ = packed(config, LENGTHS, seed=5)

    def run(tokens: Tensor, labels: Tensor, lengths: Sequence[int]) -> tuple[float, dict[str, Tensor]]:
        model.zero_grad()
        positions = torch.arange(0, len(tokens), 2)
        total, _ = model(tokens, PackedBatch.from_lengths(lengths, "cpu"), positions, labels[positions])
        total.backward()
        return total.item(), {name: gradient_of(parameter).clone() for name, parameter in model.named_parameters()}

    cut = 40 + 1 + 17  # even, so that the parts mask the same tokens as the full batch
    loss, gradients = run(ids, targets, LENGTHS)
    first_loss, first = run(ids[:cut], targets[:cut], LENGTHS[:3])
    second_loss, second = run(ids[cut:], targets[cut:], LENGTHS[3:])
    assert loss == pytest.approx(first_loss + second_loss, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, first[name] + second[name], atol=1e-4, rtol=1e-4, msg=name)


def test_a_sequence_that_is_too_long_is_rejected(
    config: ModelConfig, random_model: RandomModel, packed: Packed
) -> None:
    ids, batch = packed(config, (513,))
    with pytest.raises(ValueError, match=r"513 tokens is longer than max_position_embeddings \(512\)"):
        random_model(config).logits(ids, batch, torch.tensor([0]))
