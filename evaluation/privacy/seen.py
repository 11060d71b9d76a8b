"""Which packs a run has trained on: a document that it has not reached yet is no member."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...streaming_data.loader.config import DataConfig
from ...streaming_data.loader.dataset import open_dataset

_AT_A_TIME = 1 << 16


def packs_seen(data: DataConfig, seed: int, number: int, identity: Mapping[str, Any]) -> dict[str, Counter[int]]:
    """How often each training pack of each source is among the first `number` packs of a run's order.

    Of a source that was read completely, the whole epochs are counted without listing them.

    Args:
        identity: what the run's checkpoint records of its order (`PackDataset.identity`).
    Raises:
        UserError: the data set cannot be opened.
    """
    dataset = open_dataset(data, seed)
    dataset.continue_order(identity)
    counts = dataset.order.source_counts(number)
    seen: dict[str, Counter[int]] = {}
    for name, reader, count in zip(dataset.sources, dataset.readers, counts, strict=True):
        epochs = count // len(reader)
        seen[name] = Counter(dict.fromkeys(range(len(reader)), epochs) if epochs else {})
    # The packs of the epoch that was not ended, or was not begun: the last ones of each source.
    rest = [count % len(reader) for count, reader in zip(counts, dataset.readers, strict=True)]
    stop = number
    while stop and any(rest):
        start = max(0, stop - _AT_A_TIME)
        for address in reversed(dataset.order.between(start, stop)):
            if rest[address.source]:
                rest[address.source] -= 1
                seen[dataset.sources[address.source]][address.pack] += 1
        stop = start
    return seen
