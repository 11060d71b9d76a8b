"""Predicted collectives of a step: what ranks exchange, in which messages and when.

This follows DeepSpeed 0.19 with the settings of `engine`: gradients are sent in `reduce_precision`; stages 0 and 1
exchange them once per step, stages 2 and 3 after each micro-batch. The tests compare bytes and numbers of messages with
those of real ranks (tests/training/planning/test_memory.py, test_communication.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...model.config import ModelConfig
from ..recipe.config import OptimizerConfig
from ..recipe.engine_config import EngineConfig
from ..zero.matrices import hidden_elements, partitioned_matrices, sent_elements
from ..zero.partition import (
    PRECISION_BYTES,
    buckets,
    gather_bucket_size,
    parameter_sizes,
    persistence,
    prefetch_size,
    reduce_bucket_size,
    stays_until_backward,
)
from .collectives import Kind

MUON_GROUPS = 3
"""Groups of hidden matrices that Muon keeps apart, of about the same size."""


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


@dataclass(frozen=True)
class Message:
    """A collective of a tensor of `size` bytes, unpartitioned."""

    kind: Kind
    size: float


@dataclass(frozen=True)
class Traffic:
    """The messages of a step, in their order.

    Attributes:
        forward, backward: gathers of weights, in each micro-batch.
        reduced: gradients, after backward has computed them, in each micro-batch.
        step: once, between the last micro-batch and the next step.
        norms: further all-reduces of a few numbers per parameter, once: of the gradient norm and of StableAdamW.
        norm_size: bytes of such a one.
    """

    forward: tuple[Message, ...] = ()
    backward: tuple[Message, ...] = ()
    reduced: tuple[Message, ...] = ()
    step: tuple[Message, ...] = ()
    norms: int = 0
    norm_size: float = 0.0

    def per_micro_batch(self) -> tuple[Message, ...]:
        return self.forward + self.backward + self.reduced


def traffic(
    config: ModelConfig, engine: EngineConfig, optimizer: OptimizerConfig | None = None, ranks: int = 1
) -> Traffic:
    """Predict the messages of a step.

    Args:
        optimizer, ranks: Muon sends slices of matrices between ranks (training/zero/muon.py); None: StableAdamW.
    """
    size, sizes = PRECISION_BYTES[engine.precision], parameter_sizes(config)
    muon = optimizer.muon if optimizer is not None and optimizer.name == "muon" and engine.stage else None
    groups = list(_groups(config, muon is not None))
    reduced = PRECISION_BYTES[engine.reduce_precision]
    together = buckets(reversed(sizes), reduce_bucket_size(engine, sum(sizes)))
    summed = [reduced * sum(bucket) for bucket in together]
    weights = _messages("all_gather", (size * elements for elements in groups))
    gradients = _messages("reduce_scatter" if engine.stage == 3 else "all_reduce", summed)
    slices: tuple[Message, ...] = ()
    if muon is not None:
        matrices = partitioned_matrices(config, engine.stage, ranks, muon.split_fused)
        if elements := sent_elements(matrices):
            slices = (Message("all_to_all", PRECISION_BYTES[muon.dtype] * elements),)
    norm_size = 8.0 * len(sizes)
    if engine.stage == 0:
        return Traffic(step=gradients)
    if engine.stage == 1 and engine.precision == "bf16":  # flat sums, one by one (training/zero/engine.py)
        sums = _messages("all_reduce", (reduced * elements for elements in groups))
        return Traffic(step=sums + slices + weights, norms=1, norm_size=norm_size)
    if engine.stage == 1:
        return Traffic(step=gradients + slices + weights, norms=4, norm_size=norm_size)
    if engine.stage == 2:
        return Traffic(reduced=gradients, step=slices + weights, norms=4, norm_size=norm_size)
    kept = [elements for elements in sizes if elements <= persistence(engine)]
    gathers = _messages("all_gather", (size * elements for elements in _gathers(config, engine)))
    again = () if stays_until_backward(engine, sum(sizes)) else tuple(reversed(gathers))
    shared = buckets(kept, gather_bucket_size(engine))
    stay = _messages("all_gather", (size * sum(bucket) for bucket in shared))
    return Traffic(gathers, again, gradients, slices + stay, norms=4, norm_size=norm_size)


def exchange(
    config: ModelConfig,
    engine: EngineConfig,
    micro_batches: int,
    optimizer: OptimizerConfig | None = None,
    ranks: int = 1,
) -> Exchange:
    """The bytes of one step in which every rank computes `micro_batches` micro-batches, without the norms.

    Arguments are those of `traffic`.
    """
    messages = traffic(config, engine, optimizer, ranks)
    total = dict.fromkeys(("all_reduce", "all_gather", "reduce_scatter", "all_to_all"), 0.0)
    for times, group in ((micro_batches, messages.per_micro_batch()), (1, messages.step)):
        for message in group:
            total[message.kind] += times * message.size
    return Exchange(**total)


def _messages(kind: Kind, sizes: Iterable[float]) -> tuple[Message, ...]:
    return tuple(Message(kind, float(size)) for size in sizes)


def _groups(config: ModelConfig, muon: bool) -> Iterator[float]:
    """Elements of the optimizer's groups: matrices, with Muon the hidden ones apart, and vectors."""
    hidden = hidden_elements(config) if muon else 0
    vectors = sum(elements for elements in parameter_sizes(config) if elements in _vectors(config))
    if muon:
        yield from [hidden / MUON_GROUPS] * MUON_GROUPS
    yield config.num_parameters - vectors - hidden
    yield vectors


def _vectors(config: ModelConfig) -> set[int]:
    return {config.hidden_size, config.vocab_size}


def _gathers(config: ModelConfig, engine: EngineConfig) -> list[int]:
    """Elements of each gather of a micro-batch's forward.

    DeepSpeed gathers ahead until it has as many elements as its limit. Without that it gathers module by module, where
    a layer is one, and the embedding once more for the decoder.
    """
    kept = persistence(engine)
    sizes = [elements for elements in parameter_sizes(config) if elements > kept]
    ahead = prefetch_size(engine)
    if not sizes:
        return []
    if stays_until_backward(engine, config.num_parameters) and ahead:
        return _filled(sizes, ahead)
    embedding, *rest, bias = parameter_sizes(config)
    layer = sum(elements for elements in rest[1:6] if elements > kept)
    ends = [embedding] if embedding > kept else []
    decoder = [bias] if bias > kept else []
    if not stays_until_backward(engine, config.num_parameters):
        decoder = [sum(ends + decoder)] if ends + decoder else []
    others = sum(elements for elements in rest if elements > kept) - config.num_hidden_layers * layer
    return [*ends, *[layer] * config.num_hidden_layers, *([others] if others > 0 else []), *decoder]


def _filled(sizes: Iterable[int], limit: int) -> list[int]:
    """Sums of consecutive sizes, each as soon as it reaches the limit."""
    sums, open_sum = [], 0
    for elements in sizes:
        open_sum += elements
        if open_sum >= limit:
            sums.append(open_sum)
            open_sum = 0
    return sums + [open_sum] * (open_sum > 0)
