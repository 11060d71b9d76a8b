"""Near-duplicate texts by MinHash over five-word shingles, compared through a few hashes per document.

A signature holds the minimum of each of many hash functions over the document's shingles; two documents agree in one
of them with the probability of their Jaccard similarity (Broder 1997). Signatures are cut into bands of rows, and two
documents are near duplicates if all rows of a band agree: likely above the chosen similarity, unlikely below (Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, 3.4).

Signatures of many texts are computed together, in arrays that fit the processor's cache.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_HASHES = 128
_SHINGLE_WORDS = 5
_BLOCK = 1 << 14  # shingles: two arrays of them fit the second-level cache
_LONGEST_WORD = 64  # bytes; longer words are hashed one by one
_MOST_CHARACTERS = 1 << 17  # of texts at once, at about 40 bytes each
_BLANK = re.compile(r"[ \n]")
_WORD_CHARACTER = re.compile(r"\w")
_UNKNOWN = 2
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FACTORS, _SHIFT = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)), np.uint64(33)


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
    minima = _minima(*_shingle_hashes(*_word_hashes(texts)), bands.number * bands.rows)
    rows = minima.reshape(len(texts), *bands)
    combined = np.full((len(texts), bands.number), _MULTIPLIER, np.uint64)
    for row in range(bands.rows):
        combined = _mix(combined * _MULTIPLIER + rows[:, :, row])
    return combined


def _word_hashes(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The CRC-32 of each word of the texts, uint64 (words,), and the number of words of each text, int64 (texts,)."""
    owners, hashes = [], []
    for batch in _batches(texts):
        words, counts = _word_hashes_of_batch([piece for _, piece in batch])
        owners.append(np.repeat([number for number, _ in batch], counts))
        hashes.append(words)
    if not hashes:
        return np.zeros(0, np.uint64), np.zeros(len(texts), np.int64)
    return np.concatenate(hashes), np.bincount(np.concatenate(owners), minlength=len(texts))


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """The texts in lower case, each with its number, in batches of bounded length; long texts are cut between words."""
    batch: list[tuple[int, str]] = []
    characters = 0
    for number, text in enumerate(map(str.lower, texts)):
        start = 0
        while start < len(text):
            blank = _BLANK.search(text, start + _MOST_CHARACTERS)
            end = blank.start() if blank else len(text)
            batch.append((number, text[start:end]))
            characters += end - start
            start = end
            if characters >= _MOST_CHARACTERS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


def _word_hashes_of_batch(lowered: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    joined = "\n".join([*lowered, ""])
    in_word = _is_word_character(np.frombuffer(joined.encode("utf-32-le"), "<u4"))
    ends = np.cumsum([len(text) + 1 for text in lowered], dtype=np.int64)
    content = np.frombuffer(joined.encode(), np.uint8)
    if len(content) > len(in_word):  # not only ASCII: characters are one to four bytes
        sizes = np.diff(np.flatnonzero(np.append(content & 0xC0 != 0x80, True)))
        in_word, ends = np.repeat(in_word, sizes), np.cumsum(sizes)[ends - 1]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], in_word, [False])).view(np.int8)))
    first, last = edges[::2], edges[1::2]
    return _crc32(content, in_word, first, last), np.diff(np.searchsorted(first, ends), prepend=0)


