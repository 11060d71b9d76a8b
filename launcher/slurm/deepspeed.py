"""DeepSpeed's own SLURM runner, kept from what it does wrong: for those who must use it.

It runs `srun` for a hostfile. Left alone it trains on one node when it finds no hostfile, cuts values of the
environment at their commas and shows them to everyone, and calls a killed `srun` a success. So the hostfile is written
from the allocation, what would be cut or seen is refused, and how it went is told by the ranks, which take their places
from SLURM. `cmbert launch slurm` needs none of this, and goes on by itself.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ..cluster.config import SECRET
from ..ranks.slurm import expand_host_list

# What DeepSpeed's runner (EXPORT_ENVS, and `export_envs` for CUDA) puts on srun's command line: --export=ALL,NAME=VALUE
_EXPORTED = ("MLFLOW", "PYTHON", "MV2", "UCX", "NCCL")


def run_deepspeed(directory: Path, pythonpath: Path, entry: Path, arguments: Sequence[str]) -> int:
    """Run `entry` once a task of this process's SLURM allocation; returns the ranks' own exit code.

    Args:
        directory: for the hostfile; all nodes see it.
        pythonpath: where every node finds this package.
    Raises:
        UserError: there is no allocation, or DeepSpeed's runner would not do what was asked.
    """
    hosts = allocated_hosts(os.environ)
    hostfile, word = directory / "hostfile", directory / "exit"
    environment = {**os.environ, "PYTHONPATH": str(pythonpath), "CMBERT_EXIT_FILE": str(word)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    file = os.environ.get("DS_ENV_FILE", ".deepspeed_env")
    require_safe_exports(environment, [Path.home() / file, Path.cwd() / file])
    hostfile.write_text("".join(f"{host} slots={slots}\n" for host, slots in hosts.items()), encoding="utf-8")
    # What ranks of an earlier start said would stay: the first word counts.
    word.unlink(missing_ok=True)
    # --master_addr: else it asks by ssh. Neither this nor its --master_port reaches the ranks, which ask SLURM.
    # --force_multi: of one host it would start the ranks here, which may be a login node.
    first = next(iter(hosts))
    options = ["--launcher_args=--kill-on-bad-exit=1", f"--master_addr={first}", "--no_ssh_check", "--force_multi"]
    command = ["deepspeed", "--launcher", "slurm", "--hostfile", str(hostfile), *options, str(entry), *arguments]
    code = subprocess.run(command, env=environment).returncode
    if word.is_file():
        return int(word.read_text().split()[0])
    return code or 1


def allocated_hosts(environment: Mapping[str, str]) -> dict[str, int]:
    """The hosts of the allocation with their tasks, which must be equally many."""
    if "SLURM_JOB_NODELIST" not in environment:
        raise UserError(
            "no SLURM allocation here: run this inside `salloc --nodes=2 --ntasks-per-node=8 ...`, or sbatch"
        )
    tasks = environment.get("SLURM_TASKS_PER_NODE", "1")
    equal = re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)
    if not equal:
        raise UserError(
            f"the allocation has {tasks} tasks on its nodes, and DeepSpeed's SLURM runner needs as many on each: ask "
            "for --ntasks-per-node"
        )
    return dict.fromkeys(expand_host_list(environment["SLURM_JOB_NODELIST"]), int(equal[1]))


def require_safe_exports(environment: Mapping[str, str], files: Sequence[Path]) -> None:
    """Raises UserError for what DeepSpeed would put on srun's command line and must not be there.

    srun ends a value at its first comma, and every user of the machine can list its arguments.
    """
    exported = [(name, name, value) for name, value in environment.items() if name.startswith(_EXPORTED)]
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
            name, _, value = line.partition("=")
            exported.append((name, f"{name} (in {file})", value))
    if seen := sorted(place for name, place, _ in exported if SECRET.search(name.strip())):
        raise UserError(
            f"DeepSpeed's SLURM runner would show {', '.join(seen)} to every user, on srun's command line: use `cmbert "
            "launch slurm`, which takes secrets by name (pass_env), or unset what is not needed"
        )
    if cut := sorted(place for _, place, value in exported if "," in value):
        raise UserError(
            f"DeepSpeed's SLURM runner would cut {', '.join(cut)} at a comma: use `cmbert launch slurm`, which keeps "
            "values whole, or unset what is not needed"
        )
