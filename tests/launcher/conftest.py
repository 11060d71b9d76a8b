"""A SLURM cluster for the tests of launchers."""

from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, missing


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
