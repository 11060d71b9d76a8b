"""Initial weights: correct moments, and equal for every order of initialization and every rank."""

import math

import pytest
import torch
import transformers

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initial_value, initialize
from clinical_modernbert.model.masked_lm import MaskedLM

# Standard deviation of a unit normal truncated at +-2.
TRUNCATED = math.sqrt(1 - 2 * 2 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


@pytest.fixture
def wide() -> ModelConfig:
    return ModelConfig(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=8,
        num_attention_heads=2,
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
    )


def test_moments(wide: ModelConfig) -> None:
    model = MaskedLM(wide)
    initialize(model, seed=3)
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif value.dim() == 1:
            assert (value == 1).all(), name
        else:
            std = 0.02 / 4 if name.endswith("Wo.weight") else 0.02  # 4 = sqrt(2 * 8 layers)
            error = 5 / math.sqrt(value.numel())
            assert value.abs().max() <= 2 * std, name
            assert value.abs().max() > 1.98 * std, name
            assert value.std().item() == pytest.approx(std * TRUNCATED, rel=error), name
            assert value.mean().item() == pytest.approx(0, abs=std * error), name


def test_the_distribution_is_a_truncated_normal(wide: ModelConfig) -> None:
    value = initial_value("model.layers.0.mlp.Wi.weight", (400, 500), wide, seed=0).flatten().double() / 0.02
    for quantile in (-1.5, -0.5, 0.0, 0.7, 1.9):
        phi = (math.erf(quantile / math.sqrt(2)) / math.erf(math.sqrt(2)) + 1) / 2
        assert (value <= quantile).double().mean().item() == pytest.approx(phi, abs=4 * 0.5 / math.sqrt(200_000))


def test_standard_deviations_against_transformers(wide: ModelConfig) -> None:
    torch.manual_seed(0)
    theirs = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**wide.model_dump()))
    ours = MaskedLM(wide)
    initialize(ours, seed=0)
    their_values = dict(theirs.named_parameters())
    assert their_values.keys() == dict(ours.named_parameters()).keys()
    different = {
        name
        for name, parameter in ours.named_parameters()
        if parameter.std().item() != pytest.approx(their_values[name].std().item(), rel=0.05)
    }
    # ModernBERT's training code initializes it like an input projection; transformers like an output projection.
    assert different == {"head.dense.weight"}


def test_values_depend_only_on_seed_and_name(wide: ModelConfig) -> None:
    name, shape = "model.layers.5.attn.Wqkv.weight", (384, 128)
    value = initial_value(name, shape, wide, seed=7)
    torch.manual_seed(99)
    initial_value("head.dense.weight", (128, 128), wide, seed=7)
    assert torch.equal(value, initial_value(name, shape, wide, seed=7))
    assert not torch.equal(value, initial_value(name, shape, wide, seed=8))
    assert not torch.equal(value, initial_value(name.replace("5", "6"), shape, wide, seed=7))
    model = MaskedLM(wide)
    initialize(model, seed=7)
    assert torch.equal(model.get_parameter(name), value)


def test_no_two_matrices_are_equal(wide: ModelConfig) -> None:
    names = [f"model.layers.{layer}.mlp.Wi.weight" for layer in range(1000)]
    values = {tuple(initial_value(name, (1, 4), wide, seed=0).flatten().tolist()) for name in names}
    assert len(values) == len(names)


def test_a_partitioned_parameter_is_rejected(config: ModelConfig) -> None:
    model = MaskedLM(config)
    model.head.dense.weight.data = torch.empty(0)
    with pytest.raises(ValueError, match=r"head.dense.weight is partitioned.*GatheredParameters"):
        initialize(model, seed=0)
