"""The sample: its sides differ in training only, and it is a pure function of data and arguments."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.privacy import passages
from clinical_modernbert.evaluation.privacy.passages import Sample, read_held_out, sample_passages
from clinical_modernbert.evaluation.privacy.separation import separate
from clinical_modernbert.streaming_data.shards.manifest import read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.shards.pack import Pack


def sample_of(data: Path, patients: int = 100, longest: int = 40, seed: int = 0, **chosen: object) -> Sample:
    return sample_passages(str(data), read_manifest(str(data)), ["notes"], patients, longest, seed, **chosen)  # type: ignore[arg-type]


def segments(data: Path, split: str) -> dict[bytes, str]:
    """The document of each segment, by its tokens without [CLS] and [SEP]."""
    reader = PackReader(f"{data}/notes/{split}")
    packs: list[Pack] = [reader[number] for number in range(len(reader))]
    return {
        part[1:-1].astype(np.int64).tobytes(): name
        for pack in packs
        for part, name in zip(np.split(pack.tokens, np.cumsum(pack.lengths)[:-1]), pack.doc_ids, strict=True)
    }


def test_passages_are_windows_of_their_split_and_matched(notes: Path) -> None:
    sample = sample_of(notes)
    of_split = {True: segments(notes, "train"), False: segments(notes, "held_out")}
    ids = read_manifest(str(notes)).tokenizer.special_ids
    sides: dict[bool, Counter[int]] = defaultdict(Counter)
    for number, passage in enumerate(sample.passages):
        assert passage.number == number
        assert len(passage.tokens) == len(passage.word_starts) == 40
        assert (passage.tokens[0], passage.tokens[-1]) == (ids.cls, ids.sep)
        assert passage.word_starts[1]
        inside = passage.tokens[1:-1].tobytes()
        owners = [name for content, name in of_split[passage.is_member].items() if inside in content]
        assert owners, f"passage {number} is in no segment of its split"
        assert passage.patient == sample.numbers["notes", owners[0]]
        sides[passage.is_member][passage.patient] += 1
    assert sample.patients_known
    assert len(sides[True]) == len(sides[False]) > 5
    assert set(sides[True].values()) == set(sides[False].values()) == {2}
    assert not sides[True].keys() & sides[False].keys()


def test_a_sample_depends_on_the_seed_alone_and_is_as_large_as_asked(notes: Path) -> None:
    def content(sample: Sample) -> list[bytes]:
        return [passage.tokens.tobytes() for passage in sample.passages]

    assert content(sample_of(notes)) == content(sample_of(notes))
    assert content(sample_of(notes)) != content(sample_of(notes, seed=1))
    few = sample_of(notes, patients=3)
    assert Counter(one.is_member for one in few.passages) == {True: 6, False: 6}


def test_only_packs_that_the_model_has_seen_have_members(notes: Path) -> None:
    seen = segments(notes, "train")
    first = PackReader(f"{notes}/notes/train")[0]
    sample = sample_of(notes, seen={"notes": {0}})
    members = [passage for passage in sample.passages if passage.is_member]
    assert 0 < len(members) <= len(first.doc_ids) < len(seen)
    assert all(passage.tokens[1:-1].tobytes() in first.tokens.astype(np.int64).tobytes() for passage in members)
    with pytest.raises(UserError, match=r"0 training and .* held-out documents of notes to compare"):
        sample_of(notes, seen={})


def test_matching_removes_a_difference_of_lengths(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training documents of any length, held-out ones short: among all of them the length alone gives them away."""
    random = np.random.default_rng(0)
    candidates, documents = {}, {}
    for patient in range(500):
        is_member = patient < 400
        length = int(random.integers(20, 500)) if is_member else int(random.integers(20, 60))
        candidates["notes", str(patient)] = passages._Candidate(np.arange(length), np.ones(length, bool), is_member)
        documents[patient] = [("notes", str(patient))]

    def auc(chosen: list[int]) -> float:
        lengths = np.array([len(candidates["notes", str(patient)].tokens) for patient in chosen], np.float64)
        numbers = np.array(chosen)
        return separate(lengths, numbers < 400, numbers, 0).auc.value

    assert auc(list(documents)) > 0.9
    matched = passages._match(documents, candidates, ["notes"], 30, 0)
    assert len(matched) == len(set(matched)) == 60
    assert 0.4 < auc(matched) < 0.6


def test_packs_are_sampled_in_runs(notes: Path) -> None:
    assert passages._pack_sample(100, "notes", 0) == list(range(100))
    many = passages._pack_sample(1_000_000, "notes", 0)
    assert len(many) == len(set(many)) == passages.PACKS
    assert all(many[at] % 64 == at % 64 for at in range(len(many)))
    assert many != passages._pack_sample(1_000_000, "notes", 1)


def test_held_out_text_has_the_numbers_of_the_sample(notes: Path) -> None:
    sample = sample_of(notes)
    texts = list(read_held_out(str(notes), ["notes"], sample, 0))
    assert len(texts) == len(segments(notes, "held_out"))
    held_out = {passage.patient for passage in sample.passages if not passage.is_member}
    assert held_out <= {patient for patient, _ in texts}
    assert not {passage.patient for passage in sample.passages if passage.is_member} & {patient for patient, _ in texts}
