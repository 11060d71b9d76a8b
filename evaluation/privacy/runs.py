"""Runs of tokens that occur in other texts, compared by hashes of 64 bits."""

import numpy as np
import numpy.typing as npt

LEAST = 8
"""Tokens of a run: of a gap that must be exact."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def run_hashes(tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    """Of each run of `LEAST` tokens, (n,) -> (n - LEAST + 1,), or (0,) if there is none; products wrap around."""
    if len(tokens) < LEAST:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.uint64) + np.uint64(1), LEAST)
    hashes = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        hashes = (hashes ^ column) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes
