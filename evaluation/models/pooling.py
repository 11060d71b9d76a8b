"""One vector per sequence, and groups of sequences that fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .protocol import Pooling

E = TypeVar("E")


def pool(hidden: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """Pool concatenated hidden states, (T, d), into one vector per sequence, (B, d)."""
    counts = torch.tensor(lengths, device=hidden.device)
    if pooling == "cls":
        return hidden[counts.cumsum(0) - counts]
    return mean_of_parts(hidden, lengths)


def mean_of_parts(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """The mean of each part of consecutive rows, (T, d) -> (B, d); a part has one of B counts."""
    sizes = torch.tensor(counts, device=rows.device)
    part = torch.repeat_interleave(torch.arange(len(counts), device=rows.device), sizes)
    sums = rows.new_zeros(len(counts), rows.shape[1]).index_add(0, part, rows)
    return sums / sizes[:, None]


def group_by_tokens(
    items: Sequence[E], length: Callable[[E], int], tokens: int, *, padded: bool = True
) -> Iterator[list[E]]:
    """Split the items, in order, into groups of at most `tokens` tokens. A longer item is a group of its own.

    Args:
        padded: whether each item counts as the longest of its group.
    """
    group: list[E] = []
    longest = total = 0
    for item in items:
        size = length(item)
        longest, total = max(longest, size), total + size
        if group and (longest * (len(group) + 1) if padded else total) > tokens:
            yield group
            group, longest, total = [], size, size
        group.append(item)
    if group:
        yield group
