"""The fine-tuning loop: results do not depend on grouping, seeds are reproducible, and a small encoder learns."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.progress import part_of
from clinical_modernbert.evaluation.fine_tuning.classifier import (
    Example,
    Logits,
    class_weights,
    predict,
    train_classifier,
)
from clinical_modernbert.evaluation.fine_tuning.head_config import HeadConfig
from clinical_modernbert.evaluation.models.embed import embed
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.pooling import group_by_tokens
from clinical_modernbert.evaluation.models.protocol import Protocol

from .separable import TWO, examples


def accuracy(predicted: Sequence[Logits], examples: Sequence[Example]) -> float:
    return sum(p.argmax(1).tolist() == e.labels.tolist() for p, e in zip(predicted, examples, strict=True)) / len(
        examples
    )


@pytest.mark.parametrize("which", ["ours", "bert"])
def test_a_separable_task_is_learned(which: str, request: pytest.FixtureRequest, quick: Protocol) -> None:
    model = request.getfixturevalue(which)
    test = examples(model, 100, seed=1)
    # The head of BERT reads the first token only, and its pooler is new.
    protocol = quick if model.unpadded else quick.model_copy(update={"epochs": 20})
    classifier, _ = train_classifier(model, examples(model, 120, seed=0), TWO, protocol, seed=0)
    assert accuracy(predict(classifier, test, 512), test) > 0.9


def test_training_prediction_and_embedding_show_their_progress(
    ours: EvaluatedModel, quick: Protocol, every_progress: pytest.LogCaptureFixture
) -> None:
    train = examples(ours, 24, seed=0)
    with part_of("result 1 of 3"):
        classifier, _ = train_classifier(ours, train, TWO, quick, seed=0)
    steps = quick.epochs * -(-len(train) // quick.batch)
    assert len(every_progress.messages) == steps
    assert every_progress.messages[-1].startswith(f"fine-tuning {steps}/{steps} steps  elapsed ")
    assert every_progress.messages[-1].endswith("result 1 of 3")
    predict(classifier, train, 64)
    assert every_progress.messages[-1].startswith("predicting 24/24 examples  elapsed ")
    embed(ours, ["a text", "another"], "mean", 64)
    assert every_progress.messages[-1].startswith("embedding 2/2 texts  elapsed ")


def test_random_labels_are_not_learned(ours: EvaluatedModel, quick: Protocol) -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (
        [Example(e.windows, torch.randint(2, (1,), generator=generator)) for e in examples(ours, count, seed=count)]
        for count in (40, 400)
    )
    classifier, _ = train_classifier(ours, train, TWO, quick, seed=0)
    assert abs(accuracy(predict(classifier, test, 512), test) - 0.5) < 0.1


def test_the_token_limit_does_not_change_the_result_of_training(ours: EvaluatedModel, quick: Protocol) -> None:
    train = examples(ours, 24, seed=0)
    settings = quick.model_copy(update={"dropout": 0.0, "epochs": 2})
    at_once, _ = train_classifier(ours, train, TWO, settings, seed=3)
    in_parts, _ = train_classifier(ours, train, TWO, settings.model_copy(update={"tokens": 1}), seed=3)
    for one, other in zip(at_once.parameters(), in_parts.parameters(), strict=True):
        assert (one - other).abs().max() < 1e-4


def test_predictions_do_not_depend_on_order_or_grouping(ours: EvaluatedModel, quick: Protocol) -> None:
    classifier, _ = train_classifier(ours, examples(ours, 60, seed=0), TWO, quick, seed=0)
    test = examples(ours, 40, seed=5)
    together = predict(classifier, test, 100_000)
    alone = predict(classifier, test[::-1], 1)[::-1]
    assert all(np.abs(one - other).max() < 1e-5 for one, other in zip(alone, together, strict=True))


def test_a_seed_is_reproducible_and_the_model_is_unchanged(ours: EvaluatedModel, quick: Protocol) -> None:
    before = {name: value.clone() for name, value in ours.encoder.state_dict().items()}
    state = torch.get_rng_state()
    train = examples(ours, 24, seed=0)
    first, again, other = (
        train_classifier(ours, train, TWO, quick, seed)[0].get_parameter("classifier.weight") for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in ours.encoder.state_dict().items())


@given(st.lists(st.sampled_from([-100, 0, 1, 2]), min_size=1, max_size=30).filter(lambda labels: max(labels) >= 0))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    head = HeadConfig(rows="tokens", labels=("a", "b", "c"))
    example = Example((torch.arange(3),), torch.tensor(labels))
    weights = class_weights(head, [example], Protocol(class_weights="balanced"))
    assert weights is not None
    known = np.array([label for label in labels if label >= 0])
    present = np.unique(known)
    expected = compute_class_weight("balanced", classes=present, y=known)
    assert np.allclose(weights[present], expected)
    assert weights[torch.from_numpy(known)].mean() == pytest.approx(1)
    assert class_weights(head, [example], Protocol()) is None


def test_weights_of_several_classes_balance_each() -> None:
    head = HeadConfig(rows="texts", labels=("a", "b", "c"), problem="several classes")
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    data = [Example((torch.arange(3),), row[None]) for row in labels]
    weights = class_weights(head, data, Protocol(class_weights="balanced"))
    assert weights is not None
    assert weights.tolist() == pytest.approx([1 / 3, 3, 1])


def test_a_rare_class_is_found_with_balanced_weights(ours: EvaluatedModel, quick: Protocol) -> None:
    train, test = examples(ours, 120, seed=0), examples(ours, 100, seed=1)
    rare = [e for e in train if e.labels == 0] + [e for e in train if e.labels == 1][:4]
    protocol = quick.model_copy(update={"epochs": 2, "lr": 1e-3})
    found = []
    for weights in ("none", "balanced"):
        trained, _ = train_classifier(ours, rare, TWO, protocol.model_copy(update={"class_weights": weights}), seed=0)
        found.append(sum(int(logits.argmax()) for logits in predict(trained, test, 512)))
    assert found[1] > found[0]


def test_divergence_is_an_error(ours: EvaluatedModel, quick: Protocol) -> None:
    diverging = quick.model_copy(update={"lr": 1e30, "warmup": 0.0})
    with pytest.raises(UserError, match=r"diverged: .*lower protocol\.lr \(1e\+30\)"):
        train_classifier(ours, examples(ours, 40, seed=0), TWO, diverging, seed=0)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200), st.booleans())
def test_groups_have_all_items_in_order_within_the_limit(lengths: list[int], tokens: int, padded: bool) -> None:
    groups = list(group_by_tokens(lengths, lambda length: length, tokens, padded=padded))

    def computed(group: list[int]) -> int:
        return max(group) * len(group) if padded else sum(group)

    assert [length for group in groups for length in group] == lengths
    assert all(len(group) == 1 or computed(group) <= tokens for group in groups)
    for group, following in pairwise(groups):
        assert computed([*group, following[0]]) > tokens


def test_the_defaults_are_the_published_protocol() -> None:
    protocol = Protocol()
    assert (protocol.lr, protocol.weight_decay, protocol.epochs, protocol.batch) == (2e-5, 0.01, 3, 16)
