"""Extension of a byte-level BPE tokenizer: its training continues on your text.

New merges rank below all old ones, so a text is first encoded as before and then adjacent tokens are merged. Every new
token thus replaces a fixed sequence of old tokens, from whose embeddings a model can initialize its own, and old ids
keep their meaning.
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
from tokenizers import Tokenizer

from ...configs.errors import UserError
from . import tokenizer as tokenizers
from ..shards.pack import MAX_VOCAB_SIZE
from .tokenizer import FILES, VOCAB_MULTIPLE, LoadedTokenizer

Word: TypeAlias = "tuple[int, ...]"
Pair: TypeAlias = "tuple[int, int]"
_MIN_PAIR_COUNT = 5
_BATCH = 256
_MOST_READ_BACK = 20_000  # words


@dataclass(frozen=True)
class Extension:
    """The learned merges.

    Attributes:
        merges: pairs of ids, in order; the n-th creates the id `first_id` + n.
        words: the new encoding of each counted word, by its old encoding.
    """

    first_id: int
    merges: list[Pair]
    words: dict[Word, Word]

    def expansions(self) -> list[Word]:
        """The old ids that each new token replaces."""
        expansions: list[Word] = []
        for pair in self.merges:
            parts = [expansions[part - self.first_id] if part >= self.first_id else (part,) for part in pair]
            expansions.append(parts[0] + parts[1])
        return expansions


def check_extension(tokenizer: LoadedTokenizer, tokens: int) -> None:
    """Check that a tokenizer can be extended by so many tokens.

    Raises:
        UserError: it is not byte-level BPE, or would have too many tokens.
    """
    if '"type":"BPE"' not in tokenizer.backend.to_str() or '"type":"ByteLevel"' not in tokenizer.backend.to_str():
        raise UserError(f"{tokenizer.directory}: not byte-level BPE; only such a tokenizer can be extended")
    _padded_size(tokenizer.vocab_size + tokens)


def _padded_size(tokens: int) -> int:
    size = -(-tokens // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
    if size > MAX_VOCAB_SIZE:
        raise UserError(f"a vocabulary of {size:,} tokens; at most {MAX_VOCAB_SIZE:,} are possible: request fewer new ones")
    return size


def count_words(tokenizer: LoadedTokenizer, texts: Iterable[str]) -> Counter[Word]:
    """The number of occurrences of each word of letters, by its encoding. The tokenizer must be byte-level BPE."""
    check_extension(tokenizer, 0)
    counts: Counter[Word] = Counter()
    remaining = iter(texts)
    while batch := list(itertools.islice(remaining, _BATCH)):
        for encoded in tokenizers.encode(tokenizer, batch):
            ids = encoded.tokens.tolist()
            bounds = [*np.flatnonzero(encoded.word_starts).tolist(), len(ids)]
            counts.update(tuple(ids[start:end]) for start, end in pairwise(bounds))
    return Counter({word: count for word, count in counts.items() if _is_word(tokenizer, word)})


def _is_word(tokenizer: LoadedTokenizer, word: Word) -> bool:
    return bool(tokenizer.backend.decode(list(word)).strip().isalpha())


def learn(counts: Mapping[Word, int], tokens: int, first_id: int) -> Extension:
    """Merge the most frequent pair of adjacent tokens, `tokens` times or until no pair occurs five times.

    Ties are resolved in favor of the smaller ids, so the same counts give the same merges.
    """
    words = sorted(counts)
    encodings = [list(word) for word in words]
    pairs: Counter[Pair] = Counter()
    occurrences: dict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += counts[word]
            occurrences[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < tokens:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair]:
            continue  # outdated: the pair was counted again and pushed since
        if -count < _MIN_PAIR_COUNT:
            break
        changed: set[Pair] = set()
        for index in occurrences.pop(pair):
            before = encodings[index]
            encodings[index] = _merge(before, pair, first_id + len(merges))
            for sign, encoding in ((-1, before), (1, encodings[index])):
                for neighbors in pairwise(encoding):
                    pairs[neighbors] += sign * counts[words[index]]
                    changed.add(neighbors)
            for neighbors in pairwise(encodings[index]):
                occurrences[neighbors].add(index)
        for neighbors in changed:
            if pairs[neighbors] > 0:
                heapq.heappush(heap, (-pairs[neighbors], neighbors))
        merges.append(pair)
    return Extension(first_id, merges, {word: tuple(encoding) for word, encoding in zip(words, encodings, strict=True)})


def _merge(encoding: list[int], pair: Pair, merged: int) -> list[int]:
    """The encoding with every occurrence of the pair replaced by the id `merged`."""
    out: list[int] = []
    index = 0
    while index < len(encoding):
        if tuple(encoding[index : index + 2]) == pair:
            out.append(merged)
            index += 2
        else:
            out.append(encoding[index])
            index += 1
    return out


def fertility(counts: Mapping[Word, int], words: Mapping[Word, Word] | None = None) -> float:
    """Mean number of tokens per word, in the old encoding or, if `words` is given, in its new encodings."""
    tokens = sum(count * len(words[word] if words else word) for word, count in counts.items())
    return tokens / max(sum(counts.values()), 1)


def write(tokenizer: LoadedTokenizer, extension: Extension, directory: Path) -> int:
    """Write the extended tokenizer's files into an existing directory, and return the size of its vocabulary.

    The vocabulary is padded to a multiple of 64 with [unusedN].

    Raises:
        UserError: what was written does not load, or does not encode as the old tokenizer and the merges do.
    """
    end = extension.first_id + len(extension.merges)
    size = _padded_size(end)
    # As the library writes it: merges are pairs, however an older version spelled them.
    content = json.loads(Tokenizer.from_file(str(tokenizer.directory / FILES[0])).to_str())
    vocabulary: dict[str, int] = content["model"]["vocab"]
    vocabulary |= {token["content"]: token["id"] for token in content["added_tokens"]}  # their ids stay reserved
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
    config.pop("added_tokens_decoder", None)  # tokenizer.json contains these too
    tokenizers.write_files(directory, json.dumps(content, ensure_ascii=False, indent=2), config)
    _read_back(tokenizer, extension, directory)
    return size


def _read_back(tokenizer: LoadedTokenizer, extension: Extension, directory: Path) -> None:
    """Require that the written tokenizer loads, has the old ids, and encodes the counted words as was learned."""
    written = tokenizers.load(directory)
    old, new = (one.backend.get_vocab(with_added_tokens=True) for one in (tokenizer, written))
    changed = sum(new.get(token) != number for token, number in old.items())
    if changed or written.special_ids != tokenizer.special_ids:
        raise UserError(
            f"{tokenizer.directory}: extended, {changed:,} of its tokens would have other ids; not published"
        )
    words = list(itertools.islice(extension.words.items(), _MOST_READ_BACK))
    texts = [tokenizer.backend.decode(list(word)) for word, _ in words]
    again = (tuple(encoded.tokens.tolist()) for encoded in tokenizers.encode(written, texts))
    same_before = (tuple(encoded.tokens.tolist()) for encoded in tokenizers.encode(tokenizer, texts))
    wrong = sum(
        before == word and now != merged for (word, merged), before, now in zip(words, same_before, again, strict=True)
    )
    if wrong:
        raise UserError(
            f"{tokenizer.directory}: extended, it would encode {wrong:,} of {len(words):,} words differently than its "
            "merges say; not published. Is it byte-level BPE without dropout?"
        )
