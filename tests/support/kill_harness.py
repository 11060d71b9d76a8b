"""Kill runs repeatedly at random moments, and compare them with a run that was not interrupted.

    PYTHONPATH=tests/support python tests/support/kill_harness.py --kills 300 [--s3] [--worlds 1 2 4]

Each run is killed with -9 a few times and then left to finish. The victim is the launcher, a rank, or all of them. The
moment is a random time, while a checkpoint is being written, or between its publication and the pruning of older ones.
All packs, masks and rates must then equal those of the uninterrupted run, in order, none lost and none repeated, and
the losses must be bit-equal where the number of ranks did not change.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s3_server import BUCKET, S3Server, environment
from small_data import SEQ_LENGTH, write_small_data
from small_run import RECIPE, SmallRun
from warm_start import processes

from clinical_modernbert.training.checkpoint import files as checkpoint_files

STEPS = 20
SETTINGS = [
    f"schedule.total_tokens={STEPS * 4 * SEQ_LENGTH}", "checkpoint.every_steps=2", "checkpoint.keep_last=2",
]  # fmt: skip
DATA_COLUMNS = ("step", "tokens", "masked", "max_seqlen", "mlm_probability", "lr", "data_digest")
MOMENTS = ("any time", "writing", "published")
KILLS_PER_RUN = 8
MIXED_LOSS_TOLERANCE = 1e-5
"""Largest relative difference of a loss if the number of ranks changed during the run: sums round differently."""


def harness(home: Path, data: str, kills: int, worlds: list[int], seed: int) -> Counter[str]:
    """Kill runs `kills` times; returns counts of kills by moment and by ranks, and of completed runs."""
    draw = random.Random(seed)
    references = {ranks: uninterrupted(home / f"reference{ranks}", data, ranks) for ranks in worlds}
    counts: Counter[str] = Counter()
    while (done := sum(counts[moment] for moment in MOMENTS)) < kills:
        run = new_run(home / f"run{counts['runs']}", data)
        mixed = draw.random() < 0.5
        ranks = draw.choice(worlds)
        for _ in range(min(KILLS_PER_RUN, kills - done)):
            if (moment := start_and_kill(run, ranks, draw)) is None:
                break
            counts[moment] += 1
            counts[f"{ranks} ranks"] += 1
            require_complete(run)
            ranks = draw.choice(worlds) if mixed else ranks
        run.train(*SETTINGS, ranks=ranks)
        compare(run, references[ranks], exact=not mixed)
        counts["runs"] += 1
        print(dict(counts), flush=True)
    return counts


def new_run(home: Path, data: str) -> SmallRun:
    home.mkdir()
    recipe = home / "recipe.yaml"
    recipe.write_text(RECIPE)
    return SmallRun(recipe, data, home / "run")


def uninterrupted(home: Path, data: str, ranks: int) -> SmallRun:
    run = new_run(home, data)
    run.train(*SETTINGS, ranks=ranks)
    return run


def start_and_kill(run: SmallRun, ranks: int, draw: random.Random) -> str | None:
    """The moment at which the run was killed, or None if it ended before."""
    moment = draw.choice(MOMENTS)
    process = run.start(*SETTINGS, ranks=ranks)
    published = {path.name for path in checkpoint_files.list_checkpoints(run.run_dir / "checkpoints")}
    seconds = draw.uniform(0, 2.5)
    began = time.monotonic()
    reached: dict[str, Callable[[], bool]] = {
        "any time": lambda: time.monotonic() - began > seconds,
        "writing": lambda: any(name.startswith(".step") for name in entries(run)),
        "published": lambda: any(name.startswith("step") and name not in published for name in entries(run)),
    }
    while process.is_alive() and not reached[moment]():
        time.sleep(0.0005)
    time.sleep(draw.uniform(0, 0.01))
    victims = processes(process)
    if not process.is_alive() or not victims:
        process.join()
        return None
    # One of them, or all at once, as a node is lost.
    for victim in victims if draw.random() < 0.5 else [draw.choice(victims)]:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    process.join()
    return moment if process.exitcode else None


def entries(run: SmallRun) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(run.run_dir / "checkpoints")
    return []


def require_complete(run: SmallRun) -> None:
    """Every directory with the name of a checkpoint must be complete.

    Ranks whose launcher was killed may still save and prune: what they have pruned has that name no longer.
    """
    for path in checkpoint_files.list_checkpoints(run.run_dir / "checkpoints"):
        problem = checkpoint_files.find_corruption(path)
        assert problem is None or not path.exists(), problem


def compare(run: SmallRun, reference: SmallRun, exact: bool) -> None:
    for name in DATA_COLUMNS:
        assert run.column(name) == reference.column(name), f"{run.run_dir}: {name} differs"
    losses = zip(run.column("loss"), reference.column("loss"), strict=True)
    worst = max(abs(a - b) / b for a, b in losses)
    assert worst <= (0 if exact else MIXED_LOSS_TOLERANCE), f"{run.run_dir}: losses differ by {worst}"


@contextmanager
def object_store(home: Path) -> Iterator[str]:
    """The address of the small data set in a real S3 server."""
    server = S3Server(home)
    server.start()
    os.environ.update(environment(server.url))
    try:
        server.store(write_small_data(home / "local"), "small")
        yield f"s3://{BUCKET}/small"
    finally:
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--s3", action="store_true", help="stream the data from an S3 server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        if not options.s3:
            harness(home, str(write_small_data(home / "data")), options.kills, options.worlds, options.seed)
            return
        with object_store(home) as address:
            harness(home, address, options.kills, options.worlds, options.seed)


if __name__ == "__main__":
    main()
