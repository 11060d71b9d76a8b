"""The tasks of preparing a data set, each a few input files, and their distribution over several processes.

A task's results are named by a hash of everything that determines them: the files, the source, the tokenizer, the
package versions. Any process that sees the directory, on this machine or another, therefore finds finished results,
also after a kill or a change to something else; and two processes that run the same task at once write the same bytes.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...configs.errors import UserError
from ...storage.files import stage_file
from ..canaries.identifiers import Canary, make_canaries
from ..canaries.patients import PatientsTask, find_patients, load_patients
from ..canaries.planting import Planted, choose_documents
from ..corpora.articles import pubmed_versions
from ..corpora.readers import AnySource, list_inputs
from ..deidentify.key import fingerprint, read_key
from ..division import ranges, survey
from ..division.parts import Part, parts_of
from ..division.survey import SurveyTask, is_large, load_spans
from ..documents.files import FoundFile, list_files
from ..documents.spans import Span
from ..parallel import Count, ProgressCallback, Runner
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .done_markers import DONE
from .manifest import package_versions
from .minhash import SCHEME, bands_for
from .tokenize import RESULTS_VERSION, TokenizeTask

Item = TypeVar("Item")
logger = logging.getLogger(__name__)
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
    """PubMed files to scan for PMIDs, and the done marker that holds the results."""

    files: Sequence[FoundFile]
    done: Path


def plan_tasks(
    config: PrepareConfig,
    tokenizer: LoadedTokenizer,
    directory: Path,
    run: Runner,
    progress: Callable[[], ProgressCallback],
    share: Share = ALL_WORK,
) -> list[TokenizeTask]:
    """The files of all sources, in order, in groups and ranges. For this PubMed files are scanned, large files divided
    and sources with canaries read, those of the share first.

    Args:
        directory: of existing and future results.
        run: where files are scanned and divided.
        progress: called for a progress callback if files have to be scanned or divided.
    """

    def scan_all(groups: Sequence[Sequence[FoundFile]]) -> list[pubmed_versions.Scan]:
        tasks = [ScanTask(files, directory / "scanned" / f"{_hash(_identities(files))}{DONE}") for files in groups]
        run(scan, share.own_first(tasks), progress())
        return [one for task in tasks for one in pubmed_versions.load_scans(task.done)]

    listed = [(source, list_inputs(source)) for source in config.sources]
    surveys = {
        (source.name, file): _survey_task(source, file, directory)
        for source, files in listed
        for file in files
        if is_large(source, file)
    }
    if surveys:
        run(survey.survey, share.own_first(list(surveys.values())), progress())
    spans: dict[str, dict[FoundFile, Sequence[Span]]] = {source.name: {} for source, _ in listed}
    for (name, file), task in surveys.items():
        spans[name][file] = load_spans(task)
    parts = {source.name: list(parts_of(source, files, spans[source.name], scan_all)) for source, files in listed}
    planted = _plan_canaries(config, parts, directory / "patients", run, progress, share)
    tasks = [
        task
        for source in config.sources
        for task in _tasks(
            config, source, parts[source.name], planted.get(source.name), tokenizer, directory / "tokenized"
        )
    ]
    _warn_of_other_results(directory / "tokenized", tasks)
    return tasks


def scan(task: ScanTask, count: Count) -> None:
    """Run a task unless it is done; `count` receives the number of citations."""
    if not task.done.is_file():
        results = []
        for file in task.files:
            results.append(pubmed_versions.scan(Path(file.path)))
            count(len(results[-1].records.pmids))
        task.done.parent.mkdir(parents=True, exist_ok=True)
        with stage_file(task.done) as staging:
            pubmed_versions.save_scans(results, staging)


def _warn_of_other_results(directory: Path, tasks: Sequence[TokenizeTask]) -> None:
    """Say why work that was done is done again."""
    stems = {task.stem for task in tasks}
    others = sum(path.with_suffix("") not in stems for path in directory.rglob(f"*{DONE}"))
    if others:
        logger.warning(
            f"{directory}: {others:,} finished tasks are of other files, settings or versions of this program "
            "and are not used; they are removed when the data set is complete"
        )


def _tasks(
    config: PrepareConfig,
    source: AnySource,
    parts: Sequence[Part],
    planted: Sequence[Planted] | None,
    tokenizer: LoadedTokenizer,
    directory: Path,
) -> list[TokenizeTask]:
    """The tasks of one source, and of each part what is planted in it."""
    near = config.near_duplicates
    bands = bands_for(near.similarity) if near and source.name in near.sources else None
    lines = [canary.line for canary in canaries_of(config)] if planted else []
    common = _hash(
        *_reading(source),
        [tokenizer.sha256, config.seq_length, config.held_out, config.seed, bands and (*bands, SCHEME)],
        package_versions(),
        RESULTS_VERSION,
        *([fingerprint(read_key(path))] if (path := source.deidentify.key_file) else []),
    )

    def task(part: Part, chosen: Planted) -> TokenizeTask:
        planted_lines = {document: [lines[number] for number in numbers] for document, numbers in chosen.items()}
        return TokenizeTask(
            source=source,
            files=part.files,
            keeps=part.keeps,
            span=part.span,
            tokenizer=config.tokenizer,
            seq_length=config.seq_length,
            held_out=config.held_out,
            seed=config.seed,
            bands=bands,
            stem=directory / source.name / _hash(common, *_content(part), *([planted_lines] if chosen else [])),
            planted=planted_lines,
        )

    return [task(part, chosen) for part, chosen in zip(parts, planted or [{}] * len(parts), strict=True)]


def canaries_of(config: PrepareConfig) -> list[Canary]:
    """The canaries that a recipe plants, in order."""
    chosen = config.privacy and config.privacy.canaries
    return make_canaries(config.seed, chosen.count, chosen.repeats) if chosen else []


def _plan_canaries(
    config: PrepareConfig,
    parts: Mapping[str, Sequence[Part]],
    directory: Path,
    run: Runner,
    progress: Callable[[], ProgressCallback],
    share: Share,
) -> dict[str, list[Planted]]:
    """By source, which documents of each part receive which canaries. Their sources are read for this."""
    if config.privacy is None:
        return {}
    named = [source for source in config.sources if source.name in config.privacy.canaries.sources]
    split = config.held_out, config.seed

    def task(source: AnySource, part: Part) -> PatientsTask:
        name = _hash(*_reading(source), *split, *_content(part), package_versions())
        return PatientsTask(source, part, *split, directory / f"{name}{DONE}")

    tasks = {source.name: [task(source, part) for part in parts[source.name]] for source in named}
    every = [task for own in tasks.values() for task in own]
    run(find_patients, share.own_first(every), progress())
    chosen = iter(choose_documents(canaries_of(config), [load_patients(task) for task in every]))
    return {name: [next(chosen) for _ in own] for name, own in tasks.items()}


def _reading(source: AnySource) -> tuple[Any, ...]:
    """What decides the documents of a source's file."""
    return source.model_dump(mode="json", exclude=_IRRELEVANT_KEYS), _identities(crosswalk_files(source))


