"""Embedding of texts: one vector per text."""

from collections.abc import Sequence

import numpy as np
import torch

from ...configs.progress import Progress
from ..scores.ranking import Vectors
from .model import EvaluatedModel
from .pooling import group_by_tokens, pool
from .protocol import Pooling
from .tokens import encode_texts


@torch.no_grad()
def embed(
    model: EvaluatedModel, texts: Sequence[str], pooling: Pooling, tokens: int, encoder: torch.nn.Module | None = None
) -> Vectors:
    """Return one vector per text, float32 (N, d): the mean hidden state, or the one of the first token.

    Args:
        tokens: per batch, with padding if the model pads, which limits memory.
        encoder: a trained copy to use instead of the model's own encoder.
    """
    sequences = encode_texts(model, texts)
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    vectors = np.zeros((len(texts), model.hidden_size), np.float32)
    with Progress("embedding", len(texts), "texts") as progress:
        for group in group_by_tokens(order, lambda index: len(sequences[index]), tokens, padded=not model.unpadded):
            part = [sequences[index] for index in group]
            hidden = model.encode(model.encoder if encoder is None else encoder, part)
            vectors[group] = pool(hidden, [len(ids) for ids in part], pooling).cpu().numpy()
            progress.advance(len(group))
    return vectors
