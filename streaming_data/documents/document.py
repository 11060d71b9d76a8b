"""The document that every reader yields, and the hash that assigns it to a split."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Document:
    """One text of one source.

    Attributes:
        id: unique within its source and stable across runs: a PMID, a note id, a code.
        source: the name of its source in the config.
        text: to be tokenized; line breaks are structure and are kept.
        meta: facts about the document for splitting and selection, such as the patient. Never logged.
        surrogates: starts and ends in the text of what de-identification has put there, which the audit expects.
    """

    id: str
    source: str
    text: str
    meta: Mapping[str, str] = field(default_factory=dict)
    surrogates: Sequence[tuple[int, int]] = ()


def in_batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
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


def is_held_out(document: Document, split_by: str, share: float, seed: int) -> bool:
    """Whether the document belongs to the held-out split.

    This depends only on the seed and the value of `split_by` in its meta (the patient, the article), not on the name of
    that column, so that all the text of a patient is in one split, across all sources.
    """
    return uniform_hash("held_out", str(seed), document.meta[split_by]) < share


def uniform_hash(*parts: str) -> float:
    """A number in [0, 1) that depends only on the parts: the same on every machine and in every run."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)
