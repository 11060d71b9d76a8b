"""Fine-tuning under the published protocol of clinical encoders: AdamW, linear warm-up and decay."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...configs.errors import UserError
from ...configs.progress import Progress
from ..models.protocol import Protocol

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
) -> None:
    """Train all parameters of `model`, and leave it in evaluation mode.

    Args:
        losses: yields parts that add up to the loss of one batch. The graph of a part is freed before the next one is
            computed, so a batch of long documents needs no more memory than one of them.
        seed: determines the order of the examples.
    Raises:
        UserError: a gradient is not finite.
    """
    from transformers import get_linear_schedule_with_warmup

    order = torch.Generator().manual_seed(seed)
    batches = [
        batch.tolist()
        for _ in range(protocol.epochs)
        for batch in torch.randperm(len(examples), generator=order).split(protocol.batch)
    ]
    optimizer = torch.optim.AdamW(_parameter_groups(model, protocol.weight_decay), lr=protocol.lr)
    schedule = get_linear_schedule_with_warmup(optimizer, round(protocol.warmup * len(batches)), len(batches))
    model.train()
    with Progress("fine-tuning", len(batches), "steps") as progress:
        for batch in batches:
            for loss in losses([examples[index] for index in batch]):
                loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), protocol.gradient_clipping)
            if not torch.isfinite(norm):
                raise UserError(f"fine-tuning diverged: a gradient is not finite; lower protocol.lr ({protocol.lr:g})")
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            progress.advance()
    model.eval()


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [value for value in parameters if value.dim() > 1], "weight_decay": weight_decay},
        {"params": [value for value in parameters if value.dim() <= 1], "weight_decay": 0.0},
    ]
