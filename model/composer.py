"""Checkpoints of ModernBERT's own training code (composer's `.pt`), read without executing anything in them.

Such a file holds the state of a training run: weights under `state/model`, and under `state/integrations/huggingface`
the FlexBertConfig and the tokenizer. torch's reader of tensors opens it with a few more types, none of which acts.
Optimizer states stay on the disk.
"""

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from ..configs.errors import UserError
from .hugging_face_config import ARCHITECTURE

_RECONSTRUCT = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
_SAFE: list[Any] = [
    # What composer writes besides tensors: clocks, a version, and numpy's random state, whose names changed in numpy 2.
    datetime.timedelta,
    TorchVersion,
    np.ndarray,
    np.dtype,
    type(np.dtype(np.uint32)),
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
]
_RENAMED = (
    (re.compile(r"^(?:module\.|_orig_mod\.)+"), ""),
    (re.compile(r"^model\.(?=bert\.|head\.|decoder\.)"), ""),
    (re.compile(r"^bert\.encoder\.layers\."), "model.layers."),
    (re.compile(r"^bert\."), "model."),
)
# The values of FlexBertConfig with which it is a ModernBERT, by key; a key that is absent has the first.
_MODERNBERT: dict[str, tuple[Any, ...]] = {
    "attention_layer": ("rope",),
    "attn_out_bias": (False,),
    "attn_qkv_bias": (False,),
    "bert_layer": ("prenorm",),
    "decoder_bias": (True,),
    "embed_norm": (True,),
    "embedding_layer": ("sans_pos",),
    "final_norm": (True,),
    "head_pred_bias": (False,),
    "head_pred_norm": (True,),
    "hidden_act": ("gelu",),
    "initial_attention_layer": (None,),
    "initial_bert_layer": (None,),
    "initial_mlp_layer": (None,),
    "mlp_in_bias": (False,),
    "mlp_layer": ("glu",),
    "mlp_out_bias": (False,),
    "normalization": ("layernorm", "triton_layernorm"),
    "rotary_emb_interleaved": (False,),
    "rotary_emb_scale_base": (None,),
    "skip_first_prenorm": (True,),
}
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_REQUIRED = (*_SIZES, "rotary_emb_base", "sliding_window", "global_attn_every_n_layers")


