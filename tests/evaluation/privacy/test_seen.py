"""Packs that a run has trained on, against its order."""

from collections import Counter
from pathlib import Path

from clinical_modernbert.evaluation.privacy.seen import packs_seen
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset


def test_packs_seen_are_those_of_the_order(notes: Path) -> None:
    data = DataConfig(path=str(notes), seq_length=256)
    dataset = open_dataset(data, seed=3)
    packs = len(dataset.readers[0])
    for number in (0, 1, packs - 1, packs, packs + 2, 3 * packs):
        expected = Counter(address.pack for address in dataset.order.between(0, number))
        assert packs_seen(data, 3, number, dataset.identity()) == {"notes": expected}


def test_the_parts_of_several_sources_are_counted_apart(small_data: Path) -> None:
    for weights in (None, {"notes": 1.0, "codes": 3.0}):
        data = DataConfig(path=str(small_data), seq_length=256, weights=weights)
        dataset = open_dataset(data, seed=1)
        for number in (5, 40, 90, 200):
            expected: dict[str, Counter[int]] = {name: Counter() for name in dataset.sources}
            for source, _, pack in dataset.order.between(0, number):
                expected[dataset.sources[source]][pack] += 1
            assert packs_seen(data, 1, number, dataset.identity()) == expected, number


def test_packs_are_those_of_the_order_in_which_the_run_read(notes: Path) -> None:
    """A recipe that leaves the order open has lanes since some version, and windows before it."""
    data = DataConfig(path=str(notes), seq_length=256)
    lanes, windows = open_dataset(data, seed=3, packs_per_step=2), open_dataset(data, seed=3)
    assert lanes.identity() != windows.identity()
    different = 0
    for number in range(1, len(lanes.readers[0])):
        for dataset in (lanes, windows):
            expected = Counter(address.pack for address in dataset.order.between(0, number))
            assert packs_seen(data, 3, number, dataset.identity()) == {"notes": expected}
        different += packs_seen(data, 3, number, lanes.identity()) != packs_seen(data, 3, number, windows.identity())
    assert different
