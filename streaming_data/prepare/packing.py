"""Segments to packs: best-fit decreasing, within one window of segments at a time.

Only lengths are needed. Segments of a window's emptiest packs are carried over to the next window.
"""

from collections.abc import Iterable, Iterator, Sequence

_FULL = 0.999  # a pack this full is finished
_CARRIED = 0.25  # of a window's segments, at most


def plan_packs(lengths: Iterable[int], seq_length: int, window: int) -> Iterator[list[int]]:
    """The numbers of the segments in each pack of at most `seq_length` tokens; every segment is in exactly one.

    The result is deterministic.
    """
    pool: list[int] = []
    sizes: list[int] = []
    for number, length in enumerate(lengths):
        pool.append(number)
        sizes.append(length)
        if len(pool) >= window:
            done, kept = _pack_window(sizes, seq_length, int(window * _CARRIED))
            yield from ([pool[index] for index in members] for members in done)
            pool, sizes = [pool[index] for index in kept], [sizes[index] for index in kept]
    yield from ([pool[index] for index in members] for members in _pack_window(sizes, seq_length, 0)[0])


def _pack_window(lengths: Sequence[int], seq_length: int, carried: int) -> tuple[list[list[int]], list[int]]:
    """The window's packs except the emptiest, and the segments (at most `carried`) of those for the next window."""
    bins = best_fit(lengths, seq_length)
    fills = [sum(lengths[index] for index in members) for members in bins]
    returned: set[int] = set()
    for number in sorted(range(len(bins)), key=fills.__getitem__):
        if fills[number] >= _FULL * seq_length or len(returned) + len(bins[number]) > carried:
            break
        returned.update(bins[number])
    return [members for members in bins if members[0] not in returned], sorted(returned)


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of item indices: each item, longest first, goes to the bin with the least room that still holds it.

    The rooms in use are the set bits of one integer, so the bin is found without a search. Equal items keep their
    order.
    """
    bins: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0
    for item in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[item]
        if not 0 < length <= capacity:
            raise ValueError(f"item {item} of length {length} does not fit a capacity of {capacity}")
        if fitting := rooms >> length:
            room = length + (fitting & -fitting).bit_length() - 1
            number = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, number = capacity, len(bins)
            bins.append([])
        bins[number].append(item)
        if left := room - length:
            with_room[left].append(number)
            rooms |= 1 << left
    return bins
