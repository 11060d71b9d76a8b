"""The unit that every reader yields, and the one hash that decides where it goes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Document:
    """One text of one source.

    Attributes:
        id: unique within its source and stable from run to run: a PMID, a note id, a code.
        source: the name its source has in the config.
        text: what is tokenised; line breaks are structure and are kept.
        meta: facts about the document for splitting and selection, such as the patient. Never logged.
    """

    id: str
    source: str
    text: str
    meta: Mapping[str, str] = field(default_factory=dict)


def is_held_out(document: Document, split_by: str, share: float, seed: int) -> bool:
    """Whether training must not see the document.

    It depends on the fact `split_by` of its meta (the patient, the article) and the seed alone, not on what the source
    calls the fact, so that all the text of a patient is on one side, in all sources.
    """
    return uniform_hash("held_out", str(seed), document.meta[split_by]) < share


def uniform_hash(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts alone: the same on every machine and in every run."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)
