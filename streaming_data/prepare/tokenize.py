"""Tokenization of one input file: read, clean and tokenize its documents and cut them into segments.

This is the part of preparing a data set that runs in parallel. A task writes `<stem>.segments`, `<stem>.npy` if near
duplicates are searched, and last its done marker with a summary. All are a pure function of the input file and the
task, so any process can redo a task that was interrupted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from ...storage.files import hash_file, stage_file
from ..corpora.readers import AnySource, InputFile, read_file
from ..documents.document import Document, is_held_out
from ..parallel import Count
from ..phi.patterns import PhiAudit
from ..shards.manifest import AuditCounts
from ..tokenizer import tokenizer as tokenizers
from ..tokenizer.tokenizer import LoadedTokenizer
from .chunking import Segment, cut_into_segments
from .done_markers import ignore, mark_done, read_result
from .minhash import Bands, band_hashes
from .segment_file import read_batches, write_batch

_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 1 << 20
_SEGMENTS = ".segments"
_BANDS = ".npy"


@dataclass(frozen=True)
class TokenizeTask:
    """An input file and everything that determines its results.

    Attributes:
        held_out: the share of documents to hold out.
        seed: of the held-out split.
        bands: how near duplicates are searched; None if they are not.
        stem: path of the results, without suffix.
    """

    source: AnySource
    file: InputFile
    tokenizer: Path
    seq_length: int
    held_out: float
    seed: int
    bands: Bands | None
    stem: Path


class _Summary(BaseModel):
    """The JSON in a done marker: the attributes of `TokenizedFile` that are not arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    bytes: NonNegativeInt
    sha256: str
    empty: NonNegativeInt
    cleaned: dict[str, NonNegativeInt]
    audit: AuditCounts | None
    bands: NonNegativeInt


@dataclass(frozen=True)
class TokenizedFile:
    """Summary of a finished task.

    Attributes:
        stem: path of the task's results, without suffix.
        name: of the input file.
        bytes: size of the input file.
        sha256: of the input file.
        digests: uint64 (documents,), a hash of each text: equal texts are duplicates.
        held_out: bool (documents,).
        empty: number of documents dropped because they have no text.
        cleaned: for each cleaning step, the number of documents that it changed.
        audit: counts of PHI identifiers; None for public text.
        bands: columns of the array in `bands_path`, uint64 (documents, bands); 0 if there is none.
    """

    stem: Path
    name: str
    bytes: int
    sha256: str
    digests: npt.NDArray[np.uint64]
    held_out: npt.NDArray[np.bool_]
    empty: int
    cleaned: Mapping[str, int]
    audit: PhiAudit | None
    bands: int

    @property
    def bands_path(self) -> Path:
        return self.stem.with_suffix(_BANDS)


def read_segments(stem: Path, selected: npt.NDArray[np.bool_]) -> Iterator[list[Segment]]:
    """The segments of each selected document of a finished task, in order; `selected` is bool (documents,)."""
    number = 0
    for batch in read_batches(stem.with_suffix(_SEGMENTS), len(selected)):
        yield from (segments for segments, keep in zip(batch, selected[number:], strict=False) if keep)
        number += len(batch)


def tokenize(task: TokenizeTask, count: Count) -> TokenizedFile:
    """Run a task unless it is done; `count` receives the number of documents as they are read."""
    if (done := _read_done(task.stem)) is not None:
        return done
    file = _tokenize(task, count)
    summary = {name: value for name, value in vars(file).items() if name not in ("stem", "digests", "held_out")}
    summary["audit"] = file.audit and vars(file.audit)
    text = np.frombuffer(json.dumps(summary).encode(), np.uint8)
    mark_done(task.stem, {"summary": text, "digests": file.digests, "held_out": file.held_out})
    return file


def _read_done(stem: Path) -> TokenizedFile | None:
    """The summary of a finished task; None if it is not finished, or another version wrote its done marker."""
    if (arrays := read_result(stem)) is None:
        return None
    try:
        digests, held_out = arrays["digests"], arrays["held_out"]
        if digests.dtype != np.uint64 or held_out.dtype != np.bool_ or digests.shape != held_out.shape:
            raise ValueError("other arrays than expected")
        summary = _Summary.model_validate_json(arrays["summary"].tobytes())
    except (KeyError, ValueError) as error:
        ignore(stem, error)
        return None
    audit = PhiAudit(**dict(summary.audit)) if summary.audit else None
    if audit:
        audit.kinds = Counter(audit.kinds)
    values = {**dict(summary), "audit": audit}
    return TokenizedFile(stem=stem, digests=digests, held_out=held_out, **values)


def _tokenize(task: TokenizeTask, count: Count) -> TokenizedFile:
    """Write `<stem>.segments` (see `segment_file.py`) and, if near duplicates are searched, `<stem>.npy`."""
    tokenizer = _load_tokenizer(task.tokenizer)
    source = task.source
    audit = None if source.public else PhiAudit()
    digests: list[int] = []
    held_out: list[bool] = []
    bands: list[npt.NDArray[np.uint64]] = []
    empty = 0
    cleaned: Counter[str] = Counter()
    task.stem.parent.mkdir(parents=True, exist_ok=True)
    with stage_file(task.stem.with_suffix(_SEGMENTS)) as staging, staging.open("wb") as file:
        for batch in _batches(read_file(source, task.file, cleaned)):
            documents = [document for document in batch if document.text.strip()]
            encodings = tokenizers.encode(tokenizer, [document.text for document in documents])
            segments = [
                cut_into_segments(document.id, document.text, encoding, tokenizer, task.seq_length, source.locale)
                for document, encoding in zip(documents, encodings, strict=True)
            ]
            if documents:
                write_batch(file, [document.id for document in documents], segments)
            for document in documents:
                digests.append(_digest(document.text))
                held_out.append(is_held_out(document, source.split_by, task.held_out, task.seed))
                if audit:
                    audit.add(document.text, source.locale)
                if task.bands:
                    bands.append(band_hashes(document.text, task.bands))
            empty += len(batch) - len(documents)
            count(len(batch))
    if task.bands:
        with stage_file(task.stem.with_suffix(_BANDS)) as staging, staging.open("wb") as file:
            np.save(file, np.array(bands, np.uint64).reshape(-1, task.bands.number), allow_pickle=False)
    return TokenizedFile(
        stem=task.stem,
        name=task.file.path.name,
        bytes=task.file.path.stat().st_size,
        sha256=hash_file(task.file.path, "sha256"),
        digests=np.array(digests, np.uint64),
        held_out=np.array(held_out, np.bool_),
        empty=empty,
        cleaned=cleaned,
        audit=audit,
        bands=task.bands.number if task.bands else 0,
    )


@lru_cache(maxsize=1)
def _load_tokenizer(directory: Path) -> LoadedTokenizer:
    """Loaded once per process, since files may be many and small."""
    return tokenizers.load(directory)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Batches with bounded numbers of documents and characters; one document longer than the bound is a batch."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) >= _BATCH_DOCUMENTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
