"""Corpora to a data set: read and tokenise each file, drop what came before, pack, write shards, publish.

Everything is written beside the output, in `<output>.building`, and one rename publishes it. What a killed run had
tokenised there is used by the next run of the same config; what a failed run left is removed.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from filelock import FileLock, Timeout

from ..configs.errors import UserError
from . import tokenizer as tokenizers
from .corpora import input_files
from .duplicates import Duplicates, find_duplicates
from .manifest import SPLITS, SplitCounts, describe_source, package_versions, write
from .near_duplicates import bands_for
from .parallel import Report, cores, in_parallel
from .prepare_config import AnySource, PrepareConfig
from .tokenise import Task, TokenisedFile, tokenise
from .tokenizer import LoadedTokenizer
from .write_split import SplitJob, write_split

FilesOfSources: TypeAlias = "Mapping[str, Sequence[TokenisedFile]]"
_DOCUMENTS_PER_WRITER = 200_000  # a process that writes first spends seconds on importing torch


class Stages(Protocol):
    """Gives the report of a stage, by its name."""

    def __call__(self, stage: str) -> Report: ...


def prepare(config: PrepareConfig, stages: Stages) -> dict[str, Any]:
    """Writes the data set that `config` describes and returns its manifest.

    The same inputs, config and package versions give the same shards to the byte, whatever the number of workers.

    Raises:
        UserError: the output exists, or an input or the tokenizer is missing or damaged; nothing is left behind.
    """
    workers = config.workers or cores()
    with _building(config.output) as building:
        tokenizer = tokenizers.load(config.tokenizer)
        tasks = _tasks(config, building / "tokenised")
        _drop_other_work(building, config, tokenizer, tasks)
        done = in_parallel(tokenise, tasks, workers, stages("tokenising"))
        files = {
            source.name: [file for task, file in zip(tasks, done, strict=True) if task.source.name == source.name]
            for source in config.sources
        }
        duplicates = find_duplicates(done)
        data = building / "data"
        shutil.rmtree(data, ignore_errors=True)
        jobs = _split_jobs(config, files, duplicates, data)
        writers = min(workers, 1 + sum(len(file.digests) for file in done) // _DOCUMENTS_PER_WRITER)
        counts = dict(zip(jobs, in_parallel(write_split, list(jobs.values()), writers, stages("packing")), strict=True))
        _refuse_empty(counts, config)
        manifest = _describe(config, tokenizer, files, duplicates, counts, data)
        data.rename(config.output)
    return manifest


@contextmanager
def _building(output: Path) -> Iterator[Path]:
    """The directory to work in, for this process alone; kept only if the work was interrupted or killed."""
    building = output.with_name(f"{output.name}.building")
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.with_name(f".{output.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{output}: another process is preparing this data set; wait for it, or end it") from error
    try:
        if output.exists():
            raise UserError(f"{output}: exists already, and a data set is never overwritten; choose a new `output`")
        yield building
        shutil.rmtree(building, ignore_errors=True)
    except Exception:
        shutil.rmtree(building, ignore_errors=True)
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _tasks(config: PrepareConfig, directory: Path) -> list[Task]:
    compared = config.near_duplicates
    return [
        Task(
            source=source,
            file=file,
            tokenizer=config.tokenizer,
            seq_length=config.seq_length,
            held_out=config.held_out,
            seed=config.seed,
            bands=bands_for(compared.similarity) if compared and source.name in compared.sources else None,
            stem=directory / source.name / f"{number:05d}",
        )
        for source in config.sources
        for number, file in enumerate(input_files(source))
    ]


def _drop_other_work(building: Path, config: PrepareConfig, tokenizer: LoadedTokenizer, tasks: Sequence[Task]) -> None:
    """Removes what an earlier run left, unless that run had the same config, inputs and packages."""
    stats = [task.file.path.stat() for task in tasks]
    work = json.dumps(
        {
            "config": config.model_dump(mode="json", exclude={"workers", "window"}),
            "tokenizer": tokenizer.sha256,
            "inputs": [
                [str(task.file.path), stat.st_size, stat.st_mtime_ns] for task, stat in zip(tasks, stats, strict=True)
            ],
            "packages": package_versions(),
        }
    )
    note = building / "work.json"
    if note.is_file() and note.read_text(encoding="utf-8") == work:
        return
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    note.write_text(work, encoding="utf-8")


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


def _refuse_empty(counts: Mapping[tuple[str, str], SplitCounts], config: PrepareConfig) -> None:
    for source in config.sources:
        if not counts[source.name, "train"].documents:
            raise UserError(
                f"source {source.name}: no document left to train on; check its paths, or lower held_out "
                f"({config.held_out}) or raise sample ({source.sample})"
            )


def _describe(
    config: PrepareConfig,
    tokenizer: LoadedTokenizer,
    files: FilesOfSources,
    duplicates: Duplicates,
    counts: Mapping[tuple[str, str], SplitCounts],
    data: Path,
) -> dict[str, Any]:
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
        )
        | {"cleaned": _sum_by_step(source, files[source.name])}
        for source in config.sources
    }
    return write(data, config, tokenizer, sources)


def _sum_by_step(source: AnySource, files: Sequence[TokenisedFile]) -> dict[str, int]:
    """How many documents each cleaning step changed."""
    return {step: sum(file.cleaned.get(step, 0) for file in files) for step in source.clean}