def _is_word_character(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    kinds = _kinds[codes]
    if (unknown := kinds == _UNKNOWN).any():
        for code in np.unique(codes[unknown]).tolist():
            _kinds[code] = _WORD_CHARACTER.match(chr(code)) is not None
        kinds = _kinds[codes]
    return kinds.astype(np.bool_)


_kinds = np.full(0x110000, _UNKNOWN, np.uint8)


def _crc32(
    content: npt.NDArray[np.uint8],
    in_word: npt.NDArray[np.bool_],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint64]:
    """The CRC-32 of each part content[first:last]; `in_word` marks the bytes of all parts. None is empty.

    CRC-32 is linear: each byte contributes by its distance from the end alone, and a number of zeros by their number.
    """
    if not len(first):
        return np.zeros(0, np.uint64)
    bytes_of, zeros = _crc_tables()
    lengths = last - first
    word_bytes = np.flatnonzero(in_word)
    distance = np.minimum(np.repeat(last, lengths) - word_bytes, _LONGEST_WORD) - 1
    parts = bytes_of[distance, content[word_bytes]]
    hashes = np.bitwise_xor.reduceat(parts, np.cumsum(lengths) - lengths) ^ zeros[np.minimum(lengths, _LONGEST_WORD)]
    for word in np.flatnonzero(lengths > _LONGEST_WORD).tolist():
        hashes[word] = zlib.crc32(content[first[word] : last[word]].tobytes())
    return hashes.astype(np.uint64)


@lru_cache(maxsize=1)
def _crc_tables() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """What a byte contributes, (distance from the end, byte); the CRC-32 of so many zeros, (zeros,). Both uint32."""
    zeros = np.array([zlib.crc32(bytes(length)) for length in range(_LONGEST_WORD + 1)], np.uint32)
    alone = np.array([zlib.crc32(bytes([byte])) for byte in range(256)], np.uint32) ^ zeros[1]
    tables = [alone]
    while len(tables) < _LONGEST_WORD:
        tables.append((tables[-1] >> np.uint32(8)) ^ alone[tables[-1] & np.uint32(0xFF)])
    return np.stack(tables), zeros


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
        hashes = _mix(hashes * _MULTIPLIER + words[offset : offset + number])
    shingles = padded - _SHINGLE_WORDS + 1
    return hashes[_ranges(begins, shingles)], np.cumsum(shingles) - shingles


def _ranges(firsts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """first, first + 1, ... of each range, one after the other."""
    return np.repeat(firsts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def _minima(shingles: npt.NDArray[np.uint64], begins: npt.NDArray[np.int64], functions: int) -> npt.NDArray[np.uint64]:
    """The minimum of each hash function over each text's shingles: uint64 (texts, functions)."""
    minima = np.full((functions, len(begins)), np.iinfo(np.uint64).max, np.uint64)
    multipliers, offsets = _hash_functions(functions)
    values, scratch = np.empty((2, _BLOCK), np.uint64)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK]
        first, last = np.searchsorted(begins, [start, start + len(block) - 1], side="right") - [1, 0]
        firsts = np.maximum(begins[first:last] - start, 0)
        texts = minima[:, first:last]
        for multiplier, offset, minimum in zip(multipliers, offsets, texts, strict=True):
            x = np.multiply(block, multiplier, out=values[: len(block)])
            np.add(x, offset, out=x)
            _mix_in_place(x, scratch[: len(block)])
            np.minimum(minimum, np.minimum.reduceat(x, firsts), out=minimum)
    return minima.T


def _mix_in_place(values: npt.NDArray[np.uint64], scratch: npt.NDArray[np.uint64]) -> None:
    """`_mix` without new arrays, which would cost more than the arithmetic."""
    for factor in (_FACTORS[0], _FACTORS[1], None):
        np.right_shift(values, _SHIFT, out=scratch)
        np.bitwise_xor(values, scratch, out=values)
        if factor is not None:
            np.multiply(values, factor, out=values)


def _hash_functions(count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Fixed odd multipliers and offsets, independent of numpy's generators and hence the same in every version."""
    values = _mix(np.arange(1, 2 * count + 1, dtype=np.uint64) * _MULTIPLIER)
    return values[:count] | np.uint64(1), values[count:]


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits whose every output bit depends on every input bit (the finalizer of MurmurHash3)."""
    for factor in _FACTORS:
        values = (values ^ (values >> _SHIFT)) * factor
    return values ^ (values >> _SHIFT)


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
