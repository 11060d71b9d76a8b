"""Writing and reading checkpoints: complete or absent, and independent of the ranks that wrote them.

A checkpoint is a directory of safetensors files, one per node, and a manifest. A file holds the shards of parameters
and optimizer state of a node's ranks, each under the parameter's name and with its offset in the whole parameter.
Nothing in it depends on ZeRO's stage or partitioning, so it can be read at any world size, by anything that reads
safetensors, and nothing is unpickled. The manifest says which ranges each file holds, so that a rank opens only the
files that have elements of its shards.

Writing: every rank writes its snapshot into its node's file in a staging directory, at the place that is its own, and
hashes a part of the file, in a background thread. When all ranks are done, rank 0 looks at the files, adds the manifest
and renames the directory. A checkpoint under its final name is complete, whenever the machine stops, and is never
overwritten: only the newest attempt of a run publishes, and a complete checkpoint of the same step stays.

Where ranks do not share a disk, every node stores its own file in the object store instead, and rank 0 stores the
manifest last, when it has looked at what the store holds (`kept.py`).
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from ...configs.errors import TransientError, UserError
from ...storage.files import fsync, hash_file
from ...storage.put import local_file, put, require_stored
from ...storage.trust import require_owner
from ..nodes.node import Node, from_first, gather_all, gather_to_first
from ..zero.parameter_shards import parameter_shards, update_model_weights
from ..zero.running_average import running_average
from .attempts import Attempt
from .files import directory_name, find_corruption, list_checkpoints, verify
from .kept import keep
from .layout import Layout, plan_file, plan_together
from .manifest import (
    MANIFEST,
    CheckpointManifest,
    FileEntry,
    Written,
    parameters_of,
    read_manifest,
    write_manifest,
)
from .names import node_file, rank_file
from .shard_reader import AVERAGE, WEIGHTS, ShardReader
from .snapshot import Snapshot, write_snapshot

Describe = Callable[[Written], CheckpointManifest]

VISIBLE_WITHIN_SECONDS = 10.0
"""A network file system may show the file of another node only after some seconds."""


def save(
    snapshot: Snapshot,
    directory: Path,
    step: int,
    attempt: Attempt,
    describe: Describe,
    node: Node,
    address: str | None = None,
) -> None:
    """Write the checkpoint of `step` into `directory`. Every rank calls it, each from its background thread.

    Args:
        describe: makes the manifest; called on rank 0.
        node: the ranks that write one file with this one. Its groups are those of the background threads; training uses
            its own at the same time.
        address: where to store the checkpoint if the ranks do not share `directory`, which then keeps only parts of it.
    Raises:
        TransientError: a rank could not write, or what it wrote is not there.
        UserError: a newer attempt owns the run. In both cases nothing is published and older checkpoints are untouched.
    """
    final = directory / directory_name(step)
    # Every rank of this attempt writes into this directory, and no other attempt does, so its name is fixed.
    staging = directory / f".{directory_name(step)}.{attempt.number:05d}"
    reports = gather_to_first(_write(snapshot, staging, node, address), node.everyone)
    problems = [f"rank {rank}: {report.problem}" for rank, report in enumerate(reports) if report.problem]
    written = _written(reports)
    if reports and not problems:
        manifest = describe(written)
        try:
            if address is None:
                _publish(staging, final, manifest, attempt)
            else:
                _publish_stored(staging, address, manifest, attempt)
        except (OSError, UserError) as error:
            problems = [f"rank 0: {error}"]
    outcome = problems, bool(problems) and attempt.superseded(), written.files if address else {}
    problems, superseded, files = from_first(outcome, node.everyone)
    if address is not None and not problems:
        keep(staging, address.rpartition("/")[2], files, node)
    if address is not None or (problems and dist.get_rank() == 0):
        shutil.rmtree(staging, ignore_errors=True)
    if problems:
        # An attempt that was superseded must not be restarted.
        kind = UserError if superseded else TransientError
        raise kind(
            f"{address or final}: this checkpoint could not be written, older ones are intact: {'; '.join(problems)}"
        )


@torch.no_grad()
def load(engine: Any, checkpoint: Path, manifest: CheckpointManifest, optimizer_state: bool = True) -> None:
    """Restore every parameter, its optimizer state, and its running average if the run has one. Every rank calls it.

    Args:
        optimizer_state: whether to restore it; if not, the optimizer starts without any.
    Raises:
        UserError: the checkpoint belongs to another model.
    """
    state, average = engine.basic_optimizer.state, running_average(engine)
    with ShardReader(checkpoint, manifest) as saved:
        for shard in parameter_shards(engine):
            shard.view_in(shard.flat).copy_(saved.read(shard, WEIGHTS))
            keys = saved.keys(shard)
            if average is not None:  # that of a run without one begins with the weights
                average.view(shard).copy_(saved.read(shard, AVERAGE if AVERAGE in keys else WEIGHTS))
            for key in keys - {WEIGHTS, AVERAGE} if optimizer_state else ():
                moments = state[shard.flat]
                if key not in moments:
                    moments["step"] = torch.tensor(float(manifest.optimizer_step))
                    moments[key] = torch.zeros_like(shard.flat)
                shard.view_in(moments[key]).copy_(saved.read(shard, key))
    update_model_weights(engine)


def files_to_load(engine: Any, manifest: CheckpointManifest) -> list[str]:
    """The files of a checkpoint that hold elements of this rank's shards."""
    return manifest.files_with((shard.name, shard.start, shard.numel) for shard in parameter_shards(engine))


