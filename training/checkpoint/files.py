"""The checkpoints of a run as files: listing, integrity checks and pruning.

Nothing here reads a tensor, so nothing imports torch; `save_load.py` reads and writes tensors.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ...configs.errors import UserError
from ...configs.names import ignore_foreign
from ...configs.progress import Progress
from ...storage.files import hash_file, part_span
from .compatibility import before_changes
from .manifest import FileEntry, read_manifest, try_read_manifest

_NAME = re.compile(r"step(\d{8,18})", re.ASCII)
_LEFTOVER = re.compile(r"\.step\d{8,18}\..+", re.ASCII)
"""What writers, downloads and pruning leave behind when they are interrupted."""


def directory_name(step: int) -> str:
    return f"step{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, from the name of its directory."""
    if (step := _step(checkpoint.name)) is None:
        raise UserError(f"{checkpoint}: not the directory of a checkpoint, expected a name like {directory_name(8)}")
    return step


def _step(name: str) -> int | None:
    """The step that a name stands for; None if it is not exactly the name of a checkpoint."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match and directory_name(int(match[1])) == name else None


def list_checkpoints(directory: Path) -> list[Path]:
    """The published checkpoints in a run's `checkpoints` directory, newest first.

    Anything else that somebody put there, such as a copy of a checkpoint, is ignored with a warning.
    """
    if not directory.is_dir():
        return []
    published = []
    for path in directory.iterdir():
        if _step(path.name) is not None and path.is_dir():
            published.append(path)
        elif not path.name.startswith("."):
            ignore_foreign(path, directory_name(8))
    return sorted(published, key=step_of, reverse=True)


def require_checkpoints(run_dir: Path) -> list[Path]:
    """The published checkpoints of a run, newest first.

    Raises:
        UserError: the run has none.
    """
    if checkpoints := list_checkpoints(run_dir / "checkpoints"):
        return checkpoints
    raise UserError(f"{run_dir}: no checkpoint in {run_dir / 'checkpoints'}; expected the run_dir of a training run")


def verify(checkpoint: Path, share: slice = slice(None)) -> str | None:
    """`find_corruption`, with its progress."""
    manifest = try_read_manifest(checkpoint)
    entries = manifest.files if manifest else {}
    size = sum(len(part_span(entries[name].bytes, *part)) for name, part in parts_of(entries)[share])
    with Progress(f"verifying {checkpoint.name}", size, "B") as progress:
        return find_corruption(checkpoint, share, progress.advance)


def find_corruption(
    checkpoint: Path, share: slice = slice(None), count: Callable[[int], None] = lambda size: None
) -> str | None:
    """Check that every file of a checkpoint has the size and hashes with which it was written.

    Args:
        share: which of `parts_of` its files to check, so that ranks can divide them.
        count: called with the size of each block that was read.
    Returns:
        The first problem, or None if there is none.
    """
    try:
        entries = read_manifest(checkpoint).files
    except UserError as error:
        return str(error)
    parts = parts_of(entries)[share]
    problems = (find_part_corruption(checkpoint / name, entries[name], part, count) for name, part in parts)
    return next(filter(None, problems), None)


def parts_of(entries: Mapping[str, FileEntry]) -> list[tuple[str, tuple[int, int]]]:
    """The parts of files that have a hash, in order: the file, the number of the part, and of how many."""
    return [
        (name, (number, len(entries[name].xxh3_128)))
        for name in sorted(entries)
        for number in range(len(entries[name].xxh3_128))
    ]


def find_file_corruption(file: Path, written: FileEntry) -> str | None:
    """The problem of one file of a checkpoint, compared with its entry in the manifest; None if there is none."""
    problems = (find_part_corruption(file, written, part) for _, part in parts_of({file.name: written}))
    return next(filter(None, problems), None)


def find_part_corruption(
    file: Path, written: FileEntry, part: tuple[int, int], count: Callable[[int], None] = lambda size: None
) -> str | None:
    """The problem of one part of a file, as `parts_of` numbers them; None if there is none."""
    try:
        if not file.is_file():
            return f"{file}: this file of the checkpoint is missing"
        if file.stat().st_size != written.bytes:
            return f"{file}: {file.stat().st_size:,} bytes where {written.bytes:,} were written"
        if hash_file(file, count=count, part=part) != written.xxh3_128[part[0]]:
            return f"{file}: its content differs from what was written"
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}"
    return None


def prune(
    directory: Path, keep_last: int, keep_every_steps: int = 0, keep_best: int = 0, newest_step: int | None = None
) -> list[Path]:
    """Remove checkpoints that no rule keeps, and what interrupted writers left behind.

    The newest checkpoint before each change of the model (`compatibility.py`) is always kept.

    Args:
        keep_last: keep the newest so many.
        keep_every_steps: keep those at multiples of it; 0: none.
        keep_best: keep so many of lowest validation loss.
        newest_step: step of the newest checkpoint known to be complete. Later ones stay and do not count: they were too
            corrupt to continue from.
    Returns:
        The checkpoints that are kept, newest first.
    """
    checkpoints = [path for path in list_checkpoints(directory) if newest_step is None or step_of(path) <= newest_step]
    kept = {*checkpoints[:keep_last], *_best(checkpoints, keep_best), *before_changes(checkpoints)}
    for path in checkpoints:
        if path in kept or (keep_every_steps and step_of(path) % keep_every_steps == 0):
            continue
        # A directory with the name of a checkpoint must always be complete, so it is renamed before it is removed.
        pruned = path.with_name(f".{path.name}.pruned")
        _remove(pruned)
        path.rename(pruned)
    for path in directory.iterdir() if directory.is_dir() else ():
        if _LEFTOVER.fullmatch(path.name):
            _remove(path)
    return list_checkpoints(directory)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _best(checkpoints: list[Path], count: int) -> list[Path]:
    """The `count` of lowest validation loss, among those for which it was measured."""
    if not count:
        return []
    manifests = {path: try_read_manifest(path) for path in checkpoints}
    losses = {
        path: manifest.validation_loss
        for path, manifest in manifests.items()
        if manifest and manifest.validation_loss is not None
    }
    return sorted(losses, key=lambda path: losses[path])[:count]
