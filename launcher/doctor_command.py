"""`cmbert doctor`: whether a run would work here, before it is tried."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .local import run_ranks
from .slurm_place import adopt_slurm_place

if TYPE_CHECKING:
    from .doctor import Finding, Reports


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
    adopt_slurm_place(os.environ)
    if "RANK" not in os.environ:
        here = ranks or len(list(Path("/dev").glob("nvidia[0-9]*"))) or 2
        again = [sys.executable, "-m", "clinical_modernbert.launcher", *sys.argv[1:]]
        raise typer.Exit(run_ranks(again, here))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    reports = examine(store, cache, quick)
    if os.environ["RANK"] == "0":
        _print(reports, as_json)
    # NCCL's threads would keep a rank that did not meet the others.
    sys.stdout.flush()
    from .doctor import verdict

    os._exit(verdict(reports) if os.environ["RANK"] == "0" else 0)


def examine(store: str | None, cache: Path | None, quick: bool) -> "Reports":
    """The findings of all nodes; every rank calls it. Where the ranks do not meet, those of this one's node."""
    from . import doctor_ranks
    from .doctor import differences
    from .doctor_software import versions

    node = socket.gethostname()
    mine = list(_of_rank(store, cache, quick))
    if apart := doctor_ranks.join():
        return {node: [*mine, apart]}
    reports: Reports = {}
    for name, findings in doctor_ranks.gathered((node, mine)):
        reports[name] = reports.get(name, []) + findings
    installed = dict(doctor_ranks.gathered((node, versions())))
    shared = [differences(installed), *doctor_ranks.together()]
    return {name: findings + shared for name, findings in reports.items()}


def _of_rank(store: str | None, cache: Path | None, quick: bool) -> Iterator["Finding"]:
    """The first rank of a node looks at the node; each at its own GPU."""
    import torch

    from . import doctor_devices

    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if first:
        yield from _of_node(cache)
        if store is not None:
            from .doctor_store import object_store

            yield object_store(store)
    if not quick and (first or torch.cuda.is_available()):
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        yield doctor_devices.kernels(device)


def _of_node(cache: Path | None) -> Iterator["Finding"]:
    from . import doctor_devices, doctor_machine, doctor_software

    yield from doctor_devices.gpus()
    yield doctor_devices.cuda(len(list(Path("/dev").glob("nvidia[0-9]*"))))
    yield doctor_software.packages()
    yield from doctor_software.known_pairs()
    yield doctor_machine.shared_memory()
    yield doctor_machine.stale_segments()
    yield doctor_machine.open_files()
    yield doctor_machine.locked_memory()
    compiled = Path(os.environ.get("TRITON_CACHE_DIR", "~/.triton/cache")).expanduser()
    yield doctor_machine.cache_disk(compiled, "compiled kernels")
    if cache is not None:
        yield doctor_machine.cache_disk(cache.expanduser(), "shards")


def _print(reports: "Reports", as_json: bool) -> None:
    from .doctor import grouped, verdict

    if as_json:
        nodes = {node: [asdict(finding) for finding in findings] for node, findings in reports.items()}
        typer.echo(json.dumps({"would_fail": bool(verdict(reports)), "nodes": nodes}, indent=1))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "warning": "yellow", "failed": "red"}
    table = Table(*(["node"] if len(reports) > 1 else []), "check", "", "found", "what to do", box=SIMPLE)
    for where, finding in grouped(reports):
        cells = [finding.check, f"[{colours[finding.status]}]{finding.status}[/]", finding.found, finding.advice]
        table.add_row(*([where] if len(reports) > 1 else []), *cells)
    console = Console(highlight=False)
    console.print(table)
    console.print("A run would fail." if verdict(reports) else "A run would work, as far as can be told.")
