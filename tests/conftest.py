"""Fixtures shared by every room."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Real corpora for development; they are never part of the project, so their tests skip where they are absent."""
    root = Path(os.environ.get("CMBERT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"development data not found at {root}: set CMBERT_TEST_DATA to use your own copy")
    return root
