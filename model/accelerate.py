"""Run a live ModernBERT of transformers without padding, on this project's kernels, forward and backward.

    model = AutoModelForSequenceClassification.from_pretrained(...)   # or a SentenceTransformer, or a PyLate model
    accelerate(model)

The model stays what it is: its class, its parameters and modules (and so adapters in them), how it is saved. Only
`ModernBertModel.forward` is replaced. It takes the real tokens out of the padded batch, computes them as one stream,
and puts the result back, with zeros at the padding. At real tokens the outputs are those of transformers.
"""

from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..kernels.attention.dispatch import packed_attention
from ..kernels.geglu import geglu
from ..kernels.norm import add_layer_norm, layer_norm
from ..kernels.packed import PackedBatch
from .hugging_face_config import rope_thetas

ENCODER = "ModernBertModel"
Model = TypeVar("Model", bound=nn.Module)


def accelerate(model: Model, backend: str = "auto") -> Model:
    """Replace the forward of every ModernBERT encoder in `model`, and return `model`.

    What cannot run on packed tokens goes the old way: position_ids of the caller's own, a mask with holes or of more
    than two dimensions, requested attention weights, dropout of attention weights in training.

    Args:
        model: of transformers, or anything that contains such a model.
        backend: one of `kernels.attention.dispatch.BACKENDS`.
    Raises:
        ValueError: there is no ModernBERT in it, or its RoPE is scaled.
    """
    encoders = [module for module in model.modules() if type(module).__name__ == ENCODER]
    if not encoders:
        raise ValueError(f"{type(model).__name__} contains no {ENCODER} of transformers")
    for encoder in encoders:
        config: Any = encoder.config
        encoder.attention_patterns = [(*pattern, backend) for pattern in _patterns(config)]  # type: ignore[assignment]
        config._attn_implementation = "sdpa"  # with flash attention, transformers 4 passes tokens unpadded already
        encoder.forward = MethodType(_forward, encoder)
    return model


def _forward(
    self: Any,
    input_ids: Tensor | None = None,
    attention_mask: Any = None,
    position_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    **options: Any,
) -> Any:
    """ModernBertModel.forward on packed tokens."""
    from transformers.modeling_outputs import BaseModelOutput

    given = input_ids if input_ids is not None else inputs_embeds
    mask = None if given is None else _real_tokens(attention_mask, given)
    probabilities_dropped = self.training and self.config.attention_dropout > 0
    attentions = options.get("output_attentions") or self.config.output_attentions
    if given is None or mask is None or position_ids is not None or probabilities_dropped or attentions:
        return type(self).forward(
            self,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **options,
        )
    embeddings = self.embeddings
    vectors = embeddings.tok_embeddings(given[mask]) if input_ids is not None else given[mask]
    hidden = embeddings.drop(_norm(embeddings.norm, vectors, None)[1])
    wanted = options.get("output_hidden_states")
    wanted = self.config.output_hidden_states if wanted is None else wanted
    states = _layers(self, hidden, PackedBatch.from_lengths(mask.sum(1).tolist(), hidden.device), bool(wanted))
    padded = [state.new_zeros(*mask.shape, state.shape[1]).masked_scatter(mask[..., None], state) for state in states]
    output = BaseModelOutput(last_hidden_state=padded[-1], hidden_states=tuple(padded) if wanted else None)
    return output.to_tuple() if options.get("return_dict") is False else output


def _real_tokens(attention_mask: Any, given: Tensor) -> Tensor | None:
    """bool (B, L); None if the mask is of another form, or if a row's real tokens are not adjacent."""
    if attention_mask is None:
        return torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
    if not isinstance(attention_mask, Tensor) or attention_mask.shape != given.shape[:2]:
        return None
    mask = attention_mask.bool().to(given.device)
    begins = F.pad(mask, (1, 0))
    return None if ((begins[:, 1:] & ~begins[:, :-1]).sum(1) > 1).any() else mask


def _layers(self: Any, hidden: Tensor, batch: PackedBatch, all_states: bool) -> list[Tensor]:
    """The final hidden states (T, d); with `all_states` also the input of each layer, before them."""
    states, update = [], None
    for number, layer in enumerate(self.layers):
        if all_states:
            states.append(hidden if update is None else hidden + update)
        if self.gradient_checkpointing and self.training:
            hidden, update = checkpoint(_layer, self, number, layer, hidden, update, batch, use_reentrant=False)
        else:
            hidden, update = _layer(self, number, layer, hidden, update, batch)
    return [*states, _norm(self.final_norm, hidden, update)[1]]


def _layer(
    self: Any, number: int, layer: Any, hidden: Tensor, update: Tensor | None, batch: PackedBatch
) -> tuple[Tensor, Tensor]:
    """As `encoder.EncoderLayer.forward`, with the modules of transformers."""
    normed = hidden
    if isinstance(layer.attn_norm, nn.LayerNorm):
        hidden, normed = _norm(layer.attn_norm, hidden, update)
    window, theta, backend = self.attention_patterns[number]
    qkv = layer.attn.Wqkv(normed).view(len(normed), 3, self.config.num_attention_heads, -1)
    attended = packed_attention(qkv, batch, window=window, rope_theta=theta, backend=backend)
    hidden, normed = _norm(layer.mlp_norm, hidden, layer.attn.out_drop(layer.attn.Wo(attended.flatten(1))))
    mlp = layer.mlp
    if self.config.hidden_activation != "gelu":
        return hidden, mlp(normed)
    return hidden, mlp.Wo(mlp.drop(geglu(mlp.Wi(normed))))


def _norm(norm: nn.LayerNorm, residual: Tensor, update: Tensor | None) -> tuple[Tensor, Tensor]:
    """(residual + update, its layer norm). The fused form has no bias, and no automatic change of types."""
    device = residual.device.type
    if norm.bias is not None or torch.is_autocast_enabled(device) or residual.dtype != norm.weight.dtype:
        total = residual if update is None else residual + update
        return total, norm(total)
    if update is None:
        return residual, layer_norm(residual, norm.weight, norm.eps)
    return add_layer_norm(residual, update, norm.weight, norm.eps)


def _patterns(config: Any) -> list[tuple[int | None, float]]:
    """(window, RoPE's theta) of each layer, from the configuration of either release of transformers."""
    thetas = rope_thetas(config.to_dict())
    types = getattr(config, "layer_types", None) or [
        "sliding_attention" if number % config.global_attn_every_n_layers else "full_attention"
        for number in range(config.num_hidden_layers)
    ]
    forms = {
        "full_attention": (None, thetas["global_rope_theta"]),
        "sliding_attention": (config.local_attention // 2, thetas["local_rope_theta"]),
    }
    return [forms[kind] for kind in types]
