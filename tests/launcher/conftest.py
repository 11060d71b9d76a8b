"""A SLURM cluster for the tests of this room."""

from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, missing


@pytest.fixture(scope="session")
def _slurm_daemons() -> Iterator[SlurmCluster]:
    if reason := missing():
        pytest.skip(reason)
    cluster = SlurmCluster(nodes=3)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def slurm_cluster(_slurm_daemons: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """Three nodes of SLURM, idle, which this process's `sbatch` finds too."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, _slurm_daemons.environment[name])
    return _slurm_daemons
