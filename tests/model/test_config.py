"""ModelConfig accepts architectures that can be built and explains why it rejects others."""

from typing import Any

import pytest
from model_fixtures import RandomConfig
from pydantic import ValidationError

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import parameter_shapes
from clinical_modernbert.model.masked_lm import MaskedLM

BASE: dict[str, Any] = {
    "vocab_size": 50_368,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "pad_token_id": 50_283,
    "cls_token_id": 50_281,
    "sep_token_id": 50_282,
}
LARGE = BASE | {"hidden_size": 1024, "intermediate_size": 2624, "num_hidden_layers": 28, "num_attention_heads": 16}


@pytest.mark.parametrize(("values", "published"), [(BASE, 149_655_232), (LARGE, 395_881_664)])
def test_published_parameter_counts(values: dict[str, Any], published: int) -> None:
    config = ModelConfig(**values)
    counted = 0
    for shape in parameter_shapes(config).values():
        size = 1
        for extent in shape:
            size *= extent
        counted += size
    assert config.num_parameters == counted == published


def test_parameter_count_of_random_architectures(random_config: RandomConfig) -> None:
    for seed in range(20):
        config = random_config(seed)
        assert config.num_parameters == sum(parameter.numel() for parameter in MaskedLM(config).parameters())


def test_derived_properties() -> None:
    config = ModelConfig(**BASE)
    assert config.head_dim == 64
    assert config.window == 64
    assert [layer for layer in range(22) if config.is_global(layer)] == [0, 3, 6, 9, 12, 15, 18, 21]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 7}, r"hidden_size \(768\) must be divisible by num_attention_heads \(7\)"),
        ({"num_attention_heads": 256}, r"768 / 256 = 3\) must be even"),
        ({"local_attention": 127}, r"local_attention \(127\) must be even"),
        ({"pad_token_id": 50_368}, r"pad_token_id \(50368\) must be below vocab_size \(50368\)"),
        ({"hidden_sise": 768}, "hidden_sise"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"mlp_dropout": 1.0}, "mlp_dropout"),
    ],
)
def test_invalid_values_are_rejected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**BASE | change)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        ModelConfig(**BASE).hidden_size = 1024  # type: ignore[misc]
