"""A sequence's logits and gradients depend on that sequence alone."""

import pytest
import torch

from clinical_modernbert.kernels.packed import PackedBatch

LENGTHS = (40, 1, 17, 130, 16, 2)


def sequence_logits(model, ids, lengths):
    with torch.no_grad():
        logits = model.logits(ids, PackedBatch.from_lengths(lengths, "cpu"), torch.arange(len(ids)))
    return logits.split(list(lengths))


@pytest.mark.parametrize("changed", range(len(LENGTHS)))
def test_changing_one_sequence_leaves_the_others_bit_identical(changed, config, lively, packed):
    model = lively(config)
    ids, _ = packed(config, LENGTHS)
    other, _ = packed(config, LENGTHS, seed=1)
    before = sequence_logits(model, ids, LENGTHS)
    pieces = list(ids.split(list(LENGTHS)))
    pieces[changed] = other.split(list(LENGTHS))[changed]
    after = sequence_logits(model, torch.cat(pieces), LENGTHS)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(old, new) == (index != changed)


def test_the_order_of_packing_does_not_matter(config, lively, packed):
    model = lively(config)
    ids, _ = packed(config, LENGTHS)
    pieces = ids.split(list(LENGTHS))
    forward = sequence_logits(model, ids, LENGTHS)
    backward = sequence_logits(model, torch.cat(pieces[::-1]), LENGTHS[::-1])
    alone = [sequence_logits(model, piece, (len(piece),))[0] for piece in pieces]
    for one, other, single in zip(forward, reversed(backward), alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        torch.testing.assert_close(one, single, atol=1e-5, rtol=0)


def test_a_batch_is_the_sum_of_its_sequences(config, lively, packed):
    model = lively(config)
    ids, _ = packed(config, LENGTHS)
    targets, _ = packed(config, LENGTHS, seed=5)

    def run(tokens, labels, lengths):
        model.zero_grad()
        positions = torch.arange(0, len(tokens), 2)
        total, _ = model(tokens, PackedBatch.from_lengths(lengths, "cpu"), positions, labels[positions])
        total.backward()
        return total.item(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    cut = 40 + 1 + 17  # even, so the halves mask the same tokens as the whole
    loss, gradients = run(ids, targets, LENGTHS)
    first_loss, first = run(ids[:cut], targets[:cut], LENGTHS[:3])
    second_loss, second = run(ids[cut:], targets[cut:], LENGTHS[3:])
    assert loss == pytest.approx(first_loss + second_loss, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, first[name] + second[name], atol=1e-4, rtol=1e-4, msg=name)


def test_a_sequence_that_is_too_long_is_refused(config, lively, packed):
    ids, batch = packed(config, (513,))
    with pytest.raises(ValueError, match=r"513 tokens is longer than max_position_embeddings \(512\)"):
        lively(config).logits(ids, batch, torch.tensor([0]))
