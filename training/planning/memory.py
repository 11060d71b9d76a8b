"""Predicted memory of a rank, in bytes.

The partitioning among ranks follows DeepSpeed 0.19 with the settings of `engine`: gradients are accumulated in fp32 and
sent in `reduce_precision`. Activations are those that the Triton kernels save; each line of `bytes_per_token` names the
tensors. The tests compare the predictions with bytes counted in real runs and forward passes
(tests/training/planning/test_memory.py).
"""

from dataclasses import dataclass, replace

from ...kernels.logit_chunks import chunk_rows, sums_in_fp32
from ...model.config import ModelConfig
from ...streaming_data.loader.split import most_packs
from ..recipe.config import OptimizerConfig
from ..recipe.engine_config import EngineConfig
from ..recipe.schedule import Plan
from ..zero.matrices import hidden_elements
from ..zero.partition import PRECISION_BYTES, gathering, parameter_sizes, reduce_bucket_size

PROCESS_BYTES = 3e9
STEPS_LOADED = 4
"""The step that is computed, two that are ready, and one that is being prepared."""
BATCH_BYTES = 24
"""Bytes per token of a micro-batch: its id and its bookkeeping; position and target if it is masked."""
DEFAULT_BUCKET = 500_000_000
"""Number of gradients that DeepSpeed combines into one all-reduce where no bucket size is set."""


