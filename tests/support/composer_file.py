"""Composer checkpoints, in the layout of ModernBERT's training code, made from models of this project."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.torch_version import TorchVersion

from clinical_modernbert.model.config import ModelConfig

ROLES = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": {"content": "[SEP]"}}
VOCABULARY = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2}


def flex_config(config: ModelConfig) -> dict[str, Any]:
    """The FlexBertConfig of a model, with what it has from bert-base and nothing reads."""
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return {
        **{key: getattr(config, key) for key in sizes},
        "max_position_embeddings": 512,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 5,
        "model_type": "bert",
        "attention_layer": "rope",
        "bert_layer": "prenorm",
        "embedding_layer": "sans_pos",
        "mlp_layer": "glu",
        "normalization": "layernorm",
        "norm_kwargs": {"eps": config.norm_eps, "bias": False},
        "rotary_emb_base": config.global_rope_theta,
        "local_attn_rotary_emb_base": config.local_rope_theta,
        "rotary_emb_dim": None,
        "sliding_window": config.local_attention,
        "global_attn_every_n_layers": config.global_attn_every_n_layers,
        "hidden_act": "gelu",
        "head_pred_act": "gelu",
        "head_class_act": "silu",
        "attn_out_dropout_prob": 0.1,
        "skip_first_prenorm": True,
        "final_norm": True,
    }


def composer_name(name: str) -> str:
    """The name that FlexBERT in composer's HuggingFaceModel gives a parameter."""
    if name.startswith("model.layers."):
        return f"model.bert.encoder.{name.removeprefix('model.')}"
    return f"model.bert.{name.removeprefix('model.')}" if name.startswith("model.") else f"model.{name}"


def composer_content(model: Any, **changes: Any) -> dict[str, Any]:
    """What composer saves of a run: the model, its config and tokenizer, and state that is no tensor."""
    weights = {composer_name(name): value for name, value in model.state_dict().items()}
    tokenizer = {"model": {"vocab": VOCABULARY}, "added_tokens": []}
    files = {"tokenizer": ".json", "tokenizer_config": ".json"}
    contents = {"tokenizer": tokenizer, "tokenizer_config": ROLES}
    about = {
        "model": {"config": {"file_extension": ".json", "content": flex_config(model.config) | changes}},
        "tokenizer": {name: {"file_extension": end, "content": contents[name]} for name, end in files.items()},
    }
    random_state = np.random.default_rng(0).bit_generator.random_raw(4).astype(np.uint32)
    state = {
        "model": weights,
        "optimizers": {"AdamW": {"state": {0: {"exp_avg": torch.zeros(7)}}}},
        "integrations": {"huggingface": about},
        "timestamp": {"total_wct": datetime.timedelta(seconds=5)},
        "torch": TorchVersion("2.4.0"),
    }
    return {"state": state, "rng": [{"numpy": ("MT19937", random_state, 1, 0, 0.0)}]}


def write_composer(path: Path, model: Any, edit: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    content = composer_content(model)
    edit(content)
    torch.save(content, path)
    return path


def flex_of(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["state"]["integrations"]["huggingface"]["model"]["config"]["content"]
    return found
