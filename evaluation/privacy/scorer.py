"""The model that is attacked, and texts as its packs have them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from ...streaming_data.tokenizer import tokenizer as tokenizers
from ...streaming_data.tokenizer.tokenizer import LoadedTokenizer
from ..models.clozes import Filler
from ..models.model import EvaluatedModel


@dataclass(frozen=True)
class Scorer(Filler):
    """A model that fills in masked tokens, and what identifies it.

    Attributes:
        identity: hash of weights and tokenizer.
        weights: hash of the weights alone, `hash_weights`; empty if transformers computes the model.
        tokenizer: with which the model's data was prepared.
    """

    identity: str
    weights: str
    tokenizer: LoadedTokenizer


def open_scorer(model: EvaluatedModel) -> Scorer:
    """Raises UserError if the model has no head for masked tokens, or no tokenizer with which data can be prepared."""
    tokenizer = tokenizers.load(model.directory)
    return Scorer(
        name=model.name,
        identity=model.identity,
        weights="" if model.masked_lm is None else hash_weights(model.masked_lm),
        tokenizer=tokenizer,
        logits=model.open_masked_lm(),
        vocab_size=tokenizer.vocab_size,
        max_length=model.max_length,
    )


def hash_weights(model: nn.Module) -> str:
    """The hash of a masked language model's weights in fp32: the same for a checkpoint and for its export."""
    digest = xxhash.xxh3_128()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def encode(tokenizer: LoadedTokenizer, texts: Sequence[str]) -> list[Tensor]:
    """The tokens of each text as packs have them, int64 (n,), with the special tokens at both ends."""
    cls, sep = tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]
    return [
        torch.from_numpy(np.concatenate([[cls], one.tokens.astype(np.int64), [sep]]))
        for one in tokenizers.encode(tokenizer, texts)
    ]
