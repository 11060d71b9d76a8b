"""Tokenization of texts and of sentences given as words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .model import EvaluatedModel


def encode_texts(
    model: EvaluatedModel, texts: Sequence[str], max_length: int | None = None, pairs: Sequence[str] | None = None
) -> list[Tensor]:
    """Token ids of each text (or text and pair), with special tokens, truncated at the shorter of both max lengths."""
    encoded = model.tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        truncation=True,
        max_length=min(max_length or model.max_length, model.max_length),
        return_attention_mask=False,
    )
    return [torch.tensor(ids) for ids in encoded["input_ids"]]


class EncodedWords(NamedTuple):
    """Token ids of a sentence (n,), indices of the words that have a token (k,), and their first tokens (k,); int64."""

    ids: Tensor
    words: Tensor
    positions: Tensor


def encode_words(model: EvaluatedModel, sentences: Sequence[Sequence[str]]) -> list[EncodedWords]:
    """Tokenize sentences and locate the first token of each word.

    The words are joined by spaces and tokenized as text, because encoders were trained on text: without the space
    before it, a byte-level tokenizer treats a word as the continuation of another one. Words beyond the model's
    `max_length` have no token.
    """
    encoded = model.tokenizer(
        [" ".join(words) for words in sentences],
        truncation=True,
        max_length=model.max_length,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    out = []
    for words, ids, offsets in zip(sentences, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        starts, ends = np.array(offsets).reshape(-1, 2).T
        tokens = np.flatnonzero(ends > starts)  # special tokens have no characters
        lengths = np.array([len(word) for word in words])
        word_starts = np.cumsum(lengths + 1) - lengths - 1
        # A token may begin with the space before its word, but it ends in the word.
        word_of = np.searchsorted(word_starts, ends[tokens] - 1, side="right") - 1
        present, firsts = np.unique(word_of, return_index=True)
        out.append(EncodedWords(torch.tensor(ids), torch.from_numpy(present), torch.from_numpy(tokens[firsts])))
    return out
