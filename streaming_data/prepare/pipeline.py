"""Corpora to a data set: read and tokenise each file, drop what came before, pack, write shards, publish.

Everything is written beside the output, in `<output>.building`, and one rename publishes it. The files that were
tokenised there are used by the next run, and may have been tokenised by others that see the same directory.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from filelock import FileLock, Timeout

from ...configs.errors import UserError
from ...storage.files import require_writable
from ..corpora.readers import AnySource
from ..parallel import Report, cores, in_parallel
from ..shards.manifest import SPLITS, DataManifest, FileInfo, SplitCounts, read_manifest
from ..tokenizer import tokenizer as tokenizers
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .dedup import Duplicates, find_duplicates
from .done_files import DONE
from .manifest import describe_source, write
from .tasks import Share, crosswalks, plan
from .tokenize import Task, TokenisedFile, sha256_of, tokenise
from .write_split import SplitJob, write_split

FilesOfSources: TypeAlias = "Mapping[str, Sequence[TokenisedFile]]"
_DOCUMENTS_PER_WRITER = 200_000  # a process that writes first spends seconds on importing torch


class Stages(Protocol):
    """Gives the report of a stage, by its name."""

    def __call__(self, stage: str) -> Report: ...


def prepare(config: PrepareConfig, stages: Stages) -> DataManifest:
    """Writes the data set that `config` describes and returns its manifest.

    The same inputs, config and package versions give the same shards to the byte, whoever does how much of it.

    Raises:
        UserError: the output exists, or an input or the tokenizer is missing or damaged. Only whole files' results
            are left for the next run.
    """
    workers = config.workers or cores()
    with _building(config.output) as building:
        tokenizer = tokenizers.load(config.tokenizer)
        tasks = plan(config, tokenizer, building, workers, lambda: stages("scanning"))
        done = _tokenise_all(tasks, workers, stages)
        files = {
            source.name: [file for task, file in zip(tasks, done, strict=True) if task.source.name == source.name]
            for source in config.sources
        }
        duplicates = find_duplicates(done)
        data = building / "data"
        shutil.rmtree(data, ignore_errors=True)
        jobs = _split_jobs(config, files, duplicates, data)
        _refuse_empty(jobs, files, config)
        writers = min(workers, 1 + sum(len(file.digests) for file in done) // _DOCUMENTS_PER_WRITER)
        counts = dict(zip(jobs, in_parallel(write_split, list(jobs.values()), writers, stages("packing")), strict=True))
        manifest = _describe(config, tokenizer, files, duplicates, counts, data)
        data.rename(config.output)
    return manifest


def prepare_share(config: PrepareConfig, share: Share, stages: Stages) -> int:
    """Tokenises one share of the files, for a `prepare` that comes later or is at work; returns how many.

    Any number of processes may do this at once, on any machines that see the output's directory. None waits for
    another: what one does not do, because it was killed or never started, `prepare` does.
    """
    _refuse_existing(config.output)
    require_writable(config.output)
    workers = config.workers or cores()
    building = _beside(config.output)
    tokenizer = tokenizers.load(config.tokenizer)
    try:
        tasks = plan(config, tokenizer, building, workers, lambda: stages("scanning"), share)
        chosen = _largest_first(tasks)[share.index :: share.count]
        _tokenise_all(chosen, workers, stages)
    except FileNotFoundError:
        if not config.output.exists():  # else `prepare` has done it all meanwhile, and tidied up
            raise
    return len(chosen)


def _tokenise_all(tasks: Sequence[Task], workers: int, stages: Stages) -> list[TokenisedFile]:
    """The largest first, so that no process is left with a large one at the end."""
    largest = _largest_first(tasks)
    done = dict(
        zip((task.stem for task in largest), in_parallel(tokenise, largest, workers, stages("tokenising")), strict=True)
    )
    return [done[task.stem] for task in tasks]


def _largest_first(tasks: Sequence[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: -task.file.path.stat().st_size)


def _beside(output: Path) -> Path:
    return output.with_name(f"{output.name}.building")


def is_prepared(config: PrepareConfig) -> bool:
    """Whether the output is there already, whole and made by this very config."""
    written = config.output / "manifest.json"
    return written.is_file() and read_manifest(str(config.output)).config == config.model_dump(mode="json")


def _refuse_existing(output: Path) -> None:
    if output.exists():
        raise UserError(f"{output}: exists already, and a data set is never overwritten; choose a new `output`")


@contextmanager
def _building(output: Path) -> Iterator[Path]:
    """The directory to work in, for this process and those that do shares; it stays if anything in it is finished."""
    building = _beside(output)
    require_writable(output)
    lock = FileLock(output.with_name(f".{output.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{output}: another process is preparing this data set; wait for it, or end it") from error
    try:
        _refuse_existing(output)
        yield building
        shutil.rmtree(building, ignore_errors=True)
    except Exception:
        shutil.rmtree(building / "data", ignore_errors=True)
        if not any(building.rglob(f"*{DONE}")):
            shutil.rmtree(building, ignore_errors=True)
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _split_jobs(
    config: PrepareConfig, files: FilesOfSources, duplicates: Duplicates, data: Path
) -> dict[tuple[str, str], SplitJob]:
    return {
        (source, split): SplitJob(
            stems=[file.stem for file in files_of_source],
            chosen=[duplicates.kept(file) & (file.held_out == (split == "held_out")) for file in files_of_source],
            seq_length=config.seq_length,
            window=config.window,
            directory=data / source / split,
        )
        for source, files_of_source in files.items()
        for split in SPLITS
    }


def _refuse_empty(jobs: Mapping[tuple[str, str], SplitJob], files: FilesOfSources, config: PrepareConfig) -> None:
    for source in config.sources:
        if not any(chosen.any() for chosen in jobs[source.name, "train"].chosen):
            held_out = any(chosen.any() for chosen in jobs[source.name, "held_out"].chosen)
            raise UserError(f"source {source.name}: {_why_empty(source, files[source.name], held_out, config)}")


def _why_empty(source: AnySource, files: Sequence[TokenisedFile], held_out: bool, config: PrepareConfig) -> str:
    documents, empty = sum(len(file.digests) for file in files), sum(file.empty for file in files)
    names = files[0].name if len(files) == 1 else f"{files[0].name} and the {len(files) - 1:,} after it"
    if held_out:
        return f"no document left to train on: all are held out; lower held_out ({config.held_out})"
    if documents:
        return f"each of its {documents:,} texts came before, in a source above it; leave it out"
    if empty:
        return f"no document left to train on: the {empty:,} in {names} are without text"
    if source.sample < 1:
        return f"no document left to train on; raise sample ({source.sample}), or check {names}"
    return f"no document left to train on: no records in {names}; check its paths"


def _describe(
    config: PrepareConfig,
    tokenizer: LoadedTokenizer,
    files: FilesOfSources,
    duplicates: Duplicates,
    counts: Mapping[tuple[str, str], SplitCounts],
    data: Path,
) -> DataManifest:
    """Writes the manifest and a copy of the tokenizer."""
    (data / "tokenizer").mkdir()
    for name in tokenizers.FILES:
        shutil.copyfile(config.tokenizer / name, data / "tokenizer" / name)
    sources = {
        source.name: describe_source(
            source,
            files[source.name],
            duplicates,
            splits={split: counts[source.name, split] for split in SPLITS},
            crosswalks=[_file_info(path) for path in crosswalks(source)],
        )
        for source in config.sources
    }
    return write(data, config, tokenizer, sources)


def _file_info(path: Path) -> FileInfo:
    return FileInfo(name=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))
