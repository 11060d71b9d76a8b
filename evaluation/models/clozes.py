"""Masked tokens filled in: the log-probabilities and ranks that a model gives to tokens it does not see.

A cloze is a segment some of whose tokens are masked, and the tokens that are scored at these positions: the true ones,
or several alternatives. Tokens masked together do not see each other; masked one at a time, each sees all others,
at the cost of one pass per token.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...kernels.logit_chunks import CHUNK_BYTES
from .model import EvaluatedModel, MaskedLogits

TOKENS = 16_384
"""Computed at a time; affects memory and the last bits of results."""


@dataclass(frozen=True)
class Filler:
    """What fills in masked tokens.

    Attributes:
        name: shown in tables and errors.
        logits: of the vocabulary at the masked positions.
        vocab_size: V.
        max_length: tokens of the longest segment, with special tokens.
    """

    name: str
    logits: MaskedLogits
    vocab_size: int
    max_length: int


def open_filler(model: EvaluatedModel) -> Filler:
    """Raises UserError if the model has no head for masked tokens."""
    return Filler(model.name, model.open_masked_lm(), len(model.tokenizer), model.max_length)


class Cloze(NamedTuple):
    """A segment with masked tokens.

    Attributes:
        tokens: int64 (n,), some of them the mask token.
        positions: int64 (k,), where tokens are scored.
        targets: int64 (k,) or (alternatives, k), the tokens to score there.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor


def masked_together(tokens: Tensor, positions: Tensor, mask: int, targets: Tensor | None = None) -> Cloze:
    """All positions masked at once; the targets are the true tokens unless others are given."""
    return Cloze(tokens.index_fill(0, positions, mask), positions, tokens[positions] if targets is None else targets)


def masked_singly(tokens: Tensor, positions: Tensor, mask: int) -> list[Cloze]:
    """One cloze per position, each with only this token masked."""
    return [masked_together(tokens, position[None], mask) for position in positions]


def with_alternative(tokens: Tensor, positions: Tensor, alternative: Tensor) -> Tensor:
    """The segment with other tokens at these positions, whose number is the same."""
    return tokens.index_put((positions,), alternative)


def score(filler: Filler, clozes: Iterable[Cloze], tokens: int = TOKENS) -> Iterator[npt.NDArray[np.float64]]:
    """The log-probability of each target in nats, in the shape of the targets, cloze by cloze.

    Clozes are computed in batches without padding, and read only when a batch needs them.

    Raises:
        ValueError: a cloze is longer than the model allows.
    """
    for batch, parts in _compute(filler, clozes, tokens):
        values = [torch.log_softmax(part, -1) for part in parts]
        yield from _gather(batch, values[0] if len(values) == 1 else torch.cat(values))


def _gather(batch: Sequence[Cloze], values: Tensor) -> Iterator[npt.NDArray[np.float64]]:
    start = 0
    for cloze in batch:
        at = torch.arange(start, start + len(cloze.positions), device=values.device)
        yield values[at, cloze.targets.to(values.device)].double().cpu().numpy()
        start += len(cloze.positions)


def _batches(clozes: Iterable[Cloze], tokens: int, rows: int, longest: int) -> Iterator[list[Cloze]]:
    """Clozes in order, of at most so many tokens and scored positions together; one that has more is alone."""
    batch: list[Cloze] = []
    size = scored = 0
    for cloze in clozes:
        if len(cloze.tokens) > longest:
            raise ValueError(f"a segment of {len(cloze.tokens):,} tokens; the model reads at most {longest:,}")
        if batch and (size + len(cloze.tokens) > tokens or scored + len(cloze.positions) > rows):
            yield batch
            batch, size, scored = [], 0, 0
        batch.append(cloze)
        size, scored = size + len(cloze.tokens), scored + len(cloze.positions)
    if batch:
        yield batch


def rank(filler: Filler, clozes: Iterable[Cloze], tokens: int = TOKENS) -> Iterator[npt.NDArray[np.int64]]:
    """How many tokens are likelier than each target, int64 (k,), cloze by cloze; the targets are (k,).

    Batches and errors are those of `score`.
    """
    for batch, parts in _compute(filler, clozes, tokens):
        targets = torch.cat([cloze.targets for cloze in batch])
        ranks = []
        for values in parts:
            true, targets = targets[: len(values)].to(values.device), targets[len(values) :]
            ranks.append((values > values.gather(1, true[:, None])).sum(dim=1).cpu())
        for own in torch.cat(ranks).split([len(cloze.positions) for cloze in batch]):
            yield own.numpy()


def _compute(filler: Filler, clozes: Iterable[Cloze], tokens: int) -> Iterator[tuple[list[Cloze], Iterator[Tensor]]]:
    """Batches of clozes, and the logits at all their positions, fp32 (rows, V) in parts of bounded size."""
    rows = max(16, CHUNK_BYTES // (4 * filler.vocab_size))
    for batch in _batches(clozes, tokens, rows, filler.max_length):
        sequences = [cloze.tokens for cloze in batch]
        offsets = np.cumsum([0, *map(len, sequences)])[:-1]
        positions = torch.cat([cloze.positions + int(offset) for cloze, offset in zip(batch, offsets, strict=True)])
        yield batch, (_logits(filler, sequences, part) for part in positions.split(rows))


@torch.inference_mode()
def _logits(filler: Filler, sequences: list[Tensor], positions: Tensor) -> Tensor:
    return filler.logits(sequences, positions).float()
