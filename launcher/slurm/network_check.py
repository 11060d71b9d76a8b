"""The step of a SLURM job in which its nodes exchange before the ranks start: `python -m ...network_check FILE`.

Each task is a rank. The names of nodes that do not exchange are written into the file, one per line; otherwise there is
none, and the ranks start. A node that is only slow is in the log of the job.
"""

import os
import sys
from pathlib import Path

from ..ranks.slurm import set_rank_from_slurm


def main(file: Path) -> None:
    """Check as one of the ranks, and end this process: threads may wait for a silent node."""
    set_rank_from_slurm(os.environ)
    from ..doctor.between import between_nodes
    from ..doctor.devices import rank_device
    from ..doctor.ranks import connection_failure, join_process_group

    first, silent = os.environ.get("RANK") == "0", []
    try:
        join_process_group()
        found = between_nodes(rank_device())
        finding, silent = found if found else (None, [])
    except Exception as error:  # whatever prevents the ranks from connecting
        finding = connection_failure(error)
    if first and finding:
        print(f"{finding.check}: {finding.status}: {finding.result}. {finding.advice}", flush=True)
    if first and silent:
        file.write_text("".join(f"{node}\n" for node in silent), encoding="utf-8")
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
