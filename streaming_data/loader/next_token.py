"""The targets of causal language modeling: each token predicts the next one of its sequence."""

import numpy as np
import numpy.typing as npt

from .masking import Masked


def next_tokens(tokens: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> Masked:
    """The tokens of a pack as they are, and as targets those that follow: all but the first of each sequence.

    Args:
        tokens: of one pack, without padding.
        lengths: of its sequences, in order, summing to the number of tokens; none is 0.
    """
    inputs = tokens.astype(np.int64)
    has_next = np.ones(len(inputs), bool)
    has_next[np.cumsum(lengths) - 1] = False
    positions = np.flatnonzero(has_next)
    return Masked(inputs, positions, inputs[positions + 1])
