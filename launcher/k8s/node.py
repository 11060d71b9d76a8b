"""What a pod runs: the ranks of one node, which are told when Kubernetes wants the pod back.

The node's number is JOB_COMPLETION_INDEX, which Kubernetes sets; the rest of its place is in the pod's manifest.
"""

import os
import sys
from pathlib import Path

from ...configs.errors import USER_ERROR, UserError
from ...configs.reporting import configure, report_error
from ..ranks.local import Place, run_ranks

ENTRY = Path(__file__).parents[1] / "train.py"
_PLACE = ("JOB_COMPLETION_INDEX", "NODES", "RANKS_PER_NODE", "MASTER_PORT", "GRACE_SECONDS")


def main() -> None:
    configure()
    try:
        code = run_node(sys.argv[1:])
    except UserError as error:
        report_error(error)
        code = USER_ERROR
    sys.exit(code)


def run_node(arguments: list[str], entry: Path = ENTRY) -> int:
    """Run `entry` with these arguments once for each rank of this node; returns their exit code."""
    try:
        node, nodes, ranks, port, grace = (int(os.environ[name]) for name in _PLACE)
        address = os.environ["MASTER_ADDR"]
    except KeyError as error:
        raise UserError(f"{error.args[0]} is not set: this is for the pods of `cmbert launch k8s`") from error
    place = Place(first_rank=node * ranks, world_size=nodes * ranks, address=address, port=port)
    return run_ranks([sys.executable, str(entry), *arguments], ranks, grace=grace, place=place)


if __name__ == "__main__":
    main()
