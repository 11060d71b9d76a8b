"""bf16 rounds the computation and not the weights."""

import pytest
import torch

from clinical_modernbert.evaluation.fine_tuning.classifier import logits_of, train_classifier
from clinical_modernbert.evaluation.fine_tuning.heads import add_head
from clinical_modernbert.evaluation.fine_tuning.precision import in_precision, precision_of
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol

from .separable import TWO, examples


@pytest.mark.parametrize("which", ["ours", "bert"])
def test_bf16_is_close_and_updates_stay_in_fp32(which: str, quick: Protocol, request: pytest.FixtureRequest) -> None:
    model: EvaluatedModel = request.getfixturevalue(which)
    data = examples(model, 16, seed=0)
    classifier = add_head(model, TWO).eval()
    exact, rounded = (
        logits_of(in_precision(classifier, precision), data, spans=False) for precision in ("fp32", "bf16")
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).abs().max() < 0.05 * exact.abs().max() + 0.02
    rounded.sum().backward()
    assert all(value.grad is None or value.grad.dtype == torch.float32 for value in classifier.parameters())
    small = quick.model_copy(update={"precision": "bf16", "lr": 1e-5, "epochs": 1})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = add_head(model, TWO)
    after, _ = train_classifier(model, data, TWO, small, seed=0)
    name = "classifier.weight" if which == "ours" else "transformer.classifier.weight"
    change = (after.get_parameter(name) - before.get_parameter(name)).abs()
    assert after.get_parameter(name).dtype == torch.float32
    assert 0 < change.max() < 1e-4  # less than bf16 could hold in most of them


def test_a_cpu_computes_in_fp32() -> None:
    if not torch.cuda.is_available():
        assert precision_of(Protocol()) == "fp32"
    assert precision_of(Protocol(precision="bf16")) == "bf16"
