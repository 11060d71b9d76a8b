"""One input file to the pieces of its documents, in a file of its own: the part of preparing that runs in parallel.

A task leaves `<stem>.pieces` and `<stem>.done`, which says what came of it. Both are a pure function of the input file
and the task, so a task that was interrupted is simply done again, by whomever.
"""

import hashlib
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..corpora.readers import AnySource, InputFile, read_file
from ..documents.document import Document, is_held_out
from ..parallel import Count
from ..phi.patterns import Audit
from ..tokenizer import tokenizer as tokenizers
from ..tokenizer.tokenizer import LoadedTokenizer
from .chunking import Piece, split
from .done_files import DONE, aside, publish
from .minhash import Bands, band_hashes

_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 1 << 20
_HASH_BLOCK = 1 << 22


@dataclass(frozen=True)
class Task:
    """An input file and all that decides what becomes of it.

    Attributes:
        stem: where the results go, without suffix.
        seed: of the held-out split.
        bands: how texts are compared with others; None if they are not.
    """

    source: AnySource
    file: InputFile
    tokenizer: Path
    seq_length: int
    held_out: float
    seed: int
    bands: Bands | None
    stem: Path


@dataclass(frozen=True)
class TokenisedFile:
    """What is known of a finished task.

    Attributes:
        digests: uint64 (documents,), a hash of each text: equal texts are duplicates.
        held_out: bool (documents,).
        empty: documents left out as they had no text.
        cleaned: for each cleaning step, the documents that it changed.
        audit: of text that is not public, what may identify a patient.
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
    audit: Audit | None
    bands: int

    @property
    def bands_path(self) -> Path:
        return self.stem.with_suffix(".npy")


def read_pieces(stem: Path, chosen: npt.NDArray[np.bool_]) -> Iterator[list[Piece]]:
    """The pieces of each chosen document of a finished task, in order; `chosen` is bool (documents,)."""
    number = 0
    with stem.with_suffix(".pieces").open("rb") as file:
        while number < len(chosen):
            batch: list[list[Piece]] = pickle.load(file)
            yield from (pieces for pieces, wanted in zip(batch, chosen[number:], strict=False) if wanted)
            number += len(batch)


def tokenise(task: Task, count: Count) -> TokenisedFile:
    """Does a task, or finds it done; counts the documents it has read."""
    if (finished := task.stem.with_suffix(DONE)).is_file():
        done: TokenisedFile = pickle.loads(finished.read_bytes())
        return done
    with aside(task.stem) as temporary:
        done = _tokenise(task, temporary, count)
        temporary.with_suffix(DONE).write_bytes(pickle.dumps(done))
        publish(temporary, task.stem, [".pieces", *([".npy"] if done.bands else []), DONE])
    return done


def _tokenise(task: Task, stem: Path, count: Count) -> TokenisedFile:
    """Writes `stem`.pieces, a list of documents' lists of pieces for each batch, and `stem`.npy."""
    tokenizer = _tokenizer(task.tokenizer)
    source = task.source
    audit = None if source.public else Audit()
    digests: list[int] = []
    held_out: list[bool] = []
    bands: list[npt.NDArray[np.uint64]] = []
    empty = 0
    cleaned: Counter[str] = Counter()
    with stem.with_suffix(".pieces").open("wb") as file:
        for batch in _batches(read_file(source, task.file, cleaned)):
            documents = [document for document in batch if document.text.strip()]
            encodings = tokenizers.encode(tokenizer, [document.text for document in documents])
            pieces = [
                split(document.id, document.text, encoding, tokenizer, task.seq_length)
                for document, encoding in zip(documents, encodings, strict=True)
            ]
            pickle.dump(pieces, file)
            for document in documents:
                digests.append(_digest(document.text))
                held_out.append(is_held_out(document, source.split_by, task.held_out, task.seed))
                if audit:
                    audit.add(document.text)
                if task.bands:
                    bands.append(band_hashes(document.text, task.bands))
            empty += len(batch) - len(documents)
            count(len(batch))
    if task.bands:
        np.save(stem.with_suffix(".npy"), np.array(bands, np.uint64).reshape(-1, task.bands.number))
    return TokenisedFile(
        stem=task.stem,
        name=task.file.path.name,
        bytes=task.file.path.stat().st_size,
        sha256=sha256_of(task.file.path),
        digests=np.array(digests, np.uint64),
        held_out=np.array(held_out, np.bool_),
        empty=empty,
        cleaned=cleaned,
        audit=audit,
        bands=task.bands.number if task.bands else 0,
    )


@lru_cache(maxsize=1)
def _tokenizer(directory: Path) -> LoadedTokenizer:
    """Read once for all the files of a process, which may be many and small."""
    return tokenizers.load(directory)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Batches that are bounded in documents and, but for one long document, in characters."""
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


def sha256_of(path: Path) -> str:
    """Of the file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
