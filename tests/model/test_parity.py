"""The packed model computes the same as transformers' padded ModernBertForMaskedLM."""

import random
from collections.abc import Sequence

import pytest
import torch
import transformers
from gradients import gradient_of
from model_fixtures import Packed, Padded, RandomConfig, RandomModel, Reference
from torch import Tensor, nn
from torch.nn import functional as F

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM


def compare(
    model: MaskedLM,
    theirs: transformers.PreTrainedModel,
    ids: Tensor,
    batch: PackedBatch,
    padded: Padded,
    seed: int = 0,
) -> tuple[float, float]:
    """Largest difference of a logit, and of a gradient relative to the largest gradient of its parameter."""
    rows, mask = padded(ids, batch.lengths)
    generator = torch.Generator().manual_seed(seed)
    masked = torch.randperm(len(ids), generator=generator)[: max(1, len(ids) // 3)].sort().values
    targets = torch.randint(0, model.config.vocab_size, masked.shape, generator=generator)

    everywhere = torch.arange(len(ids))
    with torch.no_grad():
        logits = model.logits(ids, batch, everywhere)
    their_logits = theirs(rows, attention_mask=mask).logits[mask.bool()]
    difference = (logits - their_logits).abs().max().item()

    loss, _ = model(ids, batch, masked, targets)
    loss.backward()
    F.cross_entropy(their_logits[masked], targets, reduction="sum").backward()
    ours = {name: gradient_of(parameter) for name, parameter in model.named_parameters()}
    relative = 0.0
    for name, parameter in theirs.named_parameters():
        scale = parameter.grad.abs().max().clamp_min(1e-3)
        relative = max(relative, ((ours[name] - parameter.grad).abs().max() / scale).item())
    return difference, relative


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("seed", range(8))
def test_random_architectures(
    seed: int,
    attention: str,
    random_config: RandomConfig,
    random_model: RandomModel,
    reference: Reference,
    packed: Packed,
    padded: Padded,
) -> None:
    config = random_config(seed)
    window, rng = config.window, random.Random(seed)
    edges = [1, 2, max(1, window - 1), window, window + 1, 2 * window, 2 * window + 1, 3 * window + 5]
    lengths = [*rng.sample(edges, 5), rng.randint(1, 200)]
    model = random_model(config, seed)
    ids, batch = packed(config, lengths, seed)
    difference, relative = compare(model, reference(model, attention), ids, batch, padded, seed)
    assert difference <= 1e-4
    assert relative <= 1e-4


@pytest.mark.parametrize("lengths", [(3,), (1, 1, 1), (9, 8, 7), (60, 17, 16, 2)])
def test_windows_shorter_equal_and_longer_than_sequences(
    lengths: Sequence[int],
    config: ModelConfig,
    random_model: RandomModel,
    reference: Reference,
    packed: Packed,
    padded: Padded,
) -> None:
    model = random_model(config)
    ids, batch = packed(config, lengths)
    difference, relative = compare(model, reference(model), ids, batch, padded)
    assert difference <= 1e-4
    assert relative <= 1e-4


def test_an_off_by_one_window_is_detected(
    config: ModelConfig, random_model: RandomModel, reference: Reference, packed: Packed, padded: Padded
) -> None:
    ids, batch = packed(config, (60, 30))
    model = random_model(config)
    wider = reference(random_model(ModelConfig(**config.model_dump() | {"local_attention": 18})))
    difference, _ = compare(model, wider, ids, batch, padded)
    assert difference > 1e-2


def test_dropout_acts_where_transformers_applies_it(
    config: ModelConfig,
    random_model: RandomModel,
    reference: Reference,
    packed: Packed,
    padded: Padded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = {"embedding_dropout": 0.1, "attention_dropout": 0.2, "mlp_dropout": 0.3}
    model = random_model(ModelConfig(**config.model_dump() | rates)).train()
    theirs = reference(model).train()
    for layer in theirs.model.layers:
        layer.attn.attention_dropout = 0.0  # dropout of attention probabilities, which packed kernels do not have

    # Deterministic instead of random, and different per feature: missing or misplaced dropout changes the logits.
    def scale(self: nn.Dropout, x: Tensor) -> Tensor:
        return x * (1 + self.p * torch.arange(x.shape[-1]) / x.shape[-1])

    monkeypatch.setattr(nn.Dropout, "forward", scale)
    ids, batch = packed(model.config, (40, 9))
    difference, relative = compare(model, theirs, ids, batch, padded)
    assert difference <= 1e-4
    assert relative <= 1e-4


@pytest.mark.slow
def test_base_size(random_model: RandomModel, reference: Reference, packed: Packed, padded: Padded) -> None:
    base = ModelConfig(
        vocab_size=50_368,
        hidden_size=768,
        intermediate_size=1152,
        num_hidden_layers=22,
        num_attention_heads=12,
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
    )
    model = random_model(base)
    ids, batch = packed(base, (140, 65, 1))
    difference, relative = compare(model, reference(model), ids, batch, padded)
    print(f"\nbase size: largest difference of a logit {difference:.2e}, of a gradient (relative) {relative:.2e}")
    assert difference <= 1e-4
    assert relative <= 1e-4
