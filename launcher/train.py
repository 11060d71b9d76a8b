"""The entry point of one training rank: `deepspeed`, `torchrun`, `srun` and `cmbert train` start it.

    deepspeed --num_accelerators 2 launcher/train.py --config tiny

Ranks and addresses come from the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), or from SLURM's
variables.
"""

import argparse
import faulthandler
import logging
import os
import signal
import sys
import time
import traceback
from contextlib import suppress

if __name__ == "__main__" and sys.path[0] == os.path.dirname(os.path.realpath(__file__)):
    # Run as a file, Python puts this directory first on the path, where its modules would shadow libraries.
    del sys.path[0]

from clinical_modernbert.configs.errors import USER_ERROR, RankCountError, TransientError, UserError
from clinical_modernbert.configs.libraries import hide_torchvision
from clinical_modernbert.configs.loader.load import load, locate_recipe
from clinical_modernbert.configs.loader.recipes import TRAINING
from clinical_modernbert.configs.reporting import PACKAGE, configure, erase, report_error, start_row
from clinical_modernbert.launcher.ranks.local import die_with_parent
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED, WAITING
from clinical_modernbert.training.resilience.signals import StopRequest

RANK_0_REPORTS_FIRST_SECONDS = 3.0
RANK_0_EXITS_LAST_SECONDS = 1.0
logger = logging.getLogger(f"{PACKAGE}.launcher.train")  # __name__ is __main__, or not in the package


def main() -> None:
    arguments = parse(sys.argv[1:])
    die_with_parent()
    configure()
    hide_torchvision()
    faulthandler.enable()  # NCCL aborts a rank after a timeout (SIGABRT): print its stack first
    # Install signal handlers before the slow import of torch, so that an early SIGTERM does not kill the rank.
    stop, error_type = StopRequest(), ""
    try:
        set_rank_from_slurm(os.environ)
        from clinical_modernbert.training.recipe.config import RunConfig
        from clinical_modernbert.training.resilience.spikes import LossSpikeError
        from clinical_modernbert.training.trainer import train

        try:
            code = train(load(RunConfig, locate_recipe(arguments.config, TRAINING), arguments.overrides), stop)
        except LossSpikeError as reason:
            logger.warning(reason)
            code = REWOUND
        if code in (STOPPED, REWOUND):
            code = agreed_exit_code(code)
    except UserError as error:
        let_rank_0_report_first()
        report_error(error)
        code = exit_code(error)
    except (Exception, SystemExit) as error:  # a library that calls sys.exit(2) has crashed too
        error_type = type(error).__name__
        start_row()
        traceback.print_exc()
        code = 1
    write_exit_file(code, error_type)
    erase()
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit would hang while another thread waits in a collective for a failed rank.
    os._exit(code)


def exit_code(error: UserError) -> int:
    """The exit code of a rank that ends with this error.

    CMBERT_RANKS_VARY is set by launchers where a scheduler decides the number of ranks, after the recipe was checked
    for the number that was requested.
    """
    if isinstance(error, RankCountError) and os.environ.get("CMBERT_RANKS_VARY"):
        return WAITING
    return 1 if isinstance(error, TransientError) else USER_ERROR


def let_rank_0_report_first() -> None:
    """Delay other ranks, so that rank 0 alone reports an error that all ranks find: the launcher ends the others."""
    if os.environ.get("RANK", "0") != "0":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(RANK_0_REPORTS_FIRST_SECONDS)


def agreed_exit_code(code: int) -> int:
    """Return the exit code of this rank when all ranks have agreed to end with `code`: rank 0 returns it, others 0.

    A launcher may kill the other ranks at the first nonzero exit code (`srun --kill-on-bad-exit`) and then report a
    crash, or kill rank 0 while it copies a checkpoint. So only rank 0 exits with the code, and it exits last.
    """
    if os.environ.get("RANK", "0") != "0":
        return 0
    if os.environ.get("WORLD_SIZE", "1") != "1":
        time.sleep(RANK_0_EXITS_LAST_SECONDS)
    return code


def write_exit_file(code: int, error_type: str) -> None:
    """Write the exit code and the type of error to the file in CMBERT_EXIT_FILE, unless another rank has written it.

    Launchers do not always report how ranks ended: srun returns the highest code of all ranks, 137 for ranks that it
    killed, and 0 if a node was lost. So the first rank that fails writes its code, or rank 0 writes 0 on success.
    """
    path, rank = os.environ.get("CMBERT_EXIT_FILE"), os.environ.get("RANK", "0")
    if path and (code or rank == "0"):
        with suppress(OSError), open(path, "x", encoding="utf-8") as file:
            file.write(f"{code} {error_type} on rank {rank}\n" if error_type else f"{code}\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One rank of a training run.")
    parser.add_argument("--config", required=True, help="a recipe's name or a YAML file")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--local_rank", type=int, help="passed by the deepspeed launcher; ignored, LOCAL_RANK is used")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
