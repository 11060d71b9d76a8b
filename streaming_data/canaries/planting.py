"""Which documents receive which canaries, and the text of a document with its canaries.

Patients are taken in the order of a hash, so the choice depends on the seed and the documents alone, however the work
is divided. One canary is never twice in a patient's documents, and copies of an earlier text receive none. Where there
are fewer patients than lines to plant, all of them receive about the same number.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ..documents.document import uniform_hash
from .identifiers import Canary

Patients: TypeAlias = "npt.NDArray[np.uint64]"
"""Of each document with text the hashes of its patient, 0 if it is held out, and of its text, uint64 (documents, 2)."""

Planted: TypeAlias = "Mapping[int, tuple[int, ...]]"
"""By the number of a document with text, in its part: the numbers of its canaries."""


def choose_documents(canaries: Sequence[Canary], parts: Sequence[Patients]) -> list[Planted]:
    """What is planted in each part.

    Raises:
        UserError: there are fewer training patients than the largest number of repeats.
    """
    patients, texts = np.concatenate([np.zeros((0, 2), np.uint64), *parts]).T
    first = np.zeros(len(texts), np.bool_)
    first[np.unique(texts, return_index=True)[1]] = True
    training = np.flatnonzero(first & (patients > 0))
    order = training[np.argsort(patients[training], kind="stable")]
    documents = np.split(order, np.flatnonzero(np.diff(patients[order])) + 1) if len(order) else []
    if (most := max(canary.repeats for canary in canaries)) > len(documents):
        raise UserError(
            f"privacy.canaries: its sources have {len(documents):,} training patients, and a canary with {most:,} "
            "repeats needs as many; lower repeats, or name sources with more patients"
        )
    chosen: dict[int, list[int]] = defaultdict(list)
    visits = 0
    for number, canary in enumerate(canaries):
        for _ in range(canary.repeats):
            turn, patient = divmod(visits, len(documents))
            chosen[int(documents[patient][turn % len(documents[patient])])].append(number)
            visits += 1
    ends = np.cumsum([len(part) for part in parts])
    planted: list[dict[int, tuple[int, ...]]] = [{} for _ in parts]
    for document in sorted(chosen):
        part = int(np.searchsorted(ends, document, side="right"))
        planted[part][document - int(ends[part]) + len(parts[part])] = tuple(chosen[document])
    return list(planted)


def plant(text: str, document_id: str, lines: Sequence[str]) -> str:
    """The text with each line inserted after one of its lines, as a hash decides."""
    for line in lines:
        present = text.split("\n")
        present.insert(1 + int(uniform_hash("canary", document_id, line) * len(present)), line)
        text = "\n".join(present)
    return text
