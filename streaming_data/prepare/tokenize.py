"""Tokenization of a few input files: read, clean and tokenize its documents and cut them into segments.

This is the part of preparing a data set that runs in parallel. A task writes `<stem>.segments`, `<stem>.npy` if near
duplicates are searched, and last its done marker with a summary. All are a pure function of the input files and the
task, so any process can redo a task that was interrupted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from ...storage.files import hash_file, stage_file
from ..canaries.planting import plant
from ..corpora.readers import AnySource
from ..deidentify.replace import STEP
from ..division.parts import Part, read_part
from ..documents.census import Census
from ..documents.document import in_batches, is_held_out
from ..documents.files import FoundFile
from ..documents.spans import Span
from ..parallel import Count
from ..phi.patterns import PhiAudit
from ..shards.manifest import AuditCounts, WordCounts
from ..tokenizer import tokenizer as tokenizers
from ..tokenizer.tokenizer import EncodedText, LoadedTokenizer
from .chunking import cut_into_segments
from .done_markers import ignore, mark_done, read_result
from .minhash import Bands, band_hashes
from .segment_file import SegmentWriter, parse_index

RESULTS_VERSION = 3
"""Of what a task writes: results of another version have other names."""

_JUDGED = 128  # one in so many documents is tokenized by `tokenizers` too
_SEGMENTS = ".segments"
_BANDS = ".npy"


@dataclass(frozen=True)
class TokenizeTask:
    """Input files and everything that determines their results.

    Attributes:
        keeps: for PubMed, which records of each file are the newest of their citation, bool (records,) each; else
            empty.
        span: the part of the one file that is read; None for all of it.
        held_out: the share of documents to hold out.
        seed: of the held-out split.
        bands: how near duplicates are searched; None if they are not.
        stem: path of the results, without suffix.
        planted: the lines to plant in documents, by the number of the document among those with text.
    """

    source: AnySource
    files: Sequence[FoundFile]
    keeps: Sequence[npt.NDArray[np.bool_]]
    span: Span | None
    tokenizer: Path
    seq_length: int
    held_out: float
    seed: int
    bands: Bands | None
    stem: Path
    planted: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes to read, and a fourth of those to hash."""
        size = sum(file.size for file in self.files)
        hashed = size if self.describes_inputs else 0
        return (self.span.stop - self.span.start if self.span else size) + hashed // 4

    @property
    def describes_inputs(self) -> bool:
        """Whether the results describe the files; of a divided file, those of the first part do."""
        return self.span is None or self.span.start == 0


class InputHash(NamedTuple):
    """An input file as the manifest describes it: name, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


class _Summary(BaseModel):
    """The JSON in a done marker: the attributes of `TokenizedFile` that are not arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: list[InputHash]
    empty: NonNegativeInt
    cleaned: dict[str, NonNegativeInt]
    left_out: dict[str, tuple[NonNegativeInt, NonNegativeInt]]
    audit: AuditCounts | None
    bands: NonNegativeInt
    words: WordCounts
    segments_hash: str


@dataclass(frozen=True)
class TokenizedFile:
    """Summary of a finished task.

    Attributes:
        stem: path of the task's results, without suffix.
        inputs: the input files.
        digests: uint64 (documents,), a hash of each text: equal texts are duplicates.
        held_out: bool (documents,).
        empty: number of documents dropped because they have no text.
        cleaned: for each cleaning step, the number of documents that it changed; for `deidentify`, see
            `deidentify.replace.kinds_of`, also what it replaced.
        left_out: by kind, elements and characters that the reader found and left out.
        audit: counts of PHI identifiers; None for public text, unless it is de-identified.
        bands: columns of the array in `bands_path`, uint64 (documents, bands); 0 if there is none.
        words: characters, tokens and words of all documents.
        segments_hash: of the file of segments.
    """

    stem: Path
    inputs: Sequence[InputHash]
    digests: npt.NDArray[np.uint64]
    held_out: npt.NDArray[np.bool_]
    empty: int
    cleaned: Mapping[str, int]
    left_out: Mapping[str, tuple[int, int]]
    audit: PhiAudit | None
    bands: int
    words: WordCounts
    segments_hash: str

    @property
    def bands_path(self) -> Path:
        return self.stem.with_suffix(_BANDS)


