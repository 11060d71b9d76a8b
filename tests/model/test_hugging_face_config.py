"""Hugging Face's config.json: both formats, and every error."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face_config import read_config

# The keys of the published ModernBERT config.json (transformers 4), for a small model.
TRANSFORMERS_4: dict[str, Any] = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 1,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "eos_token_id": 2,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 32,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-05,
    "local_attention": 16,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "sep_token_id": 2,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "vocab_size": 101,
}
TRANSFORMERS_5: dict[str, Any] = {
    key: value
    for key, value in TRANSFORMERS_4.items()
    if key not in ("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "torch_dtype")
} | {
    "dtype": "float32",
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    },
}


def write_json(directory: Path, values: dict[str, Any]) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(values))
    return directory


@pytest.mark.parametrize("values", [TRANSFORMERS_4, TRANSFORMERS_5])
def test_both_config_formats(values: dict[str, Any], tmp_path: Path, config: ModelConfig) -> None:
    assert read_config(write_json(tmp_path, values)) == config


@pytest.mark.parametrize("theta", [160_000.0, None])
def test_one_theta_for_all_layers(theta: float | None, tmp_path: Path) -> None:
    config = read_config(write_json(tmp_path, TRANSFORMERS_4 | {"local_rope_theta": theta}))
    assert config.local_rope_theta == config.global_rope_theta == 160_000.0


def test_disabled_unknown_options_are_accepted(tmp_path: Path, config: ModelConfig) -> None:
    assert read_config(write_json(tmp_path, TRANSFORMERS_4 | {"causal_mask": False, "rope_scaling": None})) == config


def scaled(kind: str, **changes: object) -> dict[str, Any]:
    parameters = TRANSFORMERS_5["rope_parameters"]
    return {"rope_parameters": parameters | {kind: parameters[kind] | changes}}


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (TRANSFORMERS_4, {"model_type": "bert"}, "model_type: 'bert'"),
        (TRANSFORMERS_4, {"architectures": ["ModernBertModel"]}, r"architectures: \['ModernBertModel'\]"),
        (TRANSFORMERS_4, {"attention_bias": True}, "attention_bias: True"),
        (TRANSFORMERS_4, {"mlp_bias": True}, "mlp_bias"),
        (TRANSFORMERS_4, {"norm_bias": True}, "norm_bias"),
        (TRANSFORMERS_4, {"classifier_bias": True}, "classifier_bias"),
        (TRANSFORMERS_4, {"decoder_bias": False}, "decoder_bias: False"),
        (TRANSFORMERS_4, {"hidden_activation": "silu"}, "hidden_activation: 'silu'"),
        (TRANSFORMERS_4, {"classifier_activation": "relu"}, "classifier_activation"),
        (TRANSFORMERS_4, {"tie_word_embeddings": False}, "tie_word_embeddings"),
        (TRANSFORMERS_4, {"layer_norm_eps": 1e-12}, "layer_norm_eps: 1e-12 differs"),
        (TRANSFORMERS_4, {"rope_scaling": {"type": "yarn"}}, "rope_scaling: unknown key"),
        (TRANSFORMERS_4, {"local_attention": 15}, r"local_attention \(15\) must be even"),
        (TRANSFORMERS_4, {"hidden_size": "wide"}, "hidden_size"),
        (TRANSFORMERS_4, {"pad_token_id": None}, "pad_token_id"),
        (TRANSFORMERS_5, {"global_rope_theta": 1.0}, "rope_theta and global_rope_theta disagree"),
        (TRANSFORMERS_5, scaled("full_attention", rope_type="yarn"), "full_attention.rope_type: 'yarn'"),
        (TRANSFORMERS_5, scaled("sliding_attention", factor=2.0), "rope_parameters.sliding_attention.*factor"),
        (TRANSFORMERS_5, {"rope_parameters": {"rope_theta": 1.0}}, "rope_parameters: expected the keys"),
        (TRANSFORMERS_5, {"layer_types": ["full_attention"]}, r"layer_types: expected a list of num_hidden_layers"),
        (TRANSFORMERS_5, {"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 2}, "layer_types: expected"),
        (TRANSFORMERS_5, {"global_attn_every_n_layers": 2}, "layer_types: expected .* n = 2"),
    ],
)
def test_unsupported_configs_are_rejected(
    base: dict[str, Any], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_config(write_json(tmp_path, base | change))
    assert str(tmp_path / "config.json") in str(error.value)


def test_all_problems_of_a_config_are_listed(tmp_path: Path) -> None:
    values = TRANSFORMERS_4 | {"mlp_bias": True, "hidden_activation": "silu", "num_attention_heads": 5}
    del values["vocab_size"]
    with pytest.raises(UserError, match=r"(?s)hidden_activation.*mlp_bias.*vocab_size"):
        read_config(write_json(tmp_path, values))


def test_unreadable_configs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        read_config(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(UserError, match=r"config\.json: not JSON .*line 2"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="expected a JSON object"):
        read_config(tmp_path)
