"""Gaps filled token by token, against oracles that know some notes, and against brute force."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from attacked import scorer_of

from clinical_modernbert.evaluation.privacy.extraction import (
    GAP,
    LEAST,
    Extraction,
    attack_extraction,
    gap_of,
    in_other_text,
)
from clinical_modernbert.evaluation.privacy.passages import Passage, Sample, read_held_out
from clinical_modernbert.evaluation.privacy.predictions import Answer, Question, Scorer

from .conftest import Attacked

MASK = 4


def sample(count: int, shared: bool = False) -> Sample:
    """Passages of random tokens, the first half of them members; with `shared`, all have the same gap."""
    random = np.random.default_rng(0)
    passages = []
    for number in range(2 * count):
        tokens = random.integers(5, 1000, 60)
        tokens[0], tokens[-1] = 1, 2
        tokens[30 : 30 + GAP] = np.arange(100, 100 + GAP) if shared else tokens[30 : 30 + GAP]
        passages.append(Passage("notes", number, number, number < count, tokens, np.ones(60, np.bool_)))
    return Sample(passages, True, {})


def held_out_of(of: Sample) -> Iterator[tuple[int, np.ndarray]]:
    return ((passage.patient, passage.tokens) for passage in of.passages if not passage.is_member)


def oracle(known: Callable[[Question], int]) -> Scorer:
    """It writes so many tokens of a gap exactly."""

    def answers(questions: Iterable[Question]) -> Iterator[Answer]:
        for question in questions:
            [position] = question.positions
            written = position - len(question.tokens) // 2
            assert question.tokens[position] == MASK
            assert (question.tokens == MASK).sum() == GAP - written  # what is written is shown, the rest hidden
            right = written < known(question)
            yield Answer(np.zeros(1), np.zeros(1, np.int64), question.targets if right else question.targets + 1)

    return answers


NOTHING = oracle(lambda question: 0)


def test_only_exact_tokens_from_the_first_on_count() -> None:
    of = sample(30)
    written = {passage.tokens[:30].tobytes(): number % (GAP + 1) for number, passage in enumerate(of.passages)}
    result = attack_extraction(
        oracle(lambda question: written[question.tokens[:30].tobytes()]), NOTHING, of, held_out_of(of), MASK, 128, 0
    )
    assert result
    for side, at in ((result.members, range(30)), (result.others, range(30, 60))):
        enough = [number for number in at if number % (GAP + 1) >= LEAST]
        assert (side.passages, side.recovered, side.extracted) == (30, len(enough), len(enough))
        assert side.longest == max(number % (GAP + 1) for number in at)


def test_what_others_have_or_the_untrained_model_writes_is_not_extracted() -> None:
    everything = oracle(lambda question: GAP)
    apart, same = sample(10), sample(10, shared=True)
    for of, untrained, extracted in ((apart, NOTHING, 10), (apart, everything, 0), (same, NOTHING, 0)):
        result = attack_extraction(everything, untrained, of, held_out_of(of), MASK, 128, 0)
        assert result
        assert result.members.recovered == result.others.recovered == 10
        assert result.members.extracted == result.others.extracted == extracted
        assert Extraction.model_validate_json(result.model_dump_json()) == result


def test_runs_in_other_texts_are_those_that_brute_force_finds() -> None:
    random = np.random.default_rng(1)
    texts = [(int(random.integers(4)), random.integers(5, 8, int(random.integers(1, 200)))) for _ in range(12)]
    runs = [random.integers(5, 8, LEAST) for _ in range(40)]
    runs += [tokens[:LEAST] for _, tokens in texts if len(tokens) >= LEAST]
    patients = [int(random.integers(4)) for _ in runs]
    expected = [
        any(owner != patient and run.tolist() == tokens[at : at + LEAST].tolist()
            for owner, tokens in texts for at in range(len(tokens)))
        for run, patient in zip(runs, patients, strict=True)
    ]  # fmt: skip
    assert in_other_text(runs, patients, texts).tolist() == expected
    assert 0 < sum(expected) < len(runs)


@pytest.mark.slow
def test_a_model_that_knows_its_notes_by_heart_gives_some_away(attacked: Attacked) -> None:
    results = [
        attack_extraction(
            scorer_of(attacked.trained, attacked.data, tokens), scorer_of(attacked.untrained, attacked.data), attacked.sample,
            read_held_out(str(attacked.data), ["notes"], attacked.sample, 0),
            attacked.manifest.tokenizer.special_ids.mask, 128, 0,
        )
        for tokens in (1, 8192)
    ]  # fmt: skip
    assert results[0]
    assert results[0] == results[1]
    assert results[0].members.extracted > 2
    assert results[0].others.extracted == 0
    assert len(gap_of(attacked.sample.passages[0])) == GAP
