"""More tokens for a byte-level BPE tokenizer: its training goes on, on your text.

New merges rank below all old ones, so a text is first cut as before and then neighbouring pieces are joined: every new
token stands for a fixed row of old ones (from whose embeddings a model can take its own), and old ids keep their
meaning.
"""

import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ...configs.errors import UserError
from . import tokenizer as tokenizers
from .tokenizer import FILES, LARGEST_VOCABULARY, MULTIPLE, LoadedTokenizer

Word: TypeAlias = "tuple[int, ...]"
Pair: TypeAlias = "tuple[int, int]"
_RAREST = 5
_BATCH = 256


@dataclass(frozen=True)
class Extension:
    """What was learnt.

    Attributes:
        merges: pairs of ids, in order; the n-th makes the id `first_id` + n.
        words: each counted word as it is cut now.
    """

    first_id: int
    merges: list[Pair]
    words: dict[Word, Word]

    def pieces(self) -> list[Word]:
        """The old ids that each new token stands for."""
        found: list[Word] = []
        for pair in self.merges:
            parts = [found[part - self.first_id] if part >= self.first_id else (part,) for part in pair]
            found.append(parts[0] + parts[1])
        return found


def count_words(tokenizer: LoadedTokenizer, texts: Iterable[str]) -> Counter[Word]:
    """How often each word of letters occurs, as the ids it is cut into. The tokenizer must be byte-level BPE."""
    if '"type":"BPE"' not in tokenizer.backend.to_str() or '"type":"ByteLevel"' not in tokenizer.backend.to_str():
        raise UserError(f"{tokenizer.directory}: not byte-level BPE; only such a tokenizer can be extended")
    counts: Counter[Word] = Counter()
    left = iter(texts)
    while batch := list(itertools.islice(left, _BATCH)):
        for encoded in tokenizers.encode(tokenizer, batch):
            ids = encoded.tokens.tolist()
            bounds = [*np.flatnonzero(encoded.word_starts).tolist(), len(ids)]
            counts.update(tuple(ids[start:end]) for start, end in pairwise(bounds))
    return Counter({word: count for word, count in counts.items() if _is_word(tokenizer, word)})


def _is_word(tokenizer: LoadedTokenizer, word: Word) -> bool:
    return bool(tokenizer.backend.decode(list(word)).strip().isalpha())


def learn(counts: Mapping[Word, int], tokens: int, first_id: int) -> Extension:
    """Joins the most frequent pair of neighbours, `tokens` times or until no pair occurs five times.

    Ties go to the smaller ids, so the same counts give the same merges.
    """
    words = sorted(counts)
    cut = [list(word) for word in words]
    pairs: Counter[Pair] = Counter()
    places: dict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += counts[word]
            places[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < tokens:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair]:
            continue  # counted anew since, and pushed again
        if -count < _RAREST:
            break
        changed: set[Pair] = set()
        for index in places.pop(pair):
            before = cut[index]
            cut[index] = _joined(before, pair, first_id + len(merges))
            for sign, pieces in ((-1, before), (1, cut[index])):
                for neighbours in pairwise(pieces):
                    pairs[neighbours] += sign * counts[words[index]]
                    changed.add(neighbours)
            for neighbours in pairwise(cut[index]):
                places[neighbours].add(index)
        for neighbours in changed:
            if pairs[neighbours] > 0:
                heapq.heappush(heap, (-pairs[neighbours], neighbours))
        merges.append(pair)
    return Extension(first_id, merges, {word: tuple(pieces) for word, pieces in zip(words, cut, strict=True)})


def _joined(pieces: list[int], pair: Pair, joined: int) -> list[int]:
    out: list[int] = []
    index = 0
    while index < len(pieces):
        if tuple(pieces[index : index + 2]) == pair:
            out.append(joined)
            index += 2
        else:
            out.append(pieces[index])
            index += 1
    return out


def fertility(counts: Mapping[Word, int], words: Mapping[Word, Word] | None = None) -> float:
    """Pieces a word: as the words were counted, or as `words` says they are cut now."""
    pieces = sum(count * len(words[word] if words else word) for word, count in counts.items())
    return pieces / max(sum(counts.values()), 1)


def write(tokenizer: LoadedTokenizer, extension: Extension, directory: Path) -> int:
    """Writes the extended tokenizer's files into a directory that exists, and returns its size.

    The vocabulary is filled up to a multiple of 64 with [unusedN].
    """
    end = extension.first_id + len(extension.merges)
    size = -(-end // MULTIPLE) * MULTIPLE
    if size > LARGEST_VOCABULARY:
        raise UserError(f"a vocabulary of {size:,} tokens; at most 65,536 fit in 16 bits: ask for fewer new ones")
    content = json.loads((tokenizer.directory / FILES[0]).read_bytes())
    vocabulary: dict[str, int] = content["model"]["vocab"]
    vocabulary |= {token["content"]: token["id"] for token in content["added_tokens"]}  # keeps their ids as they are
    names = {number: token for token, number in vocabulary.items()}
    for number, (left, right) in enumerate(extension.merges, start=extension.first_id):
        names[number] = names[left] + names[right]
        vocabulary[names[number]] = number
        content["model"]["merges"].append([names[left], names[right]])
    unused = (token for token in (f"[unused{number}]" for number in itertools.count()) if token not in vocabulary)
    for number, token in zip(range(end, size), list(itertools.islice(unused, size - end)), strict=True):
        vocabulary[token] = number
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "special"), False)
        content["added_tokens"].append({"id": number, "content": token, **flags, "normalized": True})
    config = json.loads((tokenizer.directory / FILES[1]).read_bytes())
    config.pop("added_tokens_decoder", None)  # tokenizer.json holds these too
    tokenizers.write_files(directory, json.dumps(content, ensure_ascii=False, indent=2), config)
    return size
