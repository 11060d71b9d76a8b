"""`cmbert doctor`: whether a run would work here, before it is tried."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..ranks.local import run_ranks
from ..ranks.slurm import set_rank_from_slurm

if TYPE_CHECKING:
    from ..doctor.finding import Finding, Reports


def doctor(
    store: Annotated[str | None, typer.Option(metavar="URL", help="Write, read and remove an object there.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where shards will be kept (data.cache).")] = None,
    ranks: Annotated[int | None, typer.Option(min=1, help="Here; else one a GPU, or two on a CPU.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Without the kernels' self-test.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check this machine, or every node under srun, torchrun or deepspeed; exit code 1 if a run would fail.

    Example: srun --ntasks-per-node=8 cmbert doctor --store s3://bucket/runs
    """
    set_rank_from_slurm(os.environ)
    if "RANK" not in os.environ:
        raise typer.Exit(_run_here(ranks or _visible_gpus() or 2))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    code = _speak_for_node(store, cache, quick, as_json)
    # NCCL's threads would keep a rank that did not meet the others.
    sys.stdout.flush()
    os._exit(code)


def _visible_gpus() -> int:
    """Those that this process may use, which files in /dev do not tell."""
    import torch

    return torch.cuda.device_count()


def _run_here(ranks: int) -> int:
    with redirect_stderr(StringIO()) as told:
        code = run_ranks([sys.executable, "-m", "clinical_modernbert.launcher", *sys.argv[1:]], ranks)
    # That a rank ended with the exit_code need not be told after the table.
    if code > 1:
        sys.stderr.write(told.getvalue())
    return code


def _speak_for_node(store: str | None, cache: Path | None, quick: bool, as_json: bool) -> int:
    """Look, tell and judge; the exit code. Every rank calls it.

    Rank 0 tells of all nodes, and its code is of all; that of another node's first rank is of that node. Where the
    ranks do not meet, the first of each node tells of its own.
    """
    from ..doctor import ranks as doctor_ranks
    from ..doctor.finding import exit_code

    node, first, rank_0 = socket.gethostname(), _is_first(), os.environ["RANK"] == "0"
    mine = list(_of_rank(store, cache, quick))
    try:
        reports = _of_all(node, mine)
    except Exception as error:  # whatever keeps the ranks apart
        reports = {node: [*mine, doctor_ranks.apart(error)]}
        if first:
            _print(reports, as_json, of_all=False)
        return int(first)
    if rank_0:
        _print(reports, as_json)
        sys.stdout.flush()
    # A launcher may end all ranks at the first code that is not 0, so none ends before rank 0 has spoken.
    with suppress(Exception):
        doctor_ranks.all_gather(None)
    return exit_code(reports if rank_0 else {node: reports[node]}) if first else 0


def _of_all(node: str, mine: "list[Finding]") -> "Reports":
    """The findings of all nodes. Raises what keeps the ranks apart."""
    from ..doctor import devices as doctor_devices
    from ..doctor import ranks as doctor_ranks
    from ..doctor.finding import compare_software
    from ..doctor.software import versions

    doctor_ranks.join()
    reports: Reports = {}
    for name, findings in doctor_ranks.all_gather((node, mine)):
        reports[name] = reports.get(name, []) + findings
    installed = dict(doctor_ranks.all_gather((node, versions())))
    shared = [compare_software(installed), *doctor_ranks.together(doctor_devices.rank_device())]
    return {name: findings + shared for name, findings in reports.items()}


def _is_first() -> bool:
    """Of the ranks on this node."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _of_rank(store: str | None, cache: Path | None, quick: bool) -> Iterator["Finding"]:
    """The first rank of a node looks at the node; each at its own GPU."""
    import torch

    from ..doctor import devices as doctor_devices

    if _is_first():
        yield from _of_node(cache)
        if store is not None:
            from ..doctor.store import object_store

            yield object_store(store)
    if not quick and (_is_first() or torch.cuda.is_available()):
        yield doctor_devices.kernels(doctor_devices.rank_device())


def _of_node(cache: Path | None) -> Iterator["Finding"]:
    from ..doctor import devices as doctor_devices
    from ..doctor import machine as doctor_machine
    from ..doctor import software as doctor_software

    yield from doctor_devices.gpus()
    yield doctor_devices.cuda()
    yield doctor_software.packages()
    yield from doctor_software.known_incompatibilities()
    yield doctor_machine.shared_memory()
    yield doctor_machine.stale_segments()
    yield doctor_machine.open_files()
    yield doctor_machine.locked_memory()
    compiled = Path(os.environ.get("TRITON_CACHE_DIR", "~/.triton/cache")).expanduser()
    yield doctor_machine.cache_disk(compiled, "compiled kernels")
    if cache is not None:
        yield doctor_machine.cache_disk(cache.expanduser(), "shards")


def _print(reports: "Reports", as_json: bool, of_all: bool = True) -> None:
    from ..doctor.finding import merge_equal_findings, exit_code

    if as_json:
        nodes = {node: [asdict(finding) for finding in findings] for node, findings in reports.items()}
        typer.echo(json.dumps({"would_fail": bool(exit_code(reports)), "nodes": nodes}, indent=1))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "warning": "yellow", "failed": "red"}
    named = len(reports) > 1 or not of_all
    table = Table(*(["node"] if named else []), "check", "", "found", "what to do", box=SIMPLE)
    for where, finding in merge_equal_findings(reports):
        status = f"[{colours[finding.status]}]{finding.status}[/]"
        # Errors of gloo begin with the name of a file in brackets.
        cells = [escape(text) for text in (where, finding.check, finding.found, finding.advice)]
        table.add_row(*(cells[:1] if named else []), cells[1], status, *cells[2:])
    console = Console(highlight=False)
    console.print(table)
    console.print("A run would fail." if exit_code(reports) else "A run would work, as far as can be told.")