def _content(part: Part) -> tuple[Any, ...]:
    """What identifies a part."""
    kept = [hashlib.sha256(keep.tobytes()).hexdigest() for keep in part.keeps]
    return _identities(part.files), kept, part.span and part.span[1:]


def _survey_task(source: AnySource, file: FoundFile, directory: Path) -> SurveyTask:
    content = directory / "unpacked" / _hash(_identities([file]))
    sizes = ranges.RANGE_BYTES, survey.UNPACK_BYTES
    name = _hash(source.model_dump(mode="json", exclude=_IRRELEVANT_KEYS), _identities([file]), sizes)
    return SurveyTask(source, file, content, directory / "divided" / f"{name}{DONE}", *sizes)


def crosswalk_files(source: AnySource) -> list[FoundFile]:
    """The crosswalk files that are read together with each of a source's own files."""
    return list_files([*getattr(source, "crosswalks", []), *getattr(source, "crosswalk_names", [])])


def _identities(files: Sequence[FoundFile]) -> list[list[Any]]:
    return [[_real_path(file.path), file.size, file.modified] for file in files]


def _real_path(path: str) -> str:
    directory, name = os.path.split(path)
    return f"{_real_directory(directory)}/{name}"


@lru_cache(maxsize=1 << 12)
def _real_directory(directory: str) -> str:
    """Resolving a path takes ten times as long as looking at its file, and files share directories."""
    return os.path.realpath(directory)


def _hash(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
