"""The entry point of one training rank: `deepspeed`, `torchrun`, `srun`, `mpirun` and `cmbert train` start it.

    deepspeed --num_accelerators 2 launcher/train.py --config tiny

Ranks and addresses come from the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), or from the
variables of mpirun or SLURM.
"""

import argparse
import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__" and sys.path[0] == os.path.dirname(os.path.realpath(__file__)):
    # Run as a file, Python puts this directory first on the path, where its modules would shadow libraries.
    del sys.path[0]

from clinical_modernbert.configs.errors import USER_ERROR, RankCountError, TransientError, UserError
from clinical_modernbert.configs.libraries import hide_torchvision
from clinical_modernbert.configs.loader.load import load, locate_recipe
from clinical_modernbert.configs.loader.recipes import TRAINING
from clinical_modernbert.configs.reporting import PACKAGE, configure, erase, print_traceback, report_error, start_row
from clinical_modernbert.launcher.ranks.interruption import heed_interruption
from clinical_modernbert.launcher.ranks.mpi import set_rank_from_mpi
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm
from clinical_modernbert.launcher.ranks.warden import LAUNCHER_PID, start_warden
from clinical_modernbert.launcher.runs.launch_log import record_end, record_start
from clinical_modernbert.launcher.runs.stop_request import heed_stop, refuse_if_stopped
from clinical_modernbert.storage.trust import require_own
from clinical_modernbert.streaming_data.shards.restricted import start_private
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED, WAITING
from clinical_modernbert.training.resilience.signals import StartInterrupted, StopRequest

RANK_0_REPORTS_FIRST_SECONDS = 3.0
RANK_0_EXITS_LAST_SECONDS = 1.0
CACHES = ("TRITON_CACHE_DIR", "TORCH_EXTENSIONS_DIR")
"""Variables with directories of compiled code, which is run."""
logger = logging.getLogger(f"{PACKAGE}.launcher.train")  # __name__ is __main__, or not in the package


def main() -> None:
    arguments = parse(sys.argv[1:])
    heartbeat = start_warden()
    start_private()
    configure()
    hide_torchvision()
    faulthandler.enable()  # NCCL aborts a rank after a timeout (SIGABRT): print its stack first
    # Install signal handlers before the slow import of torch, so that an early SIGTERM does not kill the rank.
    stop, error_type = StopRequest(), ""
    recorded: Path | None = None
    try:
        set_rank_from_mpi(os.environ)
        set_rank_from_slurm(os.environ)
        for cache in (Path(os.environ[variable]) for variable in CACHES if variable in os.environ):
            with suppress(OSError):
                cache.mkdir(parents=True, exist_ok=True)
            for directory in (cache.parent, cache) if cache.parent.name.startswith("cmbert-") else (cache,):
                require_own(directory)
        from clinical_modernbert.training.recipe.config import RunConfig
        from clinical_modernbert.training.resilience.spikes import RewoundError
        from clinical_modernbert.training.trainer import train

        config = load(RunConfig, locate_recipe(arguments.config, TRAINING), arguments.overrides)
        refuse_if_stopped(config.run_dir)
        if os.environ.get("RANK", "0") == "0":
            heed_stop(config.run_dir)
        heed_interruption(os.environ)
        if records_itself(os.environ):
            recorded = config.run_dir
            record_start(recorded, launcher_name(os.environ), job=os.environ.get("SLURM_JOB_ID"))
        try:
            code = train(config, stop, heartbeat)
        except RewoundError as reason:
            logger.warning(reason)
            code = REWOUND
        if code in (STOPPED, REWOUND):
            code = agreed_exit_code(code)
    except StartInterrupted:
        code = agreed_exit_code(STOPPED)
    except UserError as error:
        let_rank_0_report_first()
        report_error(error)
        code = exit_code(error)
    except (Exception, SystemExit) as error:  # a library that calls sys.exit(2) has crashed too
        if stop.requested and stop.starting:  # a rank that waited for one that was interrupted
            code = agreed_exit_code(STOPPED)
        else:
            error_type = type(error).__name__
            start_row()
            print_traceback(error)
            code = 1
    write_exit_file(code, error_type)
    if recorded is not None:
        record_end(recorded, launcher_name(os.environ), code)
    with suppress(OSError):  # whoever read the output may be gone
        erase()
        sys.stdout.flush()
        sys.stderr.flush()
    # A normal exit would hang while another thread waits in a collective for a failed rank.
    os._exit(code)


def records_itself(environment: Mapping[str, str]) -> bool:
    """Return whether this is rank 0 of a launcher that is not ours, and so records nothing in the launch log."""
    ours = LAUNCHER_PID in environment or "CMBERT_EXIT_FILE" in environment
    return not ours and environment.get("RANK", "0") == "0"


def launcher_name(environment: Mapping[str, str]) -> str:
    """Return the launcher that started this rank, by the variables that it sets."""
    marks = {"TORCHELASTIC_RUN_ID": "torchrun", "LOCAL_SIZE": "deepspeed"}
    marks |= {"OMPI_COMM_WORLD_RANK": "mpirun", "MPI_LOCALRANKID": "mpirun", "SLURM_STEP_NUM_TASKS": "srun"}
    return next((name for mark, name in marks.items() if mark in environment), "by hand")


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
