"""Fine-tune a model in processes that are killed with -9 one after the other, until one finishes.

    python killed_fine_tuning.py MODEL TASK OUT SECONDS

TASK is an evaluation as JSON. Each process has more seconds than the one before, from SECONDS on, and writes its state
after every step. Prints how many were killed. Processes are forked, so that each begins at once.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import transformers  # noqa: F401 - imported before the first fork

from clinical_modernbert.evaluation import results
from clinical_modernbert.evaluation.fine_tuning import state
from clinical_modernbert.evaluation.models.model import open_model
from clinical_modernbert.evaluation.suite import Evaluation

MORE_TIME = 1.15


def main(address: str, task: str, out: str, seconds: str) -> None:
    torch.set_num_threads(1)
    state.SECONDS, state.MOST_OF_THE_TIME = 0.0, float("inf")
    evaluation = Evaluation.model_validate_json(task)
    allowed, killed = float(seconds), 0
    while (child := os.fork()) and not ends(child, allowed):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        allowed, killed = allowed * MORE_TIME, killed + 1
    if child == 0:
        list(results.evaluate([open_model(address, "ours")], [evaluation], 1, Path(out), keep=True))
        os._exit(0)
    print(killed)


def ends(child: int, seconds: float) -> bool:
    """Whether the child ends, without an error, in this time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.005)
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
