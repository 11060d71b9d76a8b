"""Writing and reading checkpoints: complete or absent, and independent of the ranks that wrote them.

A checkpoint is a directory of safetensors files, one per rank, and a manifest. A rank's file holds its shards of
parameters and optimizer state, each under the parameter's name and with its offset in the whole parameter. Nothing in
it depends on ZeRO's stage or partitioning, so it can be read at any world size, by anything that reads safetensors, and
nothing is unpickled.

Writing: every rank writes into a staging directory and hashes its file. When all ranks are done, rank 0 adds the
manifest and renames the directory. A checkpoint under its final name is complete, whenever the machine stops, and is
never overwritten: only the newest attempt of a run publishes, and a complete checkpoint of the same step stays.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save_file

from ...configs.errors import TransientError, UserError
from ...storage.files import fsync, hash_file
from ...storage.trust import require_owner
from ..zero.engine import optimizer_state
from ..zero.parameter_shards import ParameterShard, parameter_shards, shards_to_save, update_model_weights
from .attempts import Attempt
from .files import directory_name, find_corruption, list_checkpoints, verify
from .manifest import CheckpointManifest, FileEntry, read_manifest, write_manifest
from .shard_reader import WEIGHTS, ShardReader

Describe = Callable[[dict[str, FileEntry]], CheckpointManifest]


def save(engine: Any, directory: Path, step: int, attempt: Attempt, describe: Describe) -> Path:
    """Write the checkpoint of `step` into `directory`. Every rank calls it.

    Args:
        describe: makes the manifest from the entries of all files; called on rank 0.
    Raises:
        TransientError: a rank could not write.
        UserError: a newer attempt owns the run. In both cases nothing is published and older checkpoints are untouched.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    final = directory / directory_name(step)
    # Every rank of this attempt writes into this directory, and no other attempt does, so its name is fixed.
    staging = directory / f".{directory_name(step)}.{attempt.number:05d}"
    written: dict[str, FileEntry] = {}
    problem = None
    try:
        staging.mkdir(parents=True, exist_ok=True)
        require_owner(staging)
        written = _write_rank(engine, staging / f"rank{rank:05d}-of-{world_size:05d}.safetensors")
    except (OSError, SafetensorError, UserError) as error:
        problem = f"rank {rank}: {error}"
    reports: list[Any] = [None] * world_size
    dist.all_gather_object(reports, (written, problem))
    if not (problems := [problem for _, problem in reports if problem]) and rank == 0:
        manifest = describe({name: entry for files, _ in reports for name, entry in files.items()})
        try:
            _publish(staging, final, manifest, attempt)
        except OSError as error:
            problems = [f"rank 0: {error}"]
    outcome: list[Any] = [problems, bool(problems) and attempt.superseded()]
    dist.broadcast_object_list(outcome, src=0)
    problems, superseded = outcome
    if problems:
        if rank == 0:
            shutil.rmtree(staging, ignore_errors=True)
        # An attempt that was superseded must not be restarted.
        kind = UserError if superseded else TransientError
        raise kind(f"{final}: this checkpoint could not be written, older ones are intact: {'; '.join(problems)}")
    return final


@torch.no_grad()
def load(engine: Any, checkpoint: Path, manifest: CheckpointManifest) -> None:
    """Restore every parameter and its optimizer state. Every rank calls it.

    Raises:
        UserError: the checkpoint belongs to another model.
    """
    state = engine.basic_optimizer.state
    with ShardReader(checkpoint, manifest.files) as saved:
        for shard in parameter_shards(engine):
            shard.view_in(shard.flat).copy_(saved.read(shard, WEIGHTS))
            for key in saved.keys(shard.name) - {WEIGHTS}:
                moments = state[shard.flat]
                if key not in moments:
                    moments["step"] = torch.tensor(float(manifest.optimizer_step))
                    moments[key] = torch.zeros_like(shard.flat)
                shard.view_in(moments[key]).copy_(saved.read(shard, key))
    update_model_weights(engine)


def consolidate(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The full fp32 weights of a checkpoint by parameter name, read without ranks or an engine."""
    with ShardReader(checkpoint, read_manifest(checkpoint).files) as saved:
        return {name: saved.read_full(name, WEIGHTS) for name in saved.shapes}


def consolidate_with_optimizer(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Full weights and optimizer state: `<parameter>/fp32`, `<parameter>/exp_avg`, `<parameter>/exp_avg_sq`."""
    with ShardReader(checkpoint, read_manifest(checkpoint).files) as saved:
        return {
            f"{name}/{key}": saved.read_full(name, key) for name in saved.shapes for key in sorted(saved.keys(name))
        }


def newest_complete(directory: Path) -> tuple[Path | None, list[str]]:
    """The newest intact checkpoint of a run, and the problems of newer ones. Every rank calls it.

    Raises:
        UserError: there are checkpoints, but all are corrupt. A run never starts over on top of such remains.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    listing = [[str(path) for path in list_checkpoints(directory)]]
    dist.broadcast_object_list(listing, src=0)
    corrupt: list[str] = []
    for path in map(Path, listing[0]):
        reports: list[str | None] = [None] * world_size
        dist.all_gather_object(reports, verify(path, slice(rank, None, world_size)))
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


def _write_rank(engine: Any, file: Path) -> dict[str, FileEntry]:
    tensors, layout = {}, {}
    for shard in shards_to_save(engine):
        layout[shard.name] = (shard.start, shard.numel, shard.shape)
        for key, value in _values(engine, shard):
            tensors[f"{shard.name}/{key}"] = value.detach().cpu().contiguous()
    save_file(tensors, file, metadata={"layout": json.dumps(layout)})
    fsync(file)
    return {file.name: FileEntry(bytes=file.stat().st_size, xxh3_128=hash_file(file))}


def _values(engine: Any, shard: ParameterShard) -> Iterator[tuple[str, torch.Tensor]]:
    yield WEIGHTS, shard.view_in(shard.flat)
    yield from optimizer_state(engine, shard).items()


def _publish(staging: Path, final: Path, manifest: CheckpointManifest, attempt: Attempt) -> None:
    write_manifest(staging, manifest)
    fsync(staging)
    if attempt.superseded():
        raise OSError("a newer attempt owns the run")
    if final.exists() or final.is_symlink():  # a link that leads nowhere does not exist, and is in the way
        if find_corruption(final) is None:
            shutil.rmtree(staging)
            return
        final.rename(final.with_name(f".{final.name}.damaged"))
    staging.rename(final)
    fsync(final.parent)
