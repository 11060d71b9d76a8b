"""Measure how long a job needs to its first step when its Python environment lies on a slow shared disk.

    python benchmarks/start_up.py [--data runs/demo/data] [--latency 0.1] [--factors 1 8 64] [--rounds 1]

Two ranks of `tiny` start from a virtual environment and a copy of the code whose file system answers every call for a
name after LATENCY milliseconds times a factor (benchmarks/file_latency.c), once from there and once from archives that
`stage.sh` unpacks first, as a job of `launch slurm` does. Factor 0 is a disk without latency. Prints a Markdown table:
seconds until the environment is unpacked and until the first step has ended, and the calls of a rank that waited.

It needs Linux 5.6, a C compiler, data for `tiny` (`cmbert demo` makes them), and space for a copy of the environment.
The files are in the page cache: what is measured is the wait for calls, not for disks.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from clinical_modernbert.benchmarks.record import describe_machine
from clinical_modernbert.benchmarks.recovery import first, started
from clinical_modernbert.configs.loader.load import load, locate_recipe
from clinical_modernbert.configs.loader.recipes import TRAINING
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.runs.snapshot import NAME, code_directory, entry_point, take_snapshot
from clinical_modernbert.launcher.slurm.environment import StagedEnvironment, describe_environment, pack_environment
from clinical_modernbert.streaming_data.shards.manifest import read_manifest
from clinical_modernbert.training.recipe.config import RunConfig

RANKS = 2
ONE_STEP = [
    "schedule.total_tokens=16384", "schedule.warmup_tokens=0", "schedule.decay_tokens=0",
    "schedule.seq_length=[{max_seqlen: 512}]", "schedule.mlm_probability=[[0,0.3]]",
]  # fmt: skip
START = f"""
import sys
from clinical_modernbert.launcher.ranks.local import run_ranks
sys.exit(run_ranks(sys.argv[1:], {RANKS}))
"""


@dataclass(frozen=True)
class Job:
    """A job of this environment, whose code and archive are in `home`/shared, and whose local disk is beside it.

    Attributes:
        data: a data set for `tiny`.
    """

    home: Path
    staged: StagedEnvironment
    data: Path

    @property
    def launch(self) -> Path:
        return self.home / "shared" / "launch"

    def unpack(self, milliseconds: float) -> float:
        """Seconds to bring the environment to an empty local disk."""
        shutil.rmtree(self.staged.directory, ignore_errors=True)
        stage = [*self.delayed(milliseconds, "unpack"), "bash", str(self.stage_script), "unpack"]
        began = time.monotonic()
        output = subprocess.run(stage, env=self.environment(), capture_output=True, text=True, check=True)
        if "was unpacked" not in output.stdout:
            sys.exit(output.stdout + output.stderr)
        return time.monotonic() - began

    def start(self, milliseconds: float, from_local_disk: bool) -> tuple[float, int]:
        """Seconds until the first step has ended, and the most calls of a rank that waited."""
        run_dir = self.home / "run"
        shutil.rmtree(run_dir, ignore_errors=True)
        settings = [f"run_dir={run_dir}", f"data.path={self.data}", *ONE_STEP]
        rank = [sys.executable, str(entry_point(self.launch)), "--config", "tiny"]
        rank += [part for setting in settings for part in ("--set", setting)]
        if from_local_disk:
            rank = ["bash", str(self.stage_script), "run", *rank]
        counts = [self.home / f"rank{number}" for number in range(RANKS)]
        own = ["bash", "-c", 'exec "$0" "$1" "$2$RANK" "${@:3}"', *self.delayed(milliseconds, "rank")]
        os.environ.update(self.environment())  # for `started`
        began = time.monotonic()
        with started([sys.executable, "-c", START, *own, *rank]) as (process, lines):
            first(lines, r"step 1/")
            seconds = time.monotonic() - began
            for _ in lines:  # to the end of the run, when the calls are written
                pass
            process.wait()
        return seconds, max(int(count.read_text()) for count in counts)

    @property
    def stage_script(self) -> Path:
        return code_directory(self.launch) / NAME / "launcher/slurm/stage.sh"

    def delayed(self, milliseconds: float, count: str) -> list[str]:
        shared = [*map(str, self.staged.roots.values()), str(self.home / "shared")]
        return [str(self.home / "file_latency"), f"{1000 * milliseconds:.0f}", str(self.home / count), ":".join(shared)]

    def environment(self) -> dict[str, str]:
        code = code_directory(self.launch)
        staging = dict(setting.split("=", 1) for setting in self.staged.settings(code))
        return {**os.environ, **staging, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/demo/data"))
    parser.add_argument("--latency", type=float, default=0.1, help="milliseconds")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    read_manifest(str(options.data))  # before the environment is packed
    with TemporaryDirectory() as directory:
        home = Path(directory)
        source = Path(__file__).with_name("file_latency.c")
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(home / "file_latency"), str(source)], check=True)
        cluster = ClusterConfig.model_validate(
            {"ranks_per_node": RANKS, "gpus_per_node": 0, "local_disk": home / "local",
             "slurm": {"stage_environment": home / "shared"}}
        )  # fmt: skip
        staged = describe_environment(cluster)
        assert staged is not None
        job = Job(home, staged, options.data.resolve())
        take_snapshot(job.launch, load(RunConfig, locate_recipe("tiny", TRAINING), []))
        began = time.monotonic()
        pack_environment(staged)
        packed = time.monotonic() - began
        job.start(0, from_local_disk=False)  # compiles the code, and fills the page cache
        print(f"{describe_machine()}; load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        size = staged.archive.stat().st_size
        print(
            f"Environment: {staged.files:,} files, {staged.kilobytes / 1e6:.1f} GB. Archive: {size / 1e9:.2f} GB, "
            f"packed once in {packed:.0f} s.\n"
        )
        print("| a call takes | calls of a rank | first step | staged: its calls | unpacked | first step | both |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for factor in (0, *options.factors):
            print(row(job, factor * options.latency, options.rounds), flush=True)


def row(job: Job, milliseconds: float, rounds: int) -> str:
    """Medians of the rounds."""
    shared, unpacked, staged = [], [], []
    for _ in range(rounds):
        shared.append(job.start(milliseconds, from_local_disk=False))
        unpacked.append(job.unpack(milliseconds))
        staged.append(job.start(milliseconds, from_local_disk=True))
    both = (first + second for first, (second, _) in zip(unpacked, staged, strict=True))
    cells = [f"{milliseconds:g} ms", calls_and_seconds(shared), calls_and_seconds(staged, median(unpacked))]
    return f"| {' | '.join(cells)} | {median(both):.0f} s |"


def calls_and_seconds(starts: Sequence[tuple[float, int]], *before: float) -> str:
    """Cells: the calls of a start, the seconds of what came before it, and its own."""
    seconds = [*before, median(seconds for seconds, _ in starts)]
    return " | ".join([f"{max(calls for _, calls in starts):,}", *(f"{value:.0f} s" for value in seconds)])


if __name__ == "__main__":
    run_program(main)
