"""Find the directories of runs, without reading any of their files."""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from ...configs.spelling import nearest_name

RUNS = "runs"
"""The directory in which the packaged recipes put their runs."""
_MARKS = {"launches.jsonl", "attempts", "metrics.csv"}
_MOST_ENTRIES = 2000
_FEW = 3


def find_runs(directory: str, depth: int) -> Iterator[str]:
    """Yield the directories of runs below `directory`, at most `depth` levels deep; no run contains another.

    Hidden directories, links and directories that cannot be read are skipped.
    """
    for name in _subdirectories(directory):
        path = os.path.join(directory, name)
        if is_run(path):
            yield path
        elif depth > 1:
            yield from find_runs(path, depth - 1)


def is_run(path: str) -> bool:
    """Return whether a run was started in the directory."""
    return any(os.path.exists(os.path.join(path, mark)) for mark in _MARKS)


def similar_runs(path: str) -> list[str]:
    """Return the runs that `path` may stand for: those inside it, else the closest name among its neighbors."""
    if inside := list(islice(find_runs(path, 2), _FEW)):
        return inside
    neighbors = {*find_runs(os.path.dirname(path), 1), *find_runs(RUNS, 3)}
    close = nearest_name(path, neighbors)
    return [close] if close else []


def _subdirectories(directory: str) -> list[str]:
    with suppress(OSError), os.scandir(directory or ".") as entries:
        few = islice(entries, _MOST_ENTRIES)
        return sorted(entry.name for entry in few if entry.name[0] != "." and entry.is_dir(follow_symlinks=False))
    return []
