"""Interrupt one training run on a real SLURM cluster in several ways, and compare it with an uninterrupted run.

    PYTHONPATH=tests/support python tests/support/slurm_harness.py [--deepspeed]

The run is preempted, loses a node, and reaches its time limit. Then it finishes, and its losses must be bit-equal to
those of the uninterrupted run. This takes minutes: SLURM detects a lost node after about 30 s and checks time limits
every 30 s.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from slurm_cluster import SlurmCluster
from small_data import SEQ_LENGTH, write_small_data
from small_run import CMBERT, RECIPE, SmallRun

from clinical_modernbert.training.checkpoint.attempts import read_attempts

STEPS = 400
SETTINGS = [f"schedule.total_tokens={STEPS * 4 * SEQ_LENGTH}", "checkpoint.every_steps=5"]
CLUSTER = """
nodes: 2
ranks_per_node: 2
gpus_per_node: 0
fabric: tcp
env: {GLOO_SOCKET_IFNAME: lo, OMP_NUM_THREADS: "1"}
slurm: {time: "60", partition: low, stop_seconds: 60, preflight: "true"}
"""


class Harness:
    """A cluster, a run on it, and the elapsed time."""

    def __init__(self, home: Path) -> None:
        self.slurm = SlurmCluster("node")
        self.started = time.monotonic()
        data = write_small_data(home / "data")
        self.run, self.reference = (self._run(home / name, data) for name in ("interrupted", "uninterrupted"))
        self.cluster = home / "cluster.yaml"
        self.cluster.write_text(CLUSTER)

    def log_event(self, message: str) -> None:
        print(f"[{time.monotonic() - self.started:5.0f} s] {message}", flush=True)

    def cmbert(self, *arguments: str) -> str:
        done = subprocess.run([*CMBERT, *arguments], env=self.slurm.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self) -> str:
        _, recipe, *_ = self.run.arguments()
        settings = [f"run_dir={self.run.run_dir}", f"data.path={self.run.data}", *SETTINGS]
        options = [part for setting in settings for part in ("--set", setting)]
        return self.cmbert("launch", "slurm", recipe, "--cluster", str(self.cluster), *options).split()[2]

    def until(self, what: str, condition: Callable[[], bool], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s\n{self.log()}"
            time.sleep(0.2)
        self.log_event(what)

    def log(self) -> str:
        return "".join(path.read_text() for path in (self.run.run_dir / "logs").glob("*.out"))

    def made_progress(self, job: str, restarts: int) -> Callable[[], bool]:
        """Return a condition: the attempt after this many restarts has completed ten steps."""

        def progressed() -> bool:
            attempts = read_attempts(self.run.run_dir)
            if len(attempts) <= restarts or self.slurm.job_info(job)["Restarts"] != str(restarts):
                return False
            return self.run.completed_steps() >= attempts[-1]["step"] + 10

        return progressed

    def interrupt(self) -> None:
        job = self.submit()
        self.log_event(f"submitted job {job}: 2 nodes x 2 ranks, ZeRO-3, {STEPS} steps")
        self.until("ten steps completed", self.made_progress(job, 0))

        self.slurm.run("sbatch", "-phigh", "-N2", "--exclusive", "-o/dev/null", "--wrap", "sleep 1")
        self.log_event("preempted by a job in a partition of higher priority")
        self.until("resumed, ten more steps completed", self.made_progress(job, 1))

        lost = self.slurm.job_info(job)["BatchHost"]
        self.slurm.power_off(lost)
        self.log_event(f"{lost}, which ran the job's script, was powered off")
        self.until("SLURM has detected the lost node", lambda: self.slurm.state(job) != "RUNNING")
        self.slurm.power_on(lost)
        self.until(f"{lost} is powered on again, the run resumed, ten more steps completed", self.made_progress(job, 2))

        hours, minutes, _ = map(int, self.slurm.job_info(job)["RunTime"].split(":"))
        self.slurm.run("scontrol", "update", f"jobid={job}", f"TimeLimit={60 * hours + minutes + 2}")
        self.log_event("its time limit is now in less than two minutes")
        self.until("resumed, ten more steps completed", self.made_progress(job, 3))
        self.until("complete", lambda: self.slurm.state(job) == "COMPLETED")

    def compare(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        self.reference.train(*SETTINGS, ranks=4)
        for column in ("step", "loss", "data_digest"):
            assert self.run.column(column) == self.reference.column(column), column
        losses = self.run.column("loss")
        self.log_event(
            f"{len(losses)} losses from {losses[0]:.4f} to {losses[-1]:.4f}, bit-equal to the uninterrupted run"
        )

    def deepspeed(self) -> None:
        """Run a few steps under DeepSpeed's SLURM runner, inside an allocation."""
        run = self._run(self.run.recipe.parent.parent / "deepspeed", self.run.data)
        _, recipe, *_ = run.arguments()
        settings = [f"run_dir={run.run_dir}", f"data.path={run.data}", f"schedule.total_tokens={12 * 4 * SEQ_LENGTH}"]
        options = [part for setting in settings for part in ("--set", setting)]
        allocation = ["salloc", "--quiet", "--partition=debug", "--nodes=2", "--ntasks-per-node=1"]
        environment = {**self.slurm.environment, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        command = [*allocation, *CMBERT, "launch", "deepspeed-slurm", recipe, *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert run.completed_steps() == 12
        self.log_event("12 steps on 2 nodes under DeepSpeed's SLURM runner")
        print(self.cmbert("status", str(run.run_dir)))

    @staticmethod
    def _run(home: Path, data: Path | str) -> SmallRun:
        home.mkdir()
        recipe = home / "recipe.yaml"
        recipe.write_text(RECIPE)
        return SmallRun(recipe, data, home / "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepspeed", action="store_true", help="only run DeepSpeed's own SLURM runner")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cmbert-harness-", dir="/tmp") as home:
        harness = Harness(Path(home))
        try:
            harness.slurm.start()
            if options.deepspeed:
                harness.deepspeed()
                return
            harness.interrupt()
            print(harness.cmbert("status", str(harness.run.run_dir)))
            harness.compare()
        finally:
            harness.slurm.stop()


if __name__ == "__main__":
    main()