@dataclass(frozen=True)
class States:
    """Bytes of a rank's model states, which do not depend on the batch.

    Attributes:
        weights: used by forward and backward, including those gathered from other ranks.
        gradients: accumulated gradients, and those that backward produces.
        optimizer: fp32 master weights if they are separate, and what `kept_bytes` counts.
        buffers: in which gradients are combined and exchanged.
        host: in host memory, if the optimizer is offloaded.
    """

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    host: float = 0.0

    @property
    def device(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.buffers


def kept_bytes(config: ModelConfig, optimizer: OptimizerConfig | None = None, running_average: bool = False) -> int:
    """Bytes of what all ranks together keep in addition to fp32 weights, in fp32.

    Two moments per weight, one in matrices that Muon updates; and the running average of the weights.
    """
    of_muon = hidden_elements(config) if optimizer is not None and optimizer.name == "muon" else 0
    return 4 * (2 * config.num_parameters - of_muon + running_average * config.num_parameters)


def checkpoint_bytes(config: ModelConfig, optimizer: OptimizerConfig, running_average: bool) -> int:
    """Bytes of a checkpoint: the weights in fp32, and what is kept in addition."""
    return 4 * config.num_parameters + kept_bytes(config, optimizer, running_average)


def states(config: ModelConfig, engine: EngineConfig, ranks: int, kept: int | None = None) -> States:
    """Predict the states at the point of a step at which they need the most memory.

    Args:
        kept: what `kept_bytes` returns; None: that of StableAdamW.
    """
    kept = kept_bytes(config) if kept is None else kept
    size, parameters, stage = PRECISION_BYTES[engine.precision], config.num_parameters, engine.stage
    sent = PRECISION_BYTES[engine.reduce_precision]
    compute, fp32 = size * parameters, 4 * parameters
    if stage == 0:
        return States(fp32, fp32, kept, buffers=4 * min(parameters, DEFAULT_BUCKET))
    optimizer = (fp32 + kept) / ranks
    bucket = reduce_bucket_size(engine, parameters)
    exchanged = _largest_exchange(config, bucket)
    if stage == 1 and engine.precision == "bf16":
        # DeepSpeed uses a separate optimizer here, whose fp32 sums are exchanged in place, or as a copy in bf16.
        result = States(compute, fp32, optimizer, buffers=sent * parameters if sent < 4 else 0)
    elif stage == 1:
        result = States(compute, fp32, optimizer, buffers=4 * bucket)
    elif stage == 2:
        converted = sent * exchanged if sent != size else 0
        result = States(compute, fp32 / ranks, optimizer, buffers=size * (bucket + exchanged) + converted)
    else:
        result = replace(_zero_3_states(config, engine, ranks), optimizer=optimizer)
    if engine.offload_optimizer == "cpu":
        return replace(result, optimizer=0.0, host=optimizer + fp32 / ranks)
    return result


def _zero_3_states(config: ModelConfig, engine: EngineConfig, ranks: int) -> States:
    size, parameters, gather = PRECISION_BYTES[engine.precision], config.num_parameters, gathering(config, engine)
    bucket = reduce_bucket_size(engine, parameters)
    sent = PRECISION_BYTES[engine.reduce_precision]
    exchanged = sent * _largest_exchange(config, bucket)
    gathered = size * gather.peak
    if bucket >= parameters:  # all gradients are exchanged at once, when only the embedding is still gathered
        last = min(gathered, size * parameter_sizes(config)[0])
        exchanged, gathered = (exchanged, last) if exchanged + last > gathered else (0, gathered)
    second_copy = 1 / engine.zero_hpz_partition_size if engine.zero_hpz_partition_size > 1 else 0
    return States(
        weights=size * (parameters * (1 / ranks + second_copy) + gather.persistent) + gathered,
        gradients=4 * parameters / ranks,
        optimizer=0,
        buffers=sent * bucket + exchanged,
    )


@dataclass(frozen=True)
class HostMemory:
    """Bytes of one rank in host memory.

    Attributes:
        start: the complete model, before it is partitioned; it is freed then.
        checkpoint: a copy of the state, which is written while training continues.
        offloaded: weights and optimizer state, with `offload_optimizer`.
        batches: packs of the steps that the loader holds.
        process: Python, torch and the driver; assumed.
    """

    start: float
    checkpoint: float
    offloaded: float
    batches: float
    process: float = PROCESS_BYTES

    @property
    def total(self) -> float:
        return self.process + max(self.start, self.checkpoint + self.offloaded + self.batches)


def host_memory(config: ModelConfig, engine: EngineConfig, plan: Plan) -> HostMemory:
    """Predict what a rank needs in host memory, next to the cache of the operating system."""
    tokens = most_packs(plan.batch.global_batch_size, plan.world_size) * plan.data.seq_length
    return HostMemory(
        start=4 * config.num_parameters,
        checkpoint=(4 * config.num_parameters + _kept(config, plan)) / plan.world_size,
        offloaded=planned_states(config, engine, plan).host,
        batches=STEPS_LOADED * BATCH_BYTES * tokens,
    )


def _largest_exchange(config: ModelConfig, bucket: int) -> int:
    """Number of gradients exchanged together; a parameter larger than the bucket is exchanged alone."""
    return min(config.num_parameters, max(bucket, *parameter_sizes(config)))


@dataclass(frozen=True)
class Activations:
    """Bytes of a rank's activations for one micro-batch.

    Attributes:
        layers: saved by the encoder for backward.
        head: saved by the head on predicted tokens for backward: rows, and the gradients, which forward computes.
        in_head: temporary, while the head computes and everything of the encoder is saved.
        in_layer: temporary, in the backward of a layer, less the tensors of head and last layer that are freed by then.
    """

    layers: float
    head: float
    in_head: float
    in_layer: float

    @property
    def device(self) -> float:
        return self.layers + max(self.head + self.in_head, self.in_layer)


def activations(
    config: ModelConfig, engine: EngineConfig, tokens: int, masked: int, causal: bool = False
) -> Activations:
    """Predict the activations of `tokens` tokens, of which `masked` pass through the head, at any sequence lengths."""
    size, d, vocabulary = PRECISION_BYTES[engine.precision], config.hidden_size, config.vocab_size
    attention, mlp = bytes_per_token(config, size)
    one_layer, row, norm = (attention + mlp) * tokens, size * d * tokens, size * d + 8
    # After its attention, the last layer has the masked rows only, of which the attended ones are a copy.
    last_rows = tokens if causal else masked
    last_layer = attention * tokens + mlp * last_rows + (0 if causal else size * d * masked)
    ends = 8 * tokens + norm * (tokens + last_rows)  # ids; inputs of the embedding norm and of the final norm
    without_norm = norm * tokens  # layer 0 has no norm before attention
    layers = ends + (config.num_hidden_layers - 1) * one_layer + last_layer - without_norm
    # In the backward of the last layer with all rows: gradients of Wi's output and of Wo's input; the rest is freed.
    in_layer = float(size * tokens * 3 * config.intermediate_size - norm * last_rows)
    if engine.activation_checkpointing:
        layers, in_layer = ends + config.num_hidden_layers * row, in_layer + one_layer - 2 * row
    elif not causal:
        in_layer -= last_layer
    return Activations(
        layers,
        head=masked * (4 * size * d + 8 + 8) + size * vocabulary * (d + 1),
        # Besides, the outputs of encoder and head.
        in_head=_logits(masked, vocabulary, d, size) + size * (tokens + masked) * d,
        in_layer=in_layer,
    )


def _logits(masked: int, vocabulary: int, d: int, size: int) -> float:
    """Bytes of the logits, and of what sums the weight's gradient beyond its own bytes."""
    rows = chunk_rows(masked, vocabulary, size)
    chunk = size * min(masked, rows) * vocabulary
    if not sums_in_fp32(masked, rows, size):
        return 2 * chunk  # one is computed before the previous one is freed
    return max(2 * chunk, chunk + size * vocabulary * d) + (4 - size) * vocabulary * d


def planned_activations(
    config: ModelConfig, engine: EngineConfig, plan: Plan, micro_batch_size: int | None = None
) -> Activations:
    """The activations of a micro-batch at the run's highest masking rate, of the recipe's size unless one is given; of
    one that predicts the next token, if the run has any and that needs more."""
    packs, seq_length = micro_batch_size or plan.batch.micro_batch_size, plan.data.seq_length
    points = plan.change_points()
    rates = [settings.mlm_probability for settings in points if settings.objective == "masked"]
    predicted = {(packs * round(rate * seq_length), False) for rate in rates}
    predicted |= {(packs * (seq_length - 1), True) for settings in points if settings.objective == "causal"}
    options = [activations(config, engine, packs * seq_length, masked, causal) for masked, causal in predicted]
    return max(options, key=lambda option: option.device)


def peak(config: ModelConfig, engine: EngineConfig, plan: Plan, micro_batch_size: int | None = None) -> float:
    """The most bytes that a rank needs on its device: states and activations."""
    compute = planned_activations(config, engine, plan, micro_batch_size).device
    return planned_states(config, engine, plan).device + compute


def planned_states(config: ModelConfig, engine: EngineConfig, plan: Plan) -> States:
    """The states of a rank of the run."""
    return states(config, engine, plan.world_size, _kept(config, plan))


def _kept(config: ModelConfig, plan: Plan) -> int:
    return kept_bytes(config, plan.optimizer, plan.running_average)


def bytes_per_token(config: ModelConfig, size: int) -> tuple[float, float]:
    """Bytes that a layer saves for backward, per token: by attention with its norm, and by the MLP with its norm."""
    d, inner = config.hidden_size, config.intermediate_size
    norm = 2 * size * d + 8  # input and output; mean and scale
    attention = 4 * size * d + 4 * config.num_attention_heads  # q, k, v, output; logsumexp of the softmax
    mlp = 3 * size * inner  # Wi's output and Wo's input
    # One byte per element; that of attention is drawn after Wo.
    dropout_masks = d * bool(config.attention_dropout) + inner * bool(config.mlp_dropout)
    return norm + attention, norm + mlp + dropout_masks
