"""The loss and its gradient, dropout, activation checkpointing and low precision."""

import pytest
import torch
from torch.nn import functional as F

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.encoder import EncoderLayer

LENGTHS = (50, 7, 33)


@pytest.fixture
def task(config, packed):
    """(ids, batch, positions, targets) with a third of the tokens masked."""
    ids, batch = packed(config, LENGTHS)
    targets, _ = packed(config, LENGTHS, seed=1)
    positions = torch.arange(0, len(ids), 3)
    return ids, batch, positions, targets[positions]


def gradients(model, task):
    model.zero_grad()
    loss, _ = model(*task)
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_loss_and_hits_are_those_of_the_logits(config, lively, task):
    model = lively(config)
    ids, batch, positions, targets = task
    logits = model.logits(ids, batch, positions)
    targets[:9] = logits.argmax(1)[:9]  # some right guesses, and some that do not count
    targets[[4, 20]] = -100
    loss, right = model(ids, batch, positions, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets, reduction="sum"), rtol=1e-5, atol=0)
    assert torch.equal(right, logits.argmax(1) == targets)
    assert right.sum() >= 8


def test_the_decoder_is_the_embedding(config, lively, task):
    model = lively(config)
    embedding = model.model.embeddings.tok_embeddings.weight
    assert model.decoder.weight is embedding
    tied = gradients(model, task)["model.embeddings.tok_embeddings.weight"]
    unread = torch.ones(config.vocab_size, dtype=torch.bool)
    unread[task[0]] = False
    assert unread.any()
    assert (tied[unread] != 0).any(dim=1).all()  # rows no input has looked up learn as outputs


def test_nothing_masked_gives_zero_loss_and_zero_gradients(config, lively, task):
    model = lively(config)
    ids, batch, positions, targets = task
    loss, right = model(ids, batch, positions[:0], targets[:0])
    assert loss.item() == 0
    assert len(right) == 0
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad == 0).all(), name


def test_dropout_acts_in_training_only(config, lively, task):
    quiet = lively(config)
    for rate in ("embedding_dropout", "attention_dropout", "mlp_dropout"):
        model = lively(ModelConfig(**config.model_dump() | {rate: 0.3}))
        assert torch.equal(model(*task)[0], quiet(*task)[0]), rate
        model.train()
        torch.manual_seed(0)
        first, second = model(*task)[0], model(*task)[0]
        torch.manual_seed(0)
        again = model(*task)[0]
        assert not torch.equal(first, second), rate
        assert torch.equal(first, again), rate


def test_activation_checkpointing_gives_equal_gradients(config, lively, task, monkeypatch):
    calls = []
    original = EncoderLayer.forward
    monkeypatch.setattr(EncoderLayer, "forward", lambda self, *args: calls.append(self) or original(self, *args))
    rates = {"embedding_dropout": 0.1, "attention_dropout": 0.1, "mlp_dropout": 0.1}
    model = lively(ModelConfig(**config.model_dump() | rates)).train()
    torch.manual_seed(0)
    kept = gradients(model, task)
    assert len(calls) == config.num_hidden_layers
    model.model.activation_checkpointing = True
    torch.manual_seed(0)
    recomputed = gradients(model, task)
    assert len(calls) == 3 * config.num_hidden_layers  # once more forward, and once again in the backward pass
    for name, gradient in kept.items():
        assert torch.equal(gradient, recomputed[name]), name


def test_the_attention_backend_can_be_named(config, lively, task):
    model = lively(config)
    expected = model(*task)[0]
    model.model.attention_backend = "torch"
    assert torch.equal(model(*task)[0], expected)
    model.model.attention_backend = "abacus"
    with pytest.raises(ValueError, match="abacus"):
        model(*task)


def test_bf16_stays_near_fp32(config, lively, task):
    model = lively(config)
    ids, batch, positions, _ = task
    exact = model.logits(ids, batch, positions)
    model.bfloat16()
    loss, _ = model(*task)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    low = model.logits(ids, batch, positions)
    assert low.dtype == torch.bfloat16
    error = (low.float() - exact).pow(2).mean().sqrt() / exact.std()
    assert error < 0.03


def test_a_few_steps_of_learning_lower_the_loss(config, lively, task):
    model = lively(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss, _ = model(*task)
        (loss / len(task[2])).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
