"""Near-duplicate texts by MinHash over five-word shingles, compared through a few hashes per document.

A signature holds the minimum of each of many hash functions over the document's shingles; two documents agree in one
of them with the probability of their Jaccard similarity (Broder 1997). Signatures are cut into bands of rows, and two
documents are near duplicates if all rows of a band agree: likely above the chosen similarity, unlikely below (Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, 3.4).

Signatures of many texts are computed together, in arrays that fit the processor's cache.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SCHEME = 2
"""Of the signatures: those of different schemes agree nowhere. The first one had functions of 64 bits."""

_HASHES = 128
_SHINGLE_WORDS = 5
_BLOCK = 1 << 16  # shingles: three arrays of them fit the second-level cache
_MOST_CHARACTERS = 1 << 16  # of texts at once, at about 30 bytes each
_NO_WORD_CHARACTER, _WORD_CHARACTER = re.compile(r"\W"), re.compile(r"\w")
_UNKNOWN = np.uint32(0xFFFFFFFF)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FACTORS, _SHIFT = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)), np.uint64(33)
_HALF = np.uint64(32)


class Bands(NamedTuple):
    """How a signature is cut: `number` bands of `rows` hashes each."""

    number: int
    rows: int


def bands_for(similarity: float) -> Bands:
    """The bands whose threshold (1/number)^(1/rows) is closest to the similarity, with at most 128 hashes."""
    cuts = [Bands(_HASHES // rows, rows) for rows in range(1, _HASHES // 2)]
    return min(cuts, key=lambda cut: abs((1 / cut.number) ** (1 / cut.rows) - similarity))


def band_hashes(texts: Sequence[str], bands: Bands) -> npt.NDArray[np.uint64]:
    """One hash per text and band: uint64 (texts, bands). They depend only on the words, not on case, spaces or
    punctuation.
    """
    minima = _minima(*_shingle_hashes(*word_hashes(texts)), bands.number * bands.rows)
    rows = minima.reshape(*bands, len(texts)).astype(np.uint64)
    combined = np.full((bands.number, len(texts)), _MULTIPLIER, np.uint64)
    for row in range(bands.rows):
        combined = mix(combined * _MULTIPLIER + rows[:, row])
    return combined.T


def word_hashes(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The hash of each word of the texts, uint64 (words,), and the number of words of each text, int64 (texts,)."""
    owners, hashes = [], []
    for batch in _batches(texts):
        words, counts = _word_hashes_of_batch([piece for _, piece in batch])
        owners.append(np.repeat([number for number, _ in batch], counts))
        hashes.append(words)
    if not hashes:
        return np.zeros(0, np.uint64), np.zeros(len(texts), np.int64)
    return np.concatenate(hashes), np.bincount(np.concatenate(owners), minlength=len(texts))


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """The texts, each with its number, in batches of bounded length; long texts are cut between words."""
    batch: list[tuple[int, str]] = []
    characters = 0
    for number, text in enumerate(texts):
        start = 0
        while start < len(text):
            no_word = _NO_WORD_CHARACTER.search(text, start + _MOST_CHARACTERS)
            end = no_word.start() if no_word else len(text)
            batch.append((number, text[start:end]))
            characters += end - start
            start = end
            if characters >= _MOST_CHARACTERS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


def _word_hashes_of_batch(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """A word's hash is the sum of its characters' values, each times a power of the multiplier: the first, the second.

    The powers are those of positions in the batch; dividing by that of the word's begin makes them relative to it.
    """
    joined = "\n".join(["", *texts, ""])
    latin = np.frombuffer(joined.encode("latin-1", "replace").translate(_LATIN_VALUES), np.uint8)
    in_word = latin != 0
    powers, inverses = _powers(max(len(joined), 2 * _MOST_CHARACTERS).bit_length())
    terms = np.multiply(latin, powers[: len(latin)], dtype=np.uint64)
    codes = np.frombuffer(joined.encode("utf-32-le"), "<u4")
    if len(others := np.flatnonzero(codes > 0xFF)):
        values = _values_of(codes[others])
        terms[others] = values * powers[others]
        in_word[others] = values != 0
    begins = np.flatnonzero(in_word[1:] > in_word[:-1]) + 1
    if not len(begins):
        return np.zeros(0, np.uint64), np.zeros(len(texts), np.int64)
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64)
    hashes = mix(np.add.reduceat(terms, begins) * inverses[begins])
    return hashes, np.diff(np.searchsorted(begins, ends, side="right"), prepend=0)


