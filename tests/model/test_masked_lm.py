"""MaskedLM: the loss and its gradient, dropout, activation checkpointing and low precision."""

from typing import Any

import pytest
import torch
from gradients import gradient_of
from model_fixtures import Packed, RandomModel
from torch import Tensor
from torch.nn import functional as F

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.encoder import EncoderLayer
from clinical_modernbert.model.masked_lm import MaskedLM

Task = tuple[Tensor, PackedBatch, Tensor, Tensor]
LENGTHS = (50, 7, 33)


@pytest.fixture
def task(config: ModelConfig, packed: Packed) -> Task:
    """(ids, batch, positions, targets) with a third of the tokens masked."""
    ids, batch = packed(config, LENGTHS)
    targets, _ = packed(config, LENGTHS, seed=1)
    positions = torch.arange(0, len(ids), 3)
    return ids, batch, positions, targets[positions]


def gradients(model: MaskedLM, task: Task) -> dict[str, Tensor]:
    model.zero_grad()
    loss, _ = model(*task)
    loss.backward()
    return {name: gradient_of(parameter).clone() for name, parameter in model.named_parameters()}


def test_loss_and_correct_predictions_are_those_of_the_logits(
    config: ModelConfig, random_model: RandomModel, task: Task
) -> None:
    model = random_model(config)
    ids, batch, positions, targets = task
    logits = model.logits(ids, batch, positions)
    targets[:9] = logits.argmax(1)[:9]  # some correct predictions, and some that are ignored
    targets[[4, 20]] = -100
    loss, correct = model(ids, batch, positions, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets, reduction="sum"), rtol=1e-5, atol=0)
    assert torch.equal(correct, logits.argmax(1) == targets)
    assert correct.sum() >= 8


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_last_layer_computes_masked_rows_only(
    config: ModelConfig, random_model: RandomModel, task: Task, checkpointing: bool
) -> None:
    """The loss and all gradients equal those of a model that computes all rows and selects afterwards."""
    model = random_model(config).train()
    model.model.activation_checkpointing = checkpointing
    ids, batch, positions, targets = task
    rows = []
    last_mlp = list(model.model.layers.children())[-1].get_submodule("mlp")
    hook = last_mlp.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    selected = gradients(model, task)
    hook.remove()
    assert set(rows) == {len(positions)}
    model.zero_grad()
    hidden = model.model(ids, batch)
    assert len(hidden) == len(ids)
    loss, _ = model.decoder(model.head(hidden[positions]), targets)
    torch.testing.assert_close(model(*task)[0], loss, rtol=1e-6, atol=0)
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(selected[name], gradient_of(parameter), rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_causal_model_predicts_the_next_token_from_those_before(
    config: ModelConfig, random_model: RandomModel, task: Task, checkpointing: bool
) -> None:
    """Its loss is that of the logits that it gives to each beginning of each sequence alone."""
    model = random_model(config).train()
    model.model.activation_checkpointing = checkpointing
    ids, batch, *_ = task
    ends = torch.tensor(LENGTHS).cumsum(0)
    positions = torch.tensor([at for at in range(len(ids)) if at + 1 not in ends])
    loss, correct = model(ids, batch, positions, ids[positions + 1], causal=True)
    loss.backward()
    assert all((gradient_of(parameter) != 0).any() for parameter in model.parameters())
    assert len(correct) == len(ids) - len(LENGTHS)
    alone = 0.0
    with torch.no_grad():
        for start, length in zip((0, 50, 57), LENGTHS, strict=True):
            for count in range(1, length):
                beginning = ids[start : start + count]
                hidden = model.model(beginning, PackedBatch.from_lengths([count], "cpu"), causal=True)[-1:]
                logits = model.decoder(model.head(hidden))
                alone += F.cross_entropy(logits, ids[start + count : start + count + 1]).item()
    assert loss.item() == pytest.approx(alone, rel=1e-5)
    assert model(*task)[0].item() != pytest.approx(model(*task, causal=True)[0].item(), rel=1e-3)


def test_the_decoder_is_tied_to_the_embedding(config: ModelConfig, random_model: RandomModel, task: Task) -> None:
    model = random_model(config)
    embedding = model.model.embeddings.tok_embeddings.weight
    assert model.decoder.weight is embedding
    tied = gradients(model, task)["model.embeddings.tok_embeddings.weight"]
    unused = torch.ones(config.vocab_size, dtype=torch.bool)
    unused[task[0]] = False
    assert unused.any()
    assert (tied[unused] != 0).any(dim=1).all()  # rows that no input uses get gradients as outputs


def test_no_masked_tokens_give_zero_loss_and_zero_gradients(
    config: ModelConfig, random_model: RandomModel, task: Task
) -> None:
    model = random_model(config)
    ids, batch, positions, targets = task
    loss, correct = model(ids, batch, positions[:0], targets[:0])
    assert loss.item() == 0
    assert len(correct) == 0
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad == 0).all(), name


