"""A run as a SLURM job that looks after itself: the script it is, and its submission.

The script is this file's head, which is all that differs between two runs, and `slurm_job.sh`, which never does.
"""

import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ..cluster.config import ClusterConfig
from ..runs.snapshot import code

# Enough for a shell and the user's own configuration files; the rest a job sees is in its script.
_EXPORTED = ("HOME", "PATH", "USER", "LANG")
SHELL = "#!/bin/bash -l"
"""A login shell: `module` and the like are functions that its profile defines, and no variable could pass on."""

_PROTOCOL = Path(__file__).with_name("job.sh")


def render_job(launch: Path, run_dir: Path, cluster: ClusterConfig, command: Sequence[str]) -> str:
    """The sbatch script that runs `command` once a rank, as often as it takes.

    Args:
        launch: directory of this launch, on a disk that all nodes see.
        run_dir: where `command` keeps its checkpoints.
    """
    head = [
        SHELL,
        f"# A training run that outlives time limits, preemption and dead nodes. Its files: {run_dir}",
        "# Written by `cmbert launch slurm`; sbatch takes it as it is.",
        *directives(_options(run_dir, cluster)),
        "",
        *_settings(launch, run_dir, cluster, command),
        "",
        *environment_lines(cluster, code(launch)),
        "",
    ]
    return "\n".join(head) + _PROTOCOL.read_text(encoding="utf-8")


def job_name(run_dir: Path) -> str:
    """One for each run directory: SLURM lets only one job of a name run at a time (`--dependency=singleton`)."""
    path = str(run_dir.resolve())
    return f"cmbert-{re.sub('[^A-Za-z0-9._-]', '_', run_dir.name)}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"


def log_pattern(directory: Path, name: str) -> str:
    """For sbatch, which reads %j and the like in `name`, and shall read nothing into the directory."""
    return shlex.quote(f"{str(directory).replace('%', '%%')}/{name}")


def directives(options: Iterable[str]) -> list[str]:
    return [f"#SBATCH {option}" for option in options]


def allocation_options(cluster: ClusterConfig) -> list[str]:
    """Options of sbatch that say where a job runs, and at whose cost."""
    slurm = cluster.slurm
    named = {"partition": slurm.partition, "account": slurm.account, "qos": slurm.qos, "time": slurm.time}
    options = [f"--{name}={value}" for name, value in named.items() if value is not None]
    if slurm.exclude:
        options.append(f"--exclude={','.join(slurm.exclude)}")
    # By name: a value on the command line would be cut at its first comma, and be seen by everyone.
    options.append(f"--export={','.join((*_EXPORTED, *cluster.pass_env))}")
    return [*options, f"--chdir={shlex.quote(os.getcwd())}"]


def environment_lines(cluster: ClusterConfig, pythonpath: Path | None) -> list[str]:
    """Shell lines that give a job its environment, and `set_up`, which makes it ready."""
    environment = cluster.environment()
    if pythonpath is not None:
        environment = {"PYTHONPATH": str(pythonpath), **environment}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    steps = [f"    {line} || {{ echo 'set-up failed:' {shlex.quote(line)}; exit 1; }}" for line in cluster.setup]
    # After the set-up, which may bring a Python of its own.
    path = f'    export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    return [*exports, "set_up() {", *steps, path, "}"]


def submit(script: Path, cluster: ClusterConfig, *options: str) -> str:
    """Hand a script to sbatch and return the job's number.

    Raises:
        UserError: a variable to be passed on is not set, sbatch is not here, or it refuses, with its reason.
    """
    cluster.all_environment()
    try:
        done = subprocess.run(["sbatch", "--parsable", *options, str(script)], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError("sbatch: not found: submit from a machine of the cluster, or see --dry-run") from error
    if done.returncode:
        raise UserError(f"{script}: sbatch refused it: {done.stderr.strip()}")
    return done.stdout.strip().partition(";")[0]


def _options(run_dir: Path, cluster: ClusterConfig) -> list[str]:
    options = [
        f"--job-name={job_name(run_dir)}",
        "--dependency=singleton",
        f"--nodes={cluster.nodes}",
        f"--ntasks-per-node={cluster.ranks_per_node}",
    ]
    if cluster.gpus():
        options.append(f"--gpus-per-node={cluster.gpus()}")
    if cluster.slurm.cpus_per_rank:
        options.append(f"--cpus-per-task={cluster.slurm.cpus_per_rank}")
    return [
        *options,
        *allocation_options(cluster),
        f"--signal=B:USR1@{cluster.slurm.stop_seconds}",
        "--requeue",
        "--open-mode=append",
        f"--output={log_pattern(run_dir / 'logs', 'slurm-%j.out')}",
        *cluster.slurm.options,
    ]


def _settings(launch: Path, run_dir: Path, cluster: ClusterConfig, command: Sequence[str]) -> list[str]:
    slurm = cluster.slurm
    return [
        f"run_dir={shlex.quote(str(run_dir))}",
        f"launch={shlex.quote(str(launch))}",
        f"command=({shlex.join(command)})",
        f"srun_options=({shlex.join(_srun_options(cluster))})",
        f"preflight={shlex.quote(_preflight(cluster, command[0]))}",
        f"preflight_seconds={slurm.preflight_seconds}",
        f"max_failures={slurm.max_failures}",
        f"max_excluded={slurm.max_excluded}",
        f"always_excluded={shlex.quote(','.join(slurm.exclude))}",
    ]


def _preflight(cluster: ClusterConfig, python: str) -> str:
    asked = cluster.slurm.preflight or ""
    doctor = [python, "-m", "clinical_modernbert.launcher", "doctor", "--quick", "--ranks", str(cluster.ranks_per_node)]
    return shlex.join(doctor) if asked == "doctor" else asked


def _srun_options(cluster: ClusterConfig) -> list[str]:
    slurm = cluster.slurm
    options = []
    if slurm.cpus_per_rank:
        # srun does not take it over from sbatch since SLURM 22.05.
        options.append(f"--cpus-per-task={slurm.cpus_per_rank}")
    if slurm.container:
        options.append(f"--container-image={slurm.container}")
    if slurm.container_mounts:
        options.append(f"--container-mounts={','.join(slurm.container_mounts)}")
    return options
