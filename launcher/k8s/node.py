"""The entry point of a pod or a rented machine: runs the ranks of one node and forwards SIGTERM to them.

Kubernetes sets the node's index as JOB_COMPLETION_INDEX; the pod's manifest sets the other variables. The command in
the file of a task (`task_file.py`) sets all of them.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...configs.reporting import run_program
from ...streaming_data.shards.restricted import start_private
from ...training.recipe.config import RunConfig
from ..ranks.local import Rendezvous, run_ranks
from ..runs.launch_log import record_end, record_start
from .jobset import JOB_SET, RECIPE

ENTRY = Path(__file__).parents[1] / "train.py"
_VARIABLES = ("JOB_COMPLETION_INDEX", "NODES", "RANKS_PER_NODE", "MASTER_PORT", "GRACE_SECONDS")


def main() -> int:
    start_private()
    return record_node(lambda: run_node(sys.argv[1:]))


def record_node(start: Callable[[], int]) -> int:
    """Run the ranks of this node with `start`; the first node writes the run's launch log."""
    if os.environ.get("JOB_COMPLETION_INDEX") != "0" or not RECIPE.is_file():
        return start()
    run_dir = load(RunConfig, RECIPE).run_dir
    record_start(run_dir, "k8s", job=os.environ.get(JOB_SET))
    code = start()
    record_end(run_dir, "k8s", code)
    return code


def run_node(arguments: list[str], entry: Path = ENTRY) -> int:
    """Run `entry` with these arguments once per rank of this node; return the exit code of `run_ranks`."""
    try:
        node, nodes, ranks, port, grace = (int(os.environ[name]) for name in _VARIABLES)
        address = os.environ["MASTER_ADDR"]
    except KeyError as error:
        raise UserError(
            f"{error.args[0]} is not set: this module runs in what `cmbert launch k8s` and `task-file` describe"
        ) from error
    rendezvous = Rendezvous(first_rank=node * ranks, world_size=nodes * ranks, address=address, port=port)
    return run_ranks([sys.executable, str(entry), *arguments], ranks, grace=grace, rendezvous=rendezvous)


if __name__ == "__main__":
    run_program(main)
