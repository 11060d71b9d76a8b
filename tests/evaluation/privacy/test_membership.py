"""Attacks on a model that knows its training notes by heart, and on one that has seen nothing."""

from collections.abc import Callable

import pytest
from attacked import one_by_one, scorer_of

from clinical_modernbert.evaluation.privacy.membership import attack_membership
from clinical_modernbert.evaluation.privacy.report import Attack, MembershipSection
from clinical_modernbert.evaluation.privacy.scorer import Scorer
from clinical_modernbert.evaluation.tasks.masked_words import data_vocabulary

from .conftest import Attacked


def run(
    attacked: Attacked, change: Callable[[Scorer], Scorer] = lambda scorer: scorer, seed: int = 0
) -> MembershipSection:
    scorers = [change(scorer_of(model, attacked.data)) for model in (attacked.trained, attacked.untrained)]
    vocabulary = data_vocabulary(attacked.manifest)
    return attack_membership(scorers[0], {"untrained": scorers[1]}, attacked.sample, vocabulary, 4, 128, seed)


def named(result: MembershipSection) -> dict[tuple[str, str], Attack]:
    return {(attack.score, attack.model): attack for attack in result.attacks}


@pytest.mark.slow
def test_training_notes_are_recognized_and_an_untrained_model_recognizes_nothing(attacked: Attacked) -> None:
    result = run(attacked)
    attacks = named(result)
    assert list(attacks) == [
        ("loss", "trained"), ("reference", "trained"), ("loss", "untrained"), ("length", "untrained")
    ]  # fmt: skip
    for score in ("loss", "reference"):
        attack = attacks[score, "trained"]
        assert attack.patients is not None
        assert attack.patients.auc.low > 0.8
        assert attack.documents.auc.low > 0.8
        assert attack.documents.members == 2 * attack.patients.members
        assert attack.sources["notes"].auc.value == attack.documents.auc.value  # it is the only source
    for score in ("loss", "length"):
        attack = attacks[score, "untrained"]
        assert attack.patients is not None
        assert attack.patients.auc.low <= 0.5 <= attack.patients.auc.high
        assert attack.documents.auc.low <= 0.5 <= attack.documents.auc.high
    assert MembershipSection.model_validate_json(result.model_dump_json()) == result
    assert run(attacked) == result
    assert run(attacked, seed=1) != result


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_size_of_batches(attacked: Attacked) -> None:
    assert run(attacked, one_by_one) == run(attacked)
