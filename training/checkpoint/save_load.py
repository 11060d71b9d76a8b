"""Checkpoints that are whole or absent, and do not depend on who wrote them.

A checkpoint is a directory of safetensors, one a rank, and a manifest. A rank's file holds the slices of parameters
and optimizer state that lie on it, each under the parameter's name with its place in the whole parameter. Nothing in
it depends on ZeRO's stage or partitioning, so it is read at any world size, by anything that reads safetensors, and
nothing is unpickled.

Writing: every rank writes into a directory aside and hashes what it wrote; when all have, rank 0 adds the manifest
and renames the directory. A checkpoint under its final name is complete, whenever the machine stops, and is never
written over: only the newest start of a run publishes, and a whole checkpoint of the same step stays.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save_file

from ...configs.errors import TransientError, UserError
from ...storage.files import fsync
from ..zero.engine import optimizer_state
from ..zero.parameter_shards import Fragment, fragments, fragments_to_save, publish_weights
from .attempts import Attempt
from .files import MANIFEST, VERSION, candidates, damage, hash_of_file, hash_of_manifest, name_of, read_manifest
from .shard_reader import WEIGHTS, Slices


def save(engine: Any, directory: Path, step: int, attempt: Attempt, contents: Mapping[str, Any]) -> Path:
    """Write the checkpoint of `step` into `directory`; every rank calls it.

    Args:
        contents: of the manifest, besides what this function adds: the state of the run and where it came from.
    Raises:
        TransientError: a rank could not write; UserError: the run was started again since. Nothing is published, older
            checkpoints are untouched.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    aside = _aside(directory, step, attempt)
    written: dict[str, Any] = {}
    problem = None
    try:
        aside.mkdir(parents=True, exist_ok=True)
        written = _write_rank(engine, aside / f"rank{rank:05d}-of-{world_size:05d}.safetensors")
    except (OSError, SafetensorError) as error:
        problem = f"rank {rank}: {error}"
    reports: list[Any] = [None] * world_size
    dist.all_gather_object(reports, (written, problem))
    if not (problems := [problem for _, problem in reports if problem]) and rank == 0:
        manifest = {
            "version": VERSION,
            "step": step,
            "world_size": world_size,
            "optimizer_step": _optimizer_step(engine),
            "files": {name: facts for files, _ in reports for name, facts in files.items()},
            **contents,
        }
        try:
            _publish(aside, directory / name_of(step), manifest, attempt)
        except OSError as error:
            problems = [f"rank 0: {error}"]
    outcome: list[Any] = [problems, bool(problems) and attempt.superseded()]
    dist.broadcast_object_list(outcome, src=0)
    if outcome[0]:
        if rank == 0:
            shutil.rmtree(aside, ignore_errors=True)
        # A start that another one has replaced shall not come back.
        kind = UserError if outcome[1] else TransientError
        raise kind(
            f"{directory / name_of(step)}: this checkpoint could not be written, older ones are whole: "
            + "; ".join(outcome[0])
        )
    return directory / name_of(step)


@torch.no_grad()
def load(engine: Any, path: Path, manifest: Mapping[str, Any]) -> None:
    """Give every parameter and its optimizer state the values they had; every rank calls it."""
    state = engine.basic_optimizer.state
    with Slices(path, manifest) as saved:
        for fragment in fragments(engine):
            fragment.of(fragment.flat).copy_(saved.read(fragment, WEIGHTS))
            for key in saved.keys(fragment.name) - {WEIGHTS}:
                moments = state[fragment.flat]
                if key not in moments:
                    moments["step"] = torch.tensor(float(manifest["optimizer_step"]))
                    moments[key] = torch.zeros_like(fragment.flat)
                fragment.of(moments[key]).copy_(saved.read(fragment, key))
    publish_weights(engine)


def consolidate(path: Path) -> dict[str, torch.Tensor]:
    """The whole fp32 weights of a checkpoint by parameter name, read without any rank or engine."""
    with Slices(path, read_manifest(path)) as saved:
        return {name: saved.whole(name, WEIGHTS) for name in saved.shapes}


def consolidate_all(path: Path) -> dict[str, torch.Tensor]:
    """The same with the optimizer's state: `<parameter>/fp32`, `<parameter>/exp_avg`, `<parameter>/exp_avg_sq`."""
    with Slices(path, read_manifest(path)) as saved:
        return {f"{name}/{key}": saved.whole(name, key) for name in saved.shapes for key in sorted(saved.keys(name))}


def newest_complete(directory: Path) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint of a run, and what is wrong with newer ones; every rank calls it.

    Raises:
        UserError: there are checkpoints, but none is whole. A run never starts anew over the remains of another.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    found = [[str(path) for path in candidates(directory)]]
    dist.broadcast_object_list(found, src=0)
    damaged: list[str] = []
    for path in map(Path, found[0]):
        reports: list[str | None] = [None] * world_size
        dist.all_gather_object(reports, damage(path, slice(rank, None, world_size)))
        problems = [report for report in reports if report]
        if not problems:
            return path, damaged
        damaged.append(problems[0])
    if damaged:
        raise UserError(
            f"{directory}: no checkpoint in it is whole ({'; '.join(damaged)}): restore the files, "
            "or start in another run_dir"
        )
    return None, damaged


def _aside(directory: Path, step: int, attempt: Attempt) -> Path:
    """Where no other start of the run writes."""
    return directory / f".{name_of(step)}.{attempt.number:05d}"


def _write_rank(engine: Any, file: Path) -> dict[str, Any]:
    tensors, layout = {}, {}
    for fragment in fragments_to_save(engine):
        layout[fragment.name] = (fragment.start, fragment.numel, fragment.shape)
        for key, value in _values(engine, fragment):
            tensors[f"{fragment.name}/{key}"] = value.detach().cpu().contiguous()
    save_file(tensors, file, metadata={"layout": json.dumps(layout)})
    fsync(file)
    return {file.name: {"bytes": file.stat().st_size, "xxh3_128": hash_of_file(file)}}


def _values(engine: Any, fragment: Fragment) -> Iterator[tuple[str, torch.Tensor]]:
    yield WEIGHTS, fragment.of(fragment.flat)
    yield from optimizer_state(engine, fragment).items()


def _optimizer_step(engine: Any) -> int:
    return max((int(state["step"]) for state in engine.basic_optimizer.state.values()), default=0)


def _publish(aside: Path, final: Path, manifest: Mapping[str, Any], attempt: Attempt) -> None:
    signed = {**manifest, "manifest_hash": hash_of_manifest(manifest)}
    (aside / MANIFEST).write_text(json.dumps(signed, indent=1))
    fsync(aside / MANIFEST)
    fsync(aside)
    if attempt.superseded():
        raise OSError("the run was started again since, and the newer start owns it")
    if final.exists():
        if damage(final) is None:
            shutil.rmtree(aside)
            return
        final.rename(final.with_name(f".{final.name}.damaged"))
    aside.rename(final)
    fsync(final.parent)
