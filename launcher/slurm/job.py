"""A training run as a self-requeueing SLURM job: its script, and its submission.

The script consists of the settings of the run, rendered here, and `job.sh`, which is the same for every run.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ...configs.secrets import scrub
from ..cluster.config import ClusterConfig
from ..ranks.warden import GRACE
from ..runs.jobs import job_name
from ..runs.snapshot import NAME, code_directory
from .environment import StagedEnvironment

# Enough for a login shell; all other variables of a job are set in its script.
_EXPORTED = ("HOME", "PATH", "USER", "LANG")
SHELL = "#!/bin/bash -l"
"""A login shell, because `module` and similar commands are functions defined in its profile."""

_JOB_SCRIPT = Path(__file__).with_name("job.sh")
_STAGE_SCRIPT = Path("launcher/slurm/stage.sh")


def render_job(
    launch: Path,
    run_dir: Path,
    cluster: ClusterConfig,
    command: Sequence[str],
    staged: StagedEnvironment | None = None,
) -> str:
    """Render the sbatch script that runs `command` once per rank, repeatedly until the run is complete.

    Args:
        launch: directory of this launch, on a disk shared by all nodes.
        run_dir: where `command` stores its checkpoints.
        staged: the environment that nodes unpack before, and in which `command`, a Python and its arguments, runs.
    """
    head = [
        SHELL,
        f"# A training run that continues after time limits, preemption and lost nodes. Its files: {run_dir}",
        "# Written by `cmbert launch slurm`; sbatch accepts it unchanged.",
        *directives(_options(run_dir, cluster)),
        "",
        *_settings(launch, run_dir, cluster, command, staged),
        "",
        *environment_lines(cluster, code_directory(launch)),
        "",
    ]
    return scrub("\n".join(head)) + _JOB_SCRIPT.read_text(encoding="utf-8")


def log_pattern(directory: Path, name: str) -> str:
    """Return a path for sbatch, which expands %j and similar patterns in `name`, but must not in `directory`."""
    return shlex.quote(f"{str(directory).replace('%', '%%')}/{name}")


def directives(options: Iterable[str]) -> list[str]:
    """Return the options of sbatch as lines of a script."""
    return [f"#SBATCH {option}" for option in options]


def allocation_options(cluster: ClusterConfig) -> list[str]:
    """Return the options of sbatch for partition, account, time limit, environment and directory of a job."""
    slurm = cluster.slurm
    values = {"partition": slurm.partition, "account": slurm.account, "qos": slurm.qos, "time": slurm.time}
    options = [f"--{name}={_quote(value)}" for name, value in values.items() if value is not None]
    if slurm.exclude:
        options.append(f"--exclude={_quote(','.join(slurm.exclude))}")
    # Names only: a value on the command line would end at its first comma and be visible to all users.
    options.append(f"--export={','.join((*_EXPORTED, *cluster.pass_env))}")
    return [*options, f"--chdir={shlex.quote(os.getcwd())}"]


def environment_lines(cluster: ClusterConfig, pythonpath: Path | None) -> list[str]:
    """Return shell lines that set the environment of a job and define the function `set_up`."""
    environment = {GRACE: str(cluster.slurm.stop_seconds), **cluster.environment()}
    if pythonpath is not None:
        environment = {"PYTHONPATH": str(pythonpath), **environment}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    # eval: a comment, or quotes that are not closed, end with their line and not with the check that follows.
    lines = map(shlex.quote, cluster.setup)
    steps = [f"    eval {line} || {{ echo 'setup failed:' {line}; exit 1; }}" for line in lines]
    # After the setup lines, which may put another Python on the path.
    path = f'    export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    return [*exports, "set_up() {", *steps, path, "}"]


def submit(script: Path, cluster: ClusterConfig, *options: str) -> str:
    """Submit a script with sbatch and return the job's number.

    Raises:
        UserError: a variable in pass_env is not set, sbatch is not installed, or it rejects the script.
    """
    cluster.all_environment()
    try:
        result = subprocess.run(["sbatch", "--parsable", *options, str(script)], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError("sbatch is not installed: submit from a machine of the cluster, or use --dry-run") from error
    if result.returncode:
        raise UserError(f"{script}: sbatch rejected it: {result.stderr.strip()}")
    return result.stdout.strip().partition(";")[0]


def _options(run_dir: Path, cluster: ClusterConfig) -> list[str]:
    options = [f"--job-name={job_name(run_dir)}", "--dependency=singleton", *_nodes(cluster)]
    if cluster.gpus() and not _requests_gpus(cluster.slurm.options):
        options.append(f"--gpus-per-node={cluster.gpus()}")
    return [
        *options,
        *allocation_options(cluster),
        f"--signal=B:USR1@{cluster.slurm.stop_seconds}",
        "--requeue",
        "--open-mode=append",
        f"--output={log_pattern(run_dir / 'logs', 'slurm-%j.out')}",
        *map(quote_option, cluster.slurm.options),
    ]


def _nodes(cluster: ClusterConfig) -> list[str]:
    """The options for nodes and their cores: a range if their number may vary, or spare nodes are welcome."""
    fewest, most = cluster.node_range
    most += cluster.slurm.spare_nodes
    ranks, cpus = cluster.ranks_per_node, cluster.slurm.cpus_per_rank
    if fewest < most:
        # With --ntasks-per-node, SLURM 22.05 stops at as many nodes as hold `most` tasks: 2 of 1-3 with 2 tasks each.
        return [f"--nodes={fewest}-{most}", f"--mincpus={ranks * (cpus or 1)}"]
    return [f"--nodes={most}", f"--ntasks-per-node={ranks}", *([f"--cpus-per-task={cpus}"] if cpus else [])]


def quote_option(option: str) -> str:
    """Return an option of sbatch for a line of a script, where sbatch ends words at blanks and lines at `#`.

    `--name=any words` is one option. In other forms, such as `-C haswell`, quotes mean the same as in a shell.
    """
    words = _words(option)
    name, equals, value = option.partition("=")
    return f"{name}={_quote(value)}" if words == [option] and equals else " ".join(map(_quote, words))


def _quote(value: str) -> str:
    # sbatch needs no quotes around node lists, and scripts are easier to read without.
    return value if re.fullmatch(r"[\w@%+=:,./\[\]-]+", value) else shlex.quote(value)


def _requests_gpus(options: Iterable[str]) -> bool:
    """Whether options request GPUs, such as `--gres=gpu:a100:8`: sbatch rejects a second request of another kind."""
    return any(re.match(r"--gpus|-G|--gres[= ]\S*\bgpu\b", option) for option in options)


def require_mounted(cluster: ClusterConfig, paths: Iterable[Path]) -> None:
    """Require that the ranks' container sees these paths where this machine has them.

    Raises:
        UserError: a path is on no mount, or the mount gives it another name.
    """
    slurm = cluster.slurm
    if slurm.container is None:
        return
    for path in map(Path.resolve, paths):
        if not any(_shows(mount, path) for mount in slurm.container_mounts):
            raise UserError(
                f"{path} is in no mount of the container, or under another name there, and its ranks would not see "
                f"it: add a directory above it to slurm.container_mounts, such as {path.parent}:{path.parent}"
            )


def _shows(mount: str, path: Path) -> bool:
    source, *target = map(Path, mount.split(":")[:2])
    return path.is_relative_to(source) and target in ([], [source])


def _in_container(cluster: ClusterConfig, command: Sequence[str]) -> list[str]:
    """The command, behind that of Apptainer if it starts the container; pyxis is an option of srun."""
    slurm = cluster.slurm
    if slurm.container is None or slurm.container_runtime == "pyxis":
        return list(command)
    mounts = [f"--bind={mount}" for mount in slurm.container_mounts]
    gpus = ["--nv"] if cluster.gpus() else []
    return [slurm.container_runtime, "exec", *gpus, *mounts, slurm.container, *command]


def _settings(
    launch: Path, run_dir: Path, cluster: ClusterConfig, command: Sequence[str], staged: StagedEnvironment | None
) -> list[str]:
    slurm, code = cluster.slurm, code_directory(launch)
    stage = ["bash", str(code / NAME / _STAGE_SCRIPT)] if staged else []
    run = [*stage, "run"] if staged else []
    return [
        f"run_dir={shlex.quote(str(run_dir))}",
        f"launch={shlex.quote(str(launch))}",
        f"command=({shlex.join(run + _in_container(cluster, command))})",
        f"stage=({shlex.join(stage)})",
        *(f"export {setting}" for setting in (staged.settings(code) if staged else ())),
        f"srun_options=({shlex.join(_srun_options(cluster))})",
        f"preflight={shlex.quote(_preflight(cluster, command[0], run))}",
        f"network_check=({shlex.join(_network_check(cluster, command[0], run))})",
        f"preflight_seconds={slurm.preflight_seconds}",
        f"stop_seconds={slurm.stop_seconds}",
        f"max_failures={slurm.max_failures}",
        f"max_excluded={slurm.max_excluded}",
        f"min_nodes={cluster.node_range[0]}",
        f"max_nodes={cluster.node_range[1]}",
        f"ranks_per_node={cluster.ranks_per_node}",
        f"always_excluded={shlex.quote(','.join(slurm.exclude))}",
    ]


def _preflight(cluster: ClusterConfig, python: str, run: list[str]) -> str:
    preflight = cluster.slurm.preflight or ""
    doctor = [python, "-m", "clinical_modernbert.launcher", "doctor", "--quick", "--ranks", str(cluster.ranks_per_node)]
    return shlex.join(run + _in_container(cluster, doctor)) if preflight == "doctor" else preflight


def _network_check(cluster: ClusterConfig, python: str, run: list[str]) -> list[str]:
    """The ranks in which the nodes exchange; none with a preflight of one's own."""
    if cluster.slurm.preflight != "doctor":
        return []
    return run + _in_container(cluster, [python, "-m", "clinical_modernbert.launcher.slurm.network_check"])


def _srun_options(cluster: ClusterConfig) -> list[str]:
    slurm = cluster.slurm
    options = []
    if slurm.cpus_per_rank:
        # Since SLURM 22.05, srun does not inherit this option from sbatch.
        options.append(f"--cpus-per-task={slurm.cpus_per_rank}")
    if slurm.container and slurm.container_runtime == "pyxis":
        options.append(f"--container-image={slurm.container}")
        if slurm.container_mounts:
            options.append(f"--container-mounts={','.join(slurm.container_mounts)}")
    return [*options, *(word for option in slurm.srun_options for word in _words(option))]


def _words(option: str) -> list[str]:
    """An option in words: `--name=any words` is one, other forms are read as in a shell."""
    if re.match(r"--[\w-]+=[^'\"\\]*$", option):
        return [option]
    try:
        return shlex.split(option)
    except ValueError as error:
        raise UserError(f"slurm: {option!r}: {error}; write it as in a shell") from error
