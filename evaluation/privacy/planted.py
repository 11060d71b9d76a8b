"""Passages without what was planted in them: only members hold canaries, which would give them away."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ...streaming_data.tokenizer.tokenizer import LoadedTokenizer
from .passages import Integers, Sample
from .scoring import encode

_LEAST = 3
"""Tokens of a line that was cut at the end of a passage, at least."""


def without_canaries(sample: Sample, lines: Sequence[str], tokenizer: LoadedTokenizer) -> Sample:
    """The sample with the planted lines cut out of its passages, with the line break after each."""
    planted = [one.numpy()[1:-1] for one in encode(tokenizer, lines)]
    passages = []
    for passage in sample.passages:
        kept = np.ones(len(passage.tokens), np.bool_)
        for start, stop in _places(passage.tokens, planted):
            after = passage.tokens[stop : stop + 1]
            blank = stop < len(kept) - 1 and not tokenizer.decode(after.astype(np.uint32)).strip()
            kept[start : stop + blank] = False
        passages.append(passage._replace(tokens=passage.tokens[kept], word_starts=passage.word_starts[kept]))
    return sample._replace(passages=passages)


def _places(tokens: Integers, planted: Iterable[Integers]) -> Iterable[tuple[int, int]]:
    """Where planted lines are, also those of which the ends of the passage have a part."""
    last = len(tokens) - 1  # [SEP]
    for line in planted:
        for start in np.flatnonzero(tokens == line[0]).tolist():
            stop = min(start + len(line), last)
            if stop - start >= min(_LEAST, len(line)) and _equal(tokens[start:stop], line[: stop - start]):
                yield start, stop
        for count in range(min(len(line) - 1, last - 1), _LEAST - 1, -1):
            if _equal(tokens[1 : 1 + count], line[-count:]):
                yield 1, 1 + count
                break


def _equal(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
    return bool(np.array_equal(one, other))