def _value(code: int) -> int:
    """What a character counts in a word: its code point in lower case; 0 if it is not of a word."""
    return ord(chr(code).lower()[0]) if _WORD_CHARACTER.match(chr(code)) else 0


_LATIN_VALUES = bytes(map(_value, range(0x100)))
_values = np.full(0x110000, _UNKNOWN, np.uint32)


def _values_of(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The values of characters beyond Latin-1, which are asked for when they first occur."""
    values = _values[codes]
    if (unknown := values == _UNKNOWN).any():
        for code in np.unique(codes[unknown]).tolist():
            _values[code] = _value(code)
        values = _values[codes]
    return values


@lru_cache(maxsize=1)
def _powers(bits: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The powers 0, 1, ... of the multiplier, and their inverses, modulo 2^64: uint64 (2^bits,) each."""
    inverse = pow(int(_MULTIPLIER), -1, 1 << 64)
    factors = np.array([[_MULTIPLIER], [inverse]], np.uint64).repeat(1 << bits, axis=1)
    factors[:, 0] = 1
    powers, inverses = np.multiply.accumulate(factors, axis=1)
    return powers, inverses


def _shingle_hashes(
    words: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """One hash per five-word shingle, uint64 (shingles,), and where those of each text begin, int64 (texts,).

    A shorter text is padded with zeros to one shingle.
    """
    padded = np.maximum(counts, _SHINGLE_WORDS)
    begins = np.cumsum(padded) - padded
    if (padded != counts).any():
        spread = np.zeros(padded.sum(), np.uint64)
        spread[_ranges(begins, counts)] = words
        words = spread
    number = max(len(words) - _SHINGLE_WORDS + 1, 0)
    hashes = np.zeros(number, np.uint64)
    for offset in range(_SHINGLE_WORDS):
        hashes *= _MULTIPLIER
        hashes += words[offset : offset + number]
    shingles = padded - _SHINGLE_WORDS + 1
    within = np.ones(number, np.bool_)  # one text
    within[(begins[1:, None] - np.arange(1, _SHINGLE_WORDS)).ravel()] = False
    return mix(hashes[within]), np.cumsum(shingles) - shingles


def _ranges(firsts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """first, first + 1, ... of each range, one after the other."""
    return np.repeat(firsts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def _minima(shingles: npt.NDArray[np.uint64], begins: npt.NDArray[np.int64], functions: int) -> npt.NDArray[np.uint32]:
    """The minimum of each hash function over each text's shingles: uint32 (functions, texts).

    A function multiplies half of a shingle's hash by its own odd number: the upper half and the lower half in turn,
    because among many short texts the same 32 bits occur twice, and 64 do not.
    """
    minima = np.full((functions, len(begins)), np.iinfo(np.uint32).max, np.uint32)
    multipliers = _multipliers(functions)
    scratch = np.empty(_BLOCK, np.uint32)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK]
        halves = [(block >> _HALF).astype(np.uint32), block.astype(np.uint32)]
        first, last = np.searchsorted(begins, [start, start + len(block) - 1], side="right") - [1, 0]
        firsts = np.maximum(begins[first:last] - start, 0)
        for number, (multiplier, minimum) in enumerate(zip(multipliers, minima[:, first:last], strict=True)):
            values = np.multiply(halves[number % 2], multiplier, out=scratch[: len(block)])
            np.minimum(minimum, np.minimum.reduceat(values, firsts), out=minimum)
    return minima


def _multipliers(count: int) -> npt.NDArray[np.uint32]:
    """Fixed odd numbers, independent of numpy's generators and hence the same in every version."""
    return (mix(np.arange(1, count + 1, dtype=np.uint64) * _MULTIPLIER) >> _HALF).astype(np.uint32) | np.uint32(1)


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits whose every output bit depends on every input bit (the finalizer of MurmurHash3)."""
    values = values.copy()  # changed in place, for there may be many
    for factor in _FACTORS:
        values ^= values >> _SHIFT
        values *= factor
    values ^= values >> _SHIFT
    return values


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
