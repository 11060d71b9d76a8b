"""Packs that are left out shift the order."""

from clinical_modernbert.training.resilience.skips import Skip, order_offset


def test_skipped_packs_shift_the_order() -> None:
    skips = [Skip(after=8, packs=4), Skip(after=8, packs=8), Skip(after=12, packs=4)]
    assert [order_offset(skips, packs) for packs in (0, 4, 8, 12, 16)] == [0, 4, 20, 28, 32]
