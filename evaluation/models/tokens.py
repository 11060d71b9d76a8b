"""Tokenization of texts and of words in texts, and division of long texts into windows."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..formats.words import Words


class Tokenizes(Protocol):
    """A model, or what is left of one."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def max_length(self) -> int: ...


class Lengths(NamedTuple):
    """How long texts are divided.

    Attributes:
        max_length: tokens of a window, with special tokens; None: the model's maximum length.
        overlap: tokens that a window shares with the one before; None: there is one window, and the rest is cut.
    """

    max_length: int | None = None
    overlap: int | None = None


CUT = Lengths()
"""One window of the model's maximum length."""


class EncodedText(NamedTuple):
    """The windows of a text, int64 (n,) each, with special tokens; and whether some of the text is in none."""

    windows: list[Tensor]
    cut: bool


class EncodedContext(NamedTuple):
    """The windows of a question and its context, and where their tokens are in it.

    Attributes:
        characters: int64 (n, 2) of each window, characters [start, end) of the context; -1 for other tokens.
        cut: whether some of the question or the context is in no window.
    """

    windows: list[Tensor]
    characters: list[npt.NDArray[np.int64]]
    cut: bool


class EncodedWords(NamedTuple):
    """The windows of a text, the words that have a token (k,), and where those are.

    Positions (k,) count the tokens of all windows together. Of the windows that have a word it is the one in which
    the word has most context. Words that are cut, or have no character that the tokenizer keeps, have no token.
    """

    windows: list[Tensor]
    words: Tensor
    positions: Tensor
    cut: bool


def encode_texts(
    model: Tokenizes, texts: Sequence[str], max_length: int | None = None, pairs: Sequence[str] | None = None
) -> list[Tensor]:
    """Token ids of each text (or text and pair), with special tokens, truncated at the shorter of both max lengths."""
    encoded = model.tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        truncation=True,
        max_length=_limit(model, max_length),
        return_attention_mask=False,
    )
    return [torch.tensor(ids) for ids in encoded["input_ids"]]


def are_cut(model: Tokenizes, texts: Sequence[str]) -> list[bool]:
    """Which texts `encode_texts` truncates. Only those with more bytes than a sequence has tokens are tokenized."""
    cut = [len(text.encode("utf-8", "replace")) >= model.max_length - _special(model) for text in texts]
    long = [text for text, suspected in zip(texts, cut, strict=True) if suspected]
    lengths = iter([len(ids) for ids in model.tokenizer(long)["input_ids"]] if long else [])
    return [suspected and next(lengths) > model.max_length for suspected in cut]


def _special(model: Tokenizes) -> int:
    return int(model.tokenizer.num_special_tokens_to_add())


