"""One rank of a training run: what `deepspeed`, `torchrun`, `srun` and `cmbert train` start.

    deepspeed --num_accelerators 2 launcher/train.py --config tiny

Ranks and addresses come from the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), or from SLURM's.
"""

import argparse
import faulthandler
import os
import signal
import sys
import time
import traceback
from contextlib import suppress

if __name__ == "__main__" and sys.path[0] == os.path.dirname(os.path.realpath(__file__)):
    # Run as a file: this room's names, such as `kubernetes`, would hide libraries' from whatever imports them.
    del sys.path[0]

from clinical_modernbert.configs.errors import USER_ERROR, TransientError, UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.configs.reporting import configure, report_error
from clinical_modernbert.launcher.ranks.local import die_with_parent
from clinical_modernbert.launcher.ranks.slurm import adopt_slurm_place
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED
from clinical_modernbert.training.resilience.signals import StopRequest

RANK_0_SPEAKS_FIRST_SECONDS = 3.0
RANK_0_ENDS_LAST_SECONDS = 1.0


def main() -> None:
    arguments = parse(sys.argv[1:])
    die_with_parent()
    configure()
    faulthandler.enable()  # NCCL ends a rank that waited too long by SIGABRT: it shall say where it stood
    # Before torch is imported, which takes seconds: a scheduler's signal must never find the default, which kills.
    stop, kind = StopRequest(), ""
    try:
        adopt_slurm_place(os.environ)
        from clinical_modernbert.training.recipe.config import RunConfig
        from clinical_modernbert.training.resilience.spikes import LossSpikeError
        from clinical_modernbert.training.trainer import train

        try:
            code = train(load(RunConfig, find_recipe(arguments.config), arguments.overrides), stop)
        except LossSpikeError as reason:
            if os.environ.get("RANK", "0") == "0":
                print(reason, flush=True)
            code = REWOUND
        if code in (STOPPED, REWOUND):
            code = let_rank_0_tell(code)
    except UserError as error:
        await_rank_0()
        report_error(error)
        code = 1 if isinstance(error, TransientError) else USER_ERROR
    except Exception as error:
        kind = type(error).__name__
        traceback.print_exc()
        code = 1
    leave_word(code, kind)
    sys.stdout.flush()
    sys.stderr.flush()
    # A rank that waits in a collective for one that failed would keep the interpreter from ending.
    os._exit(code)


def await_rank_0() -> None:
    """A mistake that all ranks find is told by rank 0 alone: the launcher ends the others while they wait here."""
    if os.environ.get("RANK", "0") != "0":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(RANK_0_SPEAKS_FIRST_SECONDS)


def let_rank_0_tell(code: int) -> int:
    """The exit code of this rank when all of them end with `code` together.

    A launcher may kill the others at the first code that is not 0 (`srun --kill-on-bad-exit`), and then report a crash,
    or end rank 0 while it copies a checkpoint away. So rank 0 alone has the code, and ends last.
    """
    if os.environ.get("RANK", "0") != "0":
        return 0
    if os.environ.get("WORLD_SIZE", "1") != "1":
        time.sleep(RANK_0_ENDS_LAST_SECONDS)
    return code


def leave_word(code: int, kind: str) -> None:
    """Write the code, and what kind of error, to the file that CMBERT_EXIT_FILE names, unless another rank has.

    Not every launcher tells how ranks ended: srun tells the highest code of all, 137 for those it killed, and 0 when a
    node was lost. So the first rank to fail tells, or rank 0 that all went well.
    """
    path, rank = os.environ.get("CMBERT_EXIT_FILE"), os.environ.get("RANK", "0")
    if path and (code or rank == "0"):
        with suppress(OSError), open(path, "x", encoding="utf-8") as file:
            file.write(f"{code} {kind} on rank {rank}\n" if kind else f"{code}\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One rank of a training run.")
    parser.add_argument("--config", required=True, help="a recipe's name or a YAML file")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--local_rank", type=int, help="passed by the deepspeed launcher; LOCAL_RANK is what counts")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
