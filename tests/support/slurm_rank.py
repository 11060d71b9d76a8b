"""A rank that follows the protocol of training without training: steps, checkpoints, exit codes. For launcher tests.

    python slurm_rank.py RUN_DIR [--steps N] [--every N] [--crash-at STEP] [--always] [--code C]

A shared directory replaces collectives.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

received: list[int] = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: received.append(number))

parser = argparse.ArgumentParser()
parser.add_argument("run_dir", type=Path)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--every", type=int, default=1000, help="steps between checkpoints")
parser.add_argument("--crash-at", type=int, help="rank 1 ends at this step")
parser.add_argument("--always", action="store_true", help="... in every attempt, not only the first")
parser.add_argument("--code", type=int, default=3, help="... with this code")
parser.add_argument("--step-seconds", type=float, default=0.05)
options = parser.parse_args()

environment, run_dir = os.environ, options.run_dir
rank, ranks = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
attempts = run_dir / "rank_attempts"
checkpoints = run_dir / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
attempt = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_RESTART_COUNT', 0)}.{environment['SLURM_STEP_ID']}"
exchange = run_dir / f"exchange.{attempt}"
exchange.mkdir(exist_ok=True)


def gather(tag: str, value: object) -> list[str]:
    """Return the values of all ranks. A rank that waits too long exits, as after a lost connection."""
    part = exchange / f".{tag}.{rank}"
    part.write_text(str(value))
    part.rename(exchange / f"{tag}.{rank}")
    deadline = time.monotonic() + 20
    files = [exchange / f"{tag}.{other}" for other in range(ranks)]
    while not all(file.exists() for file in files):
        if time.monotonic() > deadline:
            sys.exit(70)
        time.sleep(0.005)
    return [file.read_text() for file in files]


def end(code: int) -> None:
    if code or rank == 0:
        with suppress(FileExistsError), open(environment["CMBERT_EXIT_FILE"], "x") as file:
            file.write(f"{code}\n")
    os._exit(code)


def save(step: int) -> None:
    gather(f"saved{step}", "")
    if rank == 0:
        (checkpoints / f"step{step:08d}").mkdir(exist_ok=True)
    gather(f"published{step}", "")


def newest() -> int:
    return max((int(path.name.removeprefix("step")) for path in checkpoints.glob("step*")), default=0)


step = newest()
first_time = not (run_dir / "crashed").exists()
gather("begin", step)
if rank == 0:
    with attempts.open("a") as file:
        file.write(f"{attempt} {step} {environment['SLURM_STEP_NODELIST']}\n")
while step < options.steps:
    time.sleep(options.step_seconds)
    step += 1
    if step == options.crash_at and rank == 1 and (first_time or options.always):
        (run_dir / "crashed").touch()
        end(options.code)
    if any(value == "True" for value in gather(f"step{step}", bool(received))):
        save(step)
        time.sleep(0.3 * (rank == 0))
        end(0 if rank else 85)
    if step % options.every == 0:
        save(step)
end(0)
