"""How often groups of patients are named in a data set: counts of documents, by source, and no text.

Packs are decoded and searched for English words, which takes time, so a sample of documents is searched: those of packs
evenly spaced in the training split. Of a document that is cut, the parts in the sampled packs are searched.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..shards.manifest import read_manifest
from ..tokenizer import tokenizer as tokenizers
from .summary import local_tokenizer, sample_packs

_PERSONS = r"(?:man|woman|male|female|gentleman|lady|patient|person|adult|boy|girl)s?"
_AGED = r"[- ]years?[- ]old|\s?y/?o\b|\s?y\.o\."


def _origin(words: str) -> str:
    """Before a person, after a heading, or as a plural: `white` is a color more often."""
    aged = rf"(?:[\s,-]+\d+(?:{_AGED}))?"
    return rf"\b(?:race|ethnicity)\s*:\s*(?:{words})\b|\b(?:{words}){aged}[\s-]+{_PERSONS}\b|\b(?:{words})s\b"


_PATTERNS = {
    ("sex", "man"): r"\b(?:man|men|males?|gentlem[ae]n|he|his|him)\b|\bsex:\s*m\b",
    ("sex", "woman"): r"\b(?:wom[ae]n|females?|lad(?:y|ies)|she|hers?)\b|\bsex:\s*f\b",
    ("age", "18 to 42"): rf"\b(?:1[89]|[23]\d|4[0-2])(?:{_AGED})",
    ("age", "65 or more"): rf"\b(?:6[5-9]|[789]\d|1[01]\d)(?:{_AGED})|\belderly\b",
    ("ethnicity", "White"): _origin("white|caucasian"),
    ("ethnicity", "Black"): _origin("black|african[- ]american"),
    ("ethnicity", "Hispanic"): _origin("hispanic|latin[oa]"),
    ("ethnicity", "Asian"): _origin("asian"),
    ("insurance", "private"): r"\b(?:blue cross|bcbs|aetna|cigna|(?:private|commercial)(?:ly)? insur(?:ance|ed))\b",
    ("insurance", "Medicaid"): r"\b(?:medicaid|masshealth|medi-cal)\b",
    ("insurance", "uninsured"): r"\b(?:uninsured|not insured|no (?:health )?insurance)\b",
}
_SEARCH = {key: re.compile(pattern, re.IGNORECASE) for key, pattern in _PATTERNS.items()}
GROUPS = tuple(_SEARCH)
"""(attribute, group) of each count."""


class GroupCounts(NamedTuple):
    """How many of the sampled documents of a source name each group, in the order of `GROUPS`."""

    source: str
    documents: int
    named: tuple[int, ...]


def count_groups(address: str, documents: int) -> Iterator[GroupCounts]:
    """Search about so many documents of each source's training split. Deterministic."""
    manifest = read_manifest(address)
    with tempfile.TemporaryDirectory() as directory:
        backend = tokenizers.load(local_tokenizer(address, Path(directory))).backend
    for source, entry in manifest.sources.items():
        counts = entry.splits["train"]
        if not counts.packs:
            continue
        per_pack = max(1, counts.documents // counts.packs)
        parts: dict[str, set[int]] = {}
        for pack in sample_packs(f"{address}/{source}/train", max(1, documents // per_pack)):
            segments = [ids.tolist() for ids in np.split(pack.tokens, np.cumsum(pack.lengths)[:-1])]
            for document, text in zip(pack.doc_ids, backend.decode_batch(segments), strict=True):
                parts.setdefault(document, set()).update(named_groups(text))
        named = Counter(number for numbers in parts.values() for number in numbers)
        yield GroupCounts(source, len(parts), tuple(named[number] for number in range(len(GROUPS))))


def named_groups(text: str) -> list[int]:
    """The groups that a text names, as indexes of `GROUPS`."""
    return [number for number, pattern in enumerate(_SEARCH.values()) if pattern.search(text)]
