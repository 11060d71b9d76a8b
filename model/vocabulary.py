"""Resize the embedding of a trained model for an extended tokenizer, with mean initialization."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..configs.errors import UserError
from .config import ModelConfig
from .hugging_face import EMBEDDING

DECODER_BIAS = "decoder.bias"


def extend_vocabulary(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    first_id: int,
    replaced_ids: Sequence[Sequence[int]],
    size: int,
) -> tuple[dict[str, Tensor], ModelConfig]:
    """Return the weights and config of the model for a tokenizer that was extended from `first_id` tokens to `size`.

    Args:
        weights: as `read_weights` returns them.
        replaced_ids: for each new token, from `first_id` on, the old ids that it replaces. Its row is their mean.
        size: number of rows of the result. Rows beyond the new tokens, which no text uses, are the mean of all rows.
    """
    if config.vocab_size < first_id:
        raise UserError(f"the model has {config.vocab_size:,} tokens and its tokenizer {first_id:,}: they do not match")
    extended = dict(weights)
    for name in (EMBEDDING, DECODER_BIAS):
        old = weights[name][:first_id]
        new = [old[torch.tensor(list(ids))].mean(0) for ids in replaced_ids]
        unused = [old.mean(0)] * (size - first_id - len(replaced_ids))
        extended[name] = torch.cat([old, torch.stack([*new, *unused])]) if new or unused else old
    return extended, config.model_copy(update={"vocab_size": size})
