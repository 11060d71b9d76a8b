"""More rows for the embedding of a trained model, each the mean of the pieces that its token replaces."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..configs.errors import UserError
from .config import ModelConfig
from .hugging_face import EMBEDDING

BIAS = "decoder.bias"


def extend_vocabulary(
    weights: Mapping[str, Tensor], config: ModelConfig, first_id: int, pieces: Sequence[Sequence[int]], size: int
) -> tuple[dict[str, Tensor], ModelConfig]:
    """The weights and config of the model for a tokenizer that grew from `first_id` tokens to `size`.

    Args:
        weights: as `read_weights` gives them.
        pieces: for each new token, from `first_id` on, the old ids that it stands for.
        size: rows afterwards; those beyond the new tokens, which no text uses, take the mean of all rows.
    """
    if config.vocab_size < first_id:
        raise UserError(f"the model has {config.vocab_size:,} tokens and its tokenizer {first_id:,}: they do not match")
    grown = dict(weights)
    for name in (EMBEDDING, BIAS):
        old = weights[name][:first_id]
        new = [old[torch.tensor(list(ids))].mean(0) for ids in pieces]
        rest = [old.mean(0)] * (size - first_id - len(pieces))
        grown[name] = torch.cat([old, torch.stack([*new, *rest])]) if new or rest else old
    return grown, config.model_copy(update={"vocab_size": size})
