"""A run on a SLURM cluster for tests: its directory, its jobs, and their outcomes."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slurm_cluster import SlurmCluster, wait_for

from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.launcher.slurm.job import render_job, submit

RANK = Path(__file__).with_name("slurm_rank.py")


@dataclass
class SlurmRun:
    """A run on two nodes with two ranks each by default. The name of `run_dir` must be unique."""

    slurm: SlurmCluster
    run_dir: Path
    jobs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.launch.mkdir(parents=True)
        (self.run_dir / "logs").mkdir()

    @property
    def launch(self) -> Path:
        return self.run_dir / "launches" / "it's one"

    @property
    def script(self) -> Path:
        return self.launch / "job.sbatch"

    def submit(self, *arguments: object, jobs: int = 1, nodes: int | str = 2, **slurm: Any) -> str:
        """Submit ranks of `slurm_rank.py` with these arguments; return the number of the first job."""
        command = [sys.executable, str(RANK), str(self.run_dir), *map(str, arguments)]
        return self.submit_command(command, jobs, nodes=nodes, **slurm)

    def submit_command(
        self,
        command: list[str],
        jobs: int = 1,
        env: dict[str, str] | None = None,
        pass_env: tuple[str, ...] = (),
        nodes: int | str = 2,
        **slurm: Any,
    ) -> str:
        settings = {"preflight": None, "time": "30", "partition": "debug", **slurm}
        cluster = ClusterConfig.model_validate(
            {
                "nodes": nodes,
                "ranks_per_node": 2,
                "env": env or {},
                "pass_env": pass_env,
                "fabric": "tcp",
                "setup": ["module load cuda/12.8"],
                "slurm": settings,
            }
        )
        self.script.write_text(render_job(self.launch, self.run_dir, cluster, command))
        self.jobs += [submit(self.script, cluster) for _ in range(jobs)]
        return self.jobs[0]

    def ended(self, job: str) -> dict[str, str]:
        return self.slurm.await_state(job, "COMPLETED", "FAILED", "CANCELLED")

    def request_stop(self) -> None:
        """Send the signal that SLURM sends before the time limit."""
        time.sleep(0.5)
        self.slurm.run("scancel", "--signal=USR1", "--batch", self.jobs[0])

    def attempts(self) -> list[tuple[str, int, str]]:
        """Return (job.restart.step of srun, initial training step, nodes) of each attempt."""
        path = self.run_dir / "rank_attempts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(step), nodes) for name, step, nodes in (line.split() for line in lines)]

    def await_attempts(self, count: int) -> None:
        wait_for(lambda: len(self.attempts()) >= count, 60)

    def outcomes(self) -> list[tuple[int, str]]:
        return [(line["code"], line["reason"]) for line in read_launches(self.run_dir) if line["event"] == "ended"]

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.run_dir / "logs").glob("*.out")))
