"""Texts and words as a subject's token ids."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .model import Subject


def encode_texts(
    subject: Subject, texts: Sequence[str], max_length: int | None = None, pairs: Sequence[str] | None = None
) -> list[Tensor]:
    """Token ids of each text (or of it and its pair), with special tokens, cut at the shorter of the two limits."""
    encoded = subject.tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        truncation=True,
        max_length=min(max_length or subject.max_length, subject.max_length),
        return_attention_mask=False,
    )
    return [torch.tensor(ids) for ids in encoded["input_ids"]]


class EncodedWords(NamedTuple):
    """A sentence as token ids (n,), the words that have a token (k,), and the first token of each (k,), all int64."""

    ids: Tensor
    words: Tensor
    places: Tensor


def encode_words(subject: Subject, sentences: Sequence[Sequence[str]]) -> list[EncodedWords]:
    """Words beyond the subject's longest sequence have no token.

    The words are joined by spaces and tokenised as text, since that is what encoders were trained on: without the space
    before it a byte-level tokenizer takes every word for the end of another one.
    """
    encoded = subject.tokenizer(
        [" ".join(words) for words in sentences],
        truncation=True,
        max_length=subject.max_length,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    out = []
    for words, ids, offsets in zip(sentences, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        starts, ends = np.array(offsets).reshape(-1, 2).T
        tokens = np.flatnonzero(ends > starts)  # special tokens are of no character
        lengths = np.array([len(word) for word in words])
        begins = np.cumsum(lengths + 1) - lengths - 1
        # A token may begin with the space before its word, but ends in the word.
        word_of = np.searchsorted(begins, ends[tokens] - 1, side="right") - 1
        found, firsts = np.unique(word_of, return_index=True)
        out.append(EncodedWords(torch.tensor(ids), torch.from_numpy(found), torch.from_numpy(tokens[firsts])))
    return out
