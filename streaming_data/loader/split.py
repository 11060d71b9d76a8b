"""How the packs of a step are divided among ranks, and those of a rank into micro-batches, at any number of ranks.

`order.share` gives every rank as many packs as any other, or one less. All ranks divide theirs into equally many
micro-batches: with ZeRO-3 each micro-batch gathers weights, and a rank that computed one more would pair its
collectives with the wrong ones of the others, or wait for ever.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

Item = TypeVar("Item")


def most_packs(packs: int, ranks: int) -> int:
    """The most packs that a rank has in a step of `packs` packs. A step takes as long as this rank."""
    return -(-packs // ranks)


def micro_batch_count(packs: int, micro_batch_size: int, ranks: int) -> int:
    """The micro-batches of each rank in a step of `packs` packs."""
    return -(-most_packs(packs, ranks) // micro_batch_size)


def divide(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """The items in order, in `parts` parts whose sizes differ by at most one; some are empty if the items are fewer."""
    small, larger = divmod(len(items), parts)
    bounds = [0, *accumulate(small + (part < larger) for part in range(parts))]
    return [items[begin:end] for begin, end in pairwise(bounds)]


def describe_split(packs: int, micro_batch_size: int, ranks: int) -> str:
    """How a step of `packs` packs is divided, with the time that ranks wait for the one with most packs."""
    count, most = micro_batch_count(packs, micro_batch_size, ranks), most_packs(packs, ranks)
    size = -(-most // count)
    even = "x" if count * size * ranks == packs else "of up to"
    parts = f"{ranks} ranks x {count} micro-batches {even} {size} packs"
    if (longest := most * ranks) == packs:
        return parts
    waste = f"{longest / packs - 1:.1%} waste"
    return f"{parts}; a rank has up to {most}, so a step takes as long as one of {longest} packs ({waste})"