def consolidate(checkpoint: Path, kind: str = WEIGHTS) -> dict[str, torch.Tensor]:
    """The full fp32 weights of a checkpoint by parameter name, read without ranks or an engine.

    Args:
        kind: WEIGHTS, or AVERAGE for their running average.
    Raises:
        UserError: the checkpoint cannot be read, or has no running average.
    """
    with ShardReader(checkpoint, read_manifest(checkpoint)) as saved:
        if missing := [name for name in saved.shapes if kind not in saved.keys(saved.whole(name))]:
            raise UserError(f"{checkpoint}: no {missing[0]}/{kind} in it: the run kept no running average")
        return {name: saved.read_full(name, kind) for name in saved.shapes}


def consolidate_with_optimizer(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Full weights and optimizer state: `<parameter>/fp32`, `<parameter>/exp_avg`, `<parameter>/exp_avg_sq`."""
    with ShardReader(checkpoint, read_manifest(checkpoint)) as saved:
        return {
            f"{name}/{key}": saved.read_full(name, key)
            for name in saved.shapes
            for key in sorted(saved.keys(saved.whole(name)))
        }


def newest_complete(directory: Path) -> tuple[Path | None, list[str]]:
    """The newest intact checkpoint of a run, and the problems of newer ones. Every rank calls it.

    Raises:
        UserError: there are checkpoints, but all are corrupt. A run never starts over on top of such remains.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    corrupt: list[str] = []
    for path in from_first(list_checkpoints(directory)):
        reports = gather_all(verify(path, slice(rank, None, world_size)))
        problems = [report for report in reports if report]
        if not problems:
            return path, corrupt
        corrupt.append(problems[0])
    if corrupt:
        raise UserError(
            f"{directory}: no checkpoint in it is complete ({'; '.join(corrupt)}): restore the files, "
            "or start in another run_dir"
        )
    return None, corrupt


def optimizer_step(engine: Any) -> int:
    """Updates that the optimizer has applied."""
    return max((int(state["step"]) for state in engine.basic_optimizer.state.values()), default=0)


class _Report(NamedTuple):
    """What a rank has written: the name, size and layout of its file, the hash of its part, or why it could not."""

    file: str
    size: int
    layout: Layout
    hashed: str
    problem: str | None


def _write(snapshot: Snapshot, staging: Path, node: Node, address: str | None) -> _Report:
    """Write this rank's part of its file, hash a part of the complete file, and store it if there is an address."""
    rank, writers = dist.get_rank(), node.ranks
    name, planned = node_file(node.number, node.count), plan_together(gather_all(snapshot.held(), node.group))
    if planned is None:
        name, planned = rank_file(rank, dist.get_world_size()), plan_file(snapshot.layout, snapshot.tensors)
        writers = range(rank, rank + 1)
    file, hashed, problem = staging / name, "", None
    try:
        staging.mkdir(parents=True, exist_ok=True)
        require_owner(staging)
        write_snapshot(snapshot, file, planned)
    except (OSError, UserError) as error:
        problem = str(error)
    if not any(gather_all(problem, node.group)):  # all have written
        try:
            hashed = hash_file(file, part=(rank - writers.start, len(writers)))
            if address is not None and rank == writers.start:
                put(local_file(staging, file), f"{address}/{name}")
        except (OSError, UserError) as error:
            problem = str(error)
    return _Report(name, planned.size, planned.layout if rank == writers.start else {}, hashed, problem)


def _written(reports: Sequence[_Report]) -> Written:
    """The files and parameters of a manifest, from the reports of all ranks in order."""
    files: dict[str, FileEntry] = {}
    for report in reports:
        hashes = files[report.file].xxh3_128 if report.file in files else ()
        files[report.file] = FileEntry(bytes=report.size, xxh3_128=(*hashes, report.hashed))
    return Written(files, parameters_of({report.file: report.layout for report in reports if report.layout}))


def _publish(staging: Path, final: Path, manifest: CheckpointManifest, attempt: Attempt) -> None:
    _require_written(staging, manifest.files)
    write_manifest(staging, manifest)
    fsync(staging)
    _require_newest(attempt)
    if final.exists() or final.is_symlink():  # a link that leads nowhere does not exist, and is in the way
        if find_corruption(final) is None:
            shutil.rmtree(staging)
            return
        final.rename(final.with_name(f".{final.name}.damaged"))
    staging.rename(final)
    fsync(final.parent)


def _publish_stored(staging: Path, address: str, manifest: CheckpointManifest, attempt: Attempt) -> None:
    require_stored(address, {name: entry.bytes for name, entry in manifest.files.items()})
    write_manifest(staging, manifest)
    _require_newest(attempt)
    put(local_file(staging, staging / MANIFEST), f"{address}/{MANIFEST}")


def _require_newest(attempt: Attempt) -> None:
    if attempt.superseded():
        raise OSError("a newer attempt owns the run")


def _require_written(staging: Path, files: Mapping[str, FileEntry]) -> None:
    """Look at every file that the manifest will name: a rank that wrote it may have written to another disk."""
    deadline = time.monotonic() + VISIBLE_WITHIN_SECONDS
    while absent := [name for name, entry in files.items() if _size(staging, name) != entry.bytes]:
        if time.monotonic() > deadline:
            size = _size(staging, absent[0])
            found = "is absent" if size is None else f"has {size:,} bytes"
            raise OSError(
                f"{absent[0]} {found} where {files[absent[0]].bytes:,} bytes were written: is {staging.parent} the "
                "same directory on all nodes?"
            )
        time.sleep(0.05)


def _size(staging: Path, name: str) -> int | None:
    try:
        if name not in {path.name for path in staging.iterdir()}:  # listed, so that NFS looks anew
            return None
        return (staging / name).stat().st_size
    except FileNotFoundError:
        return None
