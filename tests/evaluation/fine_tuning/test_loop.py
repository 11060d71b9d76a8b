"""The loop: an interruption changes no bit, and a development score chooses epochs."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.fine_tuning import state as state_module
from clinical_modernbert.evaluation.fine_tuning.choice import Trial
from clinical_modernbert.evaluation.fine_tuning.classifier import train_classifier
from clinical_modernbert.evaluation.fine_tuning.loop import fine_tune, seeded
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol

from .separable import TWO, examples

FOUR_EPOCHS = Protocol(lr=0.1, epochs=4, batch=2, warmup=0.25)
STEPS = 12


def train(
    protocol: Protocol = FOUR_EPOCHS,
    scores: Sequence[float] = (),
    state: Path | None = None,
    stop: int | None = None,
    seen: Callable[[nn.Module], object] = lambda model: None,
) -> tuple[list[Tensor], Trial]:
    """Train a small network with dropout, and return its parameters.

    Args:
        scores: of the epochs in development, in turn; none: there is no development.
        stop: the step at which it is interrupted, counted from this start.
        seen: is called with the model at the end of each epoch.
    """
    with seeded(1):
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        data = torch.randn(6, 3)
        steps, remaining = count(), iter(scores)

        def losses(batch: Sequence[int]) -> Iterator[Tensor]:
            if next(steps) == stop:
                raise InterruptedError
            yield (model(data[list(batch)]) - 1).square().mean()

        def develop() -> float:
            assert not model.training
            seen(model)
            return next(remaining)

        trial = fine_tune(model, range(6), losses, protocol, 0, develop=develop if scores else None, state=state)
    assert not model.training
    return list(model.parameters()), trial


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is written after every step."""
    monkeypatch.setattr(state_module, "SECONDS", 0.0)
    monkeypatch.setattr(state_module, "MOST_OF_THE_TIME", float("inf"))


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_interruption_at_any_step_changes_no_bit(tmp_path: Path, every_step: None) -> None:
    reference, _ = train()
    for stop in range(STEPS):
        path = tmp_path / f"{stop}.safetensors"
        with pytest.raises(InterruptedError):
            train(state=path, stop=stop)
        with pytest.raises(InterruptedError):  # and again, further on
            train(state=path, stop=min(2, STEPS - stop - 1))
        assert equal(train(state=path)[0], reference), stop


def test_the_best_epoch_survives_an_interruption(tmp_path: Path, every_step: None) -> None:
    best = FOUR_EPOCHS.model_copy(update={"choose": "best"})
    scores = [0.2, 0.9, 0.9, 0.1]
    at_epochs: list[list[Tensor]] = []
    reference, trial = train(
        best, scores, seen=lambda m: at_epochs.append([p.detach().clone() for p in m.parameters()])
    )
    assert trial == Trial(0.1, tuple(scores), 2)
    assert equal(reference, at_epochs[1])
    path = tmp_path / "state.safetensors"
    with pytest.raises(InterruptedError):
        train(best, scores, path, stop=10)
    again, trial_again = train(best, scores[3:], path)
    assert equal(again, reference)
    assert trial_again == trial


def test_training_stops_when_it_is_no_longer_better(tmp_path: Path) -> None:
    last, trial = train(FOUR_EPOCHS.model_copy(update={"patience": 1}), [0.5, 0.4, 1.0, 1.0])
    assert trial == Trial(0.1, (0.5, 0.4), 2)
    assert not equal(last, train()[0])
    patient = FOUR_EPOCHS.model_copy(update={"patience": 2})
    assert train(patient, [0.5, 0.4, 0.6, 0.1])[1].epoch == 4


def test_development_changes_nothing_but_the_choice() -> None:
    assert equal(train()[0], train(scores=[0.1, 0.2, 0.3, 0.4])[0])


def test_a_state_is_written_only_when_it_is_due(tmp_path: Path) -> None:
    train(state=tmp_path / "state.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", bytes(8), bytes(100)])
def test_a_damaged_state_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.safetensors: not the state of this training .*remove the file"):
        train(state=path)


def test_a_state_that_is_cut_or_of_another_model_is_an_error(tmp_path: Path, every_step: None) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(InterruptedError):
        train(state=path, stop=5)
    complete = path.read_bytes()
    for content in (complete[:-10], complete.replace(b"weights.0.", b"weights.5."), complete.replace(b"step", b"stop")):
        assert content != complete
        path.write_bytes(content)
        with pytest.raises(UserError, match="not the state of this training"):
            train(state=path)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ours", "bert"])
def test_an_encoder_continues_bit_equal(
    which: str, quick: Protocol, tmp_path: Path, request: pytest.FixtureRequest, every_step: None
) -> None:
    model: EvaluatedModel = request.getfixturevalue(which)
    data = examples(model, 24, seed=0)
    path = tmp_path / "state.safetensors"
    saved: list[bytes] = []

    def remember(classifier: nn.Module) -> float:
        saved.append(path.read_bytes() if path.is_file() else b"")
        return 0.0

    reference, _ = train_classifier(model, data, TWO, quick, 0, develop=remember, state=path)
    path.write_bytes(saved[2])  # as if it had been killed there
    again, _ = train_classifier(model, data, TWO, quick, 0, develop=lambda classifier: 0.0, state=path)
    assert equal(list(again.parameters()), list(reference.parameters()))
