"""A small tokenizer, trained once, and a real S3 server, started once."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_cluster import DaskCluster
from s3_server import FaultProxy, S3Server, environment, faulty

from clinical_modernbert.storage.s3 import _client as client_of_this_process
from clinical_modernbert.streaming_data.synthetic.notes import generate
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer


@pytest.fixture(scope="session")
def notes() -> list[str]:
    """Synthetic notes, some of them long."""
    return [row["text"] for row in itertools.islice(generate(0), 400)]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, notes: list[str]) -> LoadedTokenizer:
    directory: Path = tmp_path_factory.mktemp("tokenizer") / "small"
    tokenizers.train(notes, 1000, directory)
    return tokenizers.load(directory)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The S3 server behind a fault-injecting proxy, whose address is in the environment."""
    with faulty(s3_server.port) as proxy:
        for name, value in environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        yield proxy
    client_of_this_process.cache_clear()


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A real Dask cluster of two workers."""
    pytest.importorskip("distributed", reason="pip install distributed")
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    cluster.start()
    for _ in range(2):
        cluster.add_worker()
    yield cluster
    cluster.kill()
