"""What ZeRO makes of a model, in numbers that need neither torch nor DeepSpeed: the parameters and who holds them.

DeepSpeed 0.19 at ZeRO-3 keeps small parameters whole on every rank, and keeps what it gathered for forward until
backward has used it, as long as limits that count parameters allow. Both limits are keys of `zero_optimization`.
"""

from dataclasses import dataclass

from ...model.config import ModelConfig
from ..recipe.config import EngineConfig

PRECISION_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
_LARGEST_BUCKET = 500_000_000
_DEFAULTS = {
    "stage3_param_persistence_threshold": 1e5,
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
}


def zero_key(engine: EngineConfig, key: str) -> int:
    """A limit of `zero_optimization`, in parameters."""
    return int(float(engine.zero_optimization.get(key, _DEFAULTS[key])))


def reduce_bucket_size(engine: EngineConfig, parameters: int) -> int:
    """Gradients that DeepSpeed makes its buffers for: no more are ever in there than the model has."""
    asked = engine.zero_optimization.get("reduce_bucket_size")
    return min(_LARGEST_BUCKET, parameters) if asked is None else int(float(asked))


def parameter_sizes(config: ModelConfig) -> list[int]:
    """Numbers in each parameter, the embedding first; the tied decoder is the embedding."""
    d, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    layer = [3 * d * d, d * d, d, 2 * inner * d, inner * d]
    attention_norms = [d] * (layers - 1)
    return [config.vocab_size * d, d, *layer * layers, *attention_norms, d, d * d, d, config.vocab_size]


@dataclass(frozen=True)
class Gathering:
    """How ZeRO-3 brings the weights together.

    Attributes:
        persistent: numbers that every rank holds whole, brought up to date once a step.
        a_micro_batch: numbers gathered for each micro-batch.
        at_once: of those, the most that a rank holds whole at a time.
    """

    persistent: int
    a_micro_batch: int
    at_once: int


def gathering(config: ModelConfig, engine: EngineConfig) -> Gathering:
    sizes = parameter_sizes(config)
    threshold = zero_key(engine, "stage3_param_persistence_threshold")
    divided = [size for size in sizes if size > threshold]
    persistent = sum(sizes) - sum(divided)
    live = zero_key(engine, "stage3_max_live_parameters")
    if sum(sizes) <= min(live, zero_key(engine, "stage3_max_reuse_distance")):
        return Gathering(persistent, sum(divided), sum(divided))
    # Forward and backward each gather all; the tied embedding is read by two modules, at the two ends of the model.
    again = sizes[0] if sizes[0] > threshold else 0
    return Gathering(persistent, 2 * (sum(divided) + again), min(sum(divided), live + max(divided, default=0)))
