"""Bytes that ranks exchange in a step, by collective, worked out before there are ranks.

As DeepSpeed 0.19 does it with the settings of `engine`: gradients travel in fp32; stages 0 and 1 exchange them once a
step, however many micro-batches it has, stages 2 and 3 after each. Compared with what ranks really sent
(tests/training/planning/test_memory.py). Left out: a few numbers a parameter (gradient norm, StableAdamW, agreement).
"""

from dataclasses import dataclass

from ...model.config import ModelConfig
from ..recipe.config import EngineConfig
from ..zero.partition import PRECISION_BYTES, gathering


@dataclass(frozen=True)
class Exchange:
    """Bytes of the whole tensors that the collectives of one step are about."""

    all_reduce: float = 0.0
    all_gather: float = 0.0
    reduce_scatter: float = 0.0

    def sent(self, ranks: int) -> float:
        """Bytes that each rank sends, and receives, by the ring algorithms (an all-reduce passes everything twice)."""
        return (2 * self.all_reduce + self.all_gather + self.reduce_scatter) * (ranks - 1) / ranks


def exchange(config: ModelConfig, engine: EngineConfig, micro_batches: int) -> Exchange:
    """Of one step in which every rank computes so many micro-batches."""
    size, fp32 = PRECISION_BYTES[engine.precision], 4 * config.num_parameters
    if engine.zero_stage == 0:
        return Exchange(all_reduce=fp32)
    if engine.zero_stage < 3:
        times = 1 if engine.zero_stage == 1 else micro_batches
        return Exchange(all_reduce=times * fp32, all_gather=size * config.num_parameters)
    whole = gathering(config, engine)
    return Exchange(
        all_gather=size * (whole.persistent + micro_batches * whole.per_micro_batch),
        reduce_scatter=micro_batches * fp32,
    )
