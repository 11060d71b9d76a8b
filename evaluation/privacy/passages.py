"""The sample that the attacks share: passages of training documents, and of held-out ones that are like them.

Trained and held-out text must differ in nothing but training, or an attack measures the difference. So a patient of the
smaller side is matched with the patient of the other side whose numbers of documents and tokens in each source are
nearest, and every attack is also made on the untrained model, which has seen neither side.

At most `PACKS` packs of each split are read, in runs of neighbors, because neighbors hold the documents of a patient.
A passage is one window of a document, as training saw it but for the cut: [CLS], tokens, [SEP].
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...streaming_data.loader.counter_rng import permutation, random_bits
from ...streaming_data.shards.manifest import DataManifest
from ...streaming_data.shards.mds import PackReader
from .patients import Key, number_patients

PACKS = 4_096
_RUN = 64
_DOCUMENTS = 8
"""Of a patient and source, at most: of more, a sample."""
SHORTEST = 16
"""Tokens of a passage, at least."""
Integers = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.unsignedinteger[Any]]


class Passage(NamedTuple):
    """A window of a document.

    Attributes:
        source: of the document.
        number: of the passage in the sample; the seed of its masks.
        patient: a number; the document's own if patients are not known.
        is_member: whether its document is in the training split.
        tokens: int64 (n,), [CLS] first and [SEP] last.
        word_starts: bool (n,).
    """

    source: str
    number: int
    patient: int
    is_member: bool
    tokens: Integers
    word_starts: npt.NDArray[np.bool_]


class Sample(NamedTuple):
    """Matched passages, members first.

    Attributes:
        patients_known: False if each document counts as a patient.
        numbers: the patient of every document that was read.
    """

    passages: list[Passage]
    patients_known: bool
    numbers: dict[Key, int]


class _Candidate(NamedTuple):
    tokens: Integers
    word_starts: npt.NDArray[np.bool_]
    is_member: bool


def sample_passages(
    address: str,
    manifest: DataManifest,
    sources: Sequence[str],
    patients: int,
    longest: int,
    seed: int,
    seen: Mapping[str, Collection[int]] | None = None,
    stays: Callable[[Tokens], npt.NDArray[np.bool_]] | None = None,
) -> Sample:
    """Passages of up to so many patients on each side, a pure function of the data and the arguments.

    Args:
        longest: tokens of a passage, with [CLS] and [SEP].
        seen: the training packs of each source that the model was trained on; None: all.
        stays: which tokens of a segment are compared, bool (n,); None: all. See `planted.py`.
    Raises:
        UserError: one side of every source is empty.
    """
    candidates: dict[Key, _Candidate] = {}
    for source in sources:
        splits = manifest.sources[source].splits
        for split, is_member in (("train", True), ("held_out", False)):
            if split in splits and splits[split].packs:
                allowed = seen.get(source, ()) if seen is not None and is_member else None
                for key, candidate in _read(address, source, split, longest, seed, allowed, stays):
                    candidates.setdefault(key, candidate)
    numbered = number_patients(manifest, {key: not one.is_member for key, one in candidates.items()})
    documents = _documents_of_patients(numbered.numbers, candidates, seed)
    chosen = _match(documents, candidates, sources, patients, seed)
    if not chosen:
        counts = [sum(one.is_member == side for one in candidates.values()) for side in (True, False)]
        raise UserError(
            f"{address}: {counts[0]:,} training and {counts[1]:,} held-out documents of {', '.join(sources)} to "
            "compare; both are needed: prepare the data with a larger held_out, and train the model on it"
        )
    keys = [(key, patient) for patient in chosen for key in documents[patient]]
    passages = [
        Passage(key[0], number, patient, candidates[key].is_member, candidates[key].tokens, candidates[key].word_starts)
        for number, (key, patient) in enumerate(keys)
    ]
    return Sample(passages, numbered.known, numbered.numbers)


def read_held_out(address: str, sources: Sequence[str], sample: Sample, seed: int) -> Iterator[tuple[int, Integers]]:
    """The patient and the tokens of each held-out segment of the packs that were read for a sample."""
    for source in sources:
        for name, tokens, _ in _segments(address, source, "held_out", seed, None):
            if (source, name) in sample.numbers:
                yield sample.numbers[source, name], tokens.astype(np.int64)


def _read(
    address: str,
    source: str,
    split: str,
    longest: int,
    seed: int,
    allowed: Collection[int] | None,
    stays: Callable[[Tokens], npt.NDArray[np.bool_]] | None,
) -> Iterator[tuple[Key, _Candidate]]:
    for name, tokens, starts in _segments(address, source, split, seed, allowed):
        if stays is not None:
            kept = stays(tokens)
            tokens, starts = tokens[kept], starts[kept]
        if len(tokens) >= SHORTEST:
            yield (source, name), _Candidate(*_window(tokens, starts, longest, seed, source, name), split == "train")


def _segments(
    address: str, source: str, split: str, seed: int, allowed: Collection[int] | None
) -> Iterator[tuple[str, Tokens, npt.NDArray[np.bool_]]]:
    """The document, the tokens and the word starts of each segment of a sample of packs."""
    reader = PackReader(f"{address}/{source}/{split}")
    numbers = _pack_sample(len(reader), source, seed)
    with Progress(f"reading {source} {split}", len(numbers), "packs") as progress:
        for number in numbers:
            if allowed is None or number in allowed:
                pack = reader[number]
                ends = np.cumsum(pack.lengths)[:-1]
                yield from zip(pack.doc_ids, np.split(pack.tokens, ends), np.split(pack.word_starts, ends), strict=True)
            progress.advance()


def _pack_sample(packs: int, source: str, seed: int) -> list[int]:
    """The numbers of at most `PACKS` packs, in runs."""
    runs = -(-packs // _RUN)
    chosen = sorted(permutation(runs, "privacy packs", seed, source)[: PACKS // _RUN].tolist())
    return [number for run in chosen for number in range(run * _RUN, min((run + 1) * _RUN, packs))]


def _window(
    tokens: Tokens, starts: npt.NDArray[np.bool_], longest: int, seed: int, source: str, name: str
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """At most `longest` tokens of a segment, from a word on, at a place that depends on the seed and the document."""
    room = len(tokens) - longest
    first = 0
    if room > 0:
        words = np.flatnonzero(starts[1 : room + 1])
        if len(words):
            first = int(words[int(random_bits(1, "privacy window", seed, source, name)[0] % np.uint64(len(words)))])
    chosen = np.arange(first + 1, min(first + longest, len(tokens)) - 1)
    ends = [0, *chosen.tolist(), len(tokens) - 1]
    return tokens[ends].astype(np.int64), starts[ends].copy()


def _documents_of_patients(
    numbers: Mapping[Key, int], candidates: Mapping[Key, _Candidate], seed: int
) -> dict[int, list[Key]]:
    """The documents of each patient, of each source at most `_DOCUMENTS`, in an order that depends on the seed."""
    documents: dict[int, list[Key]] = defaultdict(list)
    counts: dict[tuple[int, str], int] = defaultdict(int)
    keys = list(candidates)
    for at in permutation(len(keys), "privacy documents", seed).tolist():
        patient, source = numbers[keys[at]], keys[at][0]
        counts[patient, source] += 1
        if counts[patient, source] <= _DOCUMENTS:
            documents[patient].append(keys[at])
    return documents


def _match(
    documents: Mapping[int, Sequence[Key]],
    candidates: Mapping[Key, _Candidate],
    sources: Sequence[str],
    most: int,
    seed: int,
) -> list[int]:
    """Patients of both sides, members first: each of the smaller side with the nearest of the other, used once."""
    sides: list[list[int]] = [[], []]
    for patient, keys in documents.items():
        sides[not candidates[keys[0]].is_member].append(patient)
    small, large = sorted(sides, key=len)
    features = {patient: _features(keys, candidates, sources) for patient, keys in documents.items()}
    small = small[:most]
    if not small:
        return []
    others = np.stack([features[patient] for patient in large])
    free = np.ones(len(large), np.bool_)
    matched: list[int] = []
    for patient in small:
        distances = np.abs(others - features[patient]).sum(axis=1)
        nearest = int(np.argmin(np.where(free, distances, np.inf)))
        free[nearest] = False
        matched.append(large[nearest])
    return sorted([*small, *matched], key=lambda patient: not candidates[documents[patient][0]].is_member)


def _features(
    keys: Sequence[Key], candidates: Mapping[Key, _Candidate], sources: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Logarithms of the documents and tokens of a patient in each source."""
    counts = np.zeros((len(sources), 2))
    for key in keys:
        counts[sources.index(key[0])] += [1, len(candidates[key].tokens)]
    return np.log1p(counts).reshape(-1)
