"""A rank that keeps the protocol of training without training: steps, checkpoints, exit codes. For tests of launchers.

    python slurm_rank.py RUN_DIR [--steps N] [--every N] [--crash-at STEP] [--always] [--code C] [--import-seconds S]

A directory that all ranks see stands in for collectives.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

asked: list[int] = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: asked.append(number))

parser = argparse.ArgumentParser()
parser.add_argument("run_dir", type=Path)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--every", type=int, default=1000, help="steps between checkpoints")
parser.add_argument("--crash-at", type=int, help="rank 1 ends there")
parser.add_argument("--always", action="store_true", help="... every time, not only the first")
parser.add_argument("--code", type=int, default=3, help="... with this code")
parser.add_argument("--step-seconds", type=float, default=0.05)
options = parser.parse_args()

environment, run_dir = os.environ, options.run_dir
rank, ranks = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
starts = run_dir / "starts"
checkpoints = run_dir / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
start = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_RESTART_COUNT', 0)}.{environment['SLURM_STEP_ID']}"
together = run_dir / f"together.{start}"
together.mkdir(exist_ok=True)


def gather(tag: str, value: object) -> list[str]:
    """What every rank says; a rank that waits too long for another ends as after a lost connection."""
    part = together / f".{tag}.{rank}"
    part.write_text(str(value))
    part.rename(together / f"{tag}.{rank}")
    deadline = time.monotonic() + 20
    files = [together / f"{tag}.{other}" for other in range(ranks)]
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
    with starts.open("a") as file:
        file.write(f"{start} {step} {environment['SLURM_JOB_NODELIST']}\n")
while step < options.steps:
    time.sleep(options.step_seconds)
    step += 1
    if step == options.crash_at and rank == 1 and (first_time or options.always):
        (run_dir / "crashed").touch()
        end(options.code)
    if any(told == "True" for told in gather(f"step{step}", bool(asked))):
        save(step)
        time.sleep(0.3 * (rank == 0))
        end(0 if rank else 85)
    if step % options.every == 0:
        save(step)
end(0)
