"""A rank's place where `srun` started it: one task a rank, with nothing between the two."""

import subprocess
from collections.abc import MutableMapping

from ...configs.errors import UserError

_PORTS = range(20000, 32768)
"""Below those that Linux gives away by itself (net.ipv4.ip_local_port_range)."""


def adopt_slurm_place(environment: MutableMapping[str, str]) -> None:
    """Give torch.distributed's variables the values that SLURM's have, unless a launcher set them.

    MASTER_ADDR and MASTER_PORT may be set by hand; otherwise they are the step's first node, and follow from the
    job's number. What is no rank is left alone: a batch script, whose SLURM_PROCID and SLURM_NTASKS are of no step; a
    step of one task, a shell more often than a run; a job's preflight, which hides SLURM_NTASKS.
    Raises UserError when SLURM cannot tell the first node.
    """
    ranks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "RANK" in environment or "SLURM_NTASKS" not in environment or ranks == "1":
        return
    environment.setdefault("MASTER_PORT", str(_port(int(environment["SLURM_JOB_ID"]))))
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = host_names(environment["SLURM_STEP_NODELIST"])[0]
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = ranks
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]


def _port(job: int) -> int:
    return _PORTS[job % len(_PORTS)]


def host_names(nodes: str) -> list[str]:
    """`node[1-2]` written out."""
    try:
        told = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"scontrol does not tell the names of {nodes or 'the nodes'}: set MASTER_ADDR to the first of them"
        ) from error
    return told.stdout.split()
