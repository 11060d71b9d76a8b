"""The objective of one optimizer step: masked language modeling, or causal, which predicts the next token.

The loss of a step is the sum over its targets (the masked tokens, or all that have a next one) divided by their number,
both over ALL ranks and micro-batches. So one rank, two ranks and accumulation have the same gradient, however unevenly
targets are distributed.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist

from ..streaming_data.loader.batches import MicroBatch
from .copies import DeviceBatch, StagedMicroBatch, on_device


def accumulate(
    engine: Any,
    micro_batches: Sequence[StagedMicroBatch],
    masked: int,
    seed: int,
    around_forward: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> torch.Tensor:
    """Forward and backward over a rank's micro-batches.

    Args:
        masked: targets of the step, over all ranks.
        seed: seed of dropout.
        around_forward: entered for each micro-batch, without its backward.
    Returns:
        This rank's [sum of losses, correct predictions], fp64 (2,), on its device.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=engine.device)
    losses, predicted = totals.unbind()
    world_size, generator = dist.get_world_size(), random_generator(engine.device)
    for batch in on_device(micro_batches, engine.device):
        # Dropout is seeded by the packs, as masking is, so that a resumed run draws the same as an uninterrupted one.
        generator.manual_seed(hash((seed, *batch.addresses)))
        with around_forward():
            loss, correct = forward(engine, batch)
        # DeepSpeed averages gradients over ranks; the factor of the world size turns the average into a sum.
        # Adding zero, or NaN if the loss is not finite, makes the gradients show it: their norm is read anyway.
        value = loss.detach()
        engine.backward(loss * (world_size / masked + value * 0.0), scale_wrt_gas=False)
        losses += value
        predicted += correct.sum()
    return totals


def random_generator(device: torch.device) -> torch.Generator:
    """The generator that dropout on `device` draws from.

    `torch.manual_seed` seeds those of all devices of the machine, and formats a stack where there is no GPU.
    """
    if device.type == "cuda":
        generators: tuple[torch.Generator, ...] = torch.cuda.default_generators
        return generators[torch.cuda.current_device() if device.index is None else device.index]
    return torch.default_generator


def forward(engine: Any, batch: DeviceBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of losses, fp32 scalar; which targets are predicted, bool (M,)), on the rank's device."""
    return engine(batch.input_ids, batch.sequences, batch.masked_positions, batch.targets, causal=batch.causal)


def digest(micro_batches: Sequence[MicroBatch]) -> int:
    """A digest of packs, masked positions and targets. Its sum over ranks does not depend on how ranks share them."""
    return sum(batch.digest for batch in micro_batches)
