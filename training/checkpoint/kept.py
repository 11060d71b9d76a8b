"""Checkpoints of ranks that do not share a disk: in the object store, and in parts on the disks of the nodes.

Each node stores its own file. Each disk also keeps what its ranks wrote, in `checkpoints/.kept`, and a copy of what
those of the disk before it wrote: so the file of a lost node is on its neighbor's disk. A start reads the manifest from
the store. It takes the files that hold elements of its ranks' shards from its own disk, from other nodes, and only then
from the store. What a disk holds counts only if it has the size and the hashes in that manifest.
"""

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...storage.files import atomic_write
from ...storage.trust import require_owner
from ..nodes.node import Node, from_first, gather_all
from ..nodes.passing import Passage, arrival, pass_files
from .files import directory_name, find_file_corruption, find_part_corruption, list_checkpoints, parts_of, step_of
from .manifest import MANIFEST, CheckpointManifest, FileEntry, read_manifest
from .names import StoredName, parse_stored_name
from .stored import DamagedError, all_damaged, fetch_file, fetch_manifest, list_stored

logger = logging.getLogger(__name__)
KEPT = ".kept"
T = TypeVar("T")
Needed = Callable[[CheckpointManifest], Iterable[str]]


def agree_on_newest(url: str, checkpoints: Path, needed: Needed, node: Node) -> Path | None:
    """A directory with the newest stored checkpoint, as far as this disk's ranks need it. Every rank calls it.

    Args:
        needed: the files of a checkpoint that this rank needs.
    Returns:
        None if the store has no checkpoint.
    Raises:
        UserError: the store cannot be read, or holds only damaged ones; or it has none, and a disk has one.
    """
    stored = from_first(_together(lambda: list_stored(url) if dist.get_rank() == 0 else [], node), node.everyone)
    lists = gather_all([step_of(local) for local in list_checkpoints(checkpoints)], node.everyone)
    local = max((step for steps in lists for step in steps), default=-1)
    damaged = []
    for name in stored:
        try:
            directory = _bring(f"{url}/{name}", name, checkpoints, needed, node)
        except DamagedError as error:
            damaged.append(str(error))
            logger.warning(f"skipping a damaged checkpoint: {error}")
            continue
        if local > name.step:
            logger.warning(
                f"{checkpoints / directory_name(local)} is on one disk only and not in {url}: it is not used"
            )
        return directory
    if damaged:
        raise all_damaged(url, damaged)
    if local >= 0:
        raise UserError(
            f"{checkpoints / directory_name(local)} is on one disk only, and {url} has no checkpoint: continue where "
            "all nodes share run_dir, or start in another run_dir"
        )
    return None


def keep(staging: Path, name: str, entries: Mapping[str, FileEntry], node: Node) -> None:
    """Keep the files of a checkpoint that this disk's ranks have written, and those of the disk before. All call it.

    Args:
        staging: with the files of this disk.
        name: of the checkpoint in the store.
        entries: all files of the checkpoint.
    """
    directory, mine = staging.parent / KEPT / name, []
    if node.leads_disk:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for file in entries.keys() & {path.name for path in staging.iterdir()}:
                (staging / file).rename(directory / file)
                mine.append(file)
        except OSError as error:
            logger.warning(f"{name} is in the store and not kept on this disk: {error}")
    written = gather_all(mine, node.everyone)
    disks = sorted(set(node.disks))
    before = disks[disks.index(node.disks[dist.get_rank()]) - 1]
    if lost := _gather_from_disks(directory, written[before], entries, node):
        logger.warning(f"{name}: {', '.join(lost)} could not be copied to this disk")


def prune_kept(checkpoints: Path, count: int, newest_step: int) -> None:
    """Remove what is kept of checkpoints, but of the newest `count` up to that step."""
    names = [parse_stored_name(path.name) for path in (checkpoints / KEPT).glob("*")]
    newest = sorted((name for name in names if name and name.step <= newest_step), reverse=True)[:count]
    for path in (checkpoints / KEPT).glob("*"):
        if path.name not in map(str, newest):
            shutil.rmtree(path, ignore_errors=True)


def _bring(address: str, name: StoredName, checkpoints: Path, needed: Needed, node: Node) -> Path:
    """Make this disk hold the files of a stored checkpoint that its ranks need, and the manifest."""
    directory, rank = checkpoints / KEPT / str(name), dist.get_rank()

    def first() -> bytes:
        directory.mkdir(parents=True, exist_ok=True)
        require_owner(directory)
        fetch_manifest(address, name, directory)
        return (directory / MANIFEST).read_bytes()

    def others(manifest: bytes) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        require_owner(directory)
        atomic_write(directory / MANIFEST, manifest)
        _link_files(checkpoints / directory_name(name.step), directory)

    content = from_first(_together(first if rank == 0 else lambda: b"", node), node.everyone)
    _together(lambda: others(content) if node.leads_disk else None, node)
    manifest = _together(lambda: read_manifest(directory), node)
    missing = _gather_from_disks(directory, needed(manifest), manifest.files, node)
    if lacking := {file for files in gather_all(missing, node.everyone) for file in files}:
        logger.info(f"no disk of these nodes holds {', '.join(sorted(lacking))}: downloaded from {address}")
    _together(lambda: _download(address, directory, {file: manifest.files[file] for file in missing}), node)
    return directory


