"""The reading pass that finds the training patients of a source, and keeps the result for other processes."""

import hashlib
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...storage.files import stage_file
from ..corpora.readers import AnySource
from ..division.parts import Part, read_part
from ..documents.document import is_held_out
from ..parallel import Count
from .planting import Patients

_REPORTED = 256  # documents


class PatientsTask(NamedTuple):
    """A part to read, and everything that decides which of its documents are held out.

    Attributes:
        done: the file with the result.
    """

    source: AnySource
    part: Part
    held_out: float
    seed: int
    done: Path


def find_patients(task: PatientsTask, count: Count) -> None:
    """Run a task unless it is done; `count` receives the number of documents."""
    if task.done.is_file():
        return
    found: list[tuple[int, int]] = []
    for document in chain.from_iterable(read_part(task.source, task.part)):
        if document.text.strip():
            held_out = is_held_out(document, task.source.split_by, task.held_out, task.seed)
            patient = 0 if held_out else _hash(f"canaries\x1f{task.seed}\x1f{document.meta[task.source.split_by]}")
            found.append((patient, _hash(document.text)))
            if len(found) % _REPORTED == 0:
                count(_REPORTED)
    task.done.parent.mkdir(parents=True, exist_ok=True)
    with stage_file(task.done) as staging, staging.open("wb") as file:
        np.save(file, np.array(found, np.uint64).reshape(-1, 2), allow_pickle=False)


def load_patients(task: PatientsTask) -> Patients:
    loaded: Patients = np.load(task.done, allow_pickle=False)
    return loaded


def _hash(text: str) -> int:
    """Above 0."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") | 1
