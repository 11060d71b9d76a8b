"""Language modeling, masked or causal: the encoder, a prediction head and a decoder tied to the embeddings."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.mlm_loss import mlm_loss
from ..kernels.packed import PackedBatch
from .config import ModelConfig
from .encoder import Encoder, LayerNorm

_tanh_gelu = partial(F.gelu, approximate="tanh")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}
"""Of the prediction head, by the names of transformers."""


class PredictionHead(nn.Module):
    """Dense layer, activation and LayerNorm of rows (M, d)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.activation = ACTIVATIONS[config.classifier_activation]
        self.norm = LayerNorm(config)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(hidden)))


class Decoder(nn.Module):
    """Logits of rows (M, d) over the vocabulary. Its weight (V, d) is the embedding's parameter; its bias is (V,).

    With targets (M,) it returns `(loss_sum, correct)` without storing all (M, V) logits; without targets, the logits.
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
    """ModernBERT for masked language modeling. Parameters are named as in Hugging Face's ModernBertForMaskedLM.

    The constructor leaves torch's default random weights: call `initialize.initialize` or load a state dict.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Encoder(config)
        self.head = PredictionHead(config)
        self.decoder = Decoder(config, self.model.embeddings.tok_embeddings)

    def forward(
        self, input_ids: Tensor, batch: PackedBatch, positions: Tensor, targets: Tensor, *, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Loss and correct predictions at `positions`. All other tokens are context and skip the head.

        Args:
            input_ids: int64 (T,), the packed tokens, some of them replaced by the mask token; causal: as they are.
            batch: the sequences in those T tokens.
            positions: int64 (M,), indices into the T tokens: the masked ones, or those with a next one. M may be 0.
            targets: int64 (M,), the original tokens at these positions, or the next ones; -100 is ignored.
            causal: each token attends only to itself and to those before it in its sequence.

        Returns:
            The summed cross-entropy (fp32 scalar, in nats), and whether each token's top prediction is correct, bool
            (M,). It is a sum so that the caller can divide by the number of targets of the step over all ranks.
        """
        if causal:  # nearly every row is read, so that the last layer computes all of them
            hidden = self.model(input_ids, batch, causal=True).index_select(0, positions)
        else:
            hidden = self.model(input_ids, batch, positions)
        return self.decoder(self.head(hidden), targets)

    def logits(self, input_ids: Tensor, batch: PackedBatch, positions: Tensor) -> Tensor:
        """Logits (M, V) at `positions`, int64 (M,), for inference and for checking exports."""
        return self.decoder(self.head(self.model(input_ids, batch, positions)))
