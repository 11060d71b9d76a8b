"""What there is to do for a data set, file by file, and who of several processes does it.

A task's results lie under a name that is a hash of all that decides them: the file, the source, the tokenizer, the
packages. So what was finished is found by any process that sees the directory, on this machine or another, after a
kill or a change to something else; and two that do the same task at once write the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...configs.errors import UserError
from ..corpora.readers import AnySource, InputFile, input_files, pubmed
from ..documents.files import find
from ..parallel import Count, Report, in_parallel
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .done_files import DONE, aside, publish
from .manifest import package_versions
from .minhash import bands_for
from .tokenize import Task

Item = TypeVar("Item")
_NOT_DECIDING = {"name", "paths", "licence"}


@dataclass(frozen=True)
class Share:
    """The `index`-th (from 0) of `count` parts of the work."""

    index: int
    count: int

    def first(self, items: Sequence[Item]) -> list[Item]:
        """This part of the items, and after it the others' in their turn."""
        return [item for part in range(self.count) for item in items[(self.index + part) % self.count :: self.count]]


WHOLE = Share(0, 1)


def parse_share(text: str) -> Share:
    """`3/16` is the fourth of sixteen."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--share {text}: expected I/N with I from 0 to N - 1, such as 0/16")
    return Share(int(match[1]), int(match[2]))


class ScanTask(NamedTuple):
    """A PubMed file whose PMIDs are wanted, and where they are written."""

    path: Path
    done: Path


def plan(
    config: PrepareConfig,
    tokenizer: LoadedTokenizer,
    directory: Path,
    workers: int,
    report: Callable[[], Report],
    share: Share = WHOLE,
) -> list[Task]:
    """The files of all sources, in order; PubMed's are scanned for this, the share's own first.

    Args:
        directory: where results are, and go.
        report: called if files have to be scanned.
    """

    def scan_all(paths: Sequence[Path]) -> list[pubmed.Scan]:
        tasks = [ScanTask(path, directory / "scanned" / f"{_hash(_stat(path))}{DONE}") for path in paths]
        in_parallel(scan, share.first(tasks), min(workers, len(tasks)), report())
        return [pubmed.load_scan(task.done) for task in tasks]

    return [
        _task(config, source, file, tokenizer, directory / "tokenised")
        for source in config.sources
        for file in input_files(source, scan_all)
    ]


def scan(task: ScanTask, count: Count) -> None:
    """Does a task unless it is done; counts the citations."""
    if not task.done.is_file():
        found = pubmed.scan(task.path)
        with aside(task.done.with_suffix("")) as temporary:
            pubmed.save_scan(found, temporary.with_suffix(DONE))
            publish(temporary, task.done.with_suffix(""), [DONE])
        count(len(found.records.pmids))


def _task(
    config: PrepareConfig, source: AnySource, file: InputFile, tokenizer: LoadedTokenizer, directory: Path
) -> Task:
    compared = config.near_duplicates
    bands = bands_for(compared.similarity) if compared and source.name in compared.sources else None
    name = _hash(
        source.model_dump(mode="json", exclude=_NOT_DECIDING),
        _stat(file.path),
        [_stat(path) for path in crosswalks(source)],
        None if file.keep is None else hashlib.sha256(file.keep.tobytes()).hexdigest(),
        [tokenizer.sha256, config.seq_length, config.held_out, config.seed, bands],
        package_versions(),
    )
    return Task(
        source=source,
        file=file,
        tokenizer=config.tokenizer,
        seq_length=config.seq_length,
        held_out=config.held_out,
        seed=config.seed,
        bands=bands,
        stem=directory / source.name / name,
    )


def crosswalks(source: AnySource) -> list[Path]:
    """The files that are read beside each of a source's own."""
    return find(getattr(source, "crosswalks", []))


def _stat(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _hash(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
