"""Which texts of a test set are in a data set: the share of each text's word n-grams that the training packs hold.

Packs hold tokens, and a test set holds texts, often with spaces around signs and in lower case. So the packs are
decoded, and the texts are tokenized and decoded. Both are then words, which are compared without case, spaces and
punctuation, as hashes of 64 bits. The n-grams of the texts are held in memory; packs stream by, in several processes.

A text of fewer words than an n-gram is one n-gram of all its words. An n-gram is not found where a document longer than
a pack was cut in it.
"""

import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..parallel import Count, ProgressCallback, parallel_map
from ..prepare.minhash import mix, word_hashes
from ..shards.manifest import read_manifest
from ..shards.mds import PackReader
from ..tokenizer import tokenizer as tokenizers
from .summary import local_tokenizer

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_RANGE = 256  # packs that a process searches at a time
_PACKS = 8  # decoded together
_TEXTS = 4096  # tokenized together
_FILTER_BITS = (16, 27)  # of a table of which first bits of a hash occur, at least and at most

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


class Grams(NamedTuple):
    """The n-grams of texts.

    Attributes:
        keys: the different n-grams, sorted (k,).
        numbers: for each n-gram of each text its position in `keys` (g,).
        owners: for each of them the number of its text (g,).
        words: of the longest part of each text (t,).
        lengths: the words of an n-gram, one more length for each shorter part.
    """

    keys: Hashes
    numbers: Indices
    owners: Indices
    words: Indices
    lengths: tuple[int, ...]

    def shares(self, found: npt.NDArray[np.bool_]) -> Shares:
        """The share of each text's n-grams whose keys were found (t,); NaN for a text without words."""
        counts, hits = (
            np.bincount(self.owners, weights, minlength=len(self.words)) for weights in (None, found[self.numbers])
        )
        return np.divide(hits, counts, out=np.full(len(counts), np.nan), where=counts > 0)


class Overlap(NamedTuple):
    """What of the texts is in a data set.

    Attributes:
        words: of the longest part of each text (t,).
        sources: for each source the share of each text's n-grams that its training packs hold (t,); NaN for a text
            without words.
        all: the same for all sources together.
    """

    words: Indices
    sources: dict[str, Shares]
    all: Shares


class _Range(NamedTuple):
    """Packs at an address, whose n-grams are compared with the keys in a file."""

    source: str
    address: str
    tokenizer: Path
    keys: Path
    lengths: tuple[int, ...]
    packs: range


def overlap(
    address: str, texts: Sequence[Sequence[str]], words: int, workers: int, progress: ProgressCallback
) -> Overlap:
    """Which share of each text's n-grams the training packs of a data set hold. Independent of the processes.

    Args:
        address: of the data set, a directory or a URL.
        texts: each in one part or more; no n-gram spans two parts.
        words: of an n-gram.
    Raises:
        UserError: the data set is missing or damaged.
    """
    manifest = read_manifest(address)
    with tempfile.TemporaryDirectory() as directory:
        tokenizer, keys = local_tokenizer(address, Path(directory)), Path(directory) / "keys.npy"
        grams = make_grams(texts, words, tokenizer)
        np.save(keys, grams.keys, allow_pickle=False)
        ranges = [
            _Range(source, f"{address}/{source}/train", tokenizer, keys, grams.lengths, range(packs)[first:][:_RANGE])
            for source, packs in ((name, entry.splits["train"].packs) for name, entry in manifest.sources.items())
            for first in range(0, packs, _RANGE)
        ]
        results = parallel_map(_find, ranges, workers, progress)
    found = {source: np.zeros(len(grams.keys), np.bool_) for source in manifest.sources}
    for searched, numbers in zip(ranges, results, strict=True):
        found[searched.source][numbers] = True
    anywhere = np.any([np.zeros(len(grams.keys), np.bool_), *found.values()], axis=0)
    shares = {source: grams.shares(keys) for source, keys in found.items()}
    return Overlap(grams.words, shares, grams.shares(anywhere))