class ComposerCheckpoint(NamedTuple):
    """What a composer checkpoint holds of its model.

    Attributes:
        weights: by the names of MaskedLM, as they were saved, read from the disk when they are used.
        config: the model as a config.json of transformers, without token ids.
        tokenizer: contents of its files by their names: JSON, or the lines of a text.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    tokenizer: dict[str, Any]


def read_composer(path: Path) -> ComposerCheckpoint:
    """Read a composer checkpoint of a ModernBERT.

    Raises:
        UserError: it is none, it holds anything but tensors and plain values, or its model is not a ModernBERT.
    """
    content = _load(path)
    state = content.get("state")
    state = state if isinstance(state, dict) else {}
    weights = {_rename(name): value for name, value in _mapping(state, "model").items() if isinstance(value, Tensor)}
    about = _mapping(_mapping(state, "integrations"), "huggingface")
    flex = _mapping(_mapping(_mapping(about, "model"), "config"), "content")
    if not weights or not flex:
        missing = "state/model" if not weights else "state/integrations/huggingface/model/config"
        raise UserError(f"{path}: no {missing}; expected a checkpoint that composer wrote (ModernBERT's training code)")
    embedding = weights.get("model.embeddings.tok_embeddings.weight")
    rows = len(embedding) if embedding is not None else 0
    tokenizer = {
        f"{name}{part.get('file_extension', '')}": part.get("content")
        for name, part in _mapping(about, "tokenizer").items()
        if isinstance(part, dict)
    }
    return ComposerCheckpoint(weights, translate_config(flex, rows, str(path)), tokenizer)


def translate_config(flex: Mapping[str, Any], vocab_size: int, origin: str) -> dict[str, Any]:
    """A FlexBertConfig as a config.json of transformers.

    Its `max_position_embeddings`, `pad_token_id` and `layer_norm_eps` are leftovers of bert-base, which nothing reads.

    Args:
        vocab_size: rows of the embedding, which FlexBERT pads.
        origin: where it is from, for errors.
    Raises:
        UserError: lists every key with which the model is not a ModernBERT.
    """
    problems = [f"{key}: absent" for key in _REQUIRED if not isinstance(flex.get(key), int | float)]
    problems += [
        f"{key}: {flex[key]!r} is not supported, only {' or '.join(map(repr, values))}"
        for key, values in _MODERNBERT.items()
        if flex.get(key, values[0]) not in values
    ]
    if not problems:
        problems = _attention_problems(flex)
    if problems:
        listing = "".join(f"\n  {problem}" for problem in sorted(problems))
        raise UserError(f"{origin}: its FlexBertConfig is not that of a ModernBERT{listing}")
    base, local = flex["rotary_emb_base"], flex.get("local_attn_rotary_emb_base")
    windowed = flex["sliding_window"] > 0
    norm = flex.get("norm_kwargs") or {}
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "modernbert",
        **{key: flex[key] for key in _SIZES},
        "vocab_size": vocab_size,
        "norm_eps": norm.get("eps", 1e-5),
        "norm_bias": norm.get("bias", True),
        "global_rope_theta": base,
        "local_rope_theta": base if local in (None, -1) else local,
        "global_attn_every_n_layers": flex["global_attn_every_n_layers"] if windowed else 1,
        "local_attention": flex["sliding_window"] if windowed else 128,
        # Of the head that was trained; published conversions wrote the classifier's, head_class_act.
        "classifier_activation": flex.get("head_pred_act", "gelu"),
        "attention_dropout": flex.get("attn_out_dropout_prob", 0.0),
        "embedding_dropout": flex.get("embed_dropout_prob", 0.0),
        "mlp_dropout": flex.get("mlp_dropout_prob", 0.0),
    }


def _attention_problems(flex: Mapping[str, Any]) -> list[str]:
    head_dim = flex["hidden_size"] // flex["num_attention_heads"]
    problems = [
        f"{key}: {flex[key]!r} is not supported, only {head_dim}, all features of a head"
        for key in ("rotary_emb_dim", "local_attn_rotary_emb_dim")
        if flex.get(key) not in (None, head_dim)
    ]
    if flex["sliding_window"] > 0 and flex["global_attn_every_n_layers"] < 1:
        problems.append(
            f"global_attn_every_n_layers: {flex['global_attn_every_n_layers']} with a sliding_window gives no layer "
            "global attention, which is not supported"
        )
    return problems


def _rename(name: str) -> str:
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _load(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_SAFE):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # readers of damaged files raise almost anything
        raise UserError(f"{path}: {_reason(path, error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a checkpoint that composer wrote, which is a dictionary")
    return content


def _reason(path: Path, error: Exception) -> str:
    """Why a file was not read; names what it wanted to execute."""
    try:
        with torch.serialization.safe_globals(_SAFE):
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # as above
        unsafe = []
    if unsafe:
        return (
            f"it holds more than tensors and plain values ({', '.join(unsafe[:5])}), which reading would execute; "
            "nothing was. Ask for the weights as safetensors"
        )
    first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return f"cannot be read as a file of tensors ({first}); copy it again"


def write_tokenizer(tokenizer: Mapping[str, Any], directory: Path) -> None:
    """Write the files of an embedded tokenizer into an existing directory; those of text were read as lines."""
    for name, content in tokenizer.items():
        if Path(name).name != name or Path(name).suffix not in (".json", ".txt"):
            continue  # code and binary models of it; the tokenizer is in tokenizer.json too
        lines = isinstance(content, list) and name.endswith(".txt")
        text = "\n".join(map(str, content)) if lines else json.dumps(content, ensure_ascii=False, indent=2)
        (directory / name).write_text(text, encoding="utf-8")
