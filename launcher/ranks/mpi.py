"""Rank, world size and rendezvous from the variables of mpirun, which only starts the ranks: no MPI library is used."""

from collections.abc import Mapping, MutableMapping
from zlib import crc32

from ...configs.errors import UserError

_OPEN_MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
_HYDRA = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
"""The mpirun of MPICH and Intel MPI. srun sets the first two as well."""
_PORTS = range(20000, 32768)
"""Below Linux's ephemeral ports (net.ipv4.ip_local_port_range)."""


def is_rank_of_mpi(environment: Mapping[str, str]) -> bool:
    """Whether mpirun started this process as one of several."""
    return _places(environment)[1] != "1"


def require_one_process(environment: Mapping[str, str]) -> None:
    """Refuse to start ranks from each of several processes, which would all train the same run.

    Raises:
        UserError: mpirun started this process as one of several.
    """
    if is_rank_of_mpi(environment):
        raise UserError(
            f"mpirun started this command {_places(environment)[1]} times, and each would start ranks of its own: "
            "leave out mpirun, or start `python -m clinical_modernbert.launcher.train --config RECIPE` with it"
        )


def set_rank_from_mpi(environment: MutableMapping[str, str]) -> None:
    """Set torch.distributed's variables from mpirun's, unless a launcher has set them. One rank alone needs none.

    MASTER_ADDR and MASTER_PORT may be set by hand. Otherwise the port is derived from the job's name, which Hydra does
    not tell, and the address is this machine's if it has all ranks. SLURM's variables are looked at later: under mpirun
    they describe its daemons, one per node.

    Raises:
        UserError: the ranks are on several nodes, and MASTER_ADDR is not set. RANK is set by then.
    """
    if "RANK" in environment or not is_rank_of_mpi(environment):
        return
    rank, ranks, local_rank, local_ranks = _places(environment)
    environment.update(RANK=rank, WORLD_SIZE=ranks, LOCAL_RANK=local_rank, LOCAL_WORLD_SIZE=local_ranks)
    environment["TERM"] = "dumb"  # Open MPI gives a rank a terminal, whose output may go to a file
    job = environment.get("PMIX_NAMESPACE", "")
    environment.setdefault("MASTER_PORT", str(_PORTS[crc32(job.encode()) % len(_PORTS)]))
    if ranks == local_ranks:
        environment.setdefault("MASTER_ADDR", "127.0.0.1")
    elif "MASTER_ADDR" not in environment:
        raise UserError(
            f"mpirun started {ranks} ranks, {local_ranks} of them on this node, and does not say where rank 0 is: add "
            "-x MASTER_ADDR=HOST (Open MPI) or -genv MASTER_ADDR HOST (MPICH, Intel MPI) to its options, with the "
            "first host as the others reach it"
        )


def _places(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Rank, ranks, rank on this node, ranks on this node; those of a single rank without mpirun."""
    for names in (_OPEN_MPI, _HYDRA):
        if all(name in environment for name in names):
            return tuple(environment[name] for name in names)
    return "0", "1", "0", "1"
