"""How ZeRO partitions a model, as numbers that need neither torch nor DeepSpeed.

DeepSpeed 0.19 at ZeRO-3 keeps small parameters unpartitioned on every rank. It also keeps the parameters gathered for
forward until backward has used them, up to limits in numbers of parameters. Both limits are keys of
`zero_optimization`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ...model.config import ModelConfig
from ..recipe.engine_config import EngineConfig

PRECISION_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
_LARGEST_BUCKET = 500_000_000
_GATHER_BUCKET = 100_000_000
PERSISTENCE = "stage3_param_persistence_threshold"
"""The key of `zero_optimization` with the size up to which ZeRO-3 keeps a parameter gathered."""
_DEFAULTS = {
    PERSISTENCE: 1e5,
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_prefetch_bucket_size": 5e7,
}


def _zero_limit(engine: EngineConfig, key: str) -> int:
    """A limit of `zero_optimization`, in parameters."""
    return int(float(engine.zero_optimization.get(key, _DEFAULTS[key])))


def persistence(engine: EngineConfig) -> int:
    """Elements up to which ZeRO-3 keeps a parameter gathered."""
    return _zero_limit(engine, PERSISTENCE)


def prefetch_size(engine: EngineConfig) -> int:
    """Elements that ZeRO-3 gathers ahead, in one message."""
    return _zero_limit(engine, "stage3_prefetch_bucket_size")


def reduce_bucket_size(engine: EngineConfig, parameters: int) -> int:
    """Elements of DeepSpeed's gradient buffers; more than the model has are never needed."""
    configured = engine.zero_optimization.get("reduce_bucket_size")
    return min(_LARGEST_BUCKET, parameters) if configured is None else int(float(configured))


def gather_bucket_size(engine: EngineConfig) -> int:
    """Elements that ZeRO-3 gathers in one message of those that stay gathered, once per step."""
    return int(float(engine.zero_optimization.get("allgather_bucket_size", _GATHER_BUCKET)))


def buckets(sizes: Iterable[int], limit: int) -> list[list[int]]:
    """Consecutive sizes in lists that add up to at most the limit, except for a size that is larger by itself."""
    found: list[list[int]] = []
    for size in sizes:
        if found and sum(found[-1]) + size <= limit:
            found[-1].append(size)
        else:
            found.append([size])
    return found


def stays_gathered(engine: EngineConfig, largest: int) -> bool:
    """Whether ZeRO-3 keeps every parameter gathered between micro-batches.

    Args:
        largest: elements of the largest parameter.
    """
    return engine.zero_hpz_partition_size == 1 and _zero_limit(engine, PERSISTENCE) >= largest


def stays_until_backward(engine: EngineConfig, parameters: int) -> bool:
    """Whether ZeRO-3 keeps what forward gathers until backward has used it, for a model of so many parameters."""
    limits = (_zero_limit(engine, key) for key in ("stage3_max_live_parameters", "stage3_max_reuse_distance"))
    return engine.zero_hpz_partition_size == 1 and parameters <= min(limits)


def parameter_sizes(config: ModelConfig) -> list[int]:
    """Elements of each parameter, the embedding first; the tied decoder shares the embedding."""
    d, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    layer = [3 * d * d, d * d, d, 2 * inner * d, inner * d]
    attention_norms = [d] * (layers - 1)
    return [config.vocab_size * d, d, *layer * layers, *attention_norms, d, d * d, d, config.vocab_size]


@dataclass(frozen=True)
class Gathering:
    """What ZeRO-3 gathers, in elements.

    Attributes:
        persistent: elements that every rank keeps unpartitioned, gathered once per step.
        per_micro_batch: elements gathered for each micro-batch.
        peak: the most of those that a rank holds at a time.
    """

    persistent: int
    per_micro_batch: int
    peak: int


def gathering(config: ModelConfig, engine: EngineConfig) -> Gathering:
    """What ZeRO-3 gathers for a model under these settings."""
    sizes = parameter_sizes(config)
    threshold = _zero_limit(engine, PERSISTENCE)
    partitioned = [size for size in sizes if size > threshold]
    persistent = sum(sizes) - sum(partitioned)
    live = _zero_limit(engine, "stage3_max_live_parameters")
    if sum(sizes) <= min(live, _zero_limit(engine, "stage3_max_reuse_distance")):
        return Gathering(persistent, sum(partitioned), sum(partitioned))
    # Forward and backward each gather everything. The tied embedding is used by the first and by the last module, so it
    # is gathered twice in each.
    embedding_again = sizes[0] if sizes[0] > threshold else 0
    return Gathering(
        persistent, 2 * (sum(partitioned) + embedding_again), min(sum(partitioned), live + max(partitioned, default=0))
    )
