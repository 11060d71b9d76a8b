"""Fixtures of small training runs."""

from collections.abc import Callable

import pytest
from small_run import SmallRun


@pytest.fixture(scope="session")
def finished(new_run: Callable[[], SmallRun]) -> SmallRun:
    """Twelve steps on two ranks, undisturbed; not to be changed."""
    run = new_run()
    run.train(ranks=2)
    return run
