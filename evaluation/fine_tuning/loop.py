"""Fine-tuning under the published protocol of clinical encoders: AdamW, linear warm-up and decay."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...configs.errors import UserError
from ...configs.progress import Progress
from ..models.protocol import Protocol
from .choice import Trial, best_epoch, is_over
from .parameter_groups import parameter_groups
from .state import Position, TrainingState

E = TypeVar("E")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators inside the context, and restore their state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def fine_tune(
    model: nn.Module,
    examples: Sequence[E],
    losses: Callable[[Sequence[E]], Iterable[Tensor]],
    protocol: Protocol,
    seed: int,
    *,
    develop: Callable[[], float] | None = None,
    state: Path | None = None,
) -> Trial:
    """Train all parameters of `model` that require a gradient, and leave it in evaluation mode.

    Args:
        losses: yields parts that add up to the loss of one batch. The graph of a part is freed before the next one is
            computed, so a batch of long documents needs no more memory than one of them.
        protocol: with one learning rate.
        seed: determines the order of the examples.
        develop: computes the development score; called after each epoch, with the model in evaluation mode.
        state: the file from which an interrupted training continues, with the same bits; written about every minute.
    Raises:
        UserError: a gradient is not finite, or the file of the state is damaged.
    """
    [lr] = protocol.rates()
    batches = _batches(len(examples), protocol, seed)
    steps, in_epoch = len(batches), len(batches) // protocol.epochs
    optimizer = torch.optim.AdamW(parameter_groups(model, protocol, lr))
    peaks = [group["lr"] for group in optimizer.param_groups]
    training = TrainingState(state, model, optimizer)
    at = training.restore()
    model.train()
    with Progress("fine-tuning", steps, "steps") as progress:
        if at.step:
            progress.update(at.step, steps)
        while at.step < steps and not is_over(at.development, protocol.patience):
            for loss in losses([examples[index] for index in batches[at.step]]):
                loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), protocol.gradient_clipping)
            if not torch.isfinite(norm):
                raise UserError(f"fine-tuning diverged: a gradient is not finite; lower protocol.lr ({lr:g})")
            share = _share_of_peak(at.step, round(protocol.warmup * steps), steps)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad()
            at = Position(step=at.step + 1, development=at.development)
            progress.advance()
            if develop is not None and at.step % in_epoch == 0:
                at = _judge(model, develop, training, at, protocol)
            training.save_if_due(at)
    model.eval()
    if protocol.choose == "best":
        training.use_best()
        return Trial(lr, at.development, best_epoch(at.development))
    return Trial(lr, at.development, -(-at.step // in_epoch))


def _judge(
    model: nn.Module, develop: Callable[[], float], training: TrainingState, at: Position, protocol: Protocol
) -> Position:
    """Add the development score of an epoch, and keep its parameters if they are the best so far."""
    model.eval()
    scores = (*at.development, develop())
    model.train()
    if protocol.choose == "best" and best_epoch(scores) == len(scores):
        training.keep_as_best()
    return Position(step=at.step, development=scores)


def _batches(examples: int, protocol: Protocol, seed: int) -> list[list[int]]:
    """The indices of the examples of each step; every epoch has all of them, in its own order."""
    order = torch.Generator().manual_seed(seed)
    return [
        batch.tolist()
        for _ in range(protocol.epochs)
        for batch in torch.randperm(examples, generator=order).split(protocol.batch)
    ]


def _share_of_peak(step: int, warmup: int, steps: int) -> float:
    """Of the learning rate, from 0 at the first step up and down to 0 after the last one."""
    if step < warmup:
        return step / warmup
    return (steps - step) / max(1, steps - warmup)
