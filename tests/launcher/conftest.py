"""A SLURM cluster and an ssh server for the tests of launchers."""

from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, missing
from ssh_server import SshServer
from ssh_server import missing as missing_for_ssh


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """An idle cluster, which SLURM's commands in this process also use."""
    if reason := missing():
        pytest.skip(reason)
    cluster = SlurmCluster()
    with pytest.MonkeyPatch.context() as patched:
        for name in ("SLURM_CONF", "PATH"):
            patched.setenv(name, cluster.environment[name])
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A server that is every host."""
    if reason := missing_for_ssh():
        pytest.skip(reason)
    server = SshServer(tmp_path_factory.mktemp("ssh"))
    server.start()
    yield server
    server.stop()
