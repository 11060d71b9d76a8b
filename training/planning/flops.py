"""Exact floating-point operations of a step: packed, windowed, the end of it on the predicted tokens only.

A matrix product of (a, b) and (b, c) costs 2abc, its backward twice that. Attention counts only the pairs of query and
key that are not masked: n^2 in a global layer; in a local layer each query has itself and at most `window` keys on
either side; in a causal step those after the query do not count. Work beyond that (masked parts of a tile, recomputed
layers) is not counted, so that MFU measures useful work only. As usual, norms, GELU and softmax are not counted either.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...model.config import ModelConfig

if TYPE_CHECKING:  # it imports torch, which planning does not need
    from ...streaming_data.loader.batches import MicroBatch


def step_flops(config: ModelConfig, micro_batches: "Iterable[MicroBatch]") -> int:
    """FLOPs of forward and backward for a rank's micro-batches, without padding."""
    batches = (one for one in micro_batches if one.pack_tokens)
    return sum(flops(config, real_lengths(one), len(one.targets), one.causal) for one in batches)


def flops(config: ModelConfig, lengths: npt.NDArray[np.int64], masked: int, causal: bool = False) -> int:
    """FLOPs of forward and backward for sequences of these lengths, of which `masked` tokens pass through the head.

    causal: each token attends only to itself and to those before it.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    after_attention = d * d + 3 * d * config.intermediate_size  # Wo and the MLP
    matrices = layers * 3 * d * d + (layers - 1) * after_attention
    head = after_attention + d * d + d * config.vocab_size  # with that part of the last layer
    global_layers = sum(config.is_global(layer) for layer in range(layers))
    pairs = global_layers * int((lengths**2).sum())
    pairs += (layers - global_layers) * int(window_pairs(lengths, config.window).sum())
    if causal:  # half of the pairs of different tokens
        pairs = (pairs + layers * int(lengths.sum())) // 2
    return 6 * int(lengths.sum()) * matrices + 6 * masked * head + 12 * d * pairs


def window_pairs(lengths: npt.NDArray[np.int64], window: int) -> npt.NDArray[np.int64]:
    """The number of (query, key) pairs at most `window` apart, for each sequence length."""
    reach = np.minimum(window, np.maximum(lengths - 1, 0))
    return lengths * (2 * reach + 1) - reach * (reach + 1)


def real_lengths(batch: "MicroBatch") -> npt.NDArray[np.int64]:
    """The sequence lengths of a micro-batch without its padding, which is at the end of each pack."""
    lengths = np.array(batch.lengths, np.int64)
    ends, size = np.cumsum(lengths), len(batch.input_ids) // len(batch.pack_tokens)
    pack = (ends - 1) // size
    return lengths[ends - pack * size <= np.array(batch.pack_tokens)[pack]]
