"""A small tokenizer, trained once."""

import itertools
from pathlib import Path

import pytest

from clinical_modernbert.streaming_data import tokenizer as tokenizers
from clinical_modernbert.streaming_data.corpora.synthetic_notes import generate
from clinical_modernbert.streaming_data.tokenizer import LoadedTokenizer


@pytest.fixture(scope="session")
def notes() -> list[str]:
    """Synthetic notes, some of them long."""
    return [row["text"] for row in itertools.islice(generate(0), 400)]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, notes: list[str]) -> LoadedTokenizer:
    directory: Path = tmp_path_factory.mktemp("tokenizer") / "small"
    tokenizers.train(notes, 1000, directory)
    return tokenizers.load(directory)
