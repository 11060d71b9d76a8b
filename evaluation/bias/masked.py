"""How probable words are in a place of a text: all tokens of a word are masked together.

A word of k tokens is scored by the sum of the k log-probabilities that the model gives where k mask tokens stand.
Between texts that differ elsewhere, scores of the same word are comparable: k is the same. Between words they are
comparable per token only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...kernels.logit_chunks import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..models.model import EvaluatedModel, MaskedLogits

Array = npt.NDArray[np.float64]


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


class _Place(NamedTuple):
    """A word in a text: the masked text's number, and the positions and ids of the word's tokens."""

    sequence: int
    positions: list[int]
    ids: list[int]


def score_words(
    model: "EvaluatedModel",
    logits: "MaskedLogits",
    texts: Sequence[tuple[str, str]],
    words: Sequence[str],
    tokens: int,
) -> WordScores:
    """Score every word in every text.

    Args:
        texts: each before and after the place of the word.
        tokens: computed at a time.
    Raises:
        UserError: a text is longer than the model allows.
    """
    sequences, places = _mask(model, texts, words)
    scores = np.zeros(len(places))
    of: list[list[int]] = [[] for _ in sequences]
    for number, place in enumerate(places):
        of[place.sequence].append(number)
    vocabulary = len(model.tokenizer)
    with Progress("filling in", len(sequences), "texts") as progress:
        for part in _batches(sequences, places, of, tokens, max(16, CHUNK_BYTES // (4 * vocabulary))):
            chosen = [number for one in part for number in of[one]]
            scores[chosen] = _score([sequences[one] for one in part], part, [places[n] for n in chosen], logits)
            progress.advance(len(part))
    counts = np.array([len(place.ids) for place in places], np.float64)
    shape = (len(texts), len(words))
    return WordScores(scores.reshape(shape), counts.reshape(shape))


def _mask(
    model: "EvaluatedModel", texts: Sequence[tuple[str, str]], words: Sequence[str]
) -> tuple[list[tuple[int, ...]], list[_Place]]:
    """The different masked texts, and each word's place: words of as many tokens have the same masked text."""
    tokenizer = model.tokenizer
    filled = [(before, word, after) for before, after in texts for word in words]
    encoded = tokenizer(["".join(parts) for parts in filled], return_offsets_mapping=True, return_attention_mask=False)
    numbers: dict[tuple[int, ...], int] = {}
    places = []
    for (before, word, _), ids, offsets in zip(filled, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        start, end = len(before), len(before) + len(word)
        positions = [at for at, (first, last) in enumerate(offsets) if last > start and first < end and last > first]
        if len(ids) > model.max_length or not positions:
            raise UserError(f"{model.name}: a template has {len(ids)} tokens; the model allows {model.max_length}")
        masked = list(ids)
        for at in positions:
            masked[at] = tokenizer.mask_token_id
        number = numbers.setdefault(tuple(masked), len(numbers))
        places.append(_Place(number, positions, [ids[at] for at in positions]))
    return list(numbers), places


def _batches(
    sequences: Sequence[tuple[int, ...]],
    places: Sequence[_Place],
    of: Sequence[Sequence[int]],
    tokens: int,
    rows: int,
) -> "Iterator[list[int]]":
    """Numbers of sequences that are computed together: at most so many tokens, and about so many rows of logits."""
    part: list[int] = []
    used = masks = 0
    for number, ids in enumerate(sequences):
        more = len(places[of[number][0]].positions)
        if part and (used + len(ids) > tokens or masks + more > rows):
            yield part
            part, used, masks = [], 0, 0
        part.append(number)
        used, masks = used + len(ids), masks + more
    yield part


def _score(
    sequences: Sequence[tuple[int, ...]], numbers: Sequence[int], places: Sequence[_Place], logits: "MaskedLogits"
) -> Array:
    """The log-probabilities of the words at places in these sequences, whose numbers are given."""
    import torch

    starts = dict(zip(numbers, np.cumsum([0, *map(len, sequences)]).tolist(), strict=False))
    positions = sorted({starts[place.sequence] + at for place in places for at in place.positions})
    row_of = {position: row for row, position in enumerate(positions)}
    with torch.no_grad():
        scores = logits([torch.tensor(ids) for ids in sequences], torch.tensor(positions)).float().log_softmax(-1)
    rows = torch.tensor([row_of[starts[place.sequence] + at] for place in places for at in place.positions])
    ids = torch.tensor([one for place in places for one in place.ids])
    found = scores[rows.to(scores.device), ids.to(scores.device)].double().cpu().numpy()
    owner = np.repeat(np.arange(len(places)), [len(place.ids) for place in places])
    sums: Array = np.bincount(owner, found, len(places)).astype(np.float64)
    return sums
