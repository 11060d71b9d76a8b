"""Which tokens of a pack are masked together.

- `token`: each token alone, as in the first release of BERT.
- `whole_word`: the tokens of a word. Words were found when the data was prepared, from the text: letters, digits, or a
  run of punctuation.
- `span`: runs of whole words of one segment. Their number of words is geometric with p = 0.2, at most 10, 3.8 on
  average (SpanBERT, arXiv 1907.10529). Every pack is divided into such spans, differently in each epoch, and some of
  them are masked.
- `code_aware`: whole words, and whole codes. `E11.9`, `250.00`, `0FT44ZZ` and `COVID-19` are several words each, and a
  model that sees `E11.` needs no context to guess the rest. A code is a run of ASCII letters and digits without spaces,
  at least one of them a digit; dots and hyphens between two of them belong to it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .counter_rng import random_bits, unit_floats

Strategy = Literal["token", "whole_word", "span", "code_aware"]

SPAN_P, LONGEST_SPAN = 0.2, 10
_SPAN_CDF = np.cumsum((1 - SPAN_P) ** np.arange(LONGEST_SPAN))
# Some tokenizers join signs with the letters between, as `(I` and `11.`; GPT-2's pattern does so in `'s` alone, which
# begins no code.
_PART = re.compile(r"([!-&(-/:-@\[-`{-~]?)[A-Za-z0-9]+[.-]?")


@dataclass(frozen=True)
class CodeParts:
    """The role of each id of a vocabulary in codes: four tables, bool (size,).

    Attributes:
        alphanumeric: only ASCII letters and digits, after an optional space or sign, and before an optional mark.
        digit: alphanumeric, with at least one digit.
        mark: a dot or a hyphen.
        after_space: begins with a space, or a sign that is no mark.
    """

    alphanumeric: npt.NDArray[np.bool_]
    digit: npt.NDArray[np.bool_]
    mark: npt.NDArray[np.bool_]
    after_space: npt.NDArray[np.bool_]


def code_parts(tokenizer_json: bytes, size: int) -> CodeParts:
    """The tables of a tokenizer with `size` ids.

    Raises:
        ValueError: its tokens do not show where spaces were, as WordPiece's.
    """
    content: dict[str, Any] = json.loads(tokenizer_json)
    vocabulary = content["model"]["vocab"]
    items = vocabulary.items() if isinstance(vocabulary, dict) else ((one[0], n) for n, one in enumerate(vocabulary))
    named = dict(items)
    space = _space(content, named)
    tables = CodeParts(*(np.zeros(size, bool) for _ in range(4)))
    for token, number in named.items():
        match = _PART.fullmatch(token.removeprefix(space))
        tables.alphanumeric[number] = match is not None
        tables.digit[number] = match is not None and re.search("[0-9]", token) is not None
        tables.mark[number] = token in (".", "-")
        tables.after_space[number] = token.startswith(space) or (match is not None and match[1] not in ("", ".", "-"))
    return tables


def _space(content: dict[str, Any], vocabulary: Iterable[str]) -> str:
    """How the tokens spell the space before a word."""
    if "ByteLevel" in json.dumps(content.get("decoder")):
        return "Ġ"
    firsts = {token[:1] for token in vocabulary}
    found = [space for space in ("▁", " ") if space in firsts and content["model"].get("type") != "WordPiece"]
    if not found:
        raise ValueError("masking code_aware needs a tokenizer whose tokens show where spaces are; WordPiece's do not")
    return found[0]


def mask_groups(
    strategy: Strategy,
    tokens: npt.NDArray[np.integer],
    word_starts: npt.NDArray[np.bool_],
    is_real: npt.NDArray[np.bool_],
    codes: CodeParts | None,
    *key: int | str,
) -> npt.NDArray[np.int64] | None:
    """The group of each token of a pack, int64 (n,), ascending; None: each token is its own group.

    Args:
        word_starts: bool (n,), True at the first token of each word.
        is_real: bool (vocabulary,), the ids that may be masked. A group never crosses any other token.
        codes: required by `code_aware`.
        key: of the pack, used by `span`.
    """
    if strategy == "token":
        return None
    after_special = np.append(True, ~is_real[tokens[:-1]])[: len(tokens)]
    starts = word_starts | after_special
    if strategy == "span":
        starts = _span_starts(starts, *key) | after_special
    if strategy == "code_aware":
        assert codes is not None
        starts &= ~_inside_code(tokens, codes) | after_special
    return np.cumsum(starts)


def _span_starts(word_starts: npt.NDArray[np.bool_], *key: int | str) -> npt.NDArray[np.bool_]:
    words = np.flatnonzero(word_starts)
    draws = unit_floats(random_bits(len(words), "span", *key)) * _SPAN_CDF[-1]
    firsts = np.cumsum(np.searchsorted(_SPAN_CDF, draws, side="right") + 1)
    starts = np.zeros(len(word_starts), bool)
    starts[words[np.append(0, firsts[firsts < len(words)])[: len(words)]]] = True
    return starts


def _inside_code(tokens: npt.NDArray[np.integer], codes: CodeParts) -> npt.NDArray[np.bool_]:
    """Whether each token continues the code that the token before it is part of."""
    alphanumeric, glued = codes.alphanumeric[tokens], ~codes.after_space[tokens]
    part = alphanumeric.copy()
    part[1:-1] |= codes.mark[tokens[1:-1]] & alphanumeric[:-2] & (alphanumeric & glued)[2:]
    continues = np.zeros(len(tokens), bool)
    continues[1:] = part[1:] & part[:-1] & glued[1:]
    run = np.cumsum(~continues)
    with_digit = np.bincount(run, weights=codes.digit[tokens], minlength=1) > 0
    return continues & with_digit[run]
