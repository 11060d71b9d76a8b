"""Run under DeepSpeed's own SLURM runner, working around its defects.

The runner calls `srun` for a hostfile. By itself it trains on one node if it finds no hostfile, truncates values of
environment variables at commas and shows them to all users, and reports success if `srun` was killed. Therefore the
hostfile is written from the allocation, values that would be truncated or exposed are rejected, and the ranks, which
take their rank from SLURM, write the exit code. `cmbert launch slurm` avoids these problems and also restarts jobs.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ...configs.secrets import is_secret_name, scrub
from ..ranks.local import EXPLAINED_EXITS
from ..ranks.slurm import expand_host_list

# DeepSpeed's runner (EXPORT_ENVS, and `export_envs` for CUDA) passes these to srun as --export=ALL,NAME=VALUE.
_EXPORTED = ("MLFLOW", "PYTHON", "MV2", "UCX", "NCCL")


def run_deepspeed(directory: Path, pythonpath: Path, entry: Path, arguments: Sequence[str]) -> int:
    """Run `entry` once per task of this process's SLURM allocation; return the exit code that the ranks wrote.

    Args:
        directory: for the hostfile, on a disk shared by all nodes.
        pythonpath: where every node finds this package.
    Raises:
        UserError: there is no allocation, or DeepSpeed's runner cannot start the ranks correctly.
    """
    hosts = allocated_hosts(os.environ)
    hostfile, exit_file = directory / "hostfile", directory / "exit"
    environment = {**os.environ, "PYTHONPATH": str(pythonpath), "CMBERT_EXIT_FILE": str(exit_file)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    file = os.environ.get("DS_ENV_FILE", ".deepspeed_env")
    require_safe_exports(environment, [Path.home() / file, Path.cwd() / file])
    hostfile.write_text("".join(f"{host} slots={slots}\n" for host, slots in hosts.items()), encoding="utf-8")
    # Ranks do not overwrite this file, so that of an earlier attempt must be removed.
    exit_file.unlink(missing_ok=True)
    # --master_addr: otherwise the runner finds it by ssh. The ranks use SLURM's variables and ignore it.
    # --force_multi: otherwise the ranks of a single host start on this machine, which may be a login node.
    first = next(iter(hosts))
    options = ["--launcher_args=--kill-on-bad-exit=1", f"--master_addr={first}", "--no_ssh_check", "--force_multi"]
    command = ["deepspeed", "--launcher", "slurm", "--hostfile", str(hostfile), *options, str(entry), *arguments]
    code = subprocess.run(command, env=environment).returncode
    return _exit_code(exit_file, code)


def _exit_code(exit_file: Path, code: int) -> int:
    """The code that a rank wrote; else that of DeepSpeed, unless only a rank can mean it, or srun ended the ranks."""
    written = exit_file.read_text().split() if exit_file.is_file() else []
    if written:
        return int(written[0])
    return 1 if code in (0, 143, *EXPLAINED_EXITS) else code


def allocated_hosts(environment: Mapping[str, str]) -> dict[str, int]:
    """Return {host: tasks} of the allocation. Raises UserError if hosts have different numbers of tasks."""
    if "SLURM_JOB_NODELIST" not in environment:
        raise UserError(
            "no SLURM allocation: run this command inside `salloc --nodes=2 --ntasks-per-node=8 ...`, or sbatch"
        )
    tasks = environment.get("SLURM_TASKS_PER_NODE", "1")
    equal = re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)
    if not equal:
        raise UserError(
            f"the allocation has {tasks} tasks on its nodes, and DeepSpeed's SLURM runner needs the same number "
            "on each node: request --ntasks-per-node"
        )
    return dict.fromkeys(expand_host_list(environment["SLURM_JOB_NODELIST"]), int(equal[1]))


def require_safe_exports(environment: Mapping[str, str], files: Sequence[Path]) -> None:
    """Raise UserError for variables that DeepSpeed would put on srun's command line and that must not be there.

    srun ends a value at its first comma, and every user of the machine can see its arguments.
    """
    exported = [(name, name, value) for name, value in environment.items() if name.startswith(_EXPORTED)]
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
            name, _, value = line.partition("=")
            exported.append((name, f"{name} (in {file})", value))
    if exposed := sorted(
        label for name, label, value in exported if is_secret_name(name.strip()) or scrub(value) != value
    ):
        raise UserError(
            f"DeepSpeed's SLURM runner would show {', '.join(exposed)} to every user, on srun's command line: use "
            "`cmbert launch slurm`, which passes secrets by name (pass_env), or unset the variables"
        )
    if truncated := sorted(label for _, label, value in exported if "," in value):
        raise UserError(
            f"DeepSpeed's SLURM runner would truncate {', '.join(truncated)} at a comma: use `cmbert launch slurm`, "
            "which passes values unchanged, or unset the variables"
        )
