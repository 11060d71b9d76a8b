"""Data preparation on SLURM: an array of jobs that share the work, and a final job that packs the result."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..cluster.config import ClusterConfig
from ..runs.snapshot import code_directory, new_launch_directory, recipe_path, snapshot
from .job import SHELL, allocation_options, directives, environment_lines, log_pattern, quote_option, submit

if TYPE_CHECKING:
    from ...streaming_data.prepare.config import PrepareConfig


def render_prepare(launch: Path, cluster: ClusterConfig, shares: int) -> tuple[str, str]:
    """Render the scripts of the array and of the final job."""
    share = f'--share "$SLURM_ARRAY_TASK_ID/{shares}"'
    return _render(launch, cluster, "share", [f"--array=0-{shares - 1}"], share), _render(
        launch, cluster, "pack", [], ""
    )


def submit_prepare(config: "PrepareConfig", cluster: ClusterConfig, shares: int) -> tuple[str, str]:
    """Submit both; return the job numbers of the array and of the final job."""
    launch = prepare_directory(config)
    paths = launch / "share.sbatch", launch / "pack.sbatch"
    with snapshot(launch, config) as submitted:
        for path, text in zip(paths, render_prepare(launch, cluster, shares), strict=True):
            path.write_text(text, encoding="utf-8")
        array = submit(paths[0], cluster)
        submitted()
    # afterany: the final job also processes what failed shares have left.
    return array, submit(paths[1], cluster, f"--dependency=afterany:{array}")


def prepare_directory(config: "PrepareConfig") -> Path:
    """Return a directory next to the data set, which contains only data."""
    return new_launch_directory(config.output.with_name(f"{config.output.name}-jobs"))


def _render(launch: Path, cluster: ClusterConfig, name: str, options: list[str], arguments: str) -> str:
    slurm = cluster.slurm
    log = f"{name}-%{'A-%a' if options else 'j'}.out"
    options = [
        f"--job-name=cmbert-{name}",
        *options,
        "--ntasks=1",
        *([f"--cpus-per-task={slurm.cpus_per_rank}"] if slurm.cpus_per_rank else []),
        *allocation_options(cluster),
        # A preempted task keeps its finished files and continues with the next file.
        "--requeue",
        "--open-mode=append",
        f"--output={log_pattern(launch, log)}",
        *map(quote_option, slurm.options),
    ]
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "data", "prepare", str(recipe_path(launch))]
    lines = [
        SHELL,
        "# Written by `cmbert launch slurm-prepare`; sbatch accepts it unchanged.",
        *directives(options),
        "",
        *environment_lines(cluster, code_directory(launch)),
        "",
        "set_up",
        f"exec {shlex.join(command)} {arguments}".rstrip(),
        "",
    ]
    return "\n".join(lines)