def tokenize(task: TokenizeTask, count: Count) -> TokenizedFile:
    """Run a task unless it is done; `count` receives the number of documents as they are read."""
    if (done := _read_done(task.stem)) is not None:
        return done
    file, index = _tokenize(task, count)
    summary = {name: value for name, value in vars(file).items() if name not in ("stem", "digests", "held_out")}
    summary["audit"] = file.audit and vars(file.audit)
    summary["words"] = dict(file.words)
    text = np.frombuffer(json.dumps(summary).encode(), np.uint8)
    mark_done(task.stem, {"summary": text, "digests": file.digests, "held_out": file.held_out, **index})
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
        if len(parse_index(arrays).counts) != len(digests):
            raise ValueError("another number of documents than expected")
        if hash_file(stem.with_suffix(_SEGMENTS), "xxh3_64") != summary.segments_hash:
            raise ValueError("other segments than expected")
    except (KeyError, ValueError, FileNotFoundError) as error:
        ignore(stem, error)
        return None
    audit = PhiAudit(**dict(summary.audit)) if summary.audit else None
    if audit:
        audit.kinds = Counter(audit.kinds)
    values = {**dict(summary), "audit": audit}
    return TokenizedFile(stem=stem, digests=digests, held_out=held_out, **values)


def _tokenize(task: TokenizeTask, count: Count) -> tuple[TokenizedFile, dict[str, npt.NDArray[Any]]]:
    """Write `<stem>.segments` (see `segment_file.py`) and, if near duplicates are searched, `<stem>.npy`.

    Returns a summary, and the index of the segments.
    """
    tokenizer = _load_tokenizer(task.tokenizer)
    source = task.source
    audit = None if source.public and STEP not in source.clean else PhiAudit()
    digests: list[int] = []
    held_out: list[bool] = []
    bands: list[npt.NDArray[np.uint64]] = []
    empty = characters = tokens = words = 0
    cleaned: Counter[str] = Counter()
    left_out = Census()
    task.stem.parent.mkdir(parents=True, exist_ok=True)
    with stage_file(task.stem.with_suffix(_SEGMENTS)) as staging, staging.open("wb") as file:
        writer = SegmentWriter(file)
        # A batch is as large for many small files as for a large one.
        part = Part(task.files, task.keeps, task.span)
        for batch in in_batches(chain.from_iterable(read_part(source, part, cleaned, left_out))):
            found = [document for document in batch if document.text.strip()]
            documents = [
                replace(document, text=plant(document.text, document.id, lines)) if lines else document
                for document, lines in zip(found, map(task.planted.get, count_from(len(digests))), strict=False)
            ]
            texts = [document.text for document in documents]
            encodings = tokenizers.encode(tokenizer, texts)
            first = not digests
            own = [document.text for document in found]  # what is searched and compared has nothing that was planted
            digests += [_digest(text) for text in own]
            _judge(tokenizer, texts, encodings, digests[len(digests) - len(texts) :], first)
            segments = [
                cut_into_segments(document.id, document.text, encoding, tokenizer, task.seq_length, source.locale)
                for document, encoding in zip(documents, encodings, strict=True)
            ]
            if documents:
                writer.write([document.id for document in documents], segments)
                if task.bands:
                    bands.append(band_hashes(own, task.bands))
            held_out += [is_held_out(document, source.split_by, task.held_out, task.seed) for document in documents]
            if audit:
                surrogates = [document.surrogates for document in documents]
                audit.add_all(own, source.locale, surrogates, source.find_names)
            characters += sum(map(len, texts))
            tokens += sum(len(encoding.tokens) for encoding in encodings)
            words += sum(int(encoding.word_starts.sum()) for encoding in encodings)
            empty += len(batch) - len(documents)
            count(len(batch))
    if task.bands:
        with stage_file(task.stem.with_suffix(_BANDS)) as staging, staging.open("wb") as file:
            none = np.empty((0, task.bands.number), np.uint64)
            np.save(file, np.concatenate([none, *bands]), allow_pickle=False)
    summary = TokenizedFile(
        stem=task.stem,
        inputs=[hash_input(file) for file in task.files] if task.describes_inputs else [],
        digests=np.array(digests, np.uint64),
        held_out=np.array(held_out, np.bool_),
        empty=empty,
        cleaned=cleaned,
        left_out=left_out.counts(),
        audit=audit,
        bands=task.bands.number if task.bands else 0,
        words=WordCounts(characters=characters, tokens=tokens, words=words),
        segments_hash=writer.hash,
    )
    return summary, writer.index()


def hash_input(file: FoundFile) -> InputHash:
    path = Path(file.path)
    return InputHash(path.name, file.size, hash_file(path, "sha256"))


def _judge(
    tokenizer: LoadedTokenizer, texts: list[str], encodings: list[EncodedText], digests: list[int], first: bool
) -> None:
    """Compare the tokens of some documents of a batch with those of `tokenizers`; a difference ends the run.

    Which ones follows from their digests alone, so every run judges the same. A task's `first` batch has one always.
    """
    judged = [n for n, digest in enumerate(digests) if digest % _JUDGED == 0 or (first and n == 0)]
    tokenizers.require_equal(tokenizer, [texts[n] for n in judged], [encodings[n] for n in judged])


@lru_cache(maxsize=1)
def _load_tokenizer(directory: Path) -> LoadedTokenizer:
    """Loaded once per process, since files may be many and small."""
    return tokenizers.load(directory)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