def encode_long_texts(
    model: Tokenizes, texts: Sequence[str], lengths: Lengths, pairs: Sequence[str] | None = None
) -> list[EncodedText]:
    """Token ids of each text, or text and pair, in windows. Of a pair the longer text is divided."""
    if pairs is None:
        return [EncodedText(windows, cut) for windows, _, cut in _windows(model, texts, None, True, lengths)]
    encoded: list[EncodedText] = [EncodedText([], False)] * len(texts)
    for truncation, chosen in _longer(texts, pairs).items():
        sides = [[side[number] for number in chosen] for side in (texts, pairs)]
        shorter = 0 if truncation == "only_second" else 1
        sides[shorter], shortened = _shorten(model, sides[shorter], _limit(model, lengths.max_length) // 2)
        windows_of = _windows(model, sides[0], sides[1], truncation, lengths)
        for number, (windows, _, cut), also in zip(chosen, windows_of, shortened, strict=True):
            encoded[number] = EncodedText(windows, cut or also)
    return encoded


def _longer(texts: Sequence[str], pairs: Sequence[str]) -> dict[str, list[int]]:
    """The indices of pairs by which of the two is longer, in transformers' words."""
    chosen: dict[str, list[int]] = {}
    for number, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        chosen.setdefault("only_second" if len(pair) >= len(text) else "only_first", []).append(number)
    return chosen


def _shorten(model: Tokenizes, texts: Sequence[str], tokens: int) -> tuple[list[str], list[bool]]:
    """The beginnings of texts of more than `tokens` tokens, and which are cut, so that a window has room for both."""
    encoded = model.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    cut = [len(offsets) > tokens for offsets in encoded]
    short = [text[: offsets[tokens - 1][1]] if long else text
             for text, offsets, long in zip(texts, encoded, cut, strict=True)]  # fmt: skip
    return short, cut


def encode_contexts(
    model: Tokenizes, questions: Sequence[str], contexts: Sequence[str], lengths: Lengths
) -> list[EncodedContext]:
    """Tokenize questions with their contexts, which are divided. A question has at most half of a window."""
    questions, shortened = _shorten(model, questions, _limit(model, lengths.max_length) // 2)
    encoded = _tokenize(model, questions, contexts, "only_second", lengths)
    out = [EncodedContext([], [], also) for also in shortened]
    for row, owner in enumerate(encoded["overflow_to_sample_mapping"]):
        windows, characters, _ = out[owner]
        if windows and lengths.overlap is None:
            out[owner] = out[owner]._replace(cut=True)
            continue
        side = np.array([sequence == 1 for sequence in encoded.sequence_ids(row)])
        windows.append(torch.tensor(encoded["input_ids"][row]))
        characters.append(np.where(side[:, None], np.array(encoded["offset_mapping"][row], np.int64), -1))
    return out


def encode_words(
    model: Tokenizes, texts: Sequence[str], words_of: Sequence[Words], lengths: Lengths = CUT
) -> list[EncodedWords]:
    """Tokenize texts and locate the first token of each word."""
    return [
        _locate(windows, offsets, np.array(words, np.int64).reshape(-1, 2), cut)
        for words, (windows, offsets, cut) in zip(words_of, _windows(model, texts, None, True, lengths), strict=True)
    ]


def _limit(model: Tokenizes, max_length: int | None) -> int:
    return min(max_length or model.max_length, model.max_length)


def _windows(
    model: Tokenizes, texts: Sequence[str], pairs: Sequence[str] | None, truncation: bool | str, lengths: Lengths
) -> list[tuple[list[Tensor], list[Any], bool]]:
    """For each text its windows, the characters [start, end) of their tokens, (n, 2) each, and whether it is cut."""
    overlap = lengths.overlap
    encoded = _tokenize(model, texts, pairs, truncation, lengths)
    out: list[tuple[list[Tensor], list[Any], bool]] = [([], [], False) for _ in texts]
    owners = encoded["overflow_to_sample_mapping"]
    for owner, ids, offsets in zip(owners, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        windows, characters, _ = out[owner]
        if windows and overlap is None:
            out[owner] = (windows, characters, True)
        else:
            windows.append(torch.tensor(ids))
            characters.append(np.array(offsets, np.int64).reshape(-1, 2))
    return out


def _tokenize(
    model: Tokenizes, texts: Sequence[str], pairs: Sequence[str] | None, truncation: bool | str, lengths: Lengths
) -> Any:
    """What the tokenizer gives for all windows."""
    limit = _limit(model, lengths.max_length)
    special = model.tokenizer.num_special_tokens_to_add(pairs is not None)
    overlap = lengths.overlap
    return model.tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        truncation=truncation,
        max_length=limit,
        stride=0 if overlap is None else max(0, min(overlap, (limit - special) // 2)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )


def _locate(windows: list[Tensor], offsets: list[Any], words: Any, cut: bool) -> EncodedWords:
    """The first token of each word in the window in which it is farthest from where the text was divided."""
    best: dict[int, tuple[int, int]] = {}
    first = 0
    for number, characters in enumerate(offsets):
        starts, ends = characters.T
        tokens = np.flatnonzero(ends > starts)  # special tokens have no characters
        # A token may begin with the space before its word, but it ends in the word.
        word_of = np.searchsorted(words[:, 0], ends[tokens] - 1, side="right") - 1
        inside = (word_of >= 0) & (ends[tokens] - 1 < words[word_of, 1]) if len(words) else np.zeros(len(tokens), bool)
        present, firsts = np.unique(word_of[inside], return_index=True)
        for word, token in zip(present.tolist(), tokens[inside][firsts].tolist(), strict=True):
            before = token if number > 0 else len(starts)
            after = len(starts) - token if number < len(offsets) - 1 else len(starts)
            context = min(before, after)
            if word not in best or context > best[word][0]:
                best[word] = (context, first + token)
        first += len(starts)
    order = sorted(best)
    positions = torch.tensor([best[word][1] for word in order], dtype=torch.int64)
    return EncodedWords(windows, torch.tensor(order, dtype=torch.int64), positions, cut)