def test_dropout_acts_in_training_only(config: ModelConfig, random_model: RandomModel, task: Task) -> None:
    without_dropout = random_model(config)
    for rate in ("embedding_dropout", "attention_dropout", "mlp_dropout"):
        model = random_model(ModelConfig(**config.model_dump() | {rate: 0.3}))
        assert torch.equal(model(*task)[0], without_dropout(*task)[0]), rate
        model.train()
        torch.manual_seed(0)
        first, second = model(*task)[0], model(*task)[0]
        torch.manual_seed(0)
        again = model(*task)[0]
        assert not torch.equal(first, second), rate
        assert torch.equal(first, again), rate


def test_activation_checkpointing_gives_equal_gradients(
    config: ModelConfig, random_model: RandomModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = EncoderLayer.forward

    def forward(self: EncoderLayer, *arguments: Any) -> tuple[Tensor, Tensor]:
        calls.append(self)
        return original(self, *arguments)

    monkeypatch.setattr(EncoderLayer, "forward", forward)
    rates = {"embedding_dropout": 0.1, "attention_dropout": 0.1, "mlp_dropout": 0.1}
    model = random_model(ModelConfig(**config.model_dump() | rates)).train()
    torch.manual_seed(0)
    kept = gradients(model, task)
    assert len(calls) == config.num_hidden_layers
    model.model.activation_checkpointing = True
    torch.manual_seed(0)
    recomputed = gradients(model, task)
    assert len(calls) == 3 * config.num_hidden_layers  # another forward, and its recomputation in the backward pass
    for name, gradient in kept.items():
        assert torch.equal(gradient, recomputed[name]), name


def test_the_attention_backend_can_be_selected(config: ModelConfig, random_model: RandomModel, task: Task) -> None:
    model = random_model(config)
    expected = model(*task)[0]
    model.model.attention_backend = "torch"
    assert torch.equal(model(*task)[0], expected)
    model.model.attention_backend = "unknown"
    with pytest.raises(ValueError, match="unknown"):
        model(*task)


def test_bf16_is_close_to_fp32(config: ModelConfig, random_model: RandomModel, task: Task) -> None:
    model = random_model(config)
    ids, batch, positions, _ = task
    exact = model.logits(ids, batch, positions)
    model.bfloat16()
    loss, _ = model(*task)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(gradient_of(parameter).isfinite().all() for parameter in model.parameters())
    logits = model.logits(ids, batch, positions)
    assert logits.dtype == torch.bfloat16
    error = (logits.float() - exact).pow(2).mean().sqrt() / exact.std()
    assert error < 0.03


def test_a_few_training_steps_lower_the_loss(config: ModelConfig, random_model: RandomModel, task: Task) -> None:
    model = random_model(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss, _ = model(*task)
        (loss / len(task[2])).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
