"""The ids of texts by the ids of their words, each of which `tokenizers` encodes once: what replaces fastokens."""

import json
from array import array
from collections.abc import Sequence
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

_MOST_WORDS = 1 << 17
"""Known at once, some 40 MB; notes and abstracts find 95 of 100 words among them."""

_AT_ONCE = 2048  # words to encode; the library takes a kilobyte for each


class KnownWords:
    """Ids of words in a table, and where the ids of each begin."""

    def __init__(self, backend: Tokenizer) -> None:
        """`backend` has the pre-tokenizer ByteLevel, and its special tokens are text."""
        content: dict[str, Any] = json.loads(backend.to_str())
        content["pre_tokenizer"]["use_regex"] = False  # a word stays one
        self._backend = Tokenizer.from_str(json.dumps(content | {"normalizer": None}))
        self._backend.encode_special_tokens = True
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, int] = {"": 0}
        self._ids, self._ends = array("I"), array("q", [0, 0])

    def encode(
        self, texts: Sequence[str], starts: npt.NDArray[np.bool_], ends: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of all texts, uint32 (n,), and how many of them precede each text and the end, int64 (texts + 1,).

        Args:
            starts: which characters begin a word: bool (characters,), of the texts with a NUL after each.
            ends: where these NULs are, int64 (texts,).
        """
        if len(self._rows) > _MOST_WORDS:
            self._forget()
        joined = "\0".join([*texts, ""])
        at = np.flatnonzero(starts)
        words = [joined[start:end] for start, end in pairwise([*at.tolist(), len(joined)])]
        after_texts = np.searchsorted(at, ends)
        for number in after_texts.tolist():
            words[number] = ""
        rows = self._find(words)
        if (unknown := np.flatnonzero(rows < 0)).size:
            self._learn(list(dict.fromkeys(words[number] for number in unknown.tolist())))
            rows[unknown] = self._find([words[number] for number in unknown.tolist()])
        ids, bounds = np.frombuffer(self._ids, np.uint32), np.frombuffer(self._ends, np.int64)
        lengths = bounds[rows + 1] - bounds[rows]
        before = np.cumsum(lengths)
        places = np.repeat(bounds[rows] - before + lengths, lengths) + np.arange(lengths.sum())
        return ids[places], np.concatenate(([0], before[after_texts]))

    def _find(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.fromiter(map(self._rows.get, words, repeat(-1)), np.int64, len(words))

    def _learn(self, words: list[str]) -> None:
        for start in range(0, len(words), _AT_ONCE):
            some = words[start : start + _AT_ONCE]
            for word, encoding in zip(some, self._backend.encode_batch(some, add_special_tokens=False), strict=True):
                self._rows[word] = len(self._ends) - 1
                self._ids.extend(encoding.ids)
                self._ends.append(len(self._ids))
