"""Pieces to packs: best fit, longest first, within a window of pieces at a time.

What a window leaves in packs that are not full goes back to be packed with the pieces that follow.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..shards.pack import Pack
from .chunking import Piece

_FULL = 0.999
_CARRIED = 0.25


def pack(pieces: Iterable[Piece], seq_length: int, window: int) -> Iterator[Pack]:
    """Packs of at most `seq_length` tokens; every piece is in exactly one of them. The same pieces, the same packs."""
    pool: list[Piece] = []
    for piece in pieces:
        pool.append(piece)
        if len(pool) >= window:
            done, pool = _pack_window(pool, seq_length, int(window * _CARRIED))
            yield from map(_join, done)
    yield from map(_join, _pack_window(pool, seq_length, 0)[0])


def _pack_window(pool: Sequence[Piece], seq_length: int, carried: int) -> tuple[list[list[Piece]], list[Piece]]:
    """The window's packs, but for the emptiest ones, whose pieces (at most `carried`) are given back."""
    lengths = [len(piece.tokens) for piece in pool]
    bins = best_fit(lengths, seq_length)
    fills = [sum(lengths[index] for index in members) for members in bins]
    back: set[int] = set()
    for number in sorted(range(len(bins)), key=fills.__getitem__):
        if fills[number] >= _FULL * seq_length or len(back) + len(bins[number]) > carried:
            break
        back.update(bins[number])
    done = [[pool[index] for index in members] for members in bins if members[0] not in back]
    return done, [pool[index] for index in sorted(back)]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices: each item, longest first, goes to the bin with the least room that still holds it.

    Rooms are bits of one integer, so the bin is found without a search. Equal items keep their order.
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


def _join(pieces: Sequence[Piece]) -> Pack:
    return Pack(
        tokens=np.concatenate([piece.tokens for piece in pieces]),
        lengths=np.array([len(piece.tokens) for piece in pieces], np.int32),
        word_starts=np.concatenate([piece.word_starts for piece in pieces]),
        doc_ids=[piece.document_id for piece in pieces],
    )
