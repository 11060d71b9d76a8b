"""One vector a text."""

from collections.abc import Sequence

import numpy as np
import torch

from ..scores.ranking import Vectors
from .classifier import Pooling, pool
from .fine_tune import by_tokens
from .model import Subject
from .tokens import encode_texts


@torch.no_grad()
def embed(
    subject: Subject, texts: Sequence[str], pooling: Pooling, tokens: int, encoder: torch.nn.Module | None = None
) -> Vectors:
    """float32 (N, d): the mean of a text's hidden states, or that of its first token.

    Args:
        tokens: computed at once.
        encoder: a trained copy to use in place of the subject's own.
    """
    sequences = encode_texts(subject, texts)
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    vectors = np.zeros((len(texts), subject.hidden_size), np.float32)
    for group in by_tokens(order, lambda place: len(sequences[place]), tokens):
        part = [sequences[place] for place in group]
        hidden = subject.encode(subject.encoder if encoder is None else encoder, part)
        vectors[group] = pool(hidden, [len(ids) for ids in part], pooling).cpu().numpy()
    return vectors
