"""The tasks of preparing a data set, one per input file, and their distribution over several processes.

A task's results are named by a hash of everything that determines them: the file, the source, the tokenizer, the
package versions. Any process that sees the directory, on this machine or another, therefore finds finished results,
also after a kill or a change to something else; and two processes that run the same task at once write the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...configs.errors import UserError
from ...storage.files import stage_file
from ..corpora.readers import AnySource, InputFile, input_files, pubmed
from ..documents.files import find_files
from ..parallel import Count, ProgressCallback, parallel_map
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .done_markers import DONE
from .manifest import package_versions
from .minhash import bands_for
from .tokenize import TokenizeTask

Item = TypeVar("Item")
_IRRELEVANT_KEYS = {"name", "paths", "licence"}  # of a source: they do not change a task's results


@dataclass(frozen=True)
class Share:
    """The `index`-th (from 0) of `count` parts of the work."""

    index: int
    count: int

    def own_first(self, items: Sequence[Item]) -> list[Item]:
        """All items: those of this share first, then those of the following shares, cyclically."""
        return [item for part in range(self.count) for item in items[(self.index + part) % self.count :: self.count]]


ALL_WORK = Share(0, 1)


def parse_share(text: str) -> Share:
    """`3/16` is the fourth of sixteen."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--share {text}: expected I/N with I from 0 to N - 1, such as 0/16")
    return Share(int(match[1]), int(match[2]))


class ScanTask(NamedTuple):
    """A PubMed file to scan for PMIDs, and the done marker that holds the result."""

    path: Path
    done: Path


def plan_tasks(
    config: PrepareConfig,
    tokenizer: LoadedTokenizer,
    directory: Path,
    workers: int,
    progress: Callable[[], ProgressCallback],
    share: Share = ALL_WORK,
) -> list[TokenizeTask]:
    """The files of all sources, in order. PubMed files are scanned for this, those of the share first.

    Args:
        directory: of existing and future results.
        progress: called for a progress callback if files have to be scanned.
    """

    def scan_all(paths: Sequence[Path]) -> list[pubmed.Scan]:
        tasks = [ScanTask(path, directory / "scanned" / f"{_hash(_file_identity(path))}{DONE}") for path in paths]
        parallel_map(scan, share.own_first(tasks), min(workers, len(tasks)), progress())
        return [pubmed.load_scan(task.done) for task in tasks]

    return [
        _task(config, source, file, tokenizer, directory / "tokenized")
        for source in config.sources
        for file in input_files(source, scan_all)
    ]


def scan(task: ScanTask, count: Count) -> None:
    """Run a task unless it is done; `count` receives the number of citations."""
    if not task.done.is_file():
        result = pubmed.scan(task.path)
        task.done.parent.mkdir(parents=True, exist_ok=True)
        with stage_file(task.done) as staging:
            pubmed.save_scan(result, staging)
        count(len(result.records.pmids))


def _task(
    config: PrepareConfig, source: AnySource, file: InputFile, tokenizer: LoadedTokenizer, directory: Path
) -> TokenizeTask:
    near = config.near_duplicates
    bands = bands_for(near.similarity) if near and source.name in near.sources else None
    name = _hash(
        source.model_dump(mode="json", exclude=_IRRELEVANT_KEYS),
        _file_identity(file.path),
        [_file_identity(path) for path in crosswalk_files(source)],
        None if file.keep is None else hashlib.sha256(file.keep.tobytes()).hexdigest(),
        [tokenizer.sha256, config.seq_length, config.held_out, config.seed, bands],
        package_versions(),
    )
    return TokenizeTask(
        source=source,
        file=file,
        tokenizer=config.tokenizer,
        seq_length=config.seq_length,
        held_out=config.held_out,
        seed=config.seed,
        bands=bands,
        stem=directory / source.name / name,
    )


def crosswalk_files(source: AnySource) -> list[Path]:
    """The crosswalk files that are read together with each of a source's own files."""
    return find_files(getattr(source, "crosswalks", []))


def _file_identity(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _hash(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
