"""A model of vectors: one per text, or one per token for late interaction (ColBERT)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...configs.progress import Progress
from ..models.embed import embed
from ..models.model import EvaluatedModel
from ..models.pooling import group_by_tokens, pool
from ..models.protocol import Pooling
from ..models.tokens import encode_texts
from ..scores.ranking import Vectors


@dataclass(frozen=True)
class Embedder:
    """An encoder that was trained for vectors, or that of `model` as it is.

    Attributes:
        encoder: a copy of the model's, in evaluation mode.
        pooling: of a text's hidden states; unused with a projection.
        projection: of hidden states to the vectors of tokens, (d, k); None: a text has one vector.
    """

    model: EvaluatedModel
    encoder: nn.Module
    pooling: Pooling = "mean"
    projection: nn.Linear | None = None

    def text_vectors(self, sequences: Sequence[Tensor]) -> Tensor:
        """Vectors of norm 1 of B texts of token ids, (B, d)."""
        hidden = self.model.encode(self.encoder, sequences)
        return F.normalize(pool(hidden, [len(ids) for ids in sequences], self.pooling), dim=1)

    def token_vectors(self, sequences: Sequence[Tensor]) -> Tensor:
        """Vectors of norm 1 of all T tokens of the texts, (T, k)."""
        assert self.projection is not None
        return F.normalize(self.projection(self.model.encode(self.encoder, sequences)), dim=1)

    def embed(self, texts: Sequence[str], tokens: int) -> Vectors:
        """The vector of each text, (N, d). `tokens` are computed at a time."""
        return embed(self.model, texts, self.pooling, tokens, self.encoder)

    @torch.no_grad()
    def embed_tokens(self, texts: Sequence[str], tokens: int) -> list[Vectors]:
        """The vectors of the tokens of each text, (n, k) each."""
        sequences = encode_texts(self.model, texts)
        order = sorted(range(len(texts)), key=lambda index: -len(sequences[index]))
        vectors: list[Vectors] = [np.zeros((0, 0), np.float32)] * len(texts)
        with Progress("embedding", len(texts), "texts") as progress:
            padded = not self.model.unpadded
            for group in group_by_tokens(order, lambda index: len(sequences[index]), tokens, padded=padded):
                part = [sequences[index] for index in group]
                rows = self.token_vectors(part).float().cpu().split([len(ids) for ids in part])
                for index, row in zip(group, rows, strict=True):
                    vectors[index] = row.numpy()
                progress.advance(len(group))
        return vectors
