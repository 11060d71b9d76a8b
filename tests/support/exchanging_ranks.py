"""Ranks without an engine, on simulated machines: they save a checkpoint together, or pass files to each other."""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

PATIENCE = timedelta(minutes=2)


def on_ranks(count: int, home: Path, act: Callable[[int], None]) -> None:
    """Call `act` with its rank in each of `count` processes that are joined; it must be a function of a module."""
    from warm_start import server

    home.mkdir(exist_ok=True)
    processes = [server().Process(target=_join, args=(rank, count, home, act)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0


def _join(rank: int, count: int, home: Path, act: Callable[[int], None]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{home}/store", rank=rank, world_size=count)
    act(rank)
    dist.barrier()
    dist.destroy_process_group()


def save_on(machines: Sequence[str], held: Sequence[Any], directory: Path) -> None:
    """Save a checkpoint of step 4 from one rank per machine's name, which holds the snapshot of its number."""
    on_ranks(len(machines), directory.with_name("home"), partial(_save, machines, held, directory))


def _save(machines: Sequence[str], held: Sequence[Any], directory: Path, rank: int) -> None:
    from written_run import manifest_of

    from clinical_modernbert.training.checkpoint import save_load
    from clinical_modernbert.training.checkpoint.attempts import Attempt
    from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest, Written
    from clinical_modernbert.training.nodes import node

    def describe(written: Written) -> CheckpointManifest:
        return manifest_of(4).model_copy(update=written._asdict())

    setattr(node, "_machine", lambda: machines[rank])  # noqa: B010
    joined = node.join_node([0] * len(machines), PATIENCE)
    save_load.save(held[rank], directory, 4, Attempt(directory.parent, 1), describe, joined)


def pass_between(count: int, home: Path, passages: Sequence[tuple[str, int, int, int]]) -> None:
    """Pass files between ranks of which each has the directory `home / rank`."""
    on_ranks(count, home, partial(_pass, home, passages))


def _pass(home: Path, passages: Sequence[tuple[str, int, int, int]], rank: int) -> None:
    import torch.distributed as dist

    from clinical_modernbert.training.nodes import passing

    passing.PIECE = 1000
    passing.pass_files(home / str(rank), [passing.Passage(*each) for each in passages], dist.new_group(backend="gloo"))
