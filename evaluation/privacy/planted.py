"""Documents without what was planted in them: only members hold canaries, which would give them away."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ...streaming_data.tokenizer.tokenizer import LoadedTokenizer
from .passages import Tokens
from .scorer import encode

_LEAST = 3
"""Tokens of a line that was cut at the end of a segment, at least."""


def canary_cutter(lines: Sequence[str], tokenizer: LoadedTokenizer) -> Callable[[Tokens], npt.NDArray[np.bool_]]:
    """A function that says which tokens of a segment stay: all but the planted lines and the line break after each.

    The segment is (n,), [CLS] first and [SEP] last; the result bool (n,).
    """
    planted = [tuple(one.tolist()[1:-1]) for one in encode(tokenizer, lines)]
    whole = {line: len(line) for line in planted}
    lengths = sorted({len(line) for line in planted}, reverse=True)
    firsts = np.array(sorted({line[0] for line in planted}), np.int64)
    heads = {line[:count] for line in planted for count in range(_LEAST, len(line))}
    tails = {line[-count:] for line in planted for count in range(_LEAST, len(line))}

    def places(tokens: list[int], starts: list[int]) -> Iterator[tuple[int, int]]:
        last = len(tokens) - 1
        for start in starts:
            for length in lengths:
                if tuple(tokens[start : start + length]) in whole:
                    yield start, start + length
                    break
            else:
                if tuple(tokens[start:last]) in heads:
                    yield start, last
        for count in range(min(max(lengths, default=0), last - 1), _LEAST - 1, -1):
            if tuple(tokens[1 : 1 + count]) in tails:
                yield 1, 1 + count
                break

    def stays(tokens: Tokens) -> npt.NDArray[np.bool_]:
        kept = np.ones(len(tokens), np.bool_)
        for start, stop in places(tokens.tolist(), np.flatnonzero(np.isin(tokens, firsts)).tolist()):
            after = tokens[stop : stop + 1]
            blank = stop < len(tokens) - 1 and not tokenizer.decode(after.astype(np.uint32)).strip()
            kept[start : stop + blank] = False
        return kept

    return stays