def make_grams(texts: Sequence[Sequence[str]], words: int, tokenizer: Path) -> Grams:
    """The n-grams of texts as the tokenizer writes them, which may change case, accents and unknown characters."""
    hashes: list[Hashes] = []
    owners: list[Indices] = []
    longest = np.zeros(len(texts), np.int64)
    lengths: set[int] = set()
    backend = tokenizers.load(tokenizer).backend
    for start in range(0, len(texts), _TEXTS):
        parts = [part for text in texts[start : start + _TEXTS] for part in text]
        numbers = np.repeat(np.arange(start, min(start + _TEXTS, len(texts))), list(map(len, texts[start:][:_TEXTS])))
        encoded = backend.encode_batch(parts, add_special_tokens=False)
        found, counts = word_hashes(backend.decode_batch([one.ids for one in encoded]))
        np.maximum.at(longest, numbers, counts)
        owner, own = np.repeat(numbers, counts), np.minimum(np.repeat(counts, counts), words)
        lengths |= set(own.tolist())
        for length, gram, at in _windows(found, counts, sorted(set(own.tolist()))):
            chosen = own[at] == length
            hashes.append(gram[chosen])
            owners.append(owner[at[chosen]])
    joined = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    keys, inverse = np.unique(joined, return_inverse=True)
    owner = np.concatenate(owners) if owners else np.zeros(0, np.int64)
    return Grams(keys, inverse.astype(np.int64), owner, longest, tuple(sorted(lengths)))


def _windows(words: Hashes, counts: Indices, lengths: Sequence[int]) -> Iterator[tuple[int, Hashes, Indices]]:
    """For each length, the hashes of all runs of so many words within a text, and the word that begins each of them.

    Args:
        words: hashes of the words of all texts, one after the other (n,).
        counts: words of each text (t,).
    """
    remaining = np.repeat(np.cumsum(counts), counts) - np.arange(len(words))
    runs = np.zeros(len(words), np.uint64)
    for length in range(1, max(lengths, default=0) + 1):
        if length > len(words):
            return
        runs = runs[: len(words) - length + 1] * _MULTIPLIER + words[length - 1 :]
        if length in lengths:
            begins = np.flatnonzero(remaining[: len(runs)] >= length)
            yield length, mix(runs[begins] + np.uint64(length)), begins


def _find(part: _Range, count: Count) -> Indices:
    """Which keys the packs hold: their positions, sorted."""
    keys, occurs, shift = _table(part.keys)
    found = np.zeros(len(keys), np.bool_)
    tokenizer, packs = _tokenizer(part.tokenizer), _reader(part.address)
    for first in range(0, len(part.packs), _PACKS):
        segments = []
        for number in part.packs[first:][:_PACKS]:
            pack = packs[number]
            segments += [ids.tolist() for ids in np.split(pack.tokens, np.cumsum(pack.lengths)[:-1])]
        words, counts = word_hashes(tokenizer.backend.decode_batch(segments))
        for _, hashes, _ in _windows(words, counts, part.lengths):
            likely = hashes[occurs[hashes >> shift]]
            at = np.minimum(np.searchsorted(keys, likely), len(keys) - 1)
            found[at[keys[at] == likely]] = True
        count(sum(map(len, segments)))
    return np.flatnonzero(found)


@lru_cache(maxsize=1)
def _table(path: Path) -> tuple[Hashes, npt.NDArray[np.bool_], np.uint64]:
    """The sorted keys, which first bits occur among them, and by how much a hash is shifted to these bits."""
    keys: Hashes = np.load(path, mmap_mode="r", allow_pickle=False)
    least, most = _FILTER_BITS
    bits = min(max((16 * len(keys)).bit_length(), least), most)
    shift = np.uint64(64 - bits)
    occurs = np.zeros(1 << bits, np.bool_)
    occurs[keys >> shift] = True
    return keys, occurs, shift


@lru_cache(maxsize=1)
def _reader(address: str) -> PackReader:
    return PackReader(address)


@lru_cache(maxsize=1)
def _tokenizer(directory: Path) -> tokenizers.LoadedTokenizer:
    return tokenizers.load(directory)
