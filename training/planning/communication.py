"""Predicted bytes that ranks exchange per step, by collective.

This follows DeepSpeed 0.19 with the settings of `engine`: gradients are sent in `reduce_precision`; stages 0 and 1
exchange them once per step, stages 2 and 3 after each micro-batch. The test compares it with the bytes that ranks
actually send (tests/training/planning/test_memory.py). Not included: a few numbers per parameter (gradient norm,
StableAdamW, agreement of the ranks).
"""

from dataclasses import dataclass, replace

from ...model.config import ModelConfig
from ..recipe.config import OptimizerConfig
from ..recipe.engine_config import EngineConfig
from ..zero.matrices import partitioned_matrices, sent_elements
from ..zero.partition import PRECISION_BYTES, gathering


@dataclass(frozen=True)
class Exchange:
    """Bytes of the unpartitioned tensors that the collectives of one step exchange."""

    all_reduce: float = 0.0
    all_gather: float = 0.0
    reduce_scatter: float = 0.0
    all_to_all: float = 0.0

    def sent(self, ranks: int) -> float:
        """Bytes that each rank sends, and receives, with ring algorithms (an all-reduce sends everything twice).

        What is sent by all-to-all is sent once, and shared by the ranks.
        """
        rings = (2 * self.all_reduce + self.all_gather + self.reduce_scatter) * (ranks - 1) / ranks
        return rings + self.all_to_all / ranks


def exchange(
    config: ModelConfig,
    engine: EngineConfig,
    micro_batches: int,
    optimizer: OptimizerConfig | None = None,
    ranks: int = 1,
) -> Exchange:
    """Predict the exchange of one step in which every rank computes `micro_batches` micro-batches.

    Args:
        optimizer, ranks: Muon sends slices of matrices between ranks (training/zero/muon.py); None: StableAdamW.
    """
    of_zero = _exchange_of_zero(config, engine, micro_batches)
    if optimizer is None or optimizer.name != "muon" or engine.stage == 0:
        return of_zero
    muon = optimizer.muon
    matrices = partitioned_matrices(config, engine.stage, ranks, muon.split_fused)
    return replace(of_zero, all_to_all=PRECISION_BYTES[muon.dtype] * sent_elements(matrices))


def _exchange_of_zero(config: ModelConfig, engine: EngineConfig, micro_batches: int) -> Exchange:
    size = PRECISION_BYTES[engine.precision]
    gradients = PRECISION_BYTES[engine.reduce_precision] * config.num_parameters
    if engine.stage == 0:
        return Exchange(all_reduce=gradients)
    if engine.stage < 3:
        times = 1 if engine.stage == 1 else micro_batches
        return Exchange(all_reduce=times * gradients, all_gather=size * config.num_parameters)
    gathered = gathering(config, engine)
    return Exchange(
        all_gather=size * (gathered.persistent + micro_batches * gathered.per_micro_batch),
        reduce_scatter=micro_batches * gradients,
    )
