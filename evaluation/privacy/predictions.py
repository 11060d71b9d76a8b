"""What a model predicts at masked positions of many short sequences, several sequences at a time."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ...kernels.logit_chunks import CHUNK_BYTES

if TYPE_CHECKING:
    from ..models.model import MaskedLogits

_TOKENS = 8192
"""In a batch, at most, if a sequence is not longer."""
Integers = npt.NDArray[np.int64]


class Question(NamedTuple):
    """A sequence of token ids, int64 (n,), with masked positions (m,) and the true tokens there (m,)."""

    tokens: Integers
    positions: Integers
    targets: Integers


class Answer(NamedTuple):
    """Of each masked position (m,): the log-probability of the true token, how many are likelier, and the likeliest."""

    log_probabilities: npt.NDArray[np.float64]
    ranks: Integers
    best: Integers


Scorer = Callable[[Iterable[Question]], Iterator[Answer]]
"""Answers, in the order of the questions."""


def scorer(logits: "MaskedLogits", vocab_size: int, tokens: int = _TOKENS) -> Scorer:
    """The predictions of a model, up to `tokens` tokens of sequences at a time.

    Args:
        vocab_size: of its logits, which bounds how many are in memory.
    """
    return partial(_answer, logits, max(1, CHUNK_BYTES // (4 * vocab_size)), tokens)


def _answer(logits: "MaskedLogits", rows: int, tokens: int, questions: Iterable[Question]) -> Iterator[Answer]:
    batch: list[Question] = []
    size = masked = 0
    for question in questions:
        size += len(question.tokens)
        masked += len(question.positions)
        if batch and (size > tokens or masked > rows):
            yield from _answer_batch(logits, batch)
            batch, size, masked = [], len(question.tokens), len(question.positions)
        batch.append(question)
    if batch:
        yield from _answer_batch(logits, batch)


def _answer_batch(logits: "MaskedLogits", batch: list[Question]) -> Iterator[Answer]:
    import torch

    starts = np.cumsum([0, *(len(question.tokens) for question in batch[:-1])])
    positions = np.concatenate([start + question.positions for start, question in zip(starts, batch, strict=True)])
    targets = torch.from_numpy(np.concatenate([question.targets for question in batch]))
    with torch.inference_mode():
        scores = logits([torch.from_numpy(question.tokens) for question in batch], torch.from_numpy(positions)).float()
        true = scores.gather(1, targets.to(scores.device)[:, None])
        found = (true[:, 0] - scores.logsumexp(dim=1), (scores > true).sum(dim=1), scores.argmax(dim=1))
        columns = [column.cpu().numpy() for column in found]
    ends = np.cumsum([len(question.positions) for question in batch])[:-1]
    for likely, ranks, best in zip(*(np.split(column, ends) for column in columns), strict=True):
        yield Answer(likely.astype(np.float64), ranks, best)
