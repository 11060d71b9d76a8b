"""Near-duplicate texts by MinHash over five-word shingles, compared through a few hashes per document.

A signature holds the minimum of each of many hash functions over the document's shingles; two documents agree in one
of them with the probability of their Jaccard similarity (Broder 1997). Signatures are cut into bands of rows, and two
documents are near duplicates if all rows of a band agree: likely above the chosen similarity, unlikely below (Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, 3.4).
"""

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_HASHES = 128
_SHINGLE_WORDS = 5
_BLOCK = 4096
_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Bands(NamedTuple):
    """How a signature is cut: `number` bands of `rows` hashes each."""

    number: int
    rows: int


def bands_for(similarity: float) -> Bands:
    """The bands whose threshold (1/number)^(1/rows) is closest to the similarity, with at most 128 hashes."""
    cuts = [Bands(_HASHES // rows, rows) for rows in range(1, _HASHES // 2)]
    return min(cuts, key=lambda cut: abs((1 / cut.number) ** (1 / cut.rows) - similarity))


def band_hashes(text: str, bands: Bands) -> npt.NDArray[np.uint64]:
    """One hash per band: uint64 (bands,). It depends only on the words, not on case, spaces or punctuation."""
    shingles = _shingle_hashes(text)
    multipliers, offsets = _hash_functions(bands.number * bands.rows)
    minima = np.full(len(multipliers), np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK, None]
        np.minimum(minima, _mix(block * multipliers + offsets).min(axis=0), out=minima)
    rows = minima.reshape(bands)
    combined = np.full(bands.number, _MULTIPLIER, np.uint64)
    for column in rows.T:
        combined = _mix(combined * _MULTIPLIER + column)
    return combined


def _shingle_hashes(text: str) -> npt.NDArray[np.uint64]:
    """One hash per five-word shingle, distinct and sorted; a shorter text is padded to one shingle."""
    words = np.array([zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())], np.uint64)
    if len(words) < _SHINGLE_WORDS:
        words = np.concatenate([words, np.zeros(_SHINGLE_WORDS - len(words), np.uint64)])
    count = len(words) - _SHINGLE_WORDS + 1
    hashes = np.zeros(count, np.uint64)
    for offset in range(_SHINGLE_WORDS):
        hashes = _mix(hashes * _MULTIPLIER + words[offset : offset + count])
    return np.unique(hashes)


def _hash_functions(count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Fixed odd multipliers and offsets, independent of numpy's generators and hence the same in every version."""
    values = _mix(np.arange(1, 2 * count + 1, dtype=np.uint64) * _MULTIPLIER)
    return values[:count] | np.uint64(1), values[count:]


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits whose every output bit depends on every input bit (the finalizer of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def near_duplicate_mask(columns: Iterable[npt.NDArray[np.uint64]]) -> npt.NDArray[np.bool_]:
    """Which documents agree in at least one band with an earlier document: bool (documents,).

    Args:
        columns: for each band, the hashes of all documents in order, uint64 (documents,).
    """
    near = np.zeros(0, np.bool_)
    for column in columns:
        later = np.ones(len(column), np.bool_)
        later[np.unique(column, return_index=True)[1]] = False
        near = later | near if len(near) else later
    return near
