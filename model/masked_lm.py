"""Masked language modelling: the encoder, a prediction head and a decoder tied to the embeddings."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.mlm_loss import mlm_loss
from ..kernels.packed import PackedBatch
from .config import ModelConfig
from .encoder import Encoder, LayerNorm


class PredictionHead(nn.Module):
    """Dense, GELU, LayerNorm on rows (M, d)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = LayerNorm(config)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(hidden)))


class Decoder(nn.Module):
    """Scores rows (M, d) against the vocabulary. Its weight (V, d) is the embedding's own parameter; its bias is (V,).

    With targets (M,) it returns `(loss_sum, right)` without ever holding all (M, V) logits; without, the logits.
    """

    def __init__(self, config: ModelConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, targets: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        if targets is None:
            return F.linear(hidden, self.weight, self.bias)
        return mlm_loss(hidden, self.weight, self.bias, targets)


class MaskedLM(nn.Module):
    """ModernBERT for masked language modelling; parameters are named as in Hugging Face's ModernBertForMaskedLM.

    Made with torch's default random weights: follow with `initialize.initialize`, or load a state dict.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Encoder(config)
        self.head = PredictionHead(config)
        self.decoder = Decoder(config, self.model.embeddings.tok_embeddings)

    def forward(
        self, input_ids: Tensor, batch: PackedBatch, masked_positions: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and hits on the masked tokens; all other tokens are context and skip the head.

        Args:
            input_ids: int64 (T,), the packed tokens, some of them replaced by the mask.
            batch: where each sequence lies in those T tokens.
            masked_positions: int64 (M,), indices into the T tokens. M may be 0.
            targets: int64 (M,), the true tokens there; -100 counts for nothing.

        Returns:
            The summed cross-entropy (fp32 scalar, in nats) and whether each first guess is right, bool (M,). A sum, so
            that the caller can divide by the number of masked tokens of the whole step, over all ranks.
        """
        hidden = self.model(input_ids, batch)
        return self.decoder(self.head(hidden.index_select(0, masked_positions)), targets)

    def logits(self, input_ids: Tensor, batch: PackedBatch, positions: Tensor) -> Tensor:
        """Scores (M, V) of every vocabulary entry at `positions`, int64 (M,), for inference and export checks."""
        hidden = self.model(input_ids, batch)
        return self.decoder(self.head(hidden.index_select(0, positions)))
