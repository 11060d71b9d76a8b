"""Fine-tuning under the protocol that clinical encoders are published with: AdamW, linear warm-up and decay."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from ...configs.errors import UserError

E = TypeVar("E")


class Protocol(BaseModel):
    """How a task is learned; the defaults are the published protocol (BioClinical ModernBERT, arXiv 2506.10896)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: PositiveFloat = Field(2e-5, description="peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.01, description="of matrices")
    epochs: PositiveInt = 3
    batch: PositiveInt = Field(16, description="examples a step")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps; the rate then falls to zero in a line")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the new linear layer")
    gradient_clipping: PositiveFloat = Field(1.0, description="of the global norm")
    tokens: PositiveInt = Field(16_384, description="computed at once; says nothing about results, only about memory")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is random inside depends on the seed alone, and nothing outside changes."""
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
    """Train all of `model`, and leave it in evaluation mode.

    Args:
        losses: the parts whose sum is the loss of one batch; each part's graph is freed before the next is made, so
            that long documents need no more memory than one of them.
        seed: of the examples' order.
    """
    from transformers import get_linear_schedule_with_warmup

    order = torch.Generator().manual_seed(seed)
    batches = [
        chosen.tolist()
        for _ in range(protocol.epochs)
        for chosen in torch.randperm(len(examples), generator=order).split(protocol.batch)
    ]
    optimizer = torch.optim.AdamW(_groups(model, protocol.weight_decay), lr=protocol.lr)
    schedule = get_linear_schedule_with_warmup(optimizer, round(protocol.warmup * len(batches)), len(batches))
    model.train()
    shown = Console(stderr=True)
    for chosen in track(batches, f"seed {seed}", console=shown, transient=True, disable=not shown.is_terminal):
        for loss in losses([examples[place] for place in chosen]):
            loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), protocol.gradient_clipping)
        if not torch.isfinite(norm):
            raise UserError(f"fine-tuning diverged: a gradient is not finite; lower protocol.lr ({protocol.lr:g})")
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def by_tokens(items: Sequence[E], length: Callable[[E], int], tokens: int) -> Iterator[list[E]]:
    """Cut the items, in order, into groups that hold at most so many tokens when padded to their longest.

    An item that is longer by itself is a group.
    """
    group: list[E] = []
    longest = 0
    for item in items:
        longest = max(longest, length(item))
        if group and longest * (len(group) + 1) > tokens:
            yield group
            group, longest = [], length(item)
        group.append(item)
    if group:
        yield group


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [value for value in parameters if value.dim() > 1], "weight_decay": weight_decay},
        {"params": [value for value in parameters if value.dim() <= 1], "weight_decay": 0.0},
    ]
