"""A run of its own on a SLURM cluster: its directory, its jobs, and what became of them."""

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
    """Two nodes with two ranks each, unless said otherwise. `run_dir` must have a name that no other run has."""

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

    def submit(self, *arguments: object, jobs: int = 1, **slurm: Any) -> str:
        """Ranks that keep the protocol, with these arguments; returns the first job's number."""
        return self.submit_command([sys.executable, str(RANK), str(self.run_dir), *map(str, arguments)], jobs, **slurm)

    def submit_command(
        self,
        command: list[str],
        jobs: int = 1,
        env: dict[str, str] | None = None,
        pass_env: tuple[str, ...] = (),
        **slurm: Any,
    ) -> str:
        asked = {"preflight": None, "time": "30", "partition": "debug", **slurm}
        cluster = ClusterConfig.model_validate(
            {
                "nodes": 2,
                "ranks_per_node": 2,
                "env": env or {},
                "pass_env": pass_env,
                "fabric": "tcp",
                "setup": ["module load cuda/12.8"],
                "slurm": asked,
            }
        )
        self.script.write_text(render_job(self.launch, self.run_dir, cluster, command))
        self.jobs += [submit(self.script, cluster) for _ in range(jobs)]
        return self.jobs[0]

    def ended(self, job: str) -> dict[str, str]:
        return self.slurm.await_state(job, "COMPLETED", "FAILED", "CANCELLED")

    def ask_to_stop(self) -> None:
        """As SLURM does before the time limit."""
        time.sleep(0.5)
        self.slurm.run("scancel", "--signal=USR1", "--batch", self.jobs[0])

    def starts(self) -> list[tuple[str, int, str]]:
        """(job.restart.step of srun, from which step, nodes) of each start of the ranks."""
        path = self.run_dir / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(step), nodes) for name, step, nodes in (line.split() for line in lines)]

    def await_starts(self, count: int) -> None:
        wait_for(lambda: len(self.starts()) >= count, 60)

    def ends(self) -> list[tuple[int, str]]:
        return [(line["code"], line["reason"]) for line in read_launches(self.run_dir) if line["event"] == "ended"]

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.run_dir / "logs").glob("*.out")))
