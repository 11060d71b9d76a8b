"""Texts that are nearly the same, by MinHash: sets of five-word runs, compared through a few numbers a document.

A signature is the least value of each of many hash functions over the document's runs of words; two documents agree in
one of them with the probability of their Jaccard similarity (Broder 1997). Signatures are cut into bands of rows, and
documents are near if a whole band agrees: likely above the chosen similarity, unlikely below (Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, 3.4).
"""

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_HASHES = 128
_RUN = 5
_BLOCK = 4096
_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Bands(NamedTuple):
    """How a signature is cut: `number` bands of `rows` hashes."""

    number: int
    rows: int


def bands_for(similarity: float) -> Bands:
    """The cut whose threshold (1/number)^(1/rows) comes nearest to the similarity, with at most 128 hashes."""
    cuts = [Bands(_HASHES // rows, rows) for rows in range(1, _HASHES // 2)]
    return min(cuts, key=lambda cut: abs((1 / cut.number) ** (1 / cut.rows) - similarity))


def band_hashes(text: str, bands: Bands) -> npt.NDArray[np.uint64]:
    """A hash for each band: uint64 (bands,). It depends on the words alone, not on case, spaces or punctuation."""
    runs = _run_hashes(text)
    multipliers, offsets = _hash_functions(bands.number * bands.rows)
    least = np.full(len(multipliers), np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(runs), _BLOCK):
        block = runs[start : start + _BLOCK, None]
        np.minimum(least, _mixed(block * multipliers + offsets).min(axis=0), out=least)
    rows = least.reshape(bands)
    combined = np.full(bands.number, _MULTIPLIER, np.uint64)
    for column in rows.T:
        combined = _mixed(combined * _MULTIPLIER + column)
    return combined


def _run_hashes(text: str) -> npt.NDArray[np.uint64]:
    """A hash for each run of five words; a shorter text is one run."""
    words = np.array([zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())], np.uint64)
    if len(words) < _RUN:
        words = np.concatenate([words, np.zeros(_RUN - len(words), np.uint64)])
    count = len(words) - _RUN + 1
    hashes = np.zeros(count, np.uint64)
    for place in range(_RUN):
        hashes = _mixed(hashes * _MULTIPLIER + words[place : place + count])
    return np.unique(hashes)


def _hash_functions(count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Fixed odd multipliers and offsets: the same in every run, whatever numpy's generators become."""
    values = _mixed(np.arange(1, 2 * count + 1, dtype=np.uint64) * _MULTIPLIER)
    return values[:count] | np.uint64(1), values[count:]


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits whose every output bit depends on every input bit (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def near_an_earlier(columns: Iterable[npt.NDArray[np.uint64]]) -> npt.NDArray[np.bool_]:
    """Which documents agree in a band with a document before them: bool (documents,).

    Args:
        columns: for each band, the hashes of all documents in order, uint64 (documents,).
    """
    near = np.zeros(0, np.bool_)
    for column in columns:
        later = np.ones(len(column), np.bool_)
        later[np.unique(column, return_index=True)[1]] = False
        near = later | near if len(near) else later
    return near
