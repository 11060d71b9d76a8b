"""The checkpoints of a run as files: which there are, whether they are whole, and which go.

Nothing here looks into a tensor, so nothing waits for torch; `checkpoint.py` reads and writes them.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from ...configs.errors import UserError

VERSION = 1
MANIFEST = "manifest.json"


def name_of(step: int) -> str:
    return f"step{step:08d}"


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step"))


def candidates(directory: Path) -> list[Path]:
    """The published checkpoints of a run, newest first."""
    if not directory.is_dir():
        return []
    published = [path for path in directory.iterdir() if path.name.startswith("step") and path.is_dir()]
    return sorted(published, reverse=True)


def of_run(run_dir: Path) -> list[Path]:
    """The same, for a run that must have some.

    Raises:
        UserError: it has none.
    """
    if found := candidates(run_dir / "checkpoints"):
        return found
    raise UserError(f"{run_dir}: no checkpoint in {run_dir / 'checkpoints'}; expected the run_dir of a training run")


def damage(path: Path, share: slice = slice(None)) -> str | None:
    """What is wrong with a checkpoint, or None: every file is there with the size and hash that were written.

    Args:
        share: which of the files to look at, so that ranks may divide them.
    """
    try:
        files = read_manifest(path)["files"]
    except UserError as error:
        return str(error)
    problems = (damage_of_file(path / name, files[name]) for name in sorted(files)[share])
    return next(filter(None, problems), None)


def damage_of_file(file: Path, written: Mapping[str, Any]) -> str | None:
    """What is wrong with one file, or None; `written` is what the manifest says of it."""
    try:
        if not file.is_file():
            return f"{file}: this file of the checkpoint is missing"
        if file.stat().st_size != written["bytes"]:
            return f"{file}: {file.stat().st_size:,} bytes where {written['bytes']:,} were written"
        if hash_of_file(file) != written["xxh3_128"]:
            return f"{file}: its content differs from what was written"
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}"
    return None


def prune(
    directory: Path, keep_last: int, keep_every_steps: int = 0, keep_best: int = 0, newest: int | None = None
) -> list[Path]:
    """Remove what is neither among the newest `keep_last` checkpoints, nor at a multiple of `keep_every_steps`, nor
    among the `keep_best` of lowest held-out loss; and what interrupted writers left behind.

    Args:
        newest: step of the newest that is whole, as far as it is known. Later ones stay and count for nothing: they
            were too damaged to be continued.
    Returns:
        What is kept, newest first.
    """
    found = [path for path in candidates(directory) if newest is None or step_of(path) <= newest]
    kept = {*found[:keep_last], *_best(found, keep_best)}
    for path in found:
        if path in kept or (keep_every_steps and step_of(path) % keep_every_steps == 0):
            continue
        # Under its own name a directory must be complete, so it loses the name first.
        path.rename(path.with_name(f".{path.name}.pruned"))
    for leftover in directory.glob(".step*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return candidates(directory)


def _best(found: list[Path], count: int) -> list[Path]:
    """Of those that were written with a held-out loss, the `count` lowest."""
    if not count:
        return []
    losses = {path: loss for path in found if (loss := _validation_loss(path)) is not None}
    return sorted(losses, key=lambda path: losses[path])[:count]


def _validation_loss(path: Path) -> float | None:
    with suppress(UserError):
        return read_manifest(path).get("validation_loss")
    return None


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of one checkpoint."""
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}): not a whole checkpoint") from error
    if "manifest_hash" not in manifest:
        raise UserError(f"{file}: not the manifest of a checkpoint")
    if manifest.get("version") != VERSION:
        raise UserError(f"{file}: checkpoint version {manifest.get('version')!r}, expected {VERSION}")
    if manifest.pop("manifest_hash", None) != hash_of_manifest(manifest):
        raise UserError(f"{file}: its content differs from what was written")
    return manifest


def hash_of_file(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def hash_of_manifest(manifest: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode())
