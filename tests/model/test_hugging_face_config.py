"""Hugging Face's config.json: both formats, and every error."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face_config import parse_directory, read_config

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


@pytest.mark.parametrize("theta", [160_000.0, None, -1])
def test_one_theta_for_all_layers(theta: float | None, tmp_path: Path) -> None:
    parsed = parse_directory(write_json(tmp_path, TRANSFORMERS_4 | {"local_rope_theta": theta}))
    assert parsed.config.local_rope_theta == parsed.config.global_rope_theta == 160_000.0
    rope = scaled("sliding_attention", rope_theta=theta)
    newer = parse_directory(write_json(tmp_path, TRANSFORMERS_5 | rope))
    assert newer.config.local_rope_theta == 160_000.0
    for one in (parsed, newer):
        assert [warning.partition(":")[0] for warning in one.warnings] == ["local_rope_theta"] * (theta != 160_000.0)


def test_what_transformers_never_reads_is_noted(tmp_path: Path, config: ModelConfig) -> None:
    silent: dict[str, Any] = {"causal_mask": False, "layer_norm_eps": 1e-12, "head_dim": 16, "pruned_heads": {}}
    silent |= {"rope_scaling": {"rope_type": "default"}, "partial_rotary_factor": 1.0, "sliding_window": 8}
    noted = {"loss_kwargs": {"reduction": "mean"}, "tokenizer_class": "X", "auto_map": {"AutoModel": "code.Model"}}
    parsed = parse_directory(write_json(tmp_path, TRANSFORMERS_4 | silent | noted))
    assert parsed.config == config
    assert parsed.has_head
    assert not parsed.warnings
    assert [note.partition(":")[0] for note in parsed.notes] == sorted(noted)


def test_settings_with_which_transformers_errs_are_warned_of(tmp_path: Path, config: ModelConfig) -> None:
    wrong = TRANSFORMERS_4 | {"sliding_window": 16, "classifier_activation": "silu"}
    parsed = parse_directory(write_json(tmp_path, wrong))
    assert parsed.config == config.model_copy(update={"classifier_activation": "silu"})
    window, activation = parsed.warnings
    assert "attends to 32 tokens instead of local_attention (16)" in window
    assert "the activation of the masked-language-model head" in activation


def test_architectures_only_say_whether_there_is_a_head(tmp_path: Path, config: ModelConfig) -> None:
    for names, head in ((["ModernBertModel"], False), (["ModernBertForSequenceClassification"], False), ([], True)):
        parsed = parse_directory(write_json(tmp_path, TRANSFORMERS_4 | {"architectures": names}))
        assert (parsed.config, parsed.has_head) == (config, head)


def test_token_ids_come_from_the_tokenizer_where_the_config_has_none(tmp_path: Path) -> None:
    lacking = {key: value for key, value in TRANSFORMERS_4.items() if not key.endswith("_token_id")}
    assert read_config(write_json(tmp_path, lacking | {"pad_token_id": 5, "bos_token_id": 1, "eos_token_id": 1})) == (
        read_config(write_json(tmp_path, TRANSFORMERS_4)).model_copy(update={"pad_token_id": 5, "sep_token_id": 1})
    )
    with pytest.raises(UserError, match=r"pad_token_id: .*no tokenizer"):
        read_config(write_json(tmp_path, lacking | {"pad_token_id": None}))
    roles: dict[str, Any] = {"bos_token": "<s>", "sep_token": {"content": "</s>"}}
    added = [{"content": "</s>", "id": 8}]
    ids = ({"<s>": 7, "<pad>": 9}, [["<x>", 0.0]] * 7 + [["<s>", -1.0], ["y", 0.0], ["<pad>", 0.0]])
    for vocabulary in ids:  # BPE and WordPiece; Unigram
        write_json(tmp_path, lacking | {"cls_token_id": None})
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added}))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(roles))
        (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<pad>", "sep_token": "<s>"}))
        found = read_config(tmp_path)
        assert (found.pad_token_id, found.cls_token_id, found.sep_token_id) == (9, 7, 8)


def scaled(kind: str, **changes: object) -> dict[str, Any]:
    parameters = TRANSFORMERS_5["rope_parameters"]
    return {"rope_parameters": parameters | {kind: parameters[kind] | changes}}


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (TRANSFORMERS_4, {"model_type": "bert"}, "model_type: 'bert'"),
        (TRANSFORMERS_4, {"attention_bias": True}, "attention_bias: True"),
        (TRANSFORMERS_4, {"mlp_bias": True}, "mlp_bias"),
        (TRANSFORMERS_4, {"norm_bias": True}, "norm_bias"),
        (TRANSFORMERS_4, {"classifier_bias": True}, "classifier_bias"),
        (TRANSFORMERS_4, {"decoder_bias": False}, "decoder_bias: False"),
        (TRANSFORMERS_4, {"hidden_activation": "silu"}, "hidden_activation: 'silu'"),
        (TRANSFORMERS_4, {"classifier_activation": "mish"}, "classifier_activation"),
        (TRANSFORMERS_4, {"tie_word_embeddings": False}, "tie_word_embeddings"),
        (TRANSFORMERS_4, {"rope_scaling": {"type": "yarn"}}, "rope_scaling: .*yarn.* is not supported: scaled RoPE"),
        (TRANSFORMERS_4, {"is_causal": True}, "is_causal: true is not supported: this encoder attends in both"),
        (TRANSFORMERS_4, {"quantization_config": {"bits": 4}}, "quantization_config: .*the checkpoint that was quant"),
        (TRANSFORMERS_4, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: 0.5 is not supported"),
        (TRANSFORMERS_4, {"head_dim": 8}, "head_dim: 8 is not supported"),
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
