"""Processes of a test that are found, and killed in the end, by a mark."""

from collections.abc import Iterator

import pytest
from marked import new_mark


@pytest.fixture
def mark() -> Iterator[str]:
    with new_mark() as mark:
        yield mark
