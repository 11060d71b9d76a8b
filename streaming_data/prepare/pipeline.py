"""Corpora to a data set: tokenize, drop duplicates, pack, write shards, publish.

All work happens in `<output>.building`, next to the output, and one rename publishes it. A later run reuses the tasks
that were finished there, including those of other processes that see the same directory.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from ...configs.errors import UserError
from ...configs.secrets import scrub_tree
from ...storage.files import require_writable
from ...storage.trust import require_own_tree
from ..canaries.file import CanaryFile, canary_file, count_kept, require_unused, write_canaries
from ..corpora.readers import AnySource
from ..parallel import ProgressCallback, available_cores, in_processes, parallel_map
from ..shards.manifest import SPLITS, DataManifest, SplitCounts, manifest_hash, read_manifest
from ..shards.pack import token_bytes
from ..tokenizer import tokenizer as tokenizers
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .dedup import Duplicates, find_duplicates
from .done_markers import any_done
from .manifest import describe_source, write
from .tasks import Share, canaries_of, crosswalk_files, plan_tasks
from .tokenize import TokenizedFile, TokenizeTask, hash_input, tokenize
from .workers import on_workers
from .write_split import SplitJob, finish_split, plan_split, write_part

if TYPE_CHECKING:
    from distributed import Client

FilesBySource: TypeAlias = "Mapping[str, Sequence[TokenizedFile]]"
_DOCUMENTS_PER_WRITER = 20_000  # a writing process first spends half a second on imports


class StageCallbacks(Protocol):
    """Returns the progress callback of a stage, given the stage's name."""

    def __call__(self, stage: str) -> ProgressCallback: ...


