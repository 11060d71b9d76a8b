"""Bytes that a rank needs, worked out before there is a rank.

What is divided among ranks follows DeepSpeed 0.19 as it is set up in `engine`: gradients add up and travel in fp32.
Activations are those that the Triton kernels keep; each line of `kept_tokens` names the tensors. All of it is compared
with bytes counted in real runs and in real forward passes (tests/training/planning/test_memory.py).
"""

from dataclasses import dataclass, replace

from ...kernels.logit_chunks import chunk_rows
from ...model.config import ModelConfig
from ..recipe.config import EngineConfig
from ..zero.partition import PRECISION_BYTES, gathering, parameter_sizes, reduce_bucket_size

ONE_EXCHANGE = 500_000_000
"""Gradients that DeepSpeed puts together for one all-reduce where no bucket is set."""


@dataclass(frozen=True)
class States:
    """Bytes of a rank that do not depend on the batch.

    Attributes:
        weights: that the model computes with, with those gathered from other ranks.
        gradients: as they are added up, and as backward makes them.
        optimizer: fp32 weights where they are kept apart, and two moments.
        buffers: in which gradients are put together and exchanged.
        host: in the host's memory, where the optimizer is offloaded.
    """

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    host: float = 0.0

    @property
    def device(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.buffers


def states(config: ModelConfig, engine: EngineConfig, ranks: int) -> States:
    """At the moment of a step when most is held."""
    size, parameters, stage = PRECISION_BYTES[engine.precision], config.num_parameters, engine.zero_stage
    compute, fp32 = size * parameters, 4 * parameters
    if stage == 0:
        return States(fp32, fp32, 2 * fp32, buffers=4 * min(parameters, ONE_EXCHANGE))
    optimizer = 3 * fp32 / ranks
    bucket = reduce_bucket_size(engine, parameters)
    filled = _one_exchange(config, bucket)
    if stage == 1 and engine.precision == "bf16":
        # DeepSpeed has an optimizer of its own for this: all sums in fp32, beside the gradients they are made of.
        found = States(compute, fp32 + compute, optimizer, buffers=4 * min(parameters, ONE_EXCHANGE))
    elif stage == 1:
        found = States(compute, fp32, optimizer, buffers=4 * bucket)
    elif stage == 2:
        exchanged = 4 * filled if engine.precision != "fp32" else 0
        found = States(compute, fp32 / ranks, optimizer, buffers=size * (bucket + filled) + exchanged)
    else:
        found = _states_3(config, engine, ranks)
    if engine.offload_optimizer == "cpu":
        return replace(found, optimizer=0.0, host=optimizer + fp32 / ranks)
    return found


def _states_3(config: ModelConfig, engine: EngineConfig, ranks: int) -> States:
    size, parameters, whole = PRECISION_BYTES[engine.precision], config.num_parameters, gathering(config, engine)
    bucket = reduce_bucket_size(engine, parameters)
    exchanged = 4 * _one_exchange(config, bucket)
    gathered = size * whole.peak
    if bucket >= parameters:  # all gradients are exchanged at once, when of the weights the embedding alone is left
        last = min(gathered, size * parameter_sizes(config)[0])
        exchanged, gathered = (exchanged, last) if exchanged + last > gathered else (0, gathered)
    second_copy = 1 / engine.zero_hpz_partition_size if engine.zero_hpz_partition_size > 1 else 0
    return States(
        weights=size * (parameters * (1 / ranks + second_copy) + whole.persistent) + gathered,
        gradients=4 * parameters / ranks,
        optimizer=3 * 4 * parameters / ranks,
        buffers=4 * bucket + exchanged,
    )


def _one_exchange(config: ModelConfig, bucket: int) -> int:
    """Gradients that go together; one that is larger than the bucket goes alone."""
    return min(config.num_parameters, max(bucket, *parameter_sizes(config)))


@dataclass(frozen=True)
class Activations:
    """Bytes of a rank's micro-batch.

    Attributes:
        layers: what backward will need of the encoder.
        head: what it will need of the masked tokens' head: rows, and the gradients, which forward computes.
        in_head: alive only while the head computes, when all of the encoder is kept.
        in_layer: alive only in the backward of a layer, when what the head kept is gone.
    """

    layers: float
    head: float
    in_head: float
    in_layer: float

    @property
    def device(self) -> float:
        return self.layers + max(self.head + self.in_head, self.in_layer)


def activations(config: ModelConfig, engine: EngineConfig, tokens: int, masked: int) -> Activations:
    """Of `tokens` tokens, of which `masked` pass through the head; how they are cut into sequences changes nothing."""
    size, d, vocabulary = PRECISION_BYTES[engine.precision], config.hidden_size, config.vocab_size
    one_layer, row, statistics = kept_tokens(config, size) * tokens, size * d * tokens, 8 * tokens
    ends = 8 * tokens + 2 * (row + statistics)  # ids; the inputs of the embedding's norm and of the last
    without_norm = row + statistics  # layer 0 has none before attention
    layers = ends + config.num_hidden_layers * one_layer - without_norm
    in_layer = float(size * tokens * 3 * config.intermediate_size)  # gradients of Wi's output and of Wo's input
    if engine.activation_checkpointing:
        layers, in_layer = ends + config.num_hidden_layers * row, in_layer + one_layer - row
    return Activations(
        layers,
        head=masked * (4 * size * d + 8 + 8) + size * vocabulary * (d + 1),
        # Two chunks of logits, since one is made before the last is let go; the encoder's output, and the head's.
        in_head=size * (2 * min(masked, chunk_rows(masked)) * vocabulary + (tokens + masked) * d),
        in_layer=in_layer,
    )


def kept_tokens(config: ModelConfig, size: int) -> float:
    """Bytes that a layer keeps of each token for backward."""
    d, inner = config.hidden_size, config.intermediate_size
    norms = 2 * (2 * size * d + 8)  # input and output of each; mean and scale
    attention = 4 * size * d + 4 * config.num_attention_heads  # q, k, v, output; the softmax's normaliser
    mlp = 3 * size * inner  # Wi's output and Wo's input
    dropped = d * bool(config.attention_dropout) + inner * bool(config.mlp_dropout)  # one byte each
    return norms + attention + mlp + dropped


def optimizer_step(config: ModelConfig, engine: EngineConfig, ranks: int) -> float:
    """Bytes that are alive only while weights are updated, when no activations are.

    For each weight its square in fp64, the int64 index of its parameter's rate, and the rate.
    """
    largest = config.num_parameters / (ranks if engine.zero_stage else 1)
    return 0.0 if engine.offload_optimizer == "cpu" else (8 + 8 + 4) * largest
