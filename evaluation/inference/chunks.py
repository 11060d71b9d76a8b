"""Inference over inputs of any size: in chunks, in order, in several processes, and resumable after any kill.

    records ──► chunks ──► a part of each, computed by any process ──► OUT
    (read twice)           OUT.parts/<key>.part

The records are read twice: first to check and count them, then to compute them. A chunk is a run of records; where it
ends depends on the records only. The key of its part is a hash of everything that determines the part's bytes: the
records and the settings. So a part that exists is right, whichever run wrote it, and a command that was killed
continues with the parts that are missing. When all are there, they are assembled in order, OUT appears in one rename,
and the directory of parts is removed. Commands differ in what a part holds, and in how parts are assembled.
"""

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...storage.files import atomic_write, fsync, require_writable
from ...storage.locks import lock
from .processes import Open, computed

logger = logging.getLogger(__name__)

RECORDS = 4096
CHARACTERS = 1 << 20
"""Of one chunk as JSON, at most, unless a single record is longer: what a kill loses, and what a process holds."""
_ASSEMBLED = "assembled"


class Record(NamedTuple):
    """One input.

    Attributes:
        id: as it is written to the output.
        content: what the computation takes, in values of JSON: a text, or token ids.
    """

    id: str
    content: Any


class Part(NamedTuple):
    """The result of one chunk on disk: a line of JSON with counts, then what was computed."""

    path: Path

    def counts(self) -> Counter[str]:
        with self.path.open("rb") as file:
            return Counter(json.loads(file.readline()))

    def content(self) -> bytes:
        with self.path.open("rb") as file:
            file.readline()
            return file.read()


class _Chunk(NamedTuple):
    key: str
    records: list[Record]


def run_in_chunks(
    records: Callable[[], Iterator[Record]],
    open_compute: Open[Record],
    assemble: Callable[[Sequence[Part], Path], None],
    out: Path,
    settings: Mapping[str, Any],
    workers: int,
    what: str,
) -> Counter[str]:
    """Compute every chunk whose part is not there yet, and write `out`. Returns the counts of all parts, added.

    Args:
        records: opens the inputs at their start; it raises UserError for a bad one.
        open_compute: opens what computes chunks, in each process, given its number; to be pickled if `workers` > 1.
            Its results must not depend on the process.
        assemble: writes the files of the result from all parts, in order, into an empty directory: `out.name`, and
            others that belong next to it.
        settings: all that determines a result besides the records, in values of JSON: the model, the options.
        what: the work, for the line of progress.
    Raises:
        UserError: `out` exists, a record is bad, nothing can be written, or another command is writing `out`.
    """
    require_writable(out)
    directory = parts_directory(out)
    keys, sizes = _survey(records, settings)
    run = _hash(settings, keys)
    if out.exists():
        return _finish(out, run)
    directory.mkdir(exist_ok=True)
    with _locked(directory):
        parts = [Part(directory / f"{key}.part") for key in keys]
        present = {key for key, part in zip(keys, parts, strict=True) if part.path.is_file()}
        done = sum(size for key, size in zip(keys, sizes, strict=True) if key in present)
        if done:
            logger.info(f"continuing: {done:,} of {sum(sizes):,} texts are there")
        missing = ((chunk.records, parts[n].path) for n, chunk in _reread(records, settings, keys, present))
        computed(missing, open_compute, workers, what, done, sum(sizes))
        counts = sum((part.counts() for part in parts), Counter())
        _publish(parts, assemble, out, run, counts)
    return _finish(out, run)


def parts_directory(out: Path) -> Path:
    """Where the parts of an output are until it is complete."""
    return out.with_name(f"{out.name}.parts")


def check_output(out: Path) -> None:
    """Check that `out` is new, or is being written by a command that was interrupted.

    Raises:
        UserError: it exists.
    """
    if out.exists() and not _marker(out).is_file():
        raise _exists(out)


def _survey(records: Callable[[], Iterator[Record]], settings: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Check all records; the key and the number of records of each chunk."""
    keys, sizes = [], []
    with Progress("reading", unit="texts") as progress:
        for chunk in _chunks(records(), settings):
            keys.append(chunk.key)
            sizes.append(len(chunk.records))
            progress.advance(len(chunk.records))
    if not keys:
        raise UserError("there is nothing to compute: the input has no record")
    return keys, sizes


def _chunks(records: Iterator[Record], settings: Mapping[str, Any]) -> Iterator[_Chunk]:
    chunk: list[Record] = []
    lines: list[str] = []
    size = 0
    for record in records:
        line = json.dumps(record)
        if chunk and (len(chunk) == RECORDS or size + len(line) > CHARACTERS):
            yield _Chunk(_hash(settings, lines), chunk)
            chunk, lines, size = [], [], 0
        chunk.append(record)
        lines.append(line)
        size += len(line)
    if chunk:
        yield _Chunk(_hash(settings, lines), chunk)


def _reread(
    records: Callable[[], Iterator[Record]], settings: Mapping[str, Any], keys: Sequence[str], present: set[str]
) -> Iterator[tuple[int, _Chunk]]:
    """The chunks whose parts are missing, with their numbers."""
    if present.issuperset(keys):
        return
    number = -1
    for number, chunk in enumerate(_chunks(records(), settings)):
        if number >= len(keys) or chunk.key != keys[number]:
            raise UserError("the input was changed while it was read: start the command again")
        if chunk.key not in present:
            yield number, chunk
    if number + 1 != len(keys):
        raise UserError("the input was changed while it was read: start the command again")


def _publish(
    parts: Sequence[Part], assemble: Callable[[Sequence[Part], Path], None], out: Path, run: str, counts: Counter[str]
) -> None:
    """Assemble the files next to the parts, so that a kill leaves nothing elsewhere; `out` gets its name last."""
    directory = parts_directory(out)
    assembled = directory / _ASSEMBLED
    shutil.rmtree(assembled, ignore_errors=True)
    assembled.mkdir()
    assemble(parts, assembled)
    for path in [*assembled.rglob("*"), assembled]:
        fsync(path)
    marker = directory / _marker(out).name
    atomic_write(marker, json.dumps({"run": run, "counts": counts}))
    marker.replace(_marker(out))
    for path in sorted(assembled.iterdir(), key=lambda path: path.name == out.name):
        path.replace(out.parent / path.name)
    fsync(out.parent)


def _finish(out: Path, run: str) -> Counter[str]:
    """Remove everything but the result: at the end, or after a kill that left it. The marker is removed last."""
    try:
        finished = json.loads(_marker(out).read_bytes())
    except OSError:
        raise _exists(out) from None
    if finished["run"] != run:
        raise _exists(out)
    if (directory := parts_directory(out)).is_dir():
        shutil.rmtree(directory)
    _marker(out).unlink()
    return Counter(finished["counts"])


def _marker(out: Path) -> Path:
    """Says that `out`, if it exists, is complete, and of which run it is."""
    return out.with_name(f"{out.name}.finished")


def _exists(out: Path) -> UserError:
    return UserError(f"{out}: exists already; choose another name or remove it")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        lock(descriptor, directory, "another command is writing here; wait until it ends")
        yield
    finally:
        os.close(descriptor)


def _hash(settings: Mapping[str, Any], lines: Sequence[str]) -> str:
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
