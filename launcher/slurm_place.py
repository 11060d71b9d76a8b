"""A rank's place where `srun` started it: one task a rank, with nothing between the two."""

import subprocess
from collections.abc import MutableMapping

from ..configs.errors import UserError

_PORTS = range(20000, 40000)


def adopt_slurm_place(environment: MutableMapping[str, str]) -> None:
    """Give torch.distributed's variables the values that SLURM's have, unless a launcher set them.

    MASTER_ADDR and MASTER_PORT may be set by hand; otherwise they are the step's first node, and follow from the
    job's number. A step of one task is left alone: it is a shell more often than a run.
    Raises UserError when SLURM cannot tell the first node.
    """
    if "RANK" in environment or int(environment.get("SLURM_NTASKS", "1")) == 1 or "SLURM_PROCID" not in environment:
        return
    nodes = environment.get("SLURM_STEP_NODELIST", "")
    environment.setdefault("MASTER_PORT", str(_PORTS[int(environment.get("SLURM_JOB_ID", "0")) % len(_PORTS)]))
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = host_names(nodes)[0]
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = environment["SLURM_NTASKS"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]


def host_names(nodes: str) -> list[str]:
    """`node[1-2]` written out."""
    try:
        told = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"scontrol does not tell the names of {nodes or 'the nodes'}: set MASTER_ADDR to the first of them"
        ) from error
    return told.stdout.split()
