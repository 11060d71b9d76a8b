"""The largest micro-batch of every stage, before step 1: a run that will not fit says so at once.

The loss is multiplied by zero, so that all gradients are zero and the steps to come are bit-equal to those without.
"""

from typing import Any

import numpy as np
import torch

from ..configs.errors import UserError
from ..streaming_data.loader.batches import MicroBatch, cut
from .objective import forward
from .recipe.schedule import Plan


def shapes(plan: Plan, step: int = 0) -> dict[int, float]:
    """For each length from step `step` on, the highest masking rate. More packs are but more micro-batches."""
    turns = {at.step for at in plan.change_points()}
    rates: dict[int, float] = {}
    for number in sorted(turns | {turn - 1 for turn in turns} | {step}):
        if number >= step:
            at = plan.settings(number)
            rates[at.max_seqlen] = max(at.mlm_probability, rates.get(at.max_seqlen, 0.0))
    return rates


def check_memory(engine: Any, plan: Plan, step: int) -> None:
    """Forward and backward of every shape that comes from step `step` on; every rank calls it. Nothing is updated.

    Raises:
        UserError: a shape does not fit the device's memory.
    """
    for max_seqlen, rate in shapes(plan, step).items():
        batch = largest_micro_batch(plan, max_seqlen, rate, engine.module.config.vocab_size)
        _compute(engine, batch, f"sequences of {max_seqlen:,} tokens and {rate:.0%} masked")


def _compute(engine: Any, batch: MicroBatch, what: str) -> None:
    try:
        loss, _ = forward(engine, batch)
        engine.backward(loss * 0.0, scale_wrt_gas=False)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory before the first step, with {len(batch.pack_tokens)} packs at once in {what}: lower "
            "batch.micro_batch_size, set engine.activation_checkpointing=true, or use more devices"
        ) from error


def largest_micro_batch(plan: Plan, max_seqlen: int, mlm_probability: float, vocab_size: int) -> MicroBatch:
    """Packs without padding, in sequences as long as they may be, all tokens maskable."""
    micro_batch_size, seq_length = plan.batch.micro_batch_size, plan.data.seq_length
    tokens = torch.arange(micro_batch_size * seq_length) % vocab_size
    masked = micro_batch_size * round(mlm_probability * seq_length)
    positions = torch.from_numpy(np.linspace(0, len(tokens) - 1, masked, dtype=np.int64))
    return MicroBatch(
        input_ids=tokens,
        lengths=tuple(cut(np.full(micro_batch_size, seq_length), max_seqlen).tolist()),
        masked_positions=positions,
        targets=tokens[positions],
        addresses=(),
        pack_tokens=(seq_length,) * micro_batch_size,
    )
