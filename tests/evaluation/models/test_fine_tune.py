"""The loop: what is computed at once changes nothing, a seed is a result, and a small encoder learns."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.classifier import Example, predict, train_classifier
from clinical_modernbert.evaluation.models.fine_tune import Protocol, by_tokens
from clinical_modernbert.evaluation.models.model import Subject

from ..conftest import WORDS


def examples(subject: Subject, count: int, seed: int) -> list[Example]:
    """Texts of random words; the class is which of two words is among them."""
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        words = draw.choices(WORDS[2:], k=draw.randint(3, 9))
        label = draw.randint(0, 1)
        words[draw.randrange(len(words))] = WORDS[label]
        ids = subject.tokenizer(" " + " ".join(words))["input_ids"]
        out.append(Example(torch.tensor(ids), torch.tensor([label])))
    return out


def accuracy(predicted: Sequence[Sequence[int]], held: Sequence[Example]) -> float:
    return sum(p == e.labels.tolist() for p, e in zip(predicted, held, strict=True)) / len(held)


@pytest.mark.parametrize("which", ["ours", "bert"])
def test_a_separable_task_is_learned(which: str, request: pytest.FixtureRequest, quick: Protocol) -> None:
    subject = request.getfixturevalue(which)
    held = examples(subject, 100, seed=1)
    classifier = train_classifier(subject, examples(subject, 120, seed=0), 2, quick, seed=0)
    assert accuracy(predict(classifier, held, 512), held) > 0.9


def test_labels_of_chance_are_not_learned(ours: Subject, quick: Protocol) -> None:
    draw = torch.Generator().manual_seed(0)
    train, held = (
        [Example(e.ids, torch.randint(2, (1,), generator=draw)) for e in examples(ours, count, seed=count)]
        for count in (40, 400)
    )
    classifier = train_classifier(ours, train, 2, quick, seed=0)
    assert abs(accuracy(predict(classifier, held, 512), held) - 0.5) < 0.1


def test_what_is_computed_at_once_does_not_change_what_is_learned(ours: Subject, quick: Protocol) -> None:
    train = examples(ours, 24, seed=0)
    settings = quick.model_copy(update={"dropout": 0.0, "epochs": 2})
    whole = train_classifier(ours, train, 2, settings, seed=3)
    parts = train_classifier(ours, train, 2, settings.model_copy(update={"tokens": 1}), seed=3)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert (one - other).abs().max() < 1e-4


def test_predictions_do_not_depend_on_order_or_grouping(ours: Subject, quick: Protocol) -> None:
    classifier = train_classifier(ours, examples(ours, 60, seed=0), 2, quick, seed=0)
    held = examples(ours, 40, seed=5)
    together = predict(classifier, held, 100_000)
    assert predict(classifier, held[::-1], 1)[::-1] == together


def test_a_seed_is_a_result_and_the_subject_stays(ours: Subject, quick: Protocol) -> None:
    before = {name: value.clone() for name, value in ours.encoder.state_dict().items()}
    state = torch.get_rng_state()
    train = examples(ours, 24, seed=0)
    first, again, other = (train_classifier(ours, train, 2, quick, seed).linear.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in ours.encoder.state_dict().items())


def test_a_rate_that_diverges_is_told(ours: Subject, quick: Protocol) -> None:
    wild = quick.model_copy(update={"lr": 1e30, "warmup": 0.0})
    with pytest.raises(UserError, match=r"diverged: .*lower protocol\.lr \(1e\+30\)"):
        train_classifier(ours, examples(ours, 40, seed=0), 2, wild, seed=0)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_groups_hold_all_items_in_order_and_fit(lengths: list[int], tokens: int) -> None:
    groups = list(by_tokens(lengths, lambda length: length, tokens))
    assert [length for group in groups for length in group] == lengths
    assert all(len(group) == 1 or max(group) * len(group) <= tokens for group in groups)
    for group, after in pairwise(groups):
        assert max([*group, after[0]]) * (len(group) + 1) > tokens


def test_the_defaults_are_the_published_protocol() -> None:
    protocol = Protocol()
    assert (protocol.lr, protocol.weight_decay, protocol.epochs, protocol.batch) == (2e-5, 0.01, 3, 16)
