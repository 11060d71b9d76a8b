"""Gaps filled token by token: by scorers that know some of them, by a trained model, and against brute force."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from attacked import one_by_one, oracle, scorer_of

from clinical_modernbert.evaluation.privacy.extraction import (
    GAP,
    attack_extraction,
    gap_of,
    in_other_text,
    in_passage,
)
from clinical_modernbert.evaluation.privacy.passages import Passage, Sample, read_held_out
from clinical_modernbert.evaluation.privacy.report import ExtractionSection
from clinical_modernbert.evaluation.privacy.runs import LEAST
from clinical_modernbert.evaluation.privacy.scorer import Scorer

from .conftest import Attacked

MASK, LENGTH = 4, 60
HALF = LENGTH // 2


def sample(count: int, same_gap: bool = False) -> Sample:
    """Passages of random tokens, the first half of them members."""
    random = np.random.default_rng(0)
    passages = []
    for number in range(2 * count):
        tokens = random.integers(5, 1000, LENGTH)
        tokens[0], tokens[-1] = 1, 2
        if same_gap:
            tokens[HALF : HALF + GAP] = np.arange(100, 100 + GAP)
        passages.append(Passage("notes", number, number, number < count, tokens, np.ones(LENGTH, np.bool_)))
    return Sample(passages, True, {})


def held_out_of(of: Sample) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    return ((passage.patient, passage.tokens) for passage in of.passages if not passage.is_member)


def writer(of: Sample, exact: list[int]) -> Scorer:
    """It writes so many tokens of each passage's gap exactly, and checks what it is shown."""
    passages = {passage.tokens[:HALF].tobytes(): passage for passage in of.passages}

    def write(sequence: torch.Tensor, position: int) -> int:
        passage = passages[sequence[:HALF].numpy().tobytes()]
        hidden = np.flatnonzero(sequence.numpy() != passage.tokens)
        assert hidden.tolist() == list(range(position, HALF + GAP))
        return int(passage.tokens[position]) if position - HALF < exact[passage.number] else 3

    no_tokenizer = SimpleNamespace()
    return oracle(Scorer("writer", lambda *_: torch.empty(0), 1000, LENGTH, "", "", no_tokenizer), write)  # type: ignore[arg-type]


def test_only_exact_tokens_from_the_first_on_count() -> None:
    of = sample(30)
    exact = [number % (GAP + 1) for number in range(60)]
    result = attack_extraction(writer(of, exact), writer(of, [0] * 60), of, held_out_of(of), MASK, 128, 0)
    assert result
    for side, of_side in ((result.members, exact[:30]), (result.others, exact[30:])):
        enough = sum(count >= LEAST for count in of_side)
        assert (side.passages, side.recovered, side.extracted, side.longest) == (30, enough, enough, max(of_side))


def test_what_others_have_or_the_untrained_model_writes_is_not_extracted() -> None:
    for of, untrained, extracted in ((sample(10), 0, 10), (sample(10), GAP, 0), (sample(10, same_gap=True), 0, 0)):
        everything, guesses = (writer(of, [exact] * 20) for exact in (GAP, untrained))
        result = attack_extraction(everything, guesses, of, held_out_of(of), MASK, 128, 0)
        assert result
        assert result.members.recovered == result.others.recovered == 10
        assert result.members.extracted == result.others.extracted == extracted
        assert ExtractionSection.model_validate_json(result.model_dump_json()) == result
    assert attack_extraction(everything, guesses, Sample(of.passages[:5], True, {}), iter([]), MASK, 128, 0) is None


def test_gaps_in_other_texts_and_in_the_passage_are_those_that_brute_force_finds() -> None:
    random = np.random.default_rng(1)
    texts = [(int(random.integers(4)), random.integers(5, 7, int(random.integers(1, 60)))) for _ in range(8)]
    passages = [
        Passage(
            "notes", number, int(random.integers(4)), True, random.integers(5, 7, LENGTH), np.ones(LENGTH, np.bool_)
        )
        for number in range(60)
    ]

    def has(tokens: npt.NDArray[np.int64], passage: Passage) -> bool:
        gap = gap_of(passage)[:LEAST].tolist()
        return any(gap == tokens[at : at + LEAST].tolist() for at in range(len(tokens)))

    elsewhere = [any(has(part, one) for part in (one.tokens[:HALF], one.tokens[HALF + GAP :])) for one in passages]
    others = [any(has(tokens, one) for owner, tokens in texts if owner != one.patient) for one in passages]
    assert in_passage(passages).tolist() == elsewhere
    assert in_other_text(passages, texts).tolist() == others
    assert 0 < sum(elsewhere) < 60
    assert 0 < sum(others) < 60


@pytest.mark.slow
def test_a_model_that_knows_its_notes_by_heart_gives_some_away(attacked: Attacked) -> None:
    model, untrained = (scorer_of(model, attacked.data) for model in (attacked.trained, attacked.untrained))
    mask = attacked.manifest.tokenizer.special_ids.mask
    results = [
        attack_extraction(
            scorer, untrained, attacked.sample, read_held_out(str(attacked.data), ["notes"], attacked.sample, 0), mask,
            128, 0,
        )
        for scorer in (model, one_by_one(model))
    ]  # fmt: skip
    assert results[0]
    assert results[0] == results[1]
    assert results[0].members.extracted > 2
    assert results[0].others.extracted == 0
