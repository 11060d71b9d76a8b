"""Which shards a rank downloads before it needs them, and which it lets go."""

from collections import deque

from .dataset import PackDataset
from .lanes import LaneOrder

_STEPS_AHEAD = 16


class ShardsAhead:
    """Prepares the shards of a rank's coming steps, and lets the cache remove those of steps that are over.

    In shuffle windows, those are the current window of every source and the next. In lanes they are the shards of the
    steps that follow: `steps_ahead` says how many steps earlier than they are needed this is to be called.

    Args:
        steps_back: how many steps may still be in preparation when a later one is prepared.
    """

    def __init__(self, dataset: PackDataset, rank: int, world_size: int, steps_back: int) -> None:
        self._dataset = dataset
        self._rank, self._world_size = rank, world_size
        self.steps_ahead = _STEPS_AHEAD if isinstance(dataset.order, LaneOrder) else 0
        self._needed: deque[frozenset[tuple[int, int]]] = deque(maxlen=self.steps_ahead + steps_back + 2)

    def __call__(self, start: int, packs: int) -> None:
        """Prepare the shards of the step that reads `packs` packs from number `start` on."""
        order = self._dataset.order
        if not isinstance(order, LaneOrder):
            self._dataset.fetch_ahead(order.shards_ahead(start))
            return
        shards = self._dataset.shards_of(order.share(start, start + packs, self._rank, self._world_size))
        self._dataset.fetch_ahead(shards)
        self._needed.append(frozenset(shards))
        self._dataset.keep(frozenset().union(*self._needed))
