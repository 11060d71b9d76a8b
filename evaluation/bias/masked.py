"""How probable words are in a place of a text: all tokens of a word are masked together.

A word of k tokens is scored by the sum of the k log-probabilities that the model gives where k mask tokens stand.
Between texts that differ elsewhere, scores of the same word are comparable: k is the same. Between words they are
comparable per token only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ...configs.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..models.clozes import Filler

Array = npt.NDArray[np.float64]
Place = tuple[tuple[int, ...], tuple[int, ...]]
"""A masked text, and the positions of its mask tokens."""


class WordScores(NamedTuple):
    """Of W words in each of N texts, (N, W): their log-probabilities in nats, and their numbers of tokens."""

    log_probability: Array
    tokens: Array

    def log_odds(self) -> Array:
        """log p / (1 - p) of each word, (N, W)."""
        # Never 0: a word that is certain in fp32 has finite odds.
        log_p = np.minimum(self.log_probability, -1e-7)
        odds: Array = log_p - np.log(-np.expm1(log_p))
        return odds


def score_words(
    filler: "Filler", tokenizer: Any, texts: Sequence[tuple[str, str]], words: Sequence[str], tokens: int
) -> WordScores:
    """Score every word in every text.

    Args:
        tokenizer: a fast tokenizer of transformers.
        texts: each before and after the place of the word.
        tokens: computed at a time.
    Raises:
        UserError: a text is longer than the model allows.
    """
    import torch

    from ..models.clozes import Cloze, score

    shape = (len(texts), len(words))
    log_probability, counts = np.zeros(shape), np.zeros(shape)
    # Words of as many tokens have the same masked text: it is computed once.
    places: dict[Place, list[tuple[tuple[int, int], list[int]]]] = {}
    for cell, place, ids in _mask(filler, tokenizer, texts, words):
        places.setdefault(place, []).append((cell, ids))
        counts[cell] = len(ids)
    clozes = (
        Cloze(torch.tensor(masked), torch.tensor(positions), torch.tensor([ids for _, ids in alternatives]))
        for (masked, positions), alternatives in places.items()
    )
    with Progress("filling in", len(places), "texts") as progress:
        for alternatives, scores in zip(places.values(), score(filler, clozes, tokens), strict=True):
            for (cell, _), per_token in zip(alternatives, scores, strict=True):
                log_probability[cell] = per_token.sum()
            progress.advance()
    return WordScores(log_probability, counts)


def _mask(
    filler: "Filler", tokenizer: Any, texts: Sequence[tuple[str, str]], words: Sequence[str]
) -> "Iterator[tuple[tuple[int, int], Place, list[int]]]":
    """Of each word in each text: (text, word), where it is masked, and the ids of its tokens."""
    cells = [(text, word) for text in range(len(texts)) for word in range(len(words))]
    filled = ["".join((texts[text][0], words[word], texts[text][1])) for text, word in cells]
    encoded = tokenizer(filled, return_offsets_mapping=True, return_attention_mask=False)
    for cell, ids, offsets in zip(cells, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        start = len(texts[cell[0]][0])
        end = start + len(words[cell[1]])
        positions = [at for at, (first, last) in enumerate(offsets) if last > start and first < end and last > first]
        if len(ids) > filler.max_length or not positions:
            raise UserError(f"{filler.name}: a template has {len(ids)} tokens; the model allows {filler.max_length}")
        masked = list(ids)
        for at in positions:
            masked[at] = tokenizer.mask_token_id
        yield cell, (tuple(masked), tuple(positions)), [ids[at] for at in positions]
