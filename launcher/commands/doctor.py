"""`cmbert doctor`: check whether a run would work on this machine or cluster before starting it."""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.reporting import PACKAGE, suggest
from ..interface.next_steps import same_command
from ..ranks.local import run_ranks
from ..ranks.mpi import set_rank_from_mpi
from ..ranks.slurm import set_rank_from_slurm

if TYPE_CHECKING:
    from ..doctor.finding import Finding, Reports

_CHECK_FAILED = 1


def doctor(
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Object store to check: an object is written, read and removed.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Directory for cached shards (data.cache) to check.")] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Directory that all nodes must share, such as the one for runs, to check.")
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Ranks on this machine. Default: one per GPU, or two on a CPU.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip the self-test of the kernels.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check this machine, or every node under srun, mpirun, torchrun or deepspeed; exit code 1 if a run would fail.

    Example: srun --ntasks-per-node=8 cmbert doctor --store s3://bucket/runs --run-dir /shared/runs
    """
    set_rank_from_mpi(os.environ)
    set_rank_from_slurm(os.environ)
    if as_json:  # stdout is for programs
        logging.getLogger(PACKAGE).setLevel(logging.WARNING)
    if "RANK" not in os.environ:
        raise typer.Exit(_run_on_this_machine(ranks or _visible_gpus() or 2))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    code = _check_rank(store, cache, run_dir, quick, as_json)
    # NCCL's threads would block a normal exit if this rank did not connect to the others.
    sys.stdout.flush()
    os._exit(code)


def _visible_gpus() -> int:
    """Return the number of GPUs this process may use, which may be fewer than the devices in /dev."""
    import torch

    return torch.cuda.device_count()


def _run_on_this_machine(ranks: int) -> int:
    command = [sys.executable, "-m", "clinical_modernbert.launcher", *sys.argv[1:]]
    # The table already shows failed checks, so a rank that exits because of them is not reported again.
    return run_ranks(command, ranks, silent_codes=(_CHECK_FAILED,))


def _check_rank(store: str | None, cache: Path | None, run_dir: Path | None, quick: bool, as_json: bool) -> int:
    """Run the checks, print the table on rank 0, and return the exit code. Every rank calls it.

    The exit code of rank 0 is for all nodes; that of the first rank of another node is for its node; other ranks
    return 0. If the ranks cannot connect, the first rank of each node prints a table for its own node.
    """
    from ...training.nodes.node import gather_all
    from ..doctor import ranks as doctor_ranks
    from ..doctor.finding import exit_code

    node, first, rank_0 = socket.gethostname(), _is_first_on_node(), os.environ["RANK"] == "0"
    findings = list(_rank_findings(store, cache, quick))
    try:
        reports = _gather_reports(node, findings, run_dir)
    except Exception as error:  # whatever prevents the ranks from connecting
        reports = {node: [*findings, doctor_ranks.connection_failure(error)]}
        if first:
            _print(reports, as_json, all_nodes=False)
        return int(first)
    if rank_0:
        _print(reports, as_json)
        sys.stdout.flush()
    # A launcher may kill all ranks at the first nonzero exit code, so no rank exits before rank 0 has printed.
    with suppress(Exception):
        gather_all(None)
    return exit_code(reports if rank_0 else {node: reports[node]}) if first else 0


def _gather_reports(node: str, own: "list[Finding]", run_dir: Path | None) -> "Reports":
    """Return the findings of all nodes. Raises whatever prevents the ranks from connecting."""
    from ...training.nodes.node import gather_all
    from ..doctor import devices as doctor_devices
    from ..doctor import ranks as doctor_ranks
    from ..doctor.finding import compare_software
    from ..doctor.software import versions

    doctor_ranks.join_process_group()
    reports: Reports = {}
    for name, findings in gather_all((node, own)):
        reports[name] = reports.get(name, []) + findings
    installed = dict(gather_all((node, versions())))
    shared = [compare_software(installed), *doctor_ranks.collective_checks(doctor_devices.rank_device(), run_dir)]
    return {name: findings + shared for name, findings in reports.items()}


def _is_first_on_node() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _rank_findings(store: str | None, cache: Path | None, quick: bool) -> Iterator["Finding"]:
    """Check the node on its first rank, and the GPU of each rank."""
    import torch

    from ..doctor import devices as doctor_devices

    if _is_first_on_node():
        yield from _node_findings(cache)
        if store is not None:
            from ..doctor.store import object_store

            yield object_store(store)
    if not quick and (_is_first_on_node() or torch.cuda.is_available()):
        yield doctor_devices.attention(doctor_devices.rank_device())
        yield doctor_devices.kernels(doctor_devices.rank_device())


def _node_findings(cache: Path | None) -> Iterator["Finding"]:
    from ..doctor import devices as doctor_devices
    from ..doctor import machine as doctor_machine
    from ..doctor import software as doctor_software

    yield from doctor_devices.gpus()
    yield doctor_devices.cuda()
    yield doctor_software.packages()
    yield from doctor_software.installed_incompatibilities()
    yield doctor_software.installed_tested_versions()
    yield from doctor_software.imports()
    yield doctor_machine.shared_memory()
    yield doctor_machine.stale_segments()
    yield doctor_machine.open_files()
    yield doctor_machine.locked_memory()
    compiled = Path(os.environ.get("TRITON_CACHE_DIR", "~/.triton/cache")).expanduser()
    yield doctor_machine.cache_disk(compiled, "compiled kernels")
    if cache is not None:
        yield doctor_machine.cache_disk(cache.expanduser(), "shards")


def _print(reports: "Reports", as_json: bool, all_nodes: bool = True) -> None:
    from ..doctor.finding import exit_code, merge_equal_findings

    if as_json:
        nodes = {node: [asdict(finding) for finding in findings] for node, findings in reports.items()}
        typer.echo(json.dumps({"would_fail": bool(exit_code(reports)), "nodes": nodes}, indent=1))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colors = {"ok": "green", "warning": "yellow", "failed": "red"}
    with_nodes = len(reports) > 1 or not all_nodes
    table = Table(*(["node"] if with_nodes else []), "check", "", "result", "advice", box=SIMPLE)
    for where, finding in merge_equal_findings(reports):
        status = f"[{colors[finding.status]}]{finding.status}[/]"
        # Errors of gloo begin with a file name in brackets, which rich would read as markup.
        cells = [escape(text) for text in (where, finding.check, finding.result, finding.advice)]
        table.add_row(*(cells[:1] if with_nodes else []), cells[1], status, *cells[2:])
    console = Console(highlight=False)
    console.print(table)
    console.print("A run would fail." if exit_code(reports) else "No check failed.")
    if exit_code(reports):
        suggest(same_command())
    else:
        suggest(["plan", "base", "--gpu", "h100"] if _visible_gpus() else ["demo"])