def _link_files(checkpoint: Path, directory: Path) -> None:
    """Let `directory` also have the files of a checkpoint that this disk holds from when all ranks shared it."""
    for file in checkpoint.glob("*.safetensors"):
        with suppress(OSError):
            os.link(file, directory / file.name)


def _gather_from_disks(
    directory: Path, wanted: Iterable[str], entries: Mapping[str, FileEntry], node: Node
) -> list[str]:
    """Let `directory` have the files that this disk's ranks want, if any disk holds them. Every rank calls it.

    Returns:
        On the rank that leads this disk, the files that no disk could give; empty on others.
    """
    here = [name for name, entry in entries.items() if _size(directory / name) == entry.bytes]
    reports = gather_all((here, list(wanted)), node.everyone)
    # By the rank that leads the disk.
    holds = {disk: set(reports[disk][0]) for disk in node.disks}
    wants: dict[int, set[str]] = {disk: set() for disk in node.disks}
    for disk, (_, names) in zip(node.disks, reports, strict=True):
        wants[disk].update(names)
    mine = node.disks[dist.get_rank()]
    damaged = gather_all(_damaged(directory, entries, holds[mine] & wants[mine], node), node.everyone)
    for disk, problems in zip(node.disks, damaged, strict=True):
        holds[disk] -= problems.keys()
        for problem in problems.values():
            logger.warning(f"not used: {problem}")  # rank 0 says it for all
    passages = _passages(holds, wants, entries)
    pass_files(directory, passages, node.everyone)
    if not node.leads_disk:
        return []
    arrived = {passage.name for passage in passages if passage.target == mine}
    return sorted(wants[mine] - holds[mine] - {name for name in arrived if _accept(directory / name, entries[name])})


def _passages(
    holds: Mapping[int, set[str]], wants: Mapping[int, set[str]], entries: Mapping[str, FileEntry]
) -> list[Passage]:
    """Who sends what to whom: of those that hold a file, the disk that sends the fewest."""
    passages: list[Passage] = []
    sent = Counter(dict.fromkeys(holds, 0))
    for disk in sorted(wants):
        for name in sorted(wants[disk] - holds[disk]):
            if sources := [other for other in sorted(holds) if name in holds[other]]:
                source = min(sources, key=lambda other: sent[other])
                sent[source] += 1
                passages.append(Passage(name, entries[name].bytes, source, disk))
    return passages


def _accept(file: Path, entry: FileEntry) -> bool:
    """Keep a file that has arrived, if it is as it was written."""
    arrived = arrival(file)
    problem = find_file_corruption(arrived, entry)
    with suppress(OSError):
        if problem is None:
            arrived.replace(file)
            return True
        arrived.unlink(missing_ok=True)
    return False


def _damaged(directory: Path, entries: Mapping[str, FileEntry], names: Iterable[str], node: Node) -> dict[str, str]:
    """The problem of each damaged one of these files of this disk. Its ranks share the work of checking them."""
    rank, disk = dist.get_rank(), node.disks[dist.get_rank()]
    sharers = [other for other, lead in enumerate(node.disks) if lead == disk]
    damaged = {}
    for name, part in parts_of({name: entries[name] for name in names})[sharers.index(rank) :: len(sharers)]:
        if problem := find_part_corruption(directory / name, entries[name], part):
            damaged[name] = f"{problem} (on the disk of rank {disk})"
    return damaged


def _download(address: str, directory: Path, missing: Mapping[str, FileEntry]) -> None:
    with Progress("downloading the checkpoint", sum(entry.bytes for entry in missing.values()), "B") as progress:
        for name, entry in missing.items():
            fetch_file(f"{address}/{name}", directory / name, entry)
            progress.advance(entry.bytes)
            if problem := find_file_corruption(directory / name, entry):
                (directory / name).unlink()
                raise DamagedError(f"{address}: {problem}: remove it there to continue from the one before")


def _together(call: Callable[[], T], node: Node) -> T:
    """Call it on every rank. If it fails on one, the same error is raised on all, damage only if there is no other."""
    failure: tuple[str, type[UserError]] | None = None
    try:
        result = call()
    except UserError as error:
        failure = (str(error), type(error))
    except OSError as error:
        failure = (f"{error}: a checkpoint cannot be kept on this disk", UserError)
    failures = [each for each in gather_all(failure, node.everyone) if each]
    for message, kind in sorted(failures, key=lambda each: each[1] is DamagedError):
        raise kind(message)
    return result


def _size(file: Path) -> int | None:
    with suppress(OSError):
        return file.stat().st_size
    return None
