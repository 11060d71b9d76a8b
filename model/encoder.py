"""The ModernBERT encoder on packed tensors (Warner et al., arXiv 2412.13663).

A batch is one stream of T tokens, the concatenation of B sequences; `PackedBatch` holds where each begins. Nothing is
padded, and no token attends to another sequence. Everything but attention treats the T tokens as rows of a matrix.

Each parameter is read only in the forward of the module that owns it, so that ZeRO-3 can gather it there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..kernels.attention.dispatch import packed_attention
from ..kernels.geglu import geglu
from ..kernels.norm import add_layer_norm, layer_norm
from ..kernels.packed import PackedBatch
from .config import ModelConfig


@dataclass(frozen=True)
class AttentionOptions:
    """Options of `packed_attention` that are the same in all layers."""

    backend: str
    deterministic: bool
    causal: bool


class LayerNorm(nn.Module):
    """Layer normalization of each row of x (T, d), without a bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.eps)


class AddLayerNorm(nn.Module):
    """Add an update to the residual stream, both (T, d); return the sum and its layer norm, in one pass over memory.

    Without an update, return the stream and its layer norm.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.norm_eps

    def forward(self, residual: Tensor, update: Tensor | None) -> tuple[Tensor, Tensor]:
        if update is None:
            return residual, layer_norm(residual, self.weight, self.eps)
        return add_layer_norm(residual, update, self.weight, self.eps)


class Embeddings(nn.Module):
    """Token ids (T,) to normalized vectors (T, d). Positions enter later, as rotations in attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = LayerNorm(config)
        self.drop = nn.Dropout(config.embedding_dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.drop(self.norm(self.tok_embeddings(input_ids)))


class Attention(nn.Module):
    """Self-attention inside each sequence: to all of it in a global layer, to a window in a local one."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        is_global = config.is_global(layer)
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.window = None if is_global else config.window
        self.rope_theta = config.global_rope_theta if is_global else config.local_rope_theta
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.out_drop = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, batch: PackedBatch, how: AttentionOptions, rows: Tensor | None) -> Tensor:
        """x (T, d) to (T, d), or to (R, d) at `rows`, int64 (R,). Attention itself is computed for all tokens."""
        qkv = self.Wqkv(x).view(-1, 3, self.heads, self.head_dim)
        attended = packed_attention(
            qkv,
            batch,
            window=self.window,
            rope_theta=self.rope_theta,
            causal=how.causal,
            backend=how.backend,
            deterministic=how.deterministic,
            overwrite=True,
        )
        return self.out_drop(self.Wo(_select(attended.flatten(1), rows)))


class MLP(nn.Module):
    """GeGLU feed-forward (T, d) -> (T, d): the GELU of the first half of Wi gates the second half."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.drop = nn.Dropout(config.mlp_dropout)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.Wo(self.drop(geglu(self.Wi(x))))


class EncoderLayer(nn.Module):
    """Attention, then MLP. Each reads the normalized residual stream (T, d) and is added to it.

    A layer returns the stream and the update that its MLP adds: the next norm adds them while it reads them.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        # The embeddings are normalized already, so layer 0 does not normalize them again.
        self.attn_norm = AddLayerNorm(config) if layer else None
        self.attn = Attention(config, layer)
        self.mlp_norm = AddLayerNorm(config)
        self.mlp = MLP(config)

    def forward(
        self, hidden: Tensor, update: Tensor | None, batch: PackedBatch, how: AttentionOptions, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The stream and its next update, each (T, d), or (R, d) at `rows`, int64 (R,).

        Args:
            update: that of the layer before; None if it is added already.
        """
        normed = hidden
        if self.attn_norm is not None:
            hidden, normed = self.attn_norm(hidden, update)
        attended = self.attn(normed, batch, how, rows)
        hidden, normed = self.mlp_norm(_select(hidden, rows), attended)
        return hidden, self.mlp(normed)


def _select(x: Tensor, rows: Tensor | None) -> Tensor:
    return x if rows is None else x.index_select(0, rows)


class Encoder(nn.Module):
    """Token ids (T,) and their PackedBatch to contextual vectors (T, d).

    Three attributes control how it runs, not what it computes, and may be set at any time:
    `activation_checkpointing` saves only each layer's input and recomputes the layer in the backward pass;
    `attention_backend` is one of `kernels.attention.dispatch.BACKENDS`; `deterministic_attention` requires backward
    passes that are equal bit for bit.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(EncoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.final_norm = AddLayerNorm(config)
        self.max_seqlen = config.max_position_embeddings
        self.activation_checkpointing = False
        self.attention_backend = "auto"
        self.deterministic_attention = True

    def forward(
        self, input_ids: Tensor, batch: PackedBatch, rows: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """Token ids (T,) -> (T, d), or (R, d) at `rows`, int64 (R,).

        The last layer computes its MLP for these rows only, as nothing reads the others.

        Args:
            causal: each token attends only to itself and to those before it in its sequence.
        Raises:
            ValueError: a sequence is longer than max_position_embeddings.
        """
        if batch.max_seqlen > self.max_seqlen:
            raise ValueError(
                f"a sequence of {batch.max_seqlen} tokens is longer than max_position_embeddings ({self.max_seqlen}): "
                "split it into shorter segments"
            )
        hidden, update = self.embeddings(input_ids), None
        how = AttentionOptions(self.attention_backend, self.deterministic_attention, causal)
        for number, layer in enumerate(self.layers, 1):
            arguments = (batch, how, rows if number == len(self.layers) else None)
            if self.activation_checkpointing and torch.is_grad_enabled():
                # The sum is one tensor to save, the pair would be two.
                hidden = hidden if update is None else hidden + update
                hidden, update = checkpoint(layer, hidden, None, *arguments, use_reentrant=False)
            else:
                hidden, update = layer(hidden, update, *arguments)
        return self.final_norm(hidden, update)[1]