def prepare(config: PrepareConfig, stages: StageCallbacks, client: "Client | None" = None) -> DataManifest:
    """Write the data set that `config` describes and return its manifest.

    The same inputs, config and package versions give byte-identical shards, however the work is distributed.

    Args:
        client: of a Dask cluster whose workers read and tokenize; packing and writing are always done here.
    Raises:
        UserError: the output exists, or an input or the tokenizer is missing or corrupt. Results of finished files
            are kept for the next run.
    """
    workers = config.workers or available_cores()
    require_own_canaries(config)
    with ExitStack() as stack:
        building = stack.enter_context(_locked_building_directory(config.output))
        tokenizer = tokenizers.load(config.tokenizer)
        tokenizers.warn_of_other_ends(tokenizer)
        run = stack.enter_context(on_workers(client, config, building)) if client else in_processes(workers)
        tasks = plan_tasks(config, tokenizer, building, run, lambda: stages("scanning"))
        if client:
            run(tokenize, _largest_first(tasks), stages("tokenizing"))
        # What workers have done is only read here.
        tokenized = _tokenize_all(tasks, workers, stages("checking" if client else "tokenizing"))
        shutil.rmtree(building / "unpacked", ignore_errors=True)
        files: dict[str, list[TokenizedFile]] = {source.name: [] for source in config.sources}
        for task, file in zip(tasks, tokenized, strict=True):
            files[task.source.name].append(file)
        duplicates = find_duplicates(tokenized)
        data = building / "data"
        shutil.rmtree(data, ignore_errors=True)
        jobs = _split_jobs(files, duplicates, config, token_bytes(tokenizer.vocab_size), building)
        _require_training_documents(jobs, files, config.sources, config.held_out)
        writers = min(workers, 1 + sum(len(file.digests) for file in tokenized) // _DOCUMENTS_PER_WRITER)
        counts = _write_splits(jobs, writers, stages)
        manifest = _write_manifest(config, tokenizer, files, duplicates, counts, data)
        if config.privacy:
            _list_canaries(config, manifest, zip(tasks, map(duplicates.kept, tokenized), strict=True))
        data.rename(config.output)
    return manifest


def prepare_share(config: PrepareConfig, share: Share, stages: StageCallbacks) -> int:
    """Do one share of the tokenizing tasks for a later or concurrent `prepare`; return the number of tasks.

    Any number of processes may do this at once, on any machines that see the output's directory. They do not wait for
    each other: `prepare` itself does the tasks of a share that was killed or never started.
    """
    require_new(config.output)
    require_writable(config.output)
    workers = config.workers or available_cores()
    building = _building_directory(config.output)
    require_own_tree(building)
    tokenizer = tokenizers.load(config.tokenizer)
    try:
        tasks = plan_tasks(config, tokenizer, building, in_processes(workers), lambda: stages("scanning"), share)
        own = _largest_first(tasks)[share.index :: share.count]
        _tokenize_all(own, workers, stages("tokenizing"))
    except FileNotFoundError:
        if not config.output.exists():  # else a concurrent `prepare` has published and removed the directory
            raise
    return len(own)


def _write_splits(
    jobs: Mapping[tuple[str, str], SplitJob], writers: int, stages: StageCallbacks
) -> dict[tuple[str, str], SplitCounts]:
    """Plan the packs of all splits, then write all parts of their shards, then the indexes."""
    plans = parallel_map(plan_split, list(jobs.values()), writers, stages("packing"))
    parts = [part for plan in plans for part in plan.parts]
    parallel_map(write_part, parts, min(writers, len(parts)), stages("writing"))
    parallel_map(finish_split, plans, writers, stages("hashing"))
    return {key: plan.counts for key, plan in zip(jobs, plans, strict=True)}


def _tokenize_all(tasks: Sequence[TokenizeTask], workers: int, progress: ProgressCallback) -> list[TokenizedFile]:
    """Results in the order of the tasks. The largest files run first, so that no worker ends with a large one."""
    largest = _largest_first(tasks)
    results = parallel_map(tokenize, largest, workers, progress)
    by_stem = dict(zip((task.stem for task in largest), results, strict=True))
    return [by_stem[task.stem] for task in tasks]


def _largest_first(tasks: Sequence[TokenizeTask]) -> list[TokenizeTask]:
    return sorted(tasks, key=lambda task: -task.size)


def _building_directory(output: Path) -> Path:
    return output.with_name(f"{output.name}.building")


def is_prepared(config: PrepareConfig) -> bool:
    """Whether the output exists, complete, and was written with exactly this config."""
    written = config.output / "manifest.json"
    return written.is_file() and read_manifest(str(config.output)).config == scrub_tree(config.model_dump(mode="json"))


def require_new(output: Path) -> None:
    """Require that nothing exists at `output`.

    Raises:
        UserError: a data set is never overwritten.
    """
    if output.exists():
        raise UserError(f"{output}: exists already, and a data set is never overwritten; choose a new `output`")


def require_own_canaries(config: PrepareConfig) -> None:
    """Require that no list of another data set's canaries is where this recipe would write its own.

    Raises:
        UserError: one is there.
    """
    if config.privacy:
        require_unused(canary_file(config.output), _recipe_hash(config))


def _list_canaries(
    config: PrepareConfig, manifest: DataManifest, tasks: Iterable[tuple[TokenizeTask, npt.NDArray[np.bool_]]]
) -> None:
    """Write the list of what was planted, before the data set is published.

    Args:
        tasks: with the documents of each that are no duplicate, bool (documents,).
    """
    held = (
        line for task, kept in tasks for document, lines in task.planted.items() if kept[document] for line in lines
    )
    canaries = count_kept(canaries_of(config), held)
    content = CanaryFile(data=manifest_hash(manifest), recipe=_recipe_hash(config), canaries=canaries)
    write_canaries(content, canary_file(config.output))


def _recipe_hash(config: PrepareConfig) -> str:
    """Of what decides the content of the data set."""
    content = scrub_tree(config.model_dump(mode="json", exclude={"output", "workers"}))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _locked_building_directory(output: Path) -> Iterator[Path]:
    """Yield the working directory, which processes that tokenize shares also use. After an error it is kept if it
    holds results of finished tasks.
    """
    building = _building_directory(output)
    require_own_tree(building)
    require_writable(output)
    lock = FileLock(output.with_name(f".{output.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{output}: another process is preparing this data set; wait for it, or stop it") from error
    try:
        require_new(output)
        yield building
        shutil.rmtree(building, ignore_errors=True)
    except Exception:
        shutil.rmtree(building / "data", ignore_errors=True)
        if not any_done(building):
            shutil.rmtree(building, ignore_errors=True)
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _split_jobs(
    files: FilesBySource, duplicates: Duplicates, config: PrepareConfig, token_bytes: int, building: Path
) -> dict[tuple[str, str], SplitJob]:
    return {
        (source, split): SplitJob(
            stems=[file.stem for file in files_of_source],
            selected=[duplicates.kept(file) & (file.held_out == (split == "held_out")) for file in files_of_source],
            seq_length=config.seq_length,
            window=config.window,
            token_bytes=token_bytes,
            directory=building / "data" / source / split,
            plan=building / "plans" / source / f"{split}.npy",
        )
        for source, files_of_source in files.items()
        for split in SPLITS
    }


def _require_training_documents(
    jobs: Mapping[tuple[str, str], SplitJob], files: FilesBySource, sources: Sequence[AnySource], held_out: float
) -> None:
    for source in sources:
        if not any(selected.any() for selected in jobs[source.name, "train"].selected):
            only_held_out = any(selected.any() for selected in jobs[source.name, "held_out"].selected)
            reason = _why_empty(source, files[source.name], held_out if only_held_out else None)
            raise UserError(f"source {source.name}: {reason}")


def _why_empty(source: AnySource, files: Sequence[TokenizedFile], held_out: float | None) -> str:
    """Why a source has no training documents; `held_out` is the configured share if all its documents are held out."""
    documents, empty = sum(len(file.digests) for file in files), sum(file.empty for file in files)
    inputs = [info.name for file in files for info in file.inputs]
    names = inputs[0] if len(inputs) == 1 else f"{inputs[0]} and the {len(inputs) - 1:,} after it"
    if held_out is not None:
        return f"no document left to train on: all are held out; lower held_out ({held_out})"
    if documents:
        return f"all {documents:,} documents duplicate those of an earlier source; remove this source"
    if empty:
        return f"no document left to train on: the {empty:,} in {names} are without text"
    if source.sample < 1:
        return f"no document left to train on; raise sample ({source.sample}), or check {names}"
    return f"no document left to train on: no records in {names}; check its paths"


def _write_manifest(
    config: PrepareConfig,
    tokenizer: LoadedTokenizer,
    files: FilesBySource,
    duplicates: Duplicates,
    counts: Mapping[tuple[str, str], SplitCounts],
    data: Path,
) -> DataManifest:
    """Write the manifest and a copy of the tokenizer."""
    (data / "tokenizer").mkdir()
    tokenizers.copy_files(tokenizer.directory, data / "tokenizer")
    sources = {
        source.name: describe_source(
            source,
            files[source.name],
            duplicates,
            splits={split: counts[source.name, split] for split in SPLITS},
            crosswalks=[hash_input(file) for file in crosswalk_files(source)],
            directory=data / source.name,
        )
        for source in config.sources
    }
    return write(data, config, tokenizer, sources)
