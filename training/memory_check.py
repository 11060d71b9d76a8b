"""The memory check before step 1: forward and backward of the largest micro-batch of every stage.

A run that does not fit the device's memory fails immediately, not when a later stage begins. The loss is multiplied by
zero, so that all gradients are zero and the following steps are bit-equal to those of a run without the check.
"""

from typing import Any

import numpy as np
import torch

from ..configs.errors import UserError
from ..streaming_data.loader.batches import MicroBatch, cut
from ..streaming_data.loader.config import Objective
from ..streaming_data.loader.next_token import next_tokens
from .copies import on_device, stage
from .objective import forward
from .recipe.schedule import Plan


def highest_rates(plan: Plan, step: int = 0) -> dict[tuple[int, Objective], float]:
    """The highest masking rate of each sequence length and objective, from step `step` on.

    The number of packs per step does not matter: more packs are only more micro-batches.
    """
    changes = {settings.step for settings in plan.change_points()}
    rates: dict[tuple[int, Objective], float] = {}
    for number in sorted(changes | {change - 1 for change in changes} | {step}):
        if number >= step:
            settings = plan.settings(number)
            shape = settings.max_seqlen, settings.objective
            rates[shape] = max(settings.mlm_probability, rates.get(shape, 0.0))
    return rates


def check_memory(engine: Any, plan: Plan, step: int) -> None:
    """Forward and backward of every shape from step `step` on. Nothing is updated. Every rank calls it.

    Raises:
        UserError: a shape does not fit the device's memory.
    """
    for (max_seqlen, objective), rate in highest_rates(plan, step).items():
        batch = largest_micro_batch(plan, max_seqlen, rate, engine.module.config.vocab_size, objective)
        predicted = "the next token predicted" if batch.causal else f"{rate:.0%} masked"
        _forward_backward(engine, batch, f"sequences of {max_seqlen:,} tokens and {predicted}")


def _forward_backward(engine: Any, batch: MicroBatch, shape: str) -> None:
    try:
        (largest,) = on_device([stage(batch, engine.device)], engine.device)
        loss, _ = forward(engine, largest)
        engine.backward(loss * 0.0, scale_wrt_gas=False)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory before the first step, with {len(batch.pack_tokens)} packs per micro-batch in {shape}: "
            "lower batch.micro_batch_size, set engine.activation_checkpointing=true, or use more devices"
        ) from error


def largest_micro_batch(
    plan: Plan, max_seqlen: int, mlm_probability: float, vocab_size: int, objective: Objective = "masked"
) -> MicroBatch:
    """Full packs without padding, cut into sequences of the greatest allowed length, all tokens maskable."""
    micro_batch_size, seq_length = plan.batch.micro_batch_size, plan.data.seq_length
    tokens = np.arange(micro_batch_size * seq_length) % vocab_size
    lengths = cut(np.full(micro_batch_size, seq_length), max_seqlen)
    if objective == "causal":
        positions, targets = (hidden := next_tokens(tokens, lengths)).positions, hidden.targets
    else:
        masked = micro_batch_size * round(mlm_probability * seq_length)
        positions = np.linspace(0, len(tokens) - 1, masked, dtype=np.int64)
        targets = tokens[positions]
    return MicroBatch(
        input_ids=torch.from_numpy(tokens),
        lengths=tuple(lengths.tolist()),
        masked_positions=torch.from_numpy(positions),
        targets=torch.from_numpy(targets),
        addresses=(),
        pack_tokens=(seq_length,) * micro_batch_size,
        causal=objective == "causal",
    )
