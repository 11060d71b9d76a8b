"""Rank, world size and rendezvous from SLURM's variables, for ranks that `srun` starts directly as its tasks."""

import subprocess
from collections.abc import MutableMapping

from ...configs.errors import UserError

_PORTS = range(20000, 32768)
"""Below Linux's ephemeral ports (net.ipv4.ip_local_port_range)."""


def set_rank_from_slurm(environment: MutableMapping[str, str]) -> None:
    """Set torch.distributed's variables from SLURM's, unless a launcher has set them.

    MASTER_ADDR and MASTER_PORT may be set by hand; otherwise they are the first node of the step and a port derived
    from the job's number. Processes that are not ranks are left unchanged: a batch script, whose SLURM_PROCID and
    SLURM_NTASKS belong to no step; a step with one task, which is usually a shell; a job's preflight, which hides
    SLURM_NTASKS. Raises UserError if SLURM cannot name the first node.
    """
    ranks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "RANK" in environment or "SLURM_NTASKS" not in environment or ranks == "1":
        return
    environment.setdefault("MASTER_PORT", str(_port(int(environment["SLURM_JOB_ID"]))))
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = expand_host_list(environment["SLURM_STEP_NODELIST"])[0]
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = ranks
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]


def _port(job: int) -> int:
    return _PORTS[job % len(_PORTS)]


def expand_host_list(nodes: str) -> list[str]:
    """Expand SLURM's notation, such as `node[1-2]`, to host names."""
    try:
        result = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"scontrol cannot list the names of {nodes or 'the nodes'}: set MASTER_ADDR to the first node"
        ) from error
    return result.stdout.split()
